"""Asking: queries and their pages, how often to ask, and how patient to be when asking fails.

A *poll* is a generator that yields queries and is sent pages; what it learnt it keeps to itself
until the last page is there, so a poll that fails half way has changed nothing. Everything here
is told the time and never waits; the one source of chance is handed in.
"""

from enum import Enum
from typing import Any

import msgspec

from rxflow._protocol.pages import Page


class FailureKind(Enum):
    """Why there is no good answer; what follows from each is in `_PATIENCE`."""

    REFUSED = "refused"  # nobody listens there
    NETWORK = "network"  # no name, a time-out, a connection that broke
    CERTIFICATE = "certificate"  # whoever answers cannot prove who it is
    BUSY = "busy"  # 429, or 503: come again later
    SERVER = "server"  # another 5xx
    UNREADABLE = "unreadable"  # cannot be parsed
    NOT_AN_API = "not an api"  # something else than a Prefect API answered
    AUTH = "auth"  # 401 or 403
    RUN_NOT_FOUND = "run not found"  # the API says that there is no such run
    REJECTED = "rejected"  # the API does not take the question: a defect of ours, or an old server
    PAGE_LIMIT = "page limit"  # ask for fewer rows


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """A question without a good answer.

    Attributes:
        text: What happened, in words fit for a user: no secrets, no response bodies.
        retry_after: Seconds that the server asked to be left alone for.
        limit: The most rows the server gives at once, with `FailureKind.PAGE_LIMIT`.
    """

    kind: FailureKind
    text: str
    retry_after: float | None = None
    limit: int | None = None


Reply = Page[Any] | Failure
"""What a query is answered with: a page of rows, or the reason why there is none."""
