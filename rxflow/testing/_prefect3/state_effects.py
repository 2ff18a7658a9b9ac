"""How entering a state changes the row of its flow run or task run: state, times and run count."""

from datetime import datetime

from rxflow._models.states import TERMINAL_TYPES
from rxflow.testing._rows import Row


def enter(row: Row, state: Row, now: datetime) -> None:
    """Put a run in a state.

    Args:
        row: The row of a flow run or a task run, which is changed.
        state: The state's row.
        now: When the change is stored.
    """
    before = row["state"]
    if before is not None and before["type"] == "RUNNING":
        row["total_run_time"] += _seconds(before["timestamp"], state["timestamp"])
    if state["type"] == "RUNNING":
        row["run_count"] += 1
        row["start_time"] = row["start_time"] or state["timestamp"]
    row |= {
        "end_time": state["timestamp"] if state["type"] in TERMINAL_TYPES else None,
        "state": state,
        "state_id": state["id"],
        "state_type": state["type"],
        "state_name": state["name"],
        "updated": now,
    }


def with_estimates(row: Row, now: datetime) -> Row:
    """Return a run's row as it is sent, with the estimates that are computed for each reply."""
    run_time = row["total_run_time"]
    if row["state_type"] == "RUNNING":
        run_time += _seconds(row["state"]["timestamp"], now)
    started = row["start_time"] or now
    waited = _seconds(row["expected_start_time"] or started, started)
    return row | {"estimated_run_time": run_time, "estimated_start_time_delta": waited}


def _seconds(since: datetime, until: datetime) -> float:
    return max(0.0, (until - since).total_seconds())
