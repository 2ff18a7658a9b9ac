"""The pages of a watch over many runs, divided by runs: a stream of each run.

One subscription is one session. Each run has a feed with one reader, which may come later than the
events: until then they are kept, and once read they are released. No run waits for the reader of
another.
"""

import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, Generic, TypeVar
from weakref import ref

from reactivex import Observable, abc
from reactivex.disposable import Disposable, SingleAssignmentDisposable

from rxflow._forks import inherited_watch, register
from rxflow._runtime.page_feed import PageFeed, PageReader
from rxflow._runtime.page_log import PageLog
from rxflow._runtime.page_spool import PageSpool
from rxflow._runtime.paged import Page
from rxflow._runtime.scheduling import scheduler_of_session
from rxflow._runtime.worker_threads import worker_threads
from rxflow._watching.event_order import EventPage
from rxflow.errors import EventsNotKept
from rxflow.events import Closed, FlowRunEvent

S = TypeVar("S")

_RECENT_ITEMS = 200  # of each run: there may be thousands that are not read yet


def streams_by_run(
    source: Observable[EventPage], open_stream: Callable[[str, Observable[EventPage]], S]
) -> Observable[Page[S]]:
    """Return the streams of runs, each emitted at the run's first event.

    Events that name no run are left out. A stream that the consumer drops without a subscription
    is not kept, and neither are its events.

    Args:
        source: The pages of all runs.
        open_stream: Makes the stream of a run, of its id and of the pages of its events.

    Returns:
        The streams, in pages of one.
    """

    def subscribe(
        observer: abc.ObserverBase[Page[S]], given: abc.SchedulerBase | None = None
    ) -> abc.DisposableBase:
        return _RunRouter(open_stream).start(source, observer, given)

    return Observable(subscribe)


class RunPages(Observable[EventPage]):
    """The pages of one run, for one subscriber."""

    def __init__(
        self, router: "_RunRouter[Any]", run_id: str, feed: PageFeed[FlowRunEvent]
    ) -> None:
        """Create the pages of a run, of the feed that a router puts them into."""
        super().__init__()
        self._router = router
        self._run_id = run_id
        self._feed = feed
        self._taken = threading.Lock()

    def _subscribe_core(
        self, observer: abc.ObserverBase[EventPage], scheduler: abc.SchedulerBase | None = None
    ) -> abc.DisposableBase:
        if self._router.inherited:
            observer.on_error(inherited_watch())
            return Disposable()
        if not self._taken.acquire(blocking=False):
            observer.on_error(EventsNotKept(_TAKEN))
            return Disposable()
        reader = PageReader(observer, scheduler, releases=True)
        return reader.start(self._router.news_of(self._feed, self._run_id))


class _RunRouter(Generic[S]):
    """One subscription: the session, the feed of the streams, and the feeds of the runs.

    The session goes on as long as the streams are read, or a run that is not closed is read or has
    a stream that can still be subscribed to.

    Attributes:
        inherited: Whether this is a forked child of the process that subscribed.
    """

    def __init__(self, open_stream: Callable[[str, Observable[EventPage]], S]) -> None:
        self.inherited = False
        self._open_stream = open_stream
        self._spool = PageSpool()
        self._streams = PageFeed[S](PageLog())
        # Weak: what the consumer has dropped needs no events. While it is read, `_read` holds it.
        self._feeds: dict[str, ref[PageFeed[FlowRunEvent]]] = {}
        self._read: set[PageFeed[Any]] = set()
        self._open: set[str] = set()  # runs that go on, and whose feeds were not dropped or left
        self._lock = threading.RLock()  # since a loop that is finalized leaves in any thread
        self._session = SingleAssignmentDisposable()
        register(self)

    def reset_after_fork(self) -> None:
        """Leave the session to the parent; the streams raise in the child."""
        self.inherited = True

    def start(
        self,
        source: Observable[EventPage],
        observer: abc.ObserverBase[Page[S]],
        given: abc.SchedulerBase | None,
    ) -> abc.DisposableBase:
        """Subscribe to the source; return what disposes of the subscription to the streams."""
        reader = PageReader(observer, given, releases=True)
        subscription = reader.start(self.news_of(self._streams))
        self._session.disposable = source.subscribe(
            self._on_next, self._end, self._end, scheduler=scheduler_of_session(given)
        )
        return subscription

    def news_of(self, feed: PageFeed[Any], run_id: str = "") -> Observable[PageLog[Any]]:
        """Return the news of a run's feed, or of that of the streams, for its only reader."""

        def subscribe(
            observer: abc.ObserverBase[PageLog[Any]], _: abc.SchedulerBase | None = None
        ) -> abc.DisposableBase:
            with self._lock:
                self._read.add(feed)
            feed.add(observer)
            return Disposable(partial(self._leave, run_id, feed, observer))

        return Observable(subscribe)

    def _leave(self, run_id: str, feed: PageFeed[Any], observer: abc.ObserverBase[Any]) -> None:
        feed.remove(observer)
        with self._lock:
            self._read.discard(feed)
            goes_on = feed.ended is None  # else the reader may still read what is left
            if goes_on:
                self._open.discard(run_id)
        # Without the lock: dropped pages are released under that of the spool, in which another
        # thread may run `_drop`.
        if goes_on:
            feed.close()
        self._stop_if_unused()

    def _drop(self, run_id: str, dropped: ref[PageFeed[FlowRunEvent]]) -> None:
        """Take note that nothing holds a run's stream any more."""
        with self._lock:
            if self.inherited or self._feeds.get(run_id) is not dropped:
                return
            self._open.discard(run_id)
            if self._is_used():
                return
        # In a thread of its own: the garbage collector may call this where any lock is held.
        with suppress(RuntimeError):  # a process that ends starts no more threads
            worker_threads.submit(self._session.dispose)

    def _is_used(self) -> bool:
        return self._streams in self._read or bool(self._open)

    def _stop_if_unused(self) -> None:
        with self._lock:
            if self._is_used():
                return
        self._session.dispose()

    def _on_next(self, page: EventPage) -> None:
        for run_id, own in _by_run(page):
            feed = self._feed_of(run_id)
            if feed is not None:
                feed.put(own)
            if isinstance(own[-1], Closed):
                with self._lock:
                    del self._feeds[run_id]
                    self._open.discard(run_id)
                if feed is not None:
                    feed.end()
        self._stop_if_unused()

    def _feed_of(self, run_id: str) -> PageFeed[FlowRunEvent] | None:
        """Return the feed of a run, a new one at its first event; None if it was dropped."""
        known = self._feeds.get(run_id)
        if known is not None:
            return known()
        feed = PageFeed[FlowRunEvent](PageLog(self._spool, _RECENT_ITEMS))
        with self._lock:
            self._feeds[run_id] = ref(feed, partial(self._drop, run_id))
            self._open.add(run_id)
        self._streams.put((self._open_stream(run_id, RunPages(self, run_id, feed)),))
        return feed

    def _end(self, error: Exception | None = None) -> None:
        with self._lock:
            feeds = [known() for known in self._feeds.values()]
        for feed in feeds:
            if feed is not None:
                feed.end(error)
        self._streams.end(error)


def _by_run(page: EventPage) -> list[tuple[str, EventPage]]:
    """Divide a page by its runs; leave out what is about no run."""
    events: dict[str, list[FlowRunEvent]] = {}
    for event in page:
        events.setdefault(event.flow_run_id, []).append(event)
    return [(run_id, tuple(own)) for run_id, own in events.items() if run_id]


_TAKEN = (
    "The stream of this run was subscribed to before, and its events are not kept; share it before "
    "the first subscription with shared(), or read the run again with watch_flow_run"
)
