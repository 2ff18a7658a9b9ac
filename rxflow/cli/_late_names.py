"""Hold the lines of task runs whose names come later, where no server is there to read them from.

A task run has its name in its states, and those of one that is over are emitted after its lines. So
such a line is held, and all after it, until the name is known: for as long as more events keep
coming, within limits, as where the log of a run that is over is read. A name that has not come by
then is left out, and no other line of that task run is held.

This machine reads no clock; that of the pipeline does.
"""

from collections import deque
from collections.abc import Callable

from reactivex import Observable, abc

from rxflow import FlowRunEvent
from rxflow._models.times import Now
from rxflow._runtime.timed_subscription import TimedSubscription
from rxflow.cli._names import Names

__all__ = ["LateNames", "named"]

PAUSE = 2.0
"""Seconds without an event after which a name is not awaited any more: a relay that polls a run
finds the states of its task runs so soon after their lines."""

MOST_SECONDS = 10.0
"""Seconds that a line is held at most, while further events come."""

MOST_HELD = 50_000
"""Events that are held at most."""


def named(names: Names) -> Callable[[Observable[FlowRunEvent]], Observable[FlowRunEvent]]:
    """Return an operator that holds lines until the names of their task runs are known.

    Args:
        names: Has the names; it receives each event before this operator does, or as early.
    """

    def operator(source: Observable[FlowRunEvent]) -> Observable[FlowRunEvent]:
        def subscribe(
            observer: abc.ObserverBase[FlowRunEvent], scheduler: abc.SchedulerBase | None = None
        ) -> abc.DisposableBase:
            def machine(_: Now) -> LateNames:
                return LateNames(names)

            return TimedSubscription(observer, scheduler, machine).start(source)

        return Observable(subscribe)

    return operator


class LateNames:
    """Decides which events are emitted when; their order stays."""

    def __init__(self, names: Names) -> None:
        """Start without an event.

        Args:
            names: As for `named`.
        """
        self._names = names
        self._held: deque[tuple[float, FlowRunEvent]] = deque()  # each with its arrival
        self._last_arrival = 0.0
        self._nameless: set[str | None] = set()  # ids of task runs whose names are not awaited

    def receive(self, event: FlowRunEvent, mono: float) -> tuple[FlowRunEvent, ...]:
        """Record an event; return the events to emit now."""
        self._last_arrival = mono
        if not self._held and not self._is_awaited(event):
            return (event,)
        self._held.append((mono, event))
        if len(self._held) > MOST_HELD:
            return self.flush(mono)
        return self._pop_named()

    def due_in(self, mono: float) -> float | None:
        """Return the seconds until `wake` returns events; None if no event is held."""
        if not self._held:
            return None
        return max(0.0, min(self._last_arrival + PAUSE, self._held[0][0] + MOST_SECONDS) - mono)

    def wake(self, mono: float) -> tuple[FlowRunEvent, ...]:
        """Return all events once the first has been held for long enough."""
        due_in = self.due_in(mono)
        if due_in is None or due_in > 0.0:
            return ()
        self._nameless.update(self._names.lacking(event) for _, event in self._held)
        return self.flush(mono)

    def flush(self, _: float) -> tuple[FlowRunEvent, ...]:
        """Return all events held."""
        events = tuple(event for _, event in self._held)
        self._held.clear()
        return events

    def _is_awaited(self, event: FlowRunEvent) -> bool:
        """Whether an event is a line whose name is yet to come."""
        task_run = self._names.lacking(event)
        return task_run is not None and task_run not in self._nameless

    def _pop_named(self) -> tuple[FlowRunEvent, ...]:
        """Return the events before the first line whose name is yet to come."""
        popped: list[FlowRunEvent] = []
        while self._held and not self._is_awaited(self._held[0][1]):
            popped.append(self._held.popleft()[1])
        return tuple(popped)
