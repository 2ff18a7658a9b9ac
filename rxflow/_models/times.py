"""The nouns: runs, states, task runs, pools and workers as plain frozen data.

Nothing here knows a server. A backend decodes its answers into these structs, the events carry
them and the fold puts them together. Every datetime is aware; ids are lower-case strings.
"""

from datetime import datetime, timedelta
from typing import Annotated

import msgspec

Instant = Annotated[datetime, msgspec.Meta(tz=True)]
"""A point in time with its offset from UTC; a row with a naive one is malformed."""


class Now(msgspec.Struct, frozen=True):
    """The time, twice.

    Attributes:
        mono: Seconds of a clock that never steps: for durations.
        utc: Aware datetime: for stamps.
    """

    mono: float
    utc: datetime


MICROSECOND = timedelta(microseconds=1)


def later(a: datetime | None, b: datetime | None) -> datetime | None:
    """The later of two times, of which None is before all others."""
    return max((time for time in (a, b) if time is not None), default=None)
