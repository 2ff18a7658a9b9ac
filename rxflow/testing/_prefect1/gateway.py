"""GraphQL as Prefect Server's gateway answers it: a query over tables, and errors in its words.

The one module that needs graphql-core. Which rows there are for a field is decided in `_hasura.py`;
the errors' texts are those of the gateway where one was recorded, of graphql-core elsewhere.
"""

import re
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache, lru_cache
from typing import Any, TypedDict, Unpack, cast

import graphql
from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    GraphQLObjectType,
    GraphQLResolveInfo,
    GraphQLScalarType,
    GraphQLSchema,
    InlineFragmentNode,
    OperationDefinitionNode,
    SelectionSetNode,
)

from rxflow.testing._faults import BackendOutage
from rxflow.testing._prefect1.hasura import RELATIONS, Refusal, Tables, bad_count, bad_data, select
from rxflow.testing._prefect1.mutations import failed, mutate
from rxflow.testing._prefect1.rows import Row
from rxflow.testing._prefect1.store import Prefect1Store
from rxflow.testing._requests import Shuffle

_MOST_DEPTH = 7

# As recorded, with the ports of that day.
_REFUSED = "request to http://{0}/{1} failed, reason: connect ECONNREFUSED {0}"
_HASURA = _REFUSED.format("127.0.0.1:23000", "v1alpha1/graphql")
_PREFECT_SERVER = _REFUSED.format("127.0.0.1:24201", "graphql/")
_INTERNAL = "Unable to complete operation. An internal API error occurred."


class Asked(TypedDict):
    """What a query is asked of.

    Attributes:
        store: What mutations write to.
        tables: What queries read.
        row_limit: The most rows in each list.
        outage: What is out of order.
        shuffle: How rows get another order before they are sorted.
    """

    store: Prefect1Store
    tables: Tables
    row_limit: int | None
    outage: BackendOutage | None
    shuffle: Shuffle | None


class Gateway:
    """Answers queries by a schema."""

    def __init__(self, schema: str, *, cloud: bool) -> None:
        """Make a gateway.

        Args:
            schema: The schema, in GraphQL's language.
            cloud: Whether it is Prefect Cloud's.
        """
        self._schema = _made(schema, cloud=cloud)

    def answer(
        self, text: str, variables: Mapping[str, Any] | None, **asked: Unpack[Asked]
    ) -> tuple[int, Any]:
        """Answer a query.

        Args:
            text: The query.
            variables: Its variables.
            asked: What it is asked of.

        Returns:
            The HTTP status, and what the body says.
        """
        try:
            document = _parsed(text)
        except GraphQLError as error:
            return 400, _refused([error], "GRAPHQL_PARSE_FAILED")
        if errors := _wrong_in(text, self._schema):
            return 400, _refused(errors, "GRAPHQL_VALIDATION_FAILED")
        result = graphql.execute_sync(  # pyright: ignore[reportUnknownMemberType]
            self._schema,
            document,
            context_value=asked,
            variable_values=dict(variables or {}),
            field_resolver=_resolve,
        )
        if any(error.path is None for error in result.errors or ()):  # the variables do not fit
            return 400, _refused(result.errors or (), "INTERNAL_SERVER_ERROR")
        return 200, _answered(result, document, self._schema)


# A client asks the same few queries again and again, and to validate one takes longer than to
# answer it.
_QUERIES = 64


@lru_cache(_QUERIES)
def _parsed(text: str) -> DocumentNode:
    return graphql.parse(text)


@lru_cache(_QUERIES)
def _wrong_in(text: str, schema: GraphQLSchema) -> Sequence[GraphQLError]:
    document = _parsed(text)
    return graphql.validate(schema, document) or list(_too_deep(document))


@cache
def _made(text: str, *, cloud: bool) -> GraphQLSchema:
    """The schema, with scalars that read and write as PostgreSQL does."""
    schema = graphql.build_schema(text)
    for name, read in {"uuid": _uuid, "timestamptz": _timestamp}.items():
        cast("GraphQLScalarType", schema.type_map[name]).parse_value = read  # type: ignore[method-assign]
    cast("GraphQLScalarType", schema.type_map["timestamptz"]).serialize = _timestamp_text  # type: ignore[method-assign]
    if not cloud:
        del cast("GraphQLObjectType", schema.query_type).fields["auth_info"]
    return schema


# -- fields -------------------------------------------------------------------------------------


def _resolve(source: Any, info: GraphQLResolveInfo, **arguments: Any) -> Any:
    asked: Asked = info.context
    name, of = info.field_name, info.parent_type.name
    if of == "Mutation":
        return _mutation(asked, name, **arguments)
    if of == "Query":
        return _root(asked, name, info, **arguments)
    relation = RELATIONS.get(of, {}).get(name)
    if relation is None:
        return source[name]
    found = relation.of(source, asked["tables"])
    if not relation.many:
        return next(iter(found), None)
    return _list(asked, found, relation.table, info, **arguments)


def _root(asked: Asked, name: str, info: GraphQLResolveInfo, **arguments: Any) -> Any:
    _fail(asked, at_hasura=name not in {"hello", "auth_info"})
    if name == "hello":
        return "👋"
    if name == "auth_info":
        return {"tenant_id": next(iter(asked["tables"]["tenant"]), None)}
    table = name.removesuffix("_by_pk")
    if table == name:
        return _list(asked, asked["tables"][table].values(), table, info, **arguments)
    if isinstance(arguments["id"], Refusal):
        raise arguments["id"]
    return asked["tables"][table].get(arguments["id"])


def _mutation(asked: Asked, name: str, *, input: Mapping[str, Any]) -> Row:  # noqa: A002 - as sent
    if asked["outage"] == "hasura_down":
        raise failed(_INTERNAL)
    _fail(asked, at_hasura=False)
    for refusal in _refusals(input):
        raise failed(refusal.message)
    return mutate(asked["store"], name, input)


def _list(
    asked: Asked,
    rows: Iterable[Row],
    table: str,
    info: GraphQLResolveInfo,
    **arguments: Any,
) -> list[Row]:
    for name in ("limit", "offset"):
        if (arguments.get(name) or 0) < 0:
            keys = [str(key) for key in info.path.as_list() if isinstance(key, str)]
            raise bad_count(name, ".selectionSet.".join(keys))
    limits = [
        most for most in (arguments.pop("limit", None), asked["row_limit"]) if most is not None
    ]
    rows = list(rows)
    if asked["shuffle"] is not None:
        asked["shuffle"](rows)
    return select(rows, table, asked["tables"], limit=min(limits, default=None), **arguments)


def _fail(asked: Asked, *, at_hasura: bool) -> None:
    if asked["outage"] == "timed_out":
        error = Refusal("Operation timed out", code="API_ERROR")
        del error.extensions["exception"]
        raise error
    if asked["outage"] != ("hasura_down" if at_hasura else "graphql_down"):
        return
    error = failed(_HASURA if at_hasura else _PREFECT_SERVER)
    refused = {"type": "system", "errno": "ECONNREFUSED", "code": "ECONNREFUSED"}
    error.extensions["exception"] |= refused
    raise error


def _refusals(value: Any) -> Iterator[Refusal]:
    """The values in an input that could not be read."""
    match value:
        case Refusal():
            yield value
        case dict():
            yield from _refusals([*cast("dict[str, Any]", value).values()])
        case list():
            for part in cast("Iterable[Any]", value):
                yield from _refusals(part)
        case _:
            pass


# -- scalars ------------------------------------------------------------------------------------


def _uuid(value: Any) -> str | Refusal:
    """Read a UUID; one that cannot be read is refused when it is used, not with the query."""
    try:
        return str(uuid.UUID(str(value)))
    except ValueError:
        return bad_data(f'invalid input syntax for type uuid: "{value}"')


def _timestamp(value: Any) -> datetime | Refusal:
    """Read a time; without an offset it is in UTC."""
    try:
        read = datetime.fromisoformat(str(value))
    except ValueError:
        return bad_data(f'invalid input syntax for type timestamp with time zone: "{value}"')
    return read if read.tzinfo else read.replace(tzinfo=UTC)


def _timestamp_text(value: datetime) -> str:
    """Write a time as PostgreSQL does: in UTC, without zeros at the end of its fraction."""
    text = value.astimezone(UTC).replace(tzinfo=None).isoformat()
    return (text.rstrip("0") if "." in text else text) + "+00:00"


# -- errors -------------------------------------------------------------------------------------


def _refused(errors: Sequence[GraphQLError], code: str) -> Row:
    """What is said to a query that is not carried out."""
    return {
        "errors": [
            {
                "message": _in_gateways_words(error.message),
                "locations": [_location(each) for each in error.locations or ()],
                "extensions": {"code": code},
            }
            for error in errors
        ]
    }


def _answered(result: graphql.ExecutionResult, document: DocumentNode, known: GraphQLSchema) -> Row:
    """What is said to a query that was; an error anywhere in a field of its root is that field's.

    Raises:
        Exception: Not a refusal, but a defect of the fake.
    """
    if not result.errors:
        return {"data": result.data}
    data, errors = result.data, dict[str, Row]()
    for error in result.errors:
        refusal = error.original_error
        if not isinstance(refusal, Refusal):
            raise refusal or error
        root = str((error.path or [""])[0])
        node = _root_field(document, root)
        errors.setdefault(
            root,
            {
                "message": refusal.message,
                "locations": [_location(each) for each in _places(node, error)],
                "path": [root],
                "extensions": refusal.extensions,
            },
        )
        data = _without(data, root, node, known)
    return {"errors": list(errors.values()), "data": data}


def _without(
    data: dict[str, Any] | None, root: str, node: FieldNode | None, known: GraphQLSchema
) -> dict[str, Any] | None:
    """The data without a field of its root; nothing at all if that may not be null."""
    if data is None or known.query_type is None or node is None:
        return data
    field = known.query_type.fields.get(node.name.value)
    required = field is not None and graphql.is_non_null_type(field.type)
    return None if required else {**data, root: None}


def _root_field(document: DocumentNode, key: str) -> FieldNode | None:
    for definition in document.definitions:
        if isinstance(definition, OperationDefinitionNode):
            for node in definition.selection_set.selections:
                if isinstance(node, FieldNode) and (node.alias or node.name).value == key:
                    return node
    return None


def _places(node: FieldNode | None, error: GraphQLError) -> Iterable[graphql.SourceLocation]:
    if node is None or node.loc is None:
        return error.locations or ()
    return [graphql.get_location(node.loc.source, node.loc.start)]


def _location(place: graphql.SourceLocation) -> Row:
    return {"line": place.line, "column": place.column}


def _in_gateways_words(message: str) -> str:
    """A text of graphql-core in the words of graphql-js 14, as far as those were recorded."""
    if message.startswith("Syntax Error: "):
        message = re.sub(r"(?<= )'(\W+)'", r"\1", message.removesuffix("."))
    message = re.sub(r"(is not defined by type )'(\w+)'", r"\1\2", message)
    return re.sub(r"'([\w ]+)'", r'"\1"', message)


# -- depth --------------------------------------------------------------------------------------


def _too_deep(document: DocumentNode) -> Iterable[GraphQLError]:
    """The fields of a valid document that are too deep in it; those of its root have depth 0."""
    fragments = {
        definition.name.value: definition
        for definition in document.definitions
        if isinstance(definition, FragmentDefinitionNode)
    }
    for definition in document.definitions:
        if isinstance(definition, OperationDefinitionNode):
            name = definition.name.value if definition.name else ""
            said = f"'{name}' exceeds maximum operation depth of {_MOST_DEPTH}"
            for node in _below(definition.selection_set, fragments, 0):
                yield GraphQLError(said, [node])


def _below(
    selections: SelectionSetNode, fragments: Mapping[str, FragmentDefinitionNode], depth: int
) -> Iterable[FieldNode]:
    for node in selections.selections:
        if isinstance(node, FieldNode) and depth > _MOST_DEPTH:
            yield node
        elif isinstance(node, FieldNode) and node.selection_set is not None:
            yield from _below(node.selection_set, fragments, depth + 1)
        elif isinstance(node, InlineFragmentNode):
            yield from _below(node.selection_set, fragments, depth)
        elif isinstance(node, FragmentSpreadNode):
            fragment = fragments[node.name.value]
            yield from _below(fragment.selection_set, fragments, depth)
