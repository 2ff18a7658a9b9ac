"""New rows as Prefect 3.8.8 sends them: every key, with its initial value.

Belongs here: data only. Does not belong here: what changes it, which is in `store.py` and
`state_effects.py`.
"""

from datetime import datetime
from typing import Any

from rxflow.testing._rows import Row


def flow(now: datetime, *, flow_id: str, name: str) -> Row:
    """Make a flow."""
    return {
        "id": flow_id,
        "created": now,
        "updated": now,
        "name": name,
        "tags": [],
        "labels": {},
    }


def flow_run(now: datetime, *, run_id: str, name: str, flow_id: str) -> Row:
    """Make a flow run without a state and without the estimates that each reply computes."""
    return {
        "id": run_id,
        "created": now,
        "updated": now,
        "name": name,
        "flow_id": flow_id,
        "state_id": None,
        "deployment_id": None,
        "deployment_version": None,
        "work_queue_id": None,
        "work_queue_name": None,
        "flow_version": None,
        "parameters": {},
        "idempotency_key": None,
        "context": {},
        "empirical_policy": _POLICY | {"pause_keys": [], "resuming": False, "retry_type": None},
        "tags": [],
        "labels": {"prefect.flow.id": flow_id},
        "parent_task_run_id": None,
        "state_type": None,
        "state_name": None,
        "run_count": 0,
        "expected_start_time": now,
        "next_scheduled_start_time": None,
        "start_time": None,
        "end_time": None,
        "total_run_time": 0.0,
        "auto_scheduled": False,
        "infrastructure_document_id": None,
        "infrastructure_pid": None,
        "created_by": None,
        "work_pool_id": None,
        "work_pool_name": None,
        "state": None,
        "job_variables": {},
    }


def deployment(now: datetime, *, deployment_id: str, name: str, flow_id: str) -> Row:
    """Make a deployment that no worker has polled for."""
    return {
        "id": deployment_id,
        "created": now,
        "updated": now,
        "name": name,
        "version": None,
        "description": None,
        "flow_id": flow_id,
        "paused": False,
        "schedules": [],
        "concurrency_limit": None,
        "global_concurrency_limit": None,
        "concurrency_options": None,
        "job_variables": {},
        "parameters": {},
        "tags": [],
        "labels": {"prefect.flow.id": flow_id},
        "work_queue_name": None,
        "work_queue_id": None,
        "last_polled": None,
        "parameter_openapi_schema": {},
        "path": None,
        "pull_steps": [],
        "entrypoint": None,
        "storage_document_id": None,
        "infrastructure_document_id": None,
        "created_by": None,
        "updated_by": None,
        "work_pool_name": None,
        "status": "NOT_READY",
        "enforce_parameter_schema": True,
    }


def task_run(now: datetime, *, task_run_id: str, dynamic_key: str, run: Row) -> Row:
    """Make a task run without a state and without the estimates that each reply computes."""
    return {
        "id": task_run_id,
        "created": now,
        "updated": now,
        "name": f"task-{task_run_id[-3:]}",
        "flow_run_id": run["id"],
        "task_key": "task-0489fc40",
        "dynamic_key": dynamic_key,
        "cache_key": None,
        "cache_expiration": None,
        "task_version": None,
        "empirical_policy": _POLICY | {"retry_jitter_factor": None},
        "tags": [],
        "labels": {"prefect.flow.id": run["flow_id"], "prefect.flow-run.id": run["id"]},
        "state_id": None,
        "task_inputs": {},
        "state_type": None,
        "state_name": None,
        "run_count": 0,
        "flow_run_run_count": 0,
        "expected_start_time": now,
        "next_scheduled_start_time": None,
        "start_time": None,
        "end_time": None,
        "total_run_time": 0.0,
        "state": None,
    }


def state(
    now: datetime,
    *,
    state_id: str,
    type: str,  # noqa: A002 - the server's name for it
    name: str | None,
    **details: Any,
) -> Row:
    """Make a state; `details` are the items of its ``state_details`` that are not null."""
    return {
        "id": state_id,
        "type": type,
        "name": name or type.capitalize(),
        "timestamp": now,
        "message": None,
        "data": None,
        "state_details": _DETAILS | details,
    }


def log(now: datetime, *, row_id: str, **columns: Any) -> Row:
    """Make a log row."""
    return {"id": row_id, "created": now, "updated": now, **columns}


_POLICY: Row = {
    "max_retries": 0,
    "retry_delay_seconds": 0.0,
    "retries": None,
    "retry_delay": None,
}

_DETAILS: Row = {
    "flow_run_id": None,
    "task_run_id": None,
    "child_flow_run_id": None,
    "scheduled_time": None,
    "cache_key": None,
    "cache_expiration": None,
    "deferred": False,
    "untrackable_result": False,
    "pause_timeout": None,
    "pause_reschedule": False,
    "pause_key": None,
    "run_input_keyset": None,
    "refresh_cache": None,
    "retriable": None,
    "transition_id": None,
    "task_parameters_id": None,
    "traceparent": None,
    "deployment_concurrency_lease_id": None,
}
