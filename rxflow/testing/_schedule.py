"""Actions that are due at times of a server's clock, run when the server is next used.

No thread or timer runs between two uses. Each action that became due in between runs then, in the
order of the times, and while it runs the clock shows the time at which it was due: its effects do
not show that it ran late.
"""

import heapq
import itertools
from collections.abc import Callable
from datetime import datetime

from rxflow._models.arguments import utc_time

Action = Callable[[], object]


class Schedule:
    """Actions ordered by the time at which they are due; equal times keep the order of adding."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        """Make a schedule without actions.

        Args:
            clock: The time, aware, of any subclass of `datetime`.
        """
        self._clock = clock
        self._running_at: datetime | None = None
        self._actions: list[tuple[datetime, int, Action]] = []
        self._numbers = itertools.count()

    def now(self) -> datetime:
        """Return the time; while an action runs, the time at which it was due."""
        return self._running_at or utc_time("clock()", self._clock())

    def at(self, when: datetime, action: Action) -> None:
        """Add an action."""
        heapq.heappush(self._actions, (when, next(self._numbers), action))

    def catch_up(self) -> None:
        """Run every action that is due; a call from inside an action does nothing."""
        if self._running_at is not None:
            return
        now = self.now()
        try:
            while self._actions and self._actions[0][0] <= now:
                self._running_at, _, action = heapq.heappop(self._actions)
                action()
        finally:
            self._running_at = None
