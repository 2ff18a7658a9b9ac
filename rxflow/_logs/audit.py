"""Comparing a table that is read whole with what was told of it.

Counts are enough while rows only come. Where rows vanished, all that is there is read, and what may
have been told of it is told again.
"""

from rxflow._logs.buckets import BucketSearch
from rxflow._logs.ledger import Ledger
from rxflow._logs.table import LogTable, LogTableRow, PollFindings, ReplacedBucket, Span
from rxflow._protocol.pages import Poll


class TableAudit:
    """Compares a table with a ledger."""

    def __init__(self, table: LogTable, ledger: Ledger) -> None:
        """Compare nothing yet.

        Args:
            table: What there is.
            ledger: What was told.
        """
        self._table = table
        self._ledger = ledger
        self._buckets = BucketSearch(table, ledger)

    def lacks(self, found: PollFindings, rows: dict[str, LogTableRow]) -> bool:
        """Whether told rows are not among all rows, if these are; what was not told is found."""
        if any(row_id not in rows for row_id in self._ledger.window()):
            return True
        buckets: dict[tuple[str, int], list[LogTableRow]] = {
            (run, index): []
            for run in self._ledger.runs
            for index in range(len(self._ledger.buckets_of(run)))
        }
        floor = self._ledger.floor
        for row in rows.values():
            if floor is None or row.timestamp >= floor:
                found.take([row])
            else:
                index = self._ledger.bucket_at(row.flow_run_id, row.timestamp)
                buckets[row.flow_run_id, index].append(row)
        for (run, index), bucket in buckets.items():
            missing = self._ledger.missing_of(run, index, bucket)
            if missing is None:
                return True
            found.rows.update((row.id, row) for row in missing)
        return False

    def everything(self, found: PollFindings, limit: int) -> Poll[tuple[str, ...]]:
        """Read everything, newest last, and take it for what was told or is new.

        Returns:
            The ids of rows not older than the floor that are gone.
        """
        floor = self._ledger.floor
        if floor is not None:
            for run in self._ledger.runs:
                buckets = self._buckets.of(run, floor)
                for index in range(len(buckets.counts)):
                    rows = yield from self._buckets.read(found, buckets, index, limit)
                    self._compare(found, run, index, rows)
        window = yield from self._table.scan(found, Span(self._ledger.runs, floor), limit)
        found.take(window.values())
        return tuple(row_id for row_id in self._ledger.window() if row_id not in window)

    def _compare(self, found: PollFindings, run: str, index: int, rows: list[LogTableRow]) -> None:
        missing = self._ledger.missing_of(run, index, rows)
        if missing is None:  # what may have been told of it is told again, and flagged
            found.replaced.append(ReplacedBucket(run, index, tuple(rows)))
            missing = [row for row in rows if not self._ledger.knows(row)]
            found.replayed.update(row.id for row in missing if not self._ledger.is_new(row))
        found.rows.update((row.id, row) for row in missing)
