"""`Rate`, and the counter that counts items by windows of time."""

from datetime import datetime, timedelta

import msgspec

from rxflow._models.times import Instant, Now


class Rate(msgspec.Struct, frozen=True, kw_only=True):
    """The number of events in one window of time.

    Attributes:
        since: When the window began, by the watcher's clock.
        seconds: The length of the window.
        count: The number of events that arrived in it.
    """

    since: Instant
    seconds: float
    count: int

    @property
    def per_second(self) -> float:
        """Events a second, over the whole window."""
        return self.count / self.seconds


class RateCounter:
    """Counts items by windows of one length that follow each other without a gap.

    The time that a method is given, ``mono``, is the monotonic part of a `Now`.
    """

    def __init__(self, seconds: float, start: Now) -> None:
        """Begin the first window.

        Args:
            seconds: The length of a window.
            start: When the first window begins.
        """
        self._seconds = seconds
        self._start = start
        self._window = 0
        self._count = 0
        self._end = self._end_of_window()

    def receive(self, _: object, mono: float) -> tuple[Rate, ...]:
        """Count an item; return the windows that ended before it arrived."""
        ended = self.wake(mono) if mono >= self._end else ()
        self._count += 1
        return ended

    def due_in(self, mono: float) -> float | None:
        """Return the seconds until the window ends."""
        return max(0.0, self._end - mono)

    def wake(self, mono: float) -> tuple[Rate, ...]:
        """Return the windows that have ended, including empty ones."""
        ended: list[Rate] = []
        while self._end <= mono:
            ended.append(self._next_window())
        return tuple(ended)

    def flush(self, mono: float) -> tuple[Rate, ...]:
        """Return the windows that have ended, and the current one unless it is empty."""
        ended = self.wake(mono)
        return (*ended, self._next_window()) if self._count else ended

    def _end_of_window(self) -> float:
        # Multiplied and not added up, so that no rounding error accumulates.
        return self._start.mono + (self._window + 1) * self._seconds

    def _next_window(self) -> Rate:
        rate = Rate(since=self._since(), seconds=self._seconds, count=self._count)
        self._window += 1
        self._count = 0
        self._end = self._end_of_window()
        return rate

    def _since(self) -> datetime:
        return self._start.utc + timedelta(seconds=self._window * self._seconds)
