"""A holdback: a buffer that puts items in order which arrive a little out of order.

It decides which items to emit and which to flag as late. It reads no clock and takes no lock; both
belong to the subscription that owns it.
"""

import heapq
import itertools
from collections import deque
from collections.abc import Callable
from datetime import datetime, timedelta
from itertools import takewhile
from typing import Generic, Protocol, TypeVar

import msgspec

from rxflow.events import (
    AllClosed,
    Closed,
    FlowRunLog,
    Notice,
    RunSeen,
    StateChange,
    TaskRunStateChange,
)


class HasTimestamp(Protocol):
    """An item with a timestamp."""

    @property
    def timestamp(self) -> datetime:
        """The time, aware."""
        ...


D = TypeVar("D", bound=HasTimestamp)

_Entry = tuple[datetime, int, float, D]
"""An item that is held: its time, its number of arrival, its moment of arrival and itself.

Entries sort by time, then by number.
"""

# Log lines first, since most events are: each class that does not match takes 0.1 us.
_FLAGGED_KINDS = (FlowRunLog, StateChange, TaskRunStateChange)


class Holdback(Generic[D]):
    """Puts items in order that arrive out of order by no more than a lateness.

    An item is held until another has arrived whose timestamp is ``lateness`` above its own, or
    until ``lateness`` has passed since its arrival. An item that arrives after a later one was
    emitted is late, and is emitted at once. The time that a method is given, ``mono``, is seconds
    of a clock that never steps.
    """

    def __init__(self, lateness: float) -> None:
        """Create an empty holdback.

        Args:
            lateness: Seconds.
        """
        self._lateness = lateness
        self._distance = timedelta(seconds=lateness)
        self._numbers = itertools.count()
        # Nearly all items arrive in order. The first one of this queue is its oldest as well, and
        # the last one sorts after all that are held.
        self._in_order: deque[_Entry[D]] = deque()
        self._displaced: _DisplacedEntries[D] = _DisplacedEntries()
        self._newest_emitted: datetime | None = None

    def receive(self, item: D, mono: float) -> tuple[D, ...]:
        """Record an item; return the items to emit now."""
        # Log lines first, since most events are: for each of them a call of 0.1 us less.
        time = item.timestamp if isinstance(item, FlowRunLog) else self._order_time(item)
        if time is None:
            return (item,)
        if self._newest_emitted is not None and time < self._newest_emitted:
            return (_as_late(item),)
        entry = (time, next(self._numbers), mono, item)
        in_order = self._in_order
        if in_order and time < in_order[-1][0]:
            self._displaced.add(entry)
        else:
            in_order.append(entry)
        if self._displaced.arrived:
            return self._pop_while(self._is_settled)
        # As in `_pop_while`, for a queue without displaced entries: 0.9 us less an item.
        newest = in_order[-1][0]
        emitted: list[D] = []
        while in_order and newest - in_order[0][0] >= self._distance:
            self._newest_emitted, _, _, first = in_order.popleft()
            emitted.append(_as_timely(first))
        return tuple(emitted)

    def due_in(self, mono: float) -> float | None:
        """Return the seconds until `wake` returns items; None if no item is held."""
        if not self._in_order:
            return None
        oldest = min(queue[0][2] for queue in (self._in_order, self._displaced.arrived) if queue)
        return max(0.0, oldest + self._lateness - mono)

    def wake(self, mono: float) -> tuple[D, ...]:
        """Return the items that were held for the lateness, and those that sort before them."""

        def is_expired(entry: _Entry[D]) -> bool:
            return entry[2] + self._lateness <= mono

        expired = [
            *takewhile(is_expired, self._in_order),
            *takewhile(is_expired, self._displaced.arrived),
        ]
        if not expired:
            return ()
        last = max(expired)
        return self._pop_while(lambda entry: entry <= last)

    def flush(self, _: float) -> tuple[D, ...]:
        """Return all items held, in order."""
        return self._pop_while(lambda _: True)

    def _is_settled(self, entry: _Entry[D]) -> bool:
        """Whether an item has arrived whose time is the lateness above that of an entry."""
        return self._in_order[-1][0] - entry[0] >= self._distance

    def _pop_while(self, is_due: Callable[[_Entry[D]], bool]) -> tuple[D, ...]:
        """Remove the first entries and return their items, up to the first that is not due."""
        entries = self._displaced.pop_while(is_due)
        while self._in_order and is_due(self._in_order[0]):
            entries.append(self._in_order.popleft())
        if not entries:
            return ()
        entries.sort()
        self._newest_emitted = entries[-1][0]
        return tuple(_as_timely(entry[3]) for entry in entries)

    def _order_time(self, item: D) -> datetime | None:
        """Return the time to order an item by; None if it is emitted at once."""
        match item:
            case RunSeen():
                return None
            case Notice() | Closed() | AllClosed():
                # Their timestamps are of other clocks; they sort after all that arrived before.
                return self._in_order[-1][0] if self._in_order else None
            case _:
                return item.timestamp


class _DisplacedEntries(Generic[D]):
    """The entries that arrived after one that is held and sorts after them.

    Attributes:
        arrived: The entries as they arrived; empty if none is held. The first one is held, while
            later ones may be popped already.
    """

    def __init__(self) -> None:
        self.arrived: deque[_Entry[D]] = deque()
        self._heap: list[_Entry[D]] = []

    def add(self, entry: _Entry[D]) -> None:
        """Add an entry."""
        heapq.heappush(self._heap, entry)
        self.arrived.append(entry)

    def pop_while(self, is_due: Callable[[_Entry[D]], bool]) -> list[_Entry[D]]:
        """Remove and return the first entries, up to the first that is not due."""
        popped: list[_Entry[D]] = []
        while self._heap and is_due(self._heap[0]):
            popped.append(heapq.heappop(self._heap))
        if popped:
            self._forget_until(popped[-1])
        return popped

    def _forget_until(self, last: _Entry[D]) -> None:
        """Drop popped entries from the beginning, or wherever they are once they are most."""
        while self.arrived and self.arrived[0] <= last:
            self.arrived.popleft()
        if len(self.arrived) > 2 * len(self._heap):
            self.arrived = deque(entry for entry in self.arrived if entry > last)


def _as_timely(item: D) -> D:
    """Return an event whose `late` flag is not set; an item of a kind without one as it is."""
    if isinstance(item, _FLAGGED_KINDS) and item.late:
        return msgspec.structs.replace(item, late=False)
    return item


def _as_late(item: D) -> D:
    """Return an event whose `late` flag is set; an item of a kind without one as it is."""
    if isinstance(item, _FLAGGED_KINDS) and not item.late:
        return msgspec.structs.replace(item, late=True)
    return item
