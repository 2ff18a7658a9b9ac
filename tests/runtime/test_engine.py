"""The engine: its sources, its turns in time, and its errors."""

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
    opened,
    session_of,
    spec_of,
)
from reactivex import abc
from reactivex.scheduler.periodicscheduler import PeriodicScheduler
from virtual_world import MISSING_RUN, TEST_TIMEOUT, Recording, World, identities

from rxflow import FlowRunEvent, RunNotFound
from rxflow._models.times import Now
from rxflow._runtime.engine import Engine
from rxflow._runtime.poll_scheduler import PollScheduler, default_scheduler
from rxflow._watching.event_order import EventPage
from rxflow._watching.run_session import RunSession
from rxflow._watching.session import Command, Wait
from rxflow._watching.watch_spec import EventSource

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

    class WaitsBriefly(RunSession):
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


class WaitsBeforeEachQuery(RunSession):
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
    (error,) = reported
    assert isinstance(error, RuntimeError)
    assert isinstance(error.__cause__, SystemExit)
