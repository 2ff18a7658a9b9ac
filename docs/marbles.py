"""Draw the marble diagrams of docstrings as SVG.

A diagram is what its docstring shows in ASCII, and what the tests of the operators run: a line of
items that go in, the operator with a legend, and a line of items that come out. A character is a
moment; items in parentheses come at one. Colours are those of the page around the drawing.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import NamedTuple

from docutils import nodes
from docutils.parsers.rst import Directive

_STEP = 16  # units for each character
_RADIUS = 10
_LANE = 22  # the height of the middle of the upper lane
_BOX_TOP, _BOX_HEIGHT = 44, 26
_HEIGHT = 114
_COLOURS = 5  # in static/site.css


class Diagram(NamedTuple):
    """A diagram.

    Attributes:
        taken: The items that go in, in ASCII.
        operator: The operator, as it is called.
        emitted: The items that come out.
        legend: What the items are.
    """

    taken: str
    operator: str
    emitted: str
    legend: str


def is_diagram(line: str) -> bool:
    """Return whether a line of a docstring begins a diagram."""
    return line.strip().startswith("in: ")


def read_diagram(lines: Sequence[str]) -> Diagram:
    """Read the three lines of a diagram.

    Raises:
        ValueError: They are no diagram.
    """
    first, middle, last = (re.split(r"\s{2,}", line.strip()) for line in lines)
    match first, middle, last:
        case ["in:", taken], [operator, *notes], ["out:", emitted, *more]:
            return Diagram(taken, operator, emitted, " ".join(notes + more))
        case _:
            raise ValueError(f"not a marble diagram: {lines}")


def draw(diagram: Diagram) -> str:
    """Draw a diagram as an HTML figure."""
    columns = max(len(diagram.taken), len(diagram.emitted))
    width = max(columns * _STEP, len(diagram.operator) * 9 + 40) + 8
    ascii_form = f"{diagram.taken} becomes {diagram.emitted} by {diagram.operator}"
    size = f'viewBox="0 0 {width} {_HEIGHT}" width="{width}" height="{_HEIGHT}"'
    items = dict.fromkeys(item for item in diagram.taken + diagram.emitted if item.isalnum())
    colours = {item: number % _COLOURS for number, item in enumerate(items)}
    parts = [
        f'<svg class="marbles" {size} role="img" aria-label="{escape(ascii_form)}">',
        *_lane(diagram.taken, _LANE, colours),
        *_box(diagram.operator, width),
        *_lane(diagram.emitted, _HEIGHT - _LANE, colours),
        "</svg>",
    ]
    legend = f"<figcaption>{escape(diagram.legend)}</figcaption>" if diagram.legend else ""
    return f'<figure class="marbles">{"".join(parts)}{legend}</figure>'


def _box(operator: str, width: int) -> Iterator[str]:
    """Draw the operator between the two lines."""
    size = f'width="{width - 2}" height="{_BOX_HEIGHT}" rx="5"'
    yield f'<rect class="operator" x="1" y="{_BOX_TOP}" {size}/>'
    yield f'<text class="operator" x="{width // 2}" y="{_BOX_TOP + 17}">{escape(operator)}</text>'


def _lane(items: str, y: int, colours: Mapping[str, int]) -> Iterator[str]:
    """Draw a line of time with its items, groups and end."""
    yield f'<path class="time" d="M4 {y}H{len(items) * _STEP}"/>'
    for group in re.finditer(r"\(.*?\)", items):
        left, right = _middle(group.start()), _middle(group.end() - 1)
        yield (
            f'<rect class="group" x="{left - 6}" y="{y - 14}" width="{right - left + 12}"'
            ' height="28" rx="14"/>'
        )
    for column, item in enumerate(items):
        x = _middle(column)
        if item == "|":
            yield f'<path class="end" d="M{x} {y - 13}V{y + 13}"/>'
        elif item in colours:
            yield f'<circle class="item-{colours[item]}" cx="{x}" cy="{y}" r="{_RADIUS}"/>'
            yield f'<text x="{x}" y="{y + 4}">{escape(item)}</text>'


def _middle(column: int) -> int:
    return column * _STEP + _STEP // 2 + 2


class Marbles(Directive):
    """The directive ``marbles``, whose content is a diagram."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        """Return the drawing, and the ASCII for what is not HTML."""
        diagram = read_diagram(list(self.content))
        return [nodes.raw("", draw(diagram), format="html")]
