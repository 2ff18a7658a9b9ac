"""The bucket search: closes the gap below the floor, by counts and digests.

The last bucket with an undelivered row is found by bisection and read, and its digest shows which
of its rows were not delivered. Like above the floor, the search goes from newer rows to older ones.
"""

from collections.abc import Sequence
from datetime import datetime
from math import isqrt
from typing import NamedTuple

from rxflow._logs.table_reader import LogTableRow, Span, TableReader, TableShrank
from rxflow._models.times import MICROSECOND
from rxflow._protocol.pages import Poll


class RunBuckets(NamedTuple):
    """The buckets of a run.

    Attributes:
        run: The run.
        starts: Where each bucket starts; None for the first one, which has all earlier rows.
        ends: Where each bucket ends, this instant included.
        counts: How many rows of each were delivered.
    """

    run: str
    starts: Sequence[datetime | None]
    ends: Sequence[datetime]
    counts: Sequence[int]

    def span(self, first: int, end: int) -> Span:
        """Return the span from a bucket on to before another one."""
        return Span((self.run,), self.starts[first], self.ends[end - 1])


class BucketSearch:
    """Finds the undelivered rows below the floor."""

    def __init__(self, reader: TableReader) -> None:
        """Start with nothing searched.

        Args:
            reader: The poll's reader, which collects the rows.
        """
        self._reader = reader
        self._ledger = reader.ledger

    def close_gap(self, *, gap_is_certain: bool = False) -> Poll[None]:
        """Find all undelivered rows that were there when the poll began.

        While several runs are left, their rows are counted together and the group is halved, so
        that a gap in one of N runs costs about log N queries before that run is searched.

        Args:
            gap_is_certain: Whether a count has said that there are some.

        Raises:
            TableShrank: Delivered rows are not there.
        """
        floor = self._ledger.floor
        if floor is None:
            return
        groups = [self._ledger.runs]
        while groups:
            runs = groups.pop()
            if len(runs) == 1:
                buckets = self.run_buckets(runs[0], floor)
                yield from self._close_gap_of_run(buckets, gap_is_certain=gap_is_certain)
            else:
                below_floor = Span(runs, before=floor - MICROSECOND)
                delivered = sum(
                    bucket.count for run in runs for bucket in self._ledger.buckets_of(run)
                )
                if gap_is_certain or (yield from self._reader.has_gap(below_floor, delivered)):
                    groups += [runs[: len(runs) // 2], runs[len(runs) // 2 :]]
                # The count was of all these runs, so it says nothing about a half of them.
                gap_is_certain = False

    def run_buckets(self, run: str, floor: datetime) -> RunBuckets:
        """Return the buckets of a run, the last of which ends at the floor."""
        buckets = self._ledger.buckets_of(run)
        starts = [bucket.start for bucket in buckets]
        ends = [start for start in starts[1:] if start is not None]
        return RunBuckets(
            run=run,
            starts=starts,
            ends=[end - MICROSECOND for end in (*ends, floor)],
            counts=[bucket.count for bucket in buckets],
        )

    def read(self, buckets: RunBuckets, index: int) -> Poll[list[LogTableRow]]:
        """Read all rows of a bucket."""
        return list((yield from self._reader.scan(buckets.span(index, index + 1))).values())

    def _close_gap_of_run(self, buckets: RunBuckets, *, gap_is_certain: bool) -> Poll[None]:
        """Find all undelivered rows of a run, bucket by bucket, the last one first."""
        end = len(buckets.counts)
        # Invariant: no bucket from `end` on has a gap. Each round closes the gap of a bucket
        # before `end` and moves `end` there, so there are as many rounds as buckets at most.
        while end:
            delivered = sum(buckets.counts[:end])
            if not gap_is_certain and not (
                yield from self._reader.has_gap(buckets.span(0, end), delivered)
            ):
                return
            gap_is_certain = False
            end = yield from self._last_with_gap(buckets, end)
            rows = yield from self._read_with_count_below(buckets, end)
            none_below = rows is not None
            if rows is None:
                rows = yield from self.read(buckets, end)
            undelivered = self._ledger.undelivered_in_bucket(buckets.run, end, rows)
            if undelivered is None:
                raise TableShrank
            self._reader.add(undelivered)
            if none_below:
                return

    def _last_with_gap(self, buckets: RunBuckets, end: int) -> Poll[int]:
        """Find the last bucket before `end` that has a gap, by bisection; one of them has."""
        low, high = 0, end  # none from `high` on has a gap, and one from `low` on has
        middle = high - isqrt(high)  # rows are late by minutes rather than by hours
        while high - low > 1:
            delivered = sum(buckets.counts[middle:high])
            if (yield from self._reader.has_gap(buckets.span(middle, high), delivered)):
                low = middle
            else:
                high = middle
            middle = (low + high) // 2
        return low

    def _read_with_count_below(
        self, buckets: RunBuckets, index: int
    ) -> Poll[list[LogTableRow] | None]:
        """Read a bucket by the offset of its first row, which counts the buckets below as well.

        If the page starts in the bucket, no row below it is undelivered.

        Returns:
            The bucket's rows; None if there is a gap below, or the bucket is more than a page.
        """
        start = buckets.starts[index]
        offset = 0
        if index:
            delivered = sum(buckets.counts[:index])
            offset = delivered + self._reader.count_within(buckets.span(0, index))
        rows = yield from self._reader.page(buckets.span(0, index + 1), offset=offset)
        starts_in_bucket = start is None or not rows or rows[0].timestamp >= start
        return rows if starts_in_bucket and len(rows) < self._reader.limit else None
