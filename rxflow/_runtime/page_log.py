"""The pages that a session has emitted, by their numbers, for readers that each have a position."""

import threading
from collections import deque
from typing import Any, Generic, TypeVar
from weakref import finalize

from rxflow._runtime.page_spool import PageSpool, Slot
from rxflow._runtime.paged import Page

T = TypeVar("T")

RECENT_ITEMS = 4_000
"""Items that a log holds as they are, so that readers which keep up share them."""


class PageLog(Generic[T]):
    """Holds pages: the recent ones as they are, those before them in a spool.

    All methods may be called by any thread.
    """

    def __init__(self, spool: PageSpool | None = None, recent_items: int = RECENT_ITEMS) -> None:
        """Create an empty log.

        Args:
            spool: Holds all pages but the recent ones; None if the items are no events, and all
                pages are held as they are.
            recent_items: The number of items from which on a page is recent no longer.
        """
        self._spool: Any = spool
        self._recent_items = recent_items
        self._lock = threading.Lock()
        self._start = 0  # the number of the first page that is held
        self._end = 0  # the number of the next page
        self._slots: deque[Slot] = deque()
        self._recent: deque[Page[T]] = deque()
        self._unpacked = 0  # items in the recent pages
        if spool is not None:
            finalize(self, _release_all, spool, self._slots).atexit = False

    def __len__(self) -> int:
        """Return the number of pages appended so far, released ones included."""
        return self._end

    def append(self, page: Page[T]) -> None:
        """Add a page.

        Raises:
            Overflow: The spool is full.
        """
        with self._lock:
            self._recent.append(page)
            self._unpacked += len(page)
            self._end += 1
            while self._spool and self._unpacked > self._recent_items and len(self._recent) > 1:
                self._slots.append(self._spool.put(self._recent[0]))
                self._unpacked -= len(self._recent.popleft())

    def read(self, number: int) -> Page[T]:
        """Return a page by its number, from 0 on; it must have been appended and not released."""
        with self._lock:
            index = number - self._start
            if index >= len(self._slots):
                return self._recent[index - len(self._slots)]
            slot = self._slots[index]
        page: Page[T] = self._spool.get(slot)  # without the lock: unpacking takes a while
        return page

    def release(self, end: int) -> None:
        """Hold the pages below a number no longer."""
        with self._lock:
            while self._start < end and self._slots:
                self._spool.release(self._slots.popleft())
                self._start += 1
            while self._start < end and self._recent:
                self._unpacked -= len(self._recent.popleft())
                self._start += 1


def _release_all(spool: PageSpool, slots: deque[Slot]) -> None:
    for slot in slots:
        spool.release(slot)
