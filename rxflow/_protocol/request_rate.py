"""How often a watch may send a query: within a user's budget, and as rarely as a server demands.

The delay before a retry is decided in `retry`; here, how far apart the queries after it are. The
rate waits for nothing and reads no clock.
"""

import math

from rxflow._models.times import Now
from rxflow._protocol.failures import Failure, FailureKind, Reply

_MINUTE = 60.0
_BURST = 10.0  # seconds whose queries may be sent one right after another
_FIRST_SPACING = 0.25
_LONGEST_SPACING = 10.0
_RECOVERY = 0.95  # factor of the spacing for each good reply
_NO_SPACING = 0.02  # seconds that count as none
_REFUSALS = 3  # a proxy may refuse once or twice for a reason that passes


class RequestRate:
    """The rate of the queries of one watch."""

    def __init__(self, per_minute: float | None = None) -> None:
        """Start with nothing sent.

        Args:
            per_minute: The most queries in any minute; None for no limit.
        """
        # A bucket that starts full of what a burst may use, and is refilled at an even pace.
        self._interval = (_MINUTE + _BURST) / per_minute if per_minute is not None else 0.0
        self._burst = max(_BURST, self._interval)
        self._full_at = -math.inf
        self._sent = -math.inf
        self._spacing = 0.0
        self._refusals = 0

    def delay(self, now: Now) -> float:
        """Return the seconds until the next query may be sent."""
        spaced = self._sent + self._spacing
        in_budget = self._full_at + self._interval - self._burst
        return max(0.0, spaced - now.mono, in_budget - now.mono)

    def record_sent(self, now: Now) -> None:
        """Record that a query is sent."""
        self._sent = now.mono
        self._full_at = max(self._full_at, now.mono) + self._interval

    def record_reply(self, reply: Reply) -> bool:
        """Space queries further apart if the server limits their rate, and less with each page.

        Returns:
            Whether to report that; it is once until the spacing is gone again.
        """
        if not isinstance(reply, Failure):
            if self._spacing:
                self._spacing *= _RECOVERY
                if self._spacing < _NO_SPACING:
                    self._spacing, self._refusals = 0.0, 0
            return False
        if reply.kind is not FailureKind.RATE_LIMITED:
            return False
        self._spacing = min(max(_FIRST_SPACING, 2 * self._spacing), _LONGEST_SPACING)
        self._refusals += 1
        return self._refusals == _REFUSALS
