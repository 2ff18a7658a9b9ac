"""The tree of a run as lines of text: names with guides, states and durations in columns."""

from collections.abc import Iterator

from rxflow._models.durations import short_duration
from rxflow._pictures.cells import FAINT, PLAIN, STRONG, Line, Span, cell_width, fitted, shown
from rxflow._pictures.run_tree import Place, RunTree
from rxflow._pictures.time_bars import outcome_of
from rxflow._pictures.titles import (
    attempts_of,
    duration_of,
    remarks_on,
    state_name_of,
    title_of,
    waited_of,
)

_MOST_FOR_NAMES = 0.7
"""The most of the width at which names are filled up, so that a long one moves no column."""


def tree_lines(tree: RunTree, width: int) -> Iterator[Line]:
    """Yield the lines of a tree.

    Args:
        tree: The tree.
        width: The width of the terminal in cells; a line with a long name is longer.
    """
    places = [*tree.walk()]
    names = [guides_of(place) + shown(title_of(place.node)) for place in places]
    states = [shown(state_name_of(place.node)) for place in places]
    name_cells = min(max(map(cell_width, names)), int(width * _MOST_FOR_NAMES))
    state_cells = max(map(cell_width, states))
    for place, name, state in zip(places, names, states, strict=True):
        node, guides = place.node, guides_of(place)
        title = name.removeprefix(guides)
        missing = " " * max(0, name_cells - cell_width(name))
        yield (
            Span(guides, FAINT),
            Span(title, STRONG if node.kind == "flow run" else PLAIN),
            Span(f"{missing}  "),
            Span(fitted(state, state_cells), outcome_of(node.state).value),
            *_times(place, tree),
        )
    for remark in remarks_on(tree):
        yield (Span(remark, FAINT),)


def guides_of(place: Place) -> str:
    """Return the lines that lead from a node's parents to it."""
    if not place.lasts:
        return ""
    above = "".join("   " if last else "│  " for last in place.lasts[:-1])
    return above + ("└─ " if place.lasts[-1] else "├─ ")


def _times(place: Place, tree: RunTree) -> Iterator[Span]:
    node = place.node
    waited = waited_of(node, tree.now)
    yield Span(f"  {duration_of(node, tree.now):>11}")
    if attempts := attempts_of(node):
        yield Span(f"  {attempts}", FAINT)
    if waited is not None:
        yield Span(f"  waiting for {short_duration(waited)}", FAINT)
