"""The end of a watch: closed, disposed of, failed, timed out; and outages, which do not end it."""

import gc
import subprocess
import sys
import threading
import weakref
from collections import Counter
from datetime import timedelta
from itertools import islice

import httpx
import pytest
from reactivex import operators as ops
from runtime_threads import join_runtime_threads
from virtual_world import HOUR, MISSING_RUN, TEST_TIMEOUT, Recording, World
from watched_runs import add_live_run, rows, watch_past_run

from rxflow import (
    Closed,
    FlowRunEvent,
    FlowRunLog,
    FlowRunStream,
    Notice,
    NoticeCode,
    RunNotFound,
    WatchTimedOut,
    watch_flow_run,
)


@pytest.fixture
def past(world: World) -> FlowRunStream:
    """Watch a run that ended an hour ago, with more than one page of log lines."""
    return watch_past_run(world)


def test_dispose_within_an_event_ends_the_watch(world: World) -> None:
    """After a dispose within an event nothing is emitted or sent any more."""
    recording: Recording[FlowRunEvent] = Recording()

    def leave(event: FlowRunEvent) -> None:
        if isinstance(event, FlowRunLog):
            recording.dispose()

    stream = watch_flow_run(add_live_run(world), client=world.client).pipe(ops.do_action(leave))
    world.at(0, lambda: recording.subscribe_to(stream, world.scheduler))
    world.run(until=20)
    requests = len(world.server.requests)
    seen = len(recording.events)
    world.run(until=HOUR)
    assert 0 < seen == len(recording.events)
    assert len(world.server.requests) == requests
    assert (recording.completed, recording.error) == (False, None)
    assert [channel.close_count for channel in world.channels] == [1]


@pytest.mark.parametrize("after_turn", [False, True], ids=["before the first turn", "after it"])
def test_a_watch_may_be_disposed_of_at_once(after_turn: bool, world: World) -> None:
    """A watch that is disposed of right after subscribing leaves no channel open."""
    stream = watch_flow_run(add_live_run(world), client=world.client)
    subscription = stream.subscribe(scheduler=world.scheduler)
    if after_turn:
        world.run(until=2)
    requests = len(world.server.requests)
    subscription.dispose()
    world.run(until=HOUR)
    assert [channel.close_count for channel in world.channels] == [1] * after_turn
    assert (len(world.server.requests), requests > 0) == (requests, after_turn)


def test_taking_two_stops_the_polling(world: World) -> None:
    """After `take(2)` has its events no request is sent any more."""
    stream = watch_flow_run(add_live_run(world), client=world.client)
    recording = world.watch(stream.pipe(ops.take(2)), until=1)
    assert recording.completed
    requests = len(world.server.requests)
    world.run(until=HOUR)
    assert len(world.server.requests) == requests
    assert [channel.close_count for channel in world.channels] == [1]


def test_nothing_is_emitted_after_the_end(world: World) -> None:
    """A closed watch emits nothing more, even if the run is restarted."""
    run_id = add_live_run(world)
    world.at(300, lambda: world.server.set_state(run_id, "RUNNING"))
    recording = world.subscribe(watch_flow_run(run_id, client=world.client), at=0)
    world.run(until=299)
    requests, events = len(world.server.requests), len(recording.events)
    world.run(until=HOUR)
    assert recording.completed
    assert isinstance(recording.values[-1], Closed)
    assert (len(world.server.requests), len(recording.events)) == (requests, events)


def test_the_next_page_is_requested_on_demand(past: FlowRunStream, world: World) -> None:
    """The next page is requested after the last event of a page; closing ends the requests."""
    requests = world.server.requests
    events = iter(past)
    next(events)
    first_page = len(requests)
    assert len(list(islice(events, 150))) == 150
    assert len(requests) == first_page
    assert len(list(islice(events, 150))) == 150
    assert len(requests) > first_page
    second_page = len(requests)
    events.close()
    assert len(requests) == second_page
    assert [channel.close_count for channel in world.channels] == [1]


def test_an_unknown_run_fails_at_once(world: World) -> None:
    """The watch of an unknown run emits no event and fails with `RunNotFound`."""
    recording = world.watch(watch_flow_run(MISSING_RUN, client=world.client))
    assert isinstance(recording.error, RunNotFound)
    assert isinstance(recording.error, ValueError)
    assert recording.events == []


@pytest.mark.parametrize("limit", [600, 600.0, timedelta(minutes=10)])
def test_a_watch_ends_after_max_duration(limit: float | timedelta, world: World) -> None:
    """A run that does not end is watched for `max_duration`, then the watch fails."""
    run_id = world.server.add_run(state="RUNNING")
    recording = world.watch(watch_flow_run(run_id, max_duration=limit, client=world.client))
    assert isinstance(recording.error, WatchTimedOut)
    assert isinstance(recording.error, TimeoutError)
    assert recording.ended is not None
    assert 600 <= recording.ended < 601


def test_a_watch_may_have_no_limit(world: World) -> None:
    """A watch with `max_duration=None` does not end."""
    run_id = world.server.add_run(state="RUNNING")
    recording = world.watch(watch_flow_run(run_id, max_duration=None, client=world.client))
    assert (recording.ended, recording.values) == (None, recording.values[:2])


def test_a_run_that_is_over_is_watched_to_its_end(world: World) -> None:
    """A run that is over is drained and closed even after `max_duration`."""
    run_id = world.add_finished_run()
    recording = world.watch(watch_flow_run(run_id, max_duration=1, drain=30, client=world.client))
    assert recording.completed
    assert recording.ended is not None
    assert recording.ended >= 29


def test_a_watch_continues_through_an_outage(world: World) -> None:
    """An outage and its end are emitted as notices, and no row is lost."""
    run_id = add_live_run(world)

    def intercept(request: httpx.Request) -> None:
        if 20 <= world.seconds < 55:
            raise httpx.ConnectError("refused", request=request)

    recording = world.subscribe(watch_flow_run(run_id, client=world.client))
    world.run(until=0.1)
    world.server.intercept = intercept
    world.run(until=HOUR)
    notices = [event.code for event in recording.values if isinstance(event, Notice)]
    assert notices[:2] == [NoticeCode.DEGRADED, NoticeCode.RECOVERED]
    degraded = next(at for at, event in recording.events if isinstance(event, Notice))
    assert 25 < degraded < 36
    late = world.watch(watch_flow_run(run_id, client=world.client))
    assert Counter(rows(recording.values)) == Counter(rows(late.values))


@pytest.mark.parametrize("virtual", [True, False], ids=["virtual", "threaded"])
def test_a_disposed_observer_is_freed(virtual: bool, world: World) -> None:
    """Nothing holds an observer that has disposed of its watch."""
    run_id = world.server.add_run(state="RUNNING")
    stream = watch_flow_run(run_id, client=world.client)
    seen = threading.Event()
    recording: Recording[FlowRunEvent] = Recording()
    recording.subscribe_to(
        stream.pipe(ops.do_action(lambda _: seen.set())), world.scheduler if virtual else None
    )
    world.run(until=10)
    assert seen.wait(TEST_TIMEOUT)
    recording.dispose()
    join_runtime_threads()
    reference = weakref.ref(recording)
    del recording
    gc.collect()
    world.run(until=20)
    gc.collect()
    assert reference() is None


ENDING = """
import threading
import rxflow
from rxflow.testing import FakePrefect3

server = FakePrefect3()
run = server.add_run(state="RUNNING")
seen = threading.Event()
rxflow.watch_flow_run(run, client=server.client()).subscribe(lambda event: seen.set())
assert seen.wait(30)
"""


def test_a_program_ends_during_a_watch() -> None:
    """A program that ends while a watch runs exits without any output."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", ENDING],
        capture_output=True,
        text=True,
        timeout=TEST_TIMEOUT,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
