"""Reads the server's table of log rows for one poll: pages, scans, ties and counts.

A reader collects the undelivered rows that its poll has found, since they count beside the
delivered ones. Where to read, and what a count means, is up to the gap search, the bucket search
and the audit, which share one reader a poll.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

import msgspec

from rxflow._logs.ledger import Ledger
from rxflow._models.times import MICROSECOND, Instant, later, shifted
from rxflow._protocol.pages import MalformedRow, Page, Poll
from rxflow._protocol.queries import LogsQuery
from rxflow.events import FlowRunLog

LogTableRow = FlowRunLog | MalformedRow

_MAX_TIE_PASSES = 40


class Span(NamedTuple):
    """A part of the table: runs, and times, both ends included; None is open."""

    runs: tuple[str, ...]
    after: datetime | None = None
    before: datetime | None = None


class LogTable(msgspec.Struct, frozen=True):
    """Which rows are read, and how the server can be read.

    Attributes:
        level: Only rows of this level and above.
        since: Only rows of this time and later, by the writers' clocks.
        offsets_supported: Whether the server takes offsets; without them nothing can be counted,
            and of a tie one page is read.
    """

    level: int = 0
    since: Instant | None = None
    offsets_supported: bool = True


class TableShrank(Exception):
    """A reply has fewer rows than were delivered, or lacks rows of an earlier reply.

    Rows vanished, or a replica that lags has replied.
    """


class ReplacedBucket(msgspec.Struct, frozen=True):
    """A bucket from which delivered rows vanished, and all rows that the server has in it."""

    flow_run_id: str
    index: int
    rows: tuple[LogTableRow, ...]


class TableReader:
    """Reads the table for one poll, and collects what the poll finds.

    Attributes:
        table: Which rows are read.
        ledger: The rows that were delivered before the poll; a poll does not change it.
        limit: The most rows of a page.
        rows: The undelivered rows that were found, by id.
        replayed: The ids of those among them that may have been delivered.
        replaced_buckets: Buckets from which delivered rows vanished.
        server_time: The server's time at its last reply that had one.
    """

    def __init__(self, table: LogTable, ledger: Ledger, limit: int) -> None:
        """Start with nothing read; the arguments are the attributes of the same names."""
        self.table = table
        self.ledger = ledger
        self.limit = limit
        self.rows: dict[str, LogTableRow] = {}
        self.replayed: set[str] = set()
        self.replaced_buckets: list[ReplacedBucket] = []
        self.server_time: datetime | None = None

    def add(self, rows: Iterable[LogTableRow]) -> None:
        """Collect rows that are known to be undelivered."""
        self.rows.update({row.id: row for row in rows})

    def add_undelivered(self, rows: Iterable[LogTableRow]) -> int:
        """Collect the undelivered ones of some rows, and return how many they are."""
        undelivered = self.ledger.undelivered(rows)
        self.add(undelivered)
        return len(undelivered)

    def count_within(self, span: Span) -> int:
        """Return how many found rows lie in a span."""
        return sum(
            row.flow_run_id in span.runs
            and (span.after is None or row.timestamp >= span.after)
            and (span.before is None or row.timestamp <= span.before)
            for row in self.rows.values()
        )

    def page(
        self,
        span: Span,
        *,
        limit: int | None = None,
        offset: int = 0,
        descending: bool = False,
    ) -> Poll[list[LogTableRow]]:
        """Read one page of a span, malformed rows included.

        Args:
            span: The span.
            limit: The most rows; None is the poll's limit.
            offset: How many rows to skip.
            descending: Whether the newest rows come first.
        """
        page: Page[FlowRunLog] = yield LogsQuery(
            flow_run_ids=span.runs,
            after=later(span.after, self.table.since),
            before=span.before,
            level=self.table.level,
            descending=descending,
            offset=offset,
            limit=self.limit if limit is None else limit,
        )
        self.server_time = page.server_time or self.server_time
        if not page.malformed and all(row.flow_run_id in span.runs for row in page.rows):
            return list(page.rows)
        received: list[LogTableRow] = [*page.rows, *page.malformed]
        rows = [_row_of(row, span.runs) for row in received]
        return sorted(rows, key=lambda row: row.timestamp, reverse=descending)

    def page_up(
        self, runs: tuple[str, ...], start: datetime | None
    ) -> Poll[tuple[list[LogTableRow], datetime | None]]:
        """Read the page that begins at a time, without the rows that the next page has as well.

        Rows of the page's last timestamp may continue on the next one, which begins with them; of
        a tie of more than a page all rows are read at once.

        Args:
            runs: The runs.
            start: Where the page begins, this time included; None is the first row.

        Returns:
            The rows, and where the next page begins; None if this is the last one.
        """
        rows = yield from self.page(Span(runs, start))
        if len(rows) < self.limit:
            return rows, None
        end = rows[-1].timestamp
        if rows[0].timestamp != end:
            return [row for row in rows if row.timestamp < end], end
        tie = yield from self.read_tie(runs, end)
        following = shifted(end, MICROSECOND)
        return list(tie.values()), following if following > end else None  # the last of all times

    def scan(self, span: Span) -> Poll[dict[str, LogTableRow]]:
        """Read all rows of a span by id, newest first, without collecting them."""
        read: dict[str, LogTableRow] = {}
        before = span.before
        while True:
            rows = yield from self.page(span._replace(before=before), descending=True)
            read.update((row.id, row) for row in rows)
            if len(rows) < self.limit:
                return read
            before = rows[-1].timestamp
            if rows[0].timestamp == before:
                read.update((yield from self.read_tie(span.runs, before)))
                if shifted(before, -MICROSECOND) == before:  # there is no earlier time
                    return read
                before = shifted(before, -MICROSECOND)

    def read_tie(self, runs: tuple[str, ...], instant: datetime) -> Poll[dict[str, LogTableRow]]:
        """Read all rows of one timestamp, of which there are more than a page.

        A server may order them differently from page to page, so there are several passes, with
        pages of changing size and from either end, until as many different rows are read as were
        counted.
        """
        read: dict[str, LogTableRow] = {}
        span = Span(runs, instant, instant)
        for number in range(_MAX_TIE_PASSES):
            size = max(1, self.limit - 7 * number % max(1, self.limit // 2))
            counted, count = 0, size
            while count == size:
                rows = yield from self.page(
                    span, limit=size, offset=counted, descending=number % 2 == 1
                )
                read.update((row.id, row) for row in rows)
                count = len(rows)
                counted += count
                if not self.table.offsets_supported:
                    return read
            if len(read) >= counted:
                break
        return read

    def has_gap(self, span: Span, delivered: int) -> Poll[bool]:
        """Count a span, in one query that moves two rows at most.

        Args:
            span: The span.
            delivered: How many of its rows were delivered.

        Returns:
            Whether the server has more rows than were delivered and found.

        Raises:
            TableShrank: The server has fewer.
        """
        known = delivered + self.count_within(span)
        if not known:
            return bool((yield from self.page(span, limit=1)))
        # The last known row, and one more if there is a gap.
        rows = yield from self.page(span, limit=2, offset=known - 1)
        if not rows:
            raise TableShrank
        return len(rows) > 1


def _row_of(row: LogTableRow, runs: tuple[str, ...]) -> LogTableRow:
    """Return a row as one of the runs that were read, since it is counted among theirs.

    A readable row of another run is malformed. A row that does not say which run it belongs to is
    counted as one of the first run, which is the only one where runs are read one by one.
    """
    if row.flow_run_id in runs:
        return row
    if isinstance(row, MalformedRow):
        return msgspec.structs.replace(row, flow_run_id=runs[0])
    return MalformedRow(
        id=row.id,
        reason=f"it belongs to flow run {row.flow_run_id}, which was not queried",
        flow_run_id=runs[0],
        timestamp=row.timestamp,
        created=row.created,
    )
