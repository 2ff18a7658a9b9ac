"""Holding items back: two queues between a fast source and a slow consumer, and a sorter.

Each queue has a bound, and its own answer to what happens when that is reached. The sorter is told
the time; a lock, where one is needed, is its owner's business.
"""

import heapq
import itertools
from datetime import datetime, timedelta
from typing import Generic, Protocol, TypeVar

import msgspec

from rxflow._models.times import Now
from rxflow.events import Closed, FlowRunLog, Notice, RunSeen, StateChange, TaskRunStateChange


class Dated(Protocol):
    """Whatever has a timestamp."""

    @property
    def timestamp(self) -> datetime:
        """The time, aware."""
        ...


D = TypeVar("D", bound=Dated)


class Holdback(Generic[D]):
    """Puts items in order that come out of order by no more than a lateness.

    An item is held until one has come whose timestamp is ``lateness`` above its own, or until
    ``lateness`` has passed since it came. What comes after a later one was given out is late, and
    goes at once.
    """

    def __init__(self, lateness: float) -> None:
        """Hold nothing.

        Args:
            lateness: Seconds.
        """
        self._lateness = lateness
        self._apart = timedelta(seconds=lateness)
        self._arrivals = itertools.count()
        # By time, then arrival; with the moment of arrival.
        self._held: list[tuple[datetime, int, float, D]] = []
        self._seen: datetime | None = None
        self._given: datetime | None = None

    def receive(self, item: D, now: Now) -> tuple[D, ...]:
        """Take an item in, and give out what need not wait any more."""
        at = self._place(item)
        if at is None:
            return (item,)
        if self._given is not None and at < self._given:
            return (_marked(item, late=True),)
        self._seen = at if self._seen is None else max(self._seen, at)
        heapq.heappush(self._held, (at, next(self._arrivals), now.mono, item))
        given: list[D] = []
        while self._held and self._seen - self._held[0][0] >= self._apart:
            given.append(self._give())
        return tuple(given)

    def due_in(self, now: Now) -> float | None:
        """Seconds until `wake` has something to give; None if nothing is held."""
        if not self._held:
            return None
        return max(0.0, min(came for _, _, came, _ in self._held) + self._lateness - now.mono)

    def wake(self, now: Now) -> tuple[D, ...]:
        """Give out what has waited for its time, and what sorts before it."""
        waited = [entry[:2] for entry in self._held if entry[2] + self._lateness <= now.mono]
        given: list[D] = []
        while waited and self._held and self._held[0][:2] <= max(waited):
            given.append(self._give())
        return tuple(given)

    def flush(self, _: Now) -> tuple[D, ...]:
        """Give out all that is held."""
        return tuple(self._give() for _ in range(len(self._held)))

    def _place(self, item: D) -> datetime | None:
        """Where in time an item belongs; None if it is not to wait."""
        match item:
            case RunSeen():
                return None
            case Notice() | Closed():
                # Stamped by other clocks than the rest: it belongs behind what came before it.
                return self._seen if self._held else None
            case _:
                return item.timestamp

    def _give(self) -> D:
        at, _, _, item = heapq.heappop(self._held)
        self._given = at
        return _marked(item, late=False)


def _marked(item: D, *, late: bool) -> D:
    """Have an event say whether it is late, if its kind can be."""
    if isinstance(item, StateChange | FlowRunLog | TaskRunStateChange) and item.late != late:
        return msgspec.structs.replace(item, late=late)
    return item
