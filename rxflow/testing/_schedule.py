"""What is to happen, and when: caught up with whenever somebody looks.

Nothing runs between two looks. Each action that fell due since the last one happens then, in the
order of time, and while it does the time is its own: nobody can tell that it was late.
"""

import heapq
import itertools
from collections.abc import Callable
from datetime import datetime

Action = Callable[[], object]


class Schedule:
    """Actions by the time at which they are due; those of one instant in the order they came."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        """Make an agenda without actions.

        Args:
            clock: The time.
        """
        self._clock = clock
        self._happening: datetime | None = None
        self._actions: list[tuple[datetime, int, Action]] = []
        self._numbers = itertools.count()

    def now(self) -> datetime:
        """The time; while an action happens, the time at which it was due."""
        return self._happening or self._clock()

    def at(self, when: datetime, action: Action) -> None:
        """Have something happen."""
        heapq.heappush(self._actions, (when, next(self._numbers), action))

    def catch_up(self) -> None:
        """Have everything happen that is due; what an action does while it happens adds nothing."""
        if self._happening is not None:
            return
        now = self._clock()
        try:
            while self._actions and self._actions[0][0] <= now:
                self._happening, _, action = heapq.heappop(self._actions)
                action()
        finally:
            self._happening = None
