"""Read the time and wait: the clocks of schedulers and the two pauses.

The rest of the package takes the time as an argument. This file, `timer_queue`, `poll_scheduler`
and `iteration` are the only ones that read a clock.
"""

import asyncio
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime

from reactivex import abc
from reactivex.scheduler import VirtualTimeScheduler

from rxflow._models.times import Now, plain_utc


def clock_of(scheduler: abc.SchedulerBase) -> Callable[[], Now]:
    """Return the clock of a scheduler: virtual for virtual time, else the real one."""
    if isinstance(scheduler, VirtualTimeScheduler):
        return lambda: Now(scheduler.now.timestamp(), scheduler.now)
    return real_now


def real_now() -> Now:
    """Return the real time: monotonic seconds and an aware UTC datetime.

    Under freezegun the clock gives times of its own class.
    """
    return Now(time.monotonic(), plain_utc(datetime.now(UTC)))


def pause(seconds: float) -> None:
    """Block this thread. Ctrl-C ends the pause at once."""
    threading.Event().wait(seconds)


async def apause(seconds: float) -> None:
    """Wait without blocking the event loop."""
    await asyncio.sleep(seconds)
