"""Format a run's text for a terminal: escape control characters, align lines, convert times.

A log line must not move the cursor, set the window's title or look like another event.
"""

import re
from datetime import datetime

# All control characters except newline and tab, and those that reverse the direction of text.
_UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_LINE_BREAKS = re.compile("[\u2028\u2029]")


def safe_text(text: str) -> str:
    r"""Escape control and direction characters, as ``\x1b`` or ``\u202e``; keep newlines."""
    return _UNSAFE.sub(_escape, text)


def one_line(text: str) -> str:
    r"""Escape as `safe_text` does, and line breaks too: as ``\n`` between the lines."""
    lines = text.replace("\r\n", "\n").rstrip("\n")
    return _LINE_BREAKS.sub(_escape, safe_text(lines)).replace("\n", "\\n")


def in_column(head: str, text: str) -> str:
    """Put a message to the right of a bar, with further lines aligned below its first.

    Args:
        head: The text before the bar, one line.
        text: The message, unescaped.
    """
    lines = safe_text(text.replace("\r\n", "\n").rstrip("\n"))
    return f"{head}| {lines}".replace("\n", "\n" + " " * len(head) + "| ")


def local_time(time: datetime) -> datetime:
    """Convert a time to the local time zone; return one that it cannot express unchanged."""
    try:
        return time.astimezone()
    except OverflowError:  # in the first hours of the year 1, or in the last of 9999
        return time


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code <= 0xFF else f"\\u{code:04x}"
