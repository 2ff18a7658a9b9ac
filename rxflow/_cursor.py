"""The log cursor: which rows were told, where to read on, and the proof that none is missing.

A server sorts log rows by the writers' clocks and rows become visible late and out of order, so a
position alone loses rows. This cursor reads a window that reaches back behind the newest row, tells
rows apart by their ids, and before a watch closes it has the server count: the row at rank
``N - 1`` must be there and the one after it not, N being the rows told. Where that fails it reads
everything again. It remembers the id of each row of the run.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta

import msgspec

from rxflow._polling import LogsQuery, Malformed, Page, Poll
from rxflow.events import FlowRunLog

_MICROSECOND = timedelta(microseconds=1)
_TIE_PASSES = 40


class LogRead(msgspec.Struct, frozen=True, kw_only=True):
    """What one poll found; nothing of it counts until it is committed.

    Attributes:
        rows: Rows that were not told before, by (timestamp, created, id).
        malformed: The same of rows that cannot be read.
        position: Where the next page begins while there is more to read, else None.
        proven: Whether the rows told, these included, are all that the server has.
        server_time: The server's time at the last page.
    """

    rows: tuple[FlowRunLog, ...] = ()
    malformed: tuple[Malformed, ...] = ()
    position: datetime | None = None
    proven: bool = False
    server_time: datetime | None = None


class LogCursor:
    """Reads the log rows of one run, each once."""

    def __init__(
        self,
        flow_run_id: str,
        *,
        level: int = 0,
        since: datetime | None = None,
        overlap: timedelta = timedelta(seconds=10),
    ) -> None:
        """Start at the run's first row.

        Args:
            flow_run_id: The run.
            level: Only rows of this level and above.
            since: Only rows of this time and later, by the writers' clocks.
            overlap: How far behind the newest row each poll looks for late ones.
        """
        self._run = flow_run_id
        self._level = level
        self._since = since
        self._overlap = overlap
        self._told: set[str] = set()
        self._position: datetime | None = since
        self._newest: datetime | None = None
        self._newest_created: datetime | None = None

    @property
    def count(self) -> int:
        """How many rows were told, unreadable ones included."""
        return len(self._told)

    @property
    def newest_created(self) -> datetime | None:
        """When the newest row that was told was stored, by the server's clock."""
        return self._newest_created

    def poll(self, limit: int) -> Poll[LogRead]:
        """Read on by one page, or by all rows of one timestamp where they fill more than a page.

        Args:
            limit: The most rows the server gives at once.
        """
        page: Page[FlowRunLog] = yield self._query(self._position, limit)
        if page.count < limit:
            return self._read(page.rows, page.malformed, None, page.server_time)
        last = max(row.timestamp for row in page.rows) if page.rows else None
        if last is None or page.rows[0].timestamp == last:
            return (yield from self._read_tie(last or self._position, limit))
        # Rows of the last timestamp may go on in the next page, where they get their order.
        sure = [row for row in page.rows if row.timestamp < last]
        return self._read(sure, page.malformed, last, page.server_time)

    def prove(self, read: LogRead, limit: int) -> Poll[LogRead]:
        """Have the server count, and read everything again where it counts otherwise.

        Args:
            read: What this tick's poll found, not yet committed.
            limit: The most rows the server gives at once.
        """
        known = len(self._told.union(_ids(read)))
        query = self._query(self._since, limit, offset=max(0, known - 1))
        page: Page[FlowRunLog] = yield msgspec.structs.replace(query, limit=2 if known else 1)
        if page.count == (1 if known else 0):
            return msgspec.structs.replace(read, proven=True)
        everything = LogCursor(self._run, level=self._level, since=self._since)
        while True:
            again = yield from everything.poll(limit)
            everything.commit(again)
            read = self._read(
                (*read.rows, *again.rows),
                (*read.malformed, *again.malformed),
                None,
                page.server_time,
            )
            if again.position is None:
                return read

    def commit(self, read: LogRead) -> None:
        """Take what a poll found for told."""
        self._told.update(_ids(read))
        for row in read.rows:
            self._newest = max(self._newest or row.timestamp, row.timestamp)
            self._newest_created = max(self._newest_created or row.created, row.created)
        self._position = read.position or self._window_start()

    def _window_start(self) -> datetime | None:
        if self._newest is None or self._newest_created is None:
            return self._since
        # A writer whose clock is ahead must not drag the window away from the others.
        start = min(self._newest, self._newest_created) - self._overlap
        return start if self._since is None else max(start, self._since)

    def _read_tie(self, instant: datetime | None, limit: int) -> Poll[LogRead]:
        # A server may order equal timestamps differently from page to page, so the passes go on
        # until there are as many different rows as were counted.
        rows: dict[str, FlowRunLog] = {}
        malformed: dict[str, Malformed] = {}
        server_time: datetime | None = None
        for attempt in range(_TIE_PASSES):
            size = max(1, limit - 7 * attempt % max(1, limit // 2))
            counted, count = 0, size
            while count == size:
                query = self._query(instant, size, offset=counted)
                page: Page[FlowRunLog] = yield msgspec.structs.replace(query, before=instant)
                rows.update((row.id, row) for row in page.rows)
                malformed.update((row.id, row) for row in page.malformed)
                count, server_time = page.count, page.server_time
                counted += count
            if len(rows) + len(malformed) >= counted:
                break
        after = instant + _MICROSECOND if instant else None
        return self._read(rows.values(), malformed.values(), after, server_time)

    def _query(self, after: datetime | None, limit: int, *, offset: int = 0) -> LogsQuery:
        return LogsQuery(
            flow_run_ids=(self._run,), after=after, level=self._level, offset=offset, limit=limit
        )

    def _read(
        self,
        rows: Iterable[FlowRunLog],
        malformed: Iterable[Malformed],
        position: datetime | None,
        server_time: datetime | None,
    ) -> LogRead:
        new = {row.id: row for row in rows if row.id not in self._told}
        unreadable = {row.id: row for row in malformed if row.id not in self._told}
        return LogRead(
            rows=tuple(sorted(new.values(), key=lambda row: (row.timestamp, row.created, row.id))),
            malformed=tuple(unreadable.values()),
            position=position,
            server_time=server_time,
        )


def read_all(flow_run_id: str, since: datetime | None, limit: int) -> Poll[tuple[FlowRunLog, ...]]:
    """Read all log rows of a run, from a time on, and have the server count them.

    Args:
        flow_run_id: The run.
        since: Only rows of this time and later.
        limit: The most rows the server gives at once.
    """
    cursor = LogCursor(flow_run_id, since=since)
    rows: list[FlowRunLog] = []
    read = LogRead()
    while not read.proven:
        read = yield from cursor.poll(limit)
        if read.position is None:
            read = yield from cursor.prove(read, limit)
        cursor.commit(read)
        rows += read.rows
    return tuple(sorted(rows, key=lambda row: (row.timestamp, row.created, row.id)))


def _ids(read: LogRead) -> set[str]:
    return {row.id for row in read.rows} | {row.id for row in read.malformed}
