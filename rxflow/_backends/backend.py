"""The contract of a backend: HTTP calls, HTTP replies and the conversations that consist of them.

Belongs here: what every backend and the transport share. Does not belong here: anything that only
one kind of server has.
"""

from collections.abc import Generator, Mapping
from typing import Protocol, TypeVar

import msgspec

from rxflow._protocol.failures import Failure, Reply
from rxflow._protocol.queries import Query

T = TypeVar("T")


class HttpCall(msgspec.Struct, frozen=True, kw_only=True):
    """A request, without the parts that belong to the connection.

    Attributes:
        path: Below the API's base URL, with a leading slash; empty for the base URL itself.
        params: The query string, as names and values.
        headers: Headers of this request in addition to those of every request.
        body: JSON, or None for a request without a body.
    """

    method: str
    path: str
    params: tuple[tuple[str, str], ...] = ()
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes | None = None


class HttpResponse(msgspec.Struct, frozen=True, kw_only=True):
    """An HTTP response, read to its end.

    Attributes:
        headers: Keyed by lower-cased name; names are case-insensitive.
        body: Decompressed.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes


HttpResult = HttpResponse | Failure
"""The outcome of one HTTP call: a response of any status, or the reason why none arrived."""

Conversation = Generator[HttpCall, HttpResult, T]
"""Yields HTTP calls, is sent the result of each, and returns what it learned from them."""


class Backend(Protocol):
    """Speaks to one kind of server.

    The channels of one client share one backend, from several threads and event loops. It keeps
    what it learns about the server between conversations.
    """

    def converse(self, query: Query) -> Conversation[Reply]:
        """Make the HTTP calls that a query takes, and read its reply from their results.

        A query that the server does not support, or whose reply is known already, takes no call.
        The conversation never raises.
        """
        ...

    def task_names(self, task_key: str) -> tuple[str, ...]:
        """List the names of a task other than the key that its `TaskRun` has."""
        ...
