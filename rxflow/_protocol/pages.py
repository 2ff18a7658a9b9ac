"""Asking: queries and their pages, how often to ask, and how patient to be when asking fails.

A *poll* is a generator that yields queries and is sent pages; what it learnt it keeps to itself
until the last page is there, so a poll that fails half way has changed nothing. Everything here
is told the time and never waits; the one source of chance is handed in.
"""

from collections.abc import Generator
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

import msgspec

from rxflow._models.entities import Server
from rxflow._protocol.queries import Query, ServerQuery

T = TypeVar("T")

_BEFORE_ALL = datetime.min.replace(tzinfo=UTC)


class MalformedRow(msgspec.Struct, frozen=True):
    """A row that cannot be read.

    Attributes:
        id: The row's id, or a digest of the row where not even that can be read.
        reason: What is wrong with it, with the JSON path.
        flow_run_id: The run it belongs to, of a log row; as good as can be read, like its times.
        timestamp: When it was written; that of the row before it where it cannot be read.
        created: When the server stored it; the same.
    """

    id: str
    reason: str
    flow_run_id: str = ""
    timestamp: datetime = _BEFORE_ALL
    created: datetime = _BEFORE_ALL


class Page(msgspec.Struct, Generic[T], frozen=True):
    """A good answer.

    Attributes:
        rows: The rows, in the server's order.
        server_time: When the server answered, by its own clock, to the second.
        malformed: Rows that were left out of ``rows``.
        next_query: The query for more rows, where there may be more than one answer holds.
    """

    rows: tuple[T, ...]
    server_time: datetime | None = None
    malformed: tuple[MalformedRow, ...] = ()
    next_query: "Query | None" = None

    @property
    def count(self) -> int:
        """How many rows the server sent."""
        return len(self.rows) + len(self.malformed)


Poll = Generator[Query, Page[Any], T]
"""Yields queries, is sent a page for each, returns what it learnt."""


def read_server() -> Poll[Server]:
    """Ask who answers."""
    page: Page[Server] = yield ServerQuery()
    return page.rows[0]


def read_all_pages(query: Query) -> Poll[Page[Any]]:
    """Ask for all rows of an answer, however many answers they take."""
    page: Page[Any] = yield query
    while page.next_query is not None:
        more: Page[Any] = yield page.next_query
        page = Page(
            (*page.rows, *more.rows),
            more.server_time or page.server_time,
            (*page.malformed, *more.malformed),
            more.next_query,
        )
    return page
