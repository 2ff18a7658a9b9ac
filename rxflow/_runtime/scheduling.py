"""When things run, and on whose thread: the poll scheduler, the fetch workers, and the clocks."""

import asyncio
import math
from datetime import timedelta
from typing import Any

from reactivex import abc
from reactivex.disposable import SerialDisposable, SingleAssignmentDisposable
from reactivex.scheduler import (
    ImmediateScheduler,
    TrampolineScheduler,
    VirtualTimeScheduler,
)

from rxflow._runtime.iteration import PullScheduler
from rxflow._runtime.poll_scheduler import default_scheduler


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
    return isinstance(scheduler, PullScheduler | VirtualTimeScheduler)


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
