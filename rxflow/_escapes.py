"""Escape text that comes from a server before it is shown to people.

A name or a message must not move the cursor, set the window's title or look like another line.
Belongs here: what is escaped, for errors, events and terminals alike. Does not belong here: how
lines are laid out (`rxflow._models.terminal_text`).
"""

import re

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


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code <= 0xFF else f"\\u{code:04x}"
