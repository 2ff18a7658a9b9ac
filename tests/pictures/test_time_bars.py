"""Bars: what a run's states and row say about how it spent its time."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sample_events import NOON, second
from sample_events import row as run_row

from rxflow import State
from rxflow._pictures.run_tree import RunNode, RunTree
from rxflow._pictures.time_bars import Outcome, TimeSpan, bars_of, outcome_of, span_of

NAMES = {"AwaitingRetry": "SCHEDULED", "Retrying": "RUNNING", "Late": "SCHEDULED"}


def states_of(text: str) -> tuple[State, ...]:
    """Return states of these names, such as ``Pending@1 Running@2``, at their seconds."""
    named = [word.partition("@") for word in text.split()]
    return tuple(
        State(
            id=f"{at}-{name}",
            type=NAMES.get(name, name.upper()),
            name=name,
            timestamp=second(float(at)),
        )
        for name, _, at in named
    )


def node(text: str, **fields: object) -> RunNode:
    """Return a task run with a history."""
    states = states_of(text)
    given_fields: dict[str, object] = {
        "kind": "task run",
        "id": "a",
        "name": "a",
        "created": NOON,
        "states": states,
        "state": states[-1] if states else None,
    }
    return RunNode(**(given_fields | fields))  # type: ignore[arg-type]


def row(state: str, **times: float) -> RunNode:
    """Return a task run of which only the row was read."""
    fields = {name: second(at) for name, at in times.items()}
    return node("", state=states_of(f"{state}@0")[0], **fields)


def shown(each: RunNode, now: float) -> str:
    """Return bars as text, such as ``waiting 0-1, running 1-5``."""
    return ", ".join(
        f"{bar.outcome} {(bar.start - NOON).total_seconds():g}-{(bar.end - NOON).total_seconds():g}"
        for bar in bars_of(each, second(now))
    )


HISTORIES = {
    "Running@1 Completed@3": "completed 1-3",
    "Pending@0 Running@1": "waiting 0-1, running 1-9",
    "Running@1 AwaitingRetry@2 Retrying@4 Completed@5": "failed 1-2, waiting 2-4, completed 4-5",
    "Running@1 Retrying@2 Failed@3": "failed 1-2, failed 2-3",
    "Running@1 Running@2 Crashed@3": "crashed 1-2, crashed 2-3",
    "Running@1 Paused@2 Running@4 Completed@6": "completed 1-2, paused 2-4, completed 4-6",
    "Running@1 Cancelling@2 Cancelled@3": "cancelled 1-2, cancelled 2-3",
    "Running@1 Failed@2 Scheduled@5 Running@6 Completed@7": (
        "failed 1-2, waiting 5-6, completed 6-7"
    ),
    "Running@1 Suspended@2": "running 1-2, other 2-9",
    "Running@12": "running 12-12",
    "Completed@1": "",
}


@pytest.mark.parametrize(("history", "bars"), HISTORIES.items(), ids=HISTORIES)
def test_each_state_is_a_bar(history: str, bars: str) -> None:
    """A time of running is shown as what ended it; when the run was over it is none of its own."""
    assert shown(node(history), 9) == bars


DUE = {
    ("Scheduled@0 Running@8", 6.0): "waiting 6-8, running 8-9",
    ("Scheduled@0 Running@3", 6.0): "running 3-9",
    ("Scheduled@0 Running@6", 6.0): "waiting 6-6, running 6-9",
    ("Running@0 Scheduled@2 Running@8", 6.0): "running 0-2, waiting 2-8, running 8-9",
    ("Paused@0 Running@8", 6.0): "paused 0-8, running 8-9",
    ("Scheduled@0", 600.0): "",
    ("Scheduled@0", 4.0): "waiting 4-9",
}


@pytest.mark.parametrize(("history", "due"), DUE, ids=str)
def test_a_run_waits_from_the_time_it_is_due(history: str, due: float) -> None:
    """Before that it is merely planned."""
    assert shown(node(history, due=second(due)), 9) == DUE[history, due]


ROWS = [
    (row("Completed", start=1, end=3), "waiting 0-1, completed 1-3"),
    (row("Completed", due=1, start=1, end=3), "completed 1-3"),
    (row("Running", due=0.5, start=1), "waiting 0.5-1, running 1-9"),
    (row("Paused", start=1), "waiting 0-1, paused 1-9"),
    (row("Pending", start=1), "waiting 0-1, running 1-9"),
    (row("Pending"), "waiting 0-9"),
    (row("Scheduled", due=20), ""),
    (row("Scheduled", due=9), "waiting 9-9"),
    (row("Cancelled", end=4), "waiting 0-4"),
    (row("Cancelled"), ""),
    (node("", state=None), "waiting 0-9"),
    (row("Completed", start=3, end=2), "waiting 0-3, completed 3-3"),
]


@pytest.mark.parametrize(("each", "bars"), ROWS, ids=[bars for _, bars in ROWS])
def test_without_a_history_the_row_says_when_it_waited_and_ran(each: RunNode, bars: str) -> None:
    """There is a bar up to the start, and one from it to the end or to now."""
    assert shown(each, 9) == bars


@given(st.lists(st.sampled_from([*NAMES, "Running", "Failed", "Completed", "Paused"]), min_size=1))
def test_bars_never_overlap(names: list[str]) -> None:
    """Whatever the history, each bar begins no earlier than the one before it ends."""
    history = " ".join(f"{name}@{number}" for number, name in enumerate(names))
    bars = bars_of(node(history), second(len(names)))
    assert all(bar.start <= bar.end for bar in bars)
    assert all(one.end <= other.start for one, other in pairwise(bars))


def test_no_state_is_a_wait() -> None:
    """A row that was written before its state waits."""
    assert outcome_of(None) is Outcome.WAITING


def tree(root: RunNode, now: float) -> RunTree:
    """Return a tree of one node."""
    return RunTree(run=run_row(), root=root, now=second(now))


def test_a_span_is_from_the_first_bar_to_the_last() -> None:
    """Children may begin before their parent, by another clock."""
    root = node("Running@1 Completed@5", children=(node("Running@0 Completed@7"),))
    assert span_of(tree(root, 9)) == TimeSpan(NOON, second(7))


def test_a_long_wait_is_cut_off() -> None:
    """Of eight hours before eight seconds, a quarter of the latter is shown."""
    root = node("Late@0 Running@28800 Completed@28808")
    assert span_of(tree(root, 30000)) == TimeSpan(second(28798), second(28808))


def test_a_run_that_has_only_waited_is_shown_whole() -> None:
    """Where nothing ran, there is nothing to make room for."""
    assert span_of(tree(node("Late@0"), 50)) == TimeSpan(NOON, second(50))


def test_without_bars_there_is_a_short_span() -> None:
    """A run that is planned for later has no bar, and yet an axis."""
    span = span_of(tree(node("Scheduled@0", due=second(600)), 9))
    assert (span.start, span.length) == (NOON, timedelta(milliseconds=10))


def test_a_time_has_its_place_in_a_span() -> None:
    """From 0 to 1, and not beyond."""
    span = TimeSpan(NOON, second(10))
    assert [span.place(second(at)) for at in (-5, 0, 2.5, 10, 11)] == [0, 0, 0.25, 1, 1]


def test_the_first_and_the_last_time_of_all_are_shown() -> None:
    """Clocks of the years 1 and 9999 raise nothing."""
    first = datetime.min.replace(tzinfo=UTC)
    last = datetime.max.replace(tzinfo=UTC)
    states = (
        State(id="1", type="RUNNING", name="Running", timestamp=first),
        State(id="2", type="RUNNING", name="Running", timestamp=last),
    )
    root = node("", states=states, state=states[-1])
    span = span_of(tree(root, 0))
    assert (span.start, span.end) == (first, last)
    assert TimeSpan(last, last).place(last) == 0
