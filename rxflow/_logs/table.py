"""The server's table of log rows, asked in spans: pages, scans, ties and counts.

What is read is checked against the ledger by the cursor; here are only the ways of reading.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

import msgspec

from rxflow._logs.ledger import Ledger
from rxflow._models.times import MICROSECOND, later
from rxflow._protocol.pages import MalformedRow, Page, Poll
from rxflow._protocol.queries import LogsQuery
from rxflow.events import FlowRunLog

LogTableRow = FlowRunLog | MalformedRow

_TIE_PASSES = 40


class Span(NamedTuple):
    """A part of the table: runs, and times with both ends in it; None is without end."""

    runs: tuple[str, ...]
    after: datetime | None = None
    before: datetime | None = None


class MissingRows(Exception):
    """Fewer rows were counted than were told."""


class ReplacedBucket(msgspec.Struct, frozen=True):
    """A bucket whose rows are no longer those that were told."""

    flow_run_id: str
    index: int
    rows: tuple[LogTableRow, ...]


class PollFindings:
    """What a poll has found so far."""

    def __init__(self, ledger: Ledger) -> None:
        self.rows: dict[str, LogTableRow] = {}
        self.replayed: set[str] = set()
        self.replaced: list[ReplacedBucket] = []
        self.server_time: datetime | None = None
        self._ledger = ledger

    def take(self, rows: Iterable[LogTableRow]) -> int:
        """Keep those that were not told, and say how many they are."""
        new = self._ledger.untold(rows)
        self.rows.update({row.id: row for row in new})
        return len(new)

    def within(self, span: Span) -> int:
        """How many of them lie in a part of the table."""
        return sum(
            row.flow_run_id in span.runs
            and (span.after is None or row.timestamp >= span.after)
            and (span.before is None or row.timestamp <= span.before)
            for row in self.rows.values()
        )


class LogTable:
    """The rows of a level and above, from a time on."""

    def __init__(self, *, level: int, since: datetime | None) -> None:
        """Ask nothing yet.

        Args:
            level: Only rows of this level and above.
            since: Only rows of this time and later, by the writers' clocks.
        """
        self.level = level
        self.since = since
        self.offsets = True
        """Whether the server takes offsets; without them a tie is read only as far as a page."""

    def scan(self, found: PollFindings, span: Span, limit: int) -> Poll[dict[str, LogTableRow]]:
        """Read all rows of a part, newest first."""
        read: dict[str, LogTableRow] = {}
        before = span.before
        while True:
            rows = yield from self.page(found, span._replace(before=before), limit, descending=True)
            read.update((row.id, row) for row in rows)
            if len(rows) < limit:
                return read
            before = rows[-1].timestamp
            if rows[0].timestamp == before:
                read.update((yield from self.tie(found, span.runs, before, limit)))
                before -= MICROSECOND

    def tie(
        self, found: PollFindings, runs: tuple[str, ...], instant: datetime, limit: int
    ) -> Poll[dict[str, LogTableRow]]:
        """Read all rows of one timestamp, of which there are more than a page.

        A server may order them differently from page to page, so the passes go on, in pages of
        changing size and from either end, until as many different rows are there as were counted.
        """
        read: dict[str, LogTableRow] = {}
        span = Span(runs, instant, instant)
        for attempt in range(_TIE_PASSES):
            size = max(1, limit - 7 * attempt % max(1, limit // 2))
            counted, count = 0, size
            while count == size:
                rows = yield from self.page(
                    found, span, size, offset=counted, descending=attempt % 2 == 1
                )
                read.update((row.id, row) for row in rows)
                count = len(rows)
                counted += count
                if not self.offsets:
                    return read
            if len(read) >= counted:
                break
        return read

    def differs(self, found: PollFindings, span: Span, told: int) -> Poll[int]:
        """Compare the rows of a part with those told and found of it.

        Returns:
            0 if the server has as many, 1 if it has more.
        """
        rows_in_hand = told + found.within(span)
        offset, limit = max(0, rows_in_hand - 1), 2 if rows_in_hand else 1
        rows = yield from self.page(found, span, limit, offset=offset)
        more = len(rows) - (1 if rows_in_hand else 0)
        if more < 0:
            raise MissingRows
        return more

    def page(
        self,
        found: PollFindings,
        span: Span,
        limit: int,
        *,
        offset: int = 0,
        descending: bool = False,
    ) -> Poll[list[LogTableRow]]:
        page: Page[FlowRunLog] = yield LogsQuery(
            flow_run_ids=span.runs,
            after=later(span.after, self.since),
            before=span.before,
            level=self.level,
            descending=descending,
            offset=offset,
            limit=limit,
        )
        found.server_time = page.server_time or found.server_time
        if not page.malformed:
            return list(page.rows)
        rows: list[LogTableRow] = [*page.rows, *page.malformed]
        return sorted(rows, key=lambda row: row.timestamp, reverse=descending)
