"""Lines of text for a terminal: spans with a style each, measured and cut in cells.

A terminal shows a character in one cell, a wide one in two, and a combining one in none. What a
style looks like is decided where the lines are printed.
"""

import unicodedata
from collections.abc import Iterable
from itertools import accumulate

import msgspec

from rxflow._escapes import one_line

PLAIN = ""
STRONG = "strong"
FAINT = "faint"


class Span(msgspec.Struct, frozen=True):
    """A piece of a line.

    Attributes:
        text: The text, safe to print and without line breaks.
        style: `PLAIN`, `STRONG`, `FAINT` or the value of an `Outcome`.
    """

    text: str
    style: str = PLAIN


Line = tuple[Span, ...]


def plain_text(lines: Iterable[Line]) -> str:
    """Join lines without their styles."""
    return "\n".join("".join(span.text for span in line).rstrip() for line in lines)


def shown(text: str) -> str:
    """Escape a server's text for one line of a terminal: no control characters, no line breaks."""
    return one_line(text).replace("\t", " ")


def cell_width(text: str) -> int:
    """Return how many cells a text takes; of a few characters terminals disagree."""
    return sum(map(_width, text))


def fitted(text: str, cells: int) -> str:
    """Fill a text with spaces to a number of cells, or cut it to that with an ellipsis."""
    missing = cells - cell_width(text)
    if missing >= 0:
        return text + " " * missing
    ends = accumulate(map(_width, text))  # in which cell each character ends
    kept = [(char, end) for char, end in zip(text, ends, strict=True) if end < cells]
    used = kept[-1][1] if kept else 0
    return "".join(char for char, _ in kept) + "…" + " " * (cells - 1 - used)


def _width(char: str) -> int:
    # Format characters, such as a zero-width joiner, and marks that combine take no cell.
    if unicodedata.category(char) in {"Mn", "Me", "Cf"}:
        return 0
    return 2 if unicodedata.east_asian_width(char) in {"W", "F"} else 1
