"""A world in virtual time: a fake Prefect server, a client and a scheduler that share one clock.

    world = World()
    run = world.server.add_run()
    world.at(5, lambda: world.server.set_state(run, "RUNNING"))
    world.at(9, lambda: world.server.set_state(run, "COMPLETED"))

    recording = world.watch(rxflow.watch_flow_run(run, client=world.client), until=60)

    assert recording.completed
    for seconds, event in recording.events:
        ...

Seconds count from the world's beginning and pass only while `World.run` or `World.watch` runs.
Between two such calls the server's clock stands still, so a watch in real time can be compared with
one in virtual time: both find the same rows, of the same age.
"""

import threading
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, Generic, TypeVar

from reactivex import Observable, abc
from reactivex.disposable import SingleAssignmentDisposable
from reactivex.testing import TestScheduler

from rxflow._net.channel import AsyncChannel, Channel
from rxflow._protocol.failures import Reply
from rxflow._protocol.queries import Query
from rxflow._runtime.query_channels import WhileWaiting
from rxflow.client import Client
from rxflow.events import (
    FlowRunEvent,
    FlowRunLog,
    Notice,
    StateChange,
    TaskRunStateChange,
)
from rxflow.testing import FakePrefect3

T = TypeVar("T")

BEGINNING = datetime(2026, 1, 1, tzinfo=UTC)
"""The time at which every world begins."""

HOUR = 3600.0

MISSING_RUN = "00000000-0000-4000-8000-000000000000"
"""The id of a run that no server has."""

TEST_TIMEOUT = 60.0
"""Seconds of real time after which a test stops waiting and fails."""


class Recording(abc.ObserverBase[T], Generic[T]):
    """An observer that records its calls, in virtual time or in real time.

    Attributes:
        events: The items, each with the second at which it was emitted.
        completed: Whether the stream completed.
        error: The error that the stream ended with.
        ended: The second at which the stream completed or failed; None if it did not.
        threads: The ids of the threads that called the observer.
    """

    def __init__(self, clock: Callable[[], float] = lambda: 0.0) -> None:
        """Create an observer that has recorded nothing.

        Args:
            clock: Returns the second to record; always 0 by default.
        """
        self._clock = clock
        self._over = threading.Event()
        self._subscription = SingleAssignmentDisposable()
        self.events: list[tuple[float, T]] = []
        self.completed = False
        self.error: Exception | None = None
        self.ended: float | None = None
        self.threads: set[int] = set()

    @property
    def values(self) -> list[T]:
        """The items without their times."""
        return [value for _, value in self.events]

    def subscribe_to(
        self, observable: Observable[T], scheduler: abc.SchedulerBase | None = None
    ) -> None:
        """Subscribe to an observable; `dispose` ends the subscription."""
        self._subscription.disposable = observable.subscribe(self, scheduler=scheduler)

    def dispose(self) -> None:
        """Dispose of the subscription, now or as soon as there is one."""
        self._subscription.dispose()

    def wait(self) -> None:
        """Wait in real time until the stream has completed or failed."""
        assert self._over.wait(TEST_TIMEOUT), f"neither completed nor failed: {self.values}"

    def on_next(self, value: T) -> None:
        """Record an item."""
        self.threads.add(threading.get_ident())
        self.events.append((self._clock(), value))

    def on_error(self, error: Exception) -> None:
        """Record the error."""
        self.error = error
        self._end()

    def on_completed(self) -> None:
        """Record the completion."""
        self.completed = True
        self._end()

    def _end(self) -> None:
        self.threads.add(threading.get_ident())
        self.ended = self._clock()
        self._over.set()


class OverlapRecording(Recording[Any]):
    """A recording that counts overlapping calls.

    Attributes:
        overlaps: How often `on_next` was called during another call of it.
    """

    def __init__(self) -> None:
        """Create an observer that has recorded nothing."""
        super().__init__()
        self.overlaps = 0
        self._busy = threading.Lock()

    def on_next(self, value: Any) -> None:
        """Record an item, slowly enough for another thread to call meanwhile."""
        if not self._busy.acquire(blocking=False):
            self.overlaps += 1
            return
        threading.Event().wait(0.0003)
        super().on_next(value)
        self._busy.release()


class World:
    """A fake server, a client of it, and virtual time for both.

    Attributes:
        scheduler: The virtual time; `watch` and `subscribe` subscribe with it.
        server: The server; its clock is the scheduler's.
        client: A client of the server.
        channels: The channels opened so far, one for each subscription.
    """

    def __init__(self, **server: Any) -> None:
        """Create a world at second 0.

        Args:
            server: Arguments of `FakePrefect3` other than its clock.
        """
        self.scheduler = TestScheduler(initial_clock=BEGINNING.timestamp())
        self.server = FakePrefect3(clock=lambda: self.scheduler.now, **server)
        self.client = _Client(self.server)
        self.channels = self.client.channels

    @property
    def seconds(self) -> float:
        """The virtual time in seconds since the beginning."""
        return (self.scheduler.now - BEGINNING).total_seconds()

    def at(self, seconds: float, action: Callable[[], object]) -> None:
        """Schedule an action at a second from now on."""

        def act(_: abc.SchedulerBase, __: Any = None) -> None:
            action()

        self.scheduler.schedule_absolute(BEGINNING + timedelta(seconds=seconds), act)

    def run(self, until: float) -> None:
        """Let time pass until a second."""
        try:
            self.scheduler.advance_to(BEGINNING + timedelta(seconds=until))
        finally:
            self.scheduler.stop()  # else it cannot advance again after an action that raised

    def subscribe(self, stream: Observable[T], *, at: float | None = None) -> Recording[T]:
        """Schedule a subscription at a second, None for now. Time does not pass here."""
        recording: Recording[T] = Recording(lambda: self.seconds)
        begin = self.seconds if at is None else at
        self.at(begin, lambda: recording.subscribe_to(stream, self.scheduler))
        return recording

    def watch(
        self, stream: Observable[T], *, at: float | None = None, until: float | None = None
    ) -> Recording[T]:
        """Subscribe to a stream, let time pass, and dispose of the subscription.

        Args:
            stream: Any observable.
            at: The second at which to subscribe; None for now.
            until: The second at which to dispose; None for an hour after `at`.

        Returns:
            The recording of the subscription.
        """
        begin = self.seconds if at is None else at
        recording = self.subscribe(stream, at=begin)
        self.run(begin + HOUR if until is None else until)
        recording.dispose()
        return recording

    def close_counts(self) -> list[int]:
        """Wait in real time until every channel is closed; return how often each one was."""
        assert all(channel.was_closed.wait(TEST_TIMEOUT) for channel in self.channels)
        return [channel.close_count for channel in self.channels]

    def add_finished_run(self, *, lines: int = 3, ends: str = "COMPLETED") -> str:
        """Add a run that is scheduled, runs, logs and ends, all at the current second.

        Returns:
            The run's id.
        """
        run_id = self.server.add_run()
        self.server.set_state(run_id, "PENDING")
        self.server.set_state(run_id, "RUNNING")
        for number in range(lines):
            self.server.log(run_id, f"line {number}")
        self.server.set_state(run_id, ends)
        return run_id


class CountingChannel(Channel):
    """A channel that records its queries and counts how often it is closed.

    Attributes:
        queries: The queries sent, in order.
        close_count: How often the channel was closed.
        was_closed: Set when the channel is closed.
    """

    def __init__(self, channel: Channel) -> None:
        """Create a channel with another one's transport and backend."""
        super().__init__(channel._transport, channel._shared_backend)
        self.queries: list[Query] = []
        self.close_count = 0
        self.was_closed = threading.Event()

    def send(self, query: Query, while_waiting: WhileWaiting | None = None) -> Reply:
        """Record the query, then send it."""
        self.queries.append(query)
        return super().send(query, while_waiting)

    def close(self) -> None:
        """Count the call, then close."""
        self.close_count += 1
        super().close()
        self.was_closed.set()


class CountingAsyncChannel(AsyncChannel):
    """The same for an event loop."""

    def __init__(self, channel: AsyncChannel) -> None:
        """Create a channel with another one's transport and backend."""
        super().__init__(channel._transport, channel._shared_backend)
        self.queries: list[Query] = []
        self.close_count = 0
        self.was_closed = threading.Event()

    async def send(self, query: Query) -> Reply:
        """Record the query, then send it."""
        self.queries.append(query)
        return await super().send(query)

    async def aclose(self) -> None:
        """Count the call, then close."""
        self.close_count += 1
        await super().aclose()
        self.was_closed.set()


class _Client(Client):
    def __init__(self, server: FakePrefect3) -> None:
        url, transport = "http://fake.invalid/api", server.transport()
        super().__init__(api_url=url, backend="prefect3", transport=transport)
        self.channels: list[CountingChannel | CountingAsyncChannel] = []

    def open_channel(self) -> CountingChannel:
        channel = CountingChannel(super().open_channel())
        self.channels.append(channel)
        return channel

    def open_async_channel(self) -> CountingAsyncChannel:
        channel = CountingAsyncChannel(super().open_async_channel())
        self.channels.append(channel)
        return channel


def identity(event: FlowRunEvent) -> tuple[str, str]:
    """Return the event's kind and what identifies it among events of that kind."""
    match event:
        case StateChange() | FlowRunLog() | TaskRunStateChange():
            return _kind(event), event.id
        case Notice():
            return _kind(event), event.code
        case _:
            return _kind(event), ""


def identities(events: Iterable[FlowRunEvent]) -> list[tuple[str, str]]:
    """Return the identity of each event."""
    return [identity(event) for event in events]


def _kind(event: FlowRunEvent) -> str:
    return str(event.__struct_config__.tag)
