"""Format a run's text for a terminal: align lines under a bar, convert times to the local zone."""

from datetime import datetime, tzinfo

from rxflow._escapes import safe_text


def in_column(head: str, text: str) -> str:
    """Put a message to the right of a bar, with further lines aligned below its first.

    Args:
        head: The text before the bar, one line.
        text: The message, unescaped.
    """
    lines = safe_text(text.replace("\r\n", "\n").rstrip("\n"))
    return f"{head}| {lines}".replace("\n", "\n" + " " * len(head) + "| ")


def local_time(time: datetime, zone: tzinfo | None = None) -> datetime:
    """Convert a time to a time zone; return one that the zone cannot express unchanged.

    Args:
        time: The time, aware.
        zone: The time zone; None for the local one.
    """
    try:
        return time.astimezone(zone)
    except OverflowError:  # in the first hours of the year 1, or in the last of 9999
        return time
