"""A feed: the pages of one source, for readers that join at any time and keep their own pace.

The feed only says that there is news. Each reader takes its pages from the log in turns on its own
scheduler, so that the source never waits for a reader, and no reader for another.
"""

import threading
from typing import Any, Generic, TypeVar

from reactivex import abc

from rxflow._runtime.operator_subscription import OperatorSubscription
from rxflow._runtime.page_log import PageLog
from rxflow._runtime.paged import Page

T = TypeVar("T")


class PageFeed(Generic[T]):
    """The pages that a source has emitted so far, how it ended, and the observers of news.

    An observer of news receives the log when it joins and whenever a page was put, and the end.

    Attributes:
        log: The pages.
        ended: None until the source has ended; then its error, if there was one.
    """

    def __init__(self, log: PageLog[T]) -> None:
        """Create a feed of a source that has not emitted anything.

        Args:
            log: Holds the pages; it is empty.
        """
        self.log = log
        self.ended: tuple[Exception | None] | None = None
        self._lock = threading.RLock()  # since a loop that is finalized leaves in any thread
        self._observers: list[abc.ObserverBase[PageLog[T]]] = []
        self._is_closed = False

    @property
    def is_read(self) -> bool:
        """Whether there are observers."""
        return bool(self._observers)

    def put(self, page: Page[T]) -> None:
        """Add a page, unless the feed is closed."""
        if self._is_closed:
            return
        self.log.append(page)
        with self._lock:
            observers = tuple(self._observers)
        for observer in observers:
            observer.on_next(self.log)

    def close(self) -> None:
        """Drop all pages, and those to come: none of them will be read any more."""
        self._is_closed = True
        self.log = PageLog[T]()

    def end(self, error: Exception | None = None) -> None:
        """End the feed, with an error or without one, unless it has ended."""
        with self._lock:
            if self.ended is not None:
                return
            self.ended = (error,)
            observers = tuple(self._observers)
        for observer in observers:
            _end(observer, error)

    def add(self, observer: abc.ObserverBase[PageLog[T]]) -> None:
        """Add an observer of news."""
        # Before it is known here, since the end may come at once and nothing may follow it; and
        # after, since a page may have been put in between.
        observer.on_next(self.log)
        with self._lock:
            ended = self.ended
            self._observers.append(observer)
        observer.on_next(self.log)
        if ended is not None:
            _end(observer, ended[0])

    def remove(self, observer: abc.ObserverBase[PageLog[T]]) -> None:
        """Remove an observer; it is unknown if it was removed before."""
        with self._lock:
            if observer in self._observers:
                self._observers.remove(observer)


class PageReader(OperatorSubscription[PageLog[T], Page[T]]):
    """Emits the pages of a feed from the first on, one in each turn."""

    def __init__(
        self,
        observer: abc.ObserverBase[Page[T]],
        given: abc.SchedulerBase | None,
        *,
        releases: bool = False,
    ) -> None:
        """Create a reader that has not joined a feed yet.

        Args:
            observer: The observer to emit to.
            given: The scheduler passed to `subscribe`, if any.
            releases: Whether the reader is the only one, so that pages are released once read.
        """
        super().__init__(observer, given)
        self._releases = releases
        self._log: PageLog[T] | None = None
        self._position = 0  # the number of the next page to emit
        self._ended: tuple[Exception | None] | None = None

    def on_next(self, item: PageLog[T]) -> None:
        """Receive the log, which may have pages that were not emitted."""
        if self.active:
            self._log = item
            self.schedule_turn()

    def on_error(self, error: Exception) -> None:
        """Emit the error after the last page."""
        self._ended = (error,)
        self.schedule_turn()

    def on_completed(self) -> None:
        """Complete after the last page."""
        self._ended = (None,)
        self.schedule_turn()

    def due_in(self) -> float | None:
        """Return 0 if a page or the end is to be emitted, else None."""
        log = self._log
        has_page = log is not None and self._position < len(log)
        return 0.0 if has_page or self._ended is not None else None

    def wake(self) -> None:
        """Emit the next page, or the end if there is none."""
        log = self._log
        if log is None or self._position == len(log):
            if self._ended is not None:
                self.finish(self._ended[0])
            return
        page = log.read(self._position)
        self._position += 1
        if self._releases:
            log.release(self._position)
        self.observer.on_next(page)

    def tear_down(self) -> None:
        """Leave the feed, and drop its log: what subscribes later reads it from the feed."""
        super().tear_down()
        self._log = None


def _end(observer: abc.ObserverBase[Any], error: Exception | None) -> None:
    if error is None:
        observer.on_completed()
    else:
        observer.on_error(error)
