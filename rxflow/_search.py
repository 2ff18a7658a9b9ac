"""Looking for log rows that are missing: above the floor row by row, below it by counts.

Newest first, so that no row is found before one that its writer stored earlier: when a row has been
read, what came before it is visible and lies in what is read after it.
"""

from datetime import datetime

from rxflow._ledger import MICROSECOND, Ledger
from rxflow._polling import Poll
from rxflow._table import Found, MissingRows, Row, Span, Table, later


class Search:
    """Looks for rows of a table that a ledger does not have."""

    def __init__(self, table: Table, ledger: Ledger) -> None:
        """Look for nothing yet.

        Args:
            table: Where to look.
            ledger: What was told.
        """
        self._table = table
        self._ledger = ledger

    def complete(
        self,
        found: Found,
        span: Span,
        told: int,
        counted: int,
        *,
        low: datetime | None,
        limit: int,
    ) -> Poll[bool]:
        """Look for what is missing of a part, if anything is.

        Returns:
            Whether the part is proven: a server that is written to meanwhile may take another poll.
        """
        missing = counted - told - found.within(span)
        if missing < 0:
            raise MissingRows
        if missing == 0:
            return True
        if (yield from self._below(found, span, told, counted, low=low, limit=limit)):
            return True
        if (yield from self._window(found, span, told, counted, limit)):
            return True
        floor = self._ledger.floor
        if floor is not None and (span.after is None or span.after < floor):
            yield from self.buckets(found, floor - MICROSECOND, limit)
        return (yield from self._table.differs(found, span, told)) == 0

    def _below(
        self,
        found: Found,
        span: Span,
        told: int,
        counted: int,
        *,
        low: datetime | None,
        limit: int,
    ) -> Poll[bool]:
        """Read on downwards from where the poll began, for as long as there is something new.

        Where many writers send at different times, new rows reach deeper than the step does. Only
        a count makes what is found here good; without it all is read anew from the end down.
        """
        window = span._replace(after=later(span.after, self._ledger.floor), before=low)
        known = -1
        while len(found.rows) > known:
            known = len(found.rows)
            rows = yield from self._table.ask(found, window, limit, descending=True)
            found.take(rows)
            if told + found.within(span) >= counted:
                return (yield from self._table.differs(found, span, told)) == 0
            if len(rows) < limit or rows[0].timestamp == rows[-1].timestamp:
                return False
            window = window._replace(before=rows[-1].timestamp)
        return False

    def _window(self, found: Found, span: Span, told: int, counted: int, limit: int) -> Poll[bool]:
        window = span._replace(after=later(span.after, self._ledger.floor))
        while True:
            rows = yield from self._table.ask(found, window, limit, descending=True)
            found.take(rows)
            before = rows[-1].timestamp if rows else None
            if before is not None and len(rows) == limit and rows[0].timestamp == before:
                ties = yield from self._table.tie(found, span.runs, before, limit)
                found.take(ties.values())
                before -= MICROSECOND
            if told + found.within(span) >= counted:
                if (yield from self._table.differs(found, span, told)) == 0:
                    return True
                counted = told + found.within(span) + 1
            if len(rows) < limit:
                return False
            window = window._replace(before=before)

    def buckets(self, found: Found, top: datetime, limit: int) -> Poll[None]:
        """Find rows below the floor by counting: over the runs, then over a run's buckets."""
        groups = [self._ledger.runs]
        while groups:
            runs = groups.pop()
            first, *others = runs
            if not others:
                yield from self._run(found, first, top, limit)
                continue
            span = Span(runs, self._table.since, top)
            told = sum(bucket.count for run in runs for bucket in self._ledger.buckets_of(run))
            if (yield from self._table.differs(found, span, told)) != 0:
                groups += [runs[: len(runs) // 2], runs[len(runs) // 2 :]]

    def _run(self, found: Found, run: str, top: datetime, limit: int) -> Poll[None]:
        edges = self.edges(run, top)
        counts = [bucket.count for bucket in self._ledger.buckets_of(run)]
        high = len(edges)
        while high:
            span = Span((run,), self._table.since, edges[high - 1][1])
            if (yield from self._table.differs(found, span, sum(counts[:high]))) == 0:
                return
            low = 0  # no bucket from `high` on differs, and one from `low` on does
            while high - low > 1:
                middle = (low + high) // 2
                span = Span((run,), edges[middle][0], edges[high - 1][1])
                if (yield from self._table.differs(found, span, sum(counts[middle:high]))) == 0:
                    high = middle
                else:
                    low = middle
            rows = yield from self.read_bucket(found, run, edges[low], limit)
            missing = self._ledger.missing_of(run, low, rows)
            if missing is None:
                raise MissingRows
            found.rows.update((row.id, row) for row in missing)
            high = low

    def read_bucket(
        self, found: Found, run: str, edges: tuple[datetime | None, datetime], limit: int
    ) -> Poll[list[Row]]:
        """Read all rows of a bucket anew."""
        return list((yield from self._table.scan(found, Span((run,), *edges), limit)).values())

    def edges(self, run: str, top: datetime) -> list[tuple[datetime | None, datetime]]:
        """The first and the last instant of each bucket of a run; the last one's is `top`."""
        starts = [bucket.start for bucket in self._ledger.buckets_of(run)]
        ends = [start - MICROSECOND for start in starts[1:] if start is not None]
        return list(zip(starts, [*ends, top], strict=True))
