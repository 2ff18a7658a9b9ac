"""Find flow runs by what people know of them: that they are the latest, or how their ids begin.

Belongs here: polls for what no filter of a server can say. Does not belong here: the words in which
a run is written on a command line (`rxflow.cli`).
"""

from datetime import timedelta

from rxflow._models.entities import FlowRun
from rxflow._protocol.pages import Page, Poll
from rxflow._protocol.queries import RunFilter, RunsQuery
from rxflow._views.newest_runs import read_newest

# A server states its time to the second, and uvicorn, which serves Prefect 3, once in a second.
_STAMP_AGE = timedelta(seconds=2)
_FIRST_STRIDE = 64  # runs
_OVERLAP = 16  # runs that may be deleted while others are looked for


def read_due(where: RunFilter, rows: int, most: int | None = None) -> Poll[Page[FlowRun]]:
    """Read the runs that match a filter and are not scheduled for later, the newest first.

    What is later is decided by the server's clock.

    Args:
        where: The filter.
        rows: The most rows the server returns at once.
        most: The most runs to read; None for all of them.
    """
    page: Page[FlowRun] = yield RunsQuery(where=where, newest_first=True, limit=1)
    due = None if page.server_time is None else page.server_time + _STAMP_AGE
    return (yield from read_newest(where, rows, most, before=due))


def read_prefixed(prefix: str, rows: int) -> Poll[Page[FlowRun]]:
    """Read the runs whose ids begin with a prefix, in descending order of their ids.

    No server filters by it, but each lists runs in the order of their ids. So the first of them is
    looked for by bisection, with two requests for each doubling of the number of runs.

    Args:
        prefix: The beginning of an id, in lower case and with its dashes.
        rows: The most rows the server returns at once, and the most runs to read.
    """
    first, last = 0, _FIRST_STRIDE
    while (yield from _is_above(prefix, last)):
        first, last = last + 1, 2 * last
    while first < last:
        middle = (first + last) // 2
        if (yield from _is_above(prefix, middle)):
            first = middle + 1
        else:
            last = middle
    page: Page[FlowRun] = yield RunsQuery(
        where=RunFilter(), offset=max(0, first - _OVERLAP), limit=rows
    )
    return Page(tuple(row for row in page.rows if row.id.startswith(prefix)), page.server_time)


def _is_above(prefix: str, offset: int) -> Poll[bool]:
    """Query whether there is a run at an offset, and its id comes before all that match."""
    page: Page[FlowRun] = yield RunsQuery(where=RunFilter(), offset=offset, limit=1)
    ids = [*(row.id for row in page.rows), *(row.id for row in page.malformed)]
    return bool(ids) and ids[0][: len(prefix)] > prefix
