"""What the mutations of a Prefect 1 server write: its clients' inputs, put into its tables."""

from collections.abc import Mapping
from typing import Any

import msgspec

from rxflow.testing._prefect1.hasura import Refusal
from rxflow.testing._prefect1.rows import Row
from rxflow.testing._prefect1.store import Prefect1Store


def mutate(store: Prefect1Store, name: str, given: Mapping[str, Any]) -> Row:
    """Carry out a mutation.

    Args:
        store: What it writes to.
        name: Its name in the schema.
        given: Its input.

    Returns:
        Its payload.

    Raises:
        Refusal: It names a row that is not there.
    """
    match name:
        case "create_project":
            return {"id": store.add_project(**given)}
        case "create_flow_run":
            return {"id": _create_flow_run(store, **given)}
        case "set_flow_run_states":
            ids = [_set_state(store, **each) for each in given["states"]]
            return {"states": [{"id": i, "status": "SUCCESS", "message": None} for i in ids]}
        case _:
            for line in given["logs"]:
                _write_log(store, **line)
            return {"success": True}


def failed(message: str) -> Refusal:
    """A refusal of the service behind the mutations."""
    return Refusal(message, code="INTERNAL_SERVER_ERROR")


def _create_flow_run(
    store: Prefect1Store,
    *,
    flow_id: str,
    flow_run_name: str | None = None,
    idempotency_key: str | None = None,
    parameters: Mapping[str, Any] | None = None,
) -> str:
    """Create a run, or find it if its idempotency key is known."""
    for run in store.runs.values():
        same = (run["flow_id"], run["idempotency_key"]) == (flow_id, idempotency_key)
        if idempotency_key is not None and same:
            return str(run["id"])
    if flow_id not in store.flows:
        raise failed(f"Flow {flow_id} not found")
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
    """Put a run in the state that a client serialized, whichever version of the run it knows."""
    if flow_run_id not in store.runs:
        raise failed(f"State update failed for flow run ID {flow_run_id}")
    said = msgspec.json.decode(state) if isinstance(state, str) else dict(state)
    store.set_state(flow_run_id, said.pop("type"), said.pop("message", None), **said)
    return flow_run_id


def _write_log(
    store: Prefect1Store, *, flow_run_id: str, message: str | None = None, **columns: Any
) -> None:
    known = {name: value for name, value in columns.items() if value is not None}
    store.log(flow_run_id, message, **known)
