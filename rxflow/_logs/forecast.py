"""How new log rows lately came, and so what the next poll is to expect; a guess costs, no more."""

from collections.abc import Iterator, Sequence
from datetime import datetime

import msgspec

from rxflow._logs.gap_search import TablePart
from rxflow._logs.ledger import WINDOW, Ledger
from rxflow._logs.table import LogTableRow, Span
from rxflow._models.times import MICROSECOND, later

_MAX_STEP = 400  # what lies deeper is come upon on the way down, for about one request more
_HALF_LIFE = 30.0  # seconds of the server's time
_MARGIN = 1.125


class PartForecast(msgspec.Struct, frozen=True):
    """How new rows of a part of the table lately came.

    Attributes:
        new: How many the last poll found.
        step: How many known rows were later than the first of them, or somewhat more for a while.
    """

    new: int = 0
    step: float = 0.0

    def followed_by(self, new: int, depth: int, seconds: float) -> "PartForecast":
        """The same after one more poll.

        Args:
            new: How many rows it found.
            depth: How many known rows were later than the first of it.
            seconds: Since the poll before.
        """
        step = self.step * 0.5 ** (max(0.0, seconds) / _HALF_LIFE)
        return PartForecast(new, max(step, min(_MAX_STEP, depth * _MARGIN)))

    def joined(self, other: "PartForecast") -> "PartForecast":
        """What to expect of two tables in one."""
        return PartForecast(self.new + other.new, min(_MAX_STEP, self.step + other.step))


class Forecast(msgspec.Struct, frozen=True):
    """What to expect of a table, part by part.

    Rows dated far ahead of the server's clock stay at the end of the table, in the way of all
    others; while there are some, they are a part of their own.

    Attributes:
        near: How rows came that are not dated ahead.
        ahead: How rows came that are.
        server_time: The server's time at the last answer.
    """

    near: PartForecast = PartForecast()
    ahead: PartForecast = PartForecast()
    server_time: datetime | None = None

    def parts(
        self, ledger: Ledger, since: datetime | None, *, deep: bool, expecting: bool
    ) -> Iterator[TablePart]:
        """The parts that are counted by themselves.

        Args:
            ledger: What was told.
            since: Where the table begins.
            deep: Whether they begin there too, or at the floor.
            expecting: Whether to expect new rows.
        """
        near, ahead = self.near, self.ahead
        after = since if deep else ledger.floor
        told = ledger.total if deep else ledger.above
        split = _split(ledger, self.server_time)
        beyond = ledger.later_than(split) if split is not None else 0
        part = TablePart(
            Span(ledger.runs, after), told - beyond, near.new * expecting, int(near.step)
        )
        if split is None or not beyond:
            yield part
            return
        # The later part first: what its writers stored earlier is there when the other is read.
        span = Span(ledger.runs, split + MICROSECOND)
        yield TablePart(span, beyond, ahead.new * expecting, int(ahead.step))
        yield part._replace(span=part.span._replace(before=split))

    def followed_by(
        self, ledger: Ledger, rows: Sequence[LogTableRow], server_time: datetime | None
    ) -> "Forecast":
        """Expect of the next poll as many new rows as of this one, and as far before the end.

        Args:
            ledger: What was told before.
            rows: What this poll found.
            server_time: The server's time at its last answer.
        """
        before, now = self.server_time, server_time or self.server_time
        seconds = (now - before).total_seconds() if now is not None and before is not None else 0
        split, floor = _split(ledger, now), ledger.floor
        near: list[datetime] = []
        ahead: list[datetime] = []
        if split is not None and floor is not None:
            near = [row.timestamp for row in rows if floor <= row.timestamp <= split]
            ahead = [row.timestamp for row in rows if row.timestamp > split]
        return Forecast(
            near=self.near.followed_by(len(near), _depth(ledger, near, split), seconds),
            ahead=self.ahead.followed_by(len(ahead), _depth(ledger, ahead, None), seconds),
            server_time=now,
        )

    def joined(self, other: "Forecast") -> "Forecast":
        """What to expect of two tables in one."""
        return Forecast(
            near=self.near.joined(other.near),
            ahead=self.ahead.joined(other.ahead),
            server_time=later(self.server_time, other.server_time),
        )


def _split(ledger: Ledger, server_time: datetime | None) -> datetime | None:
    """A time that only rows dated ahead are beyond, for some seconds after the last answer."""
    clock = later(ledger.clock, server_time)
    return None if clock is None else clock + WINDOW


def _depth(ledger: Ledger, times: Sequence[datetime], end: datetime | None) -> int:
    """How many rows were told that lie between the first of some rows and an end."""
    if not times:
        return 0
    beyond = ledger.later_than(end) if end is not None else 0
    return ledger.later_than(min(times)) - beyond
