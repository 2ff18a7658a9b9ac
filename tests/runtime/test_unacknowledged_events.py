"""`UnacknowledgedEvents`: which events an acknowledgement is for."""

from datetime import UTC, datetime

import msgspec
import pytest

from rxflow import StateChange
from rxflow._models.states import State
from rxflow._runtime.unacknowledged_events import UnacknowledgedEvents

START = datetime(2026, 11, 22, 12, tzinfo=UTC)
RUN = "9e6caafc-4ea1-4493-b0a9-122efba9eaaa"


def change(number: int) -> StateChange:
    """Return a change of the run's state."""
    state = State(id=f"{number}", type="RUNNING", name="Running", timestamp=START)
    return StateChange(flow_run_id=RUN, id=state.id, state=state)


CHANGES = [change(number) for number in range(6)]


def waiting(*events: StateChange) -> UnacknowledgedEvents:
    """Return events that wait."""
    unacknowledged = UnacknowledgedEvents()
    unacknowledged.add(events)
    return unacknowledged


def test_an_event_stands_for_those_before_it() -> None:
    """They are taken in their order, and each once."""
    events = waiting(*CHANGES)
    assert events.take(CHANGES[2]) == CHANGES[:3]
    assert len(events) == 3
    assert events.take(CHANGES[5]) == CHANGES[3:]
    assert len(events) == 0


def test_an_event_that_was_acknowledged_is_no_error() -> None:
    """Two threads may acknowledge in any order, and one may do so twice."""
    events = waiting(*CHANGES)
    events.take(CHANGES[3])
    for number in (3, 0, 2):
        assert events.take(CHANGES[number]) == []
    events.add_past([change(9)])
    assert events.take(change(9)) == []


def test_a_copy_stands_for_its_event() -> None:
    """One that another process has returned is equal, and not the same object."""
    assert waiting(*CHANGES).take(msgspec.structs.replace(CHANGES[1])) == CHANGES[:2]


def test_of_equal_events_the_object_decides() -> None:
    """Else one that comes twice would be acknowledged before those between were."""
    again = msgspec.structs.replace(CHANGES[0])
    events = waiting(CHANGES[0], CHANGES[1], again, CHANGES[2])
    assert events.take(again) == [CHANGES[0], CHANGES[1], again]
    assert waiting(CHANGES[0], CHANGES[1], again).take(msgspec.structs.replace(again)) == [again]


def test_an_event_that_was_not_handed_on_is_refused() -> None:
    """The error shows it, and nothing is acknowledged."""
    events = waiting(*CHANGES)
    with pytest.raises(ValueError, match="has not handed on the event '2026-11-22"):
        events.take(change(7))
    assert len(events) == 6
