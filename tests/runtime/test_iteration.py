"""The pumps: any pipeline in a loop, run by its consumer's demand, in a thread or on a loop."""

import asyncio
import gc
import threading
import weakref
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing
from functools import partial
from typing import Any

import pytest
import reactivex as rx
from reactivex import Observable, abc
from reactivex import operators as ops
from reactivex.disposable import Disposable
from reactivex.subject import Subject
from stream_faces import LoopIterator
from timer_queues import calling
from virtual_world import TEST_TIMEOUT

from rxflow import Overflow, aiterate, iterate
from rxflow._runtime.iteration import MAX_UNREQUESTED_ITEMS, AsyncPullScheduler

pytestmark = pytest.mark.timeout(60)

Iterated = Callable[[Observable[Any]], Any]


@pytest.fixture(params=["for", "async for"])
def iterated(request: pytest.FixtureRequest) -> Iterator[Iterated]:
    """Iterate an observable, in the caller's thread or on an event loop there."""
    made: list[LoopIterator[Any]] = []

    def on_a_loop(observable: Observable[Any]) -> LoopIterator[Any]:
        made.append(LoopIterator(observable))
        return made[-1]

    yield iterate if request.param == "for" else on_a_loop
    for items in made:
        items.end()


# -- both ---------------------------------------------------------------------------------------


def counting(ran: list[int]) -> Observable[int]:
    """1, 2, 3 and so on, each emitted by an action that notes its thread and schedules the next."""

    def subscribe(
        observer: abc.ObserverBase[int], scheduler: abc.SchedulerBase | None = None
    ) -> abc.DisposableBase:
        assert scheduler is not None

        def emit(scheduler: abc.SchedulerBase, _: Any = None) -> abc.DisposableBase:
            ran.append(threading.get_ident())
            observer.on_next(len(ran))
            return scheduler.schedule(emit)

        return scheduler.schedule(emit)

    return Observable(subscribe)


def flooding(number: int) -> tuple[Observable[int], threading.Thread]:
    """A source that emits from a thread of its own, and that thread, not started yet."""
    source: Subject[int] = Subject()

    def flood() -> None:
        for item in range(number):
            source.on_next(item)
        source.on_completed()

    return source, threading.Thread(target=flood, daemon=True)


def test_a_pump_runs_on_demand_in_the_thread_that_asks(iterated: Iterated) -> None:
    """An item that is asked for costs one action, in the consumer's thread; else nothing runs."""
    ran: list[int] = []
    items = iterated(counting(ran))
    assert ran == []
    for number in range(1, 4):
        assert next(items) == number
        assert ran == [threading.get_ident()] * number
    items.close()
    assert len(ran) == 3


def test_a_pump_follows_its_consumer_to_another_thread(iterated: Iterated) -> None:
    """An iterator that is read on by another thread runs there."""
    ran: list[int] = []
    items = iterated(counting(ran))
    next(items)
    thread = threading.Thread(target=lambda: next(items))
    thread.start()
    ident = thread.ident
    thread.join(TEST_TIMEOUT)
    assert ran == [threading.get_ident(), ident]
    items.close()


def test_a_page_may_be_longer_than_the_bound_in_any_thread(iterated: Iterated) -> None:
    """The bound is for threads that the reader does not drive, whichever thread reads."""
    page = [*range(MAX_UNREQUESTED_ITEMS * 2)]
    pages = rx.of([-1], page).pipe(ops.delay(0.001), ops.flat_map(rx.from_iterable))
    items = iterated(pages)
    found: list[int] = []
    thread = threading.Thread(target=lambda: found.extend(items))
    assert next(items) == -1
    thread.start()
    thread.join(TEST_TIMEOUT)
    assert found == page


def test_an_item_of_another_thread_wakes_a_pump(iterated: Iterated) -> None:
    """An item that a thread of its own emits reaches a consumer that waits for it."""
    source: Subject[str] = Subject()
    read = threading.Event()

    def emit() -> None:
        source.on_next("item")
        assert read.wait(TEST_TIMEOUT)
        source.on_completed()

    thread = threading.Thread(target=emit)
    begun = rx.of("begun").pipe(ops.do_action(lambda _: thread.start()))
    for item in iterated(rx.merge(source, begun)):
        if item == "item":
            read.set()
    thread.join(TEST_TIMEOUT)
    assert read.is_set()


def test_another_thread_may_schedule(iterated: Iterated) -> None:
    """What another thread's items make an operator schedule runs in a consumer that waits."""
    source, thread = flooding(5)
    begun = rx.of(-1).pipe(ops.do_action(lambda _: thread.start()))
    late = source.pipe(ops.delay(0.001))
    assert list(iterated(rx.merge(late, begun))) == [-1, *range(5)]
    thread.join(TEST_TIMEOUT)


def test_too_many_items_from_another_thread_are_an_overflow(iterated: Iterated) -> None:
    """A flood from another thread is never blocked; the reader gets what fits, then `Overflow`."""
    source, thread = flooding(MAX_UNREQUESTED_ITEMS + 100)
    items = iterated(rx.merge(source, rx.of(-1)))
    assert next(items) == -1
    thread.start()
    thread.join(TEST_TIMEOUT)
    assert not thread.is_alive()
    found = [next(items) for _ in range(MAX_UNREQUESTED_ITEMS)]
    assert found == list(range(MAX_UNREQUESTED_ITEMS))
    with pytest.raises(Overflow, match="read faster"):
        next(items)


def test_nothing_comes_after_an_overflow(iterated: Iterated) -> None:
    """What a thread emits after an overflow is not delivered, even when there is room again."""
    source: Subject[int] = Subject()
    items = iterated(rx.merge(source, rx.of(-1)))
    next(items)

    def emit(numbers: range) -> None:
        def run() -> None:
            for number in numbers:
                source.on_next(number)

        thread = threading.Thread(target=run)
        thread.start()
        thread.join(TEST_TIMEOUT)

    emit(range(MAX_UNREQUESTED_ITEMS + 1))
    found = [next(items) for _ in range(MAX_UNREQUESTED_ITEMS // 2)]
    emit(range(MAX_UNREQUESTED_ITEMS + 1, MAX_UNREQUESTED_ITEMS + 10))
    with pytest.raises(Overflow):
        found.extend(items)
    assert found == list(range(MAX_UNREQUESTED_ITEMS))


def test_the_lock_of_merge_cannot_be_held_against_the_reader(iterated: Iterated) -> None:
    """A thread that floods one side of a merge ends though nobody reads, and so does the merge."""
    source, thread = flooding(MAX_UNREQUESTED_ITEMS - 10)
    pair = rx.merge(source, rx.interval(0.001).pipe(ops.take(5)))
    items = iterated(pair)
    found = [next(items)]
    thread.start()
    thread.join(TEST_TIMEOUT)
    assert not thread.is_alive()
    found.extend(items)
    assert len(found) == MAX_UNREQUESTED_ITEMS - 5


def test_an_error_comes_after_the_items_before_it(iterated: Iterated) -> None:
    """The reader gets every item, and then the very error that the observable ended with."""
    error = ValueError("at the end")
    items = iterated(rx.concat(rx.of(1, 2), rx.throw(error)))
    assert [next(items), next(items)] == [1, 2]
    with pytest.raises(ValueError, match="at the end") as caught:
        next(items)
    assert caught.value is error
    assert list(items) == []


def test_an_error_in_an_action_reaches_the_reader(iterated: Iterated) -> None:
    """An action that raises does so in the reader's loop, and the subscription is disposed of."""
    disposed: list[str] = []

    def subscribe(
        _: abc.ObserverBase[int], scheduler: abc.SchedulerBase | None = None
    ) -> abc.DisposableBase:
        assert scheduler is not None
        scheduler.schedule(calling(partial(int, "no number")))
        return Disposable(lambda: disposed.append("once"))

    with pytest.raises(ValueError, match="no number"):
        next(iterated(Observable(subscribe)))
    assert disposed == ["once"]


def test_an_error_while_subscribing_reaches_the_reader(iterated: Iterated) -> None:
    """A source whose subscribe function raises fails in the loop, not before."""

    def subscribe(*_: object) -> abc.DisposableBase:
        raise LookupError("no such source")

    items: Iterator[int] = iterated(Observable(subscribe))
    with pytest.raises(LookupError, match="no such source"):
        next(items)


# -- on an event loop ---------------------------------------------------------------------------


class Endless(Observable[int]):
    """0, 1, 2 and so on, one an action; or nothing, for ever.

    Attributes:
        disposed: How often a subscription was disposed of.
        emitted: How many items it emitted.
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


def alone() -> bool:
    """Whether the running task is the only one on its loop."""
    return asyncio.all_tasks() == {asyncio.current_task()}


async def waits(task: asyncio.Task[Any]) -> None:
    """Let a task go on until it waits for something that does not come by itself."""
    for _ in range(10):
        await asyncio.sleep(0)
    assert not task.done()


async def listed(observable: Observable[Any]) -> list[Any]:
    """All items."""
    return [item async for item in aiterate(observable)]


def test_other_tasks_get_their_turn() -> None:
    """A source that never waits leaves the event loop to others after each of its actions."""

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


def test_an_item_of_another_task_wakes_a_pump() -> None:
    """Items that a task of the same loop emits reach a consumer that waits for them."""
    source: Subject[int] = Subject()

    async def emit() -> list[int]:
        task = asyncio.create_task(listed(source))
        for number in range(5):
            await waits(task)
            source.on_next(number)
        source.on_completed()
        return await task

    assert asyncio.run(emit()) == [*range(5)]


def test_too_many_items_of_another_task_are_an_overflow() -> None:
    """What a task emits at one go is held to the bound, and then it is an `Overflow`."""
    source: Subject[int] = Subject()
    found: list[int] = []

    async def read() -> None:
        async with aclosing(aiterate(source)) as items:
            while True:
                found.append(await anext(items))

    async def emit() -> None:
        task = asyncio.create_task(read())
        await waits(task)
        for number in range(MAX_UNREQUESTED_ITEMS + 1):
            source.on_next(number)
        with pytest.raises(Overflow):
            await task

    asyncio.run(emit())
    assert found == [*range(MAX_UNREQUESTED_ITEMS)]


def test_cancelling_ends_a_wait() -> None:
    """A task that is cancelled while it waits ends by that, disposed of once, nothing left."""
    source = Endless(silent=True)

    async def cancel() -> None:
        task = asyncio.create_task(listed(source))
        await waits(task)
        assert task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert alone()

    asyncio.run(cancel())
    assert source.disposed == 1


def test_an_item_that_comes_at_the_same_time_hides_no_cancellation() -> None:
    """A task that is woken and cancelled in one turn of the loop is cancelled."""
    source: Subject[int] = Subject()

    async def cancel() -> None:
        task = asyncio.create_task(listed(source))
        await waits(task)
        source.on_next(1)
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    for _ in range(3):
        asyncio.run(cancel())
    assert source.observers == []


@pytest.mark.parametrize("turns", range(8))
def test_a_cancellation_ends_a_loop_whenever_it_comes(turns: int) -> None:
    """However far an endless loop has come, cancelling its task ends it, disposed of once."""
    source = Endless()

    async def cancel() -> None:
        task = asyncio.create_task(listed(source))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert alone()

    asyncio.run(cancel())
    assert source.disposed == (turns > 0)


def test_leaving_an_async_loop_disposes_at_once() -> None:
    """`break` within `aclosing` has disposed of the subscription, once, and left no task."""
    source = Endless()

    async def leave() -> None:
        async with aclosing(aiterate(source)) as items:
            async for item in items:
                if item == 4:
                    break
        assert (source.emitted, source.disposed) == (5, 1)
        await asyncio.sleep(0)  # when Python would begin to finalise what was left half-way
        assert alone()
        assert [item async for item in items] == []

    asyncio.run(leave())
    assert (source.emitted, source.disposed) == (5, 1)


def test_a_loop_that_is_forgotten_disposes() -> None:
    """Leaving a loop by `break` alone disposes as soon as Python finalises it."""
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


def test_a_loop_held_half_way_is_left_at_the_end() -> None:
    """An iterator that somebody holds when the event loop ends is disposed of then."""
    source = Endless()
    held: list[AsyncGenerator[int]] = []

    async def begin() -> int:
        held.append(aiterate(source))
        return await anext(held[0])

    assert asyncio.run(begin()) == 0
    assert (source.emitted, source.disposed) == (1, 1)


def test_two_loops_take_turns() -> None:
    """Two endless loops on one event loop are each as fast as the other."""

    async def race() -> list[str]:
        order: list[str] = []

        async def loop(name: str) -> None:
            noting = Endless().pipe(ops.take(5), ops.do_action(lambda _: order.append(name)))
            await listed(noting)

        await asyncio.gather(loop("a"), loop("b"))
        return order

    assert asyncio.run(race()) == ["a", "b"] * 5


def test_a_blocking_loop_within_an_event_loop() -> None:
    """A `for` loop works where an event loop runs, as in a notebook, and blocks it meanwhile."""

    async def block() -> list[int]:
        return list(iterate(rx.interval(0.001).pipe(ops.take(3))))

    assert asyncio.run(block()) == [0, 1, 2]


def test_a_scheduler_outlives_its_loop_quietly() -> None:
    """What a thread emits or cancels when the event loop has ended bothers nobody."""
    source: Subject[int] = Subject()
    pumps: list[AsyncPullScheduler] = []

    async def begin() -> None:
        pumps.append(AsyncPullScheduler())
        pumps[0].subscribe_to(source)

    asyncio.run(begin())
    (pump,) = pumps
    scheduled = pump.schedule_relative(60, calling(lambda: None))

    def emit() -> None:
        source.on_next(1)
        scheduled.dispose()
        source.on_completed()

    thread = threading.Thread(target=emit)
    thread.start()
    thread.join(TEST_TIMEOUT)
    assert source.observers == []


def test_no_thread_is_started(started: list[str]) -> None:
    """Timers of a pipeline on an event loop need no thread."""
    asyncio.run(listed(rx.merge(rx.timer(0.002), rx.interval(0.001).pipe(ops.take(3)))))
    assert started == []


def test_nothing_holds_what_an_async_loop_was_over() -> None:
    """When a loop has ended, its observable is free."""
    source = Endless()
    held = weakref.ref(source)
    assert asyncio.run(listed(source.pipe(ops.take(2)))) == [0, 1]
    del source
    gc.collect()
    assert held() is None


@pytest.mark.skipif(not hasattr(asyncio, "eager_task_factory"), reason="since Python 3.12")
def test_eager_tasks_iterate_too() -> None:
    """A loop in a task that begins at once gives what it gives in any other."""

    async def eagerly() -> list[int]:
        loop = asyncio.get_running_loop()
        loop.set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined,unused-ignore]
        return await asyncio.create_task(listed(rx.interval(0.001).pipe(ops.take(3))))

    assert asyncio.run(eagerly()) == [0, 1, 2]
