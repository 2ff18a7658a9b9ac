"""The timeline of a run as lines of text: a row of cells for each run, and an axis above."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import groupby

from rxflow._models.terminal_text import local_time
from rxflow._pictures.cells import FAINT, PLAIN, STRONG, Line, Span, cell_width, fitted, shown
from rxflow._pictures.run_tree import Place, RunTree
from rxflow._pictures.text_tree import guides_of
from rxflow._pictures.time_axis import ticks_of, zero_of
from rxflow._pictures.time_bars import Bar, Outcome, TimeSpan, bars_of, outcome_of, span_of
from rxflow._pictures.titles import (
    attempts_of,
    duration_of,
    remarks_on,
    state_name_of,
    title_of,
)

_CELLS: Mapping[Outcome, str] = {
    Outcome.WAITING: "·",
    Outcome.RUNNING: "▒",
    Outcome.PAUSED: "─",
    Outcome.COMPLETED: "█",
    Outcome.FAILED: "x",
    Outcome.CRASHED: "!",
    Outcome.CANCELLED: "/",
    Outcome.OTHER: "?",
}
"""Of each outcome, so that they differ without colours, too; in the legend's order."""

_MOST_FOR_NAMES = 0.35
_LEAST_FOR_BARS = 20
_CELLS_A_TICK = 9


def timeline_lines(tree: RunTree, width: int) -> Iterator[Line]:
    """Yield the lines of a timeline.

    Args:
        tree: The tree of the run.
        width: The width of the terminal in cells; below 60 a line may be longer.
    """
    places = [*tree.walk()]
    span = span_of(tree)
    remarks = [_remark_on(place, tree) for place in places]
    remark_cells = max(map(cell_width, remarks))
    names = [guides_of(place) + _name_of(place) for place in places]
    name_cells = min(max(map(cell_width, names)), int(width * _MOST_FOR_NAMES))
    bar_cells = max(_LEAST_FOR_BARS, width - name_cells - remark_cells - 3)
    yield from _head(tree, span, name_cells, bar_cells)
    drawn: set[Outcome] = set()
    for place, name, remark in zip(places, names, remarks, strict=True):
        node = place.node
        cells = _cells_of(bars_of(node, tree.now), span, bar_cells)
        drawn.update(filter(None, cells))
        yield (
            Span(fitted(name, name_cells), STRONG if node.kind == "flow run" else PLAIN),
            Span(" "),
            *_bar_spans(cells),
            Span(f" {remark}", outcome_of(node.state).value),
        )
    if drawn:
        yield (*_legend_of(drawn),)
    for text in remarks_on(tree):
        yield (Span(text, FAINT),)


def _head(tree: RunTree, span: TimeSpan, name_cells: int, bar_cells: int) -> Iterator[Line]:
    """Yield the run's title and the axis."""
    root = tree.root
    zero = zero_of(tree, span)
    what = "started" if zero == root.start else "from"
    yield (
        Span(shown(title_of(root)), STRONG),
        Span("  "),
        Span(shown(state_name_of(root)), outcome_of(root.state).value),
        Span(f"  {what} {local_time(zero):%Y-%m-%d %H:%M:%S %z}", FAINT),
    )
    axis = [" "] * bar_cells
    free = 0
    for tick in ticks_of(span, zero, bar_cells // _CELLS_A_TICK):
        at = min(int(tick.place * bar_cells), bar_cells - len(tick.label))
        if at >= free:
            axis[at : at + len(tick.label)] = tick.label
            free = at + len(tick.label) + 1
    yield (Span(" " * (name_cells + 1) + "".join(axis), FAINT),)


def _name_of(place: Place) -> str:
    """Return the name of a row: of a subflow its flow's, by which it is called in the code."""
    return shown(place.node.flow_name or place.node.name)


def _remark_on(place: Place, tree: RunTree) -> str:
    node = place.node
    is_usual = outcome_of(node.state) is Outcome.COMPLETED
    words = [
        duration_of(node, tree.now),
        "" if is_usual else shown(state_name_of(node)),
        attempts_of(node),
    ]
    return ", ".join(filter(None, words))


def _legend_of(drawn: Collection[Outcome]) -> Iterator[Span]:
    """Yield what each kind of cell that was drawn means."""
    for number, outcome in enumerate(each for each in _CELLS if each in drawn):
        yield Span("  " if number else "")
        yield Span(_CELLS[outcome], outcome.value)
        yield Span(f" {outcome.value}", FAINT)


def _cells_of(bars: Sequence[Bar], span: TimeSpan, count: int) -> list[Outcome | None]:
    """Return what each cell of a row shows."""
    cells: list[Outcome | None] = [None] * count
    # Waits first, so that they hide no other bar, which has one cell at least.
    for bar in sorted(bars, key=lambda bar: bar.outcome is not Outcome.WAITING):
        if bar.end < span.start:
            continue
        first = min(int(span.place(bar.start) * count), count - 1)
        last = max(first + 1, round(span.place(bar.end) * count))
        cells[first:last] = [bar.outcome] * (last - first)
    return cells


def _bar_spans(cells: Sequence[Outcome | None]) -> Iterator[Span]:
    for outcome, group in groupby(cells):
        length = len([*group])
        if outcome is None:
            yield Span(" " * length)
        else:
            yield Span(_CELLS[outcome] * length, outcome.value)
