"""The engine: when it asks and tells, on which thread, and that it ends once, whatever ends it."""

import asyncio
import threading
from collections.abc import Callable, Iterable
from itertools import pairwise
from random import Random
from typing import Any

import pytest
import reactivex as rx
from reactivex import Observable, abc
from reactivex import operators as ops
from reactivex.disposable import CompositeDisposable, Disposable
from reactivex.scheduler import EventLoopScheduler, ThreadPoolScheduler
from reactivex.scheduler.eventloop import AsyncIOScheduler
from reactivex.scheduler.periodicscheduler import PeriodicScheduler
from virtual_world import TEST_TIMEOUT, Recording, World, identities

import rxflow
from rxflow import FlowRunEvent, Notice, NoticeCode, RunNotFound
from rxflow._models.times import Now
from rxflow._protocol.failures import Failure, FailureKind, Reply
from rxflow._protocol.queries import Query
from rxflow._runtime.engine import Engine, EventPage
from rxflow._runtime.fetch_workers import FETCH_WORKERS, fetch_workers
from rxflow._runtime.poll_scheduler import PollScheduler, default_scheduler
from rxflow._runtime.query_channels import AsyncQueryChannel, QueryChannel
from rxflow._watching.event_order import EventPages
from rxflow._watching.session import Command, Session, Wait
from rxflow._watching.watch_spec import EventSource, WatchSpec
from rxflow.watch import _events_of

SOURCES = frozenset({EventSource.STATES, EventSource.LOGS, EventSource.NOTICES})

LOST = Failure(kind=FailureKind.NETWORK, text="the connection broke")
GONE = "00000000-0000-4000-8000-000000000000"


class Held:
    """A channel whose answers are held back until they are let go, or it is closed.

    Attributes:
        asked: Set when the first question has come.
        questions: How many have come.
        release: Set it to have answers come.
        closed: How often it was closed.
    """

    def __init__(self, channel: QueryChannel) -> None:
        self._channel = channel
        self.query_sent = threading.Event()
        self.release = threading.Event()
        self.query_count = 0
        self.close_count = 0
        self.thread: threading.Thread | None = None

    def send(self, query: Query) -> Reply:
        """Hold the answer back."""
        self.query_count += 1
        self.thread = threading.current_thread()
        self.query_sent.set()
        assert self.release.wait(TEST_TIMEOUT)
        return LOST if self.close_count else self._channel.send(query)

    def close(self) -> None:
        """Break off."""
        self.close_count += 1
        self.release.set()
        self._channel.close()


class HeldOnLoop:
    """A channel of an event loop that never answers.

    Attributes:
        asked: Set when a question has come.
        cancelled_count: How many questions were cancelled.
        closed: How often it was closed.
        gone: Set when it is closed.
    """

    def __init__(self) -> None:
        self.query_sent = asyncio.Event()
        self.was_closed = asyncio.Event()
        self.cancelled_count = 0
        self.close_count = 0

    async def send(self, query: Query) -> Reply:
        """Hold the answer back."""
        self.query_sent.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.cancelled_count += 1
        raise AssertionError(query)

    async def aclose(self) -> None:
        """Count."""
        self.close_count += 1
        self.was_closed.set()


class Gives:
    """Opens the channel that it was given, if it is for those who ask."""

    def __init__(self, channel: QueryChannel | AsyncQueryChannel) -> None:
        self._channel: Any = channel

    def open_channel(self) -> QueryChannel:
        """Open it for threads."""
        assert hasattr(self._channel, "close")
        return self._channel  # type: ignore[no-any-return]

    def open_async_channel(self) -> AsyncQueryChannel:
        """Open it for an event loop."""
        assert hasattr(self._channel, "aclose")
        return self._channel  # type: ignore[no-any-return]


class Broken:
    """A channel with a defect: it raises."""

    close_count = 0

    def send(self, query: Query) -> Reply:
        """Raise."""
        raise ZeroDivisionError(type(query).__name__)

    def close(self) -> None:
        """Count."""
        self.close_count += 1


class Impatient(Session):
    """A session that calls an answer overdue after a twentieth of a second.

    Attributes:
        patient: Set it to have it wait as long as others from now on.
    """

    patient = False

    def due_in(self, now: Now) -> float | None:
        """As if 9.95 seconds more had passed."""
        return super().due_in(now if self.patient else Now(now.mono + 9.95, now.utc))


def session_of(run_id: str, sources: Iterable[EventSource] = SOURCES, **spec: Any) -> Session:
    """A session whose chance repeats itself."""
    return Session(WatchSpec(flow_run_id=run_id, sources=frozenset(sources), **spec), Random(0))


def told_by(
    session: Session | Callable[[], Session],
    channel: QueryChannel | AsyncQueryChannel,
    sources: Iterable[EventSource] = SOURCES,
) -> Observable[FlowRunEvent]:
    """The events of an engine that is made when somebody subscribes: its sources, merged."""

    def subscribe(
        observer: abc.ObserverBase[FlowRunEvent], scheduler: abc.SchedulerBase | None = None
    ) -> abc.DisposableBase:
        assert scheduler is not None
        made = session if isinstance(session, Session) else session()
        engine = Engine(made, Gives(channel), scheduler, frozenset(sources))
        pages = rx.merge(*(engine.source(source) for source in sources))
        return CompositeDisposable(
            Observable(_events_of(pages)).subscribe(observer, scheduler=scheduler),
            Disposable(engine.dispose),
        )

    return Observable(subscribe)


def closed(world: World) -> list[int]:
    """How often each channel was closed, once all of them are."""
    assert all(channel.was_closed.wait(TEST_TIMEOUT) for channel in world.channels)
    return [channel.close_count for channel in world.channels]


# -- sources ------------------------------------------------------------------------------------


def test_nothing_is_asked_before_all_sources_are_subscribed_to(world: World) -> None:
    """An engine stands still until the last of its sources has its observer."""
    run_id = world.add_finished_run()
    channel = world.client.open_channel()
    engine = Engine(session_of(run_id), Gives(channel), world.scheduler, SOURCES)
    for source in (EventSource.STATES, EventSource.LOGS):
        engine.source(source).subscribe(scheduler=world.scheduler)
    world.run(until=100)
    assert channel.queries == []
    engine.source(EventSource.NOTICES).subscribe(scheduler=world.scheduler)
    world.run(until=200)
    assert channel.queries
    assert channel.close_count == 1


def test_each_source_gets_its_own_pages(world: World) -> None:
    """Pages reach the observer of their source, whole and in order, and all observers complete."""
    run_id = world.add_finished_run(lines=4)
    sources = frozenset(EventSource)
    session = session_of(run_id, sources)
    engine = Engine(session, world.client, world.scheduler, sources)
    told: dict[EventSource, Recording[EventPage]] = {source: Recording() for source in sources}
    for source, recording in told.items():
        recording.subscribe_to(engine.source(source), world.scheduler)
    world.run(until=100)
    kinds = {
        source: [kind for page in recording.values for kind, _ in identities(page)]
        for source, recording in told.items()
    }
    assert kinds[EventSource.STATES] == ["state"] * 4
    assert kinds[EventSource.LOGS] == ["log"] * 4
    assert kinds[EventSource.TASKS] == []
    assert kinds[EventSource.NOTICES] == ["run-seen", "closed"]
    assert all(recording.completed for recording in told.values())


def test_an_error_is_told_once(world: World) -> None:
    """Of the observers of an engine's sources one is told the error, and no other anything."""
    session = session_of(GONE)
    engine = Engine(session, world.client, world.scheduler, SOURCES)
    told: list[Recording[EventPage]] = [Recording() for _ in SOURCES]
    for recording, source in zip(told, SOURCES, strict=True):
        recording.subscribe_to(engine.source(source), world.scheduler)
    world.run(until=100)
    assert [type(recording.error) for recording in told if recording.error] == [RunNotFound]
    assert not any(recording.completed for recording in told)


# -- time ---------------------------------------------------------------------------------------


def test_polls_happen_in_virtual_time(world: World) -> None:
    """In virtual time an hour of polls passes at once, at intervals of at most some 5 seconds."""
    run_id = world.server.add_run(state="RUNNING")
    asked: list[float] = []
    channel = world.client.open_channel()
    world.server.intercept = lambda _: asked.append(world.seconds)
    told = world.watch(told_by(session_of(run_id), channel))
    assert (told.completed, told.error) == (False, None)
    pauses = [b - a for a, b in pairwise(asked) if b > a]
    assert 0.4 < min(pauses) < max(pauses) < 6
    assert 3600 - asked[-1] < 6
    assert channel.close_count == 1


def test_a_wait_too_short_for_the_clock_is_no_standstill(world: World) -> None:
    """A session that waits for less than its clock can tell is asked again a moment later."""

    class Finest(Session):
        asked = 0

        def next_command(self, now: Now) -> Command:
            """Wait for a third of a microsecond."""
            self.asked += 1
            assert self.asked < 100, "time stands still"
            return super().next_command(now) if self.asked > 20 else Wait(3e-7)

    run_id = world.add_finished_run()
    session = Finest(WatchSpec(flow_run_id=run_id, sources=SOURCES), Random(0))
    told = world.watch(told_by(session, world.client.open_channel()))
    assert told.completed
    assert told.events[0][0] == pytest.approx(20e-6)


class AtOnce(PeriodicScheduler):
    """A scheduler that runs what is due before `schedule` returns, in whichever thread calls."""

    def schedule(self, action: Any, state: Any = None) -> abc.DisposableBase:
        """Run it."""
        return self.invoke_action(action, state)

    def schedule_relative(self, duetime: Any, action: Any, state: Any = None) -> abc.DisposableBase:
        """Run it, or have it run later."""
        if self.to_seconds(duetime) <= 0:
            return self.schedule(action, state)
        return default_scheduler.schedule_relative(duetime, action, state)

    def schedule_absolute(self, duetime: Any, action: Any, state: Any = None) -> abc.DisposableBase:
        """Run it, or have it run later."""
        return self.schedule_relative(self.to_datetime(duetime) - self.now, action, state)


class Dawdling(Session):
    """A session that waits a moment before each question."""

    waited = False

    def next_command(self, now: Now) -> Command:
        """Wait before each other command."""
        self.waited = not self.waited
        return Wait(0.001) if self.waited else super().next_command(now)


@pytest.mark.timeout(60)
def test_a_turn_may_come_at_once(world: World) -> None:
    """A turn that runs before it was even noted does not cancel the turn that it schedules."""
    run_id = world.add_finished_run()
    world.run(until=3600)
    session = Dawdling(WatchSpec(flow_run_id=run_id, sources=SOURCES), Random(0))
    told: Recording[FlowRunEvent] = Recording()
    told.subscribe_to(told_by(session, world.client.open_channel()), AtOnce())
    told.wait()
    assert told.completed
    assert closed(world) == [1]


def test_an_error_in_a_turn_that_comes_at_once_does_not_vanish(
    world: World, reported: list[BaseException | None]
) -> None:
    """On a scheduler that runs turns in the worker's thread, an unhandled error is reported too."""
    channel = Held(world.client.open_channel())
    told_by(session_of(GONE), channel).subscribe(scheduler=AtOnce())
    channel.release.set()
    assert closed(world) == [1]
    assert channel.thread is not None
    channel.thread.join(TEST_TIMEOUT)
    assert [type(error) for error in reported] == [RunNotFound]


@pytest.mark.timeout(60)
def test_one_thread_of_a_pool_is_enough(world: World) -> None:
    """On a pool of one thread no turn waits for a timer, so that no answer seems overdue."""
    run_id = world.add_finished_run(lines=500)
    world.run(until=3600)
    pool = ThreadPoolScheduler(1)
    told: Recording[FlowRunEvent] = Recording()
    told.subscribe_to(told_by(session_of(run_id), world.client.open_channel()), pool)
    told.wait()
    pool.executor.shutdown()
    assert told.completed
    assert not [event for event in told.values if isinstance(event, Notice)]


# -- a question under way -----------------------------------------------------------------------


def test_dispose_breaks_off_a_question(world: World) -> None:
    """Disposing from another thread ends a blocked worker, and nothing is told any more."""
    run_id = world.add_finished_run()
    channel = Held(world.client.open_channel())
    told: Recording[FlowRunEvent] = Recording()
    told.subscribe_to(told_by(session_of(run_id), channel), PollScheduler())
    assert channel.query_sent.wait(TEST_TIMEOUT)
    told.dispose()
    assert channel.thread is not None
    channel.thread.join(TEST_TIMEOUT)
    assert not channel.thread.is_alive()
    assert (told.events, told.completed, told.error) == ([], False, None)
    assert (channel.query_count, channel.close_count) == (1, 1)


def test_a_question_that_waits_for_a_worker_is_dropped(world: World) -> None:
    """Of a watch that is disposed of before a worker was free nothing is ever asked."""
    run_id = world.add_finished_run()
    blocking = [Held(world.client.open_channel()) for _ in range(FETCH_WORKERS)]
    scheduler = PollScheduler()
    subscriptions = [
        told_by(session_of(run_id), channel).subscribe(scheduler=scheduler) for channel in blocking
    ]
    for channel in blocking:
        assert channel.query_sent.wait(TEST_TIMEOUT)
    last = Held(world.client.open_channel())
    queued = told_by(session_of(run_id), last).subscribe(scheduler=scheduler)
    submitted = threading.Event()
    scheduler.schedule(lambda *_: scheduler.schedule(lambda *_: submitted.set()))
    assert submitted.wait(TEST_TIMEOUT)
    queued.dispose()
    behind = threading.Event()
    fetch_workers.submit(behind.set)
    for subscription in subscriptions:
        subscription.dispose()
    assert behind.wait(TEST_TIMEOUT)
    assert (last.query_count, last.close_count) == (0, 1)
    assert [channel.query_count for channel in blocking] == [1] * FETCH_WORKERS


def test_an_overdue_answer_is_noticed_while_it_is_waited_for(world: World) -> None:
    """A notice says that an answer is overdue while the question is still open."""
    run_id = world.add_finished_run()
    channel = Held(world.client.open_channel())
    told: Recording[FlowRunEvent] = Recording()
    noticed = threading.Event()
    session = Impatient(WatchSpec(flow_run_id=run_id, sources=SOURCES), Random(0))
    watched = told_by(session, channel).pipe(
        ops.do_action(lambda event: noticed.set() if isinstance(event, Notice) else None)
    )
    told.subscribe_to(watched, PollScheduler())
    assert noticed.wait(TEST_TIMEOUT)
    assert identities(told.values) == [("notice", "degraded")]
    assert channel.query_count == 1
    told.dispose()


def test_the_end_of_an_outage_is_noticed(world: World) -> None:
    """After an overdue answer that failed, the next good one is told to have ended the trouble."""

    class Faltering(Held):
        def send(self, query: Query) -> Reply:
            """Fail at first."""
            answer = super().send(query)
            return LOST if self.query_count == 1 else answer

    run_id = world.add_finished_run()
    world.run(until=3600)
    channel = Faltering(world.client.open_channel())
    session = Impatient(WatchSpec(flow_run_id=run_id, sources=SOURCES), Random(0))

    def release(event: FlowRunEvent) -> None:
        if isinstance(event, Notice):
            session.patient = True
            channel.release.set()

    told: Recording[FlowRunEvent] = Recording()
    told.subscribe_to(told_by(session, channel).pipe(ops.do_action(release)), PollScheduler())
    told.wait()
    notices = [event.code for event in told.values if isinstance(event, Notice)]
    assert notices == ["degraded", "recovered"]
    assert told.completed


def test_a_loop_that_was_closed_ends_its_watch(
    world: World, reported: list[BaseException | None]
) -> None:
    """A loop that is closed breaks off what was asked on it, and the connection, without uproar."""
    run_id = world.add_finished_run()
    channel = HeldOnLoop()

    async def leave() -> None:
        watched = told_by(session_of(run_id), channel)
        watched.subscribe(scheduler=AsyncIOScheduler(asyncio.get_running_loop()))
        await asyncio.wait_for(channel.query_sent.wait(), TEST_TIMEOUT)

    asyncio.run(leave())
    assert (channel.cancelled_count, channel.close_count, reported) == (1, 1, [])


def test_disposing_breaks_off_a_request_on_a_loop(world: World) -> None:
    """A dispose breaks off what a watch asks on an event loop, from whichever thread it comes."""
    run_id = world.add_finished_run()

    async def leave(*, aside: bool) -> HeldOnLoop:
        channel = HeldOnLoop()
        scheduler = AsyncIOScheduler(asyncio.get_running_loop())
        subscription = told_by(session_of(run_id), channel).subscribe(scheduler=scheduler)
        await asyncio.wait_for(channel.query_sent.wait(), TEST_TIMEOUT)
        if aside:
            await asyncio.to_thread(subscription.dispose)
        else:
            subscription.dispose()
        await asyncio.wait_for(channel.was_closed.wait(), TEST_TIMEOUT)
        return channel

    for aside in (False, True):
        channel = asyncio.run(leave(aside=aside))
        assert (channel.cancelled_count, channel.close_count) == (1, 1)


def test_a_defect_of_a_channel_on_a_loop_is_an_error(world: World) -> None:
    """What a channel raises on an event loop is told as the stream's error."""

    class Defective(HeldOnLoop):
        async def send(self, query: Query) -> Reply:
            """Raise."""
            raise ZeroDivisionError(type(query).__name__)

    channel = Defective()

    async def watch() -> None:
        await rxflow.Stream.of(told_by(session_of(world.add_finished_run()), channel))

    with pytest.raises(ZeroDivisionError, match="ServerQuery"):
        asyncio.run(watch())
    assert channel.close_count == 1


def test_a_scheduler_that_was_disposed_of_ends_its_watch(
    world: World, reported: list[BaseException | None]
) -> None:
    """An answer for a scheduler that was disposed of meanwhile ends the watch."""
    run_id = world.add_finished_run()
    channel = Held(world.client.open_channel())
    scheduler = EventLoopScheduler()
    told_by(session_of(run_id), channel).subscribe(scheduler=scheduler)
    assert channel.query_sent.wait(TEST_TIMEOUT)
    scheduler.dispose()
    channel.release.set()
    assert channel.thread is not None
    channel.thread.join(TEST_TIMEOUT)
    assert (channel.query_count, channel.close_count, reported) == (1, 1, [])


# -- errors -------------------------------------------------------------------------------------


def test_a_channel_that_raises_is_an_error(world: World) -> None:
    """A defect of the channel reaches the observer, inline and from a worker alike."""
    run_id = world.add_finished_run()
    inline, threaded = Broken(), Broken()
    told = world.watch(told_by(session_of(run_id), inline))
    assert isinstance(told.error, ZeroDivisionError)
    told = Recording()
    told.subscribe_to(told_by(session_of(run_id), threaded), PollScheduler())
    told.wait()
    assert isinstance(told.error, ZeroDivisionError)
    assert (inline.close_count, threaded.close_count) == (1, 1)


class Failing(Recording[FlowRunEvent]):
    """An observer that raises in its first event."""

    error_raised = ValueError("the observer's own")
    errors = 0

    def on_next(self, value: FlowRunEvent) -> None:
        """Raise."""
        super().on_next(value)
        raise self.error_raised

    def on_error(self, error: Exception) -> None:
        """Count."""
        self.errors += 1
        super().on_error(error)


def test_an_observer_that_raises_is_told_so_once(world: World) -> None:
    """What an observer raises comes back to it as the stream's error, once, and polling stops."""
    run_id = world.server.add_run(state="RUNNING")
    told = Failing()
    told.subscribe_to(told_by(session_of(run_id), world.client.open_channel()), world.scheduler)
    world.run(until=3600)
    assert (told.error, told.errors, len(told.events)) == (Failing.error_raised, 1, 1)
    assert closed(world) == [1]
    assert len(world.server.requests) < 6


def test_other_watches_go_on_when_an_observer_raises(world: World) -> None:
    """Other watches on the scheduler of an observer that raised run to their end."""
    run_id = world.add_finished_run()
    world.run(until=3600)
    scheduler = PollScheduler()
    failing = Failing()
    good: list[Recording[FlowRunEvent]] = [Recording(), Recording()]
    for told in (good[0], failing, good[1]):
        told.subscribe_to(told_by(session_of(run_id), world.client.open_channel()), scheduler)
    for told in (failing, *good):
        told.wait()
    assert failing.error is Failing.error_raised
    assert all(told.completed for told in good)
    assert closed(world) == [1, 1, 1]


def fail(*_: object) -> None:
    """Raise."""
    raise ValueError("the handler's own")


@pytest.mark.parametrize(
    ("gone", "given", "raised"),
    [
        (True, {}, RunNotFound),
        (True, {"on_error": fail}, ValueError),
        (False, {"on_next": fail}, ValueError),
        (False, {"on_next": fail, "on_error": fail}, ValueError),
        (False, {"on_completed": fail}, ValueError),
        (False, {"on_completed": fail, "on_error": fail}, ValueError),
    ],
    ids=["no handler", "on_error", "on_next", "on_next, on_error", "on_completed", "all"],
)
def test_no_error_vanishes(
    gone: bool,
    given: dict[str, Any],
    raised: type[Exception],
    world: World,
    reported: list[BaseException | None],
) -> None:
    """An error that no handler takes is reported, once, and the scheduler goes on."""
    run_id = GONE if gone else world.add_finished_run()
    world.run(until=3600)
    scheduler = PollScheduler()
    watched = told_by(session_of(run_id), world.client.open_channel())
    watched.subscribe(**given, scheduler=scheduler)
    assert closed(world) == [1]
    assert scheduler.join(TEST_TIMEOUT)
    assert [type(error) for error in reported] == [raised]
    ran = threading.Event()
    scheduler.schedule(lambda *_: ran.set())
    assert ran.wait(TEST_TIMEOUT)


def test_an_observer_that_exits_ends_its_watch(
    world: World, reported: list[BaseException | None]
) -> None:
    """`SystemExit` from an observer ends the watch, and the thread goes on for the others."""
    run_id = world.add_finished_run()

    def leave(_: object) -> None:
        raise SystemExit(3)

    scheduler = PollScheduler()
    watched = told_by(session_of(run_id), world.client.open_channel())
    watched.subscribe(leave, scheduler=scheduler)
    assert closed(world) == [1]
    assert scheduler.join(TEST_TIMEOUT)
    assert [type(error) for error in reported] == [SystemExit]


# -- the end, once ------------------------------------------------------------------------------


class Leaving(Recording[FlowRunEvent]):
    """An observer that disposes of its own subscription, more than once, in one of its calls."""

    def __init__(self, within: str) -> None:
        super().__init__()
        self.within = within

    def leave(self, call: str) -> None:
        """Dispose twice, if this is the call to do so in."""
        if call == self.within:
            self.dispose()
            self.dispose()

    def on_next(self, value: FlowRunEvent) -> None:
        """Keep the event, and leave."""
        super().on_next(value)
        self.leave("on_next")

    def on_error(self, error: Exception) -> None:
        """Leave, and keep the error."""
        self.leave("on_error")
        super().on_error(error)

    def on_completed(self) -> None:
        """Leave, and keep that it completed."""
        self.leave("on_completed")
        super().on_completed()


@pytest.mark.parametrize("threaded", [False, True], ids=["virtual", "threaded"])
@pytest.mark.parametrize("ends", ["on_next", "on_error", "on_completed", "never"])
def test_the_channel_is_closed_once(ends: str, threaded: bool, world: World) -> None:
    """However a watch ends, and however often it is disposed of, its channel is closed once."""
    run_id = GONE if ends == "on_error" else world.add_finished_run()
    world.run(until=3600)
    told = Leaving(ends)
    scheduler = PollScheduler()
    watched = told_by(session_of(run_id), world.client.open_channel())
    told.subscribe_to(watched, scheduler if threaded else world.scheduler)
    if not threaded:
        world.run(until=7200)
    assert closed(world) == [1]
    assert scheduler.join(TEST_TIMEOUT)
    told.dispose()
    told.dispose()
    assert closed(world) == [1]
    assert (len(told.events) == 1) is (ends == "on_next")
    assert told.completed is (ends in {"on_completed", "never"})
    assert (told.error is None) is (ends != "on_error")


def test_many_may_dispose_at_once(world: World) -> None:
    """Of many threads that dispose of an engine at the same time one closes the channel."""
    run_id = world.server.add_run()
    channel = world.client.open_channel()
    engine = Engine(session_of(run_id), Gives(channel), world.scheduler, SOURCES)
    for source in SOURCES:
        engine.source(source).subscribe(scheduler=world.scheduler)
    world.run(until=1)
    start = threading.Barrier(8)

    def dispose() -> None:
        start.wait(TEST_TIMEOUT)
        engine.dispose()

    threads = [threading.Thread(target=dispose) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TEST_TIMEOUT)
    assert channel.close_count == 1


def test_taking_two_asks_no_more_than_two_take(world: World) -> None:
    """Whoever has taken two events stops the asking: what follows would have been asked after."""
    run_id = world.server.add_run(state="RUNNING")
    for seconds in (10, 20, 30):
        world.at(seconds, lambda: world.server.log(run_id))
    told = world.watch(told_by(session_of(run_id), world.client.open_channel()).pipe(ops.take(3)))
    assert told.completed
    assert 10 < told.events[-1][0] < 20
    assert told.ended == told.events[-1][0]
    requests = len(world.server.requests)
    world.run(until=7200)
    assert len(world.server.requests) == requests
    assert closed(world) == [1]


def test_a_page_that_ends_the_interest_is_the_last(world: World) -> None:
    """After a dispose within a batch of pages the others are not told, and nothing is asked."""
    run_id = world.add_finished_run()

    class Twice(Session):
        commands = 0

        def next_command(self, now: Now) -> Command:
            """Count."""
            self.commands += 1
            return super().next_command(now)

    session = Twice(WatchSpec(flow_run_id=run_id, sources=SOURCES), Random(0))
    channel = world.client.open_channel()
    engine = Engine(session, Gives(channel), world.scheduler, SOURCES)
    pages: list[EventSource] = []

    def observe(source: EventSource) -> abc.DisposableBase:
        def on_next(_: EventPage) -> None:
            pages.append(source)
            engine.dispose()

        return engine.source(source).subscribe(on_next, scheduler=world.scheduler)

    for source in SOURCES:
        observe(source)
    world.run(until=100)
    assert pages == [EventSource.NOTICES]
    assert session.commands == len(channel.queries)


@pytest.mark.parametrize("gone", [False, True], ids=["completed", "failed"])
def test_all_is_closed_when_the_end_is_told(gone: bool, world: World) -> None:
    """When the observer hears of the end, be it good or bad, the channel is closed already."""
    watched = told_by(
        session_of(GONE if gone else world.add_finished_run()), world.client.open_channel()
    )
    seen: list[int] = []

    def end(*_: object) -> None:
        seen.append(world.channels[0].close_count)

    watched.subscribe(on_error=end, on_completed=end, scheduler=world.scheduler)
    world.run(until=100)
    assert seen == [1]


def test_a_turn_to_come_is_given_up() -> None:
    """Disposing of a watch that waits leaves nothing on the agenda of its scheduler."""

    class Sleeping(Session):
        def next_command(self, now: Now) -> Command:
            """Wait for a day."""
            super().next_command(now)
            waits.set()
            return Wait(86_400.0)

    waits = threading.Event()
    world, scheduler = World(), PollScheduler()
    session = Sleeping(WatchSpec(flow_run_id=GONE, sources=SOURCES), Random(0))
    watched = told_by(session, world.client.open_channel())
    subscription = watched.subscribe(scheduler=scheduler)
    assert waits.wait(TEST_TIMEOUT)
    subscription.dispose()
    assert scheduler.join(TEST_TIMEOUT)


def test_an_alarm_to_come_is_given_up(world: World) -> None:
    """Disposing of a watch that waits for an answer leaves no timer for its being overdue."""
    channel = Held(world.client.open_channel())
    subscription = told_by(session_of(GONE), channel).subscribe(scheduler=PollScheduler())
    assert channel.query_sent.wait(TEST_TIMEOUT)
    with default_scheduler._changed:
        assert default_scheduler._next_due() is not None
    subscription.dispose()
    with default_scheduler._changed:
        assert default_scheduler._next_due() is None


def test_a_subscription_disposed_of_before_its_turn_asks_nothing(world: World) -> None:
    """A watch that is left before time went on has asked nothing, and has opened no channel."""
    run_id = world.server.add_run()
    stream = rxflow.watch_flow_run(run_id, client=world.client)
    stream.subscribe(scheduler=world.scheduler).dispose()
    world.run(until=100)
    assert world.server.requests == []
    assert world.channels == []


def test_what_a_session_says_last_is_told_before_the_end(world: World) -> None:
    """What is overdue is told first, then the command is carried out: nothing is passed over."""
    notice = Notice(
        flow_run_id=GONE, code=NoticeCode.DEGRADED, message="late", timestamp=world.scheduler.now
    )
    script: list[str] = []

    class Scripted(Session):
        def wake(self, now: Now) -> EventPages:
            """Once something, and then nothing."""
            script.append("overdue")
            return ((EventSource.NOTICES, (notice,)),) if len(script) == 1 else super().wake(now)

        def next_command(self, now: Now) -> Command:
            """As it is."""
            script.append("command")
            return super().next_command(now)

    session = Scripted(WatchSpec(flow_run_id=GONE, sources=SOURCES), Random(0))
    told = world.watch(told_by(session, world.client.open_channel()))
    assert told.values == [notice]
    assert isinstance(told.error, RunNotFound)
    assert script[:3] == ["overdue", "overdue", "command"]


def test_a_dispose_from_another_thread_waits_for_nobody(world: World) -> None:
    """Disposing while an observer is busy in another thread returns at once, and ends the watch."""
    run_id = world.add_finished_run()
    entered, leave = threading.Event(), threading.Event()
    told: list[FlowRunEvent] = []

    def on_next(event: FlowRunEvent) -> None:
        told.append(event)
        entered.set()
        assert leave.wait(TEST_TIMEOUT)

    scheduler = PollScheduler()
    watched = told_by(session_of(run_id), world.client.open_channel())
    subscription = watched.subscribe(on_next, scheduler=scheduler)
    assert entered.wait(TEST_TIMEOUT)
    subscription.dispose()
    assert closed(world) == [1]
    leave.set()
    assert scheduler.join(TEST_TIMEOUT)
    assert len(told) == 1
