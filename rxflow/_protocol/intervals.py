"""The delay between two polls: short while a run is active, longer while it is idle.

Retries after failures have delays of their own, in `rxflow._protocol.retry`.
"""

from random import Random

LONGEST_INTERVAL = 5.0
"""Seconds between two polls without news."""


class PollInterval:
    """The adaptive delay from one poll to the next.

    Attributes:
        longest: The usual longest delay, in seconds.
    """

    def __init__(
        self,
        random: Random,
        *,
        shortest: float = 0.5,
        longest: float = LONGEST_INTERVAL,
        growth: float = 1.5,
    ) -> None:
        """Start at the shortest delay.

        Args:
            random: The source of jitter, which is a tenth either way.
            shortest: Seconds after a poll that returned something new.
            longest: Seconds after many polls that did not.
            growth: Factor from one idle poll to the next.
        """
        self._random = random
        self.longest = longest
        self._shortest, self._growth = shortest, growth
        self._seconds = shortest

    def next_delay(self, *, active: bool, longest: float | None = None) -> float:
        """Return the seconds to the next poll.

        Args:
            active: Whether the last poll returned something new.
            longest: Seconds after many polls that did not; None for those given at the start.
        """
        grown = min(self.longest if longest is None else longest, self._seconds * self._growth)
        self._seconds = self._shortest if active else grown
        return self._seconds * self._random.uniform(0.9, 1.1)
