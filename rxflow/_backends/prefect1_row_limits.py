"""Silent row limits of a Prefect 1: distinguish lists that were cut off from complete ones.

Prefect Server has no row limit, but another backend may have one: it then sends fewer rows than
were requested, without an error. So a page that is shorter than requested, and not shorter than
the longest page that the server is known to send, is checked.

Belongs here: what a page's length says about the server, and the calls that find it out. Does not
belong here: the reading of all pages of a list (`_protocol`, `_logs`).
"""

from typing import Any

from msgspec.structs import replace

from rxflow._backends.backend import Conversation, HttpCall
from rxflow._backends.prefect1_queries import ListQuery, any_rows_call, call_of
from rxflow._backends.prefect1_replies import read_reply, read_row_count
from rxflow._protocol.failures import Failure, FailureKind, Reply
from rxflow._protocol.pages import Page
from rxflow._protocol.queries import (
    PAGE_LIMIT,
    AgentsQuery,
    LogsQuery,
    RunsQuery,
    StatesQuery,
    TaskRunsQuery,
    TaskRunStatesQuery,
)

# Lists whose readers count rows, or infer from a short page that there are no more.
_COUNTED = (RunsQuery, LogsQuery, TaskRunsQuery)

# Lists of which a full page names the query for the next one.
_CONTINUED = (StatesQuery, TaskRunStatesQuery, AgentsQuery)

_LONGEST_AT_FIRST = 2  # rows that any server is assumed to send at once


class RowLimits:
    """What is known of the row limits of one server, per kind of list.

    Several threads may use it at once: each entry is set in one step, and no step depends on two.

    Attributes:
        limits: The limits that were found, keyed by the type of query.
    """

    def __init__(self) -> None:
        """Start without knowledge."""
        self.limits: dict[type, int] = {}
        self._longest_pages: dict[type, int] = {}  # rows that the server is known to send at once
        self._probed_at: dict[type, int] = {}  # page lengths at which rows of any runs were read

    def read_list(self, query: ListQuery) -> Conversation[Reply]:
        """Send a query for a list, and check a page that may have been cut off.

        Returns:
            A complete page; or a `FailureKind.PAGE_LIMIT` failure if a page of log rows or task
            runs was cut off, or if more of them are requested than the server sends at once.
        """
        requested = self._requested(query)  # another thread may lower it before the reply
        call = self._call_of(query)
        if isinstance(call, Failure):
            return call
        http_response = yield call
        if isinstance(http_response, Failure):
            return http_response
        page = read_reply(query, http_response)
        if isinstance(page, Failure):
            return page
        return (yield from self._check(query, page, requested))

    def _check(self, query: ListQuery, page: Page[Any], requested: int) -> Conversation[Reply]:
        kind, count = type(query), page.count
        if self._longest_page(kind) <= count < requested:
            cut_off = yield from self._is_cut_off(query, count)
            if isinstance(cut_off, Failure):
                return cut_off
            if cut_off:
                self.limits[kind] = count
                if isinstance(query, _COUNTED):
                    return _page_limit(count)
        self._record_page(kind, count)
        if isinstance(query, _CONTINUED) and count >= self._requested(query):
            return replace(page, next_query=replace(query, offset=query.offset + count))
        return page

    def _is_cut_off(self, query: ListQuery, count: int) -> Conversation[bool | Failure]:
        """Find out whether a page of so many rows was cut off.

        If there are more rows, and the page from the first row on has as many rows again, that is
        the most that the server sends. Rows that are stored in between make that page longer.
        """
        if (yield from self._sends_more(query, count)):
            return False
        if query.offset == 0:  # otherwise there are more rows, those before the page
            beyond = yield from self._count(replace(query, offset=count))
            if isinstance(beyond, Failure):
                return beyond
            if beyond == 0:
                return False
        from_first_row = yield from self._count(replace(query, offset=0))
        if isinstance(from_first_row, Failure):
            return from_first_row
        self._record_page(type(query), from_first_row)
        return from_first_row == count

    def _sends_more(self, query: ListQuery, count: int) -> Conversation[bool]:
        """Find out whether the server sends more rows of any runs at once.

        A server with many rows shows that in the first attempt. While it has hardly more rows than
        the query is about, there is another attempt each time these have doubled.
        """
        kind, call = type(query), any_rows_call(query)
        if call is None or count < 2 * self._probed_at.get(kind, 0):
            return False
        self._probed_at[kind] = count
        http_response = yield call
        # A failure here is ignored: the other calls decide.
        rows = (
            http_response
            if isinstance(http_response, Failure)
            else read_row_count(query, http_response)
        )
        sent = 0 if isinstance(rows, Failure) else rows
        self._record_page(kind, sent)
        return sent > count

    def _count(self, query: ListQuery) -> Conversation[int | Failure]:
        call = self._call_of(query)
        if isinstance(call, Failure):
            return call
        http_response = yield call
        if isinstance(http_response, Failure):
            return http_response
        return read_row_count(query, http_response)

    def _call_of(self, query: ListQuery) -> HttpCall | Failure:
        limit = self._limit(query)
        if query.limit <= limit:
            return call_of(query)
        if isinstance(query, _COUNTED):
            return _page_limit(limit)
        return call_of(replace(query, limit=limit))

    def _requested(self, query: ListQuery) -> int:
        return min(query.limit, self._limit(query))

    def _limit(self, query: ListQuery) -> int:
        return self.limits.get(type(query), PAGE_LIMIT)

    def _longest_page(self, kind: type) -> int:
        return self._longest_pages.get(kind, _LONGEST_AT_FIRST)

    def _record_page(self, kind: type, count: int) -> None:
        self._longest_pages[kind] = max(self._longest_page(kind), count)


def _page_limit(limit: int) -> Failure:
    text = f"The server sends at most {limit} rows at once"
    return Failure(kind=FailureKind.PAGE_LIMIT, text=text, limit=limit)
