"""How entering a state changes the row of its flow run or task run: state, times and run count.

And what the server does with a state that a client proposes, as 3.8.8 did where it was recorded.
"""

from datetime import datetime
from typing import NamedTuple

from rxflow._models.states import TERMINAL_TYPES, StateType
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


class Transition(NamedTuple):
    """What the server does with a proposed state.

    Attributes:
        status: ``ACCEPT``, ``REJECT`` or ``ABORT``, as in its reply.
        entered: The type of the state that the run enters; None if it stays in its own.
        reason: Why it does not enter the proposed one.
    """

    status: str
    entered: str | None
    reason: str | None = None


def transition(run: Row, proposed: str) -> Transition:
    """Decide about a state that is proposed for a flow run.

    Args:
        run: The run's row.
        proposed: The state's type. Only cancelling a run is refused, or done otherwise.
    """
    current = run["state_type"]
    if proposed != StateType.CANCELLING:
        return Transition("ACCEPT", proposed)
    if current in TERMINAL_TYPES:
        return Transition("ABORT", None, f"Run is already in terminal state {current}.")
    if current == StateType.CANCELLING:
        reason = "Cannot transition flows that are cancelling to a state other than Cancelled."
        return Transition("REJECT", None, reason)
    if current == StateType.SCHEDULED and run["infrastructure_pid"] is None:
        reason = "Scheduled flow run has no infrastructure to terminate."
        return Transition("REJECT", StateType.CANCELLED, reason)
    return Transition("ACCEPT", proposed)


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
