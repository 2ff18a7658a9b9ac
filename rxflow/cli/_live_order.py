"""The order in which people see events: live ones are held back for the shortest time it takes.

Prefect uploads log lines in batches, those of each process by themselves, and states at once. So
an event is complete, with all that came before it, once it is as old as lines recently took from
their writer to the server, and a poll. Until then it is held. What is older when it arrives, as a
history, is shown at once.

The histories of several runs are read one after another. So that times do not jump back between
them, the events of all are held until no more arrive for a moment, or the watch ends; and for some
seconds more while a run that is known to be among them has no event yet.

This machine reads no clock; that of the pipeline does. It takes the local clock to be right.
"""

import heapq
from collections import deque
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from itertools import count
from typing import TypeVar

from reactivex import Observable, abc

from rxflow import AllClosed, Closed, FlowRunEvent, FlowRunLog, Notice, RunSeen
from rxflow._models.times import Now
from rxflow._runtime.timed_subscription import TimedSubscription

__all__ = ["LiveOrder", "ordered"]

FIRST_LATENESS = 3.0
"""Seconds that lines are expected to take before any was seen: Prefect 3.8.8 uploads every 2 s."""

LEAST_LATENESS, MOST_LATENESS = 0.5, 5.0

POLL = 0.5
"""Seconds between two polls of a run that has just had an event."""

HISTORY_PAUSE, MOST_PAUSE = 1.0, 5.0
"""Seconds without an event after which the histories of all runs have been read: the time between
two polls and as much for their requests, and twice as long as the first event took, but no more
than the second."""

MOST_HELD = 50_000
"""Events that are held at most while histories are read."""

_RECENT = 200  # log lines that say how long lines take

_Entry = tuple[datetime, int, float, FlowRunEvent]
"""An event that is held: its time, its number, when it arrived, and itself."""

T = TypeVar("T")


def ordered(
    history_from: datetime | None = None, awaited: Iterable[str] = ()
) -> Callable[[Observable[FlowRunEvent]], Observable[FlowRunEvent]]:
    """Return an operator that puts events in the order in which people are to see them.

    Args:
        history_from: The time from which on several runs may have events, which are then held until
            the histories of all have been read; None if there is one run alone.
        awaited: The ids of runs that are known to have a history.
    """
    ids = frozenset(awaited)

    def operator(source: Observable[FlowRunEvent]) -> Observable[FlowRunEvent]:
        def subscribe(
            observer: abc.ObserverBase[FlowRunEvent], scheduler: abc.SchedulerBase | None = None
        ) -> abc.DisposableBase:
            def machine(now: Now) -> LiveOrder:
                return LiveOrder(now, history_from, ids)

            return TimedSubscription(observer, scheduler, machine).start(source)

        return Observable(subscribe)

    return operator


class LiveOrder:
    """Decides which events are emitted when, in which order."""

    def __init__(
        self, now: Now, history_from: datetime | None = None, awaited: Iterable[str] = ()
    ) -> None:
        """Start without an event.

        Args:
            now: The time.
            history_from: As for `ordered`.
            awaited: As for `ordered`.
        """
        self._began = now
        self._history_from = history_from
        self._awaited = set(awaited)
        self._pause: float | None = None  # until the first event
        self._last_arrival = now.mono
        self._numbers = count()
        self._held: list[_Entry] = []
        self._lateness = Lateness()

    def receive(self, event: FlowRunEvent, mono: float) -> tuple[FlowRunEvent, ...]:
        """Record an event; return the events to emit now."""
        self._last_arrival = mono
        self._awaited.discard(event.flow_run_id)
        if self._pause is None:
            self._pause = min(max(HISTORY_PAUSE, 2 * (mono - self._began.mono)), MOST_PAUSE)
        if isinstance(event, RunSeen | Notice):
            return (event,)
        if isinstance(event, FlowRunLog):
            self._lateness.receive(event)
        # Of the server's clock; and it follows all events of its run.
        is_end = isinstance(event, Closed | AllClosed)
        time = max((entry[0] for entry in self._held), default=event.timestamp) if is_end else None
        entry = (time or event.timestamp, next(self._numbers), mono, event)
        if self._is_history(entry) and len(self._held) < MOST_HELD:
            heapq.heappush(self._held, entry)
            return ()
        if not self._is_due(entry, mono):
            heapq.heappush(self._held, entry)
            return ()
        if not self._held:
            return (event,)
        heapq.heappush(self._held, entry)
        return self._pop_until(entry)

    def due_in(self, mono: float) -> float | None:
        """Return the seconds until `wake` may return events; None if no event is held."""
        if not self._held:
            return None
        if self._history_from is not None and self._pause is not None:
            return max(0.0, self._history_end(self._pause) - mono)
        return max(0.0, min(self._due(entry) for entry in self._held) - mono)

    def wake(self, mono: float) -> tuple[FlowRunEvent, ...]:
        """Return the events that are due, and those before them."""
        if self._history_from is not None:
            if self._pause is None or mono < self._history_end(self._pause):
                return ()
            self._history_from = None
        due = [entry for entry in self._held if self._is_due(entry, mono)]
        return self._pop_until(max(due)) if due else ()

    def flush(self, _: float) -> tuple[FlowRunEvent, ...]:
        """Return all events held, in order."""
        return self._pop_until(max(self._held)) if self._held else ()

    def _history_end(self, pause: float) -> float:
        """Return when the histories are taken to have been read, in monotonic seconds."""
        return self._last_arrival + (MOST_PAUSE if self._awaited else pause)

    def _is_history(self, entry: _Entry) -> bool:
        return self._history_from is not None and entry[0] >= self._history_from

    def _is_due(self, entry: _Entry, mono: float) -> bool:
        return self._due(entry) <= mono

    def _due(self, entry: _Entry) -> float:
        """Return when an event is due: when it is old enough by its own time, or has been held."""
        time, _, arrived, _ = entry
        lateness = self._lateness.seconds
        age = (self._began.utc - time).total_seconds()
        return min(arrived + lateness, self._began.mono - age + lateness)

    def _pop_until(self, last: _Entry) -> tuple[FlowRunEvent, ...]:
        popped: list[FlowRunEvent] = []
        while self._held and self._held[0] <= last:
            popped.append(heapq.heappop(self._held)[3])
        return tuple(popped)


class Lateness:
    """How long lines take from their writer until they are read: the most of the recent ones.

    By the two times of a line, of which one is of its writer's clock and one of the server's.
    """

    def __init__(self) -> None:
        """Start without a line."""
        self._lines = 0
        self._longest: deque[tuple[int, timedelta]] = deque()  # in descending order

    def receive(self, line: FlowRunLog) -> None:
        """Record a line."""
        took = line.created - line.timestamp
        while self._longest and self._longest[-1][1] <= took:
            self._longest.pop()
        self._longest.append((self._lines, took))
        self._lines += 1
        if self._longest[0][0] < self._lines - _RECENT:
            self._longest.popleft()

    @property
    def seconds(self) -> float:
        """Seconds after which an event is in order."""
        if not self._longest:
            return FIRST_LATENESS
        took = self._longest[0][1].total_seconds() + POLL
        return min(max(took, LEAST_LATENESS), MOST_LATENESS)
