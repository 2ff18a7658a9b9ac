"""The summary at the end of a run: how it ended, why, and whether all of it was seen.

The same for the live view and for plain lines. Text of the server in it is escaped, and nothing is
left out but the middle of a long error, whose lines have been shown before, and further names.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import tzinfo
from itertools import chain

import click

from rxflow import Closed, FlowRunEvent, FlowRunLog
from rxflow._escapes import one_line, safe_text
from rxflow._models.durations import short_duration
from rxflow.cli._lines import LineStyle
from rxflow.cli._run_status import RunStatus, RunStatuses, TaskRunTally
from rxflow.cli._wrapping import wrap

__all__ = ["STATE_COLOURS", "EndSummaries", "end_summary", "report_command", "some_of"]

STATE_COLOURS = {
    "COMPLETED": "green",
    "RUNNING": "cyan",
    "PENDING": "blue",
    "SCHEDULED": "blue",
    "PAUSED": "yellow",
    "CANCELLING": "yellow",
    "CANCELLED": "yellow",
    "CRASHED": "red",
    "FAILED": "red",
}
"""By the state's type; click and rich both know the names."""

_MOST_NAMES = 10
_FIRST_LINES, _LAST_LINES = 3, 12  # of an error
_MOST_CHARACTERS = 2_000  # of a line of an error
_LEAST_ROOM = 20  # cells


def report_command(run_id: str) -> str:
    """Return the command that makes the report of a run of the server."""
    return f"rxflow report {run_id} -o run.html"


class EndSummaries:
    """Writes the summary of each run of a watch when it is closed.

    A subflow has none of its own; it is a part of that of the run which was to be watched.

    Attributes:
        statuses: The runs, by the events that were received.
    """

    def __init__(
        self,
        lowest: str | None = None,
        zone: tzinfo | None = None,
        *,
        all_shown: bool = True,
        more: Callable[[str], str] | None = report_command,
    ) -> None:
        """Start without a run.

        Args:
            lowest: The name of the level below which log lines are left out; None for all.
            zone: The time zone of times; None for the local one.
            all_shown: Whether all log lines that are received are shown.
            more: As for `end_summary`.
        """
        self.statuses = RunStatuses()
        self._lowest = lowest
        self._zone = zone
        self._all_shown = all_shown
        self._more = more

    def lines(self, event: FlowRunEvent, width: int | None) -> list[str]:
        """Return an empty line and the summary of the run that an event closes; else nothing.

        Args:
            event: An event that was received.
            width: Cells to break lines at; None to write each field as one line.
        """
        status = self.statuses.root(event.flow_run_id) if isinstance(event, Closed) else None
        if status is None:
            return []
        summary = end_summary(
            status,
            self.statuses.subflows(status),
            lowest=self._lowest,
            zone=self._zone,
            width=width,
            all_shown=self._all_shown,
            more=self._more,
        )
        return ["", *summary]


def end_summary(
    status: RunStatus,
    subflows: Sequence[RunStatus] = (),
    *,
    lowest: str | None = None,
    zone: tzinfo | None = None,
    width: int | None = None,
    all_shown: bool = True,
    more: Callable[[str], str] | None = report_command,
) -> Iterator[str]:
    """Yield the lines of the summary, with colours as ANSI sequences.

    Args:
        status: The run.
        subflows: Its subflows, as far as they were watched.
        lowest: The name of the level below which log lines were left out; None for all.
        zone: The time zone of times; None for the local one.
        width: Cells to break lines at; None to write each field as one line.
        all_shown: Whether all log lines that were received were shown.
        more: Returns, for a run's id, the command that makes the report of the run; None if the run
            cannot be read any more, so that the line is left out.
    """
    title = f"Flow run {status.name!r} ({status.flow_run_id})"
    for line in [title] if width is None else wrap(title, width):
        yield click.style(line, bold=True)
    log_lines = _log_lines((status, *subflows), lowest, all_shown=all_shown)
    for label, lines in chain(_fields(status, subflows, zone), log_lines):
        head = _head(label)
        for line in lines:
            room = None if width is None else max(width - len(head), _LEAST_ROOM)
            for part in [line] if room is None else wrap(line, room):
                yield click.style(head, dim=True) + part
                head = " " * len(head)
    if more is None or status.is_deleted:  # of which there is no more
        return
    # Not broken, so that it can be copied.
    yield click.style(_head("more"), dim=True) + one_line(more(status.flow_run_id))


def some_of(names: Sequence[str], most: int = _MOST_NAMES) -> str:
    """Return names as a list in words, and how many more there are."""
    shown = ", ".join(names[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown


def _head(label: str) -> str:
    return f"  {label:<11}"


def _fields(
    status: RunStatus, subflows: Sequence[RunStatus], zone: tzinfo | None
) -> Iterator[tuple[str, list[str]]]:
    yield "state", [_state(status)]
    if status.is_over and status.closed and (took := status.elapsed(status.closed.timestamp)):
        yield "duration", [short_duration(took)]
    if status.states:
        yield "states", [" > ".join(one_line(state.name) for state in status.states)]
    tasks = status.task_runs
    if tasks.total:
        yield "task runs", [f"{tasks.total}: {_counted(tasks.counts)}"]
    if tasks.failed:
        yield "failed", [click.style(some_of(tasks.failed), fg="red")]
    if unsettled := _unsettled(status.closed, tasks):
        yield "not over", [some_of(unsettled)]
    if subflows:
        yield "subflows", [_subflows(subflows)]
    yield from _errors(status, subflows, zone)


def _state(status: RunStatus) -> str:
    state = status.state
    if state is None:
        return "none"
    name = click.style(one_line(state.name), fg=STATE_COLOURS.get(state.type), bold=True)
    if status.is_deleted and not status.is_over:
        name += " when it was deleted"
    return f"{name}: {one_line(state.message)}" if state.message else name


def _counted(counts: Sequence[tuple[str, int]]) -> str:
    return ", ".join(
        click.style(f"{number} {one_line(kind).lower()}", fg=STATE_COLOURS.get(kind))
        for kind, number in counts
    )


def _unsettled(closed: Closed | None, tasks: TaskRunTally) -> list[str]:
    return [tasks.name(row) or row for row in closed.unsettled] if closed else []


def _subflows(subflows: Sequence[RunStatus]) -> str:
    states = Counter(str(run.state.type) if run.state else "no state" for run in subflows)
    failed = [run.name for run in subflows if run.state is not None and run.state.is_failed]
    named = f" ({some_of(failed)})" if failed else ""
    return f"{len(subflows)}: {_counted(states.most_common())}{named}"


def _errors(
    status: RunStatus, subflows: Sequence[RunStatus], zone: tzinfo | None
) -> Iterator[tuple[str, list[str]]]:
    """Yield the first error with its lines; of a run that completed, how many there were."""
    runs = (status, *subflows)
    found = [(run.first_error, run) for run in runs if run.first_error is not None]
    if not found:
        return
    number = sum(run.error_count for run in runs)
    if status.state is not None and status.state.is_completed:
        lines = "1 log line" if number == 1 else f"{number} log lines"
        yield "errors", [f"{lines} of level ERROR and above"]
        return
    first, run = min(found, key=lambda each: each[0].timestamp)
    names = (run.name if run.is_subflow else None, run.task_runs.name(first.task_run_id))
    origin = "/".join(name for name in names if name)
    time = LineStyle(zone=zone).time(first.timestamp)
    head = f"{time} {origin}" if origin else time
    more = f", the first of {number}" if number > 1 else ""
    yield "error", [head + more, *(click.style(line, fg="red") for line in _some_lines(first))]


def _some_lines(error: FlowRunLog) -> list[str]:
    text = error.message.replace("\r\n", "\n").rstrip("\n")
    lines = [_shortened(safe_text(line)) for line in text.split("\n")]
    left_out = len(lines) - _FIRST_LINES - _LAST_LINES
    if left_out <= 1:
        return lines
    return [*lines[:_FIRST_LINES], f"... {left_out} more lines ...", *lines[-_LAST_LINES:]]


def _shortened(line: str) -> str:
    left_out = len(line) - _MOST_CHARACTERS
    return f"{line[:_MOST_CHARACTERS]} ... {left_out} more characters" if left_out > 0 else line


def _log_lines(
    runs: Iterable[RunStatus], lowest: str | None, *, all_shown: bool
) -> Iterator[tuple[str, list[str]]]:
    ends = [(run, run.closed) for run in runs if run.closed is not None]
    if not ends:
        return
    of_level = f" of level {lowest} and above" if lowest else ""
    were_read, selected = ("", "") if all_shown else (" were read", "; those selected are shown")
    number = sum(closed.log_count for _, closed in ends)
    yield "log lines", [f"{number}{of_level}{were_read}, {_proof(ends)}{selected}"]


def _proof(ends: Iterable[tuple[RunStatus, Closed]]) -> str:
    """Say whether the lines are all that there are, and if that is not known, why."""
    for run, closed in ends:
        if not closed.verified:
            of_subflow = f", of {run.name}" if run.is_subflow else ""
            return f"not verified{of_subflow}: {_doubt(run, closed)}"
    return "as many as the server counts"


def _doubt(run: RunStatus, closed: Closed) -> str:
    if run.unverified:
        return run.unverified
    if closed.malformed:
        rows = "1 row" if closed.malformed == 1 else f"{closed.malformed} rows"
        return f"{rows} could not be read"
    return "the server's count of them could not be confirmed"
