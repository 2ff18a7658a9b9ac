"""One poll of the cursor: which way to read, and what the reading proves.

A poll changes neither the ledger nor the cursor's progress: it returns a `LogRead`, which the
cursor commits. So a poll that breaks off has changed nothing.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TypeGuard

import msgspec

from rxflow._logs.audit import TableAudit
from rxflow._logs.bucket_search import BucketSearch
from rxflow._logs.forecast import Forecast
from rxflow._logs.gap_search import GapSearch, TooManyPages
from rxflow._logs.ledger import Ledger
from rxflow._logs.log_read import LOG_ORDER, LogRead
from rxflow._logs.row_columns import RowColumns
from rxflow._logs.table_reader import LogTable, LogTableRow, Span, TableReader, TableShrank
from rxflow._models.times import Instant, earlier, shifted
from rxflow._protocol.pages import MalformedRow, Poll
from rxflow.events import FlowRunLog

_MAX_PROBE_PAGES = 16  # with more to read, a poll starts a backfill, which delivers each page
_BACKFILL_FACTOR = 8  # as many times more pages for what was stored while a backfill went on
_COMMIT_SLACK = timedelta(seconds=5)  # for commits under way, and a Date that counts whole seconds
_POLLS_TO_BELIEVE = 3  # as many in a row must show that rows vanished: a replica may lag
_MAX_AUDITED_ROWS = 2_000  # of a run that is read once more at its end: ten pages


class CursorProgress(msgspec.Struct, frozen=True):
    """How far a cursor has come, beside what its ledger records.

    Attributes:
        backfill_position: While the history is read page by page, where the next page begins.
        backfill_began: The server's time when its first page was read.
        unsettled_from: The earliest time of rows in its pages that were left to later polls.
        backfilled: Whether the history was read to its end.
        just_backfilled: Whether that was by the last poll, which left the rows of some seconds.
        forecast: What to expect of the next poll.
        shrunk_polls: How many polls in a row had fewer rows than were delivered.
        failed_audits: How many audits in a row lacked delivered rows.
    """

    backfill_position: Instant | None = None
    backfill_began: Instant | None = None
    unsettled_from: Instant | None = None
    backfilled: bool = False
    just_backfilled: bool = False
    forecast: Forecast = Forecast()
    shrunk_polls: int = 0
    failed_audits: int = 0

    def after_poll(self, read: LogRead, ledger: Ledger) -> "CursorProgress":
        """Return the progress after a poll, given the ledger before it."""
        failed_audits = self.failed_audits
        if read.audit_failed is not None:
            failed_audits = failed_audits + 1 if read.audit_failed else 0
        counted = msgspec.structs.replace(
            self,
            shrunk_polls=self.shrunk_polls + 1 if read.table_shrank else 0,
            failed_audits=failed_audits,
        )
        if read.table_shrank or read.audit_failed:
            return counted
        backfilled = read.backfill_position is None
        forecast = self.forecast
        if backfilled:  # before that, the rows are the past: they say nothing about the next poll
            rows: Sequence[LogTableRow] = (*read.rows, *read.malformed)
            forecast = forecast.after_poll(ledger, rows, read.server_time)
        return msgspec.structs.replace(
            counted,
            backfill_position=read.backfill_position,
            backfill_began=read.backfill_began,
            unsettled_from=read.unsettled_from,
            backfilled=backfilled,
            just_backfilled=backfilled and read.backfill_began is not None,
            forecast=forecast,
        )

    def joined_with(self, other: "CursorProgress") -> "CursorProgress":
        """Return the progress of two cursors whose tables are read as one."""
        return msgspec.structs.replace(
            self.with_failure_counts_reset(),
            forecast=self.forecast.joined_with(other.forecast),
            just_backfilled=self.just_backfilled or other.just_backfilled,
        )

    def with_failure_counts_reset(self) -> "CursorProgress":
        """Return the progress with no shrunk poll and no failed audit counted."""
        return msgspec.structs.replace(self, shrunk_polls=0, failed_audits=0)


class CursorPoll:
    """One poll of a cursor, and what it has found so far."""

    def __init__(
        self, table: LogTable, ledger: Ledger, progress: CursorProgress, limit: int
    ) -> None:
        """Start with nothing read.

        Args:
            table: Which rows to read.
            ledger: The rows that were delivered.
            progress: How far the cursor has come.
            limit: The most rows of a page.
        """
        self._table = table
        self._ledger = ledger
        self._progress = progress
        self._limit = limit
        self._reader = TableReader(table, ledger, limit)
        self._buckets = BucketSearch(self._reader)
        self._audit = TableAudit(self._reader, self._buckets)

    def run(self, *, deep: bool, last: bool) -> Poll[LogRead]:
        """Read what is new; the arguments are those of `LogCursor.poll`."""
        if not self._progress.backfilled:
            return (yield from self._read_backfill_page())
        offsets_supported = self._table.offsets_supported
        if self._progress.shrunk_polls >= _POLLS_TO_BELIEVE or (last and not offsets_supported):
            return (yield from self._reread_table())
        if not offsets_supported:
            above_floor = yield from self._reader.scan(Span(self._ledger.runs, self._ledger.floor))
            self._reader.add_undelivered(above_floor.values())
            return self._log_read()
        try:
            if last:
                return (yield from self._count_and_audit())
            return (yield from self._close_gaps(deep=deep))
        except TableShrank:
            return LogRead(table_shrank=True)

    # -- a history, page by page ----------------------------------------------------------------

    def _read_backfill_page(self) -> Poll[LogRead]:
        """Read the next page of a history that was not read to its end yet.

        Rows that are stored during the backfill are left to later polls: their writers may have
        stored earlier rows in pages that were already read.
        """
        reader, runs, start = self._reader, self._ledger.runs, self._progress.backfill_position
        rows, next_start = yield from reader.page_up(runs, start)
        if start is None and next_start is None and len(rows) < self._limit:
            reader.add_undelivered(rows)
            return self._log_read(proven=True)  # one page was the whole table
        began = self._progress.backfill_began or reader.server_time
        whole = self._whole_page(rows, next_start, began)
        if whole is not None:
            return whole
        unsettled_from = self._progress.unsettled_from
        if began is not None:
            settled = shifted(began, -_COMMIT_SLACK)
            left = (row.timestamp for row in rows if row.created >= settled)
            unsettled_from = earlier(unsettled_from, min(left, default=None))
            rows = [row for row in rows if row.created < settled]
        reader.add_undelivered(rows)
        return msgspec.structs.replace(
            self._log_read(backfill_position=next_start, backfill_began=began),
            unsettled_from=unsettled_from,
        )

    def _whole_page(
        self, rows: Sequence[LogTableRow], next_start: datetime | None, began: datetime | None
    ) -> LogRead | None:
        """Return a backfill's page as a whole, if all its rows can be delivered as they are.

        Those of most pages can: they are readable, in order, later than all delivered rows, and
        were stored before the backfill began. Row by row they would cost a microsecond a line more,
        of two that a watch takes.
        """
        runs, newest = self._ledger.runs, self._ledger.newest_timestamp
        if len(runs) != 1 or not rows or not _are_readable(rows):
            return None
        columns = RowColumns.of_run(runs[0], rows)
        if (
            not columns.is_rising
            or (newest is not None and columns.timestamps[0] <= newest)
            or (began is not None and max(columns.created) >= shifted(began, -_COMMIT_SLACK))
        ):
            return None
        return LogRead(
            rows=tuple(rows),
            columns=columns,
            backfill_position=next_start,
            backfill_began=began,
            unsettled_from=self._progress.unsettled_from,
            provable=self._table.offsets_supported,
            server_time=self._reader.server_time,
        )

    def _start_backfill(self) -> Poll[LogRead]:
        """Leave the rows above the floor to a backfill, after all undelivered ones below it."""
        began = self._reader.server_time
        floor = self._ledger.floor
        if floor is None:
            floor = min(row.timestamp for row in self._reader.rows.values())
        yield from self._buckets.close_gap()
        for row in list(self._reader.rows.values()):
            if row.timestamp >= floor:
                del self._reader.rows[row.id]
        return self._log_read(backfill_position=floor, backfill_began=began)

    # -- counting -------------------------------------------------------------------------------

    def _close_gaps(self, *, deep: bool = True, expect_new: bool = True) -> Poll[LogRead]:
        """Find all undelivered rows, part by part."""
        max_pages = _MAX_PROBE_PAGES * (_BACKFILL_FACTOR if self._progress.just_backfilled else 1)
        parts = self._progress.forecast.parts(
            self._ledger, self._table.since, deep=deep, expect_new=expect_new
        )
        try:
            for part in parts:
                search = GapSearch(self._reader, self._buckets, part, max_pages=max_pages)
                yield from search.close_gap()
        except TooManyPages:
            return (yield from self._start_backfill())
        return self._log_read(proven=deep)

    # -- comparing all rows ---------------------------------------------------------------------

    def _count_and_audit(self) -> Poll[LogRead]:
        """Count, and if nothing is new, check that what is counted is what was delivered.

        A count cannot show that rows vanished while as many others arrived.
        """
        total = self._ledger.total
        if total + 1 >= self._limit:  # otherwise the audit's one page counts as well
            read = yield from self._close_gaps(expect_new=False)
            if not read.proven or self._reader.rows or total > _MAX_AUDITED_ROWS:
                return read
        rows = yield from self._reader.scan(Span(self._ledger.runs))
        if self._audit.lacks_delivered(rows):
            if self._progress.failed_audits + 1 >= _POLLS_TO_BELIEVE:
                return (yield from self._reread_table())
            return LogRead(audit_failed=True)
        one_page = len(rows) < self._limit
        return self._log_read(proven=one_page or not self._reader.rows, audit_failed=False)

    def _reread_table(self) -> Poll[LogRead]:
        """Read all rows, and accept that the table is what it is now."""
        vanished_ids = yield from self._audit.reread_table()
        return self._log_read(vanished_ids=vanished_ids, audit_failed=False)

    # -- the result -----------------------------------------------------------------------------

    def _log_read(
        self,
        *,
        backfill_position: datetime | None = None,
        backfill_began: datetime | None = None,
        proven: bool = False,
        vanished_ids: tuple[str, ...] = (),
        audit_failed: bool | None = None,
    ) -> LogRead:
        """Return what was found; the arguments are fields of `LogRead`."""
        reader = self._reader
        rows: list[LogTableRow] = sorted(reader.rows.values(), key=LOG_ORDER)
        lines = [row for row in rows if isinstance(row, FlowRunLog)]
        malformed: tuple[MalformedRow, ...] = ()
        if len(lines) < len(rows):
            malformed = tuple(row for row in rows if isinstance(row, MalformedRow))
        if reader.replayed:
            lines = [
                msgspec.structs.replace(row, replayed=True) if row.id in reader.replayed else row
                for row in lines
            ]
        return LogRead(
            rows=tuple(lines),
            malformed=malformed,
            backfill_position=backfill_position,
            backfill_began=backfill_began,
            proven=proven,
            provable=self._table.offsets_supported,
            rewound=bool(vanished_ids or reader.replaced_buckets),
            vanished_ids=vanished_ids,
            replaced_buckets=tuple(reader.replaced_buckets),
            audit_failed=audit_failed,
            server_time=reader.server_time,
        )


def _are_readable(rows: Sequence[LogTableRow]) -> TypeGuard[Sequence[FlowRunLog]]:
    return {*map(type, rows)} == {FlowRunLog}
