"""When things run, and on whose thread: the poll scheduler, the pump, and the clocks.

Both schedulers keep an agenda on the monotonic clock, so a step of the wall clock moves nothing
that is on it.
`PollScheduler` works it off on a daemon thread that lives only while there is something on it.
`Pump` has no thread: whoever iterates runs what is due in their own, between two items.
"""

import heapq
import itertools
import math
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, TypeVar

from loguru import logger
from reactivex import Observable, abc, typing
from reactivex.disposable import (
    CompositeDisposable,
    Disposable,
    MultipleAssignmentDisposable,
    SingleAssignmentDisposable,
)
from reactivex.scheduler import (
    ImmediateScheduler,
    TrampolineScheduler,
    VirtualTimeScheduler,
)
from reactivex.scheduler.periodicscheduler import PeriodicScheduler

from rxflow._polling import Now
from rxflow.errors import Overflow

T = TypeVar("T")

FETCH_WORKERS = 8
"""Threads that may wait for answers at the same time, over all watches of a process."""

FOREIGN_ITEMS = 10_000
"""Items that a blocking iterator holds for threads which emit faster than it is read."""


class _Entry:
    """One action on an agenda; its disposable is disposed of when it is cancelled."""

    __slots__ = ("action", "inner", "state", "waiting")

    def __init__(self, action: typing.ScheduledAction[Any], state: Any) -> None:
        self.action = action
        self.state = state
        self.inner = SingleAssignmentDisposable()
        self.waiting = True


class _Agenda(PeriodicScheduler):
    """Actions by the time they are due; subclasses say who runs them."""

    def __init__(self) -> None:
        super().__init__()
        self._changed = threading.Condition()
        self._entries: list[tuple[float, int, _Entry]] = []
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
        entry = _Entry(action, state)
        with self._changed:
            self._adding()
            heapq.heappush(self._entries, (due, next(self._ties), entry))
            self._changed.notify_all()

        def cancel() -> None:
            with self._changed:
                if entry.waiting:
                    entry.waiting = False
                    entry.action, entry.state = _nothing, None
                    self._cancelled += 1
                    self._changed.notify_all()

        return CompositeDisposable(Disposable(cancel), entry.inner)

    def _adding(self) -> None:
        """Prepare for a new entry; called with the lock held."""

    def _next_due(self) -> float | None:
        """When the first entry is due; called with the lock held."""
        # Cancelled entries may stand where nobody comes by for long.
        if self._cancelled * 2 > len(self._entries):
            self._entries = [item for item in self._entries if item[2].waiting]
            heapq.heapify(self._entries)
            self._cancelled = 0
        return self._entries[0][0] if self._entries else None

    def _take(self) -> _Entry:
        entry = heapq.heappop(self._entries)[2]
        entry.waiting = False
        return entry

    def _run(self, entry: _Entry) -> None:
        if not entry.inner.is_disposed:
            entry.inner.disposable = self.invoke_action(entry.action, entry.state)


def _nothing(_: abc.SchedulerBase, __: Any = None) -> None:
    """What is left of a cancelled action."""


class PollScheduler(_Agenda):
    """One daemon thread that runs what is due, and goes when nothing is left to wait for.

    An action that raises is reported, through loguru and `threading.excepthook`, and ends nothing
    but itself.
    """

    def __init__(self) -> None:
        """Make a scheduler without a thread; the first action starts it."""
        super().__init__()
        self._thread: threading.Thread | None = None

    def join(self, timeout: float | None = None) -> bool:
        """Wait until nothing is left to run.

        Args:
            timeout: Seconds; None is for ever.

        Returns:
            Whether the thread has ended.
        """
        thread = self._thread
        if thread is None or thread is threading.current_thread():
            return thread is None
        thread.join(timeout)
        return not thread.is_alive()

    def _adding(self) -> None:
        if self._thread is None:
            thread = threading.Thread(target=self._work, name="rxflow-poll", daemon=True)
            thread.start()
            self._thread = thread

    def _work(self) -> None:
        while (entry := self._wait()) is not None:
            try:
                self._run(entry)
            except BaseException as error:  # noqa: BLE001 - whatever it raises, the next one runs
                _report(error, "An action on the poll scheduler failed")
            del entry  # what it holds need not live until the next one is due

    def _wait(self) -> _Entry | None:
        with self._changed:
            while (due := self._next_due()) is not None:
                pause = due - time.monotonic()
                if pause <= 0:
                    return self._take()
                self._changed.wait(min(pause, threading.TIMEOUT_MAX))
            self._thread = None
            return None


def _report(error: BaseException, what: str) -> None:
    """Say, as a thread that dies of an error does, what went wrong where nobody can catch it."""
    logger.opt(exception=error).error(what)
    hooked = threading.ExceptHookArgs(
        (type(error), error, error.__traceback__, threading.current_thread())
    )
    with suppress(Exception):  # a hook that fails must not stop what comes next
        threading.excepthook(hooked)


class Pump(_Agenda):
    """Runs nothing by itself: whoever drains it runs what is due, in their own thread."""

    def __init__(self) -> None:
        """Make a pump that belongs to the thread that drains it; until then, to this one."""
        super().__init__()
        self._items: deque[Any] = deque()
        self._end: tuple[Exception | None] | None = None
        self._owner = threading.get_ident()

    def put(self, item: Any) -> None:
        """Hand an item to the iterator; never blocks, from whichever thread it is called."""
        if threading.get_ident() == self._owner:
            if self._end is None:  # nobody waits meanwhile who would have to be woken
                self._items.append(item)
            return
        with self._changed:
            if self._end is not None:
                return
            if len(self._items) >= FOREIGN_ITEMS:
                self._end = (Overflow(_OVERFLOW),)
                return
            self._items.append(item)
            self._changed.notify_all()

    def end(self, error: Exception | None = None) -> None:
        """Tell the iterator that nothing more will come."""
        with self._changed:
            self._end = self._end or (error,)
            self._changed.notify_all()

    def drain(self) -> Iterator[Any]:
        """Yield items until the end, running what is due whenever there is none."""
        while True:
            end = self._end  # looked at first, so that what was put before it is there now
            while self._items:
                yield self._items.popleft()
            if end is None:
                self._step()
            elif end[0] is None:
                return
            else:
                raise end[0]

    def _step(self) -> None:
        with self._changed:
            if self._items or self._end:
                return
            self._owner = threading.get_ident()
            due = self._next_due()
            pause = math.inf if due is None else due - time.monotonic()
            if pause > 0:
                self._changed.wait(min(pause, threading.TIMEOUT_MAX))
                return
            entry = self._take()
        self._run(entry)


_OVERFLOW = (
    f"A source with a thread of its own emitted {FOREIGN_ITEMS} items that were not read yet; "
    "read faster, or drop or combine items upstream, with sample() or buffer() for instance"
)


def pump(observable: Observable[T]) -> Iterator[T]:
    """Iterate an observable in the caller's own thread, driven by the caller's demand."""
    pump = Pump()
    subscription = observable.subscribe(pump.put, pump.end, pump.end, scheduler=pump)
    try:
        yield from pump.drain()
    finally:
        subscription.dispose()


# -- who runs a watch ---------------------------------------------------------------------------

default_scheduler = PollScheduler()
"""Where watches run that were given no scheduler."""


def scheduler_for(given: abc.SchedulerBase | None) -> abc.SchedulerBase:
    """The scheduler that a watch runs on.

    Args:
        given: What `subscribe` was called with. Those that can only run things at once, or block
            while they wait, are as good as none.
    """
    if given is None or isinstance(given, TrampolineScheduler | ImmediateScheduler):
        return default_scheduler
    return given


def fetches_inline(scheduler: abc.SchedulerBase) -> bool:
    """Whether a watch on this scheduler waits for answers in the scheduler's own thread."""
    return isinstance(scheduler, Pump | VirtualTimeScheduler)


def clock_of(scheduler: abc.SchedulerBase) -> Callable[[], Now]:
    """The clock that belongs to a scheduler: virtual time where the scheduler's is virtual."""
    if isinstance(scheduler, VirtualTimeScheduler):
        return lambda: Now(scheduler.now.timestamp(), scheduler.now)
    return real_now


def real_now() -> Now:
    """The time."""
    return Now(time.monotonic(), datetime.now(UTC))


class Workers:
    """Runs blocking calls on a few daemon threads, which go when there is nothing to do."""

    def __init__(self, most: int = FETCH_WORKERS) -> None:
        """Make workers without threads.

        Args:
            most: How many threads there may be at once.
        """
        self._most = most
        self._lock = threading.Lock()
        self._jobs: deque[Callable[[], None]] = deque()
        self._threads = 0

    def submit(self, job: Callable[[], None]) -> None:
        """Run a job as soon as a thread is free. The job must not raise."""
        with self._lock:
            if self._threads < self._most:
                threading.Thread(target=self._work, name="rxflow-fetch", daemon=True).start()
                self._threads += 1
            self._jobs.append(job)

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._jobs:
                    self._threads -= 1
                    return
                job = self._jobs.popleft()
            try:
                job()
            except BaseException as error:  # noqa: BLE001 - the next watch needs this thread
                _report(error, "A job failed")


workers = Workers()

# Threads do not come along into a forked process, and their locks come as they happen to be.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: PollScheduler.__init__(default_scheduler))
    os.register_at_fork(after_in_child=lambda: Workers.__init__(workers))


def pause(seconds: float) -> None:
    """Wait, in a way that Ctrl-C ends at once."""
    threading.Event().wait(seconds)
