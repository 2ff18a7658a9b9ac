"""Pages of a source that all subscribers share: one session, and its history for each of them."""

import threading
from collections.abc import Callable
from functools import partial
from typing import Any

from reactivex import Observable, abc
from reactivex import operators as ops
from reactivex.disposable import Disposable, SingleAssignmentDisposable

from rxflow._forks import register
from rxflow._runtime.page_feed import PageFeed, PageReader
from rxflow._runtime.page_log import PageLog
from rxflow._runtime.page_spool import PageSpool
from rxflow._runtime.scheduling import scheduler_of_session
from rxflow._watching.event_order import EventPage, source_of
from rxflow._watching.watch_spec import EventSource
from rxflow.events import FlowRunEvent


class SharedPages(Observable[EventPage]):
    """Subscribes to a source once for all subscribers; each receives all pages from the first on.

    The first subscriber starts the session, and the last one that leaves before its end stops it.
    The history of a session that has completed is kept, and replayed to later subscribers; after
    an error, or after a stop, the next subscriber starts a new session.
    """

    def __init__(
        self, source: Observable[EventPage], scheduler: abc.SchedulerBase | None = None
    ) -> None:
        """Create pages without a session.

        Args:
            source: The pages to share.
            scheduler: The scheduler of the session; if None, it has turns of its own, or is in
                virtual time if the first subscriber is.
        """
        super().__init__()
        self._source = source
        self._scheduler = scheduler
        self._start_without_session()
        register(self)

    def _start_without_session(self) -> None:
        self._lock = threading.RLock()
        self._session: _Session | None = None

    def reset_after_fork(self) -> None:
        """Leave the session to the parent; a subscriber in the child starts another one."""
        self._start_without_session()

    def _subscribe_core(
        self, observer: abc.ObserverBase[EventPage], scheduler: abc.SchedulerBase | None = None
    ) -> abc.DisposableBase:
        return PageReader(observer, scheduler).start(Observable(self._join))

    def _join(
        self,
        observer: abc.ObserverBase[PageLog[FlowRunEvent]],
        given: abc.SchedulerBase | None = None,
    ) -> abc.DisposableBase:
        with self._lock:
            session = self._session
            starts = session is None
            if session is None:
                session = self._session = _Session(self._source, self._forget)
            session.feed.add(observer)
        if starts:
            session.start(self._scheduler or scheduler_of_session(given))
        return Disposable(partial(self._leave, session, observer))

    def _leave(self, session: "_Session", observer: abc.ObserverBase[Any]) -> None:
        with self._lock:
            session.feed.remove(observer)
            if session.feed.is_read or session.feed.ended is not None:
                return
            self._forget(session)
        session.subscription.dispose()

    def _forget(self, session: "_Session") -> None:
        with self._lock:
            if self._session is session:
                self._session = None


def pages_of_source(
    emitted: Observable[EventPage], source: EventSource, sources: frozenset[EventSource]
) -> Observable[EventPage]:
    """Return the pages of one source among those that a session emits.

    Args:
        emitted: The pages of all sources, of one source each.
        source: The source.
        sources: What the session reads.

    Raises:
        ValueError: The session does not read the source.
    """
    if source not in sources:
        raise ValueError(
            f"This stream has no {source}, since its session does not read them; "
            f"pass stream_{source}=True to the watch"
        )

    def is_of_source(page: EventPage) -> bool:
        return source_of(page[0]) is source

    return emitted.pipe(ops.filter(is_of_source))


class _Session:
    """One subscription to the source.

    Attributes:
        feed: What it has emitted.
        subscription: What disposes of it.
    """

    def __init__(self, source: Observable[EventPage], forget: Callable[["_Session"], None]) -> None:
        self.feed = PageFeed[FlowRunEvent](PageLog(PageSpool()))
        self.subscription = SingleAssignmentDisposable()
        self._source = source
        self._forget = forget

    def start(self, scheduler: abc.SchedulerBase | None) -> None:
        """Subscribe to the source."""
        self.subscription.disposable = self._source.subscribe(
            self.feed.put, self._on_error, self.feed.end, scheduler=scheduler
        )

    def _on_error(self, error: Exception) -> None:
        self._forget(self)
        self.feed.end(error)
