"""Pages, the type of a poll, which is sent them for its queries, and two polls that layers share.

How a page is read from a response is up to the backends.
"""

from collections.abc import Generator
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

import msgspec

from rxflow._models.entities import Server
from rxflow._protocol.queries import Query, ServerQuery

T = TypeVar("T")

_EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)


class MalformedRow(msgspec.Struct, frozen=True):
    """A row that cannot be read.

    Attributes:
        id: The row's id, or a digest of the row if the id cannot be read either.
        reason: What is wrong with the row, with the JSON path.
        flow_run_id: Of a log row the run that it belongs to; "" if that cannot be read.
        timestamp: When the row was written; that of the row before it, or 1970, if it cannot be
            read.
        created: When the server stored the row; replaced in the same way.
    """

    id: str
    reason: str
    flow_run_id: str = ""
    timestamp: datetime = _EARLIEST
    created: datetime = _EARLIEST


class Page(msgspec.Struct, Generic[T], frozen=True):
    """The rows of one reply.

    Attributes:
        rows: The rows, in the server's order.
        server_time: When the server sent them, by its own clock, to the second.
        malformed: Rows that cannot be read; they are not in ``rows``.
        next_query: The query for the next page; None if this is the last one.
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
"""Yields queries, is sent a page for each, and returns its result after the last one."""


def read_server() -> Poll[Server]:
    """Query the server's kind and version."""
    page: Page[Server] = yield ServerQuery()
    return page.rows[0]


def read_all_pages(query: Query) -> Poll[Page[Any]]:
    """Query a page and all that follow it, and return them as one."""
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
