"""The count-probe cursor: tells each log row of some runs once, and proves that none is missing.

A server sorts log rows by the writers' clocks, with no order among equal ones, and rows become
visible late and out of order, so no position can be trusted. But rows are only ever inserted, and
an offset counts. With N rows told, the page at offset N - 1 holds one known row and whatever is
new at the end; let the last, short page end at rank C. If the rows in hand that were not told
number C - N, then told and new together are the table as it was at that instant, whatever the
clocks, ties and lateness. That is one request while nothing happens.

Where more is new than a page holds, pages are read from the newest row down, and the same is asked
of what lies below them; where the numbers differ, rows came in further below, and the way goes on
down, in the window above the floor row by row, below it by bisection over counts. So no row is
found before one that its writer stored earlier, and all rows are told that were there when the poll
began. Fewer rows than were told means that rows vanished, or that a replica lags behind; only when
it is seen three times in a row is it believed, and the whole table read again.
"""

from datetime import datetime

from rxflow._logs.cursor import LOG_ORDER, LogCursor, LogRead
from rxflow._protocol.pages import Poll
from rxflow.events import FlowRunLog

_READS = 40  # polls for a proof of a table that is written to meanwhile


def read_all_logs(
    flow_run_id: str, since: datetime | None, limit: int
) -> Poll[tuple[FlowRunLog, ...]]:
    """Read all log rows of a run, from a time on, and have the server count them.

    Args:
        flow_run_id: The run.
        since: Only rows of this time and later.
        limit: The most rows the server gives at once.
    """
    cursor = LogCursor(flow_run_id, since=since)
    rows: dict[str, FlowRunLog] = {}
    read = LogRead()
    tries = _READS
    while tries:
        read = yield from cursor.poll(limit, last=not read.provable)
        cursor.commit(read)
        rows.update((row.id, row) for row in read.rows)
        if read.proven or not read.provable:
            break
        tries -= read.position is None  # a page of a history is none, however long that is
    return tuple(sorted(rows.values(), key=LOG_ORDER))
