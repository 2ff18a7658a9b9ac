"""Instants, the pair of clock readings that pure code is given, and arithmetic on optional times.

No clock is read here; `rxflow._runtime.clocks` does that.
"""

from datetime import datetime, timedelta
from typing import Annotated

import msgspec

Instant = Annotated[datetime, msgspec.Meta(tz=True)]
"""A point in time with its offset from UTC; a row with a naive one is malformed."""

MICROSECOND = timedelta(microseconds=1)
"""The resolution of timestamps."""


class Now(msgspec.Struct, frozen=True):
    """The time on two clocks.

    Attributes:
        mono: Seconds of a clock that never steps, for durations.
        utc: Aware datetime, for timestamps.
    """

    mono: float
    utc: datetime


def later(a: datetime | None, b: datetime | None) -> datetime | None:
    """Return the later of two times; None is earlier than any time."""
    return max((time for time in (a, b) if time is not None), default=None)
