"""Displays: how a command shows the events of a watch while they are emitted.

A display is given every event, in the order in which people are to see it, and decides itself what
of it is shown. The plain one writes lines and never moves the cursor: for pipes, files, CI, and
terminals that can do no more.
"""

from collections.abc import Callable
from time import monotonic
from typing import Protocol

from msgspec.structs import replace

from rxflow import Closed, FlowRunEvent, Notice
from rxflow.cli._end_summary import EndSummaries
from rxflow.cli._line_formats import LineFormat
from rxflow.cli._output import output_width, report, write

__all__ = ["Display", "PlainDisplay"]


class Display(Protocol):
    """Shows the events of one watch."""

    def show(self, event: FlowRunEvent) -> None:
        """Show an event, or leave it out.

        Args:
            event: The next event. Of one watched run, the last one is its `Closed`, of several an
                `AllClosed`; both follow the `Closed` of each subflow.
        """
        ...

    def say(self, text: str) -> None:
        """Show a sentence about the command itself; may be called in any thread.

        Args:
            text: The sentence; control characters in it are written out.
        """
        ...

    def close(self) -> None:
        """End the display: after the last event, or after fewer, if the watch is broken off.

        What it has shown stays readable, and the terminal is as it was before.
        """
        ...


class PlainDisplay:
    """Writes lines to standard output: of each event, and at the end of each run a summary."""

    def __init__(
        self,
        lines: LineFormat,
        summaries: EndSummaries | None = None,
        *,
        notice: Callable[[str], object] | None = None,
        ending: Callable[[str], object] | None = None,
        unchanged: bool = False,
    ) -> None:
        """Start with nothing written.

        Args:
            lines: Formats the events.
            summaries: The summaries of runs; None for no summaries.
            notice: Reports what a notice says, where notices have no lines; None to leave it out.
            ending: Reports how a run has ended, where no summary does; None to leave it out.
            unchanged: Whether the lines have no colours of ours, and are written as they are.
        """
        self._lines = lines
        self._summaries = summaries
        self._notice = notice
        self._ending = ending
        self._unchanged = unchanged
        self._ends: dict[str, dict[str, Closed]] = {}  # by the root, of it and its subflows

    def show(self, event: FlowRunEvent) -> None:
        """Write the lines of an event."""
        for line in self._lines.lines(event):
            write(line, unchanged=self._unchanged)
        if self._notice is not None and isinstance(event, Notice):
            self._notice(event.message)
        if self._ending is not None and isinstance(event, Closed):
            self._end_run(event, self._ending)
        if self._summaries is not None:
            self._summaries.statuses.receive(event, monotonic())
            if lines := self._summaries.lines(event, output_width()):
                write("\n".join(lines))

    def recall(self, event: FlowRunEvent) -> None:
        """Record an event that an earlier command has shown, before later ones of its run."""
        self._lines.recall(event)
        if self._ending is not None and isinstance(event, Closed):
            self._record_end(event)
        if self._summaries is not None:
            self._summaries.statuses.receive(event, monotonic())

    def _record_end(self, event: Closed) -> None:
        self._ends.setdefault(event.root_flow_run_id, {})[event.flow_run_id] = event

    def _end_run(self, event: Closed, ending: Callable[[str], object]) -> None:
        """Report the end of a run, with the lines of its subflows, which are closed before it."""
        root = event.root_flow_run_id
        self._record_end(event)
        if event.flow_run_id == root:
            ends = self._ends.pop(root).values()
            whole = replace(
                event,
                log_count=sum(each.log_count for each in ends),
                malformed=sum(each.malformed for each in ends),
                verified=all(each.verified for each in ends),
            )
            ending(f"{whole.message} ({root})")

    def say(self, text: str) -> None:
        """Write a sentence to standard error."""
        report(text)

    def close(self) -> None:
        """Do nothing: each line is whole once it is written."""
