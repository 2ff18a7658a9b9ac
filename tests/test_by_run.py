"""`by_run()`: a stream of each run's events, of one session, in whichever way they are read."""

import asyncio
import gc
import threading
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from reactivex import operators as ops
from runtime_threads import join_runtime_threads
from rx_subjects import GrammarRecording, add_live_run, add_past_run
from virtual_world import HOUR, MISSING_RUN, TEST_TIMEOUT, Recording, World, identities

import rxflow
from rxflow import (
    AllClosed,
    AuthError,
    Closed,
    EventsNotKept,
    FlowRunEvent,
    FlowRunLog,
    FlowRunsStream,
    FlowRunStream,
    RunSeen,
    watch_flow_runs,
)

pytestmark = pytest.mark.timeout(120)

LINES = 250
"""Log lines of each run: more than one page."""

EventsOf = dict[str, list[FlowRunEvent]]


def watch_past(world: World, runs: int = 3) -> FlowRunsStream:
    """Watch runs that have ended."""
    ids = [add_past_run(world, LINES) for _ in range(runs)]
    return watch_flow_runs(ids, stream_tasks=True, client=world.client)


def assert_complete(events: EventsOf, world: World) -> None:
    """Check that each run has the events that it has in a watch of its own."""
    for run_id, own in events.items():
        alone = rxflow.watch_flow_run(run_id, stream_tasks=True, client=world.client)
        assert sorted(identities(own)) == sorted(identities(alone))
        assert [isinstance(event, Closed) for event in own].index(True) == len(own) - 1
        assert isinstance(own[0], RunSeen)


# -- ways to read the streams ---------------------------------------------------------------------


def read_one_after_the_other(stream: FlowRunsStream) -> EventsOf:
    """Loop over the streams, and within over the events of each."""
    return {run.flow_run_id: list(run) for run in stream.by_run()}


def read_later(stream: FlowRunsStream) -> EventsOf:
    """Collect the streams to their end, then read them, the last one first."""
    return {run.flow_run_id: list(run) for run in reversed(list(stream.by_run()))}


def read_in_turn(stream: FlowRunsStream) -> EventsOf:
    """Read one event of each run at a time."""
    unread = {run.flow_run_id: iter(run) for run in stream.by_run()}
    found: EventsOf = {run_id: [] for run_id in unread}
    while unread:
        for run_id, events in list(unread.items()):
            event = next(events, None)
            if event is None:
                del unread[run_id]
            else:
                found[run_id].append(event)
    return found


def read_on_a_loop(stream: FlowRunsStream) -> EventsOf:
    """Read each run in a task of its own, on an event loop."""

    async def collect(run: FlowRunStream) -> list[FlowRunEvent]:
        return [event async for event in run]

    async def main() -> EventsOf:
        async with asyncio.timeout(TEST_TIMEOUT), asyncio.TaskGroup() as group:
            tasks = {
                run.flow_run_id: group.create_task(collect(run)) async for run in stream.by_run()
            }
        return {run_id: task.result() for run_id, task in tasks.items()}

    return asyncio.run(main())


def read_on_a_loop_within(stream: FlowRunsStream) -> EventsOf:
    """Loop over the streams on an event loop, and within over the events of each."""

    async def main() -> EventsOf:
        return {run.flow_run_id: [event async for event in run] async for run in stream.by_run()}

    return asyncio.run(main())


def read_subscribed(stream: FlowRunsStream) -> EventsOf:
    """Subscribe to the streams, and to each of them."""
    recordings: dict[str, Recording[FlowRunEvent]] = {}

    def subscribe(run: FlowRunStream) -> None:
        recordings[run.flow_run_id] = Recording()
        recordings[run.flow_run_id].subscribe_to(run)

    streams: Recording[FlowRunStream] = Recording()
    streams.subscribe_to(stream.by_run().do_action(subscribe))
    streams.wait()
    for recording in recordings.values():
        recording.wait()
        assert recording.completed
    return {run_id: recording.values for run_id, recording in recordings.items()}


def read_flattened(stream: FlowRunsStream) -> EventsOf:
    """Join the streams again by an operator."""
    events: EventsOf = {}
    for event in stream.by_run().pipe(ops.flat_map(lambda run: run)):
        events.setdefault(event.flow_run_id, []).append(event)
    return events


WAYS = [
    read_one_after_the_other,
    read_later,
    read_in_turn,
    read_on_a_loop,
    read_on_a_loop_within,
    read_subscribed,
    read_flattened,
]


@pytest.mark.parametrize("read", WAYS, ids=lambda read: read.__name__)
def test_each_run_is_whole(read: Callable[[FlowRunsStream], EventsOf], world: World) -> None:
    """However the streams are read, each has all events of its run, from one session."""
    events = read(watch_past(world))
    assert len(events) == 3
    assert world.close_counts() == [1]
    assert_complete(events, world)


def test_a_stream_comes_at_the_first_event_of_its_run(world: World) -> None:
    """Not before, and the streams end when all runs have."""
    soon, later = world.server.add_run(state="RUNNING"), add_live_run(world)
    world.at(70, lambda: world.server.set_state(soon, "COMPLETED"))
    stream = watch_flow_runs([soon, later], client=world.client)
    inner: list[Recording[FlowRunEvent]] = []

    def subscribe(run: FlowRunStream) -> None:
        recording: Recording[FlowRunEvent] = Recording(lambda: world.seconds)
        recording.subscribe_to(run, world.scheduler)
        inner.append(recording)

    streams = world.watch(stream.by_run().do_action(subscribe))
    assert streams.completed
    assert [run.flow_run_id for run in streams.values] == [soon, later]
    assert all(recording.completed for recording in inner)
    ended = [recording.ended or 0.0 for recording in inner]
    assert 50 < ended[1] < 70 < ended[0]
    assert ended[0] == streams.ended
    events = {run.flow_run_id: rec.values for run, rec in zip(streams.values, inner, strict=True)}
    world.close_counts()
    for run_id, own in events.items():
        assert {event.flow_run_id for event in own} == {run_id}
        assert isinstance(own[-1], Closed)


def test_parts_and_views_of_a_run(world: World) -> None:
    """A run's stream has them, as that of `watch_flow_run`, each for its only subscriber."""
    parts: dict[str, Callable[[Any], Any]] = {
        "logs": lambda run: [line.message for line in run.logs],
        "states": lambda run: [change.state.name for change in run.states],
        "views": lambda run: list(run.views())[-1].state.name,
        "pages": lambda run: sum(map(len, run.pages())),
    }
    for part in parts.values():
        found = [part(run) for run in watch_past(world, runs=2).by_run()]
        run_id = add_past_run(world, LINES)
        alone = part(rxflow.watch_flow_run(run_id, stream_tasks=True, client=world.client))
        assert found == [alone, alone]


def test_a_run_can_be_shared_by_many(world: World) -> None:
    """Its stream, which is for one subscriber, is read by `shared()` for all others."""
    for run in watch_past(world, runs=2).by_run():
        several = run.shared()
        events = list(several)
        assert list(several) == events
        assert len(list(several.logs)) == LINES + 1  # and that of the task
    assert world.close_counts() == [1]


# -- what is kept, and for how long ---------------------------------------------------------------


def test_a_second_subscription_is_refused(world: World) -> None:
    """The error says what to do instead."""
    for run in watch_past(world, runs=1).by_run():
        assert list(run)
        with pytest.raises(EventsNotKept, match=r"subscribed to before, .* shared\(\)"):
            list(run)


def test_a_run_that_is_not_read_holds_up_no_other(world: World) -> None:
    """Whether its stream is dropped, held without a subscription, or left half-way."""
    stream = watch_past(world, runs=4)
    held: list[Any] = []
    read: EventsOf = {}
    for number, run in enumerate(stream.by_run()):
        if number == 1:
            held.append(run)
        elif number == 2:
            half_way = iter(run)
            held.append(next(half_way))
            half_way.close()
        elif number == 3:
            read[run.flow_run_id] = list(run)
    assert world.close_counts() == [1]
    assert_complete(read, world)
    assert_complete({held[0].flow_run_id: list(held[0])}, world)


def test_a_blocked_reader_holds_up_no_other_run(world: World) -> None:
    """While the observer of one run blocks, the others are read to their end."""
    stream = watch_past(world)
    entered, resume = threading.Event(), threading.Event()
    blocked: Recording[FlowRunEvent] = Recording()
    events: EventsOf = {}

    def block(_: object) -> None:
        entered.set()
        assert resume.wait(TEST_TIMEOUT)

    for run in stream.by_run():
        if not events and not entered.is_set():
            blocked.subscribe_to(run.do_action(block))
            assert entered.wait(TEST_TIMEOUT)
        else:
            events[run.flow_run_id] = list(run)
    assert len(events) == 2
    assert not blocked.completed
    resume.set()
    blocked.wait()
    assert_complete(events | {blocked.values[0].flow_run_id: blocked.values}, world)


def test_a_run_whose_queries_fail_holds_up_no_other(world: World) -> None:
    """The reader of the other has its lines meanwhile, and that of the first one has all of its."""
    good, bad = world.server.add_run(state="RUNNING"), world.server.add_run(state="RUNNING")
    recordings: dict[str, Recording[FlowRunEvent]] = {}

    def garble(request: httpx.Request) -> httpx.Response | None:
        text = request.url.path + request.content.decode()
        is_garbled = world.seconds < 60 and bad in text and good not in text
        return httpx.Response(200, text="{") if is_garbled else None

    def log() -> None:
        world.server.log(good, f"{world.seconds}")
        world.server.log(bad, f"{world.seconds}")

    def subscribe(run: FlowRunStream) -> None:
        recordings[run.flow_run_id] = Recording(lambda: world.seconds)
        recordings[run.flow_run_id].subscribe_to(run.logs, world.scheduler)

    for second in range(10, 100, 10):
        world.at(second, log)
    world.server.intercept = garble
    stream = watch_flow_runs([good, bad], client=world.client)
    world.watch(stream.by_run().do_action(subscribe), until=120)
    for recording in recordings.values():
        recording.dispose()
    arrived = {run_id: recording.events for run_id, recording in recordings.items()}
    assert all(at - float(event.message) < 6 for at, event in arrived[good])
    assert [event.message for _, event in arrived[bad]] == [
        event.message for _, event in arrived[good]
    ]
    assert len(arrived[bad]) == 9
    assert arrived[bad][0][0] > 60


def test_a_raising_observer_ends_only_its_own_run(world: World) -> None:
    """The other runs are read to their end."""
    recordings: list[GrammarRecording] = []

    def subscribe(run: FlowRunStream) -> None:
        recordings.append(GrammarRecording(raises_in="" if recordings else "N"))
        recordings[-1].subscribe_to(run)

    streams: Recording[FlowRunStream] = Recording()
    streams.subscribe_to(watch_past(world).by_run().do_action(subscribe))
    streams.wait()
    for recording in recordings:
        recording.wait()
    assert recordings[0].calls == "NE"
    assert [recording.calls[-2:] for recording in recordings[1:]] == ["NC", "NC"]
    assert len(recordings[1].values) == len(recordings[2].values) > LINES
    assert world.close_counts() == [1]


def test_the_session_goes_on_for_a_run_that_is_read(world: World) -> None:
    """Also after the streams are left; it stops with the last reader."""
    first, second = world.server.add_run(state="RUNNING"), world.server.add_run(state="RUNNING")
    stream = watch_flow_runs([first, second], client=world.client)
    (run,) = stream.by_run().take(1)
    events = iter(run)
    assert isinstance(next(events), RunSeen)
    world.server.log(run.flow_run_id, "a later line")
    assert next(event.message for event in events if isinstance(event, FlowRunLog))
    assert [channel.close_count for channel in world.channels] == [0]
    events.close()
    assert world.close_counts() == [1]


def test_the_session_stops_when_no_stream_is_left(world: World) -> None:
    """Streams that are dropped, unread, let it stop."""
    runs = [world.server.add_run(state="RUNNING") for _ in range(3)]
    streams = list(watch_flow_runs(runs, client=world.client).by_run().take(3))
    assert [channel.close_count for channel in world.channels] == [0]
    del streams[0]
    gc.collect()
    assert [channel.close_count for channel in world.channels] == [0]
    streams.clear()
    gc.collect()
    assert world.close_counts() == [1]
    join_runtime_threads()


def test_an_error_of_the_session_ends_all_streams(world: World) -> None:
    """The streams, and those of the runs after their last event."""
    world.server.intercept = lambda _: httpx.Response(401)
    with pytest.raises(AuthError):
        list(watch_past(world).by_run())
    world.server.intercept = None
    going_on = world.server.add_run(state="RUNNING")
    stream = watch_flow_runs([going_on], client=world.client, max_duration=60)
    recordings: list[Recording[FlowRunEvent]] = []

    def subscribe(run: FlowRunStream) -> None:
        recordings.append(Recording())
        recordings[-1].subscribe_to(run, world.scheduler)

    streams = world.watch(stream.by_run().do_action(subscribe), until=world.seconds + HOUR)
    assert isinstance(streams.error, rxflow.WatchTimedOut)
    assert recordings[0].error is streams.error
    assert isinstance(recordings[0].values[0], RunSeen)


def test_events_about_no_run_are_with_the_notices(world: World) -> None:
    """`AllClosed` is in no run's stream; a shared watch has both."""
    stream = watch_past(world).shared()
    assert not any(isinstance(event, AllClosed) for run in stream.by_run() for event in run)
    assert isinstance(list(stream.notices)[-1], AllClosed)
    assert world.close_counts() == [1]


def test_a_run_that_the_server_does_not_have_has_a_stream(world: World) -> None:
    """With the notice that says so, and its `Closed`."""
    stream = watch_flow_runs([MISSING_RUN], client=world.client)
    events = world.watch(stream.by_run().pipe(ops.flat_map(lambda run: run))).values
    assert [event.kind for event in events] == ["notice", "closed"]
