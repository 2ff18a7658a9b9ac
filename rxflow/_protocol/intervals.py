"""Asking: queries and their pages, how often to ask, and how patient to be when asking fails.

A *poll* is a generator that yields queries and is sent pages; what it learnt it keeps to itself
until the last page is there, so a poll that fails half way has changed nothing. Everything here
is told the time and never waits; the one source of chance is handed in.
"""

from random import Random


class PollInterval:
    """The time between two polls: short while things happen, longer while nothing does."""

    def __init__(
        self, random: Random, *, shortest: float = 0.5, longest: float = 5.0, growth: float = 1.5
    ) -> None:
        """Start at the shortest.

        Args:
            random: The source of jitter, a tenth either way.
            shortest: Seconds, right after something happened.
            longest: Seconds, when nothing has happened for long.
            growth: Factor from one idle poll to the next.
        """
        self._random = random
        self._shortest, self._longest, self._growth = shortest, longest, growth
        self._seconds = shortest

    def next_delay(self, *, active: bool) -> float:
        """Seconds from a poll to the next."""
        grown = min(self._longest, self._seconds * self._growth)
        self._seconds = self._shortest if active else grown
        return self._seconds * self._random.uniform(0.9, 1.1)
