"""Asking: queries and their pages, how often to ask, and how patient to be when asking fails.

A *poll* is a generator that yields queries and is sent pages; what it learnt it keeps to itself
until the last page is there, so a poll that fails half way has changed nothing. Everything here
is told the time and never waits; the one source of chance is handed in.
"""

import math
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
)


class _RetryRule(msgspec.Struct, frozen=True, kw_only=True):
    """What a kind of trouble leads to; times in seconds, None for never, 0 for at once."""

    error: type[RxflowError]
    attach: float | None  # before the first poll was answered to its end: how long to try
    watch: float | None  # after it
    cap: float  # the longest wait between two tries


ATTACH_TIMEOUT = 30.0
AUTH_GRACE = 60.0
_UNREADABLE_IN_A_ROW = 3
_BASE_DELAY = 0.5

# Refused connections end as soon as the server is up again, so they are tried more often.
_RULES = {
    FailureKind.REFUSED: _RetryRule(error=Unreachable, attach=ATTACH_TIMEOUT, watch=None, cap=5),
    FailureKind.NETWORK: _RetryRule(error=Unreachable, attach=ATTACH_TIMEOUT, watch=None, cap=5),
    FailureKind.CERTIFICATE: _RetryRule(error=Unreachable, attach=0, watch=0, cap=5),
    FailureKind.BUSY: _RetryRule(error=ServerError, attach=ATTACH_TIMEOUT, watch=None, cap=30),
    FailureKind.SERVER: _RetryRule(error=ServerError, attach=ATTACH_TIMEOUT, watch=None, cap=30),
    FailureKind.UNREADABLE: _RetryRule(error=BadResponse, attach=ATTACH_TIMEOUT, watch=None, cap=5),
    FailureKind.NOT_AN_API: _RetryRule(error=NotAPrefectApi, attach=0, watch=None, cap=30),
    FailureKind.AUTH: _RetryRule(error=AuthError, attach=0, watch=AUTH_GRACE, cap=5),
    FailureKind.RUN_NOT_FOUND: _RetryRule(error=RunNotFound, attach=0, watch=None, cap=2.5),
    FailureKind.REJECTED: _RetryRule(error=BadResponse, attach=0, watch=0, cap=5),
    FailureKind.PAGE_LIMIT: _RetryRule(error=BadResponse, attach=0, watch=0, cap=5),
}


class Outage(msgspec.Struct, frozen=True):
    """A time in which questions had no good answer, in monotonic seconds."""

    began: float
    ended: float


class RetryPolicy:
    """How long to go on asking a server that does not answer well, and how often.

    Waits are drawn evenly from nothing to a bound that doubles with each failure in a row (full
    jitter), after what the server asks for.
    """

    def __init__(self, random: Random) -> None:
        """Start with all the patience.

        Args:
            random: The source of jitter.
        """
        self._random = random
        self._failures = 0
        self._garbled = 0
        self._kinds: dict[FailureKind, float] = {}
        self._since: float | None = None
        self._question: float | None = None
        self._attached = False

    @property
    def waiting_since(self) -> float | None:
        """Since when there has been no good answer, in monotonic seconds; None while all is well.

        That is when the question was sent that waits for its answer, or, once one has failed, when
        the poll began that could not be answered to its end since.
        """
        return self._since if self._failures else self._question

    def record_sent(self, now: Now) -> None:
        """Note that a question of a poll is sent."""
        self._question = now.mono
        if self._since is None:
            self._since = now.mono

    def record_success(self, now: Now) -> Outage | None:
        """Note that a poll was answered to its end.

        Returns:
            The outage that it ends, if questions had failed before it.
        """
        failed, began = self._failures, self._since
        self._failures = self._garbled = 0
        self._since = self._question = None
        self._kinds.clear()
        self._attached = True
        return Outage(began, now.mono) if failed and began is not None else None

    def record_failure(self, failure: Failure, now: Now) -> float | RxflowError:
        """Note a failure.

        Returns:
            Seconds to wait before asking again, or the error to end with.
        """
        rule = _RULES[failure.kind]
        self._failures += 1
        self._garbled = self._garbled + 1 if failure.kind is FailureKind.UNREADABLE else 0
        began = self._since if self._since is not None else now.mono
        # A grace is for one kind of trouble: an outage before it has not used it up.
        of_its_kind = self._kinds.setdefault(failure.kind, now.mono)
        bound = rule.attach if not self._attached else rule.watch
        left = math.inf
        if bound is not None:
            left = bound - (now.mono - (of_its_kind if self._attached else began))
        if left <= 0 or self._garbled >= _UNREADABLE_IN_A_ROW:
            return rule.error(failure.text)
        wait = self._random.uniform(
            0, min(rule.cap, _BASE_DELAY * 2 ** min(self._failures - 1, 10))
        )
        if failure.retry_after is not None:
            wait += failure.retry_after
        return min(wait, left)
