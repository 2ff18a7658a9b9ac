"""The count-probe cursor: tells each log row of some runs once, and proves that none is missing.

A server sorts log rows by the writers' clocks, with no order among equal ones, and rows become
visible late and out of order, so no position can be trusted. But rows are only ever inserted, and
an offset counts. With N rows told, the page at offset N - 1 holds one known row and whatever is
new at the end; let the last, short page end at rank C. If the rows in hand that were not told
number C - N, then told and new together are the table as it was at that instant, whatever the
clocks, ties and lateness. That is one request while nothing happens.

Where more is new than a page holds, pages are read from the newest row down, and the same is asked
of what lies below them; where the numbers differ, rows came in further below, and the way goes on
down, in the window above the floor row by row, below it by bisection over counts. So no row is
found before one that its writer stored earlier, and all rows are told that were there when the poll
began. Fewer rows than were told means that rows vanished, or that a replica lags behind; only when
it is seen three times in a row is it believed, and the whole table read again.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from operator import attrgetter

import msgspec

from rxflow._logs.audit import TableAudit
from rxflow._logs.buckets import BucketSearch
from rxflow._logs.forecast import Forecast
from rxflow._logs.gap_search import GapSearch, TooManyPages
from rxflow._logs.ledger import Ledger, LedgerState
from rxflow._logs.table import (
    LogTable,
    LogTableRow,
    MissingRows,
    PollFindings,
    ReplacedBucket,
    Span,
)
from rxflow._models.times import MICROSECOND
from rxflow._protocol.pages import MalformedRow, Poll
from rxflow.events import FlowRunLog

_PAGES_IN_A_ROW = 16  # a poll with more to read than this goes on page by page, telling each
_AFTER_A_LIST = 8
_SLACK = timedelta(seconds=5)  # for commits under way, and a Date that counts whole seconds
_DOUBTS = 3
_LOOKED_OVER = 2_000  # rows of a run that is read once more at its end: ten pages
LOG_ORDER = attrgetter("timestamp", "created", "id")


class LogRead(msgspec.Struct, frozen=True, kw_only=True):
    """What one poll found; nothing of it counts until it is committed.

    Attributes:
        rows: Rows that were not told before, by (timestamp, created, id); those that may have been
            told, since others vanished, are flagged replayed.
        malformed: The same of rows that cannot be read.
        position: Where the next page begins while there is more to read, else None.
        begun: The server's time when the list began to be read, whose next page that is.
        proven: Whether the rows told, these included, are all that the server had when the poll
            began, or at a later instant.
        provable: Whether the server takes the questions that a proof needs.
        rewound: Whether rows that were told are gone.
        vanished: Ids of rows above the floor that are gone.
        replaced: Buckets with rows that are gone.
        doubted: Whether fewer rows were counted than were told, or earlier answers take back.
        lacking: Whether some that were told were not there when all was read once more; None if
            it was not.
        server_time: The server's time at the last page.
    """

    rows: tuple[FlowRunLog, ...] = ()
    malformed: tuple[MalformedRow, ...] = ()
    position: datetime | None = None
    begun: datetime | None = None
    proven: bool = False
    provable: bool = True
    rewound: bool = False
    vanished: tuple[str, ...] = ()
    replaced: tuple[ReplacedBucket, ...] = ()
    doubted: bool = False
    lacking: bool | None = None
    server_time: datetime | None = None


class CursorState(msgspec.Struct, frozen=True):
    """All of a cursor, to save and load."""

    ledger: LedgerState
    level: int
    since: datetime | None
    position: datetime | None
    begun: datetime | None
    listed: bool
    just_listed: bool
    outlook: Forecast
    doubts: int
    lacking: int
    offsets: bool


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
        self._table = LogTable(level=level, since=since)
        self._search = GapSearch(self._table, self.ledger)
        self._buckets = BucketSearch(self._table, self.ledger)
        self._audit = TableAudit(self._table, self.ledger)
        self._position: datetime | None = None
        self._begun: datetime | None = None
        self._listed = False
        self._outlook = Forecast()
        self._doubts = 0
        self._lacking = 0
        self._just_listed = False

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
            last: Whether this is to be the last poll: it counts in one question, and a short
                history is read once more, as is any without offsets.
        """
        found = PollFindings(self.ledger)
        if not self._listed:
            return (yield from self._list(found, limit))
        if self._doubts >= _DOUBTS or (last and not self._table.offsets):
            return (yield from self._read_everything(found, limit))
        if not self._table.offsets:
            window = Span(self.ledger.runs, self.ledger.floor)
            found.take((yield from self._table.scan(found, window, limit)).values())
            return self._read(found)
        try:
            if last:
                return (yield from self._look_over(found, limit))
            return (yield from self._complete(found, limit, deep=deep))
        except MissingRows:
            return LogRead(doubted=True, server_time=found.server_time)

    def commit(self, read: LogRead) -> None:
        """Take what a poll found for told."""
        self._doubts = self._doubts + 1 if read.doubted else 0
        if read.lacking is not None:
            self._lacking = self._lacking + 1 if read.lacking else 0
        if read.doubted or read.lacking:
            return
        # What a list left to the poll after it is what was stored in some seconds.
        self._just_listed = read.begun is not None and read.position is None
        self._listed = read.position is None
        self._position, self._begun = read.position, read.begun
        rows: Sequence[LogTableRow] = (*read.rows, *read.malformed)
        recent = rows if read.position is None else ()
        self._outlook = self._outlook.followed_by(self.ledger, recent, read.server_time)
        self.ledger.forget(read.vanished)
        for bucket in read.replaced:
            self.ledger.replace(bucket.flow_run_id, bucket.index, bucket.rows)
        if read.replaced:
            counted = {row.id for bucket in read.replaced for row in bucket.rows}
            rows = [row for row in rows if row.id not in counted]
        self.ledger.add(rows)
        self.ledger.advance()

    def join(self, other: "LogCursor") -> None:
        """Read the runs of another cursor too, from now on in one table with one's own.

        Args:
            other: A cursor that has caught up and takes the same rows; not to be used any more.

        Raises:
            ValueError: One of the two has not caught up.
        """
        state = other.save()
        if not (self._listed and state.listed):
            raise ValueError("A cursor that has not caught up reads alone")
        self.ledger.join(other.ledger)
        self._outlook = self._outlook.joined(state.outlook)
        self._just_listed |= state.just_listed
        self._doubts = self._lacking = 0

    def leave(self, flow_run_id: str) -> "LogCursor":
        """Read a run no longer: one that is over, or is gone, whose rows will be gone too.

        Returns:
            A cursor of that run alone.
        """
        state = msgspec.structs.replace(self.save(), ledger=self.ledger.leave(flow_run_id).save())
        self._doubts = self._lacking = 0
        return LogCursor.load(msgspec.structs.replace(state, doubts=0, lacking=0))

    def save(self) -> CursorState:
        """All of the cursor."""
        return CursorState(
            ledger=self.ledger.save(),
            level=self._table.level,
            since=self._table.since,
            position=self._position,
            begun=self._begun,
            listed=self._listed,
            just_listed=self._just_listed,
            outlook=self._outlook,
            doubts=self._doubts,
            lacking=self._lacking,
            offsets=self._table.offsets,
        )

    @classmethod
    def load(cls, state: CursorState) -> "LogCursor":
        """Make a cursor that goes on where the saved one was."""
        cursor = cls(level=state.level, since=state.since, ledger=Ledger.load(state.ledger))
        cursor._position, cursor._begun = state.position, state.begun
        cursor._listed, cursor._just_listed = state.listed, state.just_listed
        cursor._outlook = state.outlook
        cursor._doubts, cursor._lacking = state.doubts, state.lacking
        cursor._table.offsets = state.offsets
        return cursor

    def _complete(
        self, found: PollFindings, limit: int, *, deep: bool = True, expecting: bool = True
    ) -> Poll[LogRead]:
        pages = _PAGES_IN_A_ROW * (_AFTER_A_LIST if self._just_listed else 1)
        since = self._table.since
        try:
            for part in self._outlook.parts(self.ledger, since, deep=deep, expecting=expecting):
                yield from self._search.complete(found, part, limit, most_pages=pages)
        except TooManyPages:
            return (yield from self._fall_behind(found, limit))
        return self._read(found, proven=deep)

    def _fall_behind(self, found: PollFindings, limit: int) -> Poll[LogRead]:
        """Leave what is above the floor to be listed, after all that came in below it."""
        begun = found.server_time
        lowest = min(row.timestamp for row in found.rows.values())
        floor = self.ledger.floor or lowest
        if self.ledger.floor is not None:
            yield from self._buckets.complete(found, floor, limit)
        found.rows = {i: row for i, row in found.rows.items() if row.timestamp < floor}
        return self._read(found, position=floor, begun=begun)

    def _list(self, found: PollFindings, limit: int) -> Poll[LogRead]:
        """Read the next page of a history that was not read to its end yet.

        What was stored while it is read is left to later polls: its writer may have stored earlier
        rows where the list had passed.
        """
        alone = self._position is None
        rows = yield from self._table.page(found, Span(self.ledger.runs, self._position), limit)
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

    def _look_over(self, found: PollFindings, limit: int) -> Poll[LogRead]:
        """Count, and if nothing is new, see whether what is counted is what was told.

        Rows that vanish while as many others come in are beyond a count.
        """
        total = self.ledger.total
        if total + 1 >= limit:  # else a page is all there is, and counts
            read = yield from self._complete(found, limit, expecting=False)
            if not read.proven or found.rows or total > _LOOKED_OVER:
                return read
        rows = yield from self._table.scan(found, Span(self.ledger.runs), limit)
        if self._audit.lacks(found, rows):
            if self._lacking + 1 >= _DOUBTS:
                return (yield from self._read_everything(found, limit))
            return LogRead(lacking=True, server_time=found.server_time)
        one_page = len(rows) < limit
        return self._read(found, proven=one_page or not found.rows, lacking=False)

    def _read_everything(self, found: PollFindings, limit: int) -> Poll[LogRead]:
        """Read everything, and take the table for what it is now."""
        vanished = yield from self._audit.everything(found, limit)
        return self._read(found, vanished=vanished, lacking=False)

    def _read(
        self,
        found: PollFindings,
        *,
        position: datetime | None = None,
        begun: datetime | None = None,
        proven: bool = False,
        vanished: tuple[str, ...] = (),
        lacking: bool | None = None,
    ) -> LogRead:
        rows = sorted(found.rows.values(), key=LOG_ORDER)
        lines = [row for row in rows if isinstance(row, FlowRunLog)]
        malformed: tuple[MalformedRow, ...] = ()
        if len(lines) < len(rows):
            malformed = tuple(row for row in rows if isinstance(row, MalformedRow))
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
            lacking=lacking,
            server_time=found.server_time,
        )

    def _flagged(self, row: FlowRunLog, found: PollFindings) -> FlowRunLog:
        return msgspec.structs.replace(row, replayed=True) if row.id in found.replayed else row
