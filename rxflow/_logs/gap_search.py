"""Reading what is new of a table, and looking for what a count says is missing.

All of it goes down, from the newest row to the oldest, so that no row is found before one that its
writer stored earlier: when a row has been read, what came before it is visible and lies in what is
read after it. Pages are read down for as long as more is expected than a page holds; then a page by
offset reads the rest and counts all that lies below. What lands meanwhile above the place that was
reached is left to the next poll: what is proven is that all rows are told that were there when the
poll began.
"""

from datetime import datetime
from typing import NamedTuple

from rxflow._logs.buckets import BucketSearch
from rxflow._logs.ledger import Ledger
from rxflow._logs.table import LogTable, LogTableRow, MissingRows, PollFindings, Span
from rxflow._models.times import MICROSECOND, later
from rxflow._protocol.pages import Poll


class TooManyPages(Exception):
    """There is more to read than one poll should."""


class TablePart(NamedTuple):
    """Rows that are counted by themselves, and what to expect of them.

    Attributes:
        span: Where they are.
        told: How many of them were told.
        new: How many were not, as far as can be guessed.
        step: How many known rows before the end are to be read again.
    """

    span: Span
    told: int
    new: int = 0
    step: int = 0


class _SearchPosition(NamedTuple):
    """How far down a search has come.

    Attributes:
        span: What is left of the part: up to here, this instant included.
        new: How many rows of it were not told, as far as can be guessed.
        step: How many known rows are to be read with them.
        edge: Ids of rows of this instant that were read.
    """

    span: Span
    new: int
    step: int
    edge: frozenset[str] = frozenset()

    def fits(self, limit: int) -> bool:
        """Whether a page is expected to hold what is left, and room, so that it counts."""
        return self.new + self.step + 1 < limit

    def check(self, rows: list[LogTableRow], far: datetime | None) -> None:
        """See that a page that goes on from here, to some time, has what was read before.

        Raises:
            MissingRows: It does not, so it is of an earlier state of the table.
        """
        if far != self.span.before and not self.edge.issubset(row.id for row in rows):
            raise MissingRows


class _ProbeResult(NamedTuple):
    """What a page by offset, or some in a row, said.

    Attributes:
        missing: How many rows there are that are neither told nor found.
        counted: How many rows there are.
        rows: The first page.
        whole: Whether that was all, and so one state of the table.
        first: Whether it began at the first row.
    """

    missing: int
    counted: int
    rows: list[LogTableRow]
    whole: bool
    first: bool


class GapSearch:
    """Looks for rows of a table that a ledger does not have."""

    def __init__(self, table: LogTable, ledger: Ledger) -> None:
        """Look for nothing yet.

        Args:
            table: Where to look.
            ledger: What was told.
        """
        self._table = table
        self._ledger = ledger
        self._buckets = BucketSearch(table, ledger)

    # -- a part, from its end down --------------------------------------------------------------

    def complete(
        self, found: PollFindings, part: TablePart, limit: int, *, most_pages: int
    ) -> Poll[None]:
        """Find all rows of a part that were there when the poll began.

        Args:
            found: What takes them.
            part: What to read.
            limit: The most rows of a page.
            most_pages: How many pages may be read upwards.

        Raises:
            MissingRows: Some of those that were told are not there.
            TooFar: There are more pages to read.
        """
        new = part.new if part.new <= most_pages * limit else 0
        place = _SearchPosition(part.span, new, part.step)
        owed, asked = 0, False
        while True:
            if not place.fits(limit):
                down = yield from self._down(found, place, limit)
                if down is None:
                    yield from self._below_the_floor(found, part, limit, certain=False)
                    break
                place = down
            known = len(found.rows)
            told = self._told(part, place.span)
            probe = yield from self._probe(found, place, told, limit, most_pages)
            if probe.missing == 0:
                break
            owed = max(owed, len(found.rows) + probe.missing)
            if not probe.whole:  # rows landed behind it while it was read, so all goes down again
                place = place._replace(new=probe.counted - told)
                continue
            read_all = probe.first or self._is_below_the_floor(probe.rows[0].timestamp)
            place = _under(place, probe, limit)
            if not read_all and not asked and len(found.rows) == known:
                asked = True
                read_all = yield from self._is_told(found, part, place, limit)
            if read_all:
                yield from self._below_the_floor(found, part, limit, certain=True)
                break
        # What was counted before is still there, unless a replica answered that lags behind.
        if len(found.rows) < owed:
            raise MissingRows

    def _down(
        self, found: PollFindings, place: _SearchPosition, limit: int
    ) -> Poll[_SearchPosition | None]:
        """Read pages down until one more is expected to hold the rest.

        Returns:
            Where they ended; None if that was the floor, or the beginning of the part.
        """
        bottom = later(place.span.after, self._ledger.floor)
        while True:
            window = place.span._replace(after=bottom)
            rows = yield from self._table.page(found, window, limit, descending=True)
            taken = found.take(rows)
            last = rows[-1].timestamp if rows else None
            place.check(rows, last)
            if last is None or len(rows) < limit:
                return None
            edge = frozenset({row.id for row in rows if row.timestamp == last})
            if rows[0].timestamp == last:
                ties = yield from self._table.tie(found, window.runs, last, limit)
                taken, edge = max(1, found.take(ties.values())), frozenset[str]()
                last -= MICROSECOND
                if bottom is not None and last < bottom:
                    return None
            place = _SearchPosition(
                span=place.span._replace(before=last),
                new=max(0, place.new - taken + 1),
                step=max(0, place.step - (limit - taken)),
                edge=edge,
            )
            if taken == 0:  # fewer came than were expected
                return place._replace(new=0, step=max(0, min(place.step, limit - 3)))
            if place.new and not place.step and taken < limit - 1:
                # New rows lie deeper among known ones than was expected, so how deep is open.
                place = place._replace(step=_filling(place.new, limit))
            if place.fits(limit):
                return place

    def _probe(
        self, found: PollFindings, place: _SearchPosition, told: int, limit: int, most_pages: int
    ) -> Poll[_ProbeResult]:
        """Read from shortly before the known end to the end, and count."""
        span = place.span
        start = rank = max(0, told + found.within(span) - 1 - place.step)
        pages: list[list[LogTableRow]] = []
        while not pages or len(pages[-1]) == limit:
            # Rows that came in below push known ones up, and then the end is no news.
            if len(pages) >= most_pages and 2 * found.within(span) > rank - start:
                raise TooManyPages
            rank -= 1 if pages and limit > 1 else 0
            rows = yield from self._table.page(found, span, limit, offset=rank)
            found.take(rows)
            if pages and limit > 1:
                _check_rise(pages[-1], rows)
            pages.append(rows)
            rank += len(rows)
        missing = rank - told - found.within(span)
        if missing < 0:
            raise MissingRows
        whole = len(pages) == 1
        if whole and pages[0]:
            self._check(place, pages[0])
        return _ProbeResult(missing, rank, pages[0], whole, start == 0)

    def _check(self, place: _SearchPosition, rows: list[LogTableRow]) -> None:
        """See that what was told of the times of a page is in it: other rows may make up for it."""
        low = rows[0].timestamp
        place.check(rows, low)
        if self._is_below_the_floor(low):
            return
        there = sum(row.timestamp > low and self._ledger.knows(row) for row in rows)
        if there < self._ledger.later_than(low) - self._later_than(place.span.before):
            raise MissingRows

    def _is_told(
        self, found: PollFindings, part: TablePart, place: _SearchPosition, limit: int
    ) -> Poll[bool]:
        """Whether nothing is missing from a place down to the floor, as far as that is asked."""
        span = place.span._replace(after=later(place.span.after, self._ledger.floor))
        told = self._told(part, place.span)
        if self._reaches_below_the_floor(part.span):
            told -= self._ledger.total - self._ledger.above
        if told < limit:
            return False  # it is as quickly read
        return (yield from self._table.differs(found, span, told)) == 0

    def _told(self, part: TablePart, span: Span) -> int:
        """How many rows were told of a part up to where a search has come."""
        return part.told - self._later_than(span.before) + self._later_than(part.span.before)

    def _later_than(self, time: datetime | None) -> int:
        return 0 if time is None else self._ledger.later_than(time)

    # -- below the floor ------------------------------------------------------------------------

    def _is_below_the_floor(self, time: datetime) -> bool:
        return self._ledger.floor is not None and time < self._ledger.floor

    def _reaches_below_the_floor(self, span: Span) -> bool:
        floor = self._ledger.floor
        return floor is not None and (span.after is None or span.after < floor)

    def _below_the_floor(
        self, found: PollFindings, part: TablePart, limit: int, *, certain: bool
    ) -> Poll[None]:
        floor = self._ledger.floor
        if floor is not None and self._reaches_below_the_floor(part.span):
            yield from self._buckets.complete(found, floor, limit, certain=certain)


def _under(place: _SearchPosition, probe: _ProbeResult, limit: int) -> _SearchPosition:
    """The place that a page by offset has come down to."""
    low = probe.rows[0].timestamp if probe.rows else place.span.before
    # A page of one timestamp leads nowhere: only pages down read ties whole.
    new = limit if low == place.span.before else probe.missing
    edge = frozenset(row.id for row in probe.rows if row.timestamp == low)
    return _SearchPosition(place.span._replace(before=low), new, _filling(new, limit), edge)


def _filling(new: int, limit: int) -> int:
    """How many known rows fill a page with the new ones, and leave room for what lands."""
    return max(0, limit - limit // 10 - 2 - new)


def _check_rise(page: list[LogTableRow], following: list[LogTableRow]) -> None:
    """See that a page by offset begins no later than the one ended that it shares a row with.

    Rows that come in only push others up. A page that is empty would be no count either: it says
    no more than that there are not as many rows.

    Raises:
        MissingRows: It does begin later, so it is of an earlier state of the table.
    """
    if not following or following[0].timestamp > page[-1].timestamp:
        raise MissingRows
