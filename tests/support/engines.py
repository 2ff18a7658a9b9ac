"""Engines under test: the events of one engine, and channels that hold, refuse or lose replies."""

import asyncio
import threading
from collections.abc import Iterable
from random import Random
from typing import Any

import reactivex as rx
from reactivex import Observable, abc
from reactivex.disposable import CompositeDisposable, Disposable
from virtual_world import TEST_TIMEOUT, World

from rxflow import FlowRunEvent
from rxflow._models.times import Now
from rxflow._protocol.failures import Failure, FailureKind, Reply
from rxflow._protocol.queries import Query
from rxflow._runtime.engine import Engine
from rxflow._runtime.paged import PagedObservable
from rxflow._runtime.query_channels import (
    AsyncQueryChannel,
    ChannelOpener,
    QueryChannel,
    WhileWaiting,
)
from rxflow._watching.event_order import EventPages
from rxflow._watching.run_session import RunSession
from rxflow._watching.session import Session
from rxflow._watching.watch_spec import EventSource, WatchSpec
from rxflow.errors import ConfigurationError

SOURCES = frozenset({EventSource.STATES, EventSource.LOGS, EventSource.NOTICES})
"""All sources but the task runs."""

CONNECTION_LOST = Failure(kind=FailureKind.NETWORK, text="the connection broke")


def spec_of(run_id: str, sources: Iterable[EventSource] = SOURCES, **options: Any) -> WatchSpec:
    """Return the spec of a watch; by default without task runs."""
    return WatchSpec(flow_run_id=run_id, sources=frozenset(sources), **options)


def session_of(run_id: str, sources: Iterable[EventSource] = SOURCES) -> RunSession:
    """Return a session with reproducible jitter."""
    return RunSession(spec_of(run_id, sources), Random(0))


def events_of_engine(
    session: Session, opener: ChannelOpener, sources: Iterable[EventSource] = SOURCES
) -> Observable[FlowRunEvent]:
    """Return the merged events of an engine that is created on subscription."""

    def subscribe(
        observer: abc.ObserverBase[FlowRunEvent], scheduler: abc.SchedulerBase | None = None
    ) -> abc.DisposableBase:
        assert scheduler is not None
        engine = Engine(session, opener, scheduler, frozenset(sources))
        pages = rx.merge(*(engine.source(source) for source in sources))
        return CompositeDisposable(
            PagedObservable(pages).subscribe(observer, scheduler=scheduler),
            Disposable(engine.dispose),
        )

    return Observable(subscribe)


class EarlyOutageSession(RunSession):
    """A session that reports an outage after 0.05 s without a reply.

    Attributes:
        is_early: Set it to False to wait as long as other sessions from then on.
    """

    is_early = True

    def due_in(self, now: Now) -> float | None:
        """Return the time as if 9.95 s more had passed."""
        return super().due_in(self._early(now))

    def wake(self, now: Now) -> EventPages:
        """Do what is due as if 9.95 s more had passed."""
        return super().wake(self._early(now))

    def _early(self, now: Now) -> Now:
        return Now(now.mono + 9.95, now.utc) if self.is_early else now


class OpenerOf:
    """Opens one given channel, for threads or for an event loop as the channel is made."""

    def __init__(self, channel: QueryChannel | AsyncQueryChannel) -> None:
        self._channel: Any = channel

    def open_channel(self) -> QueryChannel:
        """Return the blocking channel."""
        assert hasattr(self._channel, "close")
        return self._channel  # type: ignore[no-any-return]

    def open_async_channel(self) -> AsyncQueryChannel:
        """Return the async channel."""
        if not hasattr(self._channel, "aclose"):
            raise ConfigurationError("a channel for threads only")
        return self._channel  # type: ignore[no-any-return]

    def open_push_channel(self) -> None:
        """Announce nothing."""


def opened(world: World) -> OpenerOf:
    """Open a channel at once, so that `close_counts` waits for it whichever thread uses it."""
    return OpenerOf(world.client.open_channel())


class HeldChannel:
    """A channel that holds every reply until it is released or closed.

    Attributes:
        query_sent: Set when the first query is sent.
        query_count: The number of queries sent.
        release: Set it to let replies through.
        close_count: How often the channel was closed.
        thread: The thread that sent the last query.
    """

    def __init__(self, channel: QueryChannel) -> None:
        self._channel = channel
        self.query_sent = threading.Event()
        self.release = threading.Event()
        self.query_count = 0
        self.close_count = 0
        self.thread: threading.Thread | None = None

    def send(self, query: Query, while_waiting: WhileWaiting | None = None) -> Reply:
        """Wait for the release, then send the query; fail if the channel was closed meanwhile."""
        self.query_count += 1
        self.thread = threading.current_thread()
        self.query_sent.set()
        assert self.release.wait(TEST_TIMEOUT)
        return CONNECTION_LOST if self.close_count else self._channel.send(query, while_waiting)

    def close(self) -> None:
        """Abort the query that is held."""
        self.close_count += 1
        self.release.set()
        self._channel.close()

    def join(self) -> None:
        """Wait until the thread that sent the last query has ended."""
        assert self.thread is not None
        self.thread.join(TEST_TIMEOUT)
        assert not self.thread.is_alive()


class HeldAsyncChannel:
    """A channel for an event loop that never returns a reply.

    Attributes:
        query_sent: Set when a query is sent.
        cancelled_count: How many queries were cancelled.
        close_count: How often the channel was closed.
        was_closed: Set when the channel is closed.
    """

    def __init__(self) -> None:
        self.query_sent = asyncio.Event()
        self.was_closed = asyncio.Event()
        self.cancelled_count = 0
        self.close_count = 0

    async def send(self, query: Query) -> Reply:
        """Wait for the cancellation."""
        self.query_sent.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.cancelled_count += 1
        raise AssertionError(query)

    async def aclose(self) -> None:
        """Count the call."""
        self.close_count += 1
        self.was_closed.set()


class RaisingChannel:
    """A channel with a defect: sending raises `ZeroDivisionError`.

    Attributes:
        close_count: How often the channel was closed.
    """

    close_count = 0

    def send(self, query: Query, _: WhileWaiting | None = None) -> Reply:
        """Raise."""
        raise ZeroDivisionError(type(query).__name__)

    def close(self) -> None:
        """Count the call."""
        self.close_count += 1
