"""The reply to a query: a page, or a failure of one of several kinds.

Transports and backends make failures; the retry policy decides what follows from each kind.
"""

from datetime import datetime
from enum import Enum
from typing import Any

import msgspec

from rxflow._models.times import Now
from rxflow._protocol.pages import Page

LONGEST_RETRY_AFTER = 300.0
"""Seconds of the longest ``Retry-After`` that is obeyed."""


class FailureKind(Enum):
    """Why a query failed; `rxflow._protocol.retry` has the rule for each kind."""

    REFUSED = "refused"
    """The connection was refused: no process listens at that address."""
    NETWORK = "network"
    """The name could not be resolved, a timeout passed, or the connection broke."""
    CERTIFICATE = "certificate"
    """The server's TLS certificate could not be verified."""
    WRONG_SCHEME = "wrong scheme"
    """The server speaks TLS where plain HTTP is sent, or plain HTTP where TLS is."""
    BUSY = "busy"
    """The server was overloaded: 503 and the like."""
    RATE_LIMITED = "rate limited"
    """The server accepts fewer queries in a time than it was sent: 429."""
    SERVER = "server"
    """The server failed: another 5xx."""
    UNREADABLE = "unreadable"
    """The response could not be parsed."""
    NOT_AN_API = "not an api"
    """The response did not come from a Prefect API."""
    AUTH = "auth"
    """The server refused the credentials: 401 or 403."""
    RUN_NOT_FOUND = "run not found"
    """The API has no such run."""
    REJECTED = "rejected"
    """The API rejected the request: a defect here, or an old server."""
    UNSUPPORTED = "unsupported"
    """The query has a filter that this kind of server does not have."""
    PAGE_LIMIT = "page limit"
    """The page was too large: query fewer rows."""


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """A query that failed.

    Attributes:
        text: What happened, for users: without secrets and response bodies.
        retry_after: Seconds of the server's ``Retry-After``.
        retry_at: The server's ``Retry-After``, if it is a date in a reply without the server's own
            time.
        limit: The most rows in one page, with `FailureKind.PAGE_LIMIT`, if the server named it.
    """

    kind: FailureKind
    text: str
    retry_after: float | None = None
    limit: int | None = None
    retry_at: datetime | None = None

    def retry_in(self, now: Now) -> float:
        """Return the seconds that the server says to wait, 0 if it says nothing.

        A date is compared with the watcher's clock only where the server's own time is missing.
        """
        if self.retry_after is None and self.retry_at is not None:
            seconds = (self.retry_at - now.utc).total_seconds()
            return min(max(0.0, seconds), LONGEST_RETRY_AFTER)
        return self.retry_after or 0.0


Reply = Page[Any] | Failure
"""What is received for a query."""
