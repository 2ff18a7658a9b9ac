"""The audit: compares the whole table with the ledger, and reads it anew where rows vanished.

A count proves that no row is missing only while rows are not deleted: a row that vanished and a row
that arrived cancel out. Where delivered rows vanished, all rows are read, and those of them that
may have been delivered are delivered again, flagged as replayed.
"""

from rxflow._logs.bucket_search import BucketSearch
from rxflow._logs.table_reader import LogTableRow, ReplacedBucket, Span, TableReader
from rxflow._protocol.pages import Poll


class TableAudit:
    """Compares the table with the ledger."""

    def __init__(self, reader: TableReader, buckets: BucketSearch) -> None:
        """Start with nothing compared.

        Args:
            reader: The poll's reader, which collects undelivered rows.
            buckets: The poll's bucket search.
        """
        self._reader = reader
        self._ledger = reader.ledger
        self._buckets = buckets

    def lacks_delivered(self, rows: dict[str, LogTableRow]) -> bool:
        """Collect the undelivered ones of all the table's rows; whether delivered ones vanished.

        Args:
            rows: All rows, by id.
        """
        if any(row_id not in rows for row_id in self._ledger.ids_above_floor()):
            return True
        rows_by_bucket: dict[tuple[str, int], list[LogTableRow]] = {
            (run, index): []
            for run in self._ledger.runs
            for index in range(len(self._ledger.buckets_of(run)))
        }
        floor = self._ledger.floor
        for row in rows.values():
            if floor is None or row.timestamp >= floor:
                self._reader.add_undelivered([row])
            else:
                index = self._ledger.bucket_index_at(row.flow_run_id, row.timestamp)
                rows_by_bucket[row.flow_run_id, index].append(row)
        for (run, index), in_bucket in rows_by_bucket.items():
            undelivered = self._ledger.undelivered_in_bucket(run, index, in_bucket)
            if undelivered is None:
                return True
            self._reader.add(undelivered)
        return False

    def reread_table(self) -> Poll[tuple[str, ...]]:
        """Read the whole table, bucket by bucket and the rows above the floor last.

        Undelivered rows are collected, and so are buckets from which rows vanished.

        Returns:
            The ids of delivered rows above the floor that vanished.
        """
        floor = self._ledger.floor
        if floor is not None:
            for run in self._ledger.runs:
                buckets = self._buckets.run_buckets(run, floor)
                for index in range(len(buckets.counts)):
                    rows = yield from self._buckets.read(buckets, index)
                    self._compare(run, index, rows)
        above_floor = yield from self._reader.scan(Span(self._ledger.runs, floor))
        self._reader.add_undelivered(above_floor.values())
        return tuple(
            row_id for row_id in self._ledger.ids_above_floor() if row_id not in above_floor
        )

    def _compare(self, run: str, index: int, rows: list[LogTableRow]) -> None:
        undelivered = self._ledger.undelivered_in_bucket(run, index, rows)
        if undelivered is None:
            # Rows vanished from the bucket, so the digest cannot say which of its rows were
            # delivered: all whose ids are not kept are delivered again, flagged.
            self._reader.replaced_buckets.append(ReplacedBucket(run, index, tuple(rows)))
            undelivered = [row for row in rows if not self._ledger.is_known_delivered(row)]
            self._reader.replayed.update(
                row.id for row in undelivered if not self._ledger.is_undelivered(row)
            )
        self._reader.add(undelivered)
