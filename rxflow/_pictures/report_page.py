"""The report of a run: one HTML page that has all of it, and needs nothing else.

The page is ``report.html.jinja`` with ``report.css`` and ``report.js`` inside. Its content security
policy allows that one script and that one style, by their digests, and no request; so whatever a
log line holds, it cannot act. Without scripts the page is whole, too, and only lacks the filter.
"""

import json
import logging
from base64 import b64encode
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from importlib.resources import files
from typing import Any

import msgspec
from jinja2 import Environment, StrictUndefined

from rxflow._markup import Markup, joined
from rxflow._models.durations import short_duration
from rxflow._models.states import State
from rxflow._models.times import in_any_zone
from rxflow._pictures.run_report import RunReport
from rxflow._pictures.run_tree import Place, RunNode, RunTree
from rxflow._pictures.svg_timeline import COLOURS, svg_timeline
from rxflow._pictures.time_bars import Outcome, bars_of, outcome_of
from rxflow._pictures.titles import duration_of, remarks_on, state_name_of, title_of
from rxflow.events import FlowRunLog

_CHUNK = 100
"""Lines that a browser lays out together, when they are scrolled to."""

_ERROR_LINES = 15  # of the first error, at the top of the page
_ERROR_CHARACTERS = 3000


class _Line(msgspec.Struct, frozen=True):
    """A log line as the page has it."""

    number: int
    row: FlowRunLog
    node: int
    source: str
    day: str

    @property
    def time(self) -> str:
        return f"{_utc(self.row.timestamp):%H:%M:%S.%f}"[:-3]

    @property
    def full_time(self) -> str:
        return _utc(self.row.timestamp).isoformat(timespec="milliseconds")

    @property
    def level(self) -> str:
        return _level_name(self.row.level)

    @property
    def severity(self) -> str:
        """The level in four steps, for its colour."""
        steps = ((logging.ERROR, "error"), (logging.WARNING, "warning"), (logging.INFO, "info"))
        return next((name for least, name in steps if self.row.level >= least), "debug")


class _Option(msgspec.Struct, frozen=True):
    """A flow run or a task run as the filter has it: the lines of it and of all below it."""

    first: int
    last: int
    label: str
    node_id: str


class _Stay(msgspec.Struct, frozen=True):
    """A row of the state history."""

    state: State
    outcome: Outcome
    time: str
    lasted: str


def report_page(report: RunReport, version: str) -> str:
    """Render a report.

    Args:
        report: What it shows.
        version: The version of rxflow, for the foot of the page.

    Returns:
        The page; its characters have bytes in every UTF encoding.
    """
    root, now = report.tree.root, report.tree.now
    script, style = _part("report.js"), _part("report.css") + _outcome_styles()
    lines = _lines_of(report)
    page = _environment().from_string(_part("report.html.jinja"))
    return page.render(
        policy=_policy(script, style),
        script=Markup(script),
        style=Markup(style),
        version=version,
        title=title_of(root),
        root=root,
        run=report.tree.run,
        outcome=outcome_of(root.state),
        state_name=state_name_of(root),
        duration=duration_of(root, now),
        started=_time_or_none(root.start),
        ended=_time_or_none(root.end),
        read_at=_shown_time(now),
        task_runs=_counts(report.tree),
        parameters=_json(report.tree.run.parameters),
        stays=[*_stays(root, now)],
        picture=svg_timeline(report.tree),
        outcomes=_outcomes_in(report.tree),
        options=_options(report.tree),
        levels=_levels(report.lines),
        chunks=[lines[first : first + _CHUNK] for first in range(0, len(lines), _CHUNK)],
        first_error=next((line for line in lines if line.row.level >= logging.ERROR), None),
        excerpt=_excerpt,
        remarks=[*remarks_on(report.tree), *_remarks_on_lines(report)],
        line_count=f"{len(lines):,}",
        proof=_proof(report),
    )


def _environment() -> Environment:
    # What `finalize` returns is markup already, in which control characters are written out.
    return Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_finalized,
    )


def _finalized(value: Any) -> Any:
    return joined(value) if isinstance(value, str) else value


def _part(name: str) -> str:
    return files("rxflow._pictures").joinpath(name).read_text("utf-8")


def _policy(script: str, style: str) -> str:
    return (
        f"default-src 'none'; script-src '{_digest(script)}'; style-src '{_digest(style)}'; "
        "base-uri 'none'; form-action 'none'"
    )


def _digest(text: str) -> str:
    return f"sha256-{b64encode(sha256(text.encode()).digest()).decode()}"


def _outcome_styles() -> str:
    return "".join(
        f".{outcome} {{ --outcome: {colour}; }}\n" for outcome, colour in COLOURS.items()
    )


# -- times and names ------------------------------------------------------------------------------


def _utc(time: datetime) -> datetime:
    return in_any_zone(time).astimezone(UTC)


def _shown_time(time: datetime) -> str:
    return f"{_utc(time):%Y-%m-%d %H:%M:%S} UTC"


def _time_or_none(time: datetime | None) -> str | None:
    return None if time is None else _shown_time(time)


def _level_name(level: int) -> str:
    name: str = logging.getLevelName(level)
    return str(level) if name.startswith("Level ") else name


def _json(value: object) -> str:
    """Write parameters as people read them; "" if there are none."""
    return json.dumps(value, indent=2, ensure_ascii=False, default=str) if value else ""


# -- the parts of the page ------------------------------------------------------------------------


def _counts(tree: RunTree) -> str:
    """Return how many task runs there are, by outcome."""
    nodes = [place.node for place in tree.walk() if place.node.kind == "task run"]
    found = [outcome_of(node.state) for node in nodes]
    parts = [f"{found.count(each)} {each}" for each in Outcome if each in found]
    return f"{len(nodes)}: {', '.join(parts)}" if nodes else "none"


def _outcomes_in(tree: RunTree) -> list[Outcome]:
    """Return what the bars of a tree show, for the legend."""
    found = {bar.outcome for place in tree.walk() for bar in bars_of(place.node, tree.now)}
    return [outcome for outcome in Outcome if outcome in found]


def _stays(root: RunNode, now: datetime) -> Iterator[_Stay]:
    ends = [*(state.timestamp for state in root.states[1:]), now]
    for state, end in zip(root.states, ends, strict=False):
        is_end = state is root.states[-1] and bool(state.is_terminal)
        lasted = "" if is_end else short_duration(end - state.timestamp)
        time = f"{_utc(state.timestamp):%Y-%m-%d %H:%M:%S.%f}"[:-3]
        yield _Stay(state, outcome_of(state), time, lasted)


def _options(tree: RunTree) -> list[_Option]:
    """Return the nodes of a tree; those below one follow it, so that a range has them all."""
    places = [*tree.walk()]
    lasts = [*range(len(places))]
    above: list[int] = []
    for number, place in enumerate(places):
        del above[place.depth :]
        for each in above:
            lasts[each] = number
        above.append(number)
    return [
        _Option(number, lasts[number], _indented(place), place.node.id)
        for number, place in enumerate(places)
    ]


def _indented(place: Place) -> str:
    return "\u00a0" * 3 * place.depth + title_of(place.node)


def _levels(lines: Sequence[FlowRunLog]) -> list[tuple[int, str]]:
    """Return the levels to choose from: the usual ones, and what else lines have."""
    usual = (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL)
    levels = {*usual, *(row.level for row in lines)}
    return [(level, _level_name(level)) for level in sorted(levels)]


def _lines_of(report: RunReport) -> list[_Line]:
    numbers = {place.node.id: number for number, place in enumerate(report.tree.walk())}
    names = {place.node.id: place.node.flow_name or place.node.name for place in report.tree.walk()}
    lines: list[_Line] = []
    shown_day = ""
    for number, row in enumerate(report.lines, 1):
        # The task run of a line may not be known, if it could not be read.
        source = row.task_run_id if row.task_run_id in numbers else row.flow_run_id
        day = f"{_utc(row.timestamp):%Y-%m-%d}"
        new_day = "" if day == shown_day else day
        lines.append(_Line(number, row, numbers[source], names[source], new_day))
        shown_day = day
    return lines


def _excerpt(text: str) -> str:
    """Return the beginning and the end of a long error: what failed, and why."""
    lines = text.rstrip().splitlines()
    if len(lines) > _ERROR_LINES:
        kept = _ERROR_LINES // 2
        lines = [*lines[:kept], "…", *lines[-kept:]]
    shown = "\n".join(lines)
    half = _ERROR_CHARACTERS // 2
    return shown if len(shown) <= _ERROR_CHARACTERS else f"{shown[:half]} … {shown[-half:]}"


def _remarks_on_lines(report: RunReport) -> Iterator[str]:
    if report.unread:
        lines = "1 log line" if report.unread == 1 else f"{report.unread} log lines"
        yield f"{lines} could not be read; left out here"
    if report.unproven:
        named = ", ".join(report.unproven[:3])
        more = f" and {len(report.unproven) - 3} more" if len(report.unproven) > 3 else ""
        yield f"Log lines may be missing: the server's count never agreed, of {named}{more}"


def _proof(report: RunReport) -> str:
    is_verified = not report.unproven and not report.unread
    return "as many as the server counts" if is_verified else "not all verified"
