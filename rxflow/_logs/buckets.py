"""Rows below the floor: counted in buckets, and found by counts where some are missing.

The last bucket with a row that was not told is found by bisection, read, and its sum says which of
its rows that are. Newest first, as above the floor.
"""

from collections.abc import Sequence
from datetime import datetime
from math import isqrt
from typing import NamedTuple

from rxflow._logs.ledger import Ledger
from rxflow._logs.table import LogTable, LogTableRow, MissingRows, PollFindings, Span
from rxflow._models.times import MICROSECOND
from rxflow._protocol.pages import Poll


class RunBuckets(NamedTuple):
    """The buckets of a run: where each starts and ends, and how many rows were told of it."""

    run: str
    since: datetime | None
    starts: Sequence[datetime | None]
    ends: Sequence[datetime]
    counts: Sequence[int]

    def span(self, first: int, end: int) -> Span:
        """From one bucket to before another."""
        return Span((self.run,), self.starts[first] if first else self.since, self.ends[end - 1])


class BucketSearch:
    """The rows of a table that a ledger has in buckets."""

    def __init__(self, table: LogTable, ledger: Ledger) -> None:
        """Look for nothing yet.

        Args:
            table: Where to look.
            ledger: What was told.
        """
        self._table = table
        self._ledger = ledger

    def complete(
        self, found: PollFindings, floor: datetime, limit: int, *, certain: bool = False
    ) -> Poll[None]:
        """Find all rows that were there when the poll began: over the runs, then in a run.

        Args:
            found: What takes them.
            floor: The floor.
            limit: The most rows of a page.
            certain: Whether a count has said that there are some.

        Raises:
            MissingRows: Some of those that were told are not there.
        """
        groups = [self._ledger.runs]
        while groups:
            runs = groups.pop()
            first, *others = runs
            if not others:
                yield from self._complete_run(found, self.of(first, floor), limit, certain=certain)
                continue
            span = Span(runs, self._table.since, floor - MICROSECOND)
            told = sum(bucket.count for run in runs for bucket in self._ledger.buckets_of(run))
            if certain or (yield from self._table.differs(found, span, told)) != 0:
                groups += [runs[: len(runs) // 2], runs[len(runs) // 2 :]]
            certain = False

    def of(self, run: str, floor: datetime) -> RunBuckets:
        """The buckets of a run, the last of which ends at the floor."""
        buckets = self._ledger.buckets_of(run)
        starts = [bucket.start for bucket in buckets]
        ends = [start for start in starts[1:] if start is not None]
        return RunBuckets(
            run=run,
            since=self._table.since,
            starts=starts,
            ends=[end - MICROSECOND for end in (*ends, floor)],
            counts=[bucket.count for bucket in buckets],
        )

    def _complete_run(
        self, found: PollFindings, buckets: RunBuckets, limit: int, *, certain: bool
    ) -> Poll[None]:
        end = len(buckets.counts)
        while end:
            below, told = buckets.span(0, end), sum(buckets.counts[:end])
            if not certain and (yield from self._table.differs(found, below, told)) == 0:
                return
            certain = False
            end = yield from self._last_that_differs(found, buckets, end)
            rows = yield from self._read_with_all_below(found, buckets, end, limit)
            nothing_below = rows is not None
            if rows is None:
                rows = yield from self.read(found, buckets, end, limit)
            missing = self._ledger.missing_of(buckets.run, end, rows)
            if missing is None:
                raise MissingRows
            found.rows.update((row.id, row) for row in missing)
            if nothing_below:
                return

    def _last_that_differs(self, found: PollFindings, buckets: RunBuckets, end: int) -> Poll[int]:
        """Find the last bucket before `end` with rows that were not told, by bisection."""
        low, high = 0, end  # none from `high` on differs, and one from `low` on does
        middle = high - isqrt(high)  # rows are late by minutes rather than hours
        while high - low > 1:
            told = sum(buckets.counts[middle:high])
            if (yield from self._table.differs(found, buckets.span(middle, high), told)) == 0:
                high = middle
            else:
                low = middle
            middle = (low + high) // 2
        return low

    def _read_with_all_below(
        self, found: PollFindings, buckets: RunBuckets, index: int, limit: int
    ) -> Poll[list[LogTableRow] | None]:
        """Read a bucket by its offset: if it starts there, nothing is missing below it.

        Returns:
            Its rows; None if something is missing below, or it is more than a page.
        """
        start = buckets.starts[index]
        offset = 0
        if index:
            told = sum(buckets.counts[:index])
            offset = told + found.within(buckets.span(0, index))
        rows = yield from self._table.page(found, buckets.span(0, index + 1), limit, offset=offset)
        starts_there = start is None or not rows or rows[0].timestamp >= start
        return rows if starts_there and len(rows) < limit else None

    def read(
        self, found: PollFindings, buckets: RunBuckets, index: int, limit: int
    ) -> Poll[list[LogTableRow]]:
        """Read all rows of a bucket anew."""
        span = buckets.span(index, index + 1)
        return list((yield from self._table.scan(found, span, limit)).values())
