"""What tests do with agendas of every kind: the poll scheduler and the two pumps."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from reactivex import abc
from virtual_world import PATIENCE

from rxflow._runtime.iteration import AsyncPullScheduler, PullScheduler
from rxflow._runtime.poll_scheduler import PollScheduler

Agenda = PollScheduler | PullScheduler | AsyncPullScheduler

FAR = 1_000_000_000.0


def calling(action: Callable[[], object]) -> abc.ScheduledAction[Any]:
    """An action that does what it does without a look at scheduler and state."""

    def act(_: abc.SchedulerBase, __: Any = None) -> None:
        action()

    return act


def work_off(scheduler: Agenda) -> None:
    """Have everything on an agenda run."""
    match scheduler:
        case PollScheduler():
            assert scheduler.join(PATIENCE)
        case PullScheduler():
            while scheduler._next_due() is not None:
                scheduler._step()
        case AsyncPullScheduler():
            scheduler._loop.run_until_complete(_step_through(scheduler))


async def _step_through(pump: AsyncPullScheduler) -> None:
    async with asyncio.timeout(PATIENCE):
        while pump._next_due() is not None:
            await pump._step()


@contextmanager
def at_rest(scheduler: Agenda) -> Iterator[None]:
    """Keep a scheduler from running anything in between."""
    reached, release = threading.Event(), threading.Event()

    def stop() -> None:
        reached.set()
        assert release.wait(PATIENCE)

    if isinstance(scheduler, PollScheduler):
        scheduler.schedule(calling(stop))
        assert reached.wait(PATIENCE)
    yield
    release.set()


class Waits:
    """Tells when a scheduler is about to wait for long; with its lock held, which waiting lets go.

    Attributes:
        waits: Set when it is.
    """

    def __init__(self) -> None:
        super().__init__()
        self.waits = threading.Event()

    def _next_due(self) -> float | None:
        due: float | None = super()._next_due()  # type: ignore[misc]
        if due is not None and due > FAR:
            self.waits.set()
        return due


class WaitingPollScheduler(Waits, PollScheduler):
    """A poll scheduler that tells when it waits."""


class WaitingPump(Waits, PullScheduler):
    """A pump that tells when it waits."""


class WaitingAsyncPump(Waits, AsyncPullScheduler):
    """A pump of an event loop that tells when it waits."""
