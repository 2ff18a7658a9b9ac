"""New rows as in the tables of Prefect Server: every column that can be queried.

Belongs here: data, and how entering a state changes it. Does not belong here: the tables, which are
in `store.py`.
"""

from datetime import UTC, datetime
from typing import Any

from rxflow.testing._rows import Row

_VERSION = "1.4.1"

# The fields of each type of state, with their initial values.
_NO_RESULT: Row = {"type": "NoResultType", "__version__": _VERSION}
_UNSCHEDULED: Row = {"start_time": None}
_STATE_FIELDS: dict[str, Row] = {
    "Cached": {
        "cached_parameters": None,
        "cached_result_expiration": None,
        "hashed_inputs": None,
    },
    "ClientFailed": {"state": None},
    "Looped": {"loop_count": 1},
    "Mapped": {"n_map_states": 0},
    "Paused": _UNSCHEDULED,
    "Queued": {**_UNSCHEDULED, "state": None},
    "Resume": _UNSCHEDULED,
    "Retrying": {**_UNSCHEDULED, "run_count": 1},
    "Scheduled": _UNSCHEDULED,
    "Submitted": {"state": None},
}

TERMINAL_TYPES = frozenset(
    {
        *("Cached", "Cancelled", "Failed", "Finished", "Looped", "Mapped", "Skipped", "Success"),
        *("TimedOut", "TriggerFailed", "ValidationFailed"),
    }
)

STATE_TYPES = tuple(sorted({*_STATE_FIELDS, *TERMINAL_TYPES, "Cancelling", "Pending", "Running"}))
"""All types of states that the 1.4.1 client can read."""


def serialized(type: str, message: str | None, **fields: Any) -> Row:  # noqa: A002 - the client's name for it
    """Serialize a state as the 1.4.1 client does.

    Args:
        type: The state's type.
        message: The state's message.
        fields: Its other fields, as JSON values.
    """
    state: Row = {
        "type": type,
        "context": {},
        "message": message,
        "__version__": _VERSION,
        "cached_inputs": {},
    }
    if type != "Mapped":  # a mapped state has no result
        state["_result"] = dict(_NO_RESULT)
    return state | _STATE_FIELDS.get(type, {}) | fields


def new(now: datetime, *, row_id: str, **columns: Any) -> Row:
    """Make a row of any table."""
    return {"id": row_id, "created": now, "updated": now, **columns}


def project(now: datetime, *, row_id: str, name: str, tenant_id: str) -> Row:
    """Make a project."""
    return {**new(now, row_id=row_id), "name": name, "description": None, "tenant_id": tenant_id}


def flow(now: datetime, *, row_id: str, name: str, **columns: Any) -> Row:
    """Make a flow, without project and group by default."""
    return {
        **new(now, row_id=row_id),
        "name": name,
        "description": None,
        "version": 1,
        "archived": False,
        "core_version": _VERSION,
        "settings": {},
        "run_config": dict(_RUN_CONFIG),
        "storage": {"type": "Local", "__version__": _VERSION},
        "environment": None,
        "parameters": [],
        "serialized_flow": {"name": name, "tasks": [], "__version__": _VERSION},
        "project_id": None,
        "flow_group_id": None,
        "version_group_id": columns.get("flow_group_id"),
        "idempotency_key": None,
        "tenant_id": None,
        **columns,
    }


def task(now: datetime, *, row_id: str, name: str, slug: str, **columns: Any) -> Row:
    """Make a task, without a flow by default."""
    return {
        **new(now, row_id=row_id),
        "name": name,
        "slug": slug,
        "description": None,
        "type": "prefect.tasks.core.function.FunctionTask",
        "mapped": False,
        "max_retries": 0,
        "retry_delay": None,
        "cache_key": None,
        "flow_id": None,
        "tenant_id": None,
        **columns,
    }


def flow_run(now: datetime, *, row_id: str, name: str, flow_id: str, **columns: Any) -> Row:
    """Make a flow run without a state."""
    return {
        **new(now, row_id=row_id),
        "name": name,
        "flow_id": flow_id,
        "labels": [],
        "parameters": {},
        "context": {},
        "run_config": dict(_RUN_CONFIG),
        "idempotency_key": None,
        "scheduled_start_time": now,
        "auto_scheduled": False,
        "agent_id": None,
        "tenant_id": None,
        **_STATELESS,
        **columns,
    }


def task_run(
    now: datetime, *, row_id: str, flow_run_id: str, task_id: str, map_index: int, **columns: Any
) -> Row:
    """Make a task run without a state."""
    return {
        **new(now, row_id=row_id),
        "name": None,
        "flow_run_id": flow_run_id,
        "task_id": task_id,
        "map_index": map_index,
        "cache_key": None,
        "tenant_id": None,
        **_STATELESS,
        **columns,
    }


def enter(run: Row, state: Row, timestamp: datetime, now: datetime) -> None:
    """Put a flow run or a task run in a state.

    Args:
        run: Its row, which is changed.
        state: The serialized state.
        timestamp: The state's time.
        now: When the change is stored.
    """
    start = state.get("start_time")
    if state["type"] == "Running":
        run["start_time"] = run["start_time"] or timestamp
    run |= {
        "version": run["version"] + 1,
        "state": state["type"],
        "state_timestamp": timestamp,
        "state_start_time": start and datetime.fromisoformat(start).astimezone(UTC),
        "serialized_state": state,
        "end_time": timestamp if state["type"] in TERMINAL_TYPES else None,
        "updated": now,
    }


_RUN_CONFIG: Row = {
    "env": None,
    "type": "LocalRun",
    "labels": [],
    "__version__": _VERSION,
    "working_dir": None,
}

_STATELESS: Row = {
    "version": 0,
    "state": None,
    "state_timestamp": None,
    "state_start_time": None,
    "serialized_state": None,
    "heartbeat": None,
    "start_time": None,
    "end_time": None,
}
