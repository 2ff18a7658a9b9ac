"""Streams and `iterate`: a loop over any pipeline gets a subscriber's items and leaves nothing."""

import asyncio
import subprocess
import sys
import threading
from collections.abc import AsyncGenerator, Callable, Generator, Iterator
from contextlib import closing
from datetime import timedelta
from functools import partial
from itertools import count
from operator import add, floordiv, neg
from signal import SIGINT
from typing import Any

import pytest
import reactivex as rx
from reactivex import ConnectableObservable, GroupedObservable, Observable, abc
from reactivex import operators as ops
from reactivex.internal.exceptions import SequenceContainsNoElementsError
from reactivex.scheduler import EventLoopScheduler, NewThreadScheduler
from stream_faces import collect_async
from virtual_world import TEST_TIMEOUT, World

from rxflow import Stream, iterate
from rxflow._runtime.paged import PagedObservable

SHORT = timedelta(milliseconds=5)


def is_odd(number: int) -> bool:
    """Whether a number is odd."""
    return number % 2 == 1


def emit_slowly(number: int) -> Observable[int]:
    """Emit 0, 1 and so on, each after a short pause."""
    return rx.interval(SHORT).pipe(ops.take(number))


def open_ended(*items: object) -> Observable[Any]:
    """Emit items at once, and no end."""
    return rx.concat(rx.of(*items), rx.never())


def failing_twice() -> Observable[Any]:
    """Return a source that fails for its first two subscribers."""
    attempts = count(1)

    def attempt(_: object) -> Observable[Any]:
        number = next(attempts)
        end = rx.throw(ValueError("not yet")) if number < 3 else rx.of("at last")
        return rx.concat(rx.of(number), end)

    return rx.defer(attempt)


def shared() -> Observable[Any]:
    """Merge a shared source with itself."""
    source = emit_slowly(2).pipe(ops.share())
    return rx.merge(source, source.pipe(ops.map(str)))


def lists() -> Callable[[Observable[Any]], Observable[Any]]:
    """Convert windows or groups to lists, without the empty ones."""
    return rx.compose(ops.flat_map(ops.to_list()), ops.filter(bool))


# No pipeline depends on the order of two close times. `of` emits all its items in one action, so no
# other action can run between them.
PIPELINES: dict[str, tuple[Callable[[], Observable[Any]], list[Any]]] = {
    "of": (lambda: rx.of(1, 2, 3), [1, 2, 3]),
    "empty": (rx.empty, []),
    "filter map": (
        lambda: rx.range(6).pipe(ops.filter(is_odd), ops.map(str)),
        ["1", "3", "5"],
    ),
    "scan": (lambda: rx.range(4).pipe(ops.scan(add, 0)), [0, 1, 3, 6]),
    "flat_map": (lambda: rx.range(3).pipe(ops.flat_map(lambda x: rx.of(x, x))), [0, 0, 1, 1, 2, 2]),
    "buffer_with_count": (
        lambda: rx.range(5).pipe(ops.buffer_with_count(2)),
        [[0, 1], [2, 3], [4]],
    ),
    "buffer_with_time": (
        lambda: open_ended(1, 2).pipe(ops.buffer_with_time(SHORT), ops.filter(bool), ops.take(1)),
        [[1, 2]],
    ),
    "buffer_with_time_or_count": (
        lambda: open_ended(1, 2, 3).pipe(
            ops.buffer_with_time_or_count(SHORT, 2), ops.filter(bool), ops.take(2)
        ),
        [[1, 2], [3]],
    ),
    "window_with_time": (
        lambda: open_ended(1, 2).pipe(ops.window_with_time(SHORT), lists(), ops.take(1)),
        [[1, 2]],
    ),
    "window_with_count": (
        lambda: rx.range(3).pipe(ops.window_with_count(2), lists()),
        [[0, 1], [2]],
    ),
    "group_by": (
        lambda: rx.range(6).pipe(ops.group_by(is_odd), lists()),
        [[0, 2, 4], [1, 3, 5]],
    ),
    "debounce": (lambda: open_ended(1, 2, 3).pipe(ops.debounce(SHORT), ops.take(1)), [3]),
    "throttle_first": (lambda: rx.of(1, 2, 3).pipe(ops.throttle_first(60)), [1]),
    "sample": (lambda: open_ended(1, 2, 3).pipe(ops.sample(SHORT), ops.take(1)), [3]),
    "delay": (lambda: rx.of(1, 2, 3).pipe(ops.delay(SHORT)), [1, 2, 3]),
    "delay_subscription": (lambda: rx.of(1).pipe(ops.delay_subscription(SHORT)), [1]),
    "timer": (lambda: rx.timer(SHORT), [0]),
    "timer with a period": (lambda: rx.timer(0.002, SHORT).pipe(ops.take(3)), [0, 1, 2]),
    "interval": (lambda: emit_slowly(3), [0, 1, 2]),
    "timeout": (lambda: rx.never().pipe(ops.timeout(SHORT, rx.of("instead"))), ["instead"]),
    "take_until": (lambda: rx.never().pipe(ops.take_until(rx.timer(SHORT))), []),
    "merge": (lambda: rx.merge(rx.of(1, 2), rx.of(3, 4)), [1, 2, 3, 4]),
    "merge with interval": (
        lambda: rx.merge(emit_slowly(3), rx.of(0, 9)).pipe(ops.to_list(), ops.map(sorted)),
        [[0, 0, 1, 2, 9]],
    ),
    "merge with a bound": (
        lambda: rx.of(emit_slowly(2), rx.of(7)).pipe(ops.merge(max_concurrent=1)),
        [0, 1, 7],
    ),
    "concat": (lambda: rx.concat(emit_slowly(2), rx.of("and"), emit_slowly(1)), [0, 1, "and", 0]),
    "repeat": (lambda: emit_slowly(2).pipe(ops.repeat(2)), [0, 1, 0, 1]),
    "retry": (lambda: failing_twice().pipe(ops.retry(3)), [1, 2, 3, "at last"]),
    "catch": (lambda: rx.throw(ValueError()).pipe(ops.catch(rx.of("caught"))), ["caught"]),
    "switch_latest": (
        lambda: rx.of(0, 1, 2).pipe(
            ops.map(lambda x: rx.timer(SHORT).pipe(ops.map(lambda _: x))), ops.switch_latest()
        ),
        [2],
    ),
    "zip": (lambda: rx.zip(emit_slowly(5), rx.of("a", "b")), [(0, "a"), (1, "b")]),
    "combine_latest": (lambda: rx.combine_latest(rx.of("a"), emit_slowly(2)), [("a", 0), ("a", 1)]),
    "amb": (lambda: rx.amb(rx.never(), rx.timer(SHORT)), [0]),
    "share": (shared, [0, "0", 1, "1"]),
}


class Source(Observable[int]):
    """Emits 0, 1, 2 and so on, one an action, and counts its subscriptions.

    Attributes:
        subscribed: How often it was subscribed to.
        disposed: How often a subscription was disposed of.
        emitted: The number of items emitted.
        raises: What the action after the third item raises, if anything.
    """

    def __init__(self, raises: BaseException | None = None) -> None:
        super().__init__()
        self.subscribed = self.disposed = self.emitted = 0
        self.raises = raises

    def _subscribe_core(
        self, observer: abc.ObserverBase[int], scheduler: abc.SchedulerBase | None = None
    ) -> abc.DisposableBase:
        self.subscribed += 1
        numbers = count()

        def emit(scheduler: abc.SchedulerBase, _: Any = None) -> abc.DisposableBase:
            number = next(numbers)
            if number == 3 and self.raises is not None:
                raise self.raises
            self.emitted += 1
            observer.on_next(number)
            return scheduler.schedule(emit)

        assert scheduler is not None
        return _Counted(self, scheduler.schedule(emit))


class _Counted(abc.DisposableBase):
    def __init__(self, source: Source, inner: abc.DisposableBase) -> None:
        self._source = source
        self._inner = inner

    def dispose(self) -> None:
        self._source.disposed += 1
        self._inner.dispose()


# -- the items of a loop ------------------------------------------------------------------------


@pytest.mark.parametrize("name", PIPELINES)
def test_a_loop_gets_the_items_of_a_subscriber(name: str, world: World, started: list[str]) -> None:
    """Loops over a pipeline get the items of a subscriber in virtual time and start no thread."""
    make, expected = PIPELINES[name]
    recording = world.watch(make(), until=3)
    assert (recording.values, recording.completed) == (expected, True)
    assert list(iterate(make())) == expected
    assert collect_async(make()) == expected
    assert collect_async(Stream.of(make()).pipe(ops.map(lambda x: x))) == expected
    assert list(Stream.of(make())) == expected
    assert list(Stream.of(make()).pipe(ops.map(lambda x: x))) == expected
    assert started == []


def test_a_source_with_a_thread_of_its_own_is_iterated() -> None:
    """A loop gets the items of a source with its own thread, in order."""
    source = rx.range(100, scheduler=NewThreadScheduler())
    assert list(iterate(source)) == list(range(100))


def test_an_error_ends_the_loop() -> None:
    """A loop gets the items before an error, then the error object itself."""
    found: list[int] = []
    error = ValueError("the end")
    failing = Stream.of(rx.concat(rx.of(1, 2), rx.throw(error)))
    with pytest.raises(ValueError, match="the end") as caught:
        found.extend(failing)
    assert caught.value is error
    with pytest.raises(ValueError, match="the end") as caught:
        collect_async(failing.pipe(ops.do_action(found.append)))
    assert caught.value is error
    assert found == [1, 2, 1, 2]


def test_an_operator_whose_function_raises_ends_the_loop() -> None:
    """What a function passed to an operator raises is raised in the loop, which is disposed of."""
    source = Source()
    with pytest.raises(ZeroDivisionError):
        list(Stream.of(source).pipe(ops.map(partial(floordiv, 1)), ops.skip(9)))
    assert (source.emitted, source.disposed) == (1, 1)


async def await_last(stream: Stream[Any]) -> Any:
    """Await a stream."""
    return await stream


LAST_ITEM: dict[str, Callable[[Stream[Any]], Any]] = {
    "run": lambda stream: stream.run(),
    # One thread: on several, the items of merged sources have no fixed order.
    "run on a scheduler": lambda stream: stream.run(EventLoopScheduler(exit_if_empty=True)),
    "await": lambda stream: asyncio.run(await_last(stream)),
}


@pytest.mark.parametrize("way", LAST_ITEM)
@pytest.mark.parametrize("name", PIPELINES)
def test_run_and_await_return_the_last_item(way: str, name: str) -> None:
    """`run` and `await` return the last item, or raise an error if there is none."""
    make, expected = PIPELINES[name]
    if expected:
        assert LAST_ITEM[way](Stream.of(make())) == expected[-1]
    else:
        with pytest.raises(SequenceContainsNoElementsError):
            LAST_ITEM[way](Stream.of(make()))


@pytest.mark.parametrize("way", LAST_ITEM)
def test_run_and_await_raise_the_error(way: str) -> None:
    """`run` and `await` raise the error object that a pipeline ends with."""
    error = ValueError("the end")
    with pytest.raises(ValueError, match="the end") as caught:
        LAST_ITEM[way](Stream.of(rx.concat(rx.of(1), rx.throw(error))))
    assert caught.value is error


TO_THE_END: dict[str, Callable[[Stream[Any]], int]] = {
    "run_to_end": lambda stream: stream.run_to_end(),
    "run_to_end on a scheduler": lambda stream: stream.run_to_end(
        EventLoopScheduler(exit_if_empty=True)
    ),
    "arun_to_end": lambda stream: asyncio.run(stream.arun_to_end()),
}


@pytest.mark.parametrize("way", TO_THE_END)
@pytest.mark.parametrize("name", PIPELINES)
def test_run_to_end_counts_the_items(way: str, name: str) -> None:
    """A stream is run to its end whether or not it has items, and their number is returned."""
    make, expected = PIPELINES[name]
    assert TO_THE_END[way](Stream.of(make())) == len(expected)


@pytest.mark.parametrize("way", TO_THE_END)
def test_run_to_end_raises_the_error(way: str) -> None:
    """The error object that a pipeline ends with is raised."""
    error = ValueError("the end")
    with pytest.raises(ValueError, match="the end") as caught:
        TO_THE_END[way](Stream.of(rx.throw(error)))
    assert caught.value is error


def test_streams_can_be_awaited_at_the_same_time() -> None:
    """Several streams can be await_last at the same time."""

    async def together() -> list[Any]:
        streams = [Stream.of(rx.timer(SHORT).pipe(ops.map(partial(add, n)))) for n in range(5)]
        found = await asyncio.gather(*streams)
        assert asyncio.all_tasks() == {asyncio.current_task()}
        return found

    assert asyncio.run(together()) == [*range(5)]


def test_a_stream_is_a_future_by_ensure_future() -> None:
    """`asyncio.ensure_future(stream)` is a future of the last item, in place of `to_future`."""

    async def main() -> Any:
        return await asyncio.ensure_future(
            Stream.of(rx.timer(SHORT).pipe(ops.map(partial(add, 7))))
        )

    assert asyncio.run(main()) == 7


def test_a_timeout_of_an_await_disposes() -> None:
    """A timeout of an `await` disposes of the subscription."""
    ended: list[str] = []
    stream = Stream.of(open_ended(1, 2)).pipe(ops.finally_action(partial(ended.append, "once")))

    async def wait() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await stream
        assert ended == ["once"]

    asyncio.run(wait())


# -- the end of a loop --------------------------------------------------------------------------


def test_the_first_next_subscribes() -> None:
    """Creating a stream or an iterator does not subscribe; the first `next` does."""
    source = Source()
    stream = Stream.of(source).pipe(ops.map(str))
    items = iter(stream)
    assert isinstance(aiter(stream), AsyncGenerator)
    assert source.subscribed == 0
    assert next(items) == "0"
    assert source.subscribed == 1


def test_break_disposes_once() -> None:
    """`break` disposes of the subscription once, and the source emits nothing more."""
    source = Source()
    for item in Stream.of(source):
        if item == 4:
            break
    assert (source.emitted, source.disposed) == (5, 1)


def test_close_disposes_once() -> None:
    """Closing an iterator, once or twice, disposes of its subscription once."""
    source = Source()
    items = iterate(source)
    with closing(items):
        assert [next(items), next(items)] == [0, 1]
    items.close()
    assert (source.emitted, source.disposed) == (2, 1)
    assert list(items) == []


def test_what_is_left_of_a_page_is_dropped_by_closing() -> None:
    """A closed iterator has no further item, although its page has."""
    items = iterate(PagedObservable(rx.of((1, 2, 3), (4,))))
    assert next(items) == 1
    items.close()
    assert list(items) == []


def test_an_iterator_is_a_generator() -> None:
    """An iterator has the methods of a generator; throwing into it disposes."""
    source = Source()
    items = iterate(source)
    assert isinstance(items, Generator)
    assert [items.send(None), items.send(None)] == [0, 1]
    with pytest.raises(ZeroDivisionError, match="thrown"):
        items.throw(ZeroDivisionError("thrown"))
    assert (source.emitted, source.disposed) == (2, 1)
    with pytest.raises(ZeroDivisionError, match="by value"):
        iterate(source).throw(ZeroDivisionError, ZeroDivisionError("by value"))
    assert list(items) == []


def test_freeing_an_iterator_disposes_once() -> None:
    """An iterator that is freed disposes of its subscription."""
    source = Source()
    items = iterate(source)
    next(items)
    del items
    assert source.disposed == 1


def test_completion_disposes_once() -> None:
    """A loop that has completed has disposed of its subscription once."""
    source = Source()
    assert list(Stream.of(source).pipe(ops.take(3))) == [0, 1, 2]
    assert (source.emitted, source.disposed) == (3, 1)


@pytest.mark.parametrize("raised", [KeyboardInterrupt(), SystemExit(1), ValueError("oops")])
def test_what_an_action_raises_ends_the_loop(raised: BaseException, started: list[str]) -> None:
    """Ctrl-C or an error within an action ends the loop, which disposes and starts no thread."""
    for face in (list, collect_async):
        source = Source(raises=raised)
        found: list[int] = []
        with pytest.raises(type(raised)) as caught:
            face(Stream.of(source).pipe(ops.do_action(found.append)))
        assert caught.value is raised
        assert found == [0, 1, 2]
        assert source.disposed == 1
    assert started == []


def test_an_error_in_the_loops_body_disposes() -> None:
    """An error in the body of a loop disposes of its subscription when the iterator is freed."""
    source = Source()

    def body() -> None:
        for item in Stream.of(source):
            raise ValueError(item)

    with pytest.raises(ValueError, match="0"):
        body()
    assert (source.emitted, source.disposed) == (1, 1)


INTERRUPTED = """
import signal, threading
import rxflow
from rxflow.testing import FakePrefect3

signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job may ignore it
server = FakePrefect3()
run = server.add_run(state="RUNNING")
try:
    for event in rxflow.watch_flow_run(run, client=server.client()):
        print(type(event).__name__, flush=True)
except KeyboardInterrupt:
    print("interrupted", [thread.name for thread in threading.enumerate()], flush=True)
"""


def test_ctrl_c_ends_a_loop_that_waits() -> None:
    """Ctrl-C in a program that waits for an event is raised in the loop and leaves no thread."""
    with subprocess.Popen(
        [sys.executable, "-P", "-c", INTERRUPTED],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdout is not None
        first = child.stdout.readline()
        child.send_signal(SIGINT)
        out, err = child.communicate(timeout=TEST_TIMEOUT)
    assert first == "RunSeen\n"
    assert out.splitlines()[-1] == "interrupted ['MainThread']"
    assert (child.returncode, err) == (0, "")


# -- independent loops --------------------------------------------------------------------------


def test_each_loop_is_a_subscription() -> None:
    """Loops over one stream, one after the other or nested, are subscriptions of their own."""
    source = Source()
    stream = Stream.of(source).pipe(ops.take(2))
    assert list(stream) == [0, 1]
    assert [(a, b) for a in stream for b in stream] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert source.subscribed == source.disposed == 4


def test_tasks_may_loop_over_one_stream() -> None:
    """Several tasks can loop over one stream; each gets all items."""
    source = Source()
    stream = Stream.of(source).pipe(ops.take(50))

    async def loop() -> list[int]:
        return [item async for item in stream]

    async def together() -> list[list[int]]:
        return list(await asyncio.gather(*(loop() for _ in range(4))))

    assert asyncio.run(together()) == [list(range(50))] * 4
    assert source.subscribed == source.disposed == 4


def test_threads_may_loop_over_one_stream() -> None:
    """Several threads can loop over one stream; each gets all items."""
    stream = Stream.of(Source()).pipe(ops.take(50))
    found: list[list[int]] = []
    threads = [threading.Thread(target=lambda: found.append(list(stream))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TEST_TIMEOUT)
    assert found == [list(range(50))] * 4


# -- derived streams ----------------------------------------------------------------------------

NUMBERS = rx.of(1, 2, 3)

DERIVED: dict[str, tuple[Callable[[Stream[int]], Any], list[Any]]] = {
    "pipe": (lambda s: s.pipe(ops.map(neg), ops.take(2)), [-1, -2]),
    "pipe of one": (lambda s: s.pipe(ops.skip(1)), [2, 3]),
    "map": (lambda s: s.map(str), ["1", "2", "3"]),
    "filter": (lambda s: s.filter(lambda x: x > 1), [2, 3]),
    "take": (lambda s: s.take(1), [1]),
    "scan": (lambda s: s.scan(add), [1, 3, 6]),
    "reduce": (lambda s: s.reduce(add), [6]),
    "merge": (lambda s: s.merge(rx.of(4)), [1, 2, 3, 4]),
    "concat": (lambda s: s.concat(rx.of(4)), [1, 2, 3, 4]),
    "zip": (lambda s: s.zip(s), [(1, 1), (2, 2), (3, 3)]),
    "start_with": (lambda s: s.start_with(0), [0, 1, 2, 3]),
    "buffer_with_count": (lambda s: s.buffer_with_count(2), [[1, 2], [3]]),
    "flat_map": (lambda s: s.flat_map(lambda x: rx.of(x, x)), [1, 1, 2, 2, 3, 3]),
    "do_action": (lambda s: s.do_action(lambda _: None), [1, 2, 3]),
    "retry": (lambda s: s.retry(2), [1, 2, 3]),
    "share": (lambda s: s.share(), [1, 2, 3]),
    "to_list": (lambda s: s.to_list(), [[1, 2, 3]]),
    "partition": (lambda s: s.partition(lambda x: x > 1)[0], [2, 3]),
    "one after the other": (lambda s: s.map(str).filter(bool).take(2).pipe(ops.map(int)), [1, 2]),
    "plus": (lambda s: s + rx.of(4), [1, 2, 3, 4]),
    "slice": (lambda s: s[1:], [2, 3]),
    "slice from the end": (lambda s: s[-2:3], [2, 3]),
    "item": (lambda s: s[1], [2]),
    "last item": (lambda s: s[-1], [3]),
    "last item but one": (lambda s: s[-2], [2]),
    "item before the first": (lambda s: s[-4], []),
    "item after the last": (lambda s: s[3], []),
}


@pytest.mark.parametrize("name", DERIVED)
def test_an_operator_on_a_stream_returns_a_stream(name: str) -> None:
    """The result of an operator, piped or called as a method, is a stream and can be iterated."""
    derive, expected = DERIVED[name]
    derived = derive(Stream.of(NUMBERS))
    assert isinstance(derived, Stream)
    assert list(derived) == expected
    # Derive again: a shared stream that has completed emits nothing more.
    assert collect_async(derive(Stream.of(NUMBERS))) == expected


UNSELECTABLE: dict[str, tuple[Any, type[Exception], str]] = {
    "a text": ("1", TypeError, "position='1' is not a whole number"),
    "a fraction": (1.0, TypeError, "position=1.0 is not a whole number"),
    "a step of 0": (slice(None, None, 0), ValueError, "pass a step of 1 or more"),
    "a step backwards": (slice(None, None, -1), TypeError, "step"),
}


@pytest.mark.parametrize(("key", "error", "text"), UNSELECTABLE.values(), ids=UNSELECTABLE)
def test_what_selects_no_items_is_an_error_at_the_call(
    key: Any, error: type[Exception], text: str
) -> None:
    """A key that is no position, and a step that no stream can take, are refused by `[]`."""
    with pytest.raises(error, match=text):
        Stream.of(NUMBERS)[key]


def test_adding_in_place_returns_a_stream() -> None:
    """`+=` on a stream results in a stream."""
    stream = Stream.of(NUMBERS)
    stream += rx.of(4)
    assert list(stream) == [1, 2, 3, 4]


def test_pipe_without_operators_returns_the_stream() -> None:
    """`pipe()` without operators returns the stream itself."""
    stream = Stream.of(NUMBERS)
    assert stream.pipe() is stream


def test_pipe_returns_the_result_of_its_last_function() -> None:
    """`pipe` returns the last function's result unchanged if it is no observable."""
    assert Stream.of(NUMBERS).pipe(list) == [1, 2, 3]


def test_a_connectable_stays_connectable(world: World) -> None:
    """A published stream is connectable: it emits nothing before `connect`."""
    published = Stream.of(NUMBERS).pipe(ops.publish())
    assert isinstance(published, ConnectableObservable)
    first, second = world.subscribe(published), world.subscribe(published)
    world.at(5, lambda: published.connect(world.scheduler))
    world.run(until=10)
    assert first.events == second.events == [(5, 1), (5, 2), (5, 3)]
    assert list(iterate(Stream.of(NUMBERS).publish().auto_connect())) == [1, 2, 3]


def test_groups_keep_their_key() -> None:
    """The groups of a stream are grouped observables with their keys."""
    groups: list[GroupedObservable[bool, int]] = list(
        Stream.of(NUMBERS).pipe(ops.group_by(lambda x: x > 1))
    )
    assert [group.key for group in groups] == [False, True]


def test_a_stream_can_be_merged(world: World) -> None:
    """A stream can be merged like any observable and passes the scheduler on."""
    stream = Stream.of(rx.timer(5.0))
    recording = world.watch(rx.merge(stream, stream.map(str)))
    assert recording.events == [(5, 0), (5, "0")]


def test_a_stream_can_be_made_of_a_subscribe_function(world: World) -> None:
    """A stream of a subscribe function passes observer and scheduler to it."""

    def subscribe(
        observer: abc.ObserverBase[int], scheduler: abc.SchedulerBase | None = None
    ) -> abc.DisposableBase:
        return rx.of(1, 2).subscribe(observer, scheduler=scheduler)

    stream: Stream[int] = Stream(subscribe)
    assert world.watch(stream).values == [1, 2]
    assert list(stream) == [1, 2]
    assert isinstance(iter(stream), Iterator)
