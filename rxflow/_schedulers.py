"""When things run, and on whose thread: the poll scheduler, the fetch workers, and the clocks."""

import asyncio
import math
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

from loguru import logger
from reactivex import abc
from reactivex.disposable import SerialDisposable, SingleAssignmentDisposable
from reactivex.scheduler import (
    ImmediateScheduler,
    TrampolineScheduler,
    VirtualTimeScheduler,
)

from rxflow._agenda import Agenda, Entry
from rxflow._polling import Now
from rxflow._pump import Pump

FETCH_WORKERS = 8
"""Threads that may wait for answers at the same time, over all watches of a process."""


class PollScheduler(Agenda):
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

    def _wait(self) -> Entry | None:
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


def running_loop() -> asyncio.AbstractEventLoop | None:
    """The event loop that is running in this thread, if there is one."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def schedule_next(
    scheduler: abc.SchedulerBase,
    seconds: float,
    action: abc.ScheduledAction[Any],
    *,
    place: SerialDisposable,
) -> None:
    """Schedule an action that may schedule the one after it.

    Args:
        scheduler: Where.
        seconds: When, from now.
        action: What.
        place: Holds what was scheduled last, and cancels what it held before.
    """
    # In its place before it is scheduled, since it may run at once and schedule the next.
    following = SingleAssignmentDisposable()
    place.disposable = following
    # Schedulers count in datetimes: a time cut off there would come again and again in vain.
    pause = timedelta(microseconds=math.ceil(seconds * 1e6))
    following.disposable = scheduler.schedule_relative(pause, action)


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


async def apause(seconds: float) -> None:
    """Wait, and leave the event loop free."""
    await asyncio.sleep(seconds)
