"""The reply to a query: a page, or a failure of one of several kinds.

Transports and backends make failures; the retry policy decides what follows from each kind.
"""

from enum import Enum
from typing import Any

import msgspec

from rxflow._protocol.pages import Page


class FailureKind(Enum):
    """Why a query failed; `rxflow._protocol.retry` has the rule for each kind."""

    REFUSED = "refused"
    """The connection was refused: no process listens at that address."""
    NETWORK = "network"
    """The name could not be resolved, a timeout passed, or the connection broke."""
    CERTIFICATE = "certificate"
    """The server's TLS certificate could not be verified."""
    BUSY = "busy"
    """The server was overloaded: 429, 503 and the like."""
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
    PAGE_LIMIT = "page limit"
    """The page was too large: query fewer rows."""


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """A query that failed.

    Attributes:
        text: What happened, for users: without secrets and response bodies.
        retry_after: Seconds of the server's ``Retry-After``.
        limit: The most rows in one page, with `FailureKind.PAGE_LIMIT`, if the server named it.
    """

    kind: FailureKind
    text: str
    retry_after: float | None = None
    limit: int | None = None


Reply = Page[Any] | Failure
"""What is received for a query."""
