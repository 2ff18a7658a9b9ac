"""Format durations for people, as short as they can be compared."""

from datetime import timedelta

_MINUTE, _HOUR, _DAY = 60, 3600, 86400


def short_duration(duration: timedelta) -> str:
    """Return a duration with two or three digits that count, such as ``2 min 05 s``.

    Args:
        duration: The duration; one below zero, as of two clocks that differ, is shown as ``0 ms``.
    """
    seconds = max(0.0, duration.total_seconds())
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    if seconds < _HOUR - 0.5:
        minutes, rest = divmod(round(seconds), _MINUTE)
        return f"{minutes} min {rest:02} s"
    if seconds < _DAY - 30:
        hours, rest = divmod(round(seconds / _MINUTE), 60)
        return f"{hours} h {rest:02} min"
    days, rest = divmod(round(seconds / _HOUR), 24)
    return f"{days} d {rest:02} h"
