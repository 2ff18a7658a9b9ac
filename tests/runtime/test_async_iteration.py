"""Iteration on an event loop: other tasks run meanwhile, and every way out disposes."""

import asyncio
import gc
import threading
import weakref
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import pytest
import reactivex as rx
from reactivex import Observable, abc
from reactivex import operators as ops
from reactivex.disposable import Disposable
from reactivex.subject import Subject
from timer_queues import calling
from virtual_world import TEST_TIMEOUT

from rxflow import Overflow, aiterate, iterate
from rxflow._runtime.iteration import MAX_UNREQUESTED_ITEMS, AsyncPullScheduler

pytestmark = pytest.mark.timeout(60)


class Endless(Observable[int]):
    """Emits 0, 1, 2 and so on, one an action; or nothing at all, without an end.

    Attributes:
        disposed: How often a subscription was disposed of.
        emitted: The number of items emitted.
    """

    def __init__(self, *, silent: bool = False) -> None:
        super().__init__()
        self.disposed = self.emitted = 0
        self._silent = silent

    def _subscribe_core(
        self, observer: abc.ObserverBase[int], scheduler: abc.SchedulerBase | None = None
    ) -> abc.DisposableBase:
        assert scheduler is not None

        def emit(scheduler: abc.SchedulerBase, _: Any = None) -> abc.DisposableBase:
            self.emitted += 1
            observer.on_next(self.emitted - 1)
            return scheduler.schedule(emit)

        def dispose() -> None:
            self.disposed += 1
            scheduled.dispose()

        scheduled = Disposable() if self._silent else scheduler.schedule(emit)
        return Disposable(dispose)


def is_only_task() -> bool:
    """Whether the running task is the only one on its loop."""
    return asyncio.all_tasks() == {asyncio.current_task()}


async def let_wait(task: asyncio.Task[Any]) -> None:
    """Let a task run until it let_wait for something that only the test provides."""
    for _ in range(10):
        await asyncio.sleep(0)
    assert not task.done()


async def collect(observable: Observable[Any]) -> list[Any]:
    """Return all items of an `async for` loop."""
    return [item async for item in aiterate(observable)]


def test_other_tasks_run_between_actions() -> None:
    """A source that never let_wait yields to other tasks after each of its actions."""

    async def both() -> list[str]:
        order: list[str] = []

        async def other() -> None:
            for _ in range(3):
                order.append("other")
                await asyncio.sleep(0)

        task = asyncio.create_task(other())
        async with aclosing(aiterate(Endless())) as items:
            async for _ in items:
                order.append("item")
                if task.done():
                    return order
        raise AssertionError

    assert asyncio.run(both())[:6] == ["other", "item"] * 3


def test_an_item_of_another_task_wakes_the_consumer() -> None:
    """An item emitted by another task of the same loop wakes a waiting consumer."""
    source: Subject[int] = Subject()

    async def emit() -> list[int]:
        task = asyncio.create_task(collect(source))
        for number in range(5):
            await let_wait(task)
            source.on_next(number)
        source.on_completed()
        return await task

    assert asyncio.run(emit()) == [*range(5)]


def test_too_many_items_of_another_task_are_an_overflow() -> None:
    """Items that another task emits without a pause are buffered up to the bound."""
    source: Subject[int] = Subject()
    found: list[int] = []

    async def read() -> None:
        async with aclosing(aiterate(source)) as items:
            while True:
                found.append(await anext(items))

    async def emit() -> None:
        task = asyncio.create_task(read())
        await let_wait(task)
        for number in range(MAX_UNREQUESTED_ITEMS + 1):
            source.on_next(number)
        with pytest.raises(Overflow):
            await task

    asyncio.run(emit())
    assert found == [*range(MAX_UNREQUESTED_ITEMS)]


def test_cancelling_a_waiting_task_disposes() -> None:
    """Cancelling a waiting task disposes of the subscription once and leaves no task."""
    source = Endless(silent=True)

    async def cancel() -> None:
        task = asyncio.create_task(collect(source))
        await let_wait(task)
        assert task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert is_only_task()

    asyncio.run(cancel())
    assert source.disposed == 1


def test_an_item_at_the_same_time_does_not_hide_a_cancellation() -> None:
    """A task that is woken and cancelled in the same loop iteration is cancelled."""
    source: Subject[int] = Subject()

    async def cancel() -> None:
        task = asyncio.create_task(collect(source))
        await let_wait(task)
        source.on_next(1)
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    for _ in range(3):
        asyncio.run(cancel())
    assert source.observers == []


@pytest.mark.parametrize("turns", range(8))
def test_a_cancellation_ends_a_loop_at_any_point(turns: int) -> None:
    """A cancellation ends an endless loop at any point and disposes of it once."""
    source = Endless()

    async def cancel() -> None:
        task = asyncio.create_task(collect(source))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert is_only_task()

    asyncio.run(cancel())
    assert source.disposed == (turns > 0)


def test_break_within_aclosing_disposes_at_once() -> None:
    """`break` within `aclosing` disposes of the subscription once and leaves no task."""
    source = Endless()

    async def leave() -> None:
        async with aclosing(aiterate(source)) as items:
            async for item in items:
                if item == 4:
                    break
        assert (source.emitted, source.disposed) == (5, 1)
        await asyncio.sleep(0)  # Python would begin to finalise an unclosed generator here
        assert is_only_task()
        assert [item async for item in items] == []

    asyncio.run(leave())
    assert (source.emitted, source.disposed) == (5, 1)


def test_break_alone_disposes_on_finalisation() -> None:
    """`break` without `aclosing` disposes when Python finalises the generator."""
    source = Endless()

    async def leave() -> None:
        async for item in aiterate(source):
            if item == 4:
                break
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert source.disposed == 1

    asyncio.run(leave())
    assert (source.emitted, source.disposed) == (5, 1)


def test_the_end_of_the_event_loop_disposes() -> None:
    """An iterator that is still referenced when the event loop ends is disposed of then."""
    source = Endless()
    held: list[AsyncGenerator[int]] = []

    async def begin() -> int:
        held.append(aiterate(source))
        return await anext(held[0])

    assert asyncio.run(begin()) == 0
    assert (source.emitted, source.disposed) == (1, 1)


def test_two_loops_alternate() -> None:
    """Two endless loops on one event loop alternate."""

    async def race() -> list[str]:
        order: list[str] = []

        async def loop(name: str) -> None:
            recorded = Endless().pipe(ops.take(5), ops.do_action(lambda _: order.append(name)))
            await collect(recorded)

        await asyncio.gather(loop("a"), loop("b"))
        return order

    assert asyncio.run(race()) == ["a", "b"] * 5


def test_a_blocking_loop_works_within_an_event_loop() -> None:
    """A `for` loop works within a running event loop, as in a notebook, and blocks it."""

    async def block() -> list[int]:
        return list(iterate(rx.interval(0.001).pipe(ops.take(3))))

    assert asyncio.run(block()) == [0, 1, 2]


def test_a_source_may_outlive_the_event_loop() -> None:
    """A thread may emit or cancel after the event loop has ended."""
    source: Subject[int] = Subject()
    schedulers: list[AsyncPullScheduler] = []

    async def begin() -> None:
        schedulers.append(AsyncPullScheduler())
        schedulers[0].subscribe_to(source)

    asyncio.run(begin())
    (scheduler,) = schedulers
    scheduled = scheduler.schedule_relative(60, calling(lambda: None))

    def emit() -> None:
        source.on_next(1)
        scheduled.dispose()
        source.on_completed()

    thread = threading.Thread(target=emit)
    thread.start()
    thread.join(TEST_TIMEOUT)
    assert source.observers == []


def test_no_thread_is_started(started: list[str]) -> None:
    """Timers of a pipeline on an event loop start no thread."""
    asyncio.run(collect(rx.merge(rx.timer(0.002), rx.interval(0.001).pipe(ops.take(3)))))
    assert started == []


def test_the_observable_is_freed_after_the_loop() -> None:
    """After the end of a loop nothing references its observable."""
    source = Endless()
    reference = weakref.ref(source)
    assert asyncio.run(collect(source.pipe(ops.take(2)))) == [0, 1]
    del source
    gc.collect()
    assert reference() is None


@pytest.mark.skipif(not hasattr(asyncio, "eager_task_factory"), reason="since Python 3.12")
def test_eager_tasks_can_iterate() -> None:
    """A loop in an eager task returns the same items as in any other task."""

    async def eagerly() -> list[int]:
        loop = asyncio.get_running_loop()
        loop.set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined,unused-ignore]
        return await asyncio.create_task(collect(rx.interval(0.001).pipe(ops.take(3))))

    assert asyncio.run(eagerly()) == [0, 1, 2]
