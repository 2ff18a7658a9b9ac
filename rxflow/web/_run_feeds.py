"""Feeds: for each run one session that all its viewers read, and that outlives a short disconnect.

A browser that lost its connection comes back within seconds. Its session is kept for that long, so
that it goes on with the event after the last one that it received.
"""

import secrets
import threading
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import aclosing, contextmanager
from datetime import timedelta

from reactivex import Observable
from reactivex import operators as ops
from reactivex.disposable import SerialDisposable, SingleAssignmentDisposable

from rxflow._runtime.poll_scheduler import default_scheduler
from rxflow.client import Client
from rxflow.errors import RxflowError
from rxflow.events import FlowRunEvent
from rxflow.watch import FlowRunStream, watch_flow_run


class RunFeed:
    """A session of one run.

    Attributes:
        key: Distinguishes the session from every other one.
        flow_run_id: The run.
        viewers: How many there are.
    """

    def __init__(self, stream: FlowRunStream) -> None:
        """Create a feed without viewers.

        Args:
            stream: The run's events, of a session that is shared.
        """
        self.key = secrets.token_hex(6)
        self.flow_run_id = stream.flow_run_id
        self.viewers = 0
        self._stream = stream
        self._session = SingleAssignmentDisposable()
        self._end_timer = SerialDisposable()
        self._emitted = 0
        self._is_complete = False
        self._has_failed = False

    def start(self) -> None:
        """Read the session like a viewer, so that it does not end with the last of them."""
        self._session.disposable = self._stream.pages().subscribe(
            self._count, lambda _: self._fail(), self._complete
        )

    def end(self) -> None:
        """End the session."""
        self._end_timer.dispose()
        self._session.dispose()

    def end_after(self, linger: timedelta, end: Callable[["RunFeed"], None]) -> None:
        """Call a function after a while, unless `keep` is called before."""

        def act(*_: object) -> None:
            end(self)

        self._end_timer.disposable = default_scheduler.schedule_relative(linger, act)

    def keep(self) -> None:
        """Cancel that call."""
        self._end_timer.disposable = None

    async def pages(self, stop: Observable[object]) -> AsyncGenerator[tuple[FlowRunEvent, ...]]:
        """Yield the events, from the first on for each viewer.

        Args:
            stop: What ends this viewer's pages by emitting something, on the running event loop.

        Raises:
            RxflowError: The session failed.
        """
        own = self._stream.pages().pipe(ops.take_until(stop))
        async with aclosing(aiter(own)) as pages:
            try:
                async for page in pages:
                    yield page
            except RxflowError:
                self._fail()
                raise

    def is_for(self, key: str) -> bool:
        """Return whether a viewer may join that has read the session with a key, or none.

        A session that has completed is for those which have read it: to others, the run may have
        gone on. One that has failed is for no one.
        """
        return not self._has_failed and (not self._is_complete or self.key == key)

    def has_ended_at(self, number: int) -> bool:
        """Return whether the session has completed, and had no event after that of this number."""
        return self._is_complete and number >= self._emitted

    def _count(self, events: tuple[FlowRunEvent, ...]) -> None:
        self._emitted += len(events)

    def _complete(self) -> None:
        self._is_complete = True

    def _fail(self) -> None:
        self._has_failed = True


class RunFeeds:
    """The feeds of the runs that are viewed, or were until shortly before.

    May be used from several threads and event loops.
    """

    def __init__(self, client: Client | None, linger: timedelta) -> None:
        """Create it without feeds.

        Args:
            client: The client of the server to read from; None for the configured server.
            linger: How long a session goes on after its last viewer left.
        """
        self._client = client
        self._linger = linger
        self._lock = threading.RLock()
        self._feeds: dict[str, RunFeed] = {}

    @contextmanager
    def viewed(self, flow_run_id: str, key: str = "") -> Generator[RunFeed]:
        """Yield the feed of a run, which is kept as long as the block lasts.

        The feed of a session that is over is for viewers which have read it; others get another
        one, since the run may have gone on.

        Args:
            flow_run_id: The run.
            key: The key of the session that the viewer has read; empty if it read none.

        Raises:
            InvalidRunId: The id is not a UUID.
        """
        feed = self._join(flow_run_id, key)
        try:
            yield feed
        finally:
            self._leave(feed)

    def close(self) -> None:
        """End all sessions."""
        with self._lock:
            feeds = list(self._feeds.values())
            self._feeds.clear()
        for feed in feeds:
            feed.end()

    def _join(self, flow_run_id: str, key: str) -> RunFeed:
        stream = watch_flow_run(
            flow_run_id, max_duration=None, stream_tasks=True, subflows=True, client=self._client
        )
        with self._lock:
            feed = self._feeds.get(stream.flow_run_id)
            if feed is not None and feed.is_for(key):
                feed.viewers += 1
                feed.keep()
                return feed
            replaced, feed = feed, RunFeed(stream.shared())
            self._feeds[feed.flow_run_id] = feed
            feed.viewers = 1
        if replaced is not None and not replaced.viewers:
            replaced.end()
        feed.start()
        return feed

    def _leave(self, feed: RunFeed) -> None:
        with self._lock:
            feed.viewers -= 1
            if feed.viewers:
                return
            if self._feeds.get(feed.flow_run_id) is feed:
                feed.end_after(self._linger, self._end)
                return
        feed.end()

    def _end(self, feed: RunFeed) -> None:
        with self._lock:
            if feed.viewers:  # one came at the last moment
                return
            if self._feeds.get(feed.flow_run_id) is feed:
                del self._feeds[feed.flow_run_id]
        feed.end()
