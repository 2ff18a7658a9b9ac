"""An agenda: actions by the time they are due, on the monotonic clock.

A step of the wall clock moves nothing that is on it. Who runs the actions, and in which thread,
subclasses say: `_schedulers.PollScheduler`, and the pumps.
"""

import heapq
import itertools
import threading
import time
from typing import Any

from reactivex import abc, typing
from reactivex.disposable import (
    CompositeDisposable,
    Disposable,
    MultipleAssignmentDisposable,
    SingleAssignmentDisposable,
)
from reactivex.scheduler.periodicscheduler import PeriodicScheduler


class Timer:
    """One action on an agenda; its disposable is disposed of when it is cancelled."""

    __slots__ = ("action", "inner", "state", "waiting")

    def __init__(self, action: typing.ScheduledAction[Any], state: Any) -> None:
        self.action = action
        self.state = state
        self.inner = SingleAssignmentDisposable()
        self.waiting = True


class TimerQueue(PeriodicScheduler):
    """Actions by the time they are due; subclasses say who runs them."""

    def __init__(self) -> None:
        super().__init__()
        self._changed = threading.Condition()
        self._entries: list[tuple[float, int, Timer]] = []
        self._ties = itertools.count()
        self._cancelled = 0  # how many since the last sweep

    def schedule(
        self, action: typing.ScheduledAction[Any], state: Any = None
    ) -> abc.DisposableBase:
        return self._add(time.monotonic(), action, state)

    def schedule_relative(
        self, duetime: typing.RelativeTime, action: typing.ScheduledAction[Any], state: Any = None
    ) -> abc.DisposableBase:
        seconds = max(0.0, self.to_seconds(duetime))
        return self._add(time.monotonic() + seconds, action, state)

    def schedule_absolute(
        self, duetime: typing.AbsoluteTime, action: typing.ScheduledAction[Any], state: Any = None
    ) -> abc.DisposableBase:
        return self.schedule_relative(self.to_datetime(duetime) - self.now, action, state)

    def schedule_periodic(
        self,
        period: typing.RelativeTime,
        action: typing.ScheduledPeriodicAction[Any],
        state: Any = None,
    ) -> abc.DisposableBase:
        # As in the base class, which however measures how long an action took by the wall clock.
        following = MultipleAssignmentDisposable()

        def tick(_: abc.SchedulerBase, state: Any = None) -> None:
            began = time.monotonic()
            state = action(state)
            rest = self.to_seconds(period) - (time.monotonic() - began)
            following.disposable = self.schedule_relative(rest, tick, state)

        following.disposable = self.schedule_relative(period, tick, state)
        return following

    def _add(
        self, due: float, action: typing.ScheduledAction[Any], state: Any
    ) -> abc.DisposableBase:
        entry = Timer(action, state)
        with self._changed:
            self._adding()
            heapq.heappush(self._entries, (due, next(self._ties), entry))
            self._wake()

        def cancel() -> None:
            with self._changed:
                if entry.waiting:
                    entry.waiting = False
                    entry.action, entry.state = _nothing, None
                    self._cancelled += 1
                    self._wake()

        return CompositeDisposable(Disposable(cancel), entry.inner)

    def _adding(self) -> None:
        """Prepare for a new entry; called with the lock held."""

    def _wake(self) -> None:
        """Have whoever waits look again; called with the lock held."""
        self._changed.notify_all()

    def _next_due(self) -> float | None:
        """When the first entry is due; called with the lock held."""
        # Cancelled entries may stand where nobody comes by for long.
        if self._cancelled * 2 > len(self._entries):
            self._entries = [item for item in self._entries if item[2].waiting]
            heapq.heapify(self._entries)
            self._cancelled = 0
        return self._entries[0][0] if self._entries else None

    def _take(self) -> Timer:
        entry = heapq.heappop(self._entries)[2]
        entry.waiting = False
        return entry

    def _run(self, entry: Timer) -> None:
        if not entry.inner.is_disposed:
            entry.inner.disposable = self.invoke_action(entry.action, entry.state)


def _nothing(_: abc.SchedulerBase, __: Any = None) -> None:
    """What is left of a cancelled action."""
