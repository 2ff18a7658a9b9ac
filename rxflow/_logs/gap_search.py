"""The gap search: finds the rows of a part of the table that the ledger does not have.

All reading goes down, from the newest row to the oldest, so that no row is found before one that
its writer stored earlier: once a row has been read, the rows before it are visible and lie in what
is read next. Pages are read down for as long as more rows are expected than one page holds; then a
*probe*, a page by offset, reads the rest and counts all that lies below. Rows that arrive meanwhile
above the position reached are left to the next poll. So what is proven is that all rows are found
that were there when the poll began.

Below the floor rows have no ids, so there the search is left to the bucket search.
"""

from datetime import datetime
from typing import NamedTuple

from rxflow._logs.bucket_search import BucketSearch
from rxflow._logs.forecast import TablePart
from rxflow._logs.table_reader import LogTableRow, Span, TableReader, TableShrank
from rxflow._models.times import MICROSECOND, later, shifted
from rxflow._protocol.pages import Poll


class TooManyPages(Exception):
    """There is more to read than one poll should."""


class _Position(NamedTuple):
    """How far down a search has come.

    Attributes:
        span: What is left of the part, down from the position, this instant included.
        expected_new: How many undelivered rows are expected in it.
        step_back: How many known rows at its end to read again.
        edge: Ids of rows of the position's instant that were read.
    """

    span: Span
    expected_new: int
    step_back: int
    edge: frozenset[str] = frozenset()

    def fits_page(self, limit: int) -> bool:
        """Whether a probe is expected to fit one page with room, so that it counts at once."""
        return self.expected_new + self.step_back + 1 < limit

    def check_edge(self, rows: list[LogTableRow], last: datetime | None) -> None:
        """Check that a page from the position down to a time has the rows that were read there.

        Raises:
            TableShrank: It does not, so it shows an earlier state of the table.
        """
        if last != self.span.before and not self.edge.issubset(row.id for row in rows):
            raise TableShrank


class _Probe(NamedTuple):
    """What one or several pages by offset showed.

    Attributes:
        gap: How many rows there are that were neither delivered nor found.
        counted: How many rows there are.
        rows: The first page.
        is_one_page: Whether that was all, and so shows one state of the table.
        starts_at_first_row: Whether it began at the span's first row.
    """

    gap: int
    counted: int
    rows: list[LogTableRow]
    is_one_page: bool
    starts_at_first_row: bool


class GapSearch:
    """Finds the undelivered rows of one part of the table."""

    def __init__(
        self, reader: TableReader, buckets: BucketSearch, part: TablePart, *, max_pages: int
    ) -> None:
        """Start at the end of the part.

        Args:
            reader: The poll's reader, which collects the rows.
            buckets: The poll's bucket search.
            part: The part.
            max_pages: How many pages of mostly new rows one probe may read.
        """
        self._reader = reader
        self._ledger = reader.ledger
        self._limit = reader.limit
        self._buckets = buckets
        self._part = part
        self._max_pages = max_pages
        # Where more is expected than one poll may read, a probe finds out whether that is so.
        expectable = part.expected_new <= max_pages * self._limit
        self._position = _Position(
            part.span, part.expected_new if expectable else 0, part.step_back
        )
        self._has_counted_above_floor = False

    def close_gap(self) -> Poll[None]:
        """Find all rows of the part that were there when the poll began.

        Raises:
            TableShrank: Rows that were delivered, or counted before, are not there.
            TooManyPages: More rows are new than one poll should read.
        """
        # Invariant, at the top of each round: every row of the part that is dated later than the
        # position and was there when the poll began was delivered or is found. Of the position's
        # own instant some rows may be read, the edge. Nothing is known of the gap below.
        #
        # The search ends where that invariant reaches down to the beginning of the part:
        # - a probe without a gap: as many rows were delivered and found as the server counts from
        #   the position down, and rows are only inserted, so they are the same rows;
        # - pages read down to the floor or to the part's beginning: all above was read, and the
        #   bucket search counts what lies below;
        # - a probe with a gap, none of which lies above the floor: the bucket search finds it.
        #
        # Every other round moves the position down, or is followed by one that does: a page read
        # down ends below its beginning; a probe moves the position to its first row. Where that
        # is the position's own instant, or the probe took several pages, a page or more is
        # expected from then on, so the next round reads down. The floor, or the part's beginning,
        # is the bottom.
        promised = 0
        while True:
            if not self._position.fits_page(self._limit) and (yield from self._read_down()):
                yield from self._close_gap_below_floor(gap_is_certain=False)
                break
            found_before = len(self._reader.rows)
            probe = yield from self._probe()
            if probe.gap == 0:
                break
            promised = max(promised, len(self._reader.rows) + probe.gap)
            if not probe.is_one_page:
                # Rows arrived behind the probe while it was read, so its pages show several
                # states of the table; all is read down from the same position.
                new = probe.counted - self._delivered_below_position()
                self._position = self._position._replace(expected_new=new)
                continue
            self._move_below(probe)
            if (yield from self._gap_is_below_floor(probe, found_before)):
                yield from self._close_gap_below_floor(gap_is_certain=True)
                break
        # Rows that were counted are still there, unless a replica that lags replied afterwards.
        if len(self._reader.rows) < promised:
            raise TableShrank

    # -- reading down ---------------------------------------------------------------------------

    def _read_down(self) -> Poll[bool]:
        """Read pages down until a probe is expected to fit one page.

        Returns:
            Whether the floor, or the beginning of the part, was reached.
        """
        bottom = later(self._part.span.after, self._ledger.floor)
        # Invariant: as in `close_gap`. Each page but the last ends at an earlier time than the
        # position, since a page of one timestamp is followed by the whole tie.
        while True:
            position = self._position
            window = position.span._replace(after=bottom)
            rows = yield from self._reader.page(window, descending=True)
            found = self._reader.add_undelivered(rows)
            last = rows[-1].timestamp if rows else None
            position.check_edge(rows, last)
            if last is None or len(rows) < self._limit:
                return True
            edge = frozenset({row.id for row in rows if row.timestamp == last})
            if rows[0].timestamp == last:
                tie = yield from self._reader.read_tie(window.runs, last)
                found = max(1, self._reader.add_undelivered(tie.values()))
                below = shifted(last, -MICROSECOND)
                if below == last or (bottom is not None and below < bottom):
                    return True
                last, edge = below, frozenset[str]()
            self._position = self._below_page(last, edge, found)
            if found == 0 or self._position.fits_page(self._limit):
                return False

    def _below_page(self, last: datetime, edge: frozenset[str], found: int) -> _Position:
        """Return the position below a full page that was read down.

        Args:
            last: The time of the page's last row.
            edge: The ids of its rows of that time.
            found: How many undelivered rows it had.
        """
        span = self._position.span._replace(before=last)
        step_back = max(0, self._position.step_back - (self._limit - found))
        if found == 0:  # fewer new rows came than were expected
            return _Position(span, 0, max(0, min(step_back, self._limit - 3)), edge)
        expected_new = max(0, self._position.expected_new - found + 1)
        if expected_new and not step_back and found < self._limit - 1:
            # New rows lie deeper among known ones than was expected, so how deep is open.
            step_back = _page_room(expected_new, self._limit)
        return _Position(span, expected_new, step_back, edge)

    # -- probing --------------------------------------------------------------------------------

    def _probe(self) -> Poll[_Probe]:
        """Read from shortly before the known end to the end, and count.

        Pages overlap by one row, so that each shows whether it follows the one before it.

        Raises:
            TableShrank: The server has fewer rows than were delivered and found.
            TooManyPages: It has many new ones at the end.
        """
        reader, limit, span = self._reader, self._limit, self._position.span
        delivered = self._delivered_below_position()
        known_end = delivered + reader.count_within(span)
        start = rank = max(0, known_end - 1 - self._position.step_back)
        pages: list[list[LogTableRow]] = []
        while not pages or len(pages[-1]) == limit:
            # If most of the rows read are known, new rows below pushed them up, and the end is
            # near; only many new rows are too many pages.
            if len(pages) >= self._max_pages and 2 * reader.count_within(span) > rank - start:
                raise TooManyPages
            rank -= 1 if pages and limit > 1 else 0
            rows = yield from reader.page(span, offset=rank)
            reader.add_undelivered(rows)
            if pages and limit > 1:
                _check_order(pages[-1], rows)
            pages.append(rows)
            rank += len(rows)
        gap = rank - delivered - reader.count_within(span)
        if gap < 0:
            raise TableShrank
        is_one_page = len(pages) == 1
        if is_one_page and pages[0]:
            self._check_known_rows(pages[0])
        return _Probe(gap, rank, pages[0], is_one_page, start == 0)

    def _check_known_rows(self, rows: list[LogTableRow]) -> None:
        """Check that a probe of one page has all delivered rows that are dated within it.

        The count alone would not show that some vanished, where as many others arrived.

        Raises:
            TableShrank: It lacks some.
        """
        first = rows[0].timestamp
        self._position.check_edge(rows, first)
        if self._is_below_floor(first):
            return
        is_delivered = self._ledger.is_known_delivered
        present = sum(row.timestamp > first and is_delivered(row) for row in rows)
        expected = self._ledger.count_later_than(first)
        if present < expected - self._count_later_than(self._position.span.before):
            raise TableShrank

    def _move_below(self, probe: _Probe) -> None:
        """Move the position to the first row of a probe that has a gap below it."""
        first = probe.rows[0].timestamp
        # A probe of one timestamp leads no further down: only reading down reads ties whole.
        is_tie = first == self._position.span.before
        expected_new = self._limit if is_tie else probe.gap
        self._position = _Position(
            span=self._position.span._replace(before=first),
            expected_new=expected_new,
            step_back=_page_room(expected_new, self._limit),
            edge=frozenset(row.id for row in probe.rows if row.timestamp == first),
        )

    def _gap_is_below_floor(self, probe: _Probe, found_before: int) -> Poll[bool]:
        """Whether the gap that a probe left lies below the floor.

        It does where the probe itself reached down there. Otherwise the rows from the position down
        to the floor are counted, but only once a search, only after a probe without new rows, and
        only where they are more than a page: else reading them costs no more.

        Args:
            probe: The probe; the position is at its first row.
            found_before: How many rows were found before it.
        """
        if probe.starts_at_first_row or self._is_below_floor(probe.rows[0].timestamp):
            return True
        if self._has_counted_above_floor or len(self._reader.rows) > found_before:
            return False
        self._has_counted_above_floor = True
        above_floor = self._position.span._replace(
            after=later(self._part.span.after, self._ledger.floor)
        )
        delivered = self._delivered_below_position()
        if self._part_reaches_below_floor():
            delivered -= self._ledger.total - self._ledger.count_above_floor
        if delivered < self._limit:
            return False
        return not (yield from self._reader.has_gap(above_floor, delivered))

    def _delivered_below_position(self) -> int:
        """Return how many rows of the part were delivered, from the position down."""
        later_than_position = self._count_later_than(self._position.span.before)
        later_than_part = self._count_later_than(self._part.span.before)
        return self._part.delivered - later_than_position + later_than_part

    def _count_later_than(self, time: datetime | None) -> int:
        return 0 if time is None else self._ledger.count_later_than(time)

    # -- below the floor ------------------------------------------------------------------------

    def _is_below_floor(self, time: datetime) -> bool:
        return self._ledger.floor is not None and time < self._ledger.floor

    def _part_reaches_below_floor(self) -> bool:
        floor, after = self._ledger.floor, self._part.span.after
        return floor is not None and (after is None or after < floor)

    def _close_gap_below_floor(self, *, gap_is_certain: bool) -> Poll[None]:
        if self._part_reaches_below_floor():
            yield from self._buckets.close_gap(gap_is_certain=gap_is_certain)


def _page_room(expected_new: int, limit: int) -> int:
    """Return how many known rows fit a page beside the new ones, with room for rows that arrive."""
    return max(0, limit - limit // 10 - 2 - expected_new)


def _check_order(page: list[LogTableRow], following: list[LogTableRow]) -> None:
    """Check that a page by offset starts no later than the page before it ended.

    The two share a row, and rows that arrive only push others up. An empty page would prove nothing
    either: it only shows that there are not as many rows.

    Raises:
        TableShrank: It starts later, so it shows an earlier state of the table.
    """
    if not following or following[0].timestamp > page[-1].timestamp:
        raise TableShrank
