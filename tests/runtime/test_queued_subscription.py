"""Queued subscriptions: one item a turn, on the scheduler's thread, without blocking the source."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest
import reactivex as rx
from reactivex import Observable, abc
from reactivex import operators as ops
from reactivex.disposable import Disposable, SerialDisposable
from reactivex.scheduler.eventloop import AsyncIOScheduler
from reactivex.testing import TestScheduler
from threaded_sources import LINES, ThreadedSource
from virtual_world import TEST_TIMEOUT, Recording

import rxflow
from rxflow._runtime.iteration import MAX_UNREQUESTED_ITEMS
from rxflow.operators import bounded, conflate

MANY = MAX_UNREQUESTED_ITEMS + 5000
"""More items than a loop buffers."""


# -- threads ------------------------------------------------------------------------------------


@pytest.mark.parametrize("operator", [conflate(), bounded(300)], ids=["conflate", "bounded"])
def test_the_loops_thread_makes_all_calls(operator: Callable[[Any], Any]) -> None:
    """On an asyncio scheduler the loop's thread makes every call, the end included."""

    async def main() -> set[int]:
        recording: Recording[Any] = Recording()
        over = asyncio.get_running_loop().create_future()
        source = ThreadedSource(LINES)
        queued = source.pipe(operator, ops.finally_action(lambda: over.set_result(None)))
        recording.subscribe_to(queued, AsyncIOScheduler(asyncio.get_running_loop()))
        await asyncio.wait_for(over, TEST_TIMEOUT)
        assert recording.completed
        return recording.threads

    assert asyncio.run(main()) == {threading.get_ident()}


def test_a_queued_pipeline_can_be_awaited() -> None:
    """Awaiting a pipeline with a queue returns its last item, although a thread emits it."""

    async def main() -> Any:
        return await ThreadedSource(LINES).pipe(bounded(300))

    assert asyncio.run(main()) == LINES[-1]


def test_the_event_loop_may_start_after_the_subscription() -> None:
    """Items of a subscription made before the event loop runs are emitted once it runs."""
    loop = asyncio.new_event_loop()
    recording: Recording[Any] = Recording()
    source = ThreadedSource(LINES)
    queued = source.pipe(bounded(300), ops.finally_action(loop.stop))
    recording.subscribe_to(queued, AsyncIOScheduler(loop))
    assert source.finished.wait(TEST_TIMEOUT)
    loop.run_forever()
    loop.close()
    assert (recording.values, recording.completed) == (LINES, True)


def test_a_blocking_loop_works_within_an_event_loop() -> None:
    """A blocking loop in a coroutine, as in a notebook, is woken although its event loop is not."""
    waiting = threading.Event()

    async def main() -> list[Any]:
        source = ThreadedSource(LINES, hold_after_first=waiting)
        items = rxflow.iterate(source.pipe(bounded(300)))
        first = next(items)
        waiting.set()
        return [first, *items]

    assert asyncio.run(main()) == LINES


# -- slow consumers -----------------------------------------------------------------------------


def test_conflate_keeps_the_latest_for_a_busy_loop() -> None:
    """While a loop is busy only the latest item of each key is held."""
    busy = threading.Event()
    source = ThreadedSource(range(MANY), hold_after_first=busy)
    items = rxflow.iterate(source.pipe(conflate(lambda number: number % 3)))
    assert next(items) == 0
    busy.set()
    assert source.finished.wait(TEST_TIMEOUT)
    assert sorted(items) == [MANY - 3, MANY - 2, MANY - 1]


def test_bounded_keeps_its_number_for_a_busy_loop() -> None:
    """While a loop is busy no more items are held than the bound allows."""
    busy = threading.Event()
    source = ThreadedSource(range(MANY), hold_after_first=busy)
    items = rxflow.iterate(source.pipe(bounded(3, "drop_oldest")))
    assert next(items) == 0
    busy.set()
    assert source.finished.wait(TEST_TIMEOUT)
    assert list(items) == [MANY - 3, MANY - 2, MANY - 1]


def test_an_exceeded_bound_ends_a_busy_loop() -> None:
    """By default a busy loop gets the held items, then the error that says what to do."""
    busy = threading.Event()
    source = ThreadedSource(range(MANY), hold_after_first=busy)
    items = rxflow.iterate(source.pipe(bounded(3)))
    assert next(items) == 0
    busy.set()
    assert source.disposed.wait(TEST_TIMEOUT)
    assert [next(items), next(items), next(items)] == [1, 2, 3]
    with pytest.raises(rxflow.Overflow, match="take them faster"):
        next(items)
    assert source.finished.wait(TEST_TIMEOUT)


def test_an_exceeded_bound_disposes_of_the_source_at_once() -> None:
    """A source that exceeds the bound is disposed of while the observer is still busy."""
    subject: rx.Subject[int] = rx.Subject()
    busy, ready = threading.Event(), threading.Event()
    recording: Recording[int] = Recording()

    def wait(_: object) -> None:
        busy.set()
        assert ready.wait(TEST_TIMEOUT)

    recording.subscribe_to(subject.pipe(bounded(1), ops.do_action(wait)))
    subject.on_next(1)
    assert busy.wait(TEST_TIMEOUT)
    subject.on_next(2)
    assert subject.observers
    subject.on_next(3)
    assert not subject.observers
    ready.set()
    recording.wait()
    assert recording.values == [1, 2]
    assert isinstance(recording.error, rxflow.Overflow)


@pytest.mark.parametrize(
    "operator", [conflate(), bounded(3, "drop_newest")], ids=["conflate", "bounded"]
)
def test_a_busy_observer_does_not_block_the_source(operator: Callable[[Any], Any]) -> None:
    """A source emits all its items while the observer is busy with the first one."""
    source = ThreadedSource(range(1000))
    recording: Recording[Any] = Recording()

    def wait(_: object) -> None:
        assert source.finished.wait(TEST_TIMEOUT)

    recording.subscribe_to(source.pipe(operator, ops.do_action(wait)))
    recording.wait()
    assert recording.completed
    assert len(recording.values) <= 4


# -- turns --------------------------------------------------------------------------------------


class Numbers(Observable[int]):
    """Emits numbers at once on subscription, and further ones when it is called."""

    def __init__(self, *numbers: int) -> None:
        """Create a source.

        Args:
            numbers: What to emit on subscription.
        """
        super().__init__()
        self._numbers = numbers
        self.emit: Callable[[int], None]

    def _subscribe_core(
        self, observer: abc.ObserverBase[int], _: abc.SchedulerBase | None = None
    ) -> abc.DisposableBase:
        self.emit = observer.on_next
        for number in self._numbers:
            observer.on_next(number)
        return Disposable()


def test_bounded_emits_many_items_in_a_turn() -> None:
    """What others have scheduled for the same time waits for no more than 64 items."""
    scheduler = TestScheduler()
    emitted: list[int] = []
    emitted_before: list[int] = []

    def begin(*_: object) -> None:
        Numbers(*range(200)).pipe(bounded(200)).subscribe(emitted.append, scheduler=scheduler)
        look_again()

    def look_again(*_: object) -> None:
        emitted_before.append(len(emitted))
        if len(emitted) < 200:
            scheduler.schedule(look_again)

    scheduler.schedule_absolute(210, begin)
    scheduler.advance_to(211)
    assert emitted == list(range(200))
    assert emitted_before == [0, 64, 128, 192, 200]


def test_bounded_stops_when_its_observer_disposes() -> None:
    """An observer that disposes while items are held receives none of them."""
    scheduler = TestScheduler()
    emitted: list[int] = []
    subscription = SerialDisposable()

    def receive(number: int) -> None:
        emitted.append(number)
        if number == 2:
            subscription.dispose()

    numbers = Numbers(*range(10)).pipe(bounded(10))
    subscription.disposable = numbers.subscribe(receive, scheduler=scheduler)
    scheduler.advance_to(300)
    assert emitted == [0, 1, 2]


def test_an_item_that_arrives_during_a_turn_meets_the_queue() -> None:
    """The items that a turn has not emitted yet are held, and may be dropped."""
    scheduler = TestScheduler()
    emitted: list[int] = []
    source = Numbers(0, 1, 2)

    def receive(number: int) -> None:
        emitted.append(number)
        if number == 0:
            source.emit(3)
            source.emit(4)

    source.pipe(bounded(3, "drop_oldest")).subscribe(receive, scheduler=scheduler)
    scheduler.advance_to(300)
    assert emitted == [0, 2, 3, 4]


def test_a_loop_pulls_one_item_in_a_turn() -> None:
    """What a loop has not pulled is held by the queue, whose policy applies to it."""
    source = Numbers(0, 1, 2)
    items = rxflow.iterate(source.pipe(bounded(3, "drop_oldest")))
    assert next(items) == 0
    source.emit(3)
    source.emit(4)
    assert [next(items), next(items), next(items)] == [2, 3, 4]


def test_an_async_loop_pulls_one_item_in_a_turn() -> None:
    """In an async loop, too, the queue holds what was not pulled."""

    async def main() -> list[int]:
        source = Numbers(0, 1, 2)
        items = rxflow.aiterate(source.pipe(bounded(3, "drop_oldest")))
        first = await anext(items)
        source.emit(3)
        source.emit(4)
        return [first, *[await anext(items) for _ in range(3)]]

    assert asyncio.run(main()) == [0, 2, 3, 4]


# -- errors in turns ----------------------------------------------------------------------------


def test_an_error_in_a_turn_goes_to_on_error(reported: list[BaseException | None]) -> None:
    """What `on_next` raises on rxflow's thread goes to `on_error`; the source is disposed of."""
    errors: list[Exception] = []
    over = threading.Event()
    source = ThreadedSource(LINES)

    def fail(_: object) -> None:
        raise ValueError("not this one")

    def end(error: Exception) -> None:
        errors.append(error)
        over.set()

    source.pipe(bounded(300)).subscribe(fail, end)
    assert over.wait(TEST_TIMEOUT)
    assert source.disposed.wait(TEST_TIMEOUT)
    assert source.finished.wait(TEST_TIMEOUT)
    assert [str(error) for error in errors] == ["not this one"]
    assert reported == []


def test_ctrl_c_in_a_turn_ends_the_loop() -> None:
    """An interrupt within a turn is raised in the loop, and the source is disposed of."""
    source = ThreadedSource(LINES)

    def interrupt(_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(rxflow.iterate(source.pipe(bounded(300), ops.do_action(interrupt))))
    assert source.disposed.is_set()
    assert source.finished.wait(TEST_TIMEOUT)
