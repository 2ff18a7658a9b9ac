"""The full read: all log rows of a run at once.

Its pages are read from the first row to the last, and kept by their ids. If the server then counts
as many rows, they are the table, and none had to pass through a ledger, whose use is to know rows
without keeping them. Otherwise a cursor, to which they count as delivered, finds the others.
"""

from collections.abc import Iterable
from datetime import datetime
from itertools import islice

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
        return _full_read(rows.values(), proven=True)
    cursor = _cursor_after(rows.values(), flow_run_id, since, limit)
    proven = yield from _read_missing(cursor, rows, limit)
    return _full_read(sorted(rows.values(), key=LOG_ORDER), proven=proven)


def _read_pages(reader: TableReader, flow_run_id: str) -> Poll[dict[str, LogTableRow]]:
    """Read all pages, from the first row to the last, and return their rows by id, in order."""
    read: dict[str, LogTableRow] = {}
    start: datetime | None = None
    while True:
        rows, following = yield from reader.page_up((flow_run_id,), start)
        rows.sort(key=LOG_ORDER)  # all later than the rows of the page before
        read.update(zip([row.id for row in rows], rows, strict=True))
        if following is None:
            return read
        start = following


def _is_whole_table(reader: TableReader, flow_run_id: str, count: int) -> Poll[bool]:
    try:
        return not (yield from reader.has_gap(Span((flow_run_id,)), count))
    except TableShrank:
        return False


def _cursor_after(
    rows: Iterable[LogTableRow], flow_run_id: str, since: datetime | None, limit: int
) -> LogCursor:
    """Return a cursor to which some rows, in order, count as delivered, as after a backfill."""
    cursor = LogCursor(flow_run_id, since=since)
    remaining = iter(rows)
    while page := tuple(islice(remaining, limit)):  # each page is a bucket of the ledger
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


def _full_read(rows: Iterable[LogTableRow], *, proven: bool) -> FullRead:
    every = list(rows)
    lines = [row for row in every if isinstance(row, FlowRunLog)]
    if len(lines) == len(every):
        return FullRead(lines, [], proven)
    malformed = [row for row in every if isinstance(row, MalformedRow)]
    return FullRead(lines, malformed, proven)
