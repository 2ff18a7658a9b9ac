"""The engine: its sources, its turns in time, its errors, and its single end."""

import threading
from itertools import pairwise
from random import Random
from typing import Any

import pytest
from engines import (
    SOURCES,
    HeldChannel,
    OpenerOf,
    RaisingChannel,
    events_of_engine,
    session_of,
    spec_of,
)
from reactivex import abc
from reactivex import operators as ops
from reactivex.scheduler.periodicscheduler import PeriodicScheduler
from virtual_world import MISSING_RUN, TEST_TIMEOUT, Recording, World, identities

import rxflow
from rxflow import FlowRunEvent, Notice, NoticeCode, RunNotFound
from rxflow._models.times import Now
from rxflow._runtime.engine import Engine
from rxflow._runtime.poll_scheduler import PollScheduler, default_scheduler
from rxflow._watching.event_order import EventPage, EventPages
from rxflow._watching.session import Command, Session, Wait
from rxflow._watching.watch_spec import EventSource


def opened(world: World) -> OpenerOf:
    """Open a channel at once, so that `close_counts` waits for it whichever thread uses it."""
    return OpenerOf(world.client.open_channel())


# -- sources ------------------------------------------------------------------------------------


def test_no_query_is_sent_before_all_sources_are_subscribed_to(world: World) -> None:
    """An engine starts when the last of its sources is subscribed to."""
    run_id = world.add_finished_run()
    channel = world.client.open_channel()
    engine = Engine(session_of(run_id), OpenerOf(channel), world.scheduler, SOURCES)
    for source in (EventSource.STATES, EventSource.LOGS):
        engine.source(source).subscribe(scheduler=world.scheduler)
    world.run(until=100)
    assert channel.queries == []
    engine.source(EventSource.NOTICES).subscribe(scheduler=world.scheduler)
    world.run(until=200)
    assert channel.queries
    assert channel.close_count == 1


def test_each_source_emits_its_own_pages(world: World) -> None:
    """The observer of a source gets that source's pages, in order, and every source completes."""
    run_id = world.add_finished_run(lines=4)
    sources = frozenset(EventSource)
    engine = Engine(session_of(run_id, sources), world.client, world.scheduler, sources)
    recordings: dict[EventSource, Recording[EventPage]] = {s: Recording() for s in sources}
    for source, recording in recordings.items():
        recording.subscribe_to(engine.source(source), world.scheduler)
    world.run(until=100)
    kinds = {
        source: [kind for page in recording.values for kind, _ in identities(page)]
        for source, recording in recordings.items()
    }
    assert kinds[EventSource.STATES] == ["state"] * 4
    assert kinds[EventSource.LOGS] == ["log"] * 4
    assert kinds[EventSource.TASKS] == []
    assert kinds[EventSource.NOTICES] == ["run-seen", "closed"]
    assert all(recording.completed for recording in recordings.values())


def test_one_source_emits_the_error(world: World) -> None:
    """An error is emitted by one source; the others emit nothing."""
    engine = Engine(session_of(MISSING_RUN), world.client, world.scheduler, SOURCES)
    recordings: list[Recording[EventPage]] = [Recording() for _ in SOURCES]
    for recording, source in zip(recordings, SOURCES, strict=True):
        recording.subscribe_to(engine.source(source), world.scheduler)
    world.run(until=100)
    errors = [type(recording.error) for recording in recordings if recording.error]
    assert errors == [RunNotFound]
    assert not any(recording.completed for recording in recordings)


# -- time ---------------------------------------------------------------------------------------


def test_polls_are_sent_in_virtual_time(world: World) -> None:
    """An hour of virtual time has polls at intervals of at most about 5 s."""
    run_id = world.server.add_run(state="RUNNING")
    requests: list[float] = []
    world.server.intercept = lambda _: requests.append(world.seconds)
    recording = world.watch(events_of_engine(session_of(run_id), opened(world)))
    assert (recording.completed, recording.error) == (False, None)
    pauses = [b - a for a, b in pairwise(requests) if b > a]
    assert 0.4 < min(pauses) < max(pauses) < 6
    assert 3600 - requests[-1] < 6
    assert world.close_counts() == [1]


def test_a_wait_shorter_than_the_clocks_step_passes(world: World) -> None:
    """A session that waits for less than a microsecond is called again a microsecond later."""

    class WaitsBriefly(Session):
        calls = 0

        def next_command(self, now: Now) -> Command:
            """Wait 20 times for a third of a microsecond."""
            self.calls += 1
            assert self.calls < 100, "time stands still"
            return super().next_command(now) if self.calls > 20 else Wait(3e-7)

    session = WaitsBriefly(spec_of(world.add_finished_run()), Random(0))
    recording = world.watch(events_of_engine(session, opened(world)))
    assert recording.completed
    assert recording.events[0][0] == pytest.approx(20e-6)


class RunsAtOnce(PeriodicScheduler):
    """A scheduler that runs due actions before `schedule` returns, in the caller's thread."""

    def schedule(self, action: Any, state: Any = None) -> abc.DisposableBase:
        """Run the action."""
        return self.invoke_action(action, state)

    def schedule_relative(self, duetime: Any, action: Any, state: Any = None) -> abc.DisposableBase:
        """Run the action now or, on the default scheduler, later."""
        if self.to_seconds(duetime) <= 0:
            return self.schedule(action, state)
        return default_scheduler.schedule_relative(duetime, action, state)

    def schedule_absolute(self, duetime: Any, action: Any, state: Any = None) -> abc.DisposableBase:
        """Run the action now or later."""
        return self.schedule_relative(self.to_datetime(duetime) - self.now, action, state)


class WaitsBeforeEachQuery(Session):
    """A session that waits a millisecond before each query."""

    waited = False

    def next_command(self, now: Now) -> Command:
        """Wait before every other command."""
        self.waited = not self.waited
        return Wait(0.001) if self.waited else super().next_command(now)


@pytest.mark.timeout(60)
def test_a_turn_that_runs_at_once_does_not_cancel_the_next(world: World) -> None:
    """A turn that runs before scheduling it has returned keeps the turn that it schedules."""
    run_id = world.add_finished_run()
    world.run(until=3600)
    session = WaitsBeforeEachQuery(spec_of(run_id), Random(0))
    recording: Recording[FlowRunEvent] = Recording()
    recording.subscribe_to(events_of_engine(session, opened(world)), RunsAtOnce())
    recording.wait()
    assert recording.completed
    assert world.close_counts() == [1]


def test_an_error_in_a_turn_that_runs_at_once_is_reported(
    world: World, reported: list[BaseException | None]
) -> None:
    """An error without a handler is reported also where turns run on a worker thread."""
    channel = HeldChannel(world.client.open_channel())
    events = events_of_engine(session_of(MISSING_RUN), OpenerOf(channel))
    events.subscribe(scheduler=RunsAtOnce())
    channel.release.set()
    assert world.close_counts() == [1]
    channel.join()
    assert [type(error) for error in reported] == [RunNotFound]


# -- errors -------------------------------------------------------------------------------------


def test_a_channel_that_raises_ends_the_watch(world: World) -> None:
    """A defect of the channel is the stream's error, inline and from a worker thread."""
    run_id = world.add_finished_run()
    inline, threaded = RaisingChannel(), RaisingChannel()
    recording = world.watch(events_of_engine(session_of(run_id), OpenerOf(inline)))
    assert isinstance(recording.error, ZeroDivisionError)
    recording = Recording()
    recording.subscribe_to(
        events_of_engine(session_of(run_id), OpenerOf(threaded)), PollScheduler()
    )
    recording.wait()
    assert isinstance(recording.error, ZeroDivisionError)
    assert (inline.close_count, threaded.close_count) == (1, 1)


class FailingRecording(Recording[FlowRunEvent]):
    """An observer that raises in its first event."""

    raised = ValueError("the observer's own")
    error_count = 0

    def on_next(self, value: FlowRunEvent) -> None:
        """Record the event and raise."""
        super().on_next(value)
        raise self.raised

    def on_error(self, error: Exception) -> None:
        """Count the call and record the error."""
        self.error_count += 1
        super().on_error(error)


def test_an_observer_that_raises_gets_its_error_once(world: World) -> None:
    """What an observer raises is passed to its `on_error` once, and the polling ends."""
    run_id = world.server.add_run(state="RUNNING")
    recording = FailingRecording()
    recording.subscribe_to(events_of_engine(session_of(run_id), opened(world)), world.scheduler)
    world.run(until=3600)
    assert (recording.error, recording.error_count) == (FailingRecording.raised, 1)
    assert len(recording.events) == 1
    assert world.close_counts() == [1]
    assert len(world.server.requests) < 6


def test_other_watches_continue_when_an_observer_raises(world: World) -> None:
    """Other watches on the scheduler of an observer that raised complete."""
    run_id = world.add_finished_run()
    world.run(until=3600)
    scheduler = PollScheduler()
    failing = FailingRecording()
    good: list[Recording[FlowRunEvent]] = [Recording(), Recording()]
    for recording in (good[0], failing, good[1]):
        recording.subscribe_to(events_of_engine(session_of(run_id), opened(world)), scheduler)
    for recording in (failing, *good):
        recording.wait()
    assert failing.error is FailingRecording.raised
    assert all(recording.completed for recording in good)
    assert world.close_counts() == [1, 1, 1]


def fail(*_: object) -> None:
    """Raise."""
    raise ValueError("the handler's own")


@pytest.mark.parametrize(
    ("missing", "handlers", "raised"),
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
def test_an_error_without_a_handler_is_reported(
    missing: bool,
    handlers: dict[str, Any],
    raised: type[Exception],
    world: World,
    reported: list[BaseException | None],
) -> None:
    """An error that no handler receives is reported once, and the scheduler continues."""
    run_id = MISSING_RUN if missing else world.add_finished_run()
    world.run(until=3600)
    scheduler = PollScheduler()
    events = events_of_engine(session_of(run_id), opened(world))
    events.subscribe(**handlers, scheduler=scheduler)
    assert world.close_counts() == [1]
    assert scheduler.join(TEST_TIMEOUT)
    assert [type(error) for error in reported] == [raised]
    ran = threading.Event()
    scheduler.schedule(lambda *_: ran.set())
    assert ran.wait(TEST_TIMEOUT)


def test_an_observer_that_raises_system_exit_ends_its_watch(
    world: World, reported: list[BaseException | None]
) -> None:
    """`SystemExit` from an observer ends its watch and is reported; the thread continues."""

    def leave(_: object) -> None:
        raise SystemExit(3)

    scheduler = PollScheduler()
    events = events_of_engine(session_of(world.add_finished_run()), opened(world))
    events.subscribe(leave, scheduler=scheduler)
    assert world.close_counts() == [1]
    assert scheduler.join(TEST_TIMEOUT)
    assert [type(error) for error in reported] == [SystemExit]


# -- the end ------------------------------------------------------------------------------------


class DisposingRecording(Recording[FlowRunEvent]):
    """An observer that disposes of its own subscription twice within one kind of call."""

    def __init__(self, within: str) -> None:
        super().__init__()
        self.within = within

    def dispose_within(self, call: str) -> None:
        """Dispose twice if this is the call to dispose within."""
        if call == self.within:
            self.dispose()
            self.dispose()

    def on_next(self, value: FlowRunEvent) -> None:
        """Record the event and may dispose."""
        super().on_next(value)
        self.dispose_within("on_next")

    def on_error(self, error: Exception) -> None:
        """May dispose and record the error."""
        self.dispose_within("on_error")
        super().on_error(error)

    def on_completed(self) -> None:
        """May dispose and record the completion."""
        self.dispose_within("on_completed")
        super().on_completed()


@pytest.mark.parametrize("threaded", [False, True], ids=["virtual", "threaded"])
@pytest.mark.parametrize("within", ["on_next", "on_error", "on_completed", "never"])
def test_the_channel_is_closed_once(within: str, threaded: bool, world: World) -> None:
    """The channel is closed once, however the watch ends and however often it is disposed of."""
    run_id = MISSING_RUN if within == "on_error" else world.add_finished_run()
    world.run(until=3600)
    recording = DisposingRecording(within)
    scheduler = PollScheduler()
    events = events_of_engine(session_of(run_id), opened(world))
    recording.subscribe_to(events, scheduler if threaded else world.scheduler)
    if not threaded:
        world.run(until=7200)
    assert world.close_counts() == [1]
    assert scheduler.join(TEST_TIMEOUT)
    recording.dispose()
    recording.dispose()
    assert world.close_counts() == [1]
    assert (len(recording.events) == 1) is (within == "on_next")
    assert recording.completed is (within in {"on_completed", "never"})
    assert (recording.error is None) is (within != "on_error")


def test_threads_that_dispose_at_once_close_the_channel_once(world: World) -> None:
    """When many threads dispose of an engine at the same time, one closes the channel."""
    channel = world.client.open_channel()
    session = session_of(world.server.add_run())
    engine = Engine(session, OpenerOf(channel), world.scheduler, SOURCES)
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


def test_take_ends_the_polling(world: World) -> None:
    """After `take` has its events no query is sent any more."""
    run_id = world.server.add_run(state="RUNNING")
    for seconds in (10, 20, 30):
        world.at(seconds, lambda: world.server.log(run_id))
    events = events_of_engine(session_of(run_id), opened(world))
    recording = world.watch(events.pipe(ops.take(3)))
    assert recording.completed
    assert 10 < recording.events[-1][0] < 20
    assert recording.ended == recording.events[-1][0]
    requests = len(world.server.requests)
    world.run(until=7200)
    assert len(world.server.requests) == requests
    assert world.close_counts() == [1]


def test_a_dispose_within_a_page_drops_the_pages_after_it(world: World) -> None:
    """After a dispose within a page the tick's other pages are dropped and no query is sent."""

    class CountsCommands(Session):
        commands = 0

        def next_command(self, now: Now) -> Command:
            """Count the call."""
            self.commands += 1
            return super().next_command(now)

    session = CountsCommands(spec_of(world.add_finished_run()), Random(0))
    channel = world.client.open_channel()
    engine = Engine(session, OpenerOf(channel), world.scheduler, SOURCES)
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


@pytest.mark.parametrize("missing", [False, True], ids=["completed", "failed"])
def test_the_channel_is_closed_before_the_end_is_emitted(missing: bool, world: World) -> None:
    """When `on_completed` or `on_error` is called the channel is already closed."""
    run_id = MISSING_RUN if missing else world.add_finished_run()
    events = events_of_engine(session_of(run_id), opened(world))
    counts: list[int] = []

    def end(*_: object) -> None:
        counts.append(world.channels[0].close_count)

    events.subscribe(on_error=end, on_completed=end, scheduler=world.scheduler)
    world.run(until=100)
    assert counts == [1]


def test_dispose_cancels_the_next_turn() -> None:
    """Disposing of a watch that waits leaves no timer on its scheduler."""

    class WaitsForADay(Session):
        def next_command(self, now: Now) -> Command:
            """Wait for a day."""
            super().next_command(now)
            waits.set()
            return Wait(86_400.0)

    waits = threading.Event()
    world, scheduler = World(), PollScheduler()
    session = WaitsForADay(spec_of(MISSING_RUN), Random(0))
    subscription = events_of_engine(session, opened(world)).subscribe(scheduler=scheduler)
    assert waits.wait(TEST_TIMEOUT)
    subscription.dispose()
    assert scheduler.join(TEST_TIMEOUT)


def test_a_subscription_disposed_of_before_its_first_turn_sends_nothing(world: World) -> None:
    """A watch that is disposed of before time passes opens no channel."""
    run_id = world.server.add_run()
    stream = rxflow.watch_flow_run(run_id, client=world.client)
    stream.subscribe(scheduler=world.scheduler).dispose()
    world.run(until=100)
    assert world.server.requests == []
    assert world.channels == []


def test_due_events_are_emitted_before_the_next_command(world: World) -> None:
    """Events that `wake` returns are emitted before the next command is carried out."""
    notice = Notice(
        flow_run_id=MISSING_RUN,
        code=NoticeCode.DEGRADED,
        message="late",
        timestamp=world.scheduler.now,
    )
    calls: list[str] = []

    class WakesOnce(Session):
        def wake(self, now: Now) -> EventPages:
            """Return a notice the first time."""
            calls.append("wake")
            return ((EventSource.NOTICES, (notice,)),) if len(calls) == 1 else super().wake(now)

        def next_command(self, now: Now) -> Command:
            """Record the call."""
            calls.append("next_command")
            return super().next_command(now)

    session = WakesOnce(spec_of(MISSING_RUN), Random(0))
    recording = world.watch(events_of_engine(session, opened(world)))
    assert recording.values == [notice]
    assert isinstance(recording.error, RunNotFound)
    assert calls[:3] == ["wake", "wake", "next_command"]


def test_dispose_does_not_wait_for_a_busy_observer(world: World) -> None:
    """Disposing while an observer is busy in another thread returns at once and ends the watch."""
    entered, leave = threading.Event(), threading.Event()
    received: list[FlowRunEvent] = []

    def on_next(event: FlowRunEvent) -> None:
        received.append(event)
        entered.set()
        assert leave.wait(TEST_TIMEOUT)

    scheduler = PollScheduler()
    events = events_of_engine(session_of(world.add_finished_run()), opened(world))
    subscription = events.subscribe(on_next, scheduler=scheduler)
    assert entered.wait(TEST_TIMEOUT)
    subscription.dispose()
    assert world.close_counts() == [1]
    leave.set()
    assert scheduler.join(TEST_TIMEOUT)
    assert len(received) == 1
