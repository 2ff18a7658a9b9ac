"""The count-probe cursor: delivers each log row of some runs once, and proves that none is missing.

A server sorts log rows by the writers' clocks, with no order among equal times, and rows become
visible late and out of order, so no position can be trusted. But rows are only inserted, and an
offset counts them. With N rows delivered, the page at offset N - 1 holds one known row and whatever
is new at the end; let the last, short page end at rank C. If the undelivered rows at hand number
C - N, then delivered and undelivered rows together are the table as it was at that instant,
whatever the clocks, ties and lateness. That is one request while nothing happens.

Where more is new than a page holds, pages are read from the newest row down, and the rest below
them is counted in the same way. Where the numbers differ, rows arrived further below, and the
search goes on down: row by row to the floor, and below it by bisection over counts. So no row is
found before one that its writer stored earlier, and all rows are delivered that were there when the
poll began. Fewer rows than were delivered means that rows vanished, or that a replica lags; only
when three polls in a row show it is it believed, and the whole table read again.

How to read is up to `cursor_poll`; here is only the state that lasts from poll to poll.
"""

from collections.abc import Sequence
from datetime import datetime

import msgspec

from rxflow._logs.cursor_poll import CursorPoll, CursorProgress
from rxflow._logs.ledger import Ledger, LedgerState
from rxflow._logs.log_read import LogRead
from rxflow._logs.table_reader import LogTable, LogTableRow
from rxflow._protocol.pages import Poll
from rxflow.events import FlowRunLog


class CursorState(msgspec.Struct, frozen=True):
    """All of a cursor, to save and load."""

    ledger: LedgerState
    table: LogTable
    progress: CursorProgress


class LogCursor:
    """Reads the log rows of one or more runs.

    Attributes:
        ledger: The rows that were delivered.
        progress: How far the cursor has come, beside that.
    """

    def __init__(
        self,
        *flow_run_ids: str,
        level: int = 0,
        since: datetime | None = None,
        ledger: Ledger | None = None,
    ) -> None:
        """Start at the first row.

        Args:
            flow_run_ids: The runs.
            level: Only rows of this level and above.
            since: Only rows of this time and later, by the writers' clocks.
            ledger: The rows that were delivered before, and their runs; in place of
                ``flow_run_ids``.
        """
        self.ledger = ledger or Ledger(flow_run_ids)
        self._table = LogTable(level=level, since=since)
        self.progress = CursorProgress()

    @property
    def newest_created(self) -> datetime | None:
        """When the newest delivered row was stored, by the server's clock."""
        return self.ledger.newest_created

    def refuse_offsets(self) -> bool:
        """Read without offsets from now on, since the server refuses them.

        Returns:
            False if the cursor did so already.
        """
        supported = self._table.offsets_supported
        self._table = msgspec.structs.replace(self._table, offsets_supported=False)
        return supported

    def poll(self, limit: int, *, deep: bool = True, last: bool = False) -> Poll[LogRead]:
        """Read what is new.

        Args:
            limit: The most rows of a page.
            deep: Whether to count from the first row on, which costs a server the more the longer
                the history; otherwise only rows above the floor are counted, and nothing is
                proven.
            last: Whether this is to be the last poll: it counts in one query, and reads a short
                history once more, as it does any history on a server without offsets.
        """
        return CursorPoll(self._table, self.ledger, self.progress, limit).run(deep=deep, last=last)

    def commit(self, read: LogRead) -> None:
        """Record what a poll found as delivered."""
        self.progress = self.progress.after_poll(read, self.ledger)
        if read.table_shrank or read.audit_failed:
            return
        if read.columns is not None:
            self.ledger.record_columns(read.columns)
        else:
            self._record_rows(read)
        self.ledger.advance_floor(read.backfill_position)

    def _record_rows(self, read: LogRead) -> None:
        rows: Sequence[LogTableRow] = (*read.rows, *read.malformed)
        self.ledger.remove_vanished(read.vanished_ids)
        for bucket in read.replaced_buckets:
            self.ledger.replace_bucket(bucket.flow_run_id, bucket.index, bucket.rows)
        if read.replaced_buckets:
            recorded = {row.id for bucket in read.replaced_buckets for row in bucket.rows}
            rows = [row for row in rows if row.id not in recorded]
        self.ledger.record_delivered(rows)

    def record_emitted(self, rows: Sequence[FlowRunLog]) -> None:
        """Record rows that an earlier cursor delivered, and go on after them.

        A row that was delivered again, since others had vanished, counts once as far as is known.

        Args:
            rows: The rows, in the order in which they were delivered.
        """
        again = self.ledger.undelivered(row for row in rows if row.replayed)
        self.ledger.record_delivered([*(row for row in rows if not row.replayed), *again])
        self.ledger.advance_floor()
        self.progress = msgspec.structs.replace(self.progress, backfilled=True)

    def join(self, other: "LogCursor") -> None:
        """Read the runs of another cursor as well, from now on as one table.

        Args:
            other: A cursor that has caught up and reads the same level and time; it must not be
                used afterwards.

        Raises:
            ValueError: One of the two has not caught up.
        """
        if not (self.progress.backfilled and other.progress.backfilled):
            raise ValueError("A cursor that has not caught up reads its runs alone")
        self.ledger.join(other.ledger)
        self.progress = self.progress.joined_with(other.progress)

    def leave(self, flow_run_id: str) -> "LogCursor":
        """Stop reading a run that is over, or that was deleted and whose rows will be.

        Returns:
            A cursor of that run alone.
        """
        left = self.ledger.leave(flow_run_id)
        self.progress = self.progress.with_failure_counts_reset()
        return LogCursor.load(CursorState(left.save(), self._table, self.progress))

    def save(self, *, most_buckets: int | None = None) -> CursorState:
        """Return a copy of the cursor's whole state; ``most_buckets`` is that of the ledger."""
        ledger = self.ledger.save(most_buckets=most_buckets)
        return CursorState(ledger, self._table, self.progress)

    @classmethod
    def load(cls, state: CursorState) -> "LogCursor":
        """Return a cursor that continues from a saved one."""
        cursor = cls(ledger=Ledger.load(state.ledger))
        cursor._table, cursor.progress = state.table, state.progress
        return cursor
