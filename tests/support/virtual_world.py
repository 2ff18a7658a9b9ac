"""A world in which time is virtual: a Prefect server, a client and a scheduler that share a clock.

    world = World()
    run = world.server.add_run()
    world.at(5, lambda: world.server.set_state(run, "RUNNING"))
    world.at(9, lambda: world.server.set_state(run, "COMPLETED"))

    told = world.watch(rxflow.watch_flow_run(run, client=world.client), until=60)

    assert told.completed
    for seconds, event in told.events:
        ...

Seconds count from the world's beginning, and pass only while `World.run` or `World.watch` runs. In
between the server's clock stands still, so that a watch in real time can be held against one in
virtual time: both find the same rows, written just as long ago.
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
"""When worlds begin."""

HOUR = 3600.0

PATIENCE = 60.0
"""Seconds of real time after which something that should have happened never will."""


class Recording(abc.ObserverBase[T], Generic[T]):
    """An observer that keeps what it was told, in virtual time or in real time.

    Attributes:
        events: What came, each with the seconds at which it came.
        completed: Whether the stream completed.
        error: The error that the stream ended with.
        ended: The seconds at which the stream completed or failed; None if it did not.
        threads: The ids of the threads that it was told by.
    """

    def __init__(self, clock: Callable[[], float] = lambda: 0.0) -> None:
        """Start empty.

        Args:
            clock: What stamps the events; by default all happens at second 0.
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
        """What came, without its time."""
        return [value for _, value in self.events]

    def of(self, observable: Observable[T], scheduler: abc.SchedulerBase | None = None) -> None:
        """Subscribe, so that `dispose` ends it."""
        self._subscription.disposable = observable.subscribe(self, scheduler=scheduler)

    def dispose(self) -> None:
        """End the subscription, now or as soon as there is one."""
        self._subscription.dispose()

    def wait(self) -> None:
        """Wait, in real time, until the stream has completed or failed."""
        assert self._over.wait(PATIENCE), f"neither completed nor failed: {self.values}"

    def on_next(self, value: T) -> None:
        """Keep an event."""
        self.threads.add(threading.get_ident())
        self.events.append((self._clock(), value))

    def on_error(self, error: Exception) -> None:
        """Keep the error."""
        self.error = error
        self._end()

    def on_completed(self) -> None:
        """Keep that the stream completed."""
        self.completed = True
        self._end()

    def _end(self) -> None:
        self.threads.add(threading.get_ident())
        self.ended = self._clock()
        self._over.set()


class World:
    """The world.

    Attributes:
        scheduler: Virtual time; subscribe with it, or let `watch` do so.
        server: The server; its clock is the scheduler's.
        client: Asks the server.
        channels: What watches asked through, one for each subscription so far.
    """

    def __init__(self, **server: Any) -> None:
        """Begin.

        Args:
            server: Arguments of `FakePrefect3` beside its clock.
        """
        self.scheduler = TestScheduler(initial_clock=BEGINNING.timestamp())
        self.server = FakePrefect3(clock=lambda: self.scheduler.now, **server)
        self.client = _Client(self.server)
        self.channels = self.client.channels

    @property
    def seconds(self) -> float:
        """The time."""
        return (self.scheduler.now - BEGINNING).total_seconds()

    def at(self, seconds: float, action: Callable[[], object]) -> None:
        """Have something happen at a time from now on."""

        def act(_: abc.SchedulerBase, __: Any = None) -> None:
            action()

        self.scheduler.schedule_absolute(BEGINNING + timedelta(seconds=seconds), act)

    def run(self, until: float) -> None:
        """Let time pass, until a second."""
        try:
            self.scheduler.advance_to(BEGINNING + timedelta(seconds=until))
        finally:
            self.scheduler.stop()  # it would not go on after an action that raised

    def subscribe(self, stream: Observable[T], *, at: float | None = None) -> Recording[T]:
        """Have a stream subscribed to at a time; None is now. Time does not pass yet."""
        told: Recording[T] = Recording(lambda: self.seconds)
        self.at(self.seconds if at is None else at, lambda: told.of(stream, self.scheduler))
        return told

    def watch(
        self, stream: Observable[T], *, at: float | None = None, until: float | None = None
    ) -> Recording[T]:
        """Subscribe to a stream, let time pass, and dispose of the subscription.

        Args:
            stream: Any observable.
            at: When to subscribe, in seconds; None is now.
            until: When to dispose; None is an hour after `at`.

        Returns:
            What the stream told in between.
        """
        begun = self.seconds if at is None else at
        told = self.subscribe(stream, at=begun)
        self.run(begun + HOUR if until is None else until)
        told.dispose()
        return told

    def live_a_run(self, *, lines: int = 3, ends: str = "COMPLETED") -> str:
        """Add a run that is scheduled, runs, writes lines and ends, all within this second.

        Returns:
            Its id.
        """
        run_id = self.server.add_run()
        self.server.set_state(run_id, "PENDING")
        self.server.set_state(run_id, "RUNNING")
        for number in range(lines):
            self.server.log(run_id, f"line {number}")
        self.server.set_state(run_id, ends)
        return run_id


class CountingChannel(Channel):
    """A client's channel that keeps count.

    Attributes:
        asked: The questions, in order.
        closed: How often it was closed.
        gone: Set when it is closed.
    """

    def __init__(self, channel: Channel) -> None:
        """Make one that leads where another does."""
        super().__init__(channel._transport, channel._shared_backend)
        self.asked: list[Query] = []
        self.closed = 0
        self.gone = threading.Event()

    def send(self, query: Query) -> Reply:
        """Note the question, and ask it."""
        self.asked.append(query)
        return super().send(query)

    def close(self) -> None:
        """Count, and close."""
        self.closed += 1
        super().close()
        self.gone.set()


class CountingAsyncChannel(AsyncChannel):
    """The same of an event loop."""

    def __init__(self, channel: AsyncChannel) -> None:
        """Make one that leads where another does."""
        super().__init__(channel._transport, channel._shared_backend)
        self.asked: list[Query] = []
        self.closed = 0
        self.gone = threading.Event()

    async def send(self, query: Query) -> Reply:
        """Note the question, and ask it."""
        self.asked.append(query)
        return await super().send(query)

    async def aclose(self) -> None:
        """Count, and close."""
        self.closed += 1
        await super().aclose()
        self.gone.set()


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
    """What kind of event it is, and what tells it from others of its kind."""
    match event:
        case StateChange() | FlowRunLog() | TaskRunStateChange():
            return _kind(event), event.id
        case Notice():
            return _kind(event), event.code
        case _:
            return _kind(event), ""


def identities(events: Iterable[FlowRunEvent]) -> list[tuple[str, str]]:
    """The identity of each event."""
    return [identity(event) for event in events]


def _kind(event: FlowRunEvent) -> str:
    return str(event.__struct_config__.tag)
