"""Bars: the times that a run spent waiting, running and paused, and how each time it ran ended.

Where all states of a run are known, each of them is a bar, so that retries are several. Otherwise
there is one bar for the time before the start, and one from the start to the end.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta
from enum import StrEnum

import msgspec

from rxflow._models.states import State, StateType
from rxflow._models.times import MICROSECOND, shifted
from rxflow._pictures.run_tree import RunNode, RunTree

_MOST_WAITING = 0.25
"""Of the time that a tree ran: the most that a picture shows of the wait before it."""

_LEAST = timedelta(milliseconds=10)
"""The least that a picture shows of the time."""


class Outcome(StrEnum):
    """What a bar shows: a wait, a pause, or how a time of running ended."""

    WAITING = "waiting"
    RUNNING = "running"
    """It still runs."""
    PAUSED = "paused"
    COMPLETED = "completed"
    FAILED = "failed"
    """Also of an attempt that was followed by a retry."""
    CRASHED = "crashed"
    CANCELLED = "cancelled"
    OTHER = "other"
    """In a state of a type that is not known here."""


_OUTCOMES: dict[str, Outcome] = {
    StateType.SCHEDULED: Outcome.WAITING,
    StateType.PENDING: Outcome.WAITING,
    StateType.RUNNING: Outcome.RUNNING,
    StateType.CANCELLING: Outcome.RUNNING,
    StateType.PAUSED: Outcome.PAUSED,
    StateType.COMPLETED: Outcome.COMPLETED,
    StateType.FAILED: Outcome.FAILED,
    StateType.CRASHED: Outcome.CRASHED,
    StateType.CANCELLED: Outcome.CANCELLED,
}


class Bar(msgspec.Struct, frozen=True):
    """A time that a run spent in one way; it may have no length."""

    start: datetime
    end: datetime
    outcome: Outcome


class TimeSpan(msgspec.Struct, frozen=True):
    """What a picture shows of the time."""

    start: datetime
    end: datetime

    def place(self, time: datetime) -> float:
        """Return where a time is, from 0 at the start to 1 at the end; one outside is cut off."""
        length = max(self.end - self.start, MICROSECOND)
        return min(1.0, max(0.0, (time - self.start) / length))

    @property
    def length(self) -> timedelta:
        """How long it is."""
        return self.end - self.start


def outcome_of(state: State | None) -> Outcome:
    """Return how a run that is in a state is shown."""
    return Outcome.WAITING if state is None else _OUTCOMES.get(state.type, Outcome.OTHER)


def bars_of(node: RunNode, now: datetime) -> tuple[Bar, ...]:
    """Return the bars of a node, by time.

    Args:
        node: The node.
        now: The time at which it was read.
    """
    return tuple(_bars_of_states(node, now) if node.states else _bars_of_row(node, now))


def span_of(tree: RunTree) -> TimeSpan:
    """Return the time from the first bar of a tree to its last one.

    A wait before anything ran is cut off where it is long, or nothing could be seen of the rest.
    """
    bars = [bar for place in tree.walk() for bar in bars_of(place.node, tree.now)]
    start = min((bar.start for bar in bars), default=tree.root.created)
    end = max((bar.end for bar in bars), default=start)
    first = min((bar.start for bar in bars if bar.outcome is not Outcome.WAITING), default=start)
    start = max(start, shifted(first, -_MOST_WAITING * max(timedelta(), end - first)))
    return TimeSpan(start, max(end, shifted(start, _LEAST)))


def _bars_of_states(node: RunNode, now: datetime) -> Iterator[Bar]:
    """Make a bar of each state, from it to the next one or until now."""
    outcomes = _outcomes_of(node.states)
    ends = [*(later.timestamp for later in node.states[1:]), now]
    for state, outcome, end in zip(node.states, outcomes, ends, strict=True):
        if state.is_terminal:  # a time in which the run was over is none of its own
            continue
        start = state.timestamp
        if node.due is not None and state is node.states[0] and outcome is Outcome.WAITING:
            start = max(start, node.due)  # before that it was merely planned
            if start > end:
                continue
        yield Bar(start, max(start, end), outcome)


def _outcomes_of(states: tuple[State, ...]) -> list[Outcome]:
    """Return what each state is shown as; one of running as what ended it."""
    ending = Outcome.RUNNING
    found: list[Outcome] = []
    for state in reversed(states):
        outcome = outcome_of(state)
        found.append(ending if outcome is Outcome.RUNNING else outcome)
        if state.is_terminal:
            ending = outcome
        elif state.is_retrying:  # what ran before it did not succeed
            ending = Outcome.FAILED
    return found[::-1]


def _bars_of_row(node: RunNode, now: datetime) -> Iterator[Bar]:
    """Make the bars of what a row says: when it was due, when it started, when it ended."""
    since = node.due or node.created
    end = node.end or now
    outcome = outcome_of(node.state)
    if node.start is None:
        if since <= end and (node.end or not node.is_terminal):
            yield Bar(since, end, Outcome.WAITING)
        return
    if since < node.start:
        yield Bar(since, node.start, Outcome.WAITING)
    running = Outcome.RUNNING if outcome is Outcome.WAITING else outcome
    yield Bar(node.start, max(node.start, end), running)
