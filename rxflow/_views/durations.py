"""How long a run took, from the times of its row."""

from datetime import datetime, timedelta


def duration(start: datetime | None, end: datetime | None) -> timedelta | None:
    """Return the time between two times; None unless both are known."""
    return None if start is None or end is None else end - start
