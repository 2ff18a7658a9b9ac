"""Bodies of GraphQL responses: data and errors, worded as Prefect Server's gateway words them.

Needs graphql-core. The texts of errors are those of the gateway where one was recorded, and those
of graphql-core elsewhere. Does not belong here: what raises them.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Any

import graphql
from graphql import (
    DocumentNode,
    FieldNode,
    GraphQLError,
    GraphQLSchema,
    OperationDefinitionNode,
)

from rxflow.testing._prefect1.field_errors import FieldError
from rxflow.testing._rows import Row


def rejection(errors: Sequence[GraphQLError], code: str) -> Row:
    """Make the body of a response to a query that is not run."""
    return {
        "errors": [
            {
                "message": _as_graphql_js(error.message),
                "locations": [_location(each) for each in error.locations or ()],
                "extensions": {"code": code},
            }
            for error in errors
        ]
    }


def execution_response(
    result: graphql.ExecutionResult, document: DocumentNode, schema: GraphQLSchema
) -> Row:
    """Make the body of a response to a query that was run.

    An error anywhere below a field of the root is reported as an error of that field.

    Raises:
        Exception: An error that is no `FieldError`, so a defect of the fake.
    """
    if not result.errors:
        return {"data": result.data}
    data, errors = result.data, dict[str, Row]()
    for error in result.errors:
        cause = error.original_error
        if not isinstance(cause, FieldError):
            raise cause or error
        root = str((error.path or [""])[0])
        node = _root_field(document, root)
        errors.setdefault(
            root,
            {
                "message": cause.message,
                "locations": [_location(each) for each in _source_locations(node, error)],
                "path": [root],
                "extensions": cause.extensions,
            },
        )
        data = _without_field(data, root, node, schema)
    return {"errors": list(errors.values()), "data": data}


def _without_field(
    data: dict[str, Any] | None, root: str, node: FieldNode | None, schema: GraphQLSchema
) -> dict[str, Any] | None:
    """Return the data with a null for a field of the root; None if that field may not be null."""
    if data is None or schema.query_type is None or node is None:
        return data
    field = schema.query_type.fields.get(node.name.value)
    required = field is not None and graphql.is_non_null_type(field.type)
    return None if required else {**data, root: None}


def _root_field(document: DocumentNode, key: str) -> FieldNode | None:
    for definition in document.definitions:
        if isinstance(definition, OperationDefinitionNode):
            for node in definition.selection_set.selections:
                if isinstance(node, FieldNode) and (node.alias or node.name).value == key:
                    return node
    return None


def _source_locations(
    node: FieldNode | None, error: GraphQLError
) -> Iterable[graphql.SourceLocation]:
    if node is None or node.loc is None:
        return error.locations or ()
    return [graphql.get_location(node.loc.source, node.loc.start)]


def _location(location: graphql.SourceLocation) -> Row:
    return {"line": location.line, "column": location.column}


def _as_graphql_js(message: str) -> str:
    """Reword a text of graphql-core as in graphql-js 14, as far as its texts were recorded."""
    if message.startswith("Syntax Error: "):
        message = re.sub(r"(?<= )'(\W+)'", r"\1", message.removesuffix("."))
    message = re.sub(r"(is not defined by type )'(\w+)'", r"\1\2", message)
    return re.sub(r"'([\w ]+)'", r'"\1"', message)
