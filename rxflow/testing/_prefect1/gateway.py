"""The GraphQL gateway of Prefect Server: it runs queries over the tables, and mutations.

Needs graphql-core. Does not belong here: which rows a list has (`hasura.py`), what a mutation
writes (`mutations.py`), and the wording of errors (`graphql_responses.py`).
"""

import uuid
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from functools import cache
from typing import Any, TypedDict, Unpack, cast

import graphql
from graphql import (
    GraphQLError,
    GraphQLObjectType,
    GraphQLResolveInfo,
    GraphQLScalarType,
    GraphQLSchema,
)

from rxflow._models.times import plain_utc
from rxflow.testing._faults import BackendOutage
from rxflow.testing._prefect1.field_errors import (
    FieldError,
    invalid_value,
    negative_count,
    service_error,
)
from rxflow.testing._prefect1.graphql_responses import execution_response, rejection
from rxflow.testing._prefect1.hasura import RELATIONS, Selection, Tables, select
from rxflow.testing._prefect1.mutations import mutate, task_run_info
from rxflow.testing._prefect1.query_validation import parse, validate
from rxflow.testing._prefect1.store import Prefect1Store
from rxflow.testing._rows import Row, Shuffle

# As recorded, with the ports of the recorded server.
_REFUSED = "request to http://{0}/{1} failed, reason: connect ECONNREFUSED {0}"
_HASURA_REFUSED = _REFUSED.format("127.0.0.1:23000", "v1alpha1/graphql")
_PREFECT_SERVER_REFUSED = _REFUSED.format("127.0.0.1:24201", "graphql/")
_AGGREGATE = "_aggregate"
_INTERNAL = "Unable to complete operation. An internal API error occurred."


class GatewayState(TypedDict):
    """The state of the server that a query is run on.

    Attributes:
        store: The tables that mutations write to.
        tables: The tables that queries read.
        row_limit: The most rows in each list; None: no limit.
        outage: The part that is down.
        shuffle: Shuffles rows before they are sorted; None: they stay as they were stored.
    """

    store: Prefect1Store
    tables: Tables
    row_limit: int | None
    outage: BackendOutage | None
    shuffle: Shuffle | None


class Gateway:
    """Runs queries by a schema."""

    def __init__(self, schema: str, *, cloud: bool) -> None:
        """Make a gateway.

        Args:
            schema: The schema, in GraphQL's language.
            cloud: Whether the gateway is Prefect Cloud's.
        """
        self._schema = _build_schema(schema, cloud=cloud)

    def reply(
        self, text: str, variables: Mapping[str, Any] | None, **state: Unpack[GatewayState]
    ) -> tuple[int, Row]:
        """Run a query.

        Args:
            text: The query.
            variables: Its variables.
            state: The state of the server.

        Returns:
            The HTTP status, and the body before it is encoded.
        """
        try:
            document = parse(text)
        except GraphQLError as error:
            return 400, rejection([error], "GRAPHQL_PARSE_FAILED")
        if errors := validate(text, self._schema):
            return 400, rejection(errors, "GRAPHQL_VALIDATION_FAILED")
        result = graphql.execute_sync(  # pyright: ignore[reportUnknownMemberType]
            self._schema,
            document,
            context_value=state,
            variable_values=dict(variables or {}),
            field_resolver=_resolve,
        )
        if any(error.path is None for error in result.errors or ()):  # invalid variables
            return 400, rejection(result.errors or (), "INTERNAL_SERVER_ERROR")
        return 200, execution_response(result, document, self._schema)


# -- schema and scalars -------------------------------------------------------------------------


@cache
def _build_schema(text: str, *, cloud: bool) -> GraphQLSchema:
    """Build the schema, with scalars that are read and written as in PostgreSQL."""
    schema = graphql.build_schema(text)
    for name, read in {"uuid": _read_uuid, "timestamptz": _read_timestamp}.items():
        cast("GraphQLScalarType", schema.type_map[name]).parse_value = read  # type: ignore[method-assign]
    cast("GraphQLScalarType", schema.type_map["timestamptz"]).serialize = _write_timestamp  # type: ignore[method-assign]
    if not cloud:
        del cast("GraphQLObjectType", schema.query_type).fields["auth_info"]
    return schema


def _read_uuid(value: Any) -> str | FieldError:
    """Read a UUID; a malformed one is an error of the field that uses it, not of the query."""
    try:
        return str(uuid.UUID(str(value)))
    except ValueError:
        return invalid_value(f'invalid input syntax for type uuid: "{value}"')


def _read_timestamp(value: Any) -> datetime | FieldError:
    """Read a time; without an offset it is in UTC."""
    try:
        read = datetime.fromisoformat(str(value))
    except ValueError:
        return invalid_value(f'invalid input syntax for type timestamp with time zone: "{value}"')
    return read if read.tzinfo else read.replace(tzinfo=UTC)


def _write_timestamp(value: datetime) -> str:
    """Write a time as PostgreSQL does: in UTC, without zeros at the end of its fraction."""
    text = plain_utc(value).replace(tzinfo=None).isoformat()
    return (text.rstrip("0") if "." in text else text) + "+00:00"


# -- fields -------------------------------------------------------------------------------------


def _resolve(source: Any, info: GraphQLResolveInfo, **arguments: Any) -> Any:
    state: GatewayState = info.context
    name, parent = info.field_name, info.parent_type.name
    if parent == "Mutation":
        return _run_mutation(state, name, **arguments)
    if parent == "Query":
        return _resolve_root(state, name, info, **arguments)
    relation = RELATIONS.get(parent, {}).get(name.removesuffix(_AGGREGATE))
    if relation is None:
        return source[name]
    found = relation.of(source, state["tables"])
    if not relation.many:
        return next(iter(found), None)
    return _list(state, found, relation.table, info, **arguments)


def _resolve_root(
    state: GatewayState, name: str, info: GraphQLResolveInfo, **arguments: Any
) -> Any:
    _require_up(state["outage"], hasura=name not in {"hello", "auth_info", "get_task_run_info"})
    tables = state["tables"]
    if name == "hello":
        return "👋"
    if name == "auth_info":
        return {"tenant_id": next(iter(tables["tenant"]), None)}
    for error in _errors_in(arguments.get("id", arguments.get("task_run_id"))):
        raise error
    if name == "get_task_run_info":
        return task_run_info(state["store"], **arguments)
    if name.endswith("_by_pk"):
        return tables[name.removesuffix("_by_pk")].get(arguments["id"])
    table = name.removesuffix(_AGGREGATE)
    return _list(state, tables[table].values(), table, info, **arguments)


def _run_mutation(state: GatewayState, name: str, *, input: Mapping[str, Any]) -> Row:  # noqa: A002 - as sent
    if state["outage"] == "hasura_down":
        raise service_error(_INTERNAL)
    _require_up(state["outage"], hasura=False)
    for error in _errors_in(input):
        raise service_error(error.message)
    return mutate(state["store"], name, input)


def _list(
    state: GatewayState,
    rows: Iterable[Row],
    table: str,
    info: GraphQLResolveInfo,
    **arguments: Unpack[Selection],
) -> list[Row] | Row:
    """Select rows, or count them for an aggregate; the server's row limit does not count."""
    for name, number in (("limit", arguments.get("limit")), ("offset", arguments.get("offset"))):
        if number is not None and number < 0:
            keys = [str(key) for key in info.path.as_list() if isinstance(key, str)]
            raise negative_count(name, ".selectionSet.".join(keys))
    rows = list(rows)
    if info.field_name.endswith(_AGGREGATE):
        return {"aggregate": {"count": len(select(rows, table, state["tables"], **arguments))}}
    limits = [limit for limit in (arguments.get("limit"), state["row_limit"]) if limit is not None]
    arguments["limit"] = min(limits, default=None)
    if state["shuffle"] is not None:
        state["shuffle"](rows)
    return select(rows, table, state["tables"], **arguments)


def _require_up(outage: BackendOutage | None, *, hasura: bool) -> None:
    """Check that no outage concerns a query.

    Args:
        outage: The part that is down.
        hasura: Whether Hasura runs the query; else Prefect Server's own service does.

    Raises:
        FieldError: That part is down, or queries time out.
    """
    if outage == "timed_out":
        error = FieldError("Operation timed out", code="API_ERROR")
        del error.extensions["exception"]
        raise error
    if outage != ("hasura_down" if hasura else "graphql_down"):
        return
    error = service_error(_HASURA_REFUSED if hasura else _PREFECT_SERVER_REFUSED)
    error.extensions["exception"] |= {
        "type": "system",
        "errno": "ECONNREFUSED",
        "code": "ECONNREFUSED",
    }
    raise error


def _errors_in(value: Any) -> Iterator[FieldError]:
    """Find the values in an input that could not be read."""
    match value:
        case FieldError():
            yield value
        case dict():
            yield from _errors_in([*cast("dict[str, Any]", value).values()])
        case list():
            for part in cast("Iterable[Any]", value):
                yield from _errors_in(part)
        case _:
            pass
