"""Rule: memory grows neither with polls nor behind a stalled consumer, and no cycle is left."""

import asyncio
import gc
import sys
import threading
import tracemalloc
import weakref
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import pytest
from engines import events_of_engine, spec_of
from reactivex import operators as ops
from runtime_threads import join_runtime_threads
from rx_subjects import add_live_run, each_subject, subject
from virtual_world import HOUR, TEST_TIMEOUT, Recording, World

from rxflow import FlowRunEvent, FlowRunLog, FlowRunStream, watch_flow_run
from rxflow._protocol.pages import Page
from rxflow._protocol.queries import Query, RunQuery
from rxflow._runtime.query_channels import WhileWaiting
from rxflow._watching.run_session import RunSession

POLLS = 100_000
POLL_BLOCKS_BUDGET = 1_000
"""Memory blocks that may be added during `POLLS` polls; one a poll would be 100,000."""

STALLED_LINES = 5_000
STALL_BYTES_BUDGET = 64 * 1024
"""Bytes that may be added while a consumer is stalled and `STALLED_LINES` lines are written."""


class IdleServerChannel:
    """A channel to a server on which nothing happens: it sends each query once.

    It is its own opener.

    Attributes:
        polls: How often the run's row was queried.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._channel = world.client.open_channel()
        self._replies: dict[Query, Page[Any]] = {}
        self.polls = 0

    def send(self, query: Query, _: WhileWaiting | None = None) -> Page[Any]:
        """Return the first reply to the query, with the current server time."""
        self.polls += isinstance(query, RunQuery)
        known = self._replies.get(query)
        if known is None:
            reply = self._channel.send(query)
            assert isinstance(reply, Page)
            known = self._replies[query] = reply
        now = self._world.scheduler.now.replace(microsecond=0)
        return Page(rows=known.rows, server_time=now)

    def close(self) -> None:
        """Close the channel to the fake server."""
        self._channel.close()

    def open_channel(self) -> "IdleServerChannel":
        """Return this channel."""
        return self

    def open_async_channel(self) -> Any:
        """Fail: virtual time needs no async channel."""
        raise AssertionError

    def open_push_channel(self) -> None:
        """Announce nothing."""


@pytest.mark.long
def test_memory_does_not_grow_with_polls(world: World) -> None:
    """100,000 polls of a run on which nothing happens allocate no memory that stays."""
    run_id = world.server.add_run(state="RUNNING")
    world.server.log(run_id)
    idle = IdleServerChannel(world)
    session = RunSession(spec_of(run_id, max_duration=None), Random(0))
    recording = world.subscribe(events_of_engine(session, idle))
    world.run(until=10_000)
    polls, events = idle.polls, len(recording.events)
    gc.collect()
    blocks = sys.getallocatedblocks()  # tracemalloc would take four times as long
    while idle.polls < polls + POLLS:
        world.run(until=world.seconds + 50_000)
    gc.collect()
    grown = sys.getallocatedblocks() - blocks
    recording.dispose()
    assert len(recording.events) == events
    assert grown < POLL_BLOCKS_BUDGET


def allocated_by(action: Callable[[], object]) -> int:
    """Return the bytes that an action leaves allocated, without those of the fake server."""
    gc.collect()
    tracemalloc.start()
    try:
        action()
        gc.collect()
        snapshot = tracemalloc.take_snapshot()
    finally:
        tracemalloc.stop()
    ours = snapshot.filter_traces(
        [
            tracemalloc.Filter(False, "*/rxflow/testing/*"),
            tracemalloc.Filter(False, tracemalloc.__file__),
        ]
    )
    return sum(statistic.size for statistic in ours.statistics("filename"))


def stall_in_on_next(stream: FlowRunStream) -> Iterator[list[FlowRunEvent]]:
    """Subscribe; block within the first event until resumed, then yield all events."""
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


def stall_in_loop(stream: FlowRunStream) -> Iterator[list[FlowRunEvent]]:
    """Iterate; stop after the first event until resumed, then yield all events."""
    events = iter(stream)
    first = next(events)
    yield []
    yield [first, *events]


def stall_in_async_loop(stream: FlowRunStream) -> Iterator[list[FlowRunEvent]]:
    """Iterate on an event loop that runs on; stop after the first event until resumed."""
    with asyncio.Runner() as runner:
        events = aiter(stream)

        async def read_first() -> FlowRunEvent:
            return await anext(events)

        async def read_rest() -> list[FlowRunEvent]:
            return [event async for event in events]

        first = runner.run(read_first())
        for _ in range(50):
            runner.run(asyncio.sleep(0))
        yield []
        yield [first, *runner.run(read_rest())]


STALLS: dict[str, Callable[[FlowRunStream], Iterator[list[FlowRunEvent]]]] = {
    "subscribe": stall_in_on_next,
    "for": stall_in_loop,
    "async for": stall_in_async_loop,
}


@pytest.mark.parametrize("face", STALLS)
def test_a_stalled_consumer_stops_the_polling(face: str, world: World) -> None:
    """While a consumer is stalled no request is sent and nothing is buffered; then all arrives."""
    server = world.server
    run_id = server.add_run(state="RUNNING")
    stream = watch_flow_run(run_id, client=world.client)

    def run_another_watch() -> int:
        # Long enough for many polls of the stalled watch, if it sent any.
        world.run(until=world.seconds + HOUR)
        return len(list(watch_flow_run(run_id, client=world.client)))

    consumer = STALLS[face](stream)
    next(consumer)
    requests_before = len(server.requests)
    for number in range(STALLED_LINES):
        server.log(run_id, str(number))
    server.set_state(run_id, "COMPLETED")
    assert run_another_watch() == 4 + STALLED_LINES
    grown = allocated_by(run_another_watch)
    stalled, other = len(world.channels[0].queries), len(world.channels[1].queries)
    messages = [event.message for event in next(consumer) if isinstance(event, FlowRunLog)]
    assert messages == [str(number) for number in range(STALLED_LINES)]
    assert stalled == requests_before < other
    assert grown < STALL_BYTES_BUDGET


@pytest.mark.long
@each_subject
@pytest.mark.parametrize("threaded", [False, True], ids=["virtual", "threaded"])
def test_a_disposed_observer_is_freed(name: str, threaded: bool, world: World) -> None:
    """Nothing holds an observer that has disposed, although the run that it watched goes on."""
    recording: Recording[Any] = Recording()
    requested = threading.Event()
    world.server.intercept = lambda _: requested.set()
    stream = subject(name, world, add_live_run(world))
    recording.subscribe_to(stream, None if threaded else world.scheduler)
    world.run(until=25)
    assert requested.wait(TEST_TIMEOUT)
    recording.dispose()
    join_runtime_threads()
    reference = weakref.ref(recording)
    del recording, stream
    world.run(until=HOUR)  # virtual time keeps a cancelled action until it would have been due
    gc.collect()
    assert reference() is None
