"""The mutations of a Prefect 1 server: they write the input of a client into the tables.

Does not belong here: how the tables store a row, which is in `store.py`.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from rxflow.testing._prefect1.field_errors import service_error
from rxflow.testing._prefect1.store import Prefect1Store
from rxflow.testing._rows import Row


def mutate(store: Prefect1Store, name: str, arguments: Mapping[str, Any]) -> Row:
    """Run a mutation.

    Args:
        store: The tables that it writes to.
        name: The mutation's name in the schema.
        arguments: Its input.

    Returns:
        Its payload.

    Raises:
        FieldError: The input names a row that does not exist.
    """
    match name:
        case "create_project":
            return {"id": store.add_project(**arguments)}
        case "create_flow_run":
            return {"id": _create_flow_run(store, **arguments)}
        case "set_flow_run_states":
            ids = [_set_state(store, **each) for each in arguments["states"]]
            return {"states": [{"id": i, "status": "SUCCESS", "message": None} for i in ids]}
        case _:
            for line in arguments["logs"]:
                _write_log(store, **line)
            return {"success": True}


def _create_flow_run(
    store: Prefect1Store,
    *,
    flow_id: str,
    flow_run_name: str | None = None,
    idempotency_key: str | None = None,
    parameters: Mapping[str, Any] | None = None,
) -> str:
    """Create a run, or return the one of the flow that has the same idempotency key."""
    for run in store.runs.values():
        same = (run["flow_id"], run["idempotency_key"]) == (flow_id, idempotency_key)
        if idempotency_key is not None and same:
            return str(run["id"])
    if flow_id not in store.flows:
        raise service_error(f"Flow {flow_id} not found")
    run_id = store.add_run(
        name=flow_run_name or "fake-run",
        flow_id=flow_id,
        state=None,
        idempotency_key=idempotency_key,
        parameters=dict(parameters or {}),
    )
    store.set_state(run_id, "Scheduled", "Flow run scheduled.")
    return run_id


def _set_state(store: Prefect1Store, *, flow_run_id: str, state: Any, **_: Any) -> str:
    """Put a run in the state that a client serialized; the version that it expects is ignored."""
    if flow_run_id not in store.runs:
        raise service_error(f"State update failed for flow run ID {flow_run_id}")
    fields = msgspec.json.decode(state) if isinstance(state, str) else dict(state)
    store.set_state(flow_run_id, fields.pop("type"), fields.pop("message", None), **fields)
    return flow_run_id


def _write_log(
    store: Prefect1Store, *, flow_run_id: str, message: str | None = None, **columns: Any
) -> None:
    not_null = {name: value for name, value in columns.items() if value is not None}
    store.log(flow_run_id, message, **not_null)
