"""Registering a flow at a Prefect 1 server: the flow, its versions, its tasks and edges.

Belongs here: how the parts of a serialized flow become rows. Does not belong here: how the tables
store a row, which is in `store.py`. What is not documented by the 1.4.1 client is left out: a flow
has no schedule, and its edges only say which of its tasks are mapped.
"""

import gzip
from base64 import b64decode
from binascii import Error as Base64Error
from typing import Any, cast

import msgspec

from rxflow.testing._prefect1.field_errors import service_error
from rxflow.testing._prefect1.store import Prefect1Store
from rxflow.testing._rows import Row

_TASK_COLUMNS = ("name", "type", "description", "max_retries", "retry_delay", "cache_key")


def create_flow(
    store: Prefect1Store,
    *,
    project_id: str,
    serialized_flow: Any,
    set_schedule_active: bool | None = None,  # noqa: ARG001 - there is no scheduler
    version_group_id: str | None = None,
    idempotency_key: str | None = None,
) -> Row:
    """Register a flow, as a version of the flow that has its version group or its name.

    Its earlier versions are archived. With the idempotency key of the latest of them, none is
    added.

    Returns:
        The payload of the mutation.

    Raises:
        FieldError: There is no such project, or this is no serialized flow.
    """
    if project_id not in store.projects:
        raise service_error(f"Project {project_id} not found")
    if not isinstance(serialized_flow, dict) or "name" not in serialized_flow:
        raise service_error("Flow could not be deserialized")
    flow = cast("Row", serialized_flow)
    versions = [
        row
        for row in store.flows.values()
        if row["project_id"] == project_id
        and (
            row["name"] == flow["name"]
            if version_group_id is None
            else row["version_group_id"] == version_group_id
        )
    ]
    versions.sort(key=lambda row: row["version"])
    if versions and idempotency_key is not None:
        latest = versions[-1]
        if latest["idempotency_key"] == idempotency_key:
            return {"id": latest["id"]}
    columns: Row = {} if version_group_id is None else {"version_group_id": version_group_id}
    for version in versions:
        version["archived"] = True
        columns |= {name: version[name] for name in ("flow_group_id", "version_group_id")}
    flow_id = store.add_flow(
        flow["name"],
        project=store.projects[project_id]["name"],
        project_id=project_id,
        version=max((row["version"] for row in versions), default=0) + 1,
        core_version=flow.get("__version__"),
        idempotency_key=idempotency_key,
        serialized_flow=flow,
        **{name: flow.get(name) for name in ("environment", "parameters", "run_config", "storage")},
        **columns,
    )
    register_tasks(store, flow_id=flow_id, serialized_tasks=flow.get("tasks") or [])
    register_edges(store, flow_id=flow_id, serialized_edges=flow.get("edges") or [])
    return {"id": flow_id}


def create_flow_from_compressed_string(
    store: Prefect1Store, *, serialized_flow: str, **columns: Any
) -> Row:
    """Register a flow that is JSON, compressed by gzip, in base64; else as `create_flow`."""
    try:
        flow = msgspec.json.decode(gzip.decompress(b64decode(serialized_flow, validate=True)))
    except (Base64Error, EOFError, OSError, ValueError):  # a DecodeError is a ValueError
        raise service_error("Flow could not be decompressed") from None
    return create_flow(store, serialized_flow=flow, **columns)


def register_tasks(store: Prefect1Store, *, flow_id: str, serialized_tasks: list[Any]) -> Row:
    """Add tasks to a flow."""
    _require_flow(store, flow_id)
    for task in serialized_tasks:
        try:
            columns: Row = {name: task[name] for name in _TASK_COLUMNS if name in task}
            slug = str(task["slug"])
        except (KeyError, TypeError):
            raise service_error("Task could not be deserialized") from None
        store.add_task(flow_id, slug, **columns)
    return {"success": True}


def register_edges(store: Prefect1Store, *, flow_id: str, serialized_edges: list[Any]) -> Row:
    """Mark the tasks of a flow that an edge maps."""
    _require_flow(store, flow_id)
    try:
        mapped = {
            str(edge["downstream_task"]["slug"]) for edge in serialized_edges if edge.get("mapped")
        }
    except (AttributeError, KeyError, TypeError):
        raise service_error("Edge could not be deserialized") from None
    for task in store.tasks.values():
        if task["flow_id"] == flow_id and task["slug"] in mapped:
            task["mapped"] = True
    return {"success": True}


def _require_flow(store: Prefect1Store, flow_id: str) -> None:
    if flow_id not in store.flows:
        raise service_error(f"Flow {flow_id} not found")
