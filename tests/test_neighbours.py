"""Neighbours: no subscription waits for another's server, for its observer, or for their number."""

import threading
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from reactivex import abc
from reactivex import operators as ops
from reactivex.scheduler import NewThreadScheduler
from runtime_threads import join_runtime_threads, join_worker_threads
from thread_limits import no_more_threads
from virtual_world import TEST_TIMEOUT, Recording

from rxflow import Client, Closed, FlowRunEvent, Notice, operators, watch_flow_run
from rxflow._config.settings import Settings
from rxflow._runtime.poll_scheduler import default_scheduler
from rxflow.testing import FakePrefect3

pytestmark = pytest.mark.timeout(60)

MANY = 40
_NEXT_POLL = 0.7  # seconds in which a watch polls again
SCHEDULERS: dict[str, Callable[[], abc.SchedulerBase | None]] = {
    "none": lambda: None,
    "new threads": NewThreadScheduler,
}
each_scheduler = pytest.mark.parametrize("scheduler", SCHEDULERS)


class BlockingTransport(httpx.BaseTransport):
    """A transport that cannot be used on an event loop."""

    def __init__(self, server: FakePrefect3) -> None:
        self._transport = server.transport()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Pass the request on."""
        return self._transport.handle_request(request)


def client_of(server: FakePrefect3, kind: str) -> Client:
    """Return a client of a server in this process."""
    if kind == "blocking transport":
        settings = Settings(api_url="http://fake.invalid/api")
        return Client(settings=settings, transport=BlockingTransport(server))
    return server.client()


def finished_run(server: FakePrefect3) -> str:
    """Add a run that is over, with a log line."""
    run_id = server.add_run(state="RUNNING")
    server.log(run_id, "line")
    server.set_state(run_id, "COMPLETED")
    return run_id


def last_event(client: Client, run_id: str, scheduler: abc.SchedulerBase | None) -> FlowRunEvent:
    """Subscribe to a watch, wait for its end and return its last event."""
    recording: Recording[FlowRunEvent] = Recording()
    recording.subscribe_to(watch_flow_run(run_id, drain=0, client=client), scheduler)
    recording.wait()
    assert recording.completed
    assert not [event for event in recording.values if isinstance(event, Notice)]
    return recording.values[-1]


@each_scheduler
@pytest.mark.parametrize("kind", ["transport for both", "blocking transport"])
def test_frozen_servers_delay_no_other_watch(kind: str, scheduler: str) -> None:
    """While many watches wait for a server that does not reply, one of another server ends."""
    frozen, healthy = FakePrefect3(), FakePrefect3()
    client = client_of(frozen, kind)
    with frozen.hold() as hold:
        subscriptions = [
            watch_flow_run(frozen.add_run(), client=client).subscribe(
                scheduler=SCHEDULERS[scheduler]()
            )
            for _ in range(MANY)
        ]
        hold.until_reached(MANY)
        closed = last_event(healthy.client(), finished_run(healthy), SCHEDULERS[scheduler]())
        assert isinstance(closed, Closed)
        for subscription in subscriptions:
            subscription.dispose()
    join_runtime_threads()


def test_a_slow_server_is_sent_all_requests_at_once() -> None:
    """Over HTTP, the requests of many watches are under way at the same time, and all succeed."""
    server = FakePrefect3()
    run_id = finished_run(server)
    recordings: list[Recording[FlowRunEvent]] = [Recording() for _ in range(MANY)]
    with server.serve() as url:
        client = Client(api_url=url, backend="prefect3")
        with server.hold() as hold:
            for recording in recordings:
                recording.subscribe_to(watch_flow_run(run_id, drain=0, client=client))
            hold.until_reached(MANY)
        for recording in recordings:
            recording.wait()
        join_runtime_threads()
    assert all(recording.completed for recording in recordings)


@each_scheduler
@pytest.mark.parametrize("operator", ["none", "bounded", "in_order"])
def test_a_slow_observer_delays_no_other(operator: str, scheduler: str) -> None:
    """While one observer is blocked in `on_next`, another watch ends."""
    server = FakePrefect3()
    run_id = finished_run(server)
    entered, release = threading.Event(), threading.Event()

    def block(_: object) -> None:
        entered.set()
        assert release.wait(TEST_TIMEOUT)

    applied: dict[str, Any] = {
        "none": ops.map(lambda event: event),
        "bounded": operators.bounded(1000),
        "in_order": operators.in_order(0.01),
    }
    slow: Recording[Any] = Recording()
    stream = watch_flow_run(run_id, drain=0, client=server.client())
    blocked = stream.pipe(applied[operator], ops.do_action(block))
    slow.subscribe_to(blocked, SCHEDULERS[scheduler]())
    assert entered.wait(TEST_TIMEOUT)
    assert isinstance(last_event(server.client(), run_id, SCHEDULERS[scheduler]()), Closed)
    assert not slow.completed
    release.set()
    slow.wait()
    assert slow.completed


def test_an_observer_that_raises_ends_no_other() -> None:
    """A watch ends as usual while observers of others raise."""
    server = FakePrefect3()
    run_id = finished_run(server)

    def fail(_: object) -> None:
        raise ValueError("the observer's own")

    failing: list[Recording[FlowRunEvent]] = [Recording() for _ in range(10)]
    for recording in failing:
        stream = watch_flow_run(run_id, drain=0, client=server.client())
        recording.subscribe_to(stream.pipe(ops.do_action(fail)))
    assert isinstance(last_event(server.client(), run_id, None), Closed)
    for recording in failing:
        recording.wait()
        assert isinstance(recording.error, ValueError)


@pytest.mark.parametrize("kind", ["transport for both", "blocking transport"])
def test_a_moment_without_threads_ends_no_watch(kind: str) -> None:
    """A watch goes on when the system starts no thread for a while, and loses nothing."""
    server = FakePrefect3()
    run_id = server.add_run(state="RUNNING")
    recording: Recording[FlowRunEvent] = Recording()
    seen = threading.Event()
    stream = watch_flow_run(run_id, drain=0, client=client_of(server, kind))
    recording.subscribe_to(stream.pipe(ops.do_action(lambda _: seen.set())))
    assert seen.wait(TEST_TIMEOUT)
    join_worker_threads()  # so that the next poll needs a new one
    refused = threading.Event()
    default_scheduler.schedule_relative(_NEXT_POLL, lambda *_: refused.set())
    with no_more_threads():
        assert refused.wait(TEST_TIMEOUT)
    server.log(run_id, "line")
    server.set_state(run_id, "COMPLETED")
    recording.wait()
    assert recording.completed
    assert isinstance(recording.values[-1], Closed)
