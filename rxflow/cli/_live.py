"""The live view: lines that scroll above the state of the runs, on a terminal.

It has no thread. What has come since the last frame is shown by the next one, which is drawn when
an event comes, or when `refreshed` finds that the watch waits for one. So a burst of lines costs a
few frames, and nothing is left to stop when the command ends.
"""

import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Generator, Mapping
from contextlib import closing
from time import monotonic
from typing import TYPE_CHECKING, Protocol, cast

import click
import reactivex
from reactivex import Observable

import rxflow
from rxflow import FlowRunEvent
from rxflow._models.times import Now
from rxflow._runtime.clocks import real_now
from rxflow.cli._bottom_rows import BottomRows
from rxflow.cli._end_summary import EndSummaries
from rxflow.cli._flow_names import FlowNames
from rxflow.cli._line_formats import LineFormat
from rxflow.cli._output import output_errors, sentence
from rxflow.cli._wrapping import wrap, wrap_in_column

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["LiveDisplay", "live_display", "refreshed"]

FRAME_PAUSE = 0.1
"""Seconds from one frame to the next, at least."""

FRAME_SHARE = 0.04
"""The share of the time that rendering frames may take; one takes 2 to 8 ms."""

LONGEST_PAUSE = 0.5
"""Seconds from one frame to the next at most, as after the first, which imports rich."""

_LEAST_WIDTH, _LEAST_HEIGHT = 20, 8  # of a terminal with room for the state of the runs
_NO_SIZE = os.terminal_size((80, 24))


def live_display(
    lines: LineFormat,
    summaries: EndSummaries,
    client: rxflow.Client | None,
    clock: Callable[[], Now] = real_now,
) -> "LiveDisplay | None":
    """Return the live view, if people watch standard output on a terminal that can show it.

    Args:
        lines: Formats the events.
        summaries: The summaries of runs.
        client: Reads the names of flows; None to leave those out.
        clock: Returns the time that the runs have reached.
    """
    if not _is_live_terminal(os.environ):
        return None
    colour = click.get_current_context().color is not False
    flow_name = _no_name if client is None else FlowNames(client).of
    return LiveDisplay(lines, summaries, flow_name, colour=colour, clock=clock)


def _no_name(_: str | None) -> None:
    """Stand in for the names of flows where there is no server to read them from."""


def _is_live_terminal(environment: Mapping[str, str]) -> bool:
    """Whether standard output is a terminal whose cursor can be moved, and not one of CI.

    What CI runs may have a terminal that is only a file of its lines.
    """
    return (
        os.name == "posix"
        and sys.stdout.isatty()
        and environment.get("TERM", "") not in {"", "dumb", "unknown"}
        and environment.get("CI", "").lower() in {"", "0", "false"}
    )


class LiveDisplay:
    """Shows the lines of events, and below them the state of the runs.

    The state is that of the events that were received, which may be ahead of those that are shown:
    lines are held back until they are in order.
    """

    def __init__(
        self,
        lines: LineFormat,
        summaries: EndSummaries,
        flow_name: Callable[[str | None], str | None],
        *,
        colour: bool = True,
        clock: Callable[[], Now] = real_now,
    ) -> None:
        """Take over standard output, a terminal; nothing is drawn yet.

        Args:
            lines: Formats the events.
            summaries: The summaries of runs.
            flow_name: Returns the name of a flow by its id, None if it is not known; never blocks.
            colour: Whether to write colours.
            clock: Returns the time that the runs have reached.
        """
        sys.stdout.flush()
        self._terminal = sys.stdout.fileno()
        self._bottom = BottomRows(self._terminal, sys.stdout.encoding)
        self._lines = lines
        self._summaries = summaries
        self._flow_name = flow_name
        self._colour = colour
        self._clock = clock
        self._above: deque[str] = deque()
        self._next_frame = 0.0
        self._console: Console | None = None
        self._suspension = _Suspension(self._bottom)

    def receive(self, event: FlowRunEvent) -> None:
        """Record what an event says of the state of its run."""
        self._summaries.statuses.receive(event, monotonic())

    def show(self, event: FlowRunEvent) -> None:
        """Show an event that was received with the next frame, which is drawn now if it is time."""
        width = self._size().columns
        for line in self._lines.lines(event):
            self._above.extend(wrap_in_column(line, width))
        self._above.extend(self._summaries.lines(event, width))
        self.refresh()

    def recall(self, event: FlowRunEvent) -> None:
        """Record an event that an earlier command has shown, before later ones of its run."""
        self._lines.recall(event)
        self.receive(event)

    def say(self, text: str) -> None:
        """Show a sentence above the state of the runs, with the next frame."""
        self._above.extend(wrap(sentence(text), self._size().columns))

    def refresh(self) -> None:
        """Draw a frame if it is time for one."""
        began = monotonic()
        if began < self._next_frame:
            return
        rows = self._rows()
        rendered = monotonic()
        pause = max(FRAME_PAUSE, (rendered - began) / FRAME_SHARE)
        self._next_frame = rendered + min(pause, LONGEST_PAUSE)
        with output_errors():
            self._bottom.draw(rows, self._taken_lines())

    def close(self) -> None:
        """Write the lines that were not shown yet, and erase the state of the runs."""
        self._suspension.end()
        with output_errors():
            self._bottom.erase(self._taken_lines())

    def _taken_lines(self) -> list[str]:
        lines = [self._above.popleft() for _ in range(len(self._above))]
        return lines if self._colour else [click.unstyle(line) for line in lines]

    def _rows(self) -> list[str]:
        size = self._size()
        if size.columns < _LEAST_WIDTH or size.lines < _LEAST_HEIGHT or not self._is_foreground():
            return []
        if self._next_frame == 0.0:  # The first line is not to wait for rich.
            return []
        from rxflow.cli._status_region import status_rows  # noqa: PLC0415 - takes 60 ms to import

        return status_rows(
            self._summaries.statuses,
            self._clock(),
            self._rich_console(),
            flow_name=self._flow_name,
            width=size.columns,
            most=size.lines // 2,
        )

    def _rich_console(self) -> "Console":
        if self._console is None:
            from rich.console import Console  # noqa: PLC0415 - takes long to import

            self._console = Console(
                force_terminal=True,
                color_system="auto" if self._colour else None,
                no_color=not self._colour,
                legacy_windows=False,
                highlight=False,
            )
        return self._console

    def _size(self) -> os.terminal_size:
        """Return the terminal's size, which may change at any time."""
        size = os.get_terminal_size(self._terminal)
        return size if size.columns and size.lines else _NO_SIZE

    def _is_foreground(self) -> bool:
        """Whether the shell runs the command in the foreground, so that the rows are its own."""
        try:
            return os.tcgetpgrp(self._terminal) == os.getpgrp()
        except OSError:  # the terminal is not the one that controls this process
            return True


class _Suspension:
    """Erases the rows before Ctrl-Z stops the process; the next frame draws them again."""

    def __init__(self, bottom: BottomRows) -> None:
        self._bottom = bottom
        self._is_handled = (
            threading.current_thread() is threading.main_thread()
            and signal.getsignal(signal.SIGTSTP) is signal.SIG_DFL
        )
        if self._is_handled:
            signal.signal(signal.SIGTSTP, self._suspend)

    def end(self) -> None:
        """Handle the signal as before."""
        if self._is_handled:
            signal.signal(signal.SIGTSTP, signal.SIG_DFL)

    def _suspend(self, *_: object) -> None:
        self._bottom.erase()
        signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTSTP)
        # Here the process goes on.
        signal.signal(signal.SIGTSTP, self._suspend)


class Refreshable(Protocol):
    """What draws frames."""

    def refresh(self) -> None:
        """Draw a frame if it is time for one."""
        ...


class _End:
    """Follows the last event, where frames would be drawn for ever."""


def refreshed(events: Observable[FlowRunEvent], display: Refreshable) -> Generator[FlowRunEvent]:
    """Yield events, and let a display draw frames while there is none.

    Args:
        events: The events, which are subscribed to when the first one is requested.
        display: Is refreshed in the caller's thread, while it waits for an event.
    """
    last: Observable[FlowRunEvent | _End] = reactivex.of(_End())
    frames = reactivex.interval(FRAME_PAUSE)
    merged = reactivex.merge(reactivex.concat(events, last), frames)
    with closing(cast("Generator[FlowRunEvent | _End | int]", rxflow.iterate(merged))) as items:
        for item in items:
            if isinstance(item, _End):
                return
            if isinstance(item, int):
                display.refresh()
            else:
                yield item
