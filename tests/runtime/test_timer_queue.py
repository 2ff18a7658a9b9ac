"""Timer queues of every kind: due actions run in order, cancelled ones never."""

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
    """Create an event loop for the scheduler that needs one."""
    with asyncio.Runner() as runner:
        yield runner


def create(kind: Any, runner: asyncio.Runner) -> Any:
    """Create a timer queue, on the event loop if it needs one."""

    async def create_on_loop() -> Any:
        return kind()

    return runner.run(create_on_loop()) if issubclass(kind, AsyncPullScheduler) else kind()


@pytest.fixture(params=[PollScheduler, PullScheduler, AsyncPullScheduler])
def scheduler(request: pytest.FixtureRequest, runner: asyncio.Runner) -> AnyTimerQueue:
    """Create a timer queue of each kind."""
    queue: AnyTimerQueue = create(request.param, runner)
    return queue


def test_actions_run_by_the_time_they_are_due(scheduler: AnyTimerQueue) -> None:
    """Actions run in the order in which they are due, not in that of scheduling."""
    ran: list[int] = []
    with blocked(scheduler):
        for due in (-5, -9, -7, -8, -6):
            scheduler._add(due, calling(partial(ran.append, due)), None)
    run_all(scheduler)
    assert ran == [-9, -8, -7, -6, -5]


def test_ties_run_in_the_order_of_scheduling(scheduler: AnyTimerQueue) -> None:
    """Actions that are due at the same time run in the order of scheduling."""
    ran: list[int] = []
    with blocked(scheduler):
        for number in range(20):
            scheduler._add(-1.0, calling(partial(ran.append, number)), None)
    run_all(scheduler)
    assert ran == list(range(20))


def test_state_reaches_the_action(scheduler: AnyTimerQueue) -> None:
    """An action is called with the scheduler and its state."""
    received: list[object] = []
    scheduler.schedule(lambda *arguments: received.extend(arguments), "state")
    run_all(scheduler)
    assert received == [scheduler, "state"]


def test_what_an_action_returns_is_disposed_of_with_it(scheduler: AnyTimerQueue) -> None:
    """Disposing of a scheduled action disposes of what it returned, within it and after it."""
    disposed: list[str] = []

    def returning(name: str) -> abc.ScheduledAction[Any]:
        return lambda *_: Disposable(lambda: disposed.append(name))

    with blocked(scheduler):
        ran = scheduler.schedule(returning("after"))
        holder: list[abc.DisposableBase] = []

        def dispose_of_itself(*_: object) -> abc.DisposableBase:
            holder[0].dispose()
            return Disposable(lambda: disposed.append("within"))

        holder.append(scheduler.schedule(dispose_of_itself))
    run_all(scheduler)
    assert disposed == ["within"]
    ran.dispose()
    ran.dispose()
    assert disposed == ["within", "after"]


def test_an_action_may_return_anything(scheduler: AnyTimerQueue) -> None:
    """A returned value that is no disposable is ignored."""
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
    """An action that is disposed of before it runs never runs, even if it was due."""
    ran: list[str] = []
    with blocked(scheduler):
        cancelled = scheduler.schedule(calling(lambda: ran.append("cancelled")))
        scheduler.schedule(calling(lambda: ran.append("kept")))
        cancelled.dispose()
    run_all(scheduler)
    assert ran == ["kept"]


def test_cancelled_actions_are_freed(scheduler: AnyTimerQueue) -> None:
    """A cancelled action and its state are freed at once, even if they were due much later."""

    class Referent:
        pass

    action, state = Referent(), Referent()
    references = [weakref.ref(action), weakref.ref(state)]
    pending = [scheduler.schedule_relative(FAR, calling(lambda: None)) for _ in range(5)]
    cancelled = scheduler.schedule_relative(FAR, calling(partial(id, action)), state)
    cancelled.dispose()
    del action, state
    assert [reference() for reference in references] == [None, None]
    for scheduled in pending:
        scheduled.dispose()
    run_all(scheduler)


def test_cancelled_actions_do_not_pile_up(scheduler: AnyTimerQueue) -> None:
    """Timers scheduled and cancelled again and again are purged while others stay."""
    kept = [scheduler.schedule_relative(FAR, calling(lambda: None)) for _ in range(10)]
    for _ in range(1000):
        scheduler.schedule_relative(FAR, calling(lambda: None)).dispose()
        scheduler._next_due()
    assert 10 <= len(scheduler._timers) <= 21
    for scheduled in kept:
        scheduled.dispose()
    run_all(scheduler)


def test_an_action_may_be_cancelled_just_before_it_runs(scheduler: AnyTimerQueue) -> None:
    """An action that is cancelled after it was removed from the queue does not run."""
    ran: list[str] = []
    with blocked(scheduler):
        scheduled = scheduler.schedule(calling(lambda: ran.append("cancelled")))
        timer = scheduler._pop()
        scheduled.dispose()
        timer.run(scheduler)
    run_all(scheduler)
    assert ran == []


def test_a_past_date_is_due_at_once(scheduler: AnyTimerQueue) -> None:
    """An action scheduled for a past time runs at once, one for a future time does not."""
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


def test_periodic_actions_pass_on_their_state(scheduler: AnyTimerQueue) -> None:
    """A periodic action gets its previous return value until it is disposed of."""
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
def test_a_wait_may_have_no_end(waiting: type[Waiting], runner: asyncio.Runner) -> None:
    """A scheduler with a timer beyond the maximum wait of a thread can still be woken."""
    scheduler: Waiting = create(waiting, runner)
    endless = scheduler.schedule_relative(math.inf, calling(lambda: None))

    def cancel() -> None:
        assert scheduler.waits.wait(TEST_TIMEOUT)
        endless.dispose()

    canceller = threading.Thread(target=cancel)
    canceller.start()
    run_all(scheduler)
    canceller.join(TEST_TIMEOUT)
    assert scheduler._next_due() is None
