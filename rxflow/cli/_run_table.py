"""Flow runs as the rows of a table, for `rxflow runs`, for a list to pick from, and for errors."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

import click

from rxflow._escapes import one_line
from rxflow._models.durations import short_duration
from rxflow._models.terminal_text import local_time
from rxflow._pictures.cells import fitted
from rxflow._views.durations import duration
from rxflow.cli._end_summary import STATE_COLOURS
from rxflow.cli._wrapping import cells

if TYPE_CHECKING:
    from rxflow import FlowRun, State

__all__ = ["RUN_TITLES", "aligned", "coloured_state", "narrowed", "run_columns"]


RUN_TITLES = ("ID", "STATE", "STARTED", "DURATION", "FLOW", "NAME")
"""The titles of the columns of a run."""

_START, _FLOW, _NAME = map(RUN_TITLES.index, ("STARTED", "FLOW", "NAME"))
_LEAST_DIGITS = 8  # of an id: its first group
_LEAST_CELLS = 8  # of a name


def run_columns(run: "FlowRun", flow_names: Mapping[str, str], now: datetime) -> tuple[str, ...]:
    """Return the columns of a run, with colours as ANSI sequences.

    Args:
        run: The run's row. Its start is that which is expected if it has not started.
        flow_names: The names of flows, by their ids.
        now: The time, up to which the duration of a run that goes on is counted.
    """
    start = run.start_time or run.expected_start_time
    took = duration(run.start_time, run.end_time if run.is_terminal else now)
    return (
        run.id,
        coloured_state(run.state),
        "-" if start is None else f"{local_time(start):%Y-%m-%d %H:%M:%S}",
        "-" if took is None else short_duration(took),
        one_line(flow_names.get(run.flow_id or "", "-")),
        one_line(run.name),
    )


def coloured_state(state: "State | None") -> str:
    """Return the name of a state in the colour of its type, as ANSI sequences; "-" for None."""
    if state is None:
        return "-"
    return click.style(one_line(state.name), fg=STATE_COLOURS.get(state.type))


def narrowed(table: Sequence[Sequence[str]], width: int) -> Sequence[Sequence[str]]:
    """Return a table of runs whose lines are within a width, as far as that is possible.

    First ids are cut to a beginning by which other commands find the runs; then starts lose their
    year and seconds; then the names of flows are cut, and those of runs.

    Args:
        table: The table, with `RUN_TITLES` as its first row and the columns of `run_columns`.
        width: The width in cells.
    """
    if _excess(table, width):
        table = _with_short_ids(table)
    if _excess(table, width):
        table = _with_short_starts(table)
    for column in (_FLOW, _NAME):
        table = _with_cut(table, column, _excess(table, width))
    return table


def _excess(table: Iterable[Sequence[str]], width: int) -> int:
    """Return how many cells the longest line of a table has beyond a width."""
    return max(0, max(map(cells, aligned(table))) - width)


def _with_short_ids(table: Sequence[Sequence[str]]) -> Sequence[Sequence[str]]:
    titles, *rows = table
    ids = {row[0] for row in rows}
    lengths = range(_LEAST_DIGITS, max(map(len, ids)))
    length = next((n for n in lengths if len({each[:n] for each in ids}) == len(ids)), None)
    return [titles, *((row[0][:length], *row[1:]) for row in rows)]


def _with_short_starts(table: Sequence[Sequence[str]]) -> Sequence[Sequence[str]]:
    titles, *rows = table
    # Of "2026-11-22 12:00:00"; a run without a start has "-".
    return [
        titles,
        *((*row[:_START], row[_START][5:16] or "-", *row[_START + 1 :]) for row in rows),
    ]


def _with_cut(table: Sequence[Sequence[str]], column: int, excess: int) -> Sequence[Sequence[str]]:
    """Make a column narrower, but not too narrow to be read."""
    most = max(_LEAST_CELLS, max(cells(row[column]) for row in table) - excess)
    return [
        (*row[:column], fitted(row[column], min(most, cells(row[column]))), *row[column + 1 :])
        for row in table
    ]


def aligned(rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Yield rows as lines, each column but the last as wide as its widest text."""
    table = [*rows]
    widths = [max(map(cells, column)) for column in zip(*table, strict=True)]
    for *row, last in table:
        padded = (
            text + " " * (width - cells(text)) for text, width in zip(row, widths, strict=False)
        )
        yield "  ".join((*padded, last))
