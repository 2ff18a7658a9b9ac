"""The retry policy: how long to retry a failing server, and how long to wait before each retry.

The policy waits for nothing and reads no clock: it is given the times and the random generator.
"""

import math
from collections import Counter
from random import Random

import msgspec

from rxflow._models.times import Now
from rxflow._protocol.failures import Failure, FailureKind
from rxflow.errors import (
    AuthError,
    BadResponse,
    NotAPrefectApi,
    RunNotFound,
    RxflowError,
    ServerError,
    Unreachable,
    UnsupportedFilter,
)


class _RetryRule(msgspec.Struct, frozen=True, kw_only=True):
    """How failures of one kind are retried.

    Attributes:
        error: The error to end with.
        attach: Seconds to retry for before the first poll has succeeded; 0 is not at all.
        watch: Seconds to retry for after it, from the first failure of this kind; None is for ever.
        cap: Seconds of the longest delay between two retries.
    """

    error: type[RxflowError]
    attach: float
    watch: float | None
    cap: float


ATTACH_TIMEOUT = 30.0
"""Seconds that a server has for the first poll to succeed."""

GRACE = 60.0
"""Seconds for which a server may refuse, in one way, a watch that has begun."""

# Within it a proxy has restarted; a server whose replies can never be read is reported soon.
_UNREADABLE_ATTACH_TIMEOUT = 5.0
# Two odd replies, one before an outage and one after it, may be further apart than the grace.
_REFUSALS_TO_END = 3
_BASE_DELAY = 0.5

# A server whose connections are refused is usually restarting: retry often to find it soon. A
# failure that waiting cannot mend ends a watch that has not begun; of one that has begun, each
# kind may be the reply of a proxy, or of a server that is being replaced.
_RULES = {
    FailureKind.REFUSED: _RetryRule(error=Unreachable, attach=ATTACH_TIMEOUT, watch=None, cap=5),
    FailureKind.NETWORK: _RetryRule(error=Unreachable, attach=ATTACH_TIMEOUT, watch=None, cap=5),
    FailureKind.CERTIFICATE: _RetryRule(error=Unreachable, attach=0, watch=GRACE, cap=5),
    FailureKind.WRONG_SCHEME: _RetryRule(error=Unreachable, attach=0, watch=GRACE, cap=5),
    FailureKind.BUSY: _RetryRule(error=ServerError, attach=ATTACH_TIMEOUT, watch=None, cap=30),
    FailureKind.RATE_LIMITED: _RetryRule(
        error=ServerError, attach=ATTACH_TIMEOUT, watch=None, cap=30
    ),
    FailureKind.SERVER: _RetryRule(error=ServerError, attach=ATTACH_TIMEOUT, watch=None, cap=30),
    FailureKind.UNREADABLE: _RetryRule(
        error=BadResponse, attach=_UNREADABLE_ATTACH_TIMEOUT, watch=GRACE, cap=5
    ),
    FailureKind.NOT_AN_API: _RetryRule(error=NotAPrefectApi, attach=0, watch=None, cap=30),
    FailureKind.AUTH: _RetryRule(error=AuthError, attach=0, watch=GRACE, cap=5),
    # A watch that has begun decides by itself whether its run was deleted.
    FailureKind.RUN_NOT_FOUND: _RetryRule(error=RunNotFound, attach=0, watch=0, cap=2.5),
    FailureKind.REJECTED: _RetryRule(error=BadResponse, attach=0, watch=GRACE, cap=5),
    FailureKind.UNSUPPORTED: _RetryRule(error=UnsupportedFilter, attach=0, watch=0, cap=5),
    FailureKind.PAGE_LIMIT: _RetryRule(error=BadResponse, attach=0, watch=GRACE, cap=5),
}


class Outage(msgspec.Struct, frozen=True):
    """A period without a successful poll.

    Attributes:
        began: Monotonic seconds.
        ended: Monotonic seconds.
    """

    began: float
    ended: float


class RetryPolicy:
    """Decides after each failure of a poll how long to wait, or with which error to end.

    Delays have full jitter: they are drawn evenly between 0 and a bound that doubles with each
    failure in a row, and come on top of the server's ``Retry-After``.
    """

    def __init__(self, random: Random, *, mid_read: bool = False) -> None:
        """Start before the first poll.

        Args:
            random: The source of jitter.
            mid_read: Whether a read beside a watch has received pages already: the server has shown
                that it replies well, so whatever it replies now is retried for the seconds that a
                server has at first.
        """
        self._random = random
        self._mid_read = mid_read
        self._failures = 0
        self._first_failures: dict[FailureKind, float] = {}
        self._failures_of_kind: Counter[FailureKind] = Counter()
        self._poll_sent: float | None = None
        self._query_sent: float | None = None
        self._attached = False

    @property
    def waiting_since(self) -> float | None:
        """Since when no page was received, in monotonic seconds; None after a successful poll.

        That is when the last query was sent or, once a query has failed, when the first query of
        that poll was sent.
        """
        return self._poll_sent if self._failures else self._query_sent

    def record_sent(self, now: Now) -> None:
        """Record that a query of a poll is sent."""
        self._query_sent = now.mono
        if self._poll_sent is None:
            self._poll_sent = now.mono

    def record_page(self) -> None:
        """Record that a page was received, after which the poll may go on later."""
        self._query_sent = None

    def record_success(self, now: Now) -> Outage | None:
        """Record that a poll received all its pages.

        Returns:
            The outage that ends with it, if queries had failed before.
        """
        failed, began = self._failures, self._poll_sent
        self._failures = 0
        self._first_failures.clear()
        self._failures_of_kind.clear()
        self._poll_sent = self._query_sent = None
        self._attached = True
        return Outage(began, now.mono) if failed and began is not None else None

    def record_failure(self, failure: Failure, now: Now) -> float | RxflowError:
        """Record that a query failed.

        Returns:
            Seconds to wait before the retry, or the error to end with.
        """
        rule = _RULES[failure.kind]
        self._failures += 1
        self._failures_of_kind[failure.kind] += 1
        left = self._seconds_left(rule, failure.kind, now)
        if left <= 0:
            return rule.error(failure.text)
        bound = min(rule.cap, _BASE_DELAY * 2 ** min(self._failures - 1, 10))
        delay = self._random.uniform(0, bound)
        return min(delay + failure.retry_in(now), left)

    def _seconds_left(self, rule: _RetryRule, kind: FailureKind, now: Now) -> float:
        # In a watch the time counts per kind: an outage of the network must not use up the
        # seconds in which credentials may be refused.
        first_failure = self._first_failures.setdefault(kind, now.mono)
        if not self._attached:
            began = now.mono if self._poll_sent is None else self._poll_sent
            return self._attach_timeout(rule) - (now.mono - began)
        if rule.watch is None:
            return math.inf
        left = rule.watch - (now.mono - first_failure)
        few = rule.watch > 0 and self._failures_of_kind[kind] < _REFUSALS_TO_END
        return max(left, rule.cap) if few else left

    def _attach_timeout(self, rule: _RetryRule) -> float:
        if self._mid_read and (rule.watch is None or rule.watch > 0):
            return ATTACH_TIMEOUT
        return rule.attach
