"""Codecs, one a server: what a question looks like on the wire, and what an answer means.

A backend is pure, though it may learn how its server answers. It knows a server's paths, keys and
error answers, and nobody else does.
"""

from collections.abc import Generator, Mapping
from typing import Any, Protocol, TypeVar

import msgspec

from rxflow._protocol.failures import Failure, Reply
from rxflow._protocol.pages import Page
from rxflow._protocol.queries import Query

T = TypeVar("T")


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


Conversation = Generator[HttpCall, HttpReply | Failure, T]
"""Yields calls, is sent what came of each, and returns what it learnt."""


class Backend(Protocol):
    """What it takes to speak to one kind of server."""

    def encode(self, query: Query) -> HttpCall | Reply:
        """Put a question into the server's words, or answer it without asking."""
        ...

    def decode(self, query: Query, reply: HttpReply) -> Reply:
        """Read the answer to a question; never raises."""
        ...

    def check(self, query: Query, page: Page[Any]) -> Conversation[Reply]:
        """Ask what else must be known before a good answer can be believed; give what holds."""
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
