"""Which poll is next where many runs are watched: groups, single runs and looks take turns.

So that a long history, which is many polls of one run, delays no other for longer than a poll. When
each of them is due is decided in `run_polling`, `group_polling` and `run_finder`.
"""

import math
from collections.abc import Iterable
from enum import Enum, auto
from heapq import heappop, heappush
from itertools import count
from typing import Any

from rxflow._models.times import Now
from rxflow._watching.group_polling import GroupPolling
from rxflow._watching.run_finder import RunFinder
from rxflow._watching.run_polling import RunPolling

RunsPolling = RunPolling | GroupPolling
"""The polls of a run that is read alone, or of a group."""

Polling = RunsPolling | RunFinder
"""What has a poll that can be due."""


class _Turn(Enum):
    """What takes turns where several polls are due."""

    GROUP = auto()
    RUN = auto()
    FINDER = auto()


class PollQueue:
    """The polls to come: of each polling that was put, and was not taken since, the next one.

    Attributes:
        finders: What looks for runs; their polls are always among those to come.
    """

    def __init__(self, finders: Iterable[RunFinder]) -> None:
        """Start with the looks for runs alone.

        Args:
            finders: What looks for runs.
        """
        self.finders = [*finders]
        # Heaps by when each is due. A polling that was put again leaves an entry of before.
        self._heaps: dict[_Turn, list[Any]] = {_Turn.RUN: [], _Turn.GROUP: []}
        self._entries: dict[RunsPolling, int] = {}  # the number of the entry that counts
        self._number = count()
        self._turns = [*_Turn]  # the next comes first

    def put(self, polling: RunsPolling) -> None:
        """Add a poll, or put it where it belongs now that it is due at another time."""
        turn = _Turn.GROUP if isinstance(polling, GroupPolling) else _Turn.RUN
        number = self._entries[polling] = next(self._number)
        heappush(self._heaps[turn], (polling.due, number, polling))

    def move(self, polling: RunsPolling, before: float) -> None:
        """Put a poll where it belongs if it was due at another time, unless it was taken."""
        if polling.due != before and polling in self._entries:
            self.put(polling)

    def remove(self, polling: RunsPolling) -> None:
        """Remove a poll that was not taken."""
        del self._entries[polling]

    def next_due(self) -> float:
        """Return when the first poll is due, in monotonic seconds; infinite for never."""
        return min(map(self._due, _Turn))

    def take(self, now: Now) -> Polling:
        """Take a poll of each kind in turn where several are due, else the first due."""
        due = (turn for turn in self._turns if self._due(turn) <= now.mono)
        turn = next(due, None) or min(self._turns, key=self._due)
        self._turns.remove(turn)
        self._turns.append(turn)
        if turn is _Turn.FINDER:
            return min(self.finders, key=lambda finder: finder.due)
        polling: RunsPolling = heappop(self._heaps[turn])[2]
        del self._entries[polling]
        return polling

    def hurry_first(self, now: Now) -> None:
        """Make the first poll of runs due now, if there is one."""
        heads = [head for heap in self._heaps.values() if (head := self._head(heap)) is not None]
        if heads:
            first = min(heads, key=lambda polling: polling.due)
            before, first.due = first.due, min(first.due, now.mono)
            self.move(first, before)

    def _due(self, turn: _Turn) -> float:
        if turn is _Turn.FINDER:
            return min((finder.due for finder in self.finders), default=math.inf)
        head = self._head(self._heaps[turn])
        return math.inf if head is None else head.due

    def _head(self, heap: list[Any]) -> RunsPolling | None:
        """Return what is due first, and drop entries of before."""
        while heap and self._entries.get(heap[0][2]) != heap[0][1]:
            heappop(heap)
        return heap[0][2] if heap else None
