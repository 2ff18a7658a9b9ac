"""The timer queue: scheduled actions in the order in which they are due.

Due times are on the monotonic clock, so a step of the wall clock moves none of them. Who runs the
actions, and in which thread, is up to the subclasses: `poll_scheduler.PollScheduler` has a thread
of its own, the schedulers of `iteration` run actions in the thread or task of the consumer.
"""

import heapq
import itertools
import threading
import time
from typing import Any

from reactivex import abc, typing
from reactivex.disposable import MultipleAssignmentDisposable
from reactivex.scheduler.periodicscheduler import PeriodicScheduler

from rxflow._forks import register


class Timer(abc.DisposableBase):
    """One scheduled action; disposing of it cancels it.

    A watch schedules one for each page. Rx's own disposables in its place would be five, with a
    lock each, and cost a page 3 us more.

    Attributes:
        action: What to run.
        state: The argument of the action.
        pending: Whether the action has been neither taken to run nor cancelled.
    """

    __slots__ = ("_is_disposed", "_queue", "_returned", "action", "pending", "state")

    def __init__(
        self,
        action: typing.ScheduledAction[Any],
        state: Any = None,
        queue: "TimerQueue | None" = None,
    ) -> None:
        """Create a timer.

        Args:
            action: What to run.
            state: The argument of the action.
            queue: The queue that has the timer, and counts those that are cancelled.
        """
        self.action = action
        self.state = state
        self.pending = True
        self._queue = queue
        self._is_disposed = False
        self._returned: abc.DisposableBase | None = None

    def run(self, scheduler: abc.SchedulerBase) -> None:
        """Run the action, unless the timer was disposed of."""
        if self._is_disposed:
            return
        returned: Any = self.action(scheduler, self.state)
        if returned is not None and isinstance(returned, abc.DisposableBase):
            self._returned = returned
            self._dispose_returned()

    def cancel(self) -> None:
        """Run nothing, and free what the action holds: the timer may stay in a queue for long."""
        self.pending = False
        self.action, self.state = _do_nothing, None

    def dispose(self) -> None:
        """Cancel the action, or dispose of what it returned. Callable from any thread."""
        self._is_disposed = True  # first of all, since `run` looks for it last
        if self.pending:
            if self._queue is None:
                self.cancel()
            else:
                self._queue.cancel(self)
        if self._returned is not None:
            self._dispose_returned()

    def _dispose_returned(self) -> None:
        """Dispose of what the action returned, if the timer was disposed of.

        `run` calls it as well: the action, or meanwhile another thread, may dispose of the timer.
        """
        if self._is_disposed:
            returned, self._returned = self._returned, None
            if returned is not None:
                returned.dispose()


class MonotonicScheduler(PeriodicScheduler):
    """What all schedulers of rxflow share; a subclass schedules by delays."""

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
        # As in the base class, which measures the duration of an action by the wall clock instead.
        next_tick = MultipleAssignmentDisposable()

        def tick(_: abc.SchedulerBase, state: Any = None) -> None:
            started = time.monotonic()
            state = action(state)
            pause = self.to_seconds(period) - (time.monotonic() - started)
            next_tick.disposable = self.schedule_relative(pause, tick, state)

        next_tick.disposable = self.schedule_relative(period, tick, state)
        return next_tick


class TimerQueue(MonotonicScheduler):
    """A scheduler that queues actions by due time and leaves running them to its subclasses.

    Methods that say so must be called with `_lock` held.
    """

    def __init__(self) -> None:
        super().__init__()
        self._sequence = itertools.count()  # timers that are due together run in this order
        self._start_empty()
        register(self)

    def _start_empty(self) -> None:
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._timers: list[tuple[float, int, Timer]] = []  # a heap of (due, sequence, timer)
        self._cancelled = 0  # timers cancelled since the heap was last purged

    def reset_after_fork(self) -> None:
        """Drop all timers in a forked child: they are the parent's."""
        self._start_empty()

    def schedule(
        self, action: typing.ScheduledAction[Any], state: Any = None
    ) -> abc.DisposableBase:
        return self._add(time.monotonic(), action, state)

    def schedule_relative(
        self, duetime: typing.RelativeTime, action: typing.ScheduledAction[Any], state: Any = None
    ) -> abc.DisposableBase:
        seconds = max(0.0, self.to_seconds(duetime))
        return self._add(time.monotonic() + seconds, action, state)

    def _add(
        self, due: float, action: typing.ScheduledAction[Any], state: Any
    ) -> abc.DisposableBase:
        timer = Timer(action, state, self)
        with self._lock:
            heapq.heappush(self._timers, (due, next(self._sequence), timer))
            self._notify()
        return timer

    def cancel(self, timer: Timer) -> None:
        """Cancel a timer of this queue, unless it was taken to run meanwhile."""
        with self._lock:
            if timer.pending:
                timer.cancel()
                self._cancelled += 1
                self._notify()

    def _notify(self) -> None:
        """Wake the waiting thread because the queue has changed; called with `_lock` held."""
        self._changed.notify_all()

    def _next_due(self) -> float | None:
        """Return when the first timer is due, None if there is none; called with `_lock` held."""
        # Purge cancelled timers once they are the majority: far ones would never reach the top.
        if self._cancelled * 2 > len(self._timers):
            self._timers = [entry for entry in self._timers if entry[2].pending]
            heapq.heapify(self._timers)
            self._cancelled = 0
        return self._timers[0][0] if self._timers else None

    def _pop(self) -> Timer:
        """Remove the first timer, which must be run next; called with `_lock` held."""
        timer = heapq.heappop(self._timers)[2]
        timer.pending = False
        return timer


def _do_nothing(_: abc.SchedulerBase, __: Any = None) -> None:
    """Stand in for the action of a cancelled timer."""
