"""Iteration, blocking and async: the consumer's demand runs a pipeline, in its thread or loop."""

import threading
from collections.abc import Callable, Iterator
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

from rxflow import Overflow, iterate
from rxflow._runtime.iteration import MAX_UNREQUESTED_ITEMS

pytestmark = pytest.mark.timeout(60)

Iterate = Callable[[Observable[Any]], Any]


@pytest.fixture(params=["for", "async for"])
def iterate_either_way(request: pytest.FixtureRequest) -> Iterator[Iterate]:
    """Return a function that iterates an observable, blocking or on an event loop."""
    iterators: list[LoopIterator[Any]] = []

    def iterate_on_loop(observable: Observable[Any]) -> LoopIterator[Any]:
        iterators.append(LoopIterator(observable))
        return iterators[-1]

    yield iterate if request.param == "for" else iterate_on_loop
    for items in iterators:
        items.end()


def counting(ran: list[int]) -> Observable[int]:
    """Emit 1, 2, 3 and so on, each in an action that records its thread and schedules the next."""

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


def flood_source(number: int) -> tuple[Observable[int], threading.Thread]:
    """Return a source of numbers and the thread that emits them, not started yet."""
    source: Subject[int] = Subject()

    def flood() -> None:
        for item in range(number):
            source.on_next(item)
        source.on_completed()

    return source, threading.Thread(target=flood, daemon=True)


def test_each_next_runs_one_action_in_the_consumers_thread(iterate_either_way: Iterate) -> None:
    """Each `next` runs one action, in the consumer's thread; nothing runs in between."""
    ran: list[int] = []
    items = iterate_either_way(counting(ran))
    assert ran == []
    for number in range(1, 4):
        assert next(items) == number
        assert ran == [threading.get_ident()] * number
    items.close()
    assert len(ran) == 3


def test_an_iterator_may_change_its_thread(iterate_either_way: Iterate) -> None:
    """An iterator that another thread continues to read runs in that thread."""
    ran: list[int] = []
    items = iterate_either_way(counting(ran))
    next(items)
    thread = threading.Thread(target=lambda: next(items))
    thread.start()
    ident = thread.ident
    thread.join(TEST_TIMEOUT)
    assert ran == [threading.get_ident(), ident]
    items.close()


def test_requested_items_are_not_bounded(iterate_either_way: Iterate) -> None:
    """The bound does not apply to items that the consumer's own demand emits, in any thread."""
    page = [*range(MAX_UNREQUESTED_ITEMS * 2)]
    pages = rx.of([-1], page).pipe(ops.delay(0.001), ops.flat_map(rx.from_iterable))
    items = iterate_either_way(pages)
    found: list[int] = []
    thread = threading.Thread(target=lambda: found.extend(items))
    assert next(items) == -1
    thread.start()
    thread.join(TEST_TIMEOUT)
    assert found == page


def test_an_item_of_another_thread_wakes_the_consumer(iterate_either_way: Iterate) -> None:
    """An item emitted by another thread wakes a waiting consumer."""
    source: Subject[str] = Subject()
    read = threading.Event()

    def emit() -> None:
        source.on_next("item")
        assert read.wait(TEST_TIMEOUT)
        source.on_completed()

    thread = threading.Thread(target=emit)
    begun = rx.of("begun").pipe(ops.do_action(lambda _: thread.start()))
    for item in iterate_either_way(rx.merge(source, begun)):
        if item == "item":
            read.set()
    thread.join(TEST_TIMEOUT)
    assert read.is_set()


def test_a_timer_of_another_thread_wakes_the_consumer(iterate_either_way: Iterate) -> None:
    """A timer that another thread's item schedules wakes a waiting consumer."""
    source, thread = flood_source(5)
    begun = rx.of(-1).pipe(ops.do_action(lambda _: thread.start()))
    late = source.pipe(ops.delay(0.001))
    assert list(iterate_either_way(rx.merge(late, begun))) == [-1, *range(5)]
    thread.join(TEST_TIMEOUT)


def test_too_many_items_of_another_thread_are_an_overflow(iterate_either_way: Iterate) -> None:
    """The emitting thread is not blocked; the consumer gets what fits, then `Overflow`."""
    source, thread = flood_source(MAX_UNREQUESTED_ITEMS + 100)
    items = iterate_either_way(rx.merge(source, rx.of(-1)))
    assert next(items) == -1
    thread.start()
    thread.join(TEST_TIMEOUT)
    assert not thread.is_alive()
    found = [next(items) for _ in range(MAX_UNREQUESTED_ITEMS)]
    assert found == list(range(MAX_UNREQUESTED_ITEMS))
    with pytest.raises(Overflow, match="read faster"):
        next(items)


def test_nothing_is_emitted_after_an_overflow(iterate_either_way: Iterate) -> None:
    """Items emitted after an overflow are dropped, even if there is room again."""
    source: Subject[int] = Subject()
    items = iterate_either_way(rx.merge(source, rx.of(-1)))
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


def test_a_busy_consumer_does_not_block_a_merge(iterate_either_way: Iterate) -> None:
    """A thread that emits into one side of a merge is not blocked while the consumer is busy."""
    source, thread = flood_source(MAX_UNREQUESTED_ITEMS - 10)
    pair = rx.merge(source, rx.interval(0.001).pipe(ops.take(5)))
    items = iterate_either_way(pair)
    found = [next(items)]
    thread.start()
    thread.join(TEST_TIMEOUT)
    assert not thread.is_alive()
    found.extend(items)
    assert len(found) == MAX_UNREQUESTED_ITEMS - 5


def test_an_error_follows_the_items_before_it(iterate_either_way: Iterate) -> None:
    """The consumer gets every item, then the same error object that the observable ended with."""
    error = ValueError("at the end")
    items = iterate_either_way(rx.concat(rx.of(1, 2), rx.throw(error)))
    assert [next(items), next(items)] == [1, 2]
    with pytest.raises(ValueError, match="at the end") as caught:
        next(items)
    assert caught.value is error
    assert list(items) == []


def test_an_error_in_an_action_ends_the_loop(iterate_either_way: Iterate) -> None:
    """What an action raises is raised in the loop, and the subscription is disposed of."""
    disposed: list[str] = []

    def subscribe(
        _: abc.ObserverBase[int], scheduler: abc.SchedulerBase | None = None
    ) -> abc.DisposableBase:
        assert scheduler is not None
        scheduler.schedule(calling(partial(int, "no number")))
        return Disposable(lambda: disposed.append("once"))

    with pytest.raises(ValueError, match="no number"):
        next(iterate_either_way(Observable(subscribe)))
    assert disposed == ["once"]


def test_an_error_while_subscribing_ends_the_loop(iterate_either_way: Iterate) -> None:
    """What a source raises while it is subscribed to is raised by the first `next`."""

    def subscribe(*_: object) -> abc.DisposableBase:
        raise LookupError("no such source")

    items: Iterator[int] = iterate_either_way(Observable(subscribe))
    with pytest.raises(LookupError, match="no such source"):
        next(items)
