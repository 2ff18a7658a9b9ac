"""Show a recording as the watch of its runs was shown, from the file to the exit status.

The file is read twice. The first time finds out what a watch is given or reads from the server: how
many runs there are, the names of task runs, and which log lines are the last ones.
"""

import heapq
import shlex
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import TYPE_CHECKING

from reactivex import operators as ops

from rxflow import (
    AllClosed,
    Closed,
    FlowRunEvent,
    FlowRunLog,
    RxflowError,
    WatchTimedOut,
    replay,
)
from rxflow._models.times import Now
from rxflow._runtime.recording_reader import RecordingReader
from rxflow.cli._exit_status import ExitStatus
from rxflow.cli._follow import follow
from rxflow.cli._following import log_selection
from rxflow.cli._interruption import without_advice
from rxflow.cli._live import refreshed
from rxflow.cli._live_order import ordered
from rxflow.cli._log_history import LastLines
from rxflow.cli._log_selection import LogSelection
from rxflow.cli._logged_display import logged_display
from rxflow.cli._names import Names
from rxflow.cli._output import report
from rxflow.cli._show_options import ShowOptions
from rxflow.cli._shown_lines import ShownLines, line_format

if TYPE_CHECKING:
    from rxflow.stream import Stream

__all__ = ["replay_file"]

_FIRST_TIME, _LAST_TIME = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)


def replay_file(path: str, speed: float | None, show: ShowOptions, *, tasks: bool) -> ExitStatus:
    """Show the events of a recording, and return the status that the watch of its runs had.

    Of a recording that ends before its runs are over it is that of a malformed file.

    Args:
        path: The file.
        speed: How many recorded seconds pass in one second; None for all at once.
        show: Which lines are shown, and how.
        tasks: Whether the states of task runs are shown.

    Raises:
        RxflowError: The watch that was recorded ended so, or the file cannot be replayed.
    """
    selection = log_selection(show, None)
    contents = _Contents(path, selection)
    line = line_format(
        show, contents.names, only_logs=False, tasks=tasks, many=len(contents.roots) > 1
    )
    lines = ShownLines(line, selection, contents.last)
    clock = _RecordedTime(contents.start, speed)
    display, live = logged_display(show, lines, selection, clock, contents.report_command)
    events: Stream[FlowRunEvent] = replay(path, speed)
    if live is not None:
        events = events.pipe(ops.do_action(live.receive))
    if speed is None and len(contents.runs) > 1:
        events = events.pipe(ordered(_FIRST_TIME))
    with closing(iter(events) if live is None else refreshed(events, live)) as shown:
        try:
            status = follow(shown, display, tabulated=not show.quiet)
        except WatchTimedOut as error:
            reached = "The watch that was recorded reached its time limit"
            raise WatchTimedOut(f"{reached}: {without_advice(error)}") from error
    if contents.is_whole:
        return status
    report(f"{path} ends before the runs are over")
    return ExitStatus.USAGE


class _Contents:
    """What a recording has, as far as it can be read.

    Attributes:
        names: The names of its runs and task runs.
        runs: The ids of its runs.
        roots: The ids of those that no other one has started.
        last: Which log lines are the last of those that a selection accepts, as many as its tail;
            None for all.
        start: When it began, and without that, when its first event happened; None if it has none.
        is_whole: Whether the last event ends the watch of its runs.
    """

    def __init__(self, path: str, selection: LogSelection) -> None:
        self.names = Names()
        self.runs: set[str] = set()
        self.roots: set[str] = set()
        self.last: LastLines | None = None
        self.start = _start_of(path)
        self.is_whole = True
        self._path = path
        closed: set[str] = set()
        tail = _Tail(selection.tail or 0)
        event: FlowRunEvent | None = None
        with suppress(RxflowError):  # the second reading has the same error, where it belongs
            for event in replay(path, None):
                self.names.receive(event)
                self.runs |= {event.flow_run_id} - {""}
                self.roots |= {event.root_flow_run_id} - {""}
                self.start = self.start or event.timestamp
                if isinstance(event, FlowRunLog) and selection.accepts(event):
                    tail.receive(event)
                if isinstance(event, Closed):
                    closed.add(event.flow_run_id)
            # The journal of a subflow has nothing of the run that has started it.
            watched = self.roots & self.runs or self.runs
            is_closed = isinstance(event, Closed) and watched <= closed
            self.is_whole = is_closed or isinstance(event, AllClosed)
        if selection.tail is not None:
            self.last = tail.lines

    def report_command(self, run_id: str) -> str:
        """Return the command that makes the report of a run of the recording."""
        run = [run_id] if len(self.roots) > 1 else []  # else the file has only one
        return shlex.join(["rxflow", "report", *run, "--from", self._path, "-o", "run.html"])


class _Tail:
    """Finds the log lines with the latest times."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._count = 0
        self._heap: list[tuple[datetime, int, str]] = []

    def receive(self, line: FlowRunLog) -> None:
        """Record a line; of two with one time, the later one counts as later."""
        self._count += 1
        entry = (line.timestamp, self._count, line.id)
        if len(self._heap) < self._size:
            heapq.heappush(self._heap, entry)
        elif self._heap:
            heapq.heappushpop(self._heap, entry)

    @property
    def lines(self) -> LastLines:
        """The lines; without any, none is one of them."""
        start = self._heap[0][0] if self._heap else _LAST_TIME
        return LastLines(start, frozenset(line_id for _, _, line_id in self._heap))


def _start_of(path: str) -> datetime | None:
    reader = RecordingReader(path)
    with closing(reader), suppress(RxflowError):
        reader.begin()
    return reader.started


class _RecordedTime:
    """A clock whose calendar shows the time that is replayed."""

    def __init__(self, start: datetime | None, speed: float | None) -> None:
        self._began = monotonic()
        self._start = start or _FIRST_TIME
        self._speed = speed or 1.0

    def __call__(self) -> Now:
        """Return the time."""
        now = monotonic()
        return Now(now, self._start + timedelta(seconds=(now - self._began) * self._speed))
