"""How long a watch has had no good reply: when to retry, and when that is worth a notice.

Which failures a watch handles without a retry is decided in `session`; the delays themselves are
those of `RetryPolicy`.
"""

from random import Random

from rxflow._models.times import Now
from rxflow._protocol.failures import Failure
from rxflow._protocol.retry import Outage, RetryPolicy
from rxflow.errors import RxflowError

DEGRADED_AFTER = 10.0
"""Seconds after a request was sent without a good reply until a notice reports it."""


class OutageTracker:
    """Tracks the time since the last good reply.

    Attributes:
        last_failure: The last failure since a poll succeeded, or None.
    """

    def __init__(self, random: Random) -> None:
        """Start with no request sent.

        Args:
            random: The source of jitter.
        """
        self._retry = RetryPolicy(random)
        self._degraded = False
        self.last_failure: Failure | None = None

    def record_sent(self, now: Now) -> None:
        """Record that a query of a poll is sent."""
        self._retry.record_sent(now)

    def record_page(self) -> None:
        """Record that a page was received, after which the poll may go on later."""
        if not self._degraded:  # else the poll's end is the recovery, and counts from its beginning
            self._retry.record_page()

    def record_success(self, now: Now) -> Outage | None:
        """Record that a poll succeeded; return the outage that this ends, if there was one."""
        self._degraded = False
        self.last_failure = None
        return self._retry.record_success(now)

    def record_failure(self, failure: Failure, now: Now) -> float | RxflowError:
        """Record a failure; return the seconds until the retry, or the error to end with."""
        return self._retry.record_failure(failure, now)

    def degraded_for(self, now: Now) -> float | None:
        """Return the seconds since the last good reply if the watch is degraded, else None."""
        since = self._retry.waiting_since
        return now.mono - since if self._degraded and since is not None else None

    def degraded_in(self, now: Now) -> float | None:
        """Return the seconds until the watch is degraded; None if it is, or awaits no reply."""
        since = self._retry.waiting_since
        if self._degraded or since is None:
            return None
        return max(0.0, since + DEGRADED_AFTER - now.mono)

    def mark_degraded(self) -> None:
        """Record that the watch is degraded, and reported as such."""
        self._degraded = True
