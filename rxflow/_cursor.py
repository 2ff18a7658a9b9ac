"""The count-probe cursor: tells each log row of some runs once, and proves that none is missing.

A server sorts log rows by the writers' clocks, with no order among equal ones, and rows become
visible late and out of order, so no position can be trusted. But rows are only ever inserted, and
an offset counts. With N rows told, the page at offset N - 1 holds one known row and whatever is
new at the end; let the last, short page end at rank C. If the rows in hand that were not told
number C - N, then told and new together are the table as it was at that instant, whatever the
clocks, ties and lateness. That is one request while nothing happens.

Where the numbers differ, rows came in further below. They are looked for newest first, so that no
row is found before one that its writer stored earlier: in the window above the floor row by row,
below it by bisection over counts, down to a bucket that is read again. Fewer rows than were told
means that rows vanished, or that a replica lags behind; only when it is seen three times in a row
is it believed, and the whole table read again.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from operator import attrgetter

import msgspec

from rxflow._ledger import MICROSECOND, WINDOW, Ledger, LedgerState
from rxflow._polling import Malformed, Poll
from rxflow._search import Search
from rxflow._table import Found, MissingRows, Replaced, Row, Span, Table, later
from rxflow.events import FlowRunLog

_PAGES_IN_A_ROW = 16  # a poll with more to read than this goes on page by page, telling each
_AFTER_A_LIST = 8
_SLACK = timedelta(seconds=5)  # for commits under way, and a Date that counts whole seconds
_DOUBTS = 3
_READS = 40  # polls for a proof of a table that is written to meanwhile
_STEP_MOST = 400
_STEP_HALF_LIFE = 30.0  # seconds of the server's time
_ORDER = attrgetter("timestamp", "created", "id")


class LogRead(msgspec.Struct, frozen=True, kw_only=True):
    """What one poll found; nothing of it counts until it is committed.

    Attributes:
        rows: Rows that were not told before, by (timestamp, created, id); those that may have been
            told, since others vanished, are flagged replayed.
        malformed: The same of rows that cannot be read.
        position: Where the next page begins while there is more to read, else None.
        begun: The server's time when the list began to be read, whose next page that is.
        proven: Whether the rows told, these included, are all that the server has.
        provable: Whether the server takes the questions that a proof needs.
        rewound: Whether rows that were told are gone.
        vanished: Ids of rows above the floor that are gone.
        replaced: Buckets with rows that are gone.
        doubted: Whether fewer rows were counted than were told.
        server_time: The server's time at the last page.
    """

    rows: tuple[FlowRunLog, ...] = ()
    malformed: tuple[Malformed, ...] = ()
    position: datetime | None = None
    begun: datetime | None = None
    proven: bool = False
    provable: bool = True
    rewound: bool = False
    vanished: tuple[str, ...] = ()
    replaced: tuple[Replaced, ...] = ()
    doubted: bool = False
    server_time: datetime | None = None


class CursorState(msgspec.Struct, frozen=True):
    """All of a cursor, to save and load."""

    ledger: LedgerState
    level: int
    since: datetime | None
    position: datetime | None
    begun: datetime | None
    listed: bool
    step: float


class LogCursor:
    """Reads the log rows of one or more runs."""

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
            ledger: What was told already, in place of the runs.
        """
        self.ledger = ledger or Ledger(flow_run_ids)
        self._table = Table(level=level, since=since)
        self._search = Search(self._table, self.ledger)
        self._position: datetime | None = None
        self._begun: datetime | None = None
        self._listed = False
        self._step = 0.0
        self._doubts = 0
        self._pages_in_a_row = _PAGES_IN_A_ROW
        self._server_time: datetime | None = None

    @property
    def newest_created(self) -> datetime | None:
        """When the newest row that was told was stored, by the server's clock."""
        return self.ledger.clock

    def refuse_offsets(self) -> bool:
        """Do without offsets from now on, since the server refuses them.

        Returns:
            False if that was said before.
        """
        before, self._table.offsets = self._table.offsets, False
        return before

    def poll(self, limit: int, *, deep: bool = True, last: bool = False) -> Poll[LogRead]:
        """Read what is new.

        Args:
            limit: The most rows the server gives at once.
            deep: Whether to count from the first row on, which costs a server the more the longer
                the history; if not, only rows above the floor are counted, and nothing is proven.
            last: Whether this is to be the last poll; without offsets it reads everything again.
        """
        found = Found(self.ledger)
        if not self._listed:
            return (yield from self._list(found, limit))
        if self._doubts >= _DOUBTS or (last and not self._table.offsets):
            return (yield from self._audit(found, limit))
        if not self._table.offsets:
            window = Span(self.ledger.runs, self.ledger.floor)
            found.take((yield from self._table.scan(found, window, limit)).values())
            return self._read(found)
        try:
            return (yield from self._probe(found, limit, deep=deep))
        except MissingRows:
            return LogRead(doubted=True, server_time=found.server_time)

    def commit(self, read: LogRead) -> None:
        """Take what a poll found for told."""
        self._doubts = self._doubts + 1 if read.doubted else 0
        if read.doubted:
            return
        # What a list left to the poll after it is what was stored in some seconds.
        just_listed = read.begun is not None and read.position is None
        self._pages_in_a_row = _PAGES_IN_A_ROW * (_AFTER_A_LIST if just_listed else 1)
        self._listed = read.position is None
        self._position, self._begun = read.position, read.begun
        self._follow(read)
        self.ledger.forget(read.vanished)
        for bucket in read.replaced:
            self.ledger.replace(bucket.flow_run_id, bucket.index, bucket.rows)
        rows: Sequence[Row] = (*read.rows, *read.malformed)
        if read.replaced:
            counted = {row.id for bucket in read.replaced for row in bucket.rows}
            rows = [row for row in rows if row.id not in counted]
        self.ledger.add(rows)
        self.ledger.advance()

    def save(self) -> CursorState:
        """All of the cursor."""
        return CursorState(
            ledger=self.ledger.save(),
            level=self._table.level,
            since=self._table.since,
            position=self._position,
            begun=self._begun,
            listed=self._listed,
            step=self._step,
        )

    @classmethod
    def load(cls, state: CursorState) -> "LogCursor":
        """Make a cursor that goes on where the saved one was."""
        cursor = cls(level=state.level, since=state.since, ledger=Ledger.load(state.ledger))
        cursor._position, cursor._begun = state.position, state.begun
        cursor._listed = state.listed
        cursor._step = state.step
        return cursor

    # -- the fast path --------------------------------------------------------------------------

    def _probe(self, found: Found, limit: int, *, deep: bool) -> Poll[LogRead]:
        proven = deep
        for span, told in self._parts(deep=deep):
            counted, low = yield from self._read_on(found, span, told, limit)
            if counted is None:
                return (yield from self._fall_behind(found, limit))
            proven &= yield from self._search.complete(
                found, span, told, counted, low=low, limit=limit
            )
        return self._read(found, proven=proven)

    def _parts(self, *, deep: bool) -> Iterator[tuple[Span, int]]:
        """The parts that are counted by themselves, with the rows told of each.

        Rows dated far ahead of the server's clock stay at the end of the table, in the way of all
        others; while there are some, they are a part of their own.
        """
        ledger = self.ledger
        after = self._table.since if deep else ledger.floor
        told = ledger.total if deep else ledger.above
        split = self._split()
        ahead = ledger.later_than(split) if split is not None else 0
        if split is None or not ahead:
            yield Span(ledger.runs, after), told
            return
        # The later part first: what its writers stored earlier is there when the other is read.
        yield Span(ledger.runs, split + MICROSECOND), ahead
        yield Span(ledger.runs, after, split), told - ahead

    def _read_on(
        self, found: Found, span: Span, told: int, limit: int
    ) -> Poll[tuple[int | None, datetime | None]]:
        """Read from shortly before the known end to the end.

        Returns:
            How many rows there are, None if the end is too far away for one poll; and the time of
            the first row that was read.
        """
        rank = start = max(0, told - 1 - int(self._step))
        low: datetime | None = None
        while True:
            rows = yield from self._table.ask(found, span, limit, offset=rank)
            found.take(rows)
            low = rows[0].timestamp if low is None and rows else low
            rank += len(rows)
            if len(rows) < limit:
                return rank, low
            # Rows that came in below push known ones up, and then the end is no news.
            too_far = rank - start >= self._pages_in_a_row * limit
            if too_far and 2 * found.within(span) > rank - start:
                return None, low

    # -- the long ways: page by page ------------------------------------------------------------

    def _fall_behind(self, found: Found, limit: int) -> Poll[LogRead]:
        """Leave what is above the floor to be listed, after all that came in below it."""
        begun = found.server_time
        lowest = min(row.timestamp for row in found.rows.values())
        floor = self.ledger.floor or lowest
        if self.ledger.floor is not None:
            yield from self._search.buckets(found, floor - MICROSECOND, limit)
        found.rows = {i: row for i, row in found.rows.items() if row.timestamp < floor}
        return self._read(found, position=floor, begun=begun)

    def _list(self, found: Found, limit: int) -> Poll[LogRead]:
        """Read the next page of a history that was not read to its end yet.

        What was stored while it is read is left to later polls: its writer may have stored earlier
        rows where the list had passed.
        """
        alone = self._position is None
        rows = yield from self._table.ask(found, Span(self.ledger.runs, self._position), limit)
        if alone and len(rows) < limit:
            found.take(rows)
            return self._read(found, proven=True)
        begun = self._begun or found.server_time
        position: datetime | None = None
        if len(rows) == limit:
            position = rows[-1].timestamp
            if rows[0].timestamp == position:
                ties = yield from self._table.tie(found, self.ledger.runs, position, limit)
                rows, position = list(ties.values()), position + MICROSECOND
            # Rows of the last timestamp may go on in the next page, where they get their order.
            rows = [row for row in rows if row.timestamp < position]
        if begun is not None:
            settled = begun - _SLACK
            rows = [row for row in rows if row.created < settled]
        found.take(rows)
        return self._read(found, position=position, begun=begun)

    def _audit(self, found: Found, limit: int) -> Poll[LogRead]:
        """Read everything, and take the table for what it is now."""
        floor = self.ledger.floor
        if floor is not None:
            for run in self.ledger.runs:
                yield from self._audit_buckets(found, run, floor - MICROSECOND, limit)
        window = yield from self._table.scan(found, Span(self.ledger.runs, floor), limit)
        found.take(window.values())
        vanished = tuple(row_id for row_id in self.ledger.window() if row_id not in window)
        return self._read(found, vanished=vanished)

    def _audit_buckets(self, found: Found, run: str, top: datetime, limit: int) -> Poll[None]:
        for index, edges in enumerate(self._search.edges(run, top)):
            rows = yield from self._search.read_bucket(found, run, edges, limit)
            missing = self.ledger.missing_of(run, index, rows)
            if missing is None:  # what may have been told of it is told again, and flagged
                found.replaced.append(Replaced(run, index, tuple(rows)))
                missing = [row for row in rows if not self.ledger.knows(row)]
                found.replayed.update(row.id for row in missing if not self.ledger.is_new(row))
            found.rows.update((row.id, row) for row in missing)

    # -- what was found -------------------------------------------------------------------------

    def _read(
        self,
        found: Found,
        *,
        position: datetime | None = None,
        begun: datetime | None = None,
        proven: bool = False,
        vanished: tuple[str, ...] = (),
    ) -> LogRead:
        rows = sorted(found.rows.values(), key=_ORDER)
        lines = [row for row in rows if isinstance(row, FlowRunLog)]
        malformed: tuple[Malformed, ...] = ()
        if len(lines) < len(rows):
            malformed = tuple(row for row in rows if isinstance(row, Malformed))
        if found.replayed:
            lines = [self._flagged(row, found) for row in lines]
        return LogRead(
            rows=tuple(lines),
            malformed=malformed,
            position=position,
            begun=begun,
            proven=proven,
            provable=self._table.offsets,
            rewound=bool(vanished or found.replaced),
            vanished=vanished,
            replaced=tuple(found.replaced),
            server_time=found.server_time,
        )

    def _flagged(self, row: FlowRunLog, found: Found) -> FlowRunLog:
        return msgspec.structs.replace(row, replayed=True) if row.id in found.replayed else row

    def _split(self) -> datetime | None:
        """A time that only rows dated ahead are beyond, for some seconds after the last answer."""
        clock = later(self.ledger.clock, self._server_time)
        return None if clock is None else clock + WINDOW

    def _follow(self, read: LogRead) -> None:
        """Have the next poll begin as far before the known end as new rows lately lay."""
        before, now = self._server_time, read.server_time
        if now is not None and before is not None and now > before:
            self._step *= 0.5 ** ((now - before).total_seconds() / _STEP_HALF_LIFE)
        self._server_time = now or before
        split, floor = self._split(), self.ledger.floor
        if split is None or floor is None or read.position is not None or not read.rows:
            return
        times = [row.timestamp for row in read.rows if floor <= row.timestamp <= split]
        if times:
            depth = self.ledger.later_than(min(times)) - self.ledger.later_than(split)
            self._step = min(_STEP_MOST, max(self._step, depth * 1.125))


def read_all(flow_run_id: str, since: datetime | None, limit: int) -> Poll[tuple[FlowRunLog, ...]]:
    """Read all log rows of a run, from a time on, and have the server count them.

    Args:
        flow_run_id: The run.
        since: Only rows of this time and later.
        limit: The most rows the server gives at once.
    """
    cursor = LogCursor(flow_run_id, since=since)
    rows: dict[str, FlowRunLog] = {}
    read = LogRead()
    for _ in range(_READS):
        read = yield from cursor.poll(limit, last=read.position is None)
        cursor.commit(read)
        rows.update((row.id, row) for row in read.rows)
        if read.proven or not read.provable:
            break
    return tuple(sorted(rows.values(), key=_ORDER))
