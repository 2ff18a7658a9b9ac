"""Scheduling: which schedulers are replaced, and on which ones a watch fetches inline."""

import asyncio
from typing import Any

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
from timer_queues import calling

from rxflow._runtime.iteration import AsyncPullScheduler, PullScheduler
from rxflow._runtime.poll_scheduler import PollScheduler
from rxflow._runtime.scheduling import NextAction, fetches_inline, scheduler_for
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


def test_the_action_scheduled_last_is_the_one_that_runs() -> None:
    """Scheduling an action cancels the one before."""
    scheduler, ran = TestScheduler(), list[str]()
    following = NextAction(scheduler)
    following.schedule(5.0, calling(lambda: ran.append("before")))
    following.schedule(2.0, calling(lambda: ran.append("last")))
    scheduler.start()
    assert ran == ["last"]


def test_an_action_that_runs_at_once_may_schedule_the_next() -> None:
    """On a scheduler that runs actions at once, the next action is kept, and can be cancelled."""
    later, ran = TestScheduler(), list[str]()

    class Either(ImmediateScheduler):
        """Runs at once what is due, and what is due later in virtual time."""

        def schedule_relative(self, duetime: Any, action: Any, state: Any = None) -> Any:
            """Schedule in virtual time."""
            return later.schedule_relative(duetime, action, state)

    for disposed in (False, True):
        following = NextAction(Either())

        def schedule_next(following: NextAction = following) -> None:
            following.schedule(2.0, calling(lambda: ran.append("next")))

        following.schedule(0.0, calling(schedule_next))
        if disposed:
            following.dispose()
        later.start()
    assert ran == ["next"]


def test_an_action_scheduled_after_a_dispose_is_cancelled() -> None:
    """Once disposed of, nothing is left to run."""
    scheduler, ran = TestScheduler(), list[str]()
    following = NextAction(scheduler)
    following.dispose()
    following.schedule(2.0, calling(lambda: ran.append("late")))
    scheduler.start()
    assert ran == []
