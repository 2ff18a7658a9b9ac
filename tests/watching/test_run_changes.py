"""`run_changes`: the events that lead from one read of a run to the next."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from rxflow import FlowRun, RunChanged, State, StateChange
from rxflow._watching.run_changes import (
    first_row,
    is_heartbeat,
    state_and_row_events,
)
from rxflow._watching.watch_spec import EventSource

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def state(state_type: str, at: float) -> State:
    """Make a state, entered at a second."""
    time = NOON + timedelta(seconds=at)
    return State(id=f"{state_type}-{at}", type=state_type, name=state_type.title(), timestamp=time)


def row(last: State | None = None, **fields: Any) -> FlowRun:
    """Make the row of a run in a state."""
    run = FlowRun(id="run", name="amber-fox", created=NOON, updated=NOON)
    return replace(run, state=last, state_id=last.id if last else None, **fields)


RUNNING = state("RUNNING", 1)
COMPLETED = state("COMPLETED", 2)


@pytest.mark.parametrize("source", EventSource)
def test_first_row_has_no_state_where_states_are_streamed(source: EventSource) -> None:
    """RunSeen carries the state only if no StateChange will."""
    run = row(RUNNING)
    expected = row() if source is EventSource.STATES else run
    assert first_row(run, frozenset({source})) == expected


def test_new_states_explain_the_state_of_the_row() -> None:
    """A row that differs by its newest state alone makes state changes and no RunChanged."""
    events = state_and_row_events(row(), row(COMPLETED), (RUNNING, COMPLETED))
    assert [type(event) for event in events] == [StateChange, StateChange]
    assert [event.state for event in events if isinstance(event, StateChange)] == [
        RUNNING,
        COMPLETED,
    ]


@pytest.mark.parametrize(
    "run",
    [row(COMPLETED, name="renamed"), row(RUNNING)],
    ids=["another field", "another state than the newest"],
)
def test_row_that_states_do_not_explain_is_a_change(run: FlowRun) -> None:
    """A row that differs from what its states lead to is emitted after them."""
    *_, last = state_and_row_events(row(), run, (RUNNING, COMPLETED))
    assert last == RunChanged(flow_run_id="run", run=run)


def test_unchanged_row_makes_no_event() -> None:
    """A row that was read before makes no event."""
    assert state_and_row_events(row(RUNNING), row(RUNNING), ()) == []


LATER = NOON + timedelta(seconds=9)
HEARTBEATS = {
    "only its time of update is new": (row(RUNNING, updated=LATER), True),
    "nothing is new": (row(RUNNING), False),
    "another field is new, too": (row(RUNNING, updated=LATER, name="renamed"), False),
}


@pytest.mark.parametrize(("run", "expected"), HEARTBEATS.values(), ids=HEARTBEATS)
def test_heartbeat_changes_time_of_update_only(run: FlowRun, expected: bool) -> None:
    """A row is a heartbeat if its time of update is new, and nothing else."""
    assert is_heartbeat(row(RUNNING), run) is expected
