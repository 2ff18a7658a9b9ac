"""Drive timer queues of every kind: the poll scheduler and the two pull schedulers."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from reactivex import abc
from virtual_world import TEST_TIMEOUT

from rxflow._runtime.iteration import AsyncPullScheduler, PullScheduler
from rxflow._runtime.poll_scheduler import PollScheduler

AnyTimerQueue = PollScheduler | PullScheduler | AsyncPullScheduler

FAR = 1_000_000_000.0
"""Seconds until an action that no test waits for."""


def calling(action: Callable[[], object]) -> abc.ScheduledAction[Any]:
    """Return a scheduled action that calls a function without arguments."""

    def act(_: abc.SchedulerBase, __: Any = None) -> None:
        action()

    return act


def run_all(scheduler: AnyTimerQueue) -> None:
    """Run actions until no timer is left."""
    match scheduler:
        case PollScheduler():
            assert scheduler.join(TEST_TIMEOUT)
        case PullScheduler():
            while scheduler._next_due() is not None:
                scheduler._step()
        case AsyncPullScheduler():
            scheduler._loop.run_until_complete(_run_all_on_loop(scheduler))


async def _run_all_on_loop(scheduler: AsyncPullScheduler) -> None:
    async with asyncio.timeout(TEST_TIMEOUT):
        while scheduler._next_due() is not None:
            await scheduler._step()


@contextmanager
def blocked(scheduler: AnyTimerQueue) -> Iterator[None]:
    """Keep a scheduler from running actions within the block."""
    reached, release = threading.Event(), threading.Event()

    def block() -> None:
        reached.set()
        assert release.wait(TEST_TIMEOUT)

    if isinstance(scheduler, PollScheduler):
        scheduler.schedule(calling(block))
        assert reached.wait(TEST_TIMEOUT)
    yield
    release.set()


class _SignalsWait:
    """Signals that a scheduler is about to wait for a far timer.

    The lock is held at that moment, and waiting releases it.

    Attributes:
        waits: Set when the scheduler is about to wait.
    """

    def __init__(self) -> None:
        super().__init__()
        self.waits = threading.Event()

    def _next_due(self) -> float | None:
        due: float | None = super()._next_due()  # type: ignore[misc]
        if due is not None and due > FAR:
            self.waits.set()
        return due


class WaitingPollScheduler(_SignalsWait, PollScheduler):
    """A poll scheduler that signals when it waits."""


class WaitingPullScheduler(_SignalsWait, PullScheduler):
    """A pull scheduler that signals when it waits."""


class WaitingAsyncPullScheduler(_SignalsWait, AsyncPullScheduler):
    """An async pull scheduler that signals when it waits."""
