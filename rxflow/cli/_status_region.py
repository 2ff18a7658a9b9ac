"""Render what the live view shows below the lines: the state of the runs, as rows of a terminal.

A pure function of the statuses and the time; imported only where standard output is a terminal,
since it imports rich. Text of the server becomes a `Text`, in which no markup acts.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta

import msgspec
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from rxflow._escapes import one_line
from rxflow._models.durations import short_duration
from rxflow._models.times import Now
from rxflow._watching.outage_tracker import DEGRADED_AFTER
from rxflow.cli._end_summary import STATE_COLOURS, some_of
from rxflow.cli._run_status import RunStatus, RunStatuses, TaskRunTally

__all__ = ["status_rows"]

_INDENT = (0, 0, 0, 2)
_MOST_RUNNING, _MOST_FAILED = 4, 8  # names
_QUIET_FROM = 1.0  # seconds without news before that is shown
_WIDEST_BAR, _NARROW_BAR = 40, 12  # cells
_IN_ASCII = str.maketrans("─━", "-=")
_WIDE = 80  # cells, from which there is a bar for each of many runs


def status_rows(
    statuses: RunStatuses,
    now: Now,
    console: Console,
    *,
    flow_name: Callable[[str | None], str | None],
    width: int,
    most: int,
) -> list[str]:
    """Return the rows of the region, with colours as ANSI sequences.

    Args:
        statuses: The runs.
        now: The time.
        console: Decides on colours and characters.
        flow_name: Returns the name of a flow by its id, None if it is not known.
        width: The terminal's width in cells. A row takes one cell less at most, so that the
            cursor stays in it.
        most: How many rows there may be.
    """
    region = _Region(now=now, flow_name=flow_name, width=width, most=most)
    roots = statuses.roots
    body = region.one_run(roots[0], statuses) if len(roots) == 1 else region.many_runs(statuses)
    console.width = width - 1
    rule = Text("─" * console.width, style="dim")
    with console.capture() as captured:
        console.print(Group(rule, *body, *region.notices(statuses)))
    text = captured.get()
    if console.options.ascii_only:
        text = text.translate(_IN_ASCII)
    return text.split("\n")[:-1][:most]


class _Region(msgspec.Struct, frozen=True, kw_only=True):
    """What all parts of the region need to know."""

    now: Now
    flow_name: Callable[[str | None], str | None]
    width: int
    most: int

    # -- one run --------------------------------------------------------------------------------

    def one_run(self, status: RunStatus, statuses: RunStatuses) -> Iterator[RenderableType]:
        """Yield the state of a run, its task runs and its subflows."""
        yield self._title(status)
        tasks = status.task_runs
        if tasks.total:
            bar = min(_WIDEST_BAR, self.width // 3)
            yield _columns([_bar(tasks, bar), _counts(tasks)])
        names: list[list[RenderableType]] = []
        if tasks.running:
            running = some_of(tasks.running, _MOST_RUNNING)
            names.append([Text("running", style="dim"), Text(running)])
        if tasks.failed:
            failed = some_of(tasks.failed, _MOST_FAILED)
            names.append([Text("failed", style="dim"), Text(failed, style="red")])
        yield _columns(*names)
        yield from self._table(statuses.subflows(status), most=max(1, self.most // 2))

    def _title(self, status: RunStatus) -> Text:
        title = self._name(status, style="bold").append("  ").append_text(_state(status))
        time = self._time(status)
        return title.append(f"  {time}") if time else title

    def _name(self, status: RunStatus, *, style: str = "") -> Text:
        """Return the names of the flow, as soon as it is known, and the run."""
        flow = self.flow_name(status.run.flow_id if status.run else None)
        if flow is None:
            return Text.assemble((status.name, style))
        return Text.assemble((one_line(flow), style), " / ", (status.name, style))

    def _time(self, status: RunStatus) -> str:
        """Return how long a run has been running, or when it will."""
        elapsed = status.elapsed(self.now.utc)
        if elapsed is not None:
            return _whole_seconds(elapsed)
        due = status.run.expected_start_time if status.run else None
        if status.is_over or due is None or due <= self.now.utc:
            return ""
        return f"starts in {_whole_seconds(due - self.now.utc)}"

    # -- many runs ------------------------------------------------------------------------------

    def many_runs(self, statuses: RunStatuses) -> Iterator[RenderableType]:
        """Yield how many runs are in which state, and a row for each as far as there is room."""
        roots = statuses.roots
        runs = [run for root in roots for run in (root, *statuses.subflows(root))]
        number = f"{len(runs)} runs" if runs else "No run was found yet"
        yield Text(number, style="bold").append(": " if runs else "").append_text(_states(runs))
        yield from self._table(runs, most=max(1, self.most - 4))

    def _table(self, runs: Sequence[RunStatus], most: int) -> Iterator[RenderableType]:
        """Yield a row for each run; those that are over, and completed first of all, give way."""
        by_interest = sorted(runs, key=_interest)
        shown = [run for run in runs if run in by_interest[:most]]
        yield _columns(*map(self._row, shown))
        if hidden := by_interest[most:]:
            more = Text(f"and {len(hidden)} more: ", style="dim").append_text(_states(hidden))
            yield Padding(more, _INDENT)

    def _row(self, run: RunStatus) -> list[RenderableType]:
        name = Text("  " if run.is_subflow else "").append_text(self._name(run))
        tasks = run.task_runs
        row: list[RenderableType] = [name, _state(run), Text(self._time(run))]
        if self.width >= _WIDE:
            row.append(_bar(tasks, _NARROW_BAR) if tasks.total else Text())
        number = f"{tasks.ended} of {tasks.total}" if tasks.total else ""
        failed = Text(f", {len(tasks.failed)} failed" if tasks.failed else "", style="red")
        return [*row, Text(number).append_text(failed)]

    # -- notices --------------------------------------------------------------------------------

    def notices(self, statuses: RunStatuses) -> Iterator[RenderableType]:
        """Yield what the watch is waiting for."""
        texts: list[str] = []
        if statuses.outage is not None:
            since = statuses.outage.timestamp - timedelta(seconds=DEGRADED_AFTER)
            lasted = _whole_seconds(self.now.utc - since)
            texts.append(f"No good reply for {lasted}; the watch keeps retrying")
        late = [run.notice for run in statuses.roots if run.notice is not None]
        if late:
            more = f" (and {len(late) - 1} more)" if len(late) > 1 else ""
            texts.append(one_line(late[0].message) + more)
        ending = [run for run in statuses.roots if run.is_over and run.closed is None]
        quiet = min((self.now.mono - run.last_news for run in ending), default=0.0)
        if quiet >= _QUIET_FROM:
            which = "The run is" if len(ending) == 1 else f"{len(ending)} runs are"
            texts.append(f"{which} over; waiting for late lines, {int(quiet)} s")
        for text in texts:
            yield Padding(Text(text, style="yellow"), _INDENT)


def _columns(*rows: Sequence[RenderableType]) -> RenderableType:
    """Return rows whose columns are aligned, and whose texts are wrapped in their column."""
    table = Table.grid(padding=(0, 2, 0, 0), pad_edge=False)
    for _ in rows[0] if rows else ():
        table.add_column(overflow="fold")
    for row in rows:
        table.add_row(*row)
    return Padding(table, _INDENT) if rows else Group()


def _bar(tasks: TaskRunTally, width: int) -> Text:
    """Return a bar of the task runs: those that ended well, those that did not, and the others."""
    ended = width * tasks.ended // tasks.total
    failed = min(ended, max(1, width * len(tasks.failed) // tasks.total)) if tasks.failed else 0
    return Text.assemble(
        ("━" * (ended - failed), "green"), ("━" * failed, "red"), ("─" * (width - ended), "dim")
    )


def _state(status: RunStatus) -> Text:
    state = status.state
    if state is None:
        return Text("no state", style="dim")
    return Text(one_line(state.name), style=STATE_COLOURS.get(state.type, ""))


def _counts(tasks: TaskRunTally) -> Text:
    counted = Text(f"{tasks.ended} of {tasks.total} task runs: ")
    return counted.append_text(_listed(tasks.counts))


def _states(runs: Sequence[RunStatus]) -> Text:
    types = Counter(str(run.state.type) if run.state else "no state" for run in runs)
    return _listed(types.most_common())


def _listed(counts: Sequence[tuple[str, int]]) -> Text:
    return Text(", ").join(
        Text(f"{number} {one_line(kind).lower()}", style=STATE_COLOURS.get(kind, ""))
        for kind, number in counts
    )


def _interest(run: RunStatus) -> int:
    if not run.is_over:
        return 0 if run.started else 1
    return 3 if run.state is not None and run.state.is_completed else 2


def _whole_seconds(duration: timedelta) -> str:
    seconds = max(0, int(duration.total_seconds()))
    return f"{seconds} s" if seconds < 60 else short_duration(timedelta(seconds=seconds))
