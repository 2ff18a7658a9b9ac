"""Instants, the pair of clock readings that pure code is given, and arithmetic on optional times.

No clock is read here; `rxflow._runtime.clocks` does that.
"""

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import msgspec


def plain_datetime() -> type[datetime]:
    """Return the class `datetime` itself, which alone msgspec encodes and decodes.

    freezegun replaces the name `datetime` in every module by a subclass, including this one.
    """
    return next(base for base in datetime.__mro__ if base.__module__ == "datetime")


if TYPE_CHECKING:
    Instant = Annotated[datetime, msgspec.Meta(tz=True)]
else:  # this module may be imported while freezegun is active
    Instant = Annotated[plain_datetime(), msgspec.Meta(tz=True)]
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


PLAUSIBLE_YEARS = range(2000, 3000)
"""Years that a server's clock may show; a time of another year says nothing about the server."""

_DAY = timedelta(days=1)
_FIRST, _LAST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)


def shifted(time: datetime, distance: timedelta) -> datetime:
    """Return a time at a distance from another; where there is none, the first or last of all.

    A writer's clock may say anything, the years 1 and 9999 included.
    """
    try:
        return time + distance
    except OverflowError:
        return _LAST if distance > timedelta(0) else _FIRST


def in_any_zone(time: datetime) -> datetime:
    """Return a time, or the nearest one that every time zone can express.

    In the first and the last hours of all times a conversion to another zone overflows.
    """
    return min(max(time, _FIRST + _DAY), _LAST - _DAY)


def later(a: datetime | None, b: datetime | None) -> datetime | None:
    """Return the later of two times; None is earlier than any time."""
    if a is None or b is None:
        return b if a is None else a
    return max(a, b)


def earlier(a: datetime | None, b: datetime | None) -> datetime | None:
    """Return the earlier of two times; None is later than any time."""
    if a is None or b is None:
        return b if a is None else a
    return min(a, b)


def plain_utc(time: datetime) -> datetime:
    """Return an aware time in UTC, of the class `datetime` itself.

    Subclasses have their own arithmetic, and msgspec encodes none of them. What a subclass has
    beyond microseconds is dropped. A time that lies outside of the years 1 to 9999 in UTC becomes
    the first or the last of all times.
    """
    if time.tzinfo is UTC and type(time).__module__ == "datetime":
        return time  # as it is; the rest takes 2 us, and a watch reads the time twice a page
    offset = time.utcoffset()
    if offset is None:
        raise ValueError(f"{time!r} has no time zone")
    plain = plain_datetime()
    date = (time.year, time.month, time.day)
    local = plain(*date, time.hour, time.minute, time.second, time.microsecond)
    try:
        return (local - timedelta(seconds=offset.total_seconds())).replace(tzinfo=UTC)
    except OverflowError:
        first, last = plain(1, 1, 1, tzinfo=UTC), plain(9999, 12, 31, 23, 59, 59, 999_999, UTC)
        return first if offset > timedelta(0) else last


def encode_time(value: Any) -> datetime:
    """Return a time that msgspec encodes, for one of a subclass of `datetime`; its ``enc_hook``.

    Raises:
        TypeError: The value is no time.
        ValueError: The time has no time zone.
    """
    if not isinstance(value, datetime):
        raise TypeError(f"Encoding objects of type {type(value).__name__} is unsupported")
    return plain_utc(value)
