"""Times and durations as they are written on a command line: what options are converted by.

A duration is ``30m``, ``1h30m``, ``2 days`` or a number of seconds. A time is a duration before
now, an ISO date or time, which is local unless it has an offset, a time of the last 24 hours such
as lines begin with, ``now``, the beginning of ``today`` or ``yesterday``, or seconds or
milliseconds since 1970.
"""

import re
from datetime import UTC, datetime, time, timedelta

import click

__all__ = ["check_is_past", "check_order", "read_duration", "read_time"]

_UNITS = {
    **dict.fromkeys(["ms"], 0.001),
    **dict.fromkeys(["s", "sec", "secs", "second", "seconds"], 1),
    **dict.fromkeys(["m", "min", "mins", "minute", "minutes"], 60),
    **dict.fromkeys(["h", "hr", "hrs", "hour", "hours"], 3600),
    **dict.fromkeys(["d", "day", "days"], 86_400),
    **dict.fromkeys(["w", "week", "weeks"], 604_800),
}
_LONGEST_FIRST = "|".join(sorted(_UNITS, key=len, reverse=True))
_PART = re.compile(rf"(\d+(?:\.\d+)?)\s*({_LONGEST_FIRST})")
_PARTS = re.compile(rf"{_PART.pattern}(?:\s*{_PART.pattern})*")
_AGO = re.compile(r"-(?P<minus>.+)|(?P<ago>.+)\s+ago")
_DAYS_AGO = {"today": 0, "yesterday": 1}
_SECONDS = re.compile(r"\d+(?:\.\d+)?")
_CLOCK = re.compile(r"\d\d:\d\d(?::\d\d(?:[.,]\d{1,6})?)?")

_LEAST_UNIX_TIME = 1e9  # the year 2001; as a number of seconds before now it would be 32 years
_LEAST_UNIX_MILLISECONDS = 1e11


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
        text: A duration before now, such as ``10m``, a date or time such as ``2026-11-22T12:00``
            or ``06:41:45.123``, ``yesterday``, or a Unix time.

    Raises:
        click.BadParameter: It is none.
    """
    from rxflow._runtime.clocks import real_now  # noqa: PLC0415 - needs reactivex

    written = text.strip()
    try:
        if _SECONDS.fullmatch(written) and float(written) >= _LEAST_UNIX_TIME:
            number = float(written)
            is_fine = number >= _LEAST_UNIX_MILLISECONDS
            return datetime.fromtimestamp(number / 1000 if is_fine else number, UTC)
        now = real_now().utc
        if (duration := _duration_before(written)) is not None:
            return now - duration
        if (days := _DAYS_AGO.get(written.lower())) is not None:
            day = now.astimezone().date() - timedelta(days=days)
            return datetime.combine(day, time()).astimezone()
        if _CLOCK.fullmatch(written):
            return _last_at(time.fromisoformat(written), now)
        found = datetime.fromisoformat(written)
        return found.astimezone() if found.tzinfo is None else found
    except (ValueError, OverflowError):
        raise click.BadParameter(
            f"{text!r} is neither a duration before now, such as 10m, nor a time, such as "
            "2026-11-22T12:00, 06:41 or yesterday"
        ) from None


def check_order(since: datetime | None, until: datetime | None) -> None:
    """Reject a beginning that is after the end.

    Args:
        since: The value of ``--since``.
        until: The value of ``--until``.

    Raises:
        click.UsageError: No log line can be between them.
    """
    if since is not None and until is not None and since > until:
        raise click.UsageError(
            f"--since is {_written(since)}, which is after --until, {_written(until)}; no log line "
            "can be shown."
        )


def check_is_past(since: datetime | None) -> None:
    """Reject a beginning in the future, for a command that shows what there is.

    Args:
        since: The value of ``--since``.

    Raises:
        click.UsageError: It is to come.
    """
    from rxflow._runtime.clocks import real_now  # noqa: PLC0415 - needs reactivex

    if since is not None and since > real_now().utc:
        raise click.UsageError(
            f"--since is {_written(since)}, which is to come; no log line can be shown. To wait "
            "for lines, follow the runs with -f."
        )


def _written(time: datetime) -> str:
    from rxflow._models.terminal_text import local_time  # noqa: PLC0415 - needs msgspec

    return f"{local_time(time):%Y-%m-%d %H:%M:%S %z}"


def _last_at(clock: time, now: datetime) -> datetime:
    """Return when a local clock last showed a time."""
    today = datetime.combine(now.astimezone().date(), clock).astimezone()
    return today if today <= now else (today - timedelta(days=1)).astimezone()


def _duration_before(text: str) -> timedelta | None:
    """Return how long before now a time is; None if it is not written so."""
    if text.lower() == "now":
        return timedelta()
    before = _AGO.fullmatch(text)
    return _duration_of(text if before is None else before["minus"] or before["ago"])


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
