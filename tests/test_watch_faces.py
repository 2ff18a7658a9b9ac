"""The faces of a watch: loops, subscriptions on any scheduler, and awaiting emit the same."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest
from reactivex import abc
from reactivex import operators as ops
from reactivex.scheduler import (
    CurrentThreadScheduler,
    ImmediateScheduler,
    NewThreadScheduler,
    ThreadPoolScheduler,
    TimeoutScheduler,
)
from reactivex.scheduler.eventloop import AsyncIOScheduler, AsyncIOThreadSafeScheduler
from runtime_threads import NAMES, JoinedEventLoopScheduler, join_runtime_threads
from stream_faces import collect_async
from virtual_world import HOUR, MISSING_RUN, TEST_TIMEOUT, Recording, World, identities
from watched_runs import watch_past_run

import rxflow
from rxflow import (
    Closed,
    FlowRunEvent,
    FlowRunLog,
    FlowRunStream,
    RunNotFound,
    watch_flow_run,
)
from rxflow.operators import level_at_least, matching


@pytest.fixture
def past(world: World) -> FlowRunStream:
    """Watch a run that ended an hour ago, with more than one page of log lines."""
    return watch_past_run(world)


def subscribe(stream: FlowRunStream, scheduler: abc.SchedulerBase | None) -> list[FlowRunEvent]:
    """Return the events of a subscription in real time."""
    recording: Recording[FlowRunEvent] = Recording()
    recording.subscribe_to(stream, scheduler)
    recording.wait()
    assert recording.completed, recording.error
    assert threading.get_ident() not in recording.threads
    return recording.values


def on_event_loop_scheduler(stream: FlowRunStream) -> list[FlowRunEvent]:
    """Subscribe on reactivex's scheduler with one thread."""
    scheduler = JoinedEventLoopScheduler()
    values = subscribe(stream, scheduler)
    scheduler.dispose()
    return values


def on_a_pool(stream: FlowRunStream) -> list[FlowRunEvent]:
    """Subscribe on a pool of three threads."""
    scheduler = ThreadPoolScheduler(3)
    values = subscribe(stream, scheduler)
    scheduler.executor.shutdown()
    return values


def on_asyncio(make: Callable[[asyncio.AbstractEventLoop], abc.SchedulerBase]) -> Any:
    """Return a function that subscribes on an event loop, whose thread makes all calls."""

    async def watch(stream: FlowRunStream) -> list[FlowRunEvent]:
        recording: Recording[FlowRunEvent] = Recording()
        over = asyncio.Event()
        ended = stream.pipe(ops.finally_action(over.set))
        recording.subscribe_to(ended, make(asyncio.get_running_loop()))
        async with asyncio.timeout(TEST_TIMEOUT):
            await over.wait()
        assert recording.completed, recording.error
        assert recording.threads == {threading.get_ident()}
        return recording.values

    return lambda stream: asyncio.run(watch(stream))


async def iterate_within_loop(stream: FlowRunStream) -> list[FlowRunEvent]:
    """Iterate, blocking, within a running event loop, as in a notebook."""
    return list(stream)


FACES: dict[str, Callable[[FlowRunStream], list[FlowRunEvent]]] = {
    "for": list,
    "iterate": lambda stream: list(rxflow.iterate(stream)),
    "for, in an event loop": lambda stream: asyncio.run(iterate_within_loop(stream)),
    "async for": collect_async,
    "subscribe": lambda stream: subscribe(stream, None),
    "immediate": lambda stream: subscribe(stream, ImmediateScheduler()),
    "current thread": lambda stream: subscribe(stream, CurrentThreadScheduler()),
    "new threads": lambda stream: subscribe(stream, NewThreadScheduler()),
    "timeout": lambda stream: subscribe(stream, TimeoutScheduler()),
    "event loop": on_event_loop_scheduler,
    "pool": on_a_pool,
    "asyncio": on_asyncio(AsyncIOScheduler),
    "asyncio, thread-safe": on_asyncio(AsyncIOThreadSafeScheduler),
}


@pytest.mark.parametrize("face", FACES)
def test_all_faces_emit_the_same(face: str, past: FlowRunStream, world: World) -> None:
    """Loops, threads, event loops and virtual time emit the same events in the same order."""
    expected = identities(world.watch(past).values)
    assert identities(FACES[face](past)) == expected
    assert world.close_counts() == [1, 1]


@pytest.mark.parametrize("face", FACES)
def test_pages_have_the_events_on_all_faces(face: str, past: FlowRunStream, world: World) -> None:
    """One after another the pages have the events of the stream, on each face; none is empty."""
    expected = identities(world.watch(past).values)
    pages: Any = FACES[face](past.pages())  # type: ignore[arg-type]
    assert all(pages)
    assert {type(page) for page in pages} == {tuple}
    assert identities(event for page in pages for event in page) == expected
    assert len(pages) < len(expected) / 10


def test_selected_events_stay_in_pages(past: FlowRunStream) -> None:
    """Operators that only select keep the pages, as methods and in `pipe`, in any number."""
    lines = past.only(FlowRunLog).pipe(level_at_least(20), matching("line")).pages()
    lengths = [len(page) for page in lines]
    assert sum(lengths) == len(list(past.logs))
    assert max(lengths) > 100


@pytest.mark.parametrize("loop", [list, collect_async])
def test_a_loop_starts_no_thread(
    loop: Callable[[FlowRunStream], list[FlowRunEvent]], past: FlowRunStream, started: list[str]
) -> None:
    """A blocking or async loop over a watch starts no thread."""
    assert len(loop(past)) == 4 + 450 + 1 + 2
    assert started == []


def test_threads_are_named_daemons(past: FlowRunStream, started: list[str]) -> None:
    """A subscription without a scheduler runs on daemon threads with rxflow's names."""
    daemons: set[bool] = set()
    watched = past.pipe(ops.do_action(lambda _: daemons.add(threading.current_thread().daemon)))
    assert subscribe(watched, None)  # type: ignore[arg-type]
    assert daemons == {True}
    assert set(started) == NAMES


@pytest.mark.parametrize("given", [None, ImmediateScheduler(), CurrentThreadScheduler()])
def test_a_scheduler_that_blocks_is_replaced(
    given: abc.SchedulerBase | None, past: FlowRunStream
) -> None:
    """Without a scheduler, or with one that blocks, rxflow's workers emit all events."""
    names: set[str] = set()
    recording: Recording[FlowRunEvent] = Recording()
    recording.subscribe_to(
        past.pipe(ops.do_action(lambda _: names.add(threading.current_thread().name))), given
    )
    recording.wait()
    assert names == {"rxflow-worker"}


def test_await_returns_the_last_event(past: FlowRunStream) -> None:
    """Awaiting a watch returns `Closed`, although nothing else wakes the event loop."""

    async def last() -> FlowRunEvent:
        return await past

    closed = asyncio.run(last())
    assert isinstance(closed, Closed)
    assert (closed.log_count, closed.verified) == (450, True)


def test_await_raises_the_error(world: World) -> None:
    """Awaiting a watch that fails raises its error."""

    async def last() -> FlowRunEvent:
        return await watch_flow_run(MISSING_RUN, client=world.client)

    with pytest.raises(RunNotFound):
        asyncio.run(last())


def test_a_cancelled_await_closes_the_watch(world: World) -> None:
    """Cancelling a task that awaits a watch closes the watch's channel."""
    run_id = world.server.add_run(state="RUNNING")
    stream = watch_flow_run(run_id, client=world.client)

    async def cancel() -> None:
        async def last() -> FlowRunEvent:
            return await stream.pipe(ops.do_action(lambda _: seen.set()))

        seen = asyncio.Event()
        task = asyncio.create_task(last())
        await seen.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancel())
    assert [channel.close_count for channel in world.channels] == [1]


def test_run_returns_the_last_event(past: FlowRunStream) -> None:
    """`run()` returns the watch's `Closed`."""
    assert isinstance(past.run(), Closed)


def test_many_watches_share_few_threads(world: World, started: list[str]) -> None:
    """100 watches at once are complete, and one thread sends all their requests."""
    run_id = world.add_finished_run(lines=20)
    world.run(until=HOUR)
    stream = watch_flow_run(run_id, client=world.client)
    sending_threads: set[int] = set()
    world.server.intercept = lambda _: sending_threads.add(threading.get_ident())
    recordings: list[Recording[FlowRunEvent]] = [Recording() for _ in range(100)]
    for recording in recordings:
        recording.subscribe_to(stream)
    for recording in recordings:
        recording.wait()
    assert {len(recording.values) for recording in recordings} == {4 + 20 + 2}
    assert world.close_counts() == [1] * 100
    assert set(started) == NAMES
    join_runtime_threads()
    assert len(sending_threads) == 1
