"""The full read: all log rows of a run at once.

Its pages are read from the first row to the last, and kept by their ids. If the server then counts
as many rows, they are the table, and none had to pass through a ledger, whose use is to know rows
without keeping them. Otherwise a cursor, to which they count as delivered, finds the others.
"""

from collections.abc import Iterable
from datetime import datetime
from operator import lt
from typing import cast

import msgspec

from rxflow._logs.cursor import LogCursor
from rxflow._logs.ledger import Ledger
from rxflow._logs.log_read import LOG_ORDER, LogRead
from rxflow._logs.table_reader import LogTable, LogTableRow, Span, TableReader, TableShrank
from rxflow._protocol.pages import MalformedRow, Poll
from rxflow.events import FlowRunLog

_MAX_PROOFS = 40  # polls that try to prove a table that is written to meanwhile


class FullRead(msgspec.Struct, frozen=True):
    """All log rows of a run, or those from a time on.

    Attributes:
        rows: The rows, in `LOG_ORDER`.
        malformed: Rows that cannot be read, in the same order.
        proven: Whether these are all that the server had when the read began, or later.
    """

    rows: list[FlowRunLog]
    malformed: list[MalformedRow]
    proven: bool


def read_all_logs(flow_run_id: str, since: datetime | None, limit: int) -> Poll[FullRead]:
    """Read all log rows of a run from a time on, and prove by a count that none is missing.

    If no count agrees, they are not proven.

    Args:
        flow_run_id: The run.
        since: Only rows of this time and later.
        limit: The most rows of a page.
    """
    reader = TableReader(LogTable(since=since), Ledger([flow_run_id]), limit)
    rows = yield from _read_pages(reader, flow_run_id)
    # A first page that is not full is the whole table, and nothing else is to be counted.
    if len(rows) < limit or (yield from _is_whole_table(reader, flow_run_id, len(rows))):
        return _full_read(rows, proven=True)
    by_id = {row.id: row for row in rows}
    cursor = _cursor_after(sorted(by_id.values(), key=LOG_ORDER), flow_run_id, since, limit)
    proven = yield from _read_missing(cursor, by_id, limit)
    return _full_read(sorted(by_id.values(), key=LOG_ORDER), proven=proven)


def _read_pages(reader: TableReader, flow_run_id: str) -> Poll[list[LogTableRow]]:
    """Read all pages, from the first row to the last, and return their rows in order.

    A row that two pages have, though it should not, comes twice: the count does not agree then.
    """
    read: list[LogTableRow] = []
    start: datetime | None = None
    while True:
        rows, following = yield from reader.page_up((flow_run_id,), start)
        read += _in_order(rows)  # all later than the rows of the page before
        if following is None:
            return read
        start = following


def _in_order(rows: list[LogTableRow]) -> Iterable[LogTableRow]:
    """Return the rows of a page in order, each once.

    Most are so already. To sort each page by tuples, and to have all rows in one dictionary, made
    a line of a long log 0.2 us dearer, a sixth.
    """
    times = [row.timestamp for row in rows]
    if all(map(lt, times, times[1:])):
        return rows
    return sorted({row.id: row for row in rows}.values(), key=LOG_ORDER)


def _is_whole_table(reader: TableReader, flow_run_id: str, count: int) -> Poll[bool]:
    try:
        return not (yield from reader.has_gap(Span((flow_run_id,)), count))
    except TableShrank:
        return False


def _cursor_after(
    rows: list[LogTableRow], flow_run_id: str, since: datetime | None, limit: int
) -> LogCursor:
    """Return a cursor to which some rows, in order, count as delivered, as after a backfill."""
    cursor = LogCursor(flow_run_id, since=since)
    for start in range(0, len(rows), limit):  # each page is a bucket of the ledger
        page = rows[start : start + limit]
        read = _full_read(page, proven=False)
        cursor.commit(
            LogRead(
                rows=tuple(read.rows),
                malformed=tuple(read.malformed),
                backfill_position=page[0].timestamp,
            )
        )
    cursor.commit(LogRead())
    return cursor


def _read_missing(cursor: LogCursor, rows: dict[str, LogTableRow], limit: int) -> Poll[bool]:
    """Add the rows that a cursor finds, until all are proven; return whether they are."""
    proofs_left = _MAX_PROOFS
    while proofs_left:
        read = yield from cursor.poll(limit)
        cursor.commit(read)
        found: tuple[LogTableRow, ...] = (*read.rows, *read.malformed)
        rows.update((row.id, row) for row in found)
        if read.proven:
            return True
        # A page of a backfill tries to prove nothing, and a history may have any number of them.
        proofs_left -= read.backfill_position is None
    return False


def _full_read(rows: list[LogTableRow], *, proven: bool) -> FullRead:
    malformed = [row for row in rows if isinstance(row, MalformedRow)]
    if not malformed:
        return FullRead(cast("list[FlowRunLog]", rows), [], proven)
    return FullRead([row for row in rows if isinstance(row, FlowRunLog)], malformed, proven)
