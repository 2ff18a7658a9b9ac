"""Break lines between words at a terminal's width, counted in cells.

A cell is the width of a Latin letter: a Chinese character takes two cells, a combining accent none.
How a sequence of emoji is drawn differs between terminals, so the width of one is only estimated.
A text may contain colours, as ANSI sequences, and tabs, but no other control characters.
"""

import re
from collections.abc import Iterator
from functools import lru_cache

from rxflow._pictures.cells import cell_width

__all__ = ["cells", "wrap", "wrap_in_column"]

_COLOUR = re.compile("\x1b\\[[0-9;]*m")
_PARTS = re.compile("\x1b\\[[0-9;]*m| +|[^ \x1b]+")
_TAB = 8
_LEAST_COLUMN = 20  # cells


def cells(text: str) -> int:
    """Return how many cells a line takes."""
    if "\x1b" in text:
        text = _COLOUR.sub("", text)
    return len(text) if text.isascii() else cell_width(text)


def wrap(text: str, width: int) -> list[str]:
    """Break one line into lines that fit; a word that does not fit into one is broken as well.

    Args:
        text: The line. Spaces at which it is broken are dropped; tabs become spaces.
        width: Cells, at least 2.
    """
    text = text.expandtabs(_TAB)
    if len(text) <= width and text.isascii():
        return [text]
    lines: list[str] = []
    line, used, spaces = "", 0, ""
    for part in _PARTS.findall(text):
        if part[0] == " ":
            spaces += part
            continue
        if part[0] == "\x1b":
            line += part
            continue
        size, room = cells(part), width - used - len(spaces)
        *whole, last = [part] if size <= room else _chunks(part, room if size > width else 0, width)
        for chunk in whole:
            lines.append((line + spaces + chunk).rstrip(" "))
            line, used, spaces = "", 0, ""
        line, used, spaces = line + spaces + last, used + len(spaces) + cells(last), ""
    return [*lines, line]


def wrap_in_column(text: str, width: int) -> Iterator[str]:
    """Yield the lines of an event, each broken within its column, to the right of the bar.

    Args:
        text: The lines, of which each may have a head that ends with ``| ``.
        width: Cells, at least 2.
    """
    for line in text.split("\n"):
        if cells(line) <= width:
            yield line
            continue
        head, bar, message = line.partition("| ")
        room = width - cells(head + bar)
        if not bar or room < _LEAST_COLUMN:
            yield from wrap(line, width)
            continue
        first, *further = wrap(message, room)
        yield head + bar + first
        yield from (" " * cells(head) + bar + part for part in further)


def _chunks(word: str, room: int, width: int) -> Iterator[str]:
    """Yield the parts of a word: what fits into the room, then what fits into each line.

    The first part is empty if there is no room for a character, and so is the word's only part.
    """
    start, left = 0, room
    for at, size in enumerate(map(_cells_of, word)):
        if size > left:
            yield word[start:at]
            start, left = at, width
        left -= size
    yield word[start:]


_cells_of = lru_cache(maxsize=4096)(cell_width)  # of a character
