"""Choose the scheduler of a subscription, and schedule its next action on it.

What a scheduler can do is decided here, so that no other file needs to know the kinds of
schedulers: which ones can wait, which ones may block.
"""

import asyncio
import math
from datetime import timedelta
from typing import Any, TypeGuard

from reactivex import abc
from reactivex.disposable import SerialDisposable, SingleAssignmentDisposable
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


def fetches_inline(scheduler: abc.SchedulerBase) -> bool:
    """Whether a watch on this scheduler blocks the scheduler's thread until a reply arrives."""
    return isinstance(scheduler, PullScheduler | VirtualTimeScheduler)


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


def schedule_next(
    scheduler: abc.SchedulerBase,
    seconds: float,
    action: abc.ScheduledAction[Any],
    *,
    slot: SerialDisposable,
) -> None:
    """Schedule an action that may itself schedule the next one.

    Args:
        scheduler: The scheduler to use.
        seconds: The delay.
        action: The action.
        slot: Holds the action scheduled last; the one it held before is cancelled.
    """
    # Fill the slot before scheduling: the action may run at once and fill it with the next one.
    scheduled = SingleAssignmentDisposable()
    slot.disposable = scheduled
    # Schedulers count in microseconds. Round up: an action that runs too early would find nothing
    # due and be scheduled again for the same moment, for ever.
    delay = timedelta(microseconds=math.ceil(seconds * 1e6))
    scheduled.disposable = scheduler.schedule_relative(delay, action)
