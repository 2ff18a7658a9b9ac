"""Prefect 1's questions: GraphQL whose texts never change, and the variables of each.

Lists are asked for in orders without ties, and by offset and limit.
"""

from collections.abc import Mapping
from typing import Any, assert_never

from rxflow._backends.backend import HttpCall
from rxflow._backends.bodies import JSON_HEADERS, encode_json
from rxflow._backends.prefect1_rows import LEVELS, level_of
from rxflow._protocol.queries import (
    PAGE_LIMIT,
    AgentsQuery,
    FlowQuery,
    FlowsQuery,
    LogsQuery,
    ResultQuery,
    ResultsQuery,
    RunQuery,
    StatesQuery,
    TaskRunQuery,
    TaskRunsQuery,
    TaskRunStatesQuery,
)

Listed = LogsQuery | TaskRunsQuery | StatesQuery | AgentsQuery
"""Questions for lists, which are answered in pages."""

Asked = (
    Listed
    | RunQuery
    | TaskRunQuery
    | TaskRunStatesQuery
    | ResultQuery
    | ResultsQuery
    | FlowsQuery
    | FlowQuery
)
"""Questions that are put to a server."""

_VERSION = "1.4.1"  # the last of Prefect 1, whose client's words these are
_HEADERS = (*JSON_HEADERS, ("X-PREFECT-CORE-VERSION", _VERSION))

_Variables = Mapping[str, Any]

# -- texts --------------------------------------------------------------------------------------

# All rows under one name, so that every answer is taken apart in the same way.

_FLOW_RUN = """
query FlowRun($id: uuid!) {
  rows: flow_run(where: {id: {_eq: $id}}) {
    id name flow_id created updated labels parameters context run_config
    scheduled_start_time start_time end_time
    version state state_timestamp
    states(order_by: [{version: desc}, {timestamp: desc}, {id: desc}], limit: 2) {
      id version timestamp state message serialized_state
    }
  }
}
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
  rows: task_run(where: $where, order_by: [{{id: desc}}], offset: $offset, limit: $limit) {{
    {_TASK_RUN_FIELDS}
  }}
}}
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

_HELLO = "query Hello { hello }"

# Whichever rows a table has, without an order, so that the server need not look at more.
_ANY: Mapping[type, str] = {
    kind: f"query Any($limit: Int!) {{ rows: {table}(limit: $limit) {{ id }} }}"
    for kind, table in (
        (StatesQuery, "flow_run_state"),
        (LogsQuery, "log"),
        (TaskRunsQuery, "task_run"),
    )
}

QUERIES = (
    *(_FLOW_RUN, _STATES, _LOGS, _TASK_RUNS, _RESULTS, _FLOWS, _AGENTS, _HELLO),
    *_ANY.values(),
)
"""All texts that are ever sent."""


# -- questions ----------------------------------------------------------------------------------


def call_of(query: Asked, limit: int) -> HttpCall:
    """Put a question into words.

    Args:
        query: The question.
        limit: The most rows that the server gives of such a list.
    """
    match query:
        case RunQuery(flow_run_id):
            return _call(_FLOW_RUN, id=flow_run_id)
        case StatesQuery(flow_run_id, offset):
            return _call(_STATES, id=flow_run_id, offset=offset, limit=min(query.limit, limit))
        case AgentsQuery(offset):
            return _call(_AGENTS, offset=offset, limit=min(query.limit, limit))
        case LogsQuery():
            return _logs(query)
        case TaskRunsQuery():
            return _task_runs(query)
        case TaskRunQuery() | TaskRunStatesQuery() | ResultQuery() | ResultsQuery():
            return _of_task_runs(query)
        case FlowsQuery() | FlowQuery():
            return _of_flows(query)
        case _:
            assert_never(query)


def any_rows(query: Listed) -> HttpCall | None:
    """Ask for as many rows as can be had of the table that a list is of, whichever they are."""
    text = _ANY.get(type(query))
    return _call(text, limit=PAGE_LIMIT) if text is not None else None


def say_hello() -> HttpCall:
    """The call that shows whether it is a Prefect 1 that answers."""
    return _call(_HELLO)


def _call(text: str, **variables: Any) -> HttpCall:
    body = encode_json({"query": text, "variables": variables})
    return HttpCall(method="POST", path="", headers=_HEADERS, body=body)


def _is(value: str) -> _Variables:
    return {"_eq": value}


def _logs(query: LogsQuery) -> HttpCall:
    where: dict[str, Any] = {"flow_run_id": {"_in": query.flow_run_ids}}
    bounds = {"_gte": query.after, "_lte": query.before}
    if time := {name: bound for name, bound in bounds.items() if bound is not None}:
        where["timestamp"] = time
    if query.level:
        where |= _levels(query.level)
    way = "desc" if query.descending else "asc"
    order = [{column: way} for column in ("timestamp", "created", "id")]
    return _call(_LOGS, where=where, order=order, offset=query.offset, limit=query.limit)


def _levels(least: int) -> _Variables:
    """Levels have no order on the server: those to take by name, or those to leave out."""
    if level_of(None) < least:
        return {"level": {"_in": [name for name, level in LEVELS.items() if level >= least]}}
    others = [name for name, level in LEVELS.items() if level < least]
    return {"_or": [{"level": {"_nin": others}}, {"level": {"_is_null": True}}]}


def _task_runs(query: TaskRunsQuery) -> HttpCall:
    where: dict[str, Any] = {"flow_run_id": _is(query.flow_run_id)}
    if query.task_run_ids:
        where["id"] = {"_in": query.task_run_ids}
    if query.task_key:
        where["task"] = {"slug": _is(query.task_key)}
    if query.map_index is not None:
        where["map_index"] = {"_eq": query.map_index}
    return _call(_TASK_RUNS, where=where, offset=query.offset, limit=query.limit)


def _of_task_runs(
    query: TaskRunQuery | TaskRunStatesQuery | ResultQuery | ResultsQuery,
) -> HttpCall:
    match query:
        case TaskRunQuery(task_run_id) | TaskRunStatesQuery(task_run_id):
            return _call(_TASK_RUNS, where={"id": _is(task_run_id)}, offset=0, limit=1)
        case ResultQuery(task_run_id):
            return _call(_RESULTS, ids=[task_run_id])
        case ResultsQuery(task_run_ids):
            return _call(_RESULTS, ids=task_run_ids)
        case _:
            assert_never(query)


def _of_flows(query: FlowsQuery | FlowQuery) -> HttpCall:
    match query:
        case FlowsQuery():
            # A group has but versions of one flow, of which the newest comes first.
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
    return where
