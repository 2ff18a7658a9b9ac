"""Choose the scheduler of a subscription, and schedule its next action on it.

What a scheduler can do is decided here, so that no other file needs to know the kinds of
schedulers: which ones can wait, which ones may block.
"""

import asyncio
import math
import threading
from datetime import timedelta
from typing import Any, TypeGuard

from reactivex import abc
from reactivex.scheduler import ImmediateScheduler, TrampolineScheduler, VirtualTimeScheduler

from rxflow._runtime.iteration import AsyncPullScheduler, PullScheduler
from rxflow._runtime.poll_scheduler import PollScheduler
from rxflow._runtime.turn_scheduler import TurnScheduler


def scheduler_for(given: abc.SchedulerBase | None) -> abc.SchedulerBase:
    """Return the scheduler that a subscription runs on.

    Args:
        given: The scheduler passed to `subscribe`. One that cannot wait, or blocks its caller
            while it waits, is replaced by a turn scheduler, as is None.
    """
    if given is None or isinstance(given, TrampolineScheduler | ImmediateScheduler):
        return TurnScheduler()
    return given


def scheduler_of_session(first: abc.SchedulerBase | None) -> abc.SchedulerBase | None:
    """Return the scheduler of a session that several subscriptions share; None for turns.

    A session on the scheduler of one of its subscribers would stop with it: a loop that does not
    wait for an item runs no action. Only virtual time is the same for all of them.

    Args:
        first: The scheduler passed to `subscribe` by the subscriber that starts the session.
    """
    return first if isinstance(first, VirtualTimeScheduler) else None


def fetches_inline(scheduler: abc.SchedulerBase) -> bool:
    """Whether a watch on this scheduler blocks the scheduler's thread until a reply arrives."""
    return isinstance(scheduler, PullScheduler | VirtualTimeScheduler)


def is_virtual(scheduler: abc.SchedulerBase) -> bool:
    """Whether no real time passes on this scheduler."""
    return isinstance(scheduler, VirtualTimeScheduler)


def buffers_items(scheduler: abc.SchedulerBase) -> bool:
    """Whether items that are emitted on this scheduler wait in a buffer until a loop takes them."""
    return isinstance(scheduler, PullScheduler | AsyncPullScheduler)


def is_exit_on_thread(error: BaseException, scheduler: abc.SchedulerBase) -> TypeGuard[SystemExit]:
    """Whether an action called `sys.exit` on a thread of rxflow, where it cannot end the process.

    On an event loop, and in a loop's own thread, SystemExit does end the process.
    """
    return isinstance(error, SystemExit) and isinstance(scheduler, PollScheduler | TurnScheduler)


def running_loop() -> asyncio.AbstractEventLoop | None:
    """Return the event loop that runs in this thread, None if there is none."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


class NextAction(abc.DisposableBase):
    """The action that is scheduled next; there is one at a time.

    Disposing of it cancels the action, and every one that is scheduled later.
    """

    def __init__(self, scheduler: abc.SchedulerBase) -> None:
        """Create it without an action.

        Args:
            scheduler: The scheduler of all actions.
        """
        self._scheduler = scheduler
        self._lock = threading.Lock()
        self._number = 0  # of the action scheduled last
        self._scheduled: abc.DisposableBase | None = None
        self._is_disposed = False

    def schedule(self, seconds: float, action: abc.ScheduledAction[Any]) -> None:
        """Schedule an action, which may itself schedule the next one; cancel the one before."""
        number = self._number = self._number + 1
        if self._scheduled is not None:
            self._cancel()
        if seconds:
            # Schedulers count in microseconds. Round up: an action that runs too early would find
            # nothing due and be scheduled again for the same moment, for ever.
            delay = timedelta(microseconds=math.ceil(seconds * 1e6))
            scheduled = self._scheduler.schedule_relative(delay, action)
        else:
            scheduled = self._scheduler.schedule(action)
        with self._lock:
            # The action may have run by now, and have scheduled the next one.
            if number == self._number and not self._is_disposed:
                self._scheduled = scheduled
                return
        scheduled.dispose()

    def dispose(self) -> None:
        """Cancel the action. Callable from any thread."""
        self._is_disposed = True
        self._cancel()

    def _cancel(self) -> None:
        with self._lock:
            scheduled, self._scheduled = self._scheduled, None
        if scheduled is not None:
            scheduled.dispose()
