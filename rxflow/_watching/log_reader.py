"""Reads log rows by a cursor, at what a server can bear: how deep to count, and how many at once.

Here is decided what the server's limits mean for the next poll. How rows are found and proven to be
all is decided in `rxflow._logs`, and when to poll in the sessions.
"""

import math
from collections.abc import Sequence
from datetime import datetime

from rxflow._logs.cursor import LogCursor
from rxflow._logs.log_read import LogRead
from rxflow._models.times import Now
from rxflow._protocol.failures import Failure, FailureKind
from rxflow._protocol.pages import Poll
from rxflow._protocol.queries import PAGE_LIMIT, LogsQuery, Query
from rxflow.events import FlowRunLog

# One rejection may be that of a proxy, and without offsets nothing can be proven.
_REJECTIONS_TO_BELIEVE = 3

# A server counts its way to an offset: 17 to 34 ms at 100,000 rows. In a longer table each poll
# reads only the rows at the end, and all rows are counted only so often that it takes 2 % of the
# time.
_LONG_TABLE = 100_000
_DEEP_PROBE_PAUSE = 50  # times the duration of the last deep probe


class RowLimit:
    """The most rows to query at once, shared by all readers of a watch.

    Attributes:
        rows: The limit as far as it is known; it only ever falls.
    """

    def __init__(self) -> None:
        """Start with Prefect's default."""
        self.rows = PAGE_LIMIT

    def adapt_to(self, failure: Failure) -> bool:
        """Lower the limit if a failure says so; return whether a query can be sent again."""
        if failure.kind is not FailureKind.PAGE_LIMIT:
            return False
        limit = failure.limit or self.rows // 2
        is_lower = 0 < limit < self.rows
        self.rows = limit if is_lower else self.rows
        return is_lower


class LogReader:
    """Reads the log rows of one table.

    Attributes:
        cursor: The log rows delivered.
        position: Where the next page of a long history begins; None once it was read.
    """

    def __init__(
        self,
        cursor: LogCursor,
        limit: RowLimit,
        since: datetime | None,
        *,
        is_resuming: bool = False,
    ) -> None:
        """Start where the cursor is.

        Args:
            cursor: Which rows to read, and those delivered.
            limit: The most rows to query at once.
            since: The earliest time of the rows to read; None for all.
            is_resuming: Whether an earlier watch delivered those rows.
        """
        self.cursor = cursor
        self.position: datetime | None = None
        self._row_limit = limit
        self._since = since
        self._rejected_offsets = 0  # in a row
        self._is_resuming = is_resuming  # until the first poll after the rows of an earlier watch
        self._deep_probe_seconds = 0.0
        self._next_deep_probe = -math.inf

    def poll(self, now: Now) -> Poll[LogRead]:
        """Read what is new, or the next page of a long history."""
        deep = self.position is not None or now.mono >= self._next_deep_probe
        return self.cursor.poll(self._row_limit.rows, deep=deep)

    def last_poll(self) -> Poll[LogRead]:
        """Read what is new, and check that nothing is missing."""
        return self.cursor.poll(self._row_limit.rows, last=True)

    def record_emitted(self, rows: Sequence[FlowRunLog]) -> None:
        """Record as delivered what an earlier watch emitted."""
        self.cursor.record_emitted(rows)
        self._is_resuming = True

    def commit(self, read: LogRead, now: Now) -> None:
        """Record as delivered what a poll found."""
        self._rejected_offsets = 0
        self._is_resuming = False
        self.cursor.commit(read)
        self.position = read.backfill_position
        if now.mono >= self._next_deep_probe and self.cursor.ledger.total > _LONG_TABLE:
            self._next_deep_probe = now.mono + _DEEP_PROBE_PAUSE * self._deep_probe_seconds

    def record_duration(self, query: Query, seconds: float) -> None:
        """Record how long a reply took, if its query was a deep probe."""
        if isinstance(query, LogsQuery) and query.offset and query.after == self._since:
            self._deep_probe_seconds = seconds

    def adapt_to(self, query: Query | None, failure: Failure) -> bool:
        """Adapt later polls to a server that refuses offsets.

        Returns:
            Whether later queries differ, so that a poll can be sent again at once. So can the first
            poll after rows of an earlier watch, which has an offset: else one refusal ends a watch
            that has only begun.
        """
        if failure.kind is FailureKind.REJECTED and isinstance(query, LogsQuery) and query.offset:
            self._rejected_offsets += 1
            if self._rejected_offsets >= _REJECTIONS_TO_BELIEVE:
                return self.cursor.refuse_offsets()
            return self._is_resuming
        return False
