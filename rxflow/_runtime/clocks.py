"""When things run, and on whose thread: the poll scheduler, the fetch workers, and the clocks."""

import asyncio
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime

from reactivex import abc
from reactivex.scheduler import (
    VirtualTimeScheduler,
)

from rxflow._models.times import Now


def clock_of(scheduler: abc.SchedulerBase) -> Callable[[], Now]:
    """The clock that belongs to a scheduler: virtual time where the scheduler's is virtual."""
    if isinstance(scheduler, VirtualTimeScheduler):
        return lambda: Now(scheduler.now.timestamp(), scheduler.now)
    return real_now


def real_now() -> Now:
    """The time."""
    return Now(time.monotonic(), datetime.now(UTC))


def pause(seconds: float) -> None:
    """Wait, in a way that Ctrl-C ends at once."""
    threading.Event().wait(seconds)


async def apause(seconds: float) -> None:
    """Wait, and leave the event loop free."""
    await asyncio.sleep(seconds)
