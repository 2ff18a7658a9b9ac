"""Operator subscriptions: items of any thread arrive on any scheduler, one call at a time."""

import asyncio
import gc
import random
import threading
import weakref
from collections.abc import Callable
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
from runtime_threads import join_runtime_threads
from sample_events import line
from threaded_sources import LINES, ThreadedSource
from virtual_world import TEST_TIMEOUT, OverlapRecording, Recording

import rxflow
from rxflow import FlowRunLog, Rate
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


def count_of(counted: Rate) -> int:
    """Return the number of events in a window."""
    return counted.count


# Each operator with its result for LINES, however fast they are emitted.
OPERATORS: dict[str, tuple[Callable[[Observable[Any]], Observable[Any]], list[Any]]] = {
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
each_operator = pytest.mark.parametrize("name", OPERATORS)


# -- schedulers ---------------------------------------------------------------------------------


@each_operator
def test_a_blocking_loop_gets_all_items(name: str) -> None:
    """A blocking loop gets the items of another thread."""
    operator, expected = OPERATORS[name]
    assert list(rxflow.iterate(ThreadedSource(LINES).pipe(operator))) == expected


@each_operator
def test_the_default_scheduler_emits_all_items(name: str) -> None:
    """A subscription without a scheduler gets the items of another thread."""
    operator, expected = OPERATORS[name]
    recording: Recording[Any] = Recording()
    recording.subscribe_to(ThreadedSource(LINES).pipe(operator))
    recording.wait()
    assert (recording.values, recording.error) == (expected, None)


@each_operator
@pytest.mark.parametrize("kind", [AsyncIOScheduler, AsyncIOThreadSafeScheduler])
def test_an_event_loop_emits_all_items(name: str, kind: type[AsyncIOScheduler]) -> None:
    """A subscription on an event loop that is otherwise idle gets the items of another thread."""
    operator, expected = OPERATORS[name]

    async def main() -> list[Any]:
        loop = asyncio.get_running_loop()
        over: asyncio.Future[None] = loop.create_future()
        items: list[Any] = []

        def end(error: Exception | None = None) -> None:
            assert error is None
            loop.call_soon_threadsafe(over.set_result, None)

        source = ThreadedSource(LINES).pipe(operator)
        source.subscribe(items.append, end, end, scheduler=kind(loop))
        await asyncio.wait_for(over, TEST_TIMEOUT)
        return items

    assert asyncio.run(main()) == expected


def test_a_closed_scheduler_ends_the_subscription(logged: list[str]) -> None:
    """When its event loop is closed the source is disposed of without an error; the log says so."""
    subject: rx.Subject[FlowRunLog] = rx.Subject()

    async def main() -> None:
        scheduler = AsyncIOScheduler(asyncio.get_running_loop())
        subject.pipe(bounded(9)).subscribe(scheduler=scheduler)
        await asyncio.sleep(0)

    asyncio.run(main())
    assert subject.observers
    subject.on_next(line())
    assert not subject.observers
    assert logged[0].startswith("DEBUG A subscription ends because its scheduler was closed")


# -- one call at a time -------------------------------------------------------------------------


SCHEDULERS: dict[str, Callable[[], abc.SchedulerBase | None]] = {
    "none": lambda: None,
    # A thread that is in a turn does not notice its `dispose`; this one ends when it is idle.
    "event loop": lambda: EventLoopScheduler(exit_if_empty=True),
    "new thread": NewThreadScheduler,
    "timeout": TimeoutScheduler,
    "pool": lambda: ThreadPoolScheduler(4),
}


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize(
    "operator",
    [conflate(lambda event: event.message), bounded(300), in_order(0.002), rate(0.02)],
    ids=["conflate", "bounded", "in_order", "rate"],
)
def test_calls_do_not_overlap(operator: Callable[[Any], Any], scheduler: str) -> None:
    """Turns and items of different threads never call the observer at the same time."""
    shuffled = random.Random(7).sample(LINES, len(LINES))
    running = SCHEDULERS[scheduler]()
    recording = OverlapRecording()
    recording.subscribe_to(ThreadedSource(shuffled).pipe(operator), running)
    recording.wait()
    if isinstance(running, ThreadPoolScheduler):
        running.executor.shutdown()  # its threads would stay
    assert (recording.overlaps, recording.error) == (0, None)
    counts = [getattr(value, "count", 1) for value in recording.values]
    assert sum(counts) == len(LINES)


# -- the end ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "operator",
    [conflate(), bounded(9), in_order(0), rate(60)],
    ids=["conflate", "bounded", "in_order", "rate"],
)
def test_dispose_disposes_of_the_source(operator: Callable[[Any], Any]) -> None:
    """Disposing disposes of a source that never ends, and leaves no thread."""
    disposed, subscribed = threading.Event(), threading.Event()

    def subscribe(observer: abc.ObserverBase[Any], _: Any = None) -> abc.DisposableBase:
        observer.on_next(line())
        subscribed.set()
        return Disposable(disposed.set)

    subscription = rx.create(subscribe).pipe(operator).subscribe()
    assert subscribed.is_set()
    subscription.dispose()
    assert disposed.is_set()


@pytest.mark.parametrize(
    "operator",
    [conflate(), bounded(9), in_order(600), rate(600)],
    ids=["conflate", "bounded", "in_order", "rate"],
)
def test_a_disposed_observer_is_freed(operator: Callable[[Any], Any]) -> None:
    """Nothing, not even a timer, holds an observer that has disposed of its subscription."""
    recording: Recording[Any] = Recording()
    recording.subscribe_to(rx.concat(rx.of(line()), rx.never()).pipe(operator))
    recording.dispose()
    join_runtime_threads()
    reference = weakref.ref(recording)
    del recording
    gc.collect()
    assert reference() is None
