"""Rows as Prefect Server has them in its tables: every column that can be asked for.

Only data is made here; what happens to it is in `_store1.py`.
"""

from datetime import datetime
from typing import Any

Row = dict[str, Any]

_VERSION = "1.4.1"

# What each type of state says beside its message, until it is told otherwise.
_NO_RESULT: Row = {"type": "NoResultType", "__version__": _VERSION}
_STARTS: Row = {"start_time": None}
_FIELDS: dict[str, Row] = {
    "Cached": {
        "cached_parameters": None,
        "cached_result_expiration": None,
        "hashed_inputs": None,
    },
    "ClientFailed": {"state": None},
    "Looped": {"loop_count": 1},
    "Mapped": {"n_map_states": 0},
    "Paused": _STARTS,
    "Queued": {**_STARTS, "state": None},
    "Resume": _STARTS,
    "Retrying": {**_STARTS, "run_count": 1},
    "Scheduled": _STARTS,
    "Submitted": {"state": None},
}

TERMINAL = frozenset(
    {
        *("Cached", "Cancelled", "Failed", "Finished", "Looped", "Mapped", "Skipped", "Success"),
        *("TimedOut", "TriggerFailed", "ValidationFailed"),
    }
)
"""The types of the states in which a run is finished."""


def serialized(type: str, message: str | None, **fields: Any) -> Row:  # noqa: A002 - its own word
    """A state in the words of the 1.4.1 client.

    Args:
        type: Its type.
        message: What is said about it.
        fields: What it says beside that, as it stands in JSON.
    """
    state: Row = {
        "type": type,
        "context": {},
        "message": message,
        "__version__": _VERSION,
        "cached_inputs": {},
    }
    if type != "Mapped":  # it has no result of its own
        state["_result"] = dict(_NO_RESULT)
    return state | _FIELDS.get(type, {}) | fields


def new(now: datetime, *, row_id: str, **columns: Any) -> Row:
    """A row that is stored now."""
    return {"id": row_id, "created": now, "updated": now, **columns}


def flow(now: datetime, *, row_id: str, name: str, **columns: Any) -> Row:
    """A flow, without project or group unless they are given."""
    return {
        **new(now, row_id=row_id),
        "name": name,
        "version": 1,
        "archived": False,
        "core_version": _VERSION,
        "settings": {},
        "run_config": dict(_RUN_CONFIG),
        "storage": {"type": "Local", "__version__": _VERSION},
        "serialized_flow": {"name": name, "tasks": [], "__version__": _VERSION},
        "project_id": None,
        "flow_group_id": None,
        "tenant_id": None,
        **columns,
    }


def flow_run(now: datetime, *, row_id: str, name: str, flow_id: str, **columns: Any) -> Row:
    """A flow run without a state."""
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
        "agent_id": None,
        "tenant_id": None,
        **_STATELESS,
        **columns,
    }


def task_run(
    now: datetime, *, row_id: str, flow_run_id: str, task_id: str, map_index: int, **columns: Any
) -> Row:
    """A task run without a state."""
    return {
        **new(now, row_id=row_id),
        "name": None,
        "flow_run_id": flow_run_id,
        "task_id": task_id,
        "map_index": map_index,
        "tenant_id": None,
        **_STATELESS,
        **columns,
    }


def enter(run: Row, state: Row, timestamp: datetime, now: datetime) -> None:
    """Put a flow run or a task run in a state.

    Args:
        run: Its row.
        state: The state, serialized.
        timestamp: When it was set.
        now: When that is stored.
    """
    if state["type"] == "Running":
        run["start_time"] = run["start_time"] or timestamp
    run |= {
        "version": run["version"] + 1,
        "state": state["type"],
        "state_timestamp": timestamp,
        "serialized_state": state,
        "end_time": timestamp if state["type"] in TERMINAL else None,
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
    "serialized_state": None,
    "heartbeat": None,
    "start_time": None,
    "end_time": None,
}
