"""Write the lines of a picture to a terminal: a colour for each style, and its own width.

Where standard output is no terminal, the lines are without colours and 80 cells wide, or as wide
as the environment variable COLUMNS says. An encoding without the characters of guides and bars gets
them in ASCII.
"""

import shutil
import sys
from collections.abc import Iterable, Mapping
from typing import Any

import click

from rxflow._pictures.cells import FAINT, STRONG, Line
from rxflow.cli._output import write

__all__ = ["picture_width", "write_lines"]

_STYLES: Mapping[str, Mapping[str, Any]] = {
    STRONG: {"bold": True},
    FAINT: {"dim": True},
    "waiting": {"dim": True},
    "running": {"fg": "cyan"},
    "paused": {"fg": "yellow"},
    "completed": {"fg": "green"},
    "failed": {"fg": "red"},
    "crashed": {"fg": "red"},
    "cancelled": {"fg": "yellow"},
    "other": {"fg": "magenta"},
}

_DRAWN = "│├└─█▒·…"
_ASCII = str.maketrans(_DRAWN, "||`-#>.~")


def picture_width() -> int:
    """Return how many cells a picture may be wide."""
    return shutil.get_terminal_size().columns


def write_lines(lines: Iterable[Line]) -> None:
    """Write lines to standard output."""
    is_drawable = _is_drawable(getattr(sys.stdout, "encoding", None) or "utf-8")
    for line in lines:
        text = "".join(
            click.style(span.text, **_STYLES[span.style]) if span.style else span.text
            for span in line
            if span.text
        )
        write((text if is_drawable else text.translate(_ASCII)).rstrip())


def _is_drawable(encoding: str) -> bool:
    try:
        _DRAWN.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True
