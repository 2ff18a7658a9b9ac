"""When the runs of a stream are over."""

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sample_events import OTHER, RUN, all_closed, changed, closed, entered, line, notice, seen

from rxflow import FlowRunEvent, NoticeCode
from rxflow._operators.run_ends import RunEnds

NAMES = ["Pending", "Running", "Paused", "Completed", "Failed", "Crashed", "Cancelled"]

TERMINAL = {"Completed", "Failed", "Crashed", "Cancelled"}


def events_until_over(events: Iterable[object], expected: Iterable[str] = ()) -> list[object]:
    """Return the events up to the one after which all runs are over."""
    run_ends, passed = RunEnds(expected), list[object]()
    for event in events:
        passed.append(event)
        if not run_ends.receive(event):
            break
    return passed


@pytest.mark.parametrize(
    "last",
    [entered("Failed", 2), changed("Crashed", 2), seen("Completed", 2), closed(2)],
    ids=["state", "row", "first row", "end of the watch"],
)
def test_a_run_ends_with_the_event_that_reports_it(last: FlowRunEvent) -> None:
    """The first event that reports the run to be over is the last, whatever its kind."""
    events = [entered("Running", 1), line(1), last]
    assert events_until_over([*events, line(3), closed(4)]) == events


@given(st.lists(st.tuples(st.sampled_from([RUN, OTHER]), st.sampled_from(NAMES))))
def test_all_runs_seen_must_be_over(steps: list[tuple[str, str]]) -> None:
    """The stream ends when the last state of each run seen so far is terminal, not before."""
    events = [entered(name, number, run=run) for number, (run, name) in enumerate(steps)]
    latest, length = dict[str, str](), 0
    for run, name in steps:
        latest[run] = name
        length += 1
        if set(latest.values()) <= TERMINAL:
            break
    assert events_until_over(events) == events[:length]


def test_named_runs_are_awaited() -> None:
    """With ids, one run that is over does not end the stream, and other runs never count."""
    third = "00000000-0000-4000-8000-000000000000"
    events = [
        entered("Completed", 1),
        entered("Running", 2, run=third),
        line(2, run=OTHER),
        entered("Failed", 3, run=OTHER),
    ]
    assert events_until_over([*events, line(4)], [RUN, OTHER]) == events


def test_an_outdated_state_does_not_open_a_run() -> None:
    """A state that arrives after a newer terminal one does not open the run again."""
    events = [
        line(0, run=OTHER),
        entered("Completed", 9),
        entered("Running", 1),
        entered("Completed", 9, run=OTHER),
    ]
    assert events_until_over([*events, line(9)]) == events


def test_items_that_are_not_events_end_nothing() -> None:
    """Items of other classes do not count, before and after the first event."""
    events = ["item", line(1), "item", entered("Completed", 2)]
    assert events_until_over([*events, "item"]) == events


def test_an_event_about_the_watch_is_of_no_run() -> None:
    """A notice of an outage of many runs opens none that never ends."""
    outage = notice(NoticeCode.DEGRADED, 1, run="")
    events = [entered("Running", 1), outage, entered("Failed", 2)]
    assert events_until_over([*events, all_closed(3)]) == events
    assert events_until_over([outage, all_closed(3)]) == [outage, all_closed(3)]
