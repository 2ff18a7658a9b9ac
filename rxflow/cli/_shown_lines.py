"""The lines of the events of a watch: those of the log lines that are selected, in one format."""

import sys
from collections.abc import Iterator
from typing import get_args

from rxflow import FlowRunEvent, FlowRunLog, Notice, RunSeen, StateChange, TaskRunStateChange
from rxflow.cli._line_formats import JsonLines, LineFormat, RawLines, TemplateLines
from rxflow.cli._lines import LineStyle, Transcript
from rxflow.cli._log_history import LastLines
from rxflow.cli._log_selection import LogSelection
from rxflow.cli._names import Names
from rxflow.cli._show_options import ShowOptions

__all__ = ["ShownLines", "line_format"]


class ShownLines:
    """Formats the events that are shown; a `LineFormat` of those."""

    def __init__(
        self, line_format: LineFormat, selection: LogSelection, last: LastLines | None = None
    ) -> None:
        """Start with no line shown.

        Args:
            line_format: Formats the events.
            selection: Which log lines are shown.
            last: Which of those that are accepted are shown; None for all.
        """
        self._format = line_format
        self._selection = selection
        self._last = last
        self._left = selection.head

    def lines(self, event: FlowRunEvent) -> Iterator[str]:
        """Yield the lines of an event."""
        if isinstance(event, FlowRunLog):
            if not self._shows(event):
                return
            if self._left is not None:
                self._left -= 1
        yield from self._format.lines(event)

    def recall(self, event: FlowRunEvent) -> None:
        """Learn from an event that an earlier command has shown, or left out; it is not counted."""
        self._format.recall(event)

    @property
    def is_full(self) -> bool:
        """Whether no more log lines are shown, since there were as many as wanted."""
        return self._left is not None and self._left <= 0

    def _shows(self, line: FlowRunLog) -> bool:
        if self.is_full or not self._selection.accepts(line):
            return False
        return self._last is None or self._last.has(line)


def line_format(
    show: ShowOptions, names: Names, *, only_logs: bool, tasks: bool, many: bool
) -> LineFormat:
    """Return the format that options name.

    Args:
        show: The options.
        names: Finds the names of runs and task runs.
        only_logs: Whether only log lines are shown.
        tasks: Whether the states of task runs are shown.
        many: Whether several runs are shown.
    """
    style = LineStyle(
        zone=show.zone, timestamps=show.timestamps, highlight=show.highlight, many=many
    )
    data = (FlowRunLog,) if only_logs else (StateChange, FlowRunLog)
    if tasks:
        data = (*data, TaskRunStateChange)
    match show.output:
        case "raw":
            return RawLines(data, style, escaped=sys.stdout.isatty())
        case "jsonl":
            return JsonLines(data if only_logs else get_args(FlowRunEvent))
        case "template":
            escaped = sys.stdout.isatty()
            return TemplateLines(show.template or "", data, style, names, escaped=escaped)
        case _:
            kinds = data if only_logs or show.quiet else (RunSeen, Notice, *data)
            return Transcript(style, names, kinds)
