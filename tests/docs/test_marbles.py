"""The drawings of marble diagrams: each diagram of a docstring is drawn, and says what it shows."""

import inspect
import re

import pytest
from marbles import Diagram, draw, is_diagram, read_diagram

from rxflow import operators


def diagrams() -> dict[str, list[str]]:
    """The lines of the diagram in the docstring of each operator that has one."""
    found: dict[str, list[str]] = {}
    for name in operators.__all__:
        lines = (inspect.getdoc(getattr(operators, name)) or "").splitlines()
        start = next((n for n, line in enumerate(lines) if is_diagram(line)), None)
        if start is not None:
            found[name] = lines[start : start + 3]
    return found


DIAGRAMS = diagrams()


def test_operators_have_diagrams() -> None:
    """Diagrams are found, or nothing would be drawn."""
    assert {"only", "conflate", "quiet_for", "in_order"} <= set(DIAGRAMS)


@pytest.mark.parametrize("name", DIAGRAMS)
def test_each_diagram_is_drawn(name: str) -> None:
    """A drawing has each item of both lines, in the order of the ASCII, the operator, the end."""
    diagram = read_diagram(DIAGRAMS[name])
    assert diagram.operator.startswith(f"{name}(")
    svg = draw(diagram)
    items = [item for line in (diagram.taken, diagram.emitted) for item in line if item.isalnum()]
    texts = re.findall(r"<text x=\S+ y=\S+>(.)</text>", svg)
    assert texts == items
    assert svg.count('class="end"') == (diagram.taken + diagram.emitted).count("|")
    assert svg.count('class="group"') == (diagram.taken + diagram.emitted).count("(")


def test_an_item_has_one_colour() -> None:
    """An item that comes out looks as it did when it went in, and below its own moment."""
    svg = draw(Diagram("--a--b-|", "only(A)", "--a----|", "a: an A"))
    circles = re.findall(r'class="item-(\d)" cx="(\d+)"', svg)
    assert circles[0] == circles[2]
    assert circles[0] != circles[1]


def test_text_is_data() -> None:
    """An operator's code and the legend are escaped."""
    svg = draw(Diagram("-a-|", 'only("<b>")', "-a-|", "a: x < y"))
    assert "<b>" not in svg
    assert "x &lt; y" in svg


@pytest.mark.parametrize("lines", [["in: -a|"], ["a", "b", "c"], ["in:    -a|", "f()", "-a|"]])
def test_what_is_no_diagram_is_an_error(lines: list[str]) -> None:
    """A diagram that lost a line does not become half a drawing."""
    with pytest.raises(ValueError, match=r"not a marble diagram|unpack"):
        read_diagram(lines)
