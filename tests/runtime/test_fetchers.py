"""Fetchers: queries sent by worker threads and by tasks are aborted, replied to and given up."""

import asyncio
import threading
from random import Random

import pytest
from engines import (
    CONNECTION_LOST,
    EarlyOutageSession,
    HeldAsyncChannel,
    HeldChannel,
    OpenerOf,
    events_of_engine,
    session_of,
    spec_of,
)
from reactivex import operators as ops
from reactivex.scheduler import EventLoopScheduler, ThreadPoolScheduler
from reactivex.scheduler.eventloop import AsyncIOScheduler
from virtual_world import MISSING_RUN, TEST_TIMEOUT, Recording, World, identities

import rxflow
from rxflow import FlowRunEvent, Notice
from rxflow._protocol.failures import Reply
from rxflow._protocol.queries import Query
from rxflow._runtime.poll_scheduler import PollScheduler, default_scheduler
from rxflow._runtime.query_channels import WhileWaiting

# -- on worker threads --------------------------------------------------------------------------


def test_dispose_aborts_the_query_in_flight(world: World) -> None:
    """Disposing from another thread ends the blocked worker thread; nothing is emitted any more."""
    run_id = world.add_finished_run()
    channel = HeldChannel(world.client.open_channel())
    recording: Recording[FlowRunEvent] = Recording()
    events = events_of_engine(session_of(run_id), OpenerOf(channel))
    recording.subscribe_to(events, PollScheduler())
    assert channel.query_sent.wait(TEST_TIMEOUT)
    recording.dispose()
    channel.join()
    assert (recording.events, recording.completed, recording.error) == ([], False, None)
    assert (channel.query_count, channel.close_count) == (1, 1)


def test_no_query_waits_for_another(world: World) -> None:
    """However many blocking channels hold their queries, the next one's query is sent."""
    run_id = world.add_finished_run()
    channels = [HeldChannel(world.client.open_channel()) for _ in range(40)]
    subscriptions = [
        events_of_engine(session_of(run_id), OpenerOf(channel)).subscribe(scheduler=PollScheduler())
        for channel in channels
    ]
    for channel in channels:
        assert channel.query_sent.wait(TEST_TIMEOUT)
    for subscription in subscriptions:
        subscription.dispose()
    for channel in channels:
        channel.join()
    assert [(channel.query_count, channel.close_count) for channel in channels] == [(1, 1)] * 40


def test_an_outage_is_reported_while_a_query_is_in_flight(world: World) -> None:
    """The notice of an outage is emitted before the reply arrives."""
    channel = HeldChannel(world.client.open_channel())
    recording: Recording[FlowRunEvent] = Recording()
    noticed = threading.Event()
    session = EarlyOutageSession(spec_of(world.add_finished_run()), Random(0))
    events = events_of_engine(session, OpenerOf(channel)).pipe(
        ops.do_action(lambda event: noticed.set() if isinstance(event, Notice) else None)
    )
    recording.subscribe_to(events, PollScheduler())
    assert noticed.wait(TEST_TIMEOUT)
    assert identities(recording.values) == [("notice", "degraded")]
    assert channel.query_count == 1
    recording.dispose()


def test_the_end_of_an_outage_is_reported(world: World) -> None:
    """After a late reply that was a failure, the first page is reported as the recovery."""

    class FailsFirst(HeldChannel):
        def send(self, query: Query, while_waiting: WhileWaiting | None = None) -> Reply:
            """Lose the connection on the first query."""
            reply = super().send(query, while_waiting)
            return CONNECTION_LOST if self.query_count == 1 else reply

    run_id = world.add_finished_run()
    world.run(until=3600)
    channel = FailsFirst(world.client.open_channel())
    session = EarlyOutageSession(spec_of(run_id), Random(0))

    def release(event: FlowRunEvent) -> None:
        if isinstance(event, Notice):
            session.is_early = False
            channel.release.set()

    recording: Recording[FlowRunEvent] = Recording()
    events = events_of_engine(session, OpenerOf(channel))
    recording.subscribe_to(events.pipe(ops.do_action(release)), PollScheduler())
    recording.wait()
    notices = [event.code for event in recording.values if isinstance(event, Notice)]
    assert notices == ["degraded", "recovered"]
    assert recording.completed


@pytest.mark.timeout(60)
def test_one_thread_of_a_pool_is_enough(world: World) -> None:
    """On a pool of one thread no turn waits behind a timer, so no outage is reported."""
    run_id = world.add_finished_run(lines=500)
    world.run(until=3600)
    pool = ThreadPoolScheduler(1)
    recording: Recording[FlowRunEvent] = Recording()
    recording.subscribe_to(events_of_engine(session_of(run_id), world.client), pool)
    recording.wait()
    pool.executor.shutdown()
    assert recording.completed
    assert not [event for event in recording.values if isinstance(event, Notice)]


def test_the_timer_of_an_outage_is_cancelled(world: World) -> None:
    """Disposing of a watch whose query is in flight leaves no timer on the default scheduler."""
    channel = HeldChannel(world.client.open_channel())
    events = events_of_engine(session_of(MISSING_RUN), OpenerOf(channel))
    subscription = events.subscribe(scheduler=PollScheduler())
    assert channel.query_sent.wait(TEST_TIMEOUT)
    with default_scheduler._changed:
        assert default_scheduler._next_due() is not None
    subscription.dispose()
    with default_scheduler._changed:
        assert default_scheduler._next_due() is None


def test_a_scheduler_that_was_disposed_of_ends_its_watch(
    world: World, reported: list[BaseException | None]
) -> None:
    """A reply for a scheduler that was disposed of meanwhile ends the watch."""
    channel = HeldChannel(world.client.open_channel())
    # Its thread may otherwise miss the disposal while it runs an action, and wait for ever.
    scheduler = EventLoopScheduler(exit_if_empty=True)
    events = events_of_engine(session_of(world.add_finished_run()), OpenerOf(channel))
    events.subscribe(scheduler=scheduler)
    assert channel.query_sent.wait(TEST_TIMEOUT)
    scheduler.dispose()
    channel.release.set()
    channel.join()
    assert (channel.query_count, channel.close_count, reported) == (1, 1, [])


# -- on an event loop ---------------------------------------------------------------------------


def test_a_loop_that_was_closed_ends_its_watch(
    world: World, reported: list[BaseException | None]
) -> None:
    """An event loop that is closed aborts the query and closes the channel, without an error."""
    run_id = world.add_finished_run()
    channel = HeldAsyncChannel()

    async def subscribe() -> None:
        events = events_of_engine(session_of(run_id), OpenerOf(channel))
        events.subscribe(scheduler=AsyncIOScheduler(asyncio.get_running_loop()))
        await asyncio.wait_for(channel.query_sent.wait(), TEST_TIMEOUT)

    asyncio.run(subscribe())
    assert (channel.cancelled_count, channel.close_count, reported) == (1, 1, [])


def test_dispose_aborts_the_query_on_a_loop(world: World) -> None:
    """Disposing, from any thread, aborts the query that is in flight on an event loop."""
    run_id = world.add_finished_run()

    async def dispose(*, in_thread: bool) -> HeldAsyncChannel:
        channel = HeldAsyncChannel()
        scheduler = AsyncIOScheduler(asyncio.get_running_loop())
        events = events_of_engine(session_of(run_id), OpenerOf(channel))
        subscription = events.subscribe(scheduler=scheduler)
        await asyncio.wait_for(channel.query_sent.wait(), TEST_TIMEOUT)
        if in_thread:
            await asyncio.to_thread(subscription.dispose)
        else:
            subscription.dispose()
        await asyncio.wait_for(channel.was_closed.wait(), TEST_TIMEOUT)
        return channel

    for in_thread in (False, True):
        channel = asyncio.run(dispose(in_thread=in_thread))
        assert (channel.cancelled_count, channel.close_count) == (1, 1)


def test_a_channel_on_a_loop_that_raises_ends_the_watch(world: World) -> None:
    """What a channel on an event loop raises is the stream's error."""

    class RaisingAsyncChannel(HeldAsyncChannel):
        async def send(self, query: Query) -> Reply:
            """Raise."""
            raise ZeroDivisionError(type(query).__name__)

    channel = RaisingAsyncChannel()
    events = events_of_engine(session_of(world.add_finished_run()), OpenerOf(channel))

    async def watch() -> None:
        await rxflow.Stream.of(events)

    with pytest.raises(ZeroDivisionError, match="ServerQuery"):
        asyncio.run(watch())
    assert channel.close_count == 1
