"""Times and durations as they are written on a command line: what options are converted by.

A duration is ``30m``, ``1h30m``, ``2d`` or a number of seconds. A time is a duration before now, or
an ISO date or time, which is local unless it has an offset.
"""

import re
from datetime import datetime, timedelta

import click

__all__ = ["read_duration", "read_time"]

_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_PART = re.compile(rf"(\d+(?:\.\d+)?)({'|'.join(_UNITS)})")
_PARTS = re.compile(rf"(?:{_PART.pattern})+")
_SECONDS = re.compile(r"\d+(?:\.\d+)?")


def read_duration(text: str) -> timedelta:
    """Read a duration: the ``type`` of an option.

    Args:
        text: Such as ``90``, ``10m``, ``1h30m`` or ``2d``.

    Raises:
        click.BadParameter: It is none.
    """
    duration = _duration_of(text)
    if duration is None:
        raise click.BadParameter(f"{text!r} is not a duration, such as 30s, 10m, 1h30m or 2d")
    return duration


def read_time(text: str) -> datetime:
    """Read a time, as an aware datetime: the ``type`` of an option.

    Args:
        text: A duration before now, such as ``10m``, or a date or time such as
            ``2026-11-22T12:00``.

    Raises:
        click.BadParameter: It is none.
    """
    from rxflow._runtime.clocks import real_now  # noqa: PLC0415 - needs reactivex

    try:
        if (duration := _duration_of(text)) is not None:
            return real_now().utc - duration
        time = datetime.fromisoformat(text.strip())
        return time.astimezone() if time.tzinfo is None else time
    except (ValueError, OverflowError):
        raise click.BadParameter(
            f"{text!r} is neither a duration before now, such as 10m, nor a time, such as "
            "2026-11-22T12:00"
        ) from None


def _duration_of(text: str) -> timedelta | None:
    written = text.strip().lower()
    try:
        if _SECONDS.fullmatch(written):
            return timedelta(seconds=float(written))
        if _PARTS.fullmatch(written):
            parts = _PART.findall(written)
            return timedelta(seconds=sum(float(number) * _UNITS[unit] for number, unit in parts))
    except OverflowError:
        pass
    return None
