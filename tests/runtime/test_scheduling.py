"""Scheduling: which schedulers are replaced, and on which ones a watch fetches inline."""

import asyncio

import pytest
from reactivex import abc
from reactivex.scheduler import (
    CurrentThreadScheduler,
    EventLoopScheduler,
    HistoricalScheduler,
    ImmediateScheduler,
    TrampolineScheduler,
)
from reactivex.testing import TestScheduler

from rxflow._runtime.iteration import AsyncPullScheduler, PullScheduler
from rxflow._runtime.poll_scheduler import PollScheduler
from rxflow._runtime.scheduling import fetches_inline, scheduler_for
from rxflow._runtime.turn_scheduler import TurnScheduler


@pytest.mark.parametrize(
    "given", [None, ImmediateScheduler(), CurrentThreadScheduler(), TrampolineScheduler()]
)
def test_schedulers_that_cannot_wait_are_replaced(given: abc.SchedulerBase | None) -> None:
    """No scheduler, or one that blocks its caller while it waits, is replaced by one of its own."""
    first, second = scheduler_for(given), scheduler_for(given)
    assert isinstance(first, TurnScheduler)
    assert isinstance(second, TurnScheduler)
    assert first is not second


@pytest.mark.parametrize(
    ("given", "inline"),
    [
        (PullScheduler(), True),
        (TestScheduler(), True),
        (HistoricalScheduler(), True),
        (PollScheduler(), False),
        (EventLoopScheduler(), False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_given_scheduler_is_kept(given: abc.SchedulerBase, inline: bool) -> None:
    """Any other scheduler is kept; only the pull scheduler and virtual time fetch inline."""
    assert scheduler_for(given) is given
    assert fetches_inline(given) is inline


def test_an_async_pull_scheduler_does_not_fetch_inline() -> None:
    """The pull scheduler of an event loop, which must not block, leaves fetching to a task."""

    async def check() -> None:
        given = AsyncPullScheduler()
        assert scheduler_for(given) is given
        assert not fetches_inline(given)

    asyncio.run(check())
