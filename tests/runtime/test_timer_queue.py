"""Agendas: what is due runs in its order, what is cancelled does not, whoever runs it."""

import asyncio
import math
import threading
import weakref
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from reactivex import abc
from reactivex.disposable import Disposable
from timer_queues import (
    FAR,
    AnyTimerQueue,
    WaitingAsyncPullScheduler,
    WaitingPollScheduler,
    WaitingPullScheduler,
    blocked,
    calling,
    run_all,
)
from virtual_world import TEST_TIMEOUT

from rxflow._runtime.iteration import AsyncPullScheduler, PullScheduler
from rxflow._runtime.poll_scheduler import PollScheduler

Waiting = WaitingPollScheduler | WaitingPullScheduler | WaitingAsyncPullScheduler


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    """An event loop for what lives on one."""
    with asyncio.Runner() as runner:
        yield runner


def made(kind: Any, runner: asyncio.Runner) -> Any:
    """Make an agenda, where it has to be made."""

    async def make() -> Any:
        return kind()

    return runner.run(make()) if issubclass(kind, AsyncPullScheduler) else kind()


@pytest.fixture(params=[PollScheduler, PullScheduler, AsyncPullScheduler])
def scheduler(request: pytest.FixtureRequest, runner: asyncio.Runner) -> AnyTimerQueue:
    """Make one of the schedulers."""
    agenda: AnyTimerQueue = made(request.param, runner)
    return agenda


def test_actions_run_by_the_time_they_are_due(scheduler: AnyTimerQueue) -> None:
    """Actions run in the order in which they are due, not in which they were scheduled."""
    ran: list[int] = []
    with blocked(scheduler):
        for due in (-5, -9, -7, -8, -6):
            scheduler._add(due, calling(partial(ran.append, due)), None)
    run_all(scheduler)
    assert ran == [-9, -8, -7, -6, -5]


def test_ties_run_as_scheduled(scheduler: AnyTimerQueue) -> None:
    """Actions that are due at the same time run in the order in which they were scheduled."""
    ran: list[int] = []
    with blocked(scheduler):
        for number in range(20):
            scheduler._add(-1.0, calling(partial(ran.append, number)), None)
    run_all(scheduler)
    assert ran == list(range(20))


def test_state_reaches_the_action(scheduler: AnyTimerQueue) -> None:
    """An action is called with the scheduler and the state that it was scheduled with."""
    got: list[object] = []
    scheduler.schedule(lambda *given: got.extend(given), "state")
    run_all(scheduler)
    assert got == [scheduler, "state"]


def test_what_an_action_returns_is_disposed_with_it(scheduler: AnyTimerQueue) -> None:
    """Disposing of a scheduled action disposes of what it returned, before and after it ran."""
    gone: list[str] = []

    def returning(name: str) -> abc.ScheduledAction[Any]:
        return lambda *_: Disposable(lambda: gone.append(name))

    with blocked(scheduler):
        ran = scheduler.schedule(returning("after"))
        holder: list[abc.DisposableBase] = []

        def disposes_of_itself(*_: object) -> abc.DisposableBase:
            holder[0].dispose()
            return Disposable(lambda: gone.append("within"))

        holder.append(scheduler.schedule(disposes_of_itself))
    run_all(scheduler)
    assert gone == ["within"]
    ran.dispose()
    ran.dispose()
    assert gone == ["within", "after"]


def test_an_action_may_return_anything(scheduler: AnyTimerQueue) -> None:
    """What an action returns is of no concern unless it can be disposed of."""
    ran: list[str] = []

    def number(*_: object) -> int:
        ran.append("it")
        return 5

    scheduled = scheduler.schedule(number)  # type: ignore[arg-type]
    scheduler.schedule(calling(lambda: ran.append("the next")))
    run_all(scheduler)
    scheduled.dispose()
    assert ran == ["it", "the next"]


def test_cancelled_actions_do_not_run(scheduler: AnyTimerQueue) -> None:
    """An action that is disposed of before it is due never runs, even when already due."""
    ran: list[str] = []
    with blocked(scheduler):
        cancelled = scheduler.schedule(calling(lambda: ran.append("cancelled")))
        scheduler.schedule(calling(lambda: ran.append("kept")))
        cancelled.dispose()
    run_all(scheduler)
    assert ran == ["kept"]


def test_cancelled_actions_are_let_go(scheduler: AnyTimerQueue) -> None:
    """What a cancelled action and its state hold is free at once, however far its time is."""

    class Held:
        pass

    action, state = Held(), Held()
    alive = [weakref.ref(action), weakref.ref(state)]
    others = [scheduler.schedule_relative(FAR, calling(lambda: None)) for _ in range(5)]
    cancelled = scheduler.schedule_relative(FAR, calling(partial(id, action)), state)
    cancelled.dispose()
    del action, state
    assert [held() for held in alive] == [None, None]
    for other in others:
        other.dispose()
    run_all(scheduler)


def test_cancelled_actions_do_not_pile_up(scheduler: AnyTimerQueue) -> None:
    """Of actions that are scheduled and cancelled again and again few are left, others or not."""
    kept = [scheduler.schedule_relative(FAR, calling(lambda: None)) for _ in range(10)]
    for _ in range(1000):
        scheduler.schedule_relative(FAR, calling(lambda: None)).dispose()
        scheduler._next_due()
    assert 10 <= len(scheduler._timers) <= 21
    for scheduled in kept:
        scheduled.dispose()
    run_all(scheduler)


def test_an_action_may_be_cancelled_at_the_last_moment(scheduler: AnyTimerQueue) -> None:
    """An action that is cancelled when it was taken to be run does not run."""
    ran: list[str] = []
    with blocked(scheduler):
        scheduled = scheduler.schedule(calling(lambda: ran.append("cancelled")))
        entry = scheduler._pop()
        scheduled.dispose()
        scheduler._run(entry)
    run_all(scheduler)
    assert ran == []


def test_a_date_in_the_past_is_now(scheduler: AnyTimerQueue) -> None:
    """An action scheduled for a time that has passed runs at once, and one for later does not."""
    ran: list[str] = []
    scheduler.schedule_absolute(
        scheduler.now - timedelta(days=1), calling(lambda: ran.append("past"))
    )
    scheduler.schedule_relative(-1.0, calling(lambda: ran.append("negative")))
    later = scheduler.schedule_absolute(
        scheduler.now + timedelta(days=1), calling(lambda: ran.append("future"))
    )
    scheduler.schedule_absolute(scheduler.now + timedelta(milliseconds=5), calling(later.dispose))
    run_all(scheduler)
    assert sorted(ran) == ["negative", "past"]


def test_periodic_actions_hand_on_their_state(scheduler: AnyTimerQueue) -> None:
    """A periodic action gets what it returned the time before, until it is disposed of."""
    states: list[int | None] = []

    def tick(state: int | None) -> int:
        states.append(state)
        if len(states) == 4:
            periodic.dispose()
        return (state or 0) + 1

    with blocked(scheduler):
        periodic = scheduler.schedule_periodic(0.001, tick, 0)
    run_all(scheduler)
    assert states == [0, 1, 2, 3]


@pytest.mark.parametrize(
    "waiting", [WaitingPollScheduler, WaitingPullScheduler, WaitingAsyncPullScheduler]
)
def test_a_wait_may_be_endless(waiting: type[Waiting], runner: asyncio.Runner) -> None:
    """A scheduler waits for longer than a thread can wait at a time, and can still be woken."""
    scheduler: Waiting = made(waiting, runner)
    endless = scheduler.schedule_relative(math.inf, calling(lambda: None))

    def cancel() -> None:
        assert scheduler.waits.wait(TEST_TIMEOUT)
        endless.dispose()

    canceller = threading.Thread(target=cancel)
    canceller.start()
    run_all(scheduler)
    canceller.join(TEST_TIMEOUT)
    assert scheduler._next_due() is None
