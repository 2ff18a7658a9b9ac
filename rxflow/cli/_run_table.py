"""Flow runs as the rows of a table, for `rxflow runs`, for a list to pick from, and for errors."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from rxflow._escapes import one_line
from rxflow._models.terminal_text import local_time

if TYPE_CHECKING:
    from rxflow import FlowRun

__all__ = ["aligned", "duration_text", "run_columns", "time_text"]


def run_columns(run: "FlowRun", flow_names: Mapping[str, str]) -> tuple[str, ...]:
    """Return the columns of a run: id, state, start, duration, flow and name.

    Args:
        run: The run's row.
        flow_names: The names of flows, by their ids.
    """
    start = run.start_time or run.expected_start_time
    took = None if run.start_time is None or run.end_time is None else run.end_time - run.start_time
    return (
        run.id,
        one_line(run.state.name) if run.state is not None else "-",
        "-" if start is None else time_text(start),
        "-" if took is None else duration_text(took),
        one_line(flow_names.get(run.flow_id or "", "-")),
        one_line(run.name),
    )


def aligned(rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Yield rows as lines, each column but the last as wide as its widest text."""
    table = [*rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for row in table:
        cells = (text.ljust(width) for text, width in zip(row, widths, strict=True))
        yield "  ".join(cells).rstrip()


def time_text(time: datetime) -> str:
    """Return a time in the local time zone, to the second."""
    return f"{local_time(time):%Y-%m-%d %H:%M:%S}"


def duration_text(duration: timedelta) -> str:
    """Return a duration as ``0.4s``, ``12s``, ``3m 05s``, ``2h 07m`` or ``1d 03h``."""
    seconds = max(0.0, duration.total_seconds())
    whole = int(seconds)
    minutes, hours, days = whole // 60, whole // 3600, whole // 86_400
    if seconds < 10:
        return f"{seconds:.1f}s"
    if not minutes:
        return f"{whole}s"
    if not hours:
        return f"{minutes}m {whole % 60:02}s"
    return f"{hours}h {minutes % 60:02}m" if not days else f"{days}d {hours % 24:02}h"
