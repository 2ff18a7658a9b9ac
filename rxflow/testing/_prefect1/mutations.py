"""The mutations of a Prefect 1 server: they write the input of a client into the tables.

Belongs here: the mutations of projects, runs, task runs and logs. Does not belong here: how a flow
is registered, which is in `registration.py`, and how the tables store a row, which is in
`store.py`.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import msgspec

from rxflow.testing._prefect1 import rows
from rxflow.testing._prefect1.field_errors import FieldError, service_error
from rxflow.testing._prefect1.registration import (
    create_flow,
    create_flow_from_compressed_string,
    register_edges,
    register_tasks,
)
from rxflow.testing._prefect1.store import Prefect1Store
from rxflow.testing._rows import Row, known_type

_SUCCESS: Row = {"success": True}


def mutate(store: Prefect1Store, name: str, arguments: Mapping[str, Any]) -> Row:
    """Run a mutation.

    Args:
        store: The tables that it writes to.
        name: The mutation's name in the schema.
        arguments: Its input.

    Returns:
        Its payload.

    Raises:
        FieldError: The input names a row that does not exist, or has a value that is refused.
    """
    return _MUTATIONS[name](store, **arguments)


def task_run_info(store: Prefect1Store, *, task_run_id: str) -> Row:
    """Return what `get_task_run_info` selects of a task run.

    Raises:
        FieldError: It does not exist.
    """
    task_run = store.task_runs.get(task_run_id)
    if task_run is None:
        raise _not_found("Task run", task_run_id)
    return {name: task_run[name] for name in ("id", "version", "serialized_state")}


# -- projects and flows -------------------------------------------------------------------------


def _create_project(
    store: Prefect1Store, *, name: str, tenant_id: str, description: str | None = None
) -> Row:
    """Create a project; the client looks for the text of the error about one that exists."""
    if any(project["name"] == name for project in store.projects.values()):
        raise service_error("Uniqueness violation.")
    return {"id": store.add_project(name, description=description, tenant_id=tenant_id)}


def _delete_project(store: Prefect1Store, *, project_id: str) -> Row:
    if project_id not in store.projects:
        raise _not_found("Project", project_id)
    store.delete_project(project_id)
    return _SUCCESS


def _set_schedule_active(store: Prefect1Store, *, flow_id: str) -> Row:
    """Accept the mutation; the fake has no scheduler, so that no runs follow."""
    if flow_id not in store.flows:
        raise _not_found("Flow", flow_id)
    return _SUCCESS


# -- flow runs ----------------------------------------------------------------------------------


def _create_flow_run(
    store: Prefect1Store,
    *,
    flow_id: str | None = None,
    version_group_id: str | None = None,
    flow_run_name: str | None = None,
    idempotency_key: str | None = None,
    labels: list[str] | None = None,
    run_config: Row | None = None,
    parameters: Mapping[str, Any] | None = None,
    context: Mapping[str, Any] | None = None,
    scheduled_start_time: datetime | None = None,
) -> Row:
    """Create a run, or return the one of the flow that has the same idempotency key.

    By default it has the flow's run configuration, and the labels of the flow's group or of that
    configuration, as recorded. Each task of the flow has a pending task run from the beginning:
    the client looks up the ids of tasks in them when it executes the run.
    """
    flow = _flow_to_run(store, flow_id, version_group_id)
    for run in store.runs.values():
        same = (run["flow_id"], run["idempotency_key"]) == (flow["id"], idempotency_key)
        if idempotency_key is not None and same:
            return {"id": run["id"]}
    if labels is None:
        labels = _default_labels(store, flow)
    due = {} if scheduled_start_time is None else {"scheduled_start_time": scheduled_start_time}
    run_id = store.add_run(
        name=flow_run_name or "fake-run",
        flow_id=flow["id"],
        state=None,
        idempotency_key=idempotency_key,
        labels=labels,
        run_config=flow["run_config"] if run_config is None else run_config,
        parameters=dict(parameters or {}),
        context=dict(context or {}),
        **due,
    )
    store.set_state(run_id, "Scheduled", "Flow run scheduled.")
    for task in [task for task in store.tasks.values() if task["flow_id"] == flow["id"]]:
        _add_task_run(store, run_id, task, map_index=-1)
    return {"id": run_id}


def _default_labels(store: Prefect1Store, flow: Row) -> list[str]:
    group = store.flow_groups.get(flow["flow_group_id"])
    if group is not None and group["labels"] is not None:
        return [*group["labels"]]
    run_config: Row = flow["run_config"] or {}
    return [*run_config.get("labels", [])]


def _flow_to_run(store: Prefect1Store, flow_id: str | None, version_group_id: str | None) -> Row:
    if flow_id is not None:
        if flow_id not in store.flows:
            raise _not_found("Flow", flow_id)
        return store.flows[flow_id]
    if version_group_id is None:
        raise service_error("One of flow_id or version_group_id must be provided")
    for flow in store.flows.values():
        if flow["version_group_id"] == version_group_id and not flow["archived"]:
            return flow
    raise service_error(f"Version group {version_group_id} has no unarchived flows")


def _delete_flow_run(store: Prefect1Store, *, flow_run_id: str) -> Row:
    _require_run(store, flow_run_id)
    store.delete_run(flow_run_id)
    return _SUCCESS


def _cancel_flow_run(store: Prefect1Store, *, flow_run_id: str) -> Row:
    """Cancel a run.

    A run that has started is cancelling until its process ends it, as the client's `Cancelling` is
    documented; one that has not started is cancelled at once. A finished run remains as it is.
    """
    run = _require_run(store, flow_run_id)
    match run["state"]:
        case "Running" | "Cancelling":
            store.set_state(flow_run_id, "Cancelling", "Flow run is cancelling.")
        case state if state not in rows.TERMINAL_TYPES:
            store.set_state(flow_run_id, "Cancelled", "Flow run is cancelled.")
        case _:
            pass
    return {"state": run["state"]}


def _set_flow_run_name(store: Prefect1Store, *, flow_run_id: str, name: str) -> Row:
    _require_run(store, flow_run_id)
    store.change_run(flow_run_id, name=name)
    return _SUCCESS


def _set_flow_run_states(store: Prefect1Store, *, states: list[Row]) -> Row:
    return {"states": [_set_flow_run_state(store, **each) for each in states]}


def _set_flow_run_state(store: Prefect1Store, *, flow_run_id: str, state: Any, **_: Any) -> Row:
    """Put a run in the state that a client serialized; the version that it expects is ignored."""
    if flow_run_id not in store.runs:
        raise service_error(f"State update failed for flow run ID {flow_run_id}")
    type_, message, fields = _read_state(state)
    store.set_state(flow_run_id, type_, message, **fields)
    return _accepted(flow_run_id)


def _update_flow_run_heartbeat(store: Prefect1Store, *, flow_run_id: str) -> Row:
    _require_run(store, flow_run_id)
    store.change_run(flow_run_id, heartbeat=store.now())
    return _SUCCESS


def _write_run_logs(store: Prefect1Store, *, logs: list[Row]) -> Row:
    for line in logs:
        _write_log(store, **line)
    return _SUCCESS


def _write_log(
    store: Prefect1Store, *, flow_run_id: str, message: str | None = None, **columns: Any
) -> None:
    _require_run(store, flow_run_id)
    not_null = {name: value for name, value in columns.items() if value is not None}
    store.log(flow_run_id, message, **not_null)


# -- task runs ----------------------------------------------------------------------------------


def _get_or_create_task_run_info(
    store: Prefect1Store, *, flow_run_id: str, task_id: str, map_index: int | None = None
) -> Row:
    """Return the run of a task in a flow run, which is created as pending if there is none."""
    map_index = -1 if map_index is None else map_index
    wanted = (flow_run_id, task_id, map_index)
    for row in store.task_runs.values():
        if (row["flow_run_id"], row["task_id"], row["map_index"]) == wanted:
            return task_run_info(store, task_run_id=row["id"])
    _require_run(store, flow_run_id)
    if task_id not in store.tasks:
        raise _not_found("Task", task_id)
    task_run_id = _add_task_run(store, flow_run_id, store.tasks[task_id], map_index=map_index)
    return task_run_info(store, task_run_id=task_run_id)


def _add_task_run(store: Prefect1Store, flow_run_id: str, task: Row, *, map_index: int) -> str:
    """Add a pending run of a task."""
    columns = {"task_id": task["id"], "cache_key": task["cache_key"]}
    return store.add_task_run(flow_run_id, slug=task["slug"], map_index=map_index, **columns)


def _set_task_run_name(store: Prefect1Store, *, task_run_id: str, name: str) -> Row:
    task_run_info(store, task_run_id=task_run_id)
    store.task_runs[task_run_id]["name"] = name
    return _SUCCESS


def _set_task_run_states(store: Prefect1Store, *, states: list[Row]) -> Row:
    return {"states": [_set_task_run_state(store, **each) for each in states]}


def _set_task_run_state(store: Prefect1Store, *, task_run_id: str, state: Any, **_: Any) -> Row:
    """Put a task run in a state that a client serialized."""
    if task_run_id not in store.task_runs:
        raise service_error(f"State update failed for task run ID {task_run_id}")
    type_, message, fields = _read_state(state)
    store.set_task_state(task_run_id, type_, message, **fields)
    return _accepted(task_run_id)


# -- shared by them -----------------------------------------------------------------------------


def _accepted(run_id: str) -> Row:
    """Make what is returned for a state that was set; it is never put in a queue."""
    return {"id": run_id, "status": "SUCCESS", "message": None}


def _read_state(state: Any) -> tuple[str, str | None, Row]:
    """Return the type, the message and the other fields of a state, which may be JSON in a string.

    Fields that a state of this type does not have are left out, as the client leaves them out.

    Raises:
        FieldError: It is not the JSON of a state.
    """
    try:
        fields = msgspec.json.decode(state) if isinstance(state, str) else dict(state)
        type_ = known_type("type", fields.pop("type"), rows.STATE_TYPES)
        if (start := fields.get("start_time")) is not None:
            datetime.fromisoformat(start)
    except (msgspec.DecodeError, AttributeError, KeyError, TypeError, ValueError):
        raise service_error("State could not be deserialized") from None
    message = fields.pop("message", None)
    own = rows.serialized(type_, message)
    return type_, message, {name: fields[name] for name in fields if name in own}


def _require_run(store: Prefect1Store, run_id: str) -> Row:
    if run_id not in store.runs:
        raise _not_found("Flow run", run_id)
    return store.runs[run_id]


def _not_found(kind: str, row_id: str) -> FieldError:
    return service_error(f"{kind} {row_id} not found")


_MUTATIONS: Mapping[str, Callable[..., Row]] = {
    "cancel_flow_run": _cancel_flow_run,
    "create_flow": create_flow,
    "create_flow_from_compressed_string": create_flow_from_compressed_string,
    "create_flow_run": _create_flow_run,
    "create_project": _create_project,
    "delete_flow_run": _delete_flow_run,
    "delete_project": _delete_project,
    "get_or_create_task_run_info": _get_or_create_task_run_info,
    "register_edges": register_edges,
    "register_tasks": register_tasks,
    "set_flow_run_name": _set_flow_run_name,
    "set_flow_run_states": _set_flow_run_states,
    "set_schedule_active": _set_schedule_active,
    "set_task_run_name": _set_task_run_name,
    "set_task_run_states": _set_task_run_states,
    "update_flow_run_heartbeat": _update_flow_run_heartbeat,
    "write_run_logs": _write_run_logs,
}
