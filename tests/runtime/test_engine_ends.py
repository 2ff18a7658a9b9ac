"""The end of an engine: it happens once, and nothing is emitted or sent after it."""

import threading
from random import Random

import pytest
from engines import (
    SOURCES,
    OpenerOf,
    events_of_engine,
    opened,
    session_of,
    spec_of,
)
from reactivex import abc
from reactivex import operators as ops
from virtual_world import MISSING_RUN, TEST_TIMEOUT, Recording, World

import rxflow
from rxflow import FlowRunEvent, Notice, NoticeCode, RunNotFound
from rxflow._models.times import Now
from rxflow._runtime.engine import Engine
from rxflow._runtime.poll_scheduler import PollScheduler
from rxflow._watching.event_order import EventPage, EventPages
from rxflow._watching.run_session import RunSession
from rxflow._watching.session import Command, Wait
from rxflow._watching.watch_spec import EventSource


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

    class CountsCommands(RunSession):
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

    class WaitsForADay(RunSession):
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

    class WakesOnce(RunSession):
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
