"""Queries of Prefect 1's GraphQL API: constant texts, and the variables of each query.

Lists are requested in orders without ties, by offset and limit.

Belongs here: which HTTP call a query is sent as. Does not belong here: what the replies mean
(`prefect1_replies`).
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, assert_never

from rxflow._backends.backend import HttpCall
from rxflow._backends.json_bodies import JSON_HEADERS, encode_json
from rxflow._backends.prefect1_rows import LEVELS, TERMINAL_STATES, level_of, state_names_of
from rxflow._protocol.failures import Failure, FailureKind
from rxflow._protocol.queries import (
    PAGE_LIMIT,
    AgentsQuery,
    FlowQuery,
    FlowsQuery,
    LogsQuery,
    ResultQuery,
    ResultsQuery,
    RunCancellation,
    RunCreation,
    RunFilter,
    RunQuery,
    RunsQuery,
    StatesQuery,
    TaskRunQuery,
    TaskRunsQuery,
    TaskRunStatesQuery,
)

ListQuery = RunsQuery | LogsQuery | TaskRunsQuery | StatesQuery | TaskRunStatesQuery | AgentsQuery
"""Queries for lists, which are sent in pages."""

_QueryOfTaskRuns = TaskRunQuery | ResultQuery | ResultsQuery
_QueryOfFlows = FlowsQuery | FlowQuery

_Change = RunCreation | RunCancellation

Prefect1Query = ListQuery | RunQuery | _QueryOfTaskRuns | _QueryOfFlows | _Change
"""Queries that Prefect 1 supports, with the exception of `ServerQuery`, which takes no call."""

_VERSION = "1.4.1"  # the last release of Prefect 1, whose client sends this header
_HEADERS = (*JSON_HEADERS, ("X-PREFECT-CORE-VERSION", _VERSION))

_Variables = Mapping[str, Any]

# -- texts ----------------------------------------------------------------------------------------

# Each names its table `rows`, so that all replies are read alike.

_FLOW_RUN_FIELDS = """
    id name flow_id created updated labels parameters context run_config
    scheduled_start_time start_time end_time
    version state state_timestamp
    states(order_by: [{version: desc}, {timestamp: desc}, {id: desc}], limit: 2) {
      id version timestamp state message serialized_state
    }
"""

_FLOW_RUN = f"""
query FlowRun($id: uuid!) {{
  rows: flow_run(where: {{id: {{_eq: $id}}}}) {{
    {_FLOW_RUN_FIELDS}
  }}
}}
"""

_FLOW_RUNS = f"""
query FlowRuns(
  $where: flow_run_bool_exp!, $order: [flow_run_order_by!]!, $offset: Int!, $limit: Int!
) {{
  rows: flow_run(where: $where, order_by: $order, offset: $offset, limit: $limit) {{
    {_FLOW_RUN_FIELDS}
  }}
}}
"""

_STATES = """
query States($id: uuid!, $offset: Int!, $limit: Int!) {
  rows: flow_run_state(
    where: {flow_run_id: {_eq: $id}}
    order_by: [{version: asc}, {timestamp: asc}, {id: asc}]
    offset: $offset
    limit: $limit
  ) {
    id version timestamp state message serialized_state
  }
}
"""

_LOGS = """
query Logs($where: log_bool_exp!, $order: [log_order_by!]!, $offset: Int!, $limit: Int!) {
  rows: log(where: $where, order_by: $order, offset: $offset, limit: $limit) {
    id flow_run_id task_run_id timestamp created level name message
  }
}
"""

_TASK_RUN_FIELDS = """
    id name flow_run_id task { id slug name } map_index version state state_timestamp
    serialized_state created updated start_time end_time
"""

_TASK_RUNS = f"""
query TaskRuns($where: task_run_bool_exp!, $offset: Int!, $limit: Int!) {{
  rows: task_run(
    where: $where, order_by: [{{created: desc}}, {{id: desc}}], offset: $offset, limit: $limit
  ) {{
    {_TASK_RUN_FIELDS}
  }}
}}
"""

_TASK_RUN_STATES = """
query TaskRunStates($ids: [uuid!]!, $offset: Int!, $limit: Int!) {
  rows: task_run_state(
    where: {task_run_id: {_in: $ids}}
    order_by: [{task_run_id: asc}, {version: asc}, {timestamp: asc}, {id: asc}]
    offset: $offset
    limit: $limit
  ) {
    id task_run_id version timestamp state message serialized_state
  }
}
"""

_RESULTS = """
query Results($ids: [uuid!]!) {
  rows: task_run(where: {id: {_in: $ids}}) { id serialized_state }
}
"""

_FLOWS = """
query Flows($where: flow_bool_exp!, $offset: Int!, $limit: Int!) {
  rows: flow(
    where: $where, order_by: [{created: desc}, {id: desc}], offset: $offset, limit: $limit
  ) {
    id name created updated version archived core_version settings run_config storage
    serialized_flow project { name } flow_group { labels }
  }
}
"""

_AGENTS = """
query Agents($offset: Int!, $limit: Int!) {
  rows: agent(order_by: [{id: asc}], offset: $offset, limit: $limit) {
    id name labels last_queried
  }
}
"""

_CREATION = """
mutation Create($input: create_flow_run_input!) {
  rows: create_flow_run(input: $input) { id }
}
"""

_CANCELLATION = """
mutation Cancel($input: cancel_flow_run_input!) {
  rows: cancel_flow_run(input: $input) { state }
}
"""

_HELLO = "query Hello { hello }"

# Any rows of a table, without an order, so that the server need not read more than it sends.
_ANY_ROWS: Mapping[type, str] = {
    kind: f"query Any($limit: Int!) {{ rows: {table}(limit: $limit) {{ id }} }}"
    for kind, table in (
        (RunsQuery, "flow_run"),
        (StatesQuery, "flow_run_state"),
        (LogsQuery, "log"),
        (TaskRunsQuery, "task_run"),
        (TaskRunStatesQuery, "task_run_state"),
    )
}

QUERY_TEXTS = (
    *(
        _FLOW_RUN,
        _FLOW_RUNS,
        _STATES,
        _LOGS,
        _TASK_RUNS,
        _TASK_RUN_STATES,
        _RESULTS,
        _FLOWS,
        _AGENTS,
        _CREATION,
        _CANCELLATION,
        _HELLO,
    ),
    *_ANY_ROWS.values(),
)
"""All texts that are sent."""


# -- calls ----------------------------------------------------------------------------------------


def call_of(query: Prefect1Query) -> HttpCall:
    """Build the HTTP call of a query."""
    match query:
        case RunQuery() | RunsQuery():
            return _of_flow_runs(query)
        case StatesQuery(flow_run_id, offset, limit):
            return _call(_STATES, id=flow_run_id, offset=offset, limit=limit)
        case AgentsQuery(offset, limit):
            return _call(_AGENTS, offset=offset, limit=limit)
        case LogsQuery():
            return _logs(query)
        case TaskRunsQuery():
            return _task_runs(query)
        case TaskRunStatesQuery(task_run_ids, offset, limit):
            return _call(_TASK_RUN_STATES, ids=task_run_ids, offset=offset, limit=limit)
        case TaskRunQuery() | ResultQuery() | ResultsQuery():
            return _of_task_runs(query)
        case FlowsQuery() | FlowQuery():
            return _of_flows(query)
        case RunCreation() | RunCancellation():
            return _change(query)
        case _:
            assert_never(query)


def any_rows_call(query: ListQuery) -> HttpCall | None:
    """Build the call for as many rows as possible of the table that a list is read from.

    There is none for agents: their query has all rows of the table already.
    """
    text = _ANY_ROWS.get(type(query))
    return _call(text, limit=PAGE_LIMIT) if text is not None else None


def _call(text: str, **variables: Any) -> HttpCall:
    body = encode_json({"query": text, "variables": variables})
    return HttpCall(method="POST", path="", headers=_HEADERS, body=body)


HELLO_CALL = _call(_HELLO)
"""The call that shows whether the server is a Prefect 1."""


def unsupported_filter(where: RunFilter) -> Failure | None:
    """Return a failure if a filter of runs is about what Prefect 1 does not have."""
    filters = {
        "deployment": where.deployment_ids or where.deployment_names,
        "work_pool": where.work_pools,
        "parent": where.parent_ids,
    }
    given = [name for name, values in filters.items() if values]
    if not given:
        return None
    nouns = {"deployment": "deployments", "work_pool": "work pools", "parent": "subflows"}
    return Failure(
        kind=FailureKind.UNSUPPORTED,
        text=f"Prefect 1 has no {nouns[given[0]]}, so {given[0]}= cannot be used with this server; "
        "it filters runs by flow, tags (their labels), name, states and started_after",
    )


def _is(value: str) -> _Variables:
    return {"_eq": value}


def _of_flow_runs(query: RunQuery | RunsQuery) -> HttpCall:
    if isinstance(query, RunQuery):
        return _call(_FLOW_RUN, id=query.flow_run_id)
    conditions = [*_run_conditions(query.where)]
    if query.without:
        conditions.append({"id": {"_nin": query.without}})
    if bounds := _between(query.after, query.before):
        conditions.append({"scheduled_start_time": bounds})
    columns = ("scheduled_start_time", "id") if query.newest_first else ("id",)
    return _call(
        _FLOW_RUNS,
        where={"_and": conditions},
        order=[{column: "desc"} for column in columns],
        offset=query.offset,
        limit=query.limit,
    )


def _run_conditions(where: RunFilter) -> Iterator[_Variables]:
    if where.flow_run_ids:
        yield {"id": _in(where.flow_run_ids)}
    if where.flow_ids or where.flow_names:
        yield {"_or": [{"flow_id": _in(where.flow_ids)}, {"flow": {"name": _in(where.flow_names)}}]}
    if where.tags:
        yield {"labels": {"_contains": where.tags}}
    if where.names:
        yield {"name": _in(where.names)}
    if where.state_types or where.state_names:
        of_types = [name for each in where.state_types for name in state_names_of(each)]
        yield {"state": _in((*where.state_names, *of_types))}
    if where.not_in_states:
        yield {"state": {"_nin": where.not_in_states}}
    if time := _between(where.started_after, None):
        due = {"start_time": {"_is_null": True}, "scheduled_start_time": time}
        yield {"_or": [{"start_time": time}, due]}


def _in(values: Sequence[str]) -> _Variables:
    return {"_in": values}


def _between(after: datetime | None, before: datetime | None) -> _Variables:
    """Compare with the bounds that are set, both inclusive."""
    bounds = {"_gte": after, "_lte": before}
    return {name: bound for name, bound in bounds.items() if bound is not None}


def _logs(query: LogsQuery) -> HttpCall:
    where: dict[str, Any] = {"flow_run_id": _in(query.flow_run_ids)}
    if time := _between(query.after, query.before):
        where["timestamp"] = time
    if query.level:
        where |= _levels(query.level)
    direction = "desc" if query.descending else "asc"
    order = [{column: direction} for column in ("timestamp", "created", "id")]
    return _call(_LOGS, where=where, order=order, offset=query.offset, limit=query.limit)


def _levels(lowest: int) -> _Variables:
    """Filter by the names of levels, which have no order on the server.

    A level that is unknown here is read as INFO. So a bound above INFO lists the levels to include,
    and a lower one the levels to exclude.
    """
    if level_of(None) < lowest:
        return {"level": {"_in": [name for name, level in LEVELS.items() if level >= lowest]}}
    lower = [name for name, level in LEVELS.items() if level < lowest]
    return {"_or": [{"level": {"_nin": lower}}, {"level": {"_is_null": True}}]}


def _task_runs(query: TaskRunsQuery) -> HttpCall:
    where: dict[str, Any] = {}
    if query.flow_run_ids:
        where["flow_run_id"] = {"_in": query.flow_run_ids}
    if query.task_run_ids:
        where["id"] = {"_in": query.task_run_ids}
    if query.unfinished:
        where["state"] = {"_nin": TERMINAL_STATES}
    if query.task_key:
        where["task"] = {"slug": _is(query.task_key)}
    if query.map_index is not None:
        where["map_index"] = {"_eq": query.map_index}
    return _call(_TASK_RUNS, where=where, offset=query.offset, limit=query.limit)


def _of_task_runs(query: _QueryOfTaskRuns) -> HttpCall:
    match query:
        case TaskRunQuery(task_run_id):
            return _call(_TASK_RUNS, where={"id": _is(task_run_id)}, offset=0, limit=1)
        case ResultQuery(task_run_id):
            return _call(_RESULTS, ids=[task_run_id])
        case ResultsQuery(task_run_ids):
            return _call(_RESULTS, ids=task_run_ids)
        case _:
            assert_never(query)


def _of_flows(query: _QueryOfFlows) -> HttpCall:
    match query:
        case FlowsQuery():
            # A group consists of versions of one flow, the newest of which comes first.
            limit = 1 if query.flow_group_id else PAGE_LIMIT
            return _call(_FLOWS, where=_flows(query), offset=0, limit=limit)
        case FlowQuery(flow_id):
            return _call(_FLOWS, where={"id": _is(flow_id)}, offset=0, limit=1)
        case _:
            assert_never(query)


def _flows(query: FlowsQuery) -> _Variables:
    where: dict[str, Any] = {}
    if query.name:
        where |= {"name": _is(query.name), "archived": {"_eq": False}}
    if query.project_name is None:
        where["project_id"] = {"_is_null": True}
    elif query.project_name:
        where["project"] = {"name": _is(query.project_name)}
    if query.flow_group_id:
        where["flow_group_id"] = _is(query.flow_group_id)
    if query.flow_ids:
        where["id"] = _in(query.flow_ids)
    return where


def _change(query: _Change) -> HttpCall:
    if isinstance(query, RunCancellation):
        return _call(_CANCELLATION, input={"flow_run_id": query.flow_run_id})
    columns: dict[str, Any] = {
        "flow_id": query.source_id,
        "idempotency_key": query.idempotency_key,
        "parameters": query.parameters,
    }
    if query.name:
        columns["flow_run_name"] = query.name
    if query.tags:
        columns["labels"] = query.tags
    return _call(_CREATION, input=columns)
