"""Pages: their counts, and the polls that join them."""

from datetime import UTC, datetime
from typing import Any

import pytest

from rxflow._models.entities import BackendName, Server
from rxflow._protocol.pages import MalformedRow, Page, Poll, read_all_pages, read_server
from rxflow._protocol.queries import Query, ServerQuery, WorkPoolsQuery

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
MALFORMED = MalformedRow("c", "no message")


def test_a_malformed_row_without_times_sorts_before_all_others() -> None:
    """A malformed row of which only the id is known has times before those of any server."""
    assert MALFORMED.flow_run_id == ""
    assert MALFORMED.timestamp == MALFORMED.created == datetime(1970, 1, 1, tzinfo=UTC)


def test_the_count_of_a_page_includes_malformed_rows() -> None:
    """The count of a page is what the server sent, so that paging skips no row."""
    page = Page(("a", "b"), NOON, (MALFORMED,))
    assert page.count == 3
    assert Page(()).count == 0


def run(poll: Poll[Any], *pages: Page[Any]) -> tuple[list[Query], Any]:
    """Run a poll with these pages; its queries and its result."""
    *others, last = pages
    queries = [next(poll), *(poll.send(page) for page in others)]
    with pytest.raises(StopIteration) as end:
        poll.send(last)
    return queries, end.value.value


def test_read_server_returns_the_row_of_the_server() -> None:
    """The server is the only row of one page."""
    server = Server(backend=BackendName.PREFECT_3, version="3.8.8")
    assert run(read_server(), Page((server,))) == ([ServerQuery()], server)


def test_read_all_pages_joins_pages() -> None:
    """Rows and malformed rows are joined in order, and the last known server time counts."""
    first, second, third = (WorkPoolsQuery(offset=offset) for offset in (0, 2, 3))
    queries, page = run(
        read_all_pages(first),
        Page(("a", "b"), NOON, (), second),
        Page(("d",), None, (MALFORMED,), third),
        Page(("e",)),
    )
    assert queries == [first, second, third]
    assert page == Page(("a", "b", "d", "e"), NOON, (MALFORMED,))
