"""The timeline of a run as SVG: a row for each run with its bars, and an axis above.

The colours are attributes, so that the picture is whole by itself and no style is needed; a page
with a style of its own sets others by the classes. They differ on light and on dark.
Texts have the colour of the text around.
"""

from collections.abc import Iterator, Mapping

from rxflow._markup import Attributes, Markup, element, joined
from rxflow._models.durations import short_duration
from rxflow._pictures.cells import fitted, shown
from rxflow._pictures.run_tree import Place, RunTree
from rxflow._pictures.time_axis import ticks_of, zero_of
from rxflow._pictures.time_bars import Bar, Outcome, TimeSpan, bars_of, outcome_of, span_of
from rxflow._pictures.titles import attempts_of, duration_of, state_name_of, title_of

COLOURS: Mapping[Outcome, str] = {
    Outcome.WAITING: "#9aa5b1",
    Outcome.RUNNING: "#2f81f7",
    Outcome.PAUSED: "#bf8700",
    Outcome.COMPLETED: "#2da44e",
    Outcome.FAILED: "#dc3b3b",
    Outcome.CRASHED: "#bc4c00",
    Outcome.CANCELLED: "#8c6bc8",
    Outcome.OTHER: "#6e7781",
}
"""Of each outcome, for light and dark alike."""

_WIDTH = 1000
_NAMES = 270
_REMARKS = 150
_BARS = _WIDTH - _NAMES - _REMARKS - 20
_HEAD = 26
_ROW = 22
_BARS_OF_KIND = {"flow run": 8, "task run": 12}  # their heights
_WAIT = 4
_INDENT, _MOST_INDENT = 14, 140
_CELL = 6.7  # of the width of a letter
_LEAST = 2.0  # width of a bar
_TICKS = 7


def svg_timeline(tree: RunTree) -> Markup:
    """Draw the timeline of a tree, 1000 units wide; each row has its node's id as ``data-node``."""
    places = [*tree.walk()]
    span = span_of(tree)
    height = _HEAD + _ROW * len(places) + 6
    attributes: Attributes = {
        "xmlns": "http://www.w3.org/2000/svg",
        "class": "timeline",
        "viewBox": f"0 0 {_WIDTH} {height}",
        "width": "100%",
        "role": "img",
        "aria-label": f"Timeline of {title_of(tree.root)}",
        "font-family": "system-ui, sans-serif",
        "font-size": 12,
        "fill": "currentColor",
    }
    rows = (_row(place, number, tree, span) for number, place in enumerate(places))
    return element("svg", attributes, *_axis(tree, span, height), *rows)


def _axis(tree: RunTree, span: TimeSpan, height: int) -> Iterator[Markup]:
    for tick in ticks_of(span, zero_of(tree, span), _TICKS):
        x = _x(tick.place)
        ends: Attributes = {"x1": x, "x2": x, "y1": _HEAD - 6, "y2": height}
        yield element("line", {**ends, "stroke": "currentColor", "stroke-opacity": 0.15})
        above: Attributes = {"x": x, "y": _HEAD - 11, "text-anchor": "middle"}
        yield element("text", {**above, "fill-opacity": 0.7}, tick.label)


def _row(place: Place, number: int, tree: RunTree, span: TimeSpan) -> Markup:
    node = place.node
    top = _HEAD + _ROW * number
    back = 0 if number % 2 else 0.04
    bars = sorted(bars_of(node, tree.now), key=lambda bar: bar.outcome is not Outcome.WAITING)
    return element(
        "g",
        {"class": "row", "data-node": node.id, "data-kind": node.kind},
        element("title", {}, _description(place, tree)),
        element("rect", {"y": top, "width": _WIDTH, "height": _ROW, "fill-opacity": back}),
        _name(place, top),
        *(_bar(bar, top, span, _BARS_OF_KIND[node.kind]) for bar in bars if bar.end >= span.start),
        _remark(place, top, tree),
    )


def _description(place: Place, tree: RunTree) -> str:
    """Return what is shown where the mouse rests on a row."""
    node = place.node
    words = [state_name_of(node), duration_of(node, tree.now), attempts_of(node)]
    parts = [
        f"{bar.outcome} for {short_duration(bar.end - bar.start)}"
        for bar in bars_of(node, tree.now)
    ]
    return "\n".join([f"{title_of(node)}: {', '.join(filter(None, words))}", *parts])


def _name(place: Place, top: int) -> Markup:
    indent = min(_INDENT * place.depth, _MOST_INDENT)
    name = shown(title_of(place.node))
    kept = fitted(name, int((_NAMES - 10 - indent) / _CELL)).rstrip()
    weight = "600" if place.node.kind == "flow run" else None
    return element("text", {"x": 6 + indent, "y": top + 15, "font-weight": weight}, kept)


def _bar(bar: Bar, top: int, span: TimeSpan, full_height: int) -> Markup:
    height = _WAIT if bar.outcome is Outcome.WAITING else full_height
    left, right = _x(span.place(bar.start)), _x(span.place(bar.end))
    return element(
        "rect",
        {
            "class": f"bar {bar.outcome}",
            "x": min(left, _NAMES + _BARS - _LEAST),
            "y": top + (_ROW - height) / 2,
            "width": max(_LEAST, round(right - left, 2)),
            "height": height,
            "rx": 2,
            "fill": COLOURS[bar.outcome],
        },
    )


def _remark(place: Place, top: int, tree: RunTree) -> Markup:
    node = place.node
    outcome = outcome_of(node.state)
    words = [duration_of(node, tree.now)]
    if outcome is not Outcome.COMPLETED:
        words.append(fitted(shown(state_name_of(node)), 16).rstrip())
    words.append(attempts_of(node))
    x = _NAMES + _BARS + 16
    circle: Attributes = {"cx": x, "cy": top + 11, "r": 3.5, "fill": COLOURS[outcome]}
    return joined(
        element("circle", {"class": f"dot {outcome}", **circle}),
        element("text", {"x": x + 9, "y": top + 15}, ", ".join(filter(None, words))),
    )


def _x(place: float) -> float:
    return round(_NAMES + place * _BARS, 2)
