"""Watching a run: the parts and their merge, the views, and the same stream whoever runs it."""

import asyncio
import gc
import subprocess
import sys
import threading
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

import httpx
import pytest
import reactivex as rx
from reactivex import Observable, abc
from reactivex import operators as ops
from reactivex.scheduler import (
    CurrentThreadScheduler,
    EventLoopScheduler,
    ImmediateScheduler,
    NewThreadScheduler,
    ThreadPoolScheduler,
    TimeoutScheduler,
)
from reactivex.scheduler.eventloop import AsyncIOScheduler, AsyncIOThreadSafeScheduler
from stream_faces import collect_async
from virtual_world import HOUR, TEST_TIMEOUT, Recording, World, identities

import rxflow
from rxflow import (
    Client,
    Closed,
    FlowRunEvent,
    FlowRunLog,
    FlowRunStream,
    FlowRunView,
    InvalidRunId,
    Notice,
    NoticeCode,
    RunNotFound,
    RunSeen,
    Stream,
    WatchTimedOut,
    await_for_flow_run,
    fold,
    wait_for_flow_run,
    watch_flow_run,
)
from rxflow._net.channel import Channel
from rxflow._runtime.fetch_workers import FETCH_WORKERS
from rxflow._runtime.poll_scheduler import default_scheduler
from rxflow.testing import FakePrefect3

GONE = "00000000-0000-4000-8000-000000000000"
LATER = 24 * HOUR


@pytest.fixture
def past(world: World) -> FlowRunStream:
    """A watch over a run that ended an hour ago, of more than one page of log lines."""
    run_id = world.add_finished_run(lines=450)
    world.server.set_task_state(run_id, None, "COMPLETED")
    world.run(until=HOUR)
    return watch_flow_run(run_id, stream_tasks=True, client=world.client)


def live(world: World) -> str:
    """A run that lives from second 10 on, with an end, a second life, and late lines."""
    server, run_id = world.server, world.server.add_run()
    world.at(10, lambda: server.set_state(run_id, "PENDING"))
    world.at(12, lambda: server.set_state(run_id, "RUNNING"))
    for second in range(13, 40, 3):
        world.at(second, lambda: server.log(run_id))
        world.at(second + 0.1, lambda: server.change_run(run_id, tags=[str(world.seconds)]))
    world.at(40, lambda: server.set_state(run_id, "FAILED"))
    world.at(43, lambda: server.set_state(run_id, "SCHEDULED", "AwaitingRetry"))
    world.at(50, lambda: server.set_state(run_id, "RUNNING"))
    world.at(60, lambda: server.log(run_id, timestamp=world.scheduler.now - timedelta(seconds=5)))
    world.at(70, lambda: server.set_state(run_id, "COMPLETED"))
    world.at(72, lambda: server.log(run_id, "the last line"))
    return run_id


def rows(events: list[FlowRunEvent]) -> list[tuple[str, str]]:
    """State changes and log lines: what the server has rows for."""
    return [identity for identity in identities(events) if identity[0] in {"state", "log"}]


def in_order(part: list[Any], whole: list[Any]) -> bool:
    """Whether what is in a part comes in the whole's order."""
    items = iter(whole)
    return all(item in items for item in part)


# -- the parts and the whole --------------------------------------------------------------------


def test_the_parts_together_are_the_whole(past: FlowRunStream, world: World) -> None:
    """States, logs, tasks and notices hold together what their merge holds, in its order."""
    whole = identities(world.watch(past).values)
    parts = [
        identities(world.watch(part).values)
        for part in (past.states, past.logs, past.tasks, past.notices)
    ]
    assert [len(part) for part in parts] == [4, 450, 1, 2]
    assert Counter(identity for part in parts for identity in part) == Counter(whole)
    assert all(in_order(part, whole) for part in parts)
    assert (whole[0][0], whole[-1][0]) == ("run-seen", "closed")


def test_the_parts_of_a_running_run(world: World) -> None:
    """While a run lives its parts have the rows that the whole has, and each part only its own."""
    stream = watch_flow_run(live(world), client=world.client)
    whole, states, logs = (
        world.subscribe(watched) for watched in (stream, stream.states, stream.logs)
    )
    world.run(until=200)
    assert whole.completed
    assert states.completed
    assert logs.completed
    assert Counter(rows([*states.values, *logs.values])) == Counter(rows(whole.values))
    assert {type(event).__name__ for event in states.values} == {"StateChange", "RunChanged"}
    assert {type(event) for event in logs.values} == {FlowRunLog}


def test_a_late_watcher_gets_the_same_rows(world: World) -> None:
    """Who comes after the end gets the rows that somebody got who was there all along."""
    stream = watch_flow_run(live(world), client=world.client)
    early = world.watch(stream, until=200)
    late = world.watch(stream, at=LATER)
    assert early.completed
    assert late.completed
    assert late.ended == LATER
    assert Counter(rows(early.values)) == Counter(rows(late.values))


@pytest.mark.parametrize(
    "written", [datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)]
)
def test_a_line_may_be_dated_at_the_ends_of_time(world: World, written: datetime) -> None:
    """However wrong a writer's clock is, its lines are told, and the watch ends as it should."""
    run_id = world.server.add_run(state="RUNNING")
    world.at(1, lambda: world.server.log(run_id, "odd", timestamp=written))
    world.at(2, lambda: world.server.log(run_id, "even"))
    world.at(60, lambda: world.server.set_state(run_id, "COMPLETED"))
    told = world.watch(watch_flow_run(run_id, client=world.client))
    lines = [event.message for event in told.values if isinstance(event, FlowRunLog)]
    assert sorted(lines) == ["even", "odd"]
    assert isinstance(told.values[-1], Closed)
    assert told.values[-1].verified


def test_parts_that_are_off_are_left_out(world: World) -> None:
    """Without states and logs there are only the run's first event, notices and the end."""
    run_id = live(world)
    off = watch_flow_run(run_id, stream_states=False, stream_logs=False, client=world.client)
    told = world.watch(off)
    assert [type(event) for event in told.values if not isinstance(event, Notice)] == [
        RunSeen,
        Closed,
    ]
    assert not [path for _, path in world.server.requests if path == "/logs/filter"]
    assert not [path for _, path in world.server.requests if path == "/flow_run_states/"]


def test_level_and_since_concern_logs_alone(world: World) -> None:
    """Of log lines those below the level or before the time are left out, of states none."""
    run_id = world.add_finished_run(lines=1)
    world.at(5, lambda: world.server.log(run_id, "old, loud", level=40))
    world.at(10, lambda: world.server.log(run_id, "loud", level=40))
    world.at(11, lambda: world.server.log(run_id, "quiet", level=10))
    world.run(until=HOUR)
    since = datetime(2026, 1, 1, 0, 0, 8, tzinfo=UTC)
    told = world.watch(watch_flow_run(run_id, level=30, since=since, client=world.client))
    assert [event.message for event in told.values if isinstance(event, FlowRunLog)] == ["loud"]
    assert Counter(kind for kind, _ in identities(told.values))["state"] == 4


# -- views --------------------------------------------------------------------------------------


def test_views_are_the_scan_of_the_fold(past: FlowRunStream, world: World) -> None:
    """The views are what `fold` makes of the events, one after the other, whenever it is new."""
    events = world.watch(past).values
    expected: list[rxflow.Snapshot] = []
    snapshot: rxflow.Snapshot | None = None
    for event in events:
        snapshot = fold(snapshot, event)
        if snapshot is not None and snapshot not in expected[-1:]:
            expected.append(snapshot)
    views = world.watch(past.views()).values
    assert [view.snapshot for view in views] == expected
    assert len(views) == 1 + 4 + 1
    assert [view.snapshot for view in past.views()] == expected


def test_the_last_view_is_what_the_server_says(world: World) -> None:
    """The last view of a run's life shows what reading the run afresh shows."""
    run_id = live(world)
    views = world.watch(watch_flow_run(run_id, client=world.client).views()).values
    assert len(views) > 10
    assert views[-1] == FlowRunView.from_flow_run_id(run_id, client=world.client)


def test_a_view_may_ask_further(past: FlowRunStream, world: World) -> None:
    """Views of a watch ask the watch's client."""
    view = world.watch(past.views()).values[-1]
    assert len(view.get_logs()) == 450


# -- whoever runs it ----------------------------------------------------------------------------


def subscribed(stream: FlowRunStream, scheduler: abc.SchedulerBase | None) -> list[FlowRunEvent]:
    """What a subscription tells in real time."""
    told: Recording[FlowRunEvent] = Recording()
    told.subscribe_to(stream, scheduler)
    told.wait()
    assert told.completed, told.error
    assert threading.get_ident() not in told.threads
    return told.values


def on_event_loop_scheduler(stream: FlowRunStream) -> list[FlowRunEvent]:
    """On a thread of reactivex's."""
    scheduler = EventLoopScheduler()
    values = subscribed(stream, scheduler)
    scheduler.dispose()
    return values


def on_a_pool(stream: FlowRunStream) -> list[FlowRunEvent]:
    """On a few threads."""
    scheduler = ThreadPoolScheduler(3)
    values = subscribed(stream, scheduler)
    scheduler.executor.shutdown()
    return values


def on_asyncio(make: Callable[[asyncio.AbstractEventLoop], abc.SchedulerBase]) -> Any:
    """In an event loop, whose thread is the only one that is told anything."""

    async def watch(stream: FlowRunStream) -> list[FlowRunEvent]:
        told: Recording[FlowRunEvent] = Recording()
        over = asyncio.Event()
        ended = stream.pipe(ops.finally_action(over.set))
        told.subscribe_to(ended, make(asyncio.get_running_loop()))
        async with asyncio.timeout(TEST_TIMEOUT):
            await over.wait()
        assert told.completed, told.error
        assert told.threads == {threading.get_ident()}
        return told.values

    return lambda stream: asyncio.run(watch(stream))


async def looped(stream: FlowRunStream) -> list[FlowRunEvent]:
    """In a blocking loop where an event loop runs, as in a notebook."""
    return list(stream)


WAYS: dict[str, Callable[[FlowRunStream], list[FlowRunEvent]]] = {
    "for": list,
    "iterate": lambda stream: list(rxflow.iterate(stream)),
    "for, in an event loop": lambda stream: asyncio.run(looped(stream)),
    "async for": collect_async,
    "subscribe": lambda stream: subscribed(stream, None),
    "immediate": lambda stream: subscribed(stream, ImmediateScheduler()),
    "current thread": lambda stream: subscribed(stream, CurrentThreadScheduler()),
    "new threads": lambda stream: subscribed(stream, NewThreadScheduler()),
    "timeout": lambda stream: subscribed(stream, TimeoutScheduler()),
    "event loop": on_event_loop_scheduler,
    "pool": on_a_pool,
    "asyncio": on_asyncio(AsyncIOScheduler),
    "asyncio, thread-safe": on_asyncio(AsyncIOThreadSafeScheduler),
}


@pytest.mark.parametrize("way", WAYS)
def test_all_ways_to_run_tell_the_same(way: str, past: FlowRunStream, world: World) -> None:
    """A loop, a thread, an event loop and virtual time tell the same events in the same order."""
    expected = identities(world.watch(past).values)
    assert identities(WAYS[way](past)) == expected
    assert [channel.close_count for channel in world.channels] == [1, 1]


@pytest.mark.parametrize("loop", [list, collect_async])
def test_a_loop_needs_no_thread(
    loop: Callable[[FlowRunStream], list[FlowRunEvent]], past: FlowRunStream, started: list[str]
) -> None:
    """A loop over a watch, of either kind, runs in the thread of its caller, and starts none."""
    assert len(loop(past)) == 4 + 450 + 1 + 2
    assert started == []


def test_threads_are_daemons_with_a_name(past: FlowRunStream, started: list[str]) -> None:
    """A subscription without a scheduler runs on threads whose names say whose they are."""
    daemons: set[bool] = set()
    watched = past.pipe(ops.do_action(lambda _: daemons.add(threading.current_thread().daemon)))
    assert subscribed(watched, None)  # type: ignore[arg-type]
    assert daemons == {True}
    assert set(started) == {"rxflow-poll", "rxflow-fetch"}


@pytest.mark.parametrize("given", [None, ImmediateScheduler(), CurrentThreadScheduler()])
def test_no_scheduler_that_blocks_is_used(
    given: abc.SchedulerBase | None, past: FlowRunStream
) -> None:
    """Without a scheduler, or with one that blocks while it waits, our own thread tells all."""
    names: set[str] = set()
    told: Recording[FlowRunEvent] = Recording()
    told.subscribe_to(
        past.pipe(ops.do_action(lambda _: names.add(threading.current_thread().name))), given
    )
    told.wait()
    assert names == {"rxflow-poll"}


def test_await_gives_the_last_event(past: FlowRunStream) -> None:
    """Awaiting a watch gives its `Closed`, though nothing else wakes the event loop."""

    async def last() -> FlowRunEvent:
        return await past

    closed = asyncio.run(last())
    assert isinstance(closed, Closed)
    assert (closed.log_count, closed.verified) == (450, True)


def test_await_raises_the_error(world: World) -> None:
    """Awaiting a watch that fails raises what it fails with."""

    async def last() -> FlowRunEvent:
        return await watch_flow_run(GONE, client=world.client)

    with pytest.raises(RunNotFound):
        asyncio.run(last())


def test_a_cancelled_await_ends_the_watch(world: World) -> None:
    """Cancelling a task that awaits a watch disposes of it."""
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


def test_run_gives_the_last_event(past: FlowRunStream) -> None:
    """`run()`, as every observable has it, gives the watch's `Closed`."""
    assert isinstance(past.run(), Closed)


def test_many_watches_share_few_threads(world: World, started: list[str]) -> None:
    """A hundred watches at once all get everything, from one thread, by at most 8 at a time."""
    run_id = world.add_finished_run(lines=20)
    world.run(until=HOUR)
    stream = watch_flow_run(run_id, client=world.client)
    running: set[int] = set()
    most = 0
    lock = threading.Lock()

    def intercept(_: httpx.Request) -> None:
        nonlocal most
        with lock:
            running.add(threading.get_ident())
            most = max(most, len(running))

    world.server.intercept = intercept
    told: list[Recording[FlowRunEvent]] = [Recording() for _ in range(100)]
    for recording in told:
        recording.subscribe_to(stream)
    for recording in told:
        recording.wait()
    assert {len(recording.values) for recording in told} == {4 + 20 + 2}
    assert [channel.close_count for channel in world.channels] == [1] * 100
    assert set(started) == {"rxflow-poll", "rxflow-fetch"}
    assert default_scheduler.join(TEST_TIMEOUT)
    assert most >= 1
    assert FETCH_WORKERS == 8


# -- cold ---------------------------------------------------------------------------------------


def test_nothing_is_asked_before_a_face_is_used(past: FlowRunStream, world: World) -> None:
    """Making streams, parts, views and iterators of a watch asks nothing, and opens nothing."""
    parts = [past.states, past.logs, past.tasks, past.notices, past.views()]
    made: list[object] = [iter(part) for part in (past, *parts)]
    made += [aiter(part) for part in (past, *parts)]
    world.run(until=2 * HOUR)
    assert world.server.requests == []
    assert world.channels == []
    assert len(made) == 12


def test_each_subscription_asks_for_itself(world: World) -> None:
    """Two subscriptions, the second while the first is under way, each get the whole."""
    stream = watch_flow_run(live(world), client=world.client)
    first, second = world.subscribe(stream, at=0), world.subscribe(stream, at=45)
    world.run(until=200)
    assert first.completed
    assert second.completed
    assert (first.events[0][0], second.events[0][0]) == (0, 45)
    assert Counter(rows(first.values)) == Counter(rows(second.values))
    assert [channel.close_count for channel in world.channels] == [1, 1]
    assert all(channel.queries for channel in world.channels)


def test_retry_watches_anew(past: FlowRunStream, world: World) -> None:
    """After an error a watch can be subscribed to again, as `retry` does."""
    refusals: Iterator[httpx.Response | None] = iter([httpx.Response(401), httpx.Response(401)])
    world.server.intercept = lambda _: next(refusals, None)
    told = world.watch(past.pipe(ops.retry(3)))
    assert told.completed
    assert len(told.events) == 4 + 450 + 1 + 2
    assert [channel.close_count for channel in world.channels] == [1, 1, 1]


def test_repeat_watches_anew(past: FlowRunStream, world: World) -> None:
    """After its completion a watch can be subscribed to again, as `repeat` does."""
    once = identities(world.watch(past).values)
    assert identities(world.watch(past.pipe(ops.repeat(2))).values) == once * 2
    assert identities(list(past.pipe(ops.repeat(2)))) == once * 2


def test_subscribing_never_raises(world: World) -> None:
    """What goes wrong while subscribing is told to the observer."""

    class Broken(Client):
        def open_channel(self) -> Channel:
            """Fail."""
            raise OSError("no more file descriptors")

    run_id = world.server.add_run()
    stream = watch_flow_run(run_id, client=Broken(api_url="http://fake.invalid/api"))
    told = world.watch(stream)
    assert isinstance(told.error, OSError)
    told = Recording()
    told.subscribe_to(stream)
    told.wait()
    assert isinstance(told.error, OSError)
    with pytest.raises(OSError, match="no more"):
        list(stream)


# -- how it ends --------------------------------------------------------------------------------


def test_dispose_within_an_event_is_the_end(world: World) -> None:
    """After a dispose within an event nothing more is told, and nothing more is asked."""
    told: Recording[FlowRunEvent] = Recording()

    def leave(event: FlowRunEvent) -> None:
        if isinstance(event, FlowRunLog):
            told.dispose()

    stream = watch_flow_run(live(world), client=world.client).pipe(ops.do_action(leave))
    world.at(0, lambda: told.subscribe_to(stream, world.scheduler))
    world.run(until=20)
    requests = len(world.server.requests)
    seen = len(told.events)
    world.run(until=HOUR)
    assert 0 < seen == len(told.events)
    assert len(world.server.requests) == requests
    assert (told.completed, told.error) == (False, None)
    assert [channel.close_count for channel in world.channels] == [1]


@pytest.mark.parametrize("turn", [False, True], ids=["before the first turn", "after it"])
def test_a_watch_may_be_left_at_once(turn: bool, world: World) -> None:
    """A watch that is disposed of right after it was subscribed to leaves nothing open."""
    stream = watch_flow_run(live(world), client=world.client)
    subscription = stream.subscribe(scheduler=world.scheduler)
    if turn:
        world.run(until=2)
    requests = len(world.server.requests)
    subscription.dispose()
    world.run(until=HOUR)
    assert [channel.close_count for channel in world.channels] == [1] * turn
    assert (len(world.server.requests), requests > 0) == (requests, turn)


def test_taking_two_stops_the_polling(world: World) -> None:
    """After `take(2)` has what it takes, the server is asked nothing more."""
    stream = watch_flow_run(live(world), client=world.client)
    told = world.watch(stream.pipe(ops.take(2)), until=1)
    assert told.completed
    requests = len(world.server.requests)
    world.run(until=HOUR)
    assert len(world.server.requests) == requests
    assert [channel.close_count for channel in world.channels] == [1]


def test_nothing_comes_after_the_end(world: World) -> None:
    """A watch that closed stays closed, whatever the run does afterwards."""
    run_id = live(world)
    world.at(300, lambda: world.server.set_state(run_id, "RUNNING"))
    told = world.subscribe(watch_flow_run(run_id, client=world.client), at=0)
    world.run(until=299)
    requests, events = len(world.server.requests), len(told.events)
    world.run(until=HOUR)
    assert told.completed
    assert isinstance(told.values[-1], Closed)
    assert (len(world.server.requests), len(told.events)) == (requests, events)


def test_nothing_is_asked_that_nobody_reads(past: FlowRunStream, world: World) -> None:
    """A page is read to its last event before the next is asked for; who leaves asks no more."""
    asked = world.server.requests
    events = iter(past)
    next(events)
    first_page = len(asked)
    assert len(list(islice(events, 150))) == 150
    assert len(asked) == first_page
    assert len(list(islice(events, 150))) == 150
    assert len(asked) > first_page
    second_page = len(asked)
    events.close()
    assert len(asked) == second_page
    assert [channel.close_count for channel in world.channels] == [1]


def test_an_unknown_run_is_the_first_error(world: World) -> None:
    """A run that the server does not know ends the watch with `RunNotFound`, and no event."""
    told = world.watch(watch_flow_run(GONE, client=world.client))
    assert isinstance(told.error, RunNotFound)
    assert isinstance(told.error, ValueError)
    assert told.events == []


@pytest.mark.parametrize("limit", [600, 600.0, timedelta(minutes=10)])
def test_a_watch_has_an_end(limit: float | timedelta, world: World) -> None:
    """A run that does not end is watched for as long as was said, and then it is an error."""
    run_id = world.server.add_run(state="RUNNING")
    told = world.watch(watch_flow_run(run_id, max_duration=limit, client=world.client))
    assert isinstance(told.error, WatchTimedOut)
    assert isinstance(told.error, TimeoutError)
    assert told.ended is not None
    assert 600 <= told.ended < 601


def test_a_watch_may_be_endless(world: World) -> None:
    """A watch of unlimited duration goes on."""
    run_id = world.server.add_run(state="RUNNING")
    told = world.watch(watch_flow_run(run_id, max_duration=None, client=world.client))
    assert (told.ended, told.values) == (None, told.values[:2])


def test_a_run_that_is_over_is_told_to_its_end(world: World) -> None:
    """A run that is over is drained and closed though the watch's time is up."""
    run_id = world.add_finished_run()
    told = world.watch(watch_flow_run(run_id, max_duration=1, drain=30, client=world.client))
    assert told.completed
    assert told.ended is not None
    assert told.ended >= 29


def test_an_outage_is_told_and_outlasted(world: World) -> None:
    """A server that is away for a while is noticed, and so is its return; nothing is lost."""
    run_id = live(world)

    def intercept(request: httpx.Request) -> None:
        if 20 <= world.seconds < 55:
            raise httpx.ConnectError("refused", request=request)

    told = world.subscribe(watch_flow_run(run_id, client=world.client))
    world.run(until=0.1)
    world.server.intercept = intercept
    world.run(until=HOUR)
    notices = [event.code for event in told.values if isinstance(event, Notice)]
    assert notices[:2] == [NoticeCode.DEGRADED, NoticeCode.RECOVERED]
    degraded = next(at for at, event in told.events if isinstance(event, Notice))
    assert 25 < degraded < 36
    late = world.watch(watch_flow_run(run_id, client=world.client))
    assert Counter(rows(told.values)) == Counter(rows(late.values))


@pytest.mark.parametrize("virtual", [True, False], ids=["virtual", "threaded"])
def test_nothing_holds_a_watch_that_was_left(virtual: bool, world: World) -> None:
    """An observer that has disposed of its watch is held by nobody any more."""
    run_id = world.server.add_run(state="RUNNING")
    stream = watch_flow_run(run_id, client=world.client)
    seen = threading.Event()
    told: Recording[FlowRunEvent] = Recording()
    told.subscribe_to(
        stream.pipe(ops.do_action(lambda _: seen.set())), world.scheduler if virtual else None
    )
    world.run(until=10)
    assert seen.wait(TEST_TIMEOUT)
    told.dispose()
    assert default_scheduler.join(TEST_TIMEOUT)
    held = weakref.ref(told)
    del told
    gc.collect()
    world.run(until=20)
    gc.collect()
    assert held() is None


LEFT = """
import threading
import rxflow
from rxflow.testing import FakePrefect3

server = FakePrefect3()
run = server.add_run(state="RUNNING")
seen = threading.Event()
rxflow.watch_flow_run(run, client=server.client()).subscribe(lambda event: seen.set())
assert seen.wait(30)
"""


def test_a_program_ends_with_a_watch_under_way() -> None:
    """A program that comes to its end while a watch runs ends, without a word."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", LEFT],
        capture_output=True,
        text=True,
        timeout=TEST_TIMEOUT,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


# -- arguments ----------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", "no-id", "9e6caafc", GONE + "0", None, 5])
def test_a_malformed_id_is_an_error_at_the_call(text: Any, world: World) -> None:
    """What is not a UUID is refused by the call itself, and nothing is asked."""
    for call in (watch_flow_run, wait_for_flow_run, awaiting):
        with pytest.raises(InvalidRunId, match="UUID") as caught:
            call(text, client=world.client)
        assert isinstance(caught.value, ValueError)
    assert world.channels == []


def test_an_id_may_be_written_otherwise(world: World) -> None:
    """Capital letters and missing dashes do not make another id."""
    run_id = world.add_finished_run()
    world.run(until=HOUR)
    told = world.watch(watch_flow_run(run_id.upper().replace("-", ""), client=world.client))
    assert {event.flow_run_id for event in told.values} == {run_id}


@pytest.mark.parametrize(
    "given",
    [
        {"since": datetime(2026, 1, 1)},  # noqa: DTZ001 - the point of it
        {"drain": -1},
        {"drain": float("nan")},
        {"drain": float("inf")},
        {"drain": timedelta(seconds=-1)},
        {"max_duration": True},
        {"max_duration": -0.5},
        {"max_duration": float("nan")},
        {"max_duration": timedelta(days=-1)},
    ],
    ids=str,
)
def test_a_time_that_is_none_is_an_error_at_the_call(given: dict[str, Any], world: World) -> None:
    """A naive, negative or indefinite time is refused by the call, which names the argument."""
    with pytest.raises(ValueError, match=next(iter(given))):
        watch_flow_run(GONE, client=world.client, **given)


# -- waiting ------------------------------------------------------------------------------------

Waiting = Callable[..., FlowRunView]


def awaiting(*arguments: Any, **named: Any) -> FlowRunView:
    """Wait on an event loop."""
    return asyncio.run(await_for_flow_run(*arguments, **named))


@pytest.fixture(params=[wait_for_flow_run, awaiting], ids=["wait", "await"])
def waiting(request: pytest.FixtureRequest) -> Waiting:
    """Wait for a run in one of the two ways."""
    way: Waiting = request.param
    return way


@pytest.mark.parametrize("ends", ["COMPLETED", "FAILED", "CRASHED", "CANCELLED"])
def test_waiting_gives_the_final_view(
    ends: str, world: World, started: list[str], waiting: Waiting
) -> None:
    """Waiting for a run gives its view at the end, in whichever state it ended."""
    run_id = world.add_finished_run(ends=ends)
    world.run(until=HOUR)
    view = waiting(run_id, client=world.client)
    assert view.state is not None
    assert view.state.type == ends
    assert len(view.states) == 4
    assert view == FlowRunView.from_flow_run_id(run_id, client=world.client)
    assert started == []
    assert world.channels[0].close_count == 1


def test_waiting_lasts_until_the_run_is_over(waiting: Waiting) -> None:
    """A run that ends while it is waited for is given back once it has ended."""
    server = FakePrefect3()
    run_id = server.add_run(state="RUNNING")

    def intercept(_: httpx.Request) -> None:
        if len(server.requests) == 5:
            server.set_state(run_id, "COMPLETED")

    server.intercept = intercept
    view = waiting(run_id, timeout=TEST_TIMEOUT, client=server.client())
    assert [state.type for state in view.states] == ["RUNNING", "COMPLETED"]
    run, states = f"/flow_runs/{run_id}", "/flow_run_states/"
    assert [path for _, path in server.requests[4:]] == [run, states, run]  # and one further look


@pytest.mark.parametrize("timeout", [0, 0.0, timedelta(0), 0.01])
def test_waiting_has_an_end(timeout: float | timedelta, world: World, waiting: Waiting) -> None:
    """A run that is not over in time is an error, after it was looked at."""
    run_id = world.server.add_run(state="RUNNING")
    with pytest.raises(WatchTimedOut, match="still in state Running") as caught:
        waiting(run_id, timeout, client=world.client)
    assert isinstance(caught.value, RuntimeError)
    assert [channel.close_count for channel in world.channels] == [1]


def test_waiting_with_no_time_sees_a_run_that_is_over(world: World, waiting: Waiting) -> None:
    """A timeout of nothing is enough to see that a run is over."""
    run_id = world.add_finished_run()
    world.run(until=HOUR)
    assert waiting(run_id, 0, client=world.client).state is not None


def test_waiting_for_nothing(world: World, waiting: Waiting) -> None:
    """Waiting for a run that the server does not know is an error at once."""
    with pytest.raises(RunNotFound):
        waiting(GONE, client=world.client)


@pytest.mark.long
def test_waiting_for_a_run_that_is_deleted(waiting: Waiting) -> None:
    """A run that is deleted before it is over is not found any more."""
    server = FakePrefect3()
    run_id = server.add_run(state="RUNNING")

    def intercept(_: httpx.Request) -> None:
        if len(server.requests) == 4:
            server.delete_run(run_id)

    server.intercept = intercept
    with pytest.raises(RunNotFound, match="deleted before it was over"):
        waiting(run_id, client=server.client())


@pytest.mark.parametrize("timeout", [-1, float("nan"), timedelta(seconds=-1), True])
def test_a_timeout_that_is_none_is_an_error(timeout: Any, world: World, waiting: Waiting) -> None:
    """A negative or indefinite timeout is refused, by its name."""
    with pytest.raises(ValueError, match="timeout"):
        waiting(GONE, timeout, client=world.client)


# -- composing ----------------------------------------------------------------------------------


def test_a_watch_composes(past: FlowRunStream, world: World) -> None:
    """What is piped from a watch is a stream that gives in a loop what it tells a subscriber."""
    counted: Stream[int] = past.pipe(
        ops.filter(lambda event: isinstance(event, FlowRunLog)), ops.count()
    )
    assert isinstance(counted, Stream)
    assert world.watch(counted).values == list(counted) == [450]


def test_a_merge_of_watches(world: World) -> None:
    """Watches over several runs, merged by reactivex, are iterated like one."""
    runs = [world.add_finished_run(lines=5) for _ in range(3)]
    world.run(until=HOUR)
    merged: Observable[FlowRunEvent] = rx.merge(
        *(watch_flow_run(run, client=world.client) for run in runs)
    )
    told = list(rxflow.iterate(merged))
    assert Counter(event.flow_run_id for event in told) == dict.fromkeys(runs, 4 + 5 + 2)
    first = list(islice(rxflow.iterate(merged), 3))
    assert len(first) == 3
