"""Windows onto a stream: its last items, and how many came in each stretch of time."""

from datetime import datetime, timedelta

import msgspec

from rxflow._models.times import Instant, Now


class Rate(msgspec.Struct, frozen=True, kw_only=True):
    """How many events came within one window of time.

    Attributes:
        since: When the window began, by the watcher's clock.
        seconds: How long it is.
        count: How many events came.
    """

    since: Instant
    seconds: float
    count: int

    @property
    def per_second(self) -> float:
        """Events a second, over the whole window."""
        return self.count / self.seconds


class RateCounter:
    """Counts items by windows that follow each other without a gap."""

    def __init__(self, seconds: float, begun: Now) -> None:
        """Begin the first window.

        Args:
            seconds: How long a window is.
            begun: When the first one begins.
        """
        self._seconds = seconds
        self._begun = begun
        self._window = 0
        self._count = 0

    def receive(self, _: object, now: Now) -> tuple[Rate, ...]:
        """Count an item, and give the windows that ended before it."""
        ended = self.wake(now)
        self._count += 1
        return ended

    def due_in(self, now: Now) -> float | None:
        """Seconds until the window ends."""
        return max(0.0, self._end() - now.mono)

    def wake(self, now: Now) -> tuple[Rate, ...]:
        """Give the windows that have ended, the empty ones too."""
        ended: list[Rate] = []
        while self._end() <= now.mono:
            ended.append(self._next())
        return tuple(ended)

    def flush(self, now: Now) -> tuple[Rate, ...]:
        """Give the windows that have ended, and the one that has not if an item came in it."""
        ended = self.wake(now)
        return (*ended, self._next()) if self._count else ended

    def _end(self) -> float:
        # Multiplied and not added up, so that no error adds up either.
        return self._begun.mono + (self._window + 1) * self._seconds

    def _next(self) -> Rate:
        rate = Rate(since=self._since(), seconds=self._seconds, count=self._count)
        self._window += 1
        self._count = 0
        return rate

    def _since(self) -> datetime:
        return self._begun.utc + timedelta(seconds=self._window * self._seconds)
