"""Text of a run as it is safe to print on a terminal, in lines of columns.

A log line must not be able to move the cursor, retitle the window or pass for another event.
"""

import re
from datetime import datetime

# Control characters but newline and tab, and those that turn the direction of what follows.
_UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def safe(text: str) -> str:
    r"""Text with control and direction characters written as ``\x1b`` or ``\u202e``."""
    return _UNSAFE.sub(_escaped, text)


def in_column(head: str, text: str) -> str:
    """A message behind a bar; if it has several lines, they stand below each other.

    Args:
        head: What stands before the bar, in one line.
        text: The message, as it was written.
    """
    lines = safe(text.replace("\r\n", "\n").rstrip("\n"))
    return f"{head}| {lines}".replace("\n", "\n" + " " * len(head) + "| ")


def local(time: datetime) -> datetime:
    """A time in the time zone of whoever reads it, unless it has none there."""
    try:
        return time.astimezone()
    except OverflowError:  # in the first hours of the year 1, or in the last of 9999
        return time


def _escaped(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code <= 0xFF else f"\\u{code:04x}"
