"""`shared()`: one session for many subscribers, each with the whole history at its own pace."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import aclosing
from random import Random
from typing import Any

import httpx
import pytest
from reactivex import abc
from reactivex import operators as ops
from reactivex.scheduler.eventloop import AsyncIOScheduler
from runtime_threads import NAMES, join_runtime_threads
from rx_subjects import (
    FACES,
    LINES,
    GrammarRecording,
    ObserverError,
    add_live_run,
    add_past_run,
    each_face,
)
from virtual_world import HOUR, TEST_TIMEOUT, Recording, World, identities

import rxflow
from rxflow import (
    AuthError,
    Closed,
    FlowRunEvent,
    FlowRunLog,
    RunSeen,
    Stream,
    watch_flow_run,
    watch_flow_runs,
)

pytestmark = pytest.mark.timeout(120)

Watch = Callable[[World, str], Any]


def watch_one(world: World, run_id: str) -> Any:
    """Watch one run."""
    return watch_flow_run(run_id, stream_tasks=True, client=world.client)


def watch_many(world: World, run_id: str) -> Any:
    """Watch many runs, of which there is one."""
    return watch_flow_runs([run_id], stream_tasks=True, client=world.client)


@pytest.fixture(params=[watch_one, watch_many], ids=["one run", "many runs"])
def watch(request: pytest.FixtureRequest) -> Watch:
    """Return the function that watches a run."""
    function: Watch = request.param
    return function


# -- one session, and the whole history -----------------------------------------------------------


def test_subscribers_that_join_at_any_time_get_all_events_once(watch: Watch, world: World) -> None:
    """Before the start, in the middle and after the end: the same events in the same order."""
    run_id = add_live_run(world)
    alone = world.subscribe(watch(world, run_id))
    stream = watch(world, run_id).shared()
    recordings = [world.subscribe(stream, at=second) for second in (0, 0, 21, 33, 51, HOUR / 2)]
    world.run(until=HOUR)
    assert identities(recordings[0].values) == identities(alone.values)
    assert len(alone.values) > 10
    for recording in recordings:
        assert recording.completed
        assert recording.values == recordings[0].values
    assert world.close_counts() == [1, 1]
    assert [at for at, _ in recordings[0].events] == [at for at, _ in recordings[1].events]
    assert recordings[2].events[0][0] == 21  # the history comes at once


@each_face
def test_each_face_reads_the_same_session(face: str, watch: Watch, world: World) -> None:
    """Also while it runs: each face has the events of all others, with no request of its own."""
    run_id = add_past_run(world)
    expected = identities(world.watch(watch(world, run_id)).values)
    stream = watch(world, run_id).shared()
    first = FACES[face](stream, world)
    requests = len(world.server.requests)
    again = FACES["for"](stream, world)
    assert identities(again) == expected
    assert first == (again[-1:] if face == "await" else again)
    assert len(world.server.requests) == requests
    assert world.close_counts() == [1, 1]
    assert "shared" in repr(stream)


def test_parts_views_and_pages_read_the_same_session(watch: Watch, world: World) -> None:
    """They are selected from its events, and what it does not read is refused."""
    run_id = add_past_run(world)
    stream = watch(world, run_id).shared()
    events = list(stream)
    for part in (stream.states, stream.logs, stream.tasks, stream.notices):
        found = list(part)
        assert found
        assert found == [event for event in events if type(event) in set(map(type, found))]
    assert [event for page in stream.pages() for event in page] == events
    views = list(stream.views())
    assert world.close_counts() == [1]
    assert views[-1] == list(watch(world, run_id).views())[-1]
    without_logs = watch_flow_run(run_id, stream_logs=False, client=world.client).shared()
    with pytest.raises(ValueError, match=r"has no logs, .* pass stream_logs=True"):
        list(without_logs.logs)


def test_one_run_of_a_shared_watch(world: World) -> None:
    """The stream of one run, by its id or by the runs, reads the shared session."""
    runs = [add_past_run(world, lines=3), add_past_run(world, lines=3)]
    stream = watch_flow_runs(runs, client=world.client).shared()
    events = list(stream)
    own = [event for event in events if event.flow_run_id == runs[0]]
    assert list(stream.for_run(runs[0])) == own
    by_run = {run.flow_run_id: list(run) for run in stream.by_run()}
    assert by_run[runs[0]] == own
    assert set(by_run) == set(runs)
    assert world.close_counts() == [1]


def test_the_last_that_leaves_stops_the_session(watch: Watch, world: World) -> None:
    """Then no request is sent, and the next subscriber starts a session from the beginning."""
    stream = watch(world, add_live_run(world)).shared()
    first, second = world.subscribe(stream), world.subscribe(stream, at=15)
    world.run(until=20)
    first.dispose()
    world.run(until=22)
    assert [channel.close_count for channel in world.channels] == [0]
    second.dispose()
    assert world.close_counts() == [1]
    requests = len(world.server.requests)
    world.run(until=40)
    assert len(world.server.requests) == requests
    again = world.watch(stream)
    assert again.completed
    assert isinstance(again.values[0], RunSeen)
    assert world.close_counts() == [1, 1]


def test_after_an_error_a_new_session_starts(world: World) -> None:
    """All subscribers get the error; the next one does not, if its cause is gone."""
    stream = watch_one(world, add_past_run(world)).shared()
    world.server.intercept = lambda _: httpx.Response(401)
    recordings = [world.subscribe(stream), world.subscribe(stream)]
    world.run(until=world.seconds + HOUR)
    assert [type(recording.error) for recording in recordings] == [AuthError, AuthError]
    world.server.intercept = None
    assert world.watch(stream).completed
    assert world.close_counts() == [1, 1]


# -- no subscriber holds up another ---------------------------------------------------------------


def stall_in_on_next(stream: Stream[FlowRunEvent]) -> Iterator[list[FlowRunEvent]]:
    """Subscribe, block within the first event until resumed, then yield all."""
    entered, resume = threading.Event(), threading.Event()

    def stall(_: object) -> None:
        if not entered.is_set():
            entered.set()
            assert resume.wait(TEST_TIMEOUT)

    recording: Recording[FlowRunEvent] = Recording()
    recording.subscribe_to(stream.pipe(ops.do_action(stall)))
    assert entered.wait(TEST_TIMEOUT)
    yield []
    resume.set()
    recording.wait()
    yield recording.values


def stall_in_loop(stream: Stream[FlowRunEvent]) -> Iterator[list[FlowRunEvent]]:
    """Iterate, stop after the first event until resumed, then yield all."""
    events = iter(stream)
    first = next(events)
    yield []
    yield [first, *events]


def stall_in_async_loop(stream: Stream[FlowRunEvent]) -> Iterator[list[FlowRunEvent]]:
    """Iterate on an event loop that does not run until resumed, then yield all."""
    with asyncio.Runner() as runner:
        events = aiter(stream)

        async def read_first() -> FlowRunEvent:
            return await anext(events)

        async def read_rest() -> list[FlowRunEvent]:
            return [event async for event in events]

        first = runner.run(read_first())
        yield []
        yield [first, *runner.run(read_rest())]


STALLS = {"subscribe": stall_in_on_next, "for": stall_in_loop, "async for": stall_in_async_loop}


@pytest.mark.parametrize("face", STALLS)
def test_a_stalled_subscriber_holds_up_no_other(face: str, watch: Watch, world: World) -> None:
    """The others read to the end meanwhile; then the stalled one gets all that it has missed."""
    stream = watch(world, add_past_run(world)).shared()
    stalled = STALLS[face](stream)
    next(stalled)
    events = list(stream)
    assert isinstance(events[-1], Closed | rxflow.AllClosed)
    assert next(stalled) == events
    assert world.close_counts() == [1]


@pytest.mark.parametrize("raises_in", ["N", "C"])
def test_a_raising_observer_ends_only_its_own_subscription(
    raises_in: str, watch: Watch, world: World, reported: list[BaseException | None]
) -> None:
    """In an item or at the end; the session and the others go on."""
    stream = watch(world, add_past_run(world)).shared()
    with world.server.hold():
        raising, other = GrammarRecording(raises_in), GrammarRecording()
        raising.subscribe_to(stream)
        other.subscribe_to(stream)
    other.wait()
    raising.wait()
    join_runtime_threads()
    assert other.calls.endswith("NC")
    assert other.error is None
    assert raising.calls == ("NE" if raises_in == "N" else other.calls)
    assert [type(error) for error in reported] == ([] if raises_in == "N" else [ObserverError])
    assert world.close_counts() == [1]


def test_a_frozen_server_holds_up_no_history(world: World) -> None:
    """While a request gets no reply, a subscriber that joins gets what was emitted, and may go."""
    run_id = world.server.add_run(state="RUNNING")
    world.server.log(run_id, "line")
    stream = watch_one(world, run_id).shared()
    first = iter(stream)
    seen = [next(first) for _ in range(3)]
    with world.server.hold() as hold:
        hold.until_reached()
        later = iter(stream)
        assert [next(later) for _ in range(3)] == seen
        later.close()
        assert (hold.came, hold.left) == (1, 0)
    assert [type(event) for event in seen] == [RunSeen, rxflow.StateChange, FlowRunLog]
    first.close()
    assert world.close_counts() == [1]


def test_two_hundred_subscribers_and_their_threads(watch: Watch, world: World) -> None:
    """All get all events; the threads are bounded by the number of observers, and none is left."""
    count = 200
    stream = watch(world, add_past_run(world)).shared()
    recordings: list[Recording[Any]] = [Recording() for _ in range(count)]
    most = 0

    def count_threads(_: object) -> None:
        nonlocal most
        running = [each for each in threading.enumerate() if each.name in NAMES]
        most = max(most, len(running))

    with world.server.hold():
        for recording in recordings:
            recording.subscribe_to(stream)
        watching: Recording[Any] = Recording()
        watching.subscribe_to(stream.pipe(ops.do_action(count_threads)))
    for recording in (*recordings, watching):
        recording.wait()
        assert recording.values == recordings[0].values
    # One for each subscription; one that has just done its work may not be taken for idle yet.
    assert 0 < most <= 2 * count
    join_runtime_threads()
    assert world.close_counts() == [1]


def test_subscribers_join_and_leave_in_many_threads(world: World) -> None:
    """While the run goes on: each has the first events, as many as it takes, of one session."""
    server, run_id = world.server, world.server.add_run(state="RUNNING")
    for number in range(LINES):
        server.log(run_id, f"line {number}")
    stream = watch_flow_run(run_id, drain=0, client=world.client).shared()
    whole: Recording[FlowRunEvent] = Recording()
    whole.subscribe_to(stream)
    taken: list[list[FlowRunEvent]] = []

    def join_and_leave(seed: int) -> None:
        random = Random(seed)
        for number in range(10):
            server.log(run_id, f"line {number} of thread {seed}")
            count = random.randrange(1, LINES)
            if random.random() < 0.5:
                taken.append(list(stream.take(count)))
                continue
            recording: Recording[FlowRunEvent] = Recording()
            recording.subscribe_to(stream.take(count))
            recording.wait()
            taken.append(recording.values)

    threads = [threading.Thread(target=join_and_leave, args=(seed,)) for seed in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TEST_TIMEOUT)
    server.set_state(run_id, "COMPLETED")
    whole.wait()
    assert len(taken) == 120
    for events in taken:
        assert events == whole.values[: len(events)]
    lines = [event.id for event in whole.values if isinstance(event, FlowRunLog)]
    assert len(lines) == len(set(lines)) == LINES + 120
    assert world.close_counts() == [1]


# -- schedulers -----------------------------------------------------------------------------------


def test_subscribers_have_their_own_schedulers(world: World) -> None:
    """On an event loop its thread makes all calls, in a loop the caller's, else a worker."""
    stream = watch_one(world, add_past_run(world)).shared()
    threads: dict[str, set[str]] = {name: set() for name in ("asyncio", "for", "subscribe")}

    def recorded(face: str) -> Stream[FlowRunEvent]:
        def record(_: object) -> None:
            threads[face].add(threading.current_thread().name)

        recorded_stream: Stream[FlowRunEvent] = stream.do_action(record)
        return recorded_stream

    async def subscribe_on_loop() -> None:
        over = asyncio.Event()
        scheduler = AsyncIOScheduler(asyncio.get_running_loop())
        recorded("asyncio").pipe(ops.finally_action(over.set)).subscribe(scheduler=scheduler)
        async with asyncio.timeout(TEST_TIMEOUT):
            await over.wait()

    recording: Recording[Any] = Recording()
    recording.subscribe_to(recorded("subscribe"))
    loop = threading.Thread(target=asyncio.run, args=(subscribe_on_loop(),), name="the loop")
    loop.start()
    assert list(recorded("for"))
    loop.join(TEST_TIMEOUT)
    recording.wait()
    assert threads == {
        "asyncio": {"the loop"},
        "for": {threading.current_thread().name},
        "subscribe": {"rxflow-worker"},
    }
    assert world.close_counts() == [1]


def test_a_session_on_an_event_loop_needs_no_thread(started: list[str], world: World) -> None:
    """With a scheduler of its own the session runs there."""
    run_id = add_past_run(world)

    async def collect(stream: Stream[FlowRunEvent]) -> list[FlowRunEvent]:
        async with aclosing(aiter(stream)) as events:
            return [event async for event in events]

    async def main() -> list[list[FlowRunEvent]]:
        scheduler: abc.SchedulerBase = AsyncIOScheduler(asyncio.get_running_loop())
        stream = watch_one(world, run_id).shared(scheduler)
        return await asyncio.gather(*(collect(stream) for _ in range(3)))

    first, *others = asyncio.run(main())
    assert sum(isinstance(event, FlowRunLog) for event in first) > 200
    assert others == [first, first]
    assert started == []
    assert world.close_counts() == [1]
