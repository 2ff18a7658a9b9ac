"""Read the flow runs that match a filter, the newest first, as a poll.

Pages are bounded by the expected start of the last run that was read, and not by an offset: runs
that appear or disappear meanwhile move no other run to another page. Runs of one expected start are
in no order; where they fill a page, they are read in the order that has no ties.
"""

from datetime import datetime, timedelta

from msgspec.structs import replace

from rxflow._models.entities import FlowRun
from rxflow._protocol.pages import MalformedRow, Page, Poll
from rxflow._protocol.queries import RunFilter, RunsQuery

_RESOLUTION = timedelta(microseconds=1)  # of the servers' times


def read_newest(
    where: RunFilter, rows: int, most: int | None = None, *, before: datetime | None = None
) -> Poll[Page[FlowRun]]:
    """Read the runs that match a filter, in descending order of their expected start.

    Args:
        where: The filter.
        rows: The most rows the server returns at once.
        most: The most runs to read; None for all of them.
        before: Only runs whose expected start is at this time or earlier; None for all of them.
    """
    found = _Found(most)
    limit = min(rows, most or rows)
    query = RunsQuery(where=where, before=before, newest_first=True, limit=limit)
    while not found.is_full:
        page: Page[FlowRun] = yield query
        found.add(page)
        if page.count < query.limit:
            break
        last = page.rows[-1].expected_start_time if page.rows else None
        if last is None:
            query = replace(query, offset=query.offset + page.count)
        elif page.rows[0].expected_start_time != last:
            query = replace(query, before=last, offset=0)
        else:
            yield from _read_tied(replace(query, after=last, before=last), found)
            query = replace(query, before=last - _RESOLUTION, offset=0)
    return found.page


def _read_tied(query: RunsQuery, found: "_Found") -> Poll[None]:
    """Read all runs of one expected start."""
    query = replace(query, newest_first=False, offset=0)
    while not found.is_full:
        page: Page[FlowRun] = yield query
        found.add(page)
        if page.count < query.limit:
            return
        query = replace(query, offset=query.offset + page.count)


class _Found:
    """The runs that were read, each once."""

    def __init__(self, most: int | None) -> None:
        self._most = most
        self._rows: dict[str, FlowRun] = {}
        self._malformed: dict[str, MalformedRow] = {}

    def add(self, page: Page[FlowRun]) -> None:
        """Add the runs of a page that were not read before."""
        for row in page.rows:
            self._rows.setdefault(row.id, row)
        self._malformed |= {row.id: row for row in page.malformed}

    @property
    def is_full(self) -> bool:
        """Whether enough runs were read."""
        return self._most is not None and len(self._rows) >= self._most

    @property
    def page(self) -> Page[FlowRun]:
        """The runs as one page."""
        malformed = tuple(self._malformed.values())
        return Page(tuple(self._rows.values())[: self._most], malformed=malformed)
