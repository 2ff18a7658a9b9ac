"""Stages: whoever emits and wherever turns run, one thing is told at a time, on the right thread.

The sources here emit from a thread of their own, which is what the operators that wait are for.
"""

import asyncio
import gc
import random
import threading
import weakref
from collections.abc import Callable, Iterable
from typing import Any

import pytest
import reactivex as rx
from reactivex import Observable, abc
from reactivex import operators as ops
from reactivex.disposable import Disposable
from reactivex.scheduler import (
    EventLoopScheduler,
    NewThreadScheduler,
    ThreadPoolScheduler,
    TimeoutScheduler,
)
from reactivex.scheduler.eventloop import AsyncIOScheduler, AsyncIOThreadSafeScheduler
from sample_events import entered, line
from virtual_world import TEST_TIMEOUT, Recording

import rxflow
from rxflow import FlowRunLog, Rate
from rxflow._runtime.iteration import MAX_UNREQUESTED_ITEMS
from rxflow._runtime.poll_scheduler import default_scheduler
from rxflow.operators import (
    bounded,
    conflate,
    for_task,
    in_order,
    level_at_least,
    matching,
    only,
    rate,
    tail,
    until_terminal,
)

MANY = MAX_UNREQUESTED_ITEMS + 5000
"""More than a blocking iterator holds."""


class Threaded(Observable[Any]):
    """A source that emits from a thread of its own, and completes.

    Attributes:
        finished: Set when it has emitted everything.
        disposed: Set when a subscription was disposed of.
    """

    def __init__(self, items: Iterable[Any], *, after: threading.Event | None = None) -> None:
        super().__init__()
        self._items = list(items)
        self._after = after
        self.finished = threading.Event()
        self.disposed = threading.Event()

    def _subscribe_core(
        self, observer: abc.ObserverBase[Any], _: abc.SchedulerBase | None = None
    ) -> abc.DisposableBase:
        def emit() -> None:
            for number, item in enumerate(self._items):
                observer.on_next(item)
                if number == 0 and self._after is not None:
                    assert self._after.wait(TEST_TIMEOUT)
            observer.on_completed()
            self.finished.set()

        threading.Thread(target=emit).start()
        return Disposable(self.disposed.set)


class Alone(Recording[Any]):
    """An observer that notes whether it is ever told two things at the same time.

    Attributes:
        overlaps: How often it was told something while it was being told something.
    """

    def __init__(self) -> None:
        super().__init__()
        self.overlaps = 0
        self._busy = threading.Lock()

    def on_next(self, value: Any) -> None:
        """Take some time to keep an event."""
        if not self._busy.acquire(blocking=False):
            self.overlaps += 1
            return
        threading.Event().wait(0.0005)
        super().on_next(value)
        self._busy.release()


LINES = [line(number / 1e3, str(number), level=20 + number % 20) for number in range(300)]


def count_of(measured: Rate) -> int:
    """How many events a window had."""
    return measured.count


# Each with what it makes of the lines, however fast they come.
PASSING: dict[str, tuple[Callable[[Observable[Any]], Observable[Any]], list[Any]]] = {
    "only": (only(FlowRunLog), LINES),
    "level_at_least": (level_at_least(39), [event for event in LINES if event.level == 39]),
    "for_task": (for_task("6ecd8c99-4036-403d-bf84-cf8400f67836"), []),
    "matching": (matching("^7$"), LINES[7:8]),
    "until_terminal": (until_terminal(), LINES),
    "tail": (tail(1), [(event,) for event in LINES]),
    "bounded": (bounded(300), LINES),
    "in_order": (in_order(1), LINES),
    "conflate": (rx.compose(conflate(), ops.last()), LINES[-1:]),
    "rate": (rx.compose(rate(0.02), ops.map(count_of), ops.sum()), [len(LINES)]),
}
each_operator = pytest.mark.parametrize("name", PASSING)


# -- wherever it runs ---------------------------------------------------------------------------


@each_operator
def test_in_a_blocking_loop(name: str) -> None:
    """What another thread emits comes through to a blocking loop."""
    operator, expected = PASSING[name]
    assert list(rxflow.iterate(Threaded(LINES).pipe(operator))) == expected


@each_operator
def test_on_the_poll_scheduler(name: str) -> None:
    """What another thread emits comes through where no scheduler is given."""
    operator, expected = PASSING[name]
    told: Recording[Any] = Recording()
    told.subscribe_to(Threaded(LINES).pipe(operator))
    told.wait()
    assert (told.values, told.error) == (expected, None)


@each_operator
@pytest.mark.parametrize("kind", [AsyncIOScheduler, AsyncIOThreadSafeScheduler])
def test_on_an_event_loop(name: str, kind: type[AsyncIOScheduler]) -> None:
    """What another thread emits comes through to an event loop, which nothing else wakes up."""
    operator, expected = PASSING[name]

    async def main() -> list[Any]:
        loop = asyncio.get_running_loop()
        over: asyncio.Future[None] = loop.create_future()
        told: list[Any] = []

        def end(error: Exception | None = None) -> None:
            assert error is None
            loop.call_soon_threadsafe(over.set_result, None)

        source = Threaded(LINES).pipe(operator)
        source.subscribe(told.append, end, end, scheduler=kind(loop))
        await asyncio.wait_for(over, TEST_TIMEOUT)
        return told

    assert asyncio.run(main()) == expected


@pytest.mark.parametrize("operator", [conflate(), bounded(300)], ids=["conflate", "bounded"])
def test_queues_lead_onto_the_loop(operator: Callable[[Any], Any]) -> None:
    """What goes through a queue is told on the thread of the event loop alone, the end as well."""

    async def main() -> set[int]:
        told: Recording[Any] = Recording()
        over = asyncio.get_running_loop().create_future()
        source = Threaded(LINES).pipe(operator, ops.finally_action(lambda: over.set_result(None)))
        told.subscribe_to(source, AsyncIOScheduler(asyncio.get_running_loop()))
        await asyncio.wait_for(over, TEST_TIMEOUT)
        assert told.completed
        return told.threads

    assert asyncio.run(main()) == {threading.get_ident()}


def test_a_queue_may_be_awaited() -> None:
    """Awaiting a pipeline with a queue gives its last item, though the source has a thread."""

    async def main() -> Any:
        return await Threaded(LINES).pipe(bounded(300))

    assert asyncio.run(main()) == LINES[-1]


def test_a_loop_may_begin_after_the_subscription() -> None:
    """What is subscribed to before the event loop runs is told once it does."""
    loop = asyncio.new_event_loop()
    told: Recording[Any] = Recording()
    source = Threaded(LINES)
    queued = source.pipe(bounded(300), ops.finally_action(loop.stop))
    told.subscribe_to(queued, AsyncIOScheduler(loop))
    assert source.finished.wait(TEST_TIMEOUT)
    loop.run_forever()
    loop.close()
    assert (told.values, told.completed) == (LINES, True)


def test_a_blocking_loop_within_an_event_loop() -> None:
    """A blocking loop in a coroutine, as in a notebook, is woken although its event loop is not."""
    waiting = threading.Event()

    async def main() -> list[Any]:
        loop = rxflow.iterate(Threaded(LINES, after=waiting).pipe(bounded(300)))
        first = next(loop)
        waiting.set()
        return [first, *loop]

    assert asyncio.run(main()) == LINES


# -- slow consumers -----------------------------------------------------------------------------


def test_a_loop_that_is_busy_gets_what_is_latest() -> None:
    """While a blocking loop is busy only the last item of each key is held, of however many."""
    busy = threading.Event()
    source = Threaded(range(MANY), after=busy)
    loop = rxflow.iterate(source.pipe(conflate(lambda number: number % 3)))
    assert next(loop) == 0
    busy.set()
    assert source.finished.wait(TEST_TIMEOUT)
    assert sorted(loop) == [MANY - 3, MANY - 2, MANY - 1]


def test_a_loop_that_is_busy_gets_what_the_bound_holds() -> None:
    """While a blocking loop is busy no more is held than the bound says, of however many items."""
    busy = threading.Event()
    source = Threaded(range(MANY), after=busy)
    loop = rxflow.iterate(source.pipe(bounded(3, "drop_oldest")))
    assert next(loop) == 0
    busy.set()
    assert source.finished.wait(TEST_TIMEOUT)
    assert list(loop) == [MANY - 3, MANY - 2, MANY - 1]


def test_a_bound_that_is_exceeded_ends_a_busy_loop() -> None:
    """By default the loop gets what was held, and then the error that says what to do."""
    busy = threading.Event()
    source = Threaded(range(MANY), after=busy)
    loop = rxflow.iterate(source.pipe(bounded(3)))
    assert next(loop) == 0
    busy.set()
    assert source.disposed.wait(TEST_TIMEOUT)
    assert [next(loop), next(loop), next(loop)] == [1, 2, 3]
    with pytest.raises(rxflow.Overflow, match="take them faster"):
        next(loop)
    assert source.finished.wait(TEST_TIMEOUT)


def test_a_source_that_exceeds_the_bound_is_let_go_of_at_once() -> None:
    """A source that emitted too much is disposed of while the observer is still busy."""
    subject: rx.Subject[int] = rx.Subject()
    busy, ready = threading.Event(), threading.Event()
    told: Recording[int] = Recording()

    def wait(_: object) -> None:
        busy.set()
        assert ready.wait(TEST_TIMEOUT)

    told.subscribe_to(subject.pipe(bounded(1), ops.do_action(wait)))
    subject.on_next(1)
    assert busy.wait(TEST_TIMEOUT)
    subject.on_next(2)
    assert subject.observers
    subject.on_next(3)
    assert not subject.observers
    ready.set()
    told.wait()
    assert told.values == [1, 2]
    assert isinstance(told.error, rxflow.Overflow)


@pytest.mark.parametrize(
    "operator", [conflate(), bounded(3, "drop_newest")], ids=["conflate", "bounded"]
)
def test_whoever_emits_never_waits(operator: Callable[[Any], Any]) -> None:
    """A source emits all it has while its observer is still busy with the first item."""
    source = Threaded(range(1000))
    told: Recording[Any] = Recording()

    def wait(_: object) -> None:
        assert source.finished.wait(TEST_TIMEOUT)

    told.subscribe_to(source.pipe(operator, ops.do_action(wait)))
    told.wait()
    assert told.completed
    assert len(told.values) <= 4


# -- one at a time ------------------------------------------------------------------------------


def schedulers() -> dict[str, Callable[[], abc.SchedulerBase | None]]:
    """Schedulers whose turns run on threads of all kinds."""
    return {
        "none": lambda: None,
        # Its `dispose` is not noticed by a thread that is in a turn, so it ends when it is idle.
        "event loop": lambda: EventLoopScheduler(exit_if_empty=True),
        "new thread": NewThreadScheduler,
        "timeout": TimeoutScheduler,
        "pool": lambda: ThreadPoolScheduler(4),
    }


def shut(scheduler: abc.SchedulerBase | None) -> None:
    """End the threads of a scheduler that would keep them."""
    if isinstance(scheduler, ThreadPoolScheduler):
        scheduler.executor.shutdown()


@pytest.mark.parametrize("scheduler", schedulers())
@pytest.mark.parametrize(
    "operator",
    [conflate(lambda event: event.message), bounded(300), in_order(0.002), rate(0.02)],
    ids=["conflate", "bounded", "in_order", "rate"],
)
def test_one_thing_is_told_at_a_time(operator: Callable[[Any], Any], scheduler: str) -> None:
    """However turns and items cross, the observer is never told two things at once."""
    shuffled = random.Random(7).sample(LINES, len(LINES))
    running = schedulers()[scheduler]()
    told = Alone()
    told.subscribe_to(Threaded(shuffled).pipe(operator), running)
    told.wait()
    shut(running)
    assert (told.overlaps, told.error) == (0, None)
    counts = [getattr(value, "count", 1) for value in told.values]
    assert sum(counts) == len(LINES)


@pytest.mark.parametrize(
    "operator",
    [conflate(), bounded(9), in_order(0), rate(60)],
    ids=["conflate", "bounded", "in_order", "rate"],
)
def test_who_leaves_lets_go_of_the_source(operator: Callable[[Any], Any]) -> None:
    """Disposing lets go of the source and leaves no thread, although the source never ends."""
    gone, begun = threading.Event(), threading.Event()

    def subscribe(observer: abc.ObserverBase[Any], _: Any = None) -> abc.DisposableBase:
        observer.on_next(line())
        begun.set()
        return Disposable(gone.set)

    subscription = rx.create(subscribe).pipe(operator).subscribe()
    assert begun.is_set()
    subscription.dispose()
    assert gone.is_set()


@pytest.mark.parametrize(
    "operator",
    [conflate(), bounded(9), in_order(600), rate(600)],
    ids=["conflate", "bounded", "in_order", "rate"],
)
def test_nothing_holds_an_observer_that_left(operator: Callable[[Any], Any]) -> None:
    """Who has disposed of a subscription is held by nobody any more, not even by a timer."""
    told: Recording[Any] = Recording()
    told.subscribe_to(rx.concat(rx.of(line()), rx.never()).pipe(operator))
    told.dispose()
    assert default_scheduler.join(TEST_TIMEOUT)
    held = weakref.ref(told)
    del told
    gc.collect()
    assert held() is None


def test_an_observer_that_fails_in_a_turn_is_told(reported: list[BaseException | None]) -> None:
    """What `on_next` raises on rxflow's own thread goes to `on_error`, and the source is let go."""
    errors: list[Exception] = []
    over = threading.Event()
    source = Threaded(LINES)

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


def test_a_scheduler_that_is_closed_ends_it(logged: list[str]) -> None:
    """Where the event loop is closed the source is let go of, and not failed; the log says why."""
    subject: rx.Subject[FlowRunLog] = rx.Subject()

    async def main() -> None:
        scheduler = AsyncIOScheduler(asyncio.get_running_loop())
        subject.pipe(bounded(9)).subscribe(scheduler=scheduler)
        await asyncio.sleep(0)

    asyncio.run(main())
    assert subject.observers
    subject.on_next(line())
    assert not subject.observers
    assert logged[0].startswith("DEBUG An operator ends because its scheduler was closed")


def test_ctrl_c_in_a_turn_ends_the_loop() -> None:
    """An interrupt while a turn tells something reaches the loop, and lets go of the source."""
    source = Threaded(LINES)

    def interrupt(_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(rxflow.iterate(source.pipe(bounded(300), ops.do_action(interrupt))))
    assert source.disposed.is_set()
    assert source.finished.wait(TEST_TIMEOUT)


def test_ctrl_c_in_subscribing_leaves_nothing() -> None:
    """An interrupt while the source begins leaves no window that is counted from then on."""

    def interrupt(_: abc.ObserverBase[Any], __: Any = None) -> abc.DisposableBase:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rx.create(interrupt).pipe(rate(0.01)).subscribe()
    assert default_scheduler.join(TEST_TIMEOUT)


def test_time_passes_for_a_loop_that_only_waits() -> None:
    """Without a thread but its own, a blocking loop is woken for what is held back, and windows."""
    source = rx.concat(rx.of(line(2), line(1), entered("Running", 1)), rx.never())
    held = rxflow.iterate(source.pipe(in_order(0.01)))
    assert [next(held).timestamp.second for _ in range(3)] == [1, 1, 2]
    rates = rxflow.iterate(source.pipe(rate(0.01)))
    assert [next(rates).count for _ in range(3)] == [3, 0, 0]
