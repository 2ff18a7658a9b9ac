"""Flow runs as the rows of a table, for `rxflow runs`, for a list to pick from, and for errors."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

import click

from rxflow._escapes import one_line
from rxflow._models.durations import short_duration
from rxflow._models.terminal_text import local_time
from rxflow._views.durations import duration
from rxflow.cli._end_summary import STATE_COLOURS
from rxflow.cli._wrapping import cells

if TYPE_CHECKING:
    from rxflow import FlowRun, State

__all__ = ["RUN_TITLES", "aligned", "coloured_state", "run_columns"]

RUN_TITLES = ("ID", "STATE", "STARTED", "DURATION", "FLOW", "NAME")
"""The titles of the columns of a run."""


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


def aligned(rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Yield rows as lines, each column but the last as wide as its widest text."""
    table = [*rows]
    widths = [max(map(cells, column)) for column in zip(*table, strict=True)]
    for *row, last in table:
        padded = (
            text + " " * (width - cells(text)) for text, width in zip(row, widths, strict=False)
        )
        yield "  ".join((*padded, last))
