"""Forecast how many rows the next poll returns; a wrong forecast only costs requests."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import NamedTuple

import msgspec

from rxflow._logs.ledger import FLOOR_LAG, Ledger
from rxflow._logs.table_reader import LogTableRow, Span
from rxflow._models.times import MICROSECOND, Instant, later, shifted

_MAX_STEP_BACK = 400  # deeper rows are found while reading down, for about one more request
_HALF_LIFE = 30.0  # seconds of the server's time
_MARGIN = 1.125


class TablePart(NamedTuple):
    """Rows of the table that are counted by themselves, and what to expect of them.

    Attributes:
        span: Where they are.
        delivered: How many of them were delivered.
        expected_new: How many undelivered ones are expected.
        step_back: How many delivered rows at the end to read again, since new rows may lie
            between them.
    """

    span: Span
    delivered: int
    expected_new: int = 0
    step_back: int = 0


class PartForecast(msgspec.Struct, frozen=True):
    """What recent polls found of a part of the table.

    Attributes:
        new: How many undelivered rows the last poll found.
        step_back: How many delivered rows were later than the first of these; decays slowly.
    """

    new: int = 0
    step_back: float = 0.0

    def after_poll(self, new: int, depth: int, seconds: float) -> "PartForecast":
        """Return the forecast after one more poll.

        Args:
            new: How many undelivered rows it found.
            depth: How many delivered rows were later than the first of these.
            seconds: The server's time since the poll before.
        """
        step_back = self.step_back * 0.5 ** (max(0.0, seconds) / _HALF_LIFE)
        return PartForecast(new, max(step_back, min(_MAX_STEP_BACK, depth * _MARGIN)))

    def joined_with(self, other: "PartForecast") -> "PartForecast":
        """Return the forecast of two tables that are read as one."""
        return PartForecast(
            self.new + other.new, min(_MAX_STEP_BACK, self.step_back + other.step_back)
        )


class Forecast(msgspec.Struct, frozen=True):
    """What to expect of the table.

    Rows dated far ahead of the server's clock stay at the end of the table, behind all rows that
    arrive after them; while there are some, they are a part of their own.

    Attributes:
        near: Of the rows that are not dated ahead.
        ahead: Of the rows dated ahead.
        server_time: The server's time at the last poll.
    """

    near: PartForecast = PartForecast()
    ahead: PartForecast = PartForecast()
    server_time: Instant | None = None

    def parts(
        self, ledger: Ledger, since: datetime | None, *, deep: bool, expect_new: bool
    ) -> Iterator[TablePart]:
        """Yield the parts to count, the later one first.

        Args:
            ledger: The delivered rows.
            since: Where the table begins; None is without a beginning.
            deep: Whether to count from there on, or from the floor on.
            expect_new: Whether to expect new rows.
        """
        near, ahead = self.near, self.ahead
        limit = _ahead_limit(ledger, self.server_time)
        delivered_ahead = ledger.count_later_than(limit) if limit is not None else 0
        part = TablePart(
            span=Span(ledger.runs, since if deep else ledger.floor),
            delivered=(ledger.total if deep else ledger.count_above_floor) - delivered_ahead,
            expected_new=near.new * expect_new,
            step_back=int(near.step_back),
        )
        if limit is None or not delivered_ahead:
            yield part
            return
        # A writer of rows dated ahead may have stored earlier rows in the other part. Those are
        # visible when that part is read, if it is read second.
        yield TablePart(
            span=Span(ledger.runs, shifted(limit, MICROSECOND)),
            delivered=delivered_ahead,
            expected_new=ahead.new * expect_new,
            step_back=int(ahead.step_back),
        )
        yield part._replace(span=part.span._replace(before=limit))

    def after_poll(
        self, ledger: Ledger, rows: Sequence[LogTableRow], server_time: datetime | None
    ) -> "Forecast":
        """Return the forecast after one more poll: as many new rows again, and as deep.

        Args:
            ledger: The rows delivered before the poll.
            rows: The rows it found.
            server_time: The server's time at its last reply.
        """
        before, now = self.server_time, server_time or self.server_time
        seconds = (now - before).total_seconds() if now is not None and before is not None else 0
        limit, floor = _ahead_limit(ledger, now), ledger.floor
        near: list[datetime] = []
        ahead: list[datetime] = []
        if limit is not None and floor is not None:
            near = [row.timestamp for row in rows if floor <= row.timestamp <= limit]
            ahead = [row.timestamp for row in rows if row.timestamp > limit]
        return Forecast(
            near=self.near.after_poll(len(near), _depth(ledger, near, limit), seconds),
            ahead=self.ahead.after_poll(len(ahead), _depth(ledger, ahead, None), seconds),
            server_time=now,
        )

    def joined_with(self, other: "Forecast") -> "Forecast":
        """Return the forecast of two tables that are read as one."""
        return Forecast(
            near=self.near.joined_with(other.near),
            ahead=self.ahead.joined_with(other.ahead),
            server_time=later(self.server_time, other.server_time),
        )


def _ahead_limit(ledger: Ledger, server_time: datetime | None) -> datetime | None:
    """Return the time beyond which only rows dated ahead lie, some seconds after the last reply."""
    clock = later(ledger.newest_created, server_time)
    return None if clock is None else shifted(clock, FLOOR_LAG)


def _depth(ledger: Ledger, times: Sequence[datetime], end: datetime | None) -> int:
    """Return how many delivered rows lie between the first of some times and an end."""
    if not times:
        return 0
    beyond = ledger.count_later_than(end) if end is not None else 0
    return ledger.count_later_than(min(times)) - beyond
