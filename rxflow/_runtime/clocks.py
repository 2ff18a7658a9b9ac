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
    return _virtual_clock(scheduler) if isinstance(scheduler, VirtualTimeScheduler) else real_now


def monotonic_clock_of(scheduler: abc.SchedulerBase) -> Callable[[], float]:
    """Return the monotonic part of a scheduler's clock, which takes less time to read."""
    return _virtual_seconds(scheduler) if isinstance(scheduler, VirtualTimeScheduler) else _seconds


def _seconds() -> float:
    return time.monotonic()  # looked up at each call, since freezegun replaces the function


def _virtual_seconds(scheduler: VirtualTimeScheduler) -> Callable[[], float]:
    def read() -> float:
        clock = scheduler.clock
        return clock.timestamp() if isinstance(clock, datetime) else clock

    return read


def _virtual_clock(scheduler: VirtualTimeScheduler) -> Callable[[], Now]:
    """Return a clock that converts the scheduler's time only when that has advanced.

    Many events arrive at one virtual time, and the conversion takes 1 us.
    """
    seconds_of = _virtual_seconds(scheduler)
    now = Now(seconds_of(), scheduler.now)

    def read() -> Now:
        nonlocal now
        seconds = seconds_of()
        if seconds != now.mono:
            now = Now(seconds, scheduler.now)
        return now

    return read


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
