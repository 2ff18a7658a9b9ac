"""Announcements of a server that make a poll due, and how many of them one poll stands for.

However many come, one poll is due for all of them: at once, or after a rest that follows from how
long the last poll took that was due in this way. An announcement may come before the row that it
announces can be read, so that a second look follows. When a poll is due without announcements is
decided in `run_polling` and `runs_session`.
"""

import math
from collections.abc import Set as AbstractSet

from rxflow._models.times import Now
from rxflow._protocol.push import AnnouncedChange

SECOND_LOOK = 0.3
"""Seconds after which an announced change is looked for once more: on Prefect 3.8.8 the row of a
task run is stored 34 to 230 ms after its event was sent."""

_SHORTEST_REST = 0.05  # seconds
_REST_SHARE = 3  # times the duration of such a poll, so that they take a quarter of the time


class PollWakes:
    """The announcements for the polls of one run or of one group.

    Attributes:
        announced: What was announced before the poll that began last.
        new: What of that no poll has looked for before.
    """

    def __init__(self) -> None:
        """Start without an announcement."""
        self.announced: AbstractSet[AnnouncedChange] = frozenset()
        self.new: AbstractSet[AnnouncedChange] = frozenset()
        self._pending: set[AnnouncedChange] = set()  # since that poll began
        self._looks_again = False
        self._began = self._rests_until = -math.inf

    def wake(self, change: AnnouncedChange) -> None:
        """Receive an announcement."""
        self._pending.add(change)

    def begin_poll(self, now: Now) -> None:
        """Receive that a poll begins, which reads what was announced until now."""
        self._began = now.mono
        repeated = self.announced if self._looks_again else ()
        self.new = frozenset(self._pending)
        self.announced = self.new.union(repeated)
        self._looks_again = bool(self.new)
        self._pending.clear()

    def end_poll(self, now: Now) -> None:
        """Receive that a poll has ended."""
        if self.new:
            took = now.mono - self._began
            self._rests_until = now.mono + max(_SHORTEST_REST, _REST_SHARE * took)

    def next_due(self, due: float, now: Now) -> float:
        """Return when the next poll is due, in monotonic seconds.

        Args:
            due: When it is due without announcements.
            now: The time.
        """
        if self._pending:
            return min(due, max(now.mono, self._rests_until))
        return min(due, now.mono + SECOND_LOOK) if self._looks_again else due
