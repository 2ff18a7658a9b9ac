"""Streams and `iterate`: any pipeline in a loop, with what a subscriber gets, and nothing left."""

import asyncio
import subprocess
import sys
import threading
from collections.abc import AsyncGenerator, Callable, Iterator
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
from reactivex.scheduler import NewThreadScheduler
from stream_faces import collect_async
from virtual_world import TEST_TIMEOUT, World

from rxflow import Stream, iterate

T = timedelta(milliseconds=5)


def is_odd(number: int) -> bool:
    """Whether a number is odd."""
    return number % 2 == 1


def tick(number: int) -> Observable[int]:
    """0, 1 and so on, with a little time before each."""
    return rx.interval(T).pipe(ops.take(number))


def open_ended(*items: object) -> Observable[Any]:
    """Items that come at once, and then no end."""
    return rx.concat(rx.of(*items), rx.never())


def failing_twice() -> Observable[Any]:
    """A source that fails for its first two subscribers."""
    attempts = count(1)

    def attempt(_: object) -> Observable[Any]:
        number = next(attempts)
        end = rx.throw(ValueError("not yet")) if number < 3 else rx.of("at last")
        return rx.concat(rx.of(number), end)

    return rx.defer(attempt)


def shared() -> Observable[Any]:
    """Two looks at one subscription."""
    source = tick(2).pipe(ops.share())
    return rx.merge(source, source.pipe(ops.map(str)))


def lists() -> Callable[[Observable[Any]], Observable[Any]]:
    """Windows or groups as lists, the empty ones left out."""
    return rx.compose(ops.flat_map(ops.to_list()), ops.filter(bool))


# None of them depends on which of two times that lie close together is first. What `of` emits comes
# in one action, between whose items no other can get.
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
        lambda: open_ended(1, 2).pipe(ops.buffer_with_time(T), ops.filter(bool), ops.take(1)),
        [[1, 2]],
    ),
    "buffer_with_time_or_count": (
        lambda: open_ended(1, 2, 3).pipe(
            ops.buffer_with_time_or_count(T, 2), ops.filter(bool), ops.take(2)
        ),
        [[1, 2], [3]],
    ),
    "window_with_time": (
        lambda: open_ended(1, 2).pipe(ops.window_with_time(T), lists(), ops.take(1)),
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
    "debounce": (lambda: open_ended(1, 2, 3).pipe(ops.debounce(T), ops.take(1)), [3]),
    "throttle_first": (lambda: rx.of(1, 2, 3).pipe(ops.throttle_first(60)), [1]),
    "sample": (lambda: open_ended(1, 2, 3).pipe(ops.sample(T), ops.take(1)), [3]),
    "delay": (lambda: rx.of(1, 2, 3).pipe(ops.delay(T)), [1, 2, 3]),
    "delay_subscription": (lambda: rx.of(1).pipe(ops.delay_subscription(T)), [1]),
    "timer": (lambda: rx.timer(T), [0]),
    "timer with a period": (lambda: rx.timer(0.002, T).pipe(ops.take(3)), [0, 1, 2]),
    "interval": (lambda: tick(3), [0, 1, 2]),
    "timeout": (lambda: rx.never().pipe(ops.timeout(T, rx.of("instead"))), ["instead"]),
    "take_until": (lambda: rx.never().pipe(ops.take_until(rx.timer(T))), []),
    "merge": (lambda: rx.merge(rx.of(1, 2), rx.of(3, 4)), [1, 2, 3, 4]),
    "merge with interval": (
        lambda: rx.merge(tick(3), rx.of(0, 9)).pipe(ops.to_list(), ops.map(sorted)),
        [[0, 0, 1, 2, 9]],
    ),
    "merge with a bound": (
        lambda: rx.of(tick(2), rx.of(7)).pipe(ops.merge(max_concurrent=1)),
        [0, 1, 7],
    ),
    "concat": (lambda: rx.concat(tick(2), rx.of("and"), tick(1)), [0, 1, "and", 0]),
    "repeat": (lambda: tick(2).pipe(ops.repeat(2)), [0, 1, 0, 1]),
    "retry": (lambda: failing_twice().pipe(ops.retry(3)), [1, 2, 3, "at last"]),
    "catch": (lambda: rx.throw(ValueError()).pipe(ops.catch(rx.of("caught"))), ["caught"]),
    "switch_latest": (
        lambda: rx.of(0, 1, 2).pipe(
            ops.map(lambda x: rx.timer(T).pipe(ops.map(lambda _: x))), ops.switch_latest()
        ),
        [2],
    ),
    "zip": (lambda: rx.zip(tick(5), rx.of("a", "b")), [(0, "a"), (1, "b")]),
    "combine_latest": (lambda: rx.combine_latest(rx.of("a"), tick(2)), [("a", 0), ("a", 1)]),
    "amb": (lambda: rx.amb(rx.never(), rx.timer(T)), [0]),
    "share": (shared, [0, "0", 1, "1"]),
}


class Source(Observable[int]):
    """0, 1, 2 and so on, one an action, that counts who comes and goes.

    Attributes:
        subscribed: How often it was subscribed to.
        disposed: How often a subscription was disposed of.
        emitted: How many items it emitted.
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


# -- what a loop gets ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", PIPELINES)
def test_a_loop_gets_what_a_subscriber_gets(name: str, world: World, started: list[str]) -> None:
    """Loops over a pipeline give the list that a subscriber gets in virtual time, threadless."""
    make, expected = PIPELINES[name]
    told = world.watch(make(), until=3)
    assert (told.values, told.completed) == (expected, True)
    assert list(iterate(make())) == expected
    assert collect_async(make()) == expected
    assert collect_async(Stream.of(make()).pipe(ops.map(lambda x: x))) == expected
    assert list(Stream.of(make())) == expected
    assert list(Stream.of(make()).pipe(ops.map(lambda x: x))) == expected
    assert started == []


def test_a_source_with_a_thread_of_its_own_is_iterated() -> None:
    """Items that come from a thread which the source started reach the loop, in order."""
    source = rx.range(100, scheduler=NewThreadScheduler())
    assert list(iterate(source)) == list(range(100))


def test_an_error_ends_the_loop() -> None:
    """A loop gets the items before an error, and then the error itself."""
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
    """What a function given to an operator raises comes out of the loop, which is disposed of."""
    source = Source()
    with pytest.raises(ZeroDivisionError):
        list(Stream.of(source).pipe(ops.map(partial(floordiv, 1)), ops.skip(9)))
    assert (source.emitted, source.disposed) == (1, 1)


async def awaited(stream: Stream[Any]) -> Any:
    """What awaiting a stream gives."""
    return await stream


LAST: dict[str, Callable[[Stream[Any]], Any]] = {
    "run": lambda stream: stream.run(),
    "run on a scheduler": lambda stream: stream.run(NewThreadScheduler()),
    "await": lambda stream: asyncio.run(awaited(stream)),
}


@pytest.mark.parametrize("way", LAST)
@pytest.mark.parametrize("name", PIPELINES)
def test_the_last_item(way: str, name: str) -> None:
    """`run` and `await` give a pipeline's last item; where there is none, that is an error."""
    make, expected = PIPELINES[name]
    if expected:
        assert LAST[way](Stream.of(make())) == expected[-1]
    else:
        with pytest.raises(SequenceContainsNoElementsError):
            LAST[way](Stream.of(make()))


@pytest.mark.parametrize("way", LAST)
def test_the_last_item_is_none_where_it_fails(way: str) -> None:
    """`run` and `await` raise the error that a pipeline ends with, itself."""
    error = ValueError("the end")
    with pytest.raises(ValueError, match="the end") as caught:
        LAST[way](Stream.of(rx.concat(rx.of(1), rx.throw(error))))
    assert caught.value is error


def test_awaiting_leaves_the_loop_free() -> None:
    """Streams that are awaited at the same time all go on."""

    async def together() -> list[Any]:
        streams = [Stream.of(rx.timer(T).pipe(ops.map(partial(add, n)))) for n in range(5)]
        found = await asyncio.gather(*streams)
        assert asyncio.all_tasks() == {asyncio.current_task()}
        return found

    assert asyncio.run(together()) == [*range(5)]


def test_awaiting_what_does_not_end_may_be_given_up() -> None:
    """A time-out around an `await` of a stream disposes of the subscription."""
    ended: list[str] = []
    stream = Stream.of(open_ended(1, 2)).pipe(ops.finally_action(partial(ended.append, "once")))

    async def wait() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await stream
        assert ended == ["once"]

    asyncio.run(wait())


# -- how a loop ends ----------------------------------------------------------------------------


def test_nothing_happens_before_the_first_item_is_asked_for() -> None:
    """Making a stream or an iterator of either kind subscribes to nothing."""
    source = Source()
    stream = Stream.of(source).pipe(ops.map(str))
    items = iter(stream)
    assert isinstance(aiter(stream), AsyncGenerator)
    assert source.subscribed == 0
    assert next(items) == "0"
    assert source.subscribed == 1


def test_break_disposes_once() -> None:
    """Leaving a loop disposes of its subscription, once, and the source emits no more."""
    source = Source()
    for item in Stream.of(source):
        if item == 4:
            break
    assert (source.emitted, source.disposed) == (5, 1)


def test_close_disposes_once() -> None:
    """Closing an iterator disposes of its subscription, once however often it is closed."""
    source = Source()
    items = iterate(source)
    with closing(items):
        assert [next(items), next(items)] == [0, 1]
    items.close()
    assert (source.emitted, source.disposed) == (2, 1)
    assert list(items) == []


def test_forgetting_an_iterator_disposes_once() -> None:
    """An iterator that nobody holds any more disposes of its subscription."""
    source = Source()
    items = iterate(source)
    next(items)
    del items
    assert source.disposed == 1


def test_completion_disposes_once() -> None:
    """A loop that has run to its end has disposed of its source, once."""
    source = Source()
    assert list(Stream.of(source).pipe(ops.take(3))) == [0, 1, 2]
    assert (source.emitted, source.disposed) == (3, 1)


@pytest.mark.parametrize("raised", [KeyboardInterrupt(), SystemExit(1), ValueError("oops")])
def test_whatever_an_action_raises_ends_the_loop(raised: BaseException, started: list[str]) -> None:
    """Ctrl-C within an action, like any error there, ends the loop, disposed of and threadless."""
    for face in (list, collect_async):
        source = Source(raises=raised)
        found: list[int] = []
        with pytest.raises(type(raised)) as caught:
            face(Stream.of(source).pipe(ops.do_action(found.append)))
        assert caught.value is raised
        assert found == [0, 1, 2]
        assert source.disposed == 1
    assert started == []


def test_an_error_in_the_body_disposes() -> None:
    """An error in the body of a loop disposes of its subscription when the loop is forgotten."""
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
    """Ctrl-C in a program that waits for an event raises there, and leaves no thread."""
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


# -- each loop for itself -----------------------------------------------------------------------


def test_each_loop_is_a_subscription() -> None:
    """Loops over one stream, one after the other or within each other, each begin anew."""
    source = Source()
    stream = Stream.of(source).pipe(ops.take(2))
    assert list(stream) == [0, 1]
    assert [(a, b) for a in stream for b in stream] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert source.subscribed == source.disposed == 4


def test_tasks_may_loop_over_one_stream() -> None:
    """Several tasks that loop over one stream get all of it, each in itself."""
    source = Source()
    stream = Stream.of(source).pipe(ops.take(50))

    async def loop() -> list[int]:
        return [item async for item in stream]

    async def together() -> list[list[int]]:
        return list(await asyncio.gather(*(loop() for _ in range(4))))

    assert asyncio.run(together()) == [list(range(50))] * 4
    assert source.subscribed == source.disposed == 4


def test_threads_may_loop_over_one_stream() -> None:
    """Several threads that loop over one stream get all of it, each in itself."""
    stream = Stream.of(Source()).pipe(ops.take(50))
    found: list[list[int]] = []
    threads = [threading.Thread(target=lambda: found.append(list(stream))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TEST_TIMEOUT)
    assert found == [list(range(50))] * 4


# -- what stays a stream ------------------------------------------------------------------------

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
}


@pytest.mark.parametrize("name", DERIVED)
def test_what_is_made_of_a_stream_is_a_stream(name: str) -> None:
    """Operators, piped or as methods, keep a stream a stream: it can be looped over."""
    derive, expected = DERIVED[name]
    derived = derive(Stream.of(NUMBERS))
    assert isinstance(derived, Stream)
    assert list(derived) == expected
    assert (
        collect_async(derive(Stream.of(NUMBERS))) == expected
    )  # what was shared is not told again


def test_plus_in_place_is_a_stream() -> None:
    """A stream that another is added to in place is still a stream."""
    stream = Stream.of(NUMBERS)
    stream += rx.of(4)
    assert list(stream) == [1, 2, 3, 4]


def test_pipe_without_operators_is_the_stream() -> None:
    """A pipe of nothing is the stream itself, whatever kind of stream it is."""
    stream = Stream.of(NUMBERS)
    assert stream.pipe() is stream


def test_pipe_gives_what_its_last_function_gives() -> None:
    """Where the last function returns no observable, that is what pipe returns."""
    assert Stream.of(NUMBERS).pipe(list) == [1, 2, 3]


def test_a_connectable_stays_connectable(world: World) -> None:
    """What `publish` makes of a stream waits for its subscribers until it is connected."""
    published = Stream.of(NUMBERS).pipe(ops.publish())
    assert isinstance(published, ConnectableObservable)
    first, second = world.subscribe(published), world.subscribe(published)
    world.at(5, lambda: published.connect(world.scheduler))
    world.run(until=10)
    assert first.events == second.events == [(5, 1), (5, 2), (5, 3)]
    assert list(iterate(Stream.of(NUMBERS).publish().auto_connect())) == [1, 2, 3]


def test_groups_keep_their_key() -> None:
    """The groups of a stream are grouped observables, with their key."""
    groups: list[GroupedObservable[bool, int]] = list(
        Stream.of(NUMBERS).pipe(ops.group_by(lambda x: x > 1))
    )
    assert [group.key for group in groups] == [False, True]


def test_a_stream_is_an_observable(world: World) -> None:
    """A stream takes part wherever an observable does, and passes on the scheduler."""
    stream = Stream.of(rx.timer(5.0))
    told = world.watch(rx.merge(stream, stream.map(str)))
    assert told.events == [(5, 0), (5, "0")]


def test_a_stream_of_its_own_subscribe_function(world: World) -> None:
    """A stream made of a subscribe function hands it observer and scheduler."""

    def subscribe(
        observer: abc.ObserverBase[int], scheduler: abc.SchedulerBase | None = None
    ) -> abc.DisposableBase:
        return rx.of(1, 2).subscribe(observer, scheduler=scheduler)

    stream: Stream[int] = Stream(subscribe)
    assert world.watch(stream).values == [1, 2]
    assert list(stream) == [1, 2]
    assert isinstance(iter(stream), Iterator)
