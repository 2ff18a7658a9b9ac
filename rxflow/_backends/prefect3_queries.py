"""Queries of Prefect 3's REST API: the paths and filters of version 3.8.8.

Belongs here: which HTTP call a query is sent as. Does not belong here: what the replies mean
(`prefect3_replies`).
"""

from collections.abc import Mapping, Sequence
from typing import Any, assert_never
from urllib.parse import quote

from rxflow._backends.backend import HttpCall
from rxflow._backends.json_bodies import JSON_HEADERS, encode_json
from rxflow._models.states import TERMINAL_TYPES, StateType
from rxflow._protocol.queries import (
    DeploymentQuery,
    FlowQuery,
    FlowsQuery,
    LogsQuery,
    NamedDeploymentQuery,
    ResultQuery,
    RunCancellation,
    RunCreation,
    RunFilter,
    RunQuery,
    RunsQuery,
    ServerQuery,
    StatesQuery,
    TaskRunQuery,
    TaskRunsQuery,
    TaskRunStatesQuery,
    WorkersQuery,
    WorkPoolQuery,
    WorkPoolsQuery,
)

_QueryOfTaskRuns = TaskRunsQuery | TaskRunQuery | TaskRunStatesQuery | ResultQuery
_QueryOfFlows = FlowsQuery | FlowQuery
_QueryOfDeployments = DeploymentQuery | NamedDeploymentQuery
_QueryOfWorkPools = WorkPoolQuery | WorkPoolsQuery | WorkersQuery
_Change = RunCreation | RunCancellation

Prefect3Query = (
    ServerQuery
    | RunQuery
    | RunsQuery
    | StatesQuery
    | LogsQuery
    | _QueryOfDeployments
    | _QueryOfTaskRuns
    | _QueryOfFlows
    | _QueryOfWorkPools
    | _Change
)
"""Queries that Prefect 3 supports."""


def call_of(query: Prefect3Query) -> HttpCall:
    """Build the HTTP call of a query."""
    match query:
        case ServerQuery():
            return VERSION_CALL
        case RunQuery() | RunsQuery():
            return _of_flow_runs(query)
        case StatesQuery(flow_run_id):
            return _get("/flow_run_states/", ("flow_run_id", flow_run_id))
        case LogsQuery():
            return _logs(query)
        case TaskRunsQuery() | TaskRunQuery() | TaskRunStatesQuery() | ResultQuery():
            return _of_task_runs(query)
        case FlowsQuery() | FlowQuery():
            return _of_flows(query)
        case DeploymentQuery() | NamedDeploymentQuery():
            return _of_deployments(query)
        case WorkPoolQuery() | WorkPoolsQuery() | WorkersQuery():
            return _of_work_pools(query)
        case RunCreation() | RunCancellation():
            return _change(query)
        case _:
            assert_never(query)


def csrf_token_call(client_id: str) -> HttpCall:
    """Build the call that fetches a CSRF token for a client."""
    return _get("/csrf-token", ("client", client_id))


def _get(path: str, *params: tuple[str, str]) -> HttpCall:
    return HttpCall(method="GET", path=path, params=params)


def _post(path: str, body: Mapping[str, Any]) -> HttpCall:
    return HttpCall(method="POST", path=path, headers=JSON_HEADERS, body=encode_json(body))


VERSION_CALL = _get("/admin/version")
"""The call that shows whether the server is a Prefect 3, and of which version."""


def _segment(name: str) -> str:
    return quote(name, safe="")


def _of_flow_runs(query: RunQuery | RunsQuery) -> HttpCall:
    if isinstance(query, RunQuery):
        return _get(f"/flow_runs/{_segment(query.flow_run_id)}")
    where = query.where
    time = {"after_": query.after, "before_": query.before}  # both inclusive
    filters: dict[str, Any] = {
        "flow_runs": _set(
            _run_filter(where) | {"id": _ids(query), "expected_start_time": _set(time)}
        ),
        "flows": _either(id=where.flow_ids, name=where.flow_names),
        "work_pools": _either(name=where.work_pools),
    }
    paging = {
        # The one order without ties, as for task runs.
        "sort": "EXPECTED_START_TIME_DESC" if query.newest_first else "ID_DESC",
        "offset": query.offset,
        "limit": query.limit,
    }
    return _post("/flow_runs/filter", _set(filters) | paging)


def _run_filter(where: RunFilter) -> dict[str, Any]:
    """Filter by what is in the row of a run; names of deployments must be ids already."""
    return {
        "deployment_id": _any(where.deployment_ids),
        "tags": {"all_": where.tags} if where.tags else None,
        "name": _any(where.names),
        "state": _state_filter(where),
        # Compared with the expected start of a run that has not started.
        "start_time": _set({"after_": where.started_after}),
        "parent_flow_run_id": _any(where.parent_ids),
        "parent_task_run_id": {"is_null_": True} if where.top_level else None,
    }


def _state_filter(where: RunFilter) -> Mapping[str, Any]:
    if where.not_in_states:
        return {"name": {"not_any_": where.not_in_states}}
    return _either(type=where.state_types, name=where.state_names)


def _ids(query: RunsQuery) -> Mapping[str, Any]:
    wanted, unwanted = query.where.flow_run_ids, query.without
    return _set({"any_": wanted or None, "not_any_": unwanted or None})


def _either(**values: Sequence[str]) -> Mapping[str, Any]:
    """Filter by one field, or by any of two."""
    given = _set({name: _any(each) for name, each in values.items()})
    return given if len(given) <= 1 else {"operator": "or_", **given}


def _any(values: Sequence[str]) -> Mapping[str, Any] | None:
    return {"any_": values} if values else None


def _set(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out the fields that do not filter."""
    return {name: value for name, value in fields.items() if value not in (None, {})}


def _logs(query: LogsQuery) -> HttpCall:
    where: dict[str, Any] = {"flow_run_id": {"any_": query.flow_run_ids}}
    if query.level:
        where["level"] = {"ge_": query.level}
    if time := _set({"after_": query.after, "before_": query.before}):  # both inclusive
        where["timestamp"] = time
    return _post(
        "/logs/filter",
        {
            "logs": where,
            "sort": "TIMESTAMP_DESC" if query.descending else "TIMESTAMP_ASC",
            "offset": query.offset,
            "limit": query.limit,
        },
    )


def _of_task_runs(query: _QueryOfTaskRuns) -> HttpCall:
    match query:
        case TaskRunsQuery():
            return _task_runs(query)
        case TaskRunStatesQuery(task_run_ids):  # one task run's at once
            return _get("/task_run_states/", ("task_run_id", task_run_ids[0]))
        case TaskRunQuery(task_run_id) | ResultQuery(task_run_id):
            return _get(f"/task_runs/{_segment(task_run_id)}")
        case _:
            assert_never(query)


_UNFINISHED = sorted(set(StateType) - TERMINAL_TYPES)  # it has no filter by what a type is not


def _task_runs(query: TaskRunsQuery) -> HttpCall:
    where: dict[str, Any] = {}
    if query.flow_run_ids:
        where["flow_run_id"] = {"any_": query.flow_run_ids}
    if query.task_run_ids:
        where["id"] = {"any_": query.task_run_ids}
    if query.unfinished:
        where["state"] = {"type": {"any_": _UNFINISHED}}
    return _post(
        "/task_runs/filter",
        {
            "task_runs": where,
            # The one order without ties: with it, a stored row is on one of the pages, however many
            # others are stored in between.
            "sort": "ID_DESC",
            "offset": query.offset,
            "limit": query.limit,
        },
    )


def _of_flows(query: _QueryOfFlows) -> HttpCall:
    match query:
        case FlowsQuery(name, flow_ids=ids):
            where = {"name": _any([name] if name else ()), "id": _any(ids)}
            return _post("/flows/filter", {"flows": _set(where)})
        case FlowQuery(flow_id):
            return _get(f"/flows/{_segment(flow_id)}")
        case _:
            assert_never(query)


def _of_deployments(query: _QueryOfDeployments) -> HttpCall:
    match query:
        case DeploymentQuery(deployment_id):
            return _get(f"/deployments/{_segment(deployment_id)}")
        case NamedDeploymentQuery(flow_name, name):
            return _get(f"/deployments/name/{_segment(flow_name)}/{_segment(name)}")
        case _:
            assert_never(query)


def _of_work_pools(query: _QueryOfWorkPools) -> HttpCall:
    match query:
        case WorkPoolQuery(name):
            return _get(f"/work_pools/{_segment(name)}")
        case WorkPoolsQuery():
            return _post("/work_pools/filter", {"offset": query.offset})
        case WorkersQuery(name):
            return _post(f"/work_pools/{_segment(name)}/workers/filter", {})
        case _:
            assert_never(query)


def _change(query: _Change) -> HttpCall:
    if isinstance(query, RunCancellation):
        state = {"type": StateType.CANCELLING, "name": "Cancelling"}
        return _post(f"/flow_runs/{_segment(query.flow_run_id)}/set_state", {"state": state})
    columns = {
        "parameters": query.parameters or None,
        "name": query.name or None,
        "tags": query.tags or None,
        "idempotency_key": query.idempotency_key,
    }
    return _post(f"/deployments/{_segment(query.source_id)}/create_flow_run", _set(columns))
