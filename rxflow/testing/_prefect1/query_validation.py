"""Parsing and validating of GraphQL queries, with the gateway's bound on their depth.

A query of what the fake leaves out is rejected with an error that says so. Needs graphql-core. Does
not belong here: running a query (`gateway.py`), and the response that
reports an invalid one (`graphql_responses.py`).
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import lru_cache

import graphql
from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    GraphQLSchema,
    InlineFragmentNode,
    OperationDefinitionNode,
    SelectionSetNode,
)

_MAX_DEPTH = 7

LEFT_OUT: Mapping[str, Collection[str]] = {
    "agents": ("agent_config", "get_runs_in_queue", "register_agent"),
    "API keys": ("auth_api_key", "create_api_key", "delete_api_key"),
    "artifacts": (
        "create_task_run_artifact",
        "delete_task_run_artifact",
        "update_task_run_artifact",
    ),
    "key-value pairs": ("delete_key_value", "key_value", "set_key_value"),
    "limits of task concurrency": (
        "delete_task_tag_limit",
        "task_tag_limit",
        "update_task_tag_limit",
    ),
    "secrets": ("secret_names", "secret_value", "set_secret"),
    "writes of tenants": ("create_tenant",),
}
"""The queries and mutations of the 1.4.1 client that the fake does not have, by their kind."""

# A client sends the same few queries again and again, and validating one takes longer than
# running it.
_CACHED_QUERIES = 64


@lru_cache(_CACHED_QUERIES)
def parse(text: str) -> DocumentNode:
    """Parse a query.

    Raises:
        GraphQLError: It has a syntax error.
    """
    return graphql.parse(text)


@lru_cache(_CACHED_QUERIES)
def validate(text: str, schema: GraphQLSchema) -> Sequence[GraphQLError]:
    """Return the errors in a query that can be parsed."""
    document = parse(text)
    return (
        list(_left_out_errors(document))
        or graphql.validate(schema, document)
        or list(_depth_errors(document))
    )


def _left_out_errors(document: DocumentNode) -> Iterable[GraphQLError]:
    """Report each field of the root that a real server has and the fake does not."""
    kinds = {name: kind for kind, names in LEFT_OUT.items() for name in names}
    for definition in document.definitions:
        if isinstance(definition, OperationDefinitionNode):
            for node in definition.selection_set.selections:
                if isinstance(node, FieldNode) and (kind := kinds.get(node.name.value)):
                    message = f"FakePrefect1 has no '{node.name.value}': it leaves out {kind}."
                    yield GraphQLError(message, [node])


def _depth_errors(document: DocumentNode) -> Iterable[GraphQLError]:
    """Report each field of a valid document that is too deep; the fields of its root have depth 0.

    The document must be valid, so that its fragments exist and are not recursive.
    """
    fragments = {
        definition.name.value: definition
        for definition in document.definitions
        if isinstance(definition, FragmentDefinitionNode)
    }
    for definition in document.definitions:
        if isinstance(definition, OperationDefinitionNode):
            name = definition.name.value if definition.name else ""
            message = f"'{name}' exceeds maximum operation depth of {_MAX_DEPTH}"
            for node in _too_deep_fields(definition.selection_set, fragments, 0):
                yield GraphQLError(message, [node])


def _too_deep_fields(
    selections: SelectionSetNode, fragments: Mapping[str, FragmentDefinitionNode], depth: int
) -> Iterable[FieldNode]:
    for node in selections.selections:
        if isinstance(node, FieldNode) and depth > _MAX_DEPTH:
            yield node
        elif isinstance(node, FieldNode) and node.selection_set is not None:
            yield from _too_deep_fields(node.selection_set, fragments, depth + 1)
        elif isinstance(node, InlineFragmentNode):
            yield from _too_deep_fields(node.selection_set, fragments, depth)
        elif isinstance(node, FragmentSpreadNode):
            fragment = fragments[node.name.value]
            yield from _too_deep_fields(fragment.selection_set, fragments, depth)
