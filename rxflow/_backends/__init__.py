"""Codecs, one a server: what a question looks like on the wire, and what an answer means.

A backend is pure. It knows a server's paths, keys and error answers, and nobody else does.
"""

from collections.abc import Mapping
from typing import Any, Protocol

import msgspec

from rxflow._polling import Failure, Page, Query


class HttpCall(msgspec.Struct, frozen=True, kw_only=True):
    """A request, without what belongs to the connection.

    Attributes:
        path: Below the API's base URL, with a leading slash.
        params: The query string, as names and values.
        headers: Headers that this request has beside those of every request.
        body: JSON, or None for a request without a body.
    """

    method: str
    path: str
    params: tuple[tuple[str, str], ...] = ()
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes | None = None


class HttpReply(msgspec.Struct, frozen=True, kw_only=True):
    """An answer, read to its end.

    Attributes:
        headers: By lower-case name.
        body: Decompressed.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes


class Backend(Protocol):
    """What it takes to speak to one kind of server."""

    def encode(self, query: Query) -> HttpCall:
        """Put a question into the server's words."""
        ...

    def decode(self, query: Query, reply: HttpReply) -> Page[Any] | Failure:
        """Read the answer to a question; never raises."""
        ...

    def task_names(self, task_key: str) -> tuple[str, ...]:
        """What a task goes by, beside the key that a `TaskRun` has of it."""
        ...

    def pass_call(self, reply: HttpReply, client: str) -> HttpCall | None:
        """The call that gets a pass, if an answer says that one is needed.

        Args:
            reply: The answer to any call.
            client: Names this client to the server, the same each time.
        """
        ...

    def pass_headers(self, reply: HttpReply, client: str) -> tuple[tuple[str, str], ...]:
        """The headers that show a pass, from the answer to its call; none if it was not given."""
        ...
