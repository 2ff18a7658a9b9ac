"""A holdback: a buffer that puts items in order which arrive a little out of order.

It decides which items to emit and which to flag as late. It reads no clock and takes no lock; both
belong to the subscription that owns it.
"""

import heapq
import itertools
from datetime import datetime, timedelta
from typing import Generic, Protocol, TypeVar

import msgspec

from rxflow._models.times import Now
from rxflow.events import Closed, FlowRunLog, Notice, RunSeen, StateChange, TaskRunStateChange


class HasTimestamp(Protocol):
    """An item with a timestamp."""

    @property
    def timestamp(self) -> datetime:
        """The time, aware."""
        ...


D = TypeVar("D", bound=HasTimestamp)


class Holdback(Generic[D]):
    """Puts items in order that arrive out of order by no more than a lateness.

    An item is held until another has arrived whose timestamp is ``lateness`` above its own, or
    until ``lateness`` has passed since its arrival. An item that arrives after a later one was
    emitted is late, and is emitted at once.
    """

    def __init__(self, lateness: float) -> None:
        """Create an empty holdback.

        Args:
            lateness: Seconds.
        """
        self._lateness = lateness
        self._distance = timedelta(seconds=lateness)
        self._arrivals = itertools.count()
        # Ordered by time, then by number of arrival; the third field is the moment of arrival.
        self._held: list[tuple[datetime, int, float, D]] = []
        self._newest_received: datetime | None = None
        self._newest_emitted: datetime | None = None

    def receive(self, item: D, now: Now) -> tuple[D, ...]:
        """Record an item; return the items to emit now."""
        time = self._order_time(item)
        if time is None:
            return (item,)
        if self._newest_emitted is not None and time < self._newest_emitted:
            return (_flagged(item, late=True),)
        newest = self._newest_received
        self._newest_received = newest = time if newest is None else max(newest, time)
        heapq.heappush(self._held, (time, next(self._arrivals), now.mono, item))
        emitted: list[D] = []
        while self._held and newest - self._held[0][0] >= self._distance:
            emitted.append(self._pop())
        return tuple(emitted)

    def due_in(self, now: Now) -> float | None:
        """Return the seconds until `wake` returns items; None if no item is held."""
        if not self._held:
            return None
        return max(0.0, min(arrival for _, _, arrival, _ in self._held) + self._lateness - now.mono)

    def wake(self, now: Now) -> tuple[D, ...]:
        """Return the items that were held for the lateness, and those that sort before them."""
        expired = [entry[:2] for entry in self._held if entry[2] + self._lateness <= now.mono]
        emitted: list[D] = []
        while expired and self._held and self._held[0][:2] <= max(expired):
            emitted.append(self._pop())
        return tuple(emitted)

    def flush(self, _: Now) -> tuple[D, ...]:
        """Return all items held, in order."""
        return tuple(self._pop() for _ in range(len(self._held)))

    def _order_time(self, item: D) -> datetime | None:
        """Return the time to order an item by; None if it is emitted at once."""
        match item:
            case RunSeen():
                return None
            case Notice() | Closed():
                # Their timestamps are of other clocks; they sort after all that arrived before.
                return self._newest_received if self._held else None
            case _:
                return item.timestamp

    def _pop(self) -> D:
        self._newest_emitted, _, _, item = heapq.heappop(self._held)
        return _flagged(item, late=False)


def _flagged(item: D, *, late: bool) -> D:
    """Return an event with its `late` flag set, or the item itself if its kind has none."""
    if isinstance(item, StateChange | FlowRunLog | TaskRunStateChange) and item.late != late:
        return msgspec.structs.replace(item, late=late)
    return item
