"""The report of a run from a recording: its events, folded, in place of what a server has."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

import click

from rxflow import (
    Closed,
    FlowRunEvent,
    FlowRunLog,
    RunSeen,
    Snapshot,
    State,
    TaskRunStateChange,
    fold,
)
from rxflow._escapes import one_line
from rxflow._logs.log_read import LOG_ORDER
from rxflow._pictures.run_report import RunReport
from rxflow._pictures.run_tree import RunRows, RunTree, tree_root
from rxflow.cli._recorded_events import recorded_events
from rxflow.cli._run_words import without_ellipsis

__all__ = ["recorded_report"]

_MOST_LISTED = 8  # runs that may be meant


def recorded_report(path: str, run: str | None, *, subflows: bool) -> RunReport:
    """Return what a recording has of a run.

    The names of flows, and states of task runs that the watch has not seen, are not in it.

    Args:
        path: The file.
        run: The id of the run, the beginning of it, or its name; None if the file has only one.
        subflows: Whether to include its subflows.

    Raises:
        click.UsageError: The file has no such run, or several.
        RxflowError: The file cannot be replayed.
    """
    runs = _Runs()
    for event in recorded_events(path):
        runs.receive(event)
    root = _selected(runs.roots(), run, path)
    wanted = runs.tree_of(root) if subflows else [runs.snapshots[root]]
    ids = {snapshot.run.id for snapshot in wanted}
    rows = [RunRows(run=each.run, states=each.states, task_runs=each.task_runs) for each in wanted]
    closed = [runs.closed.get(run_id) for run_id in ids]
    lines = (line for line in runs.lines if line.flow_run_id in ids)
    return RunReport(
        tree=RunTree(
            run=wanted[0].run,
            root=tree_root(rows, runs.whole_histories(wanted)),
            now=max(event.timestamp for event in runs.last.values()),
            has_subflows=subflows,
        ),
        lines=tuple(sorted(lines, key=LOG_ORDER)),
        unread=sum(each.malformed for each in closed if each is not None),
        unproven=tuple(each.run.name for each in wanted if not runs.is_verified(each.run.id)),
    )


class _Runs:
    """What the events of runs add up to.

    Attributes:
        snapshots: By id, in the order in which the runs were found.
        lines: All log lines.
        histories: By task run id, the states that were seen.
        closed: By id, how the watch of a run ended.
        last: By id, the last event of a run.
    """

    def __init__(self) -> None:
        self.snapshots: dict[str, Snapshot] = {}
        self.lines: list[FlowRunLog] = []
        self.histories: defaultdict[str, list[State]] = defaultdict(list)
        self.closed: dict[str, Closed] = {}
        self.last: dict[str, FlowRunEvent] = {}
        self._roots: dict[str, str] = {}  # of the subflows

    def receive(self, event: FlowRunEvent) -> None:
        """Record an event."""
        run = event.flow_run_id
        snapshot = fold(self.snapshots.get(run), event)
        if snapshot is None:
            return
        self.snapshots[run] = snapshot
        self.last[run] = event
        match event:
            case RunSeen() if event.root_flow_run_id != run:
                self._roots[run] = event.root_flow_run_id
            case FlowRunLog():
                self.lines.append(event)
            case TaskRunStateChange():
                self.histories[event.task_run.id].append(event.state)
            case Closed():
                self.closed[run] = event
            case _:
                pass

    def roots(self) -> Mapping[str, Snapshot]:
        """Return the runs that are no subflows of another one in the file.

        The journal of a subflow has that run alone.
        """
        known = self.snapshots
        return {run: each for run, each in known.items() if self._roots.get(run) not in known}

    def tree_of(self, root: str) -> list[Snapshot]:
        """Return a run and its subflows, each after the run that has started it."""
        tree = [self.snapshots[root]]
        for parent in tree:  # which grows meanwhile
            task_runs = {row.id for row in parent.task_runs}
            tree += (
                each
                for run, each in self.snapshots.items()
                if run in self._roots and each.run.parent_task_run_id in task_runs
            )
        return tree

    def whole_histories(self, snapshots: Sequence[Snapshot]) -> Mapping[str, Sequence[State]]:
        """Return the states of those task runs of which each run was seen.

        Of the others the row says more: when they began and ended.
        """
        rows = (row for each in snapshots for row in each.task_runs)
        return {
            row.id: states
            for row in rows
            if (states := self.histories.get(row.id))
            and sum(state.type == "RUNNING" for state in states) >= max(row.run_count, 1)
        }

    def is_verified(self, run: str) -> bool:
        """Whether the log lines of a run were proven to be all."""
        return run in self.closed and self.closed[run].verified


def _selected(roots: Mapping[str, Snapshot], run: str | None, path: str) -> str:
    begun = "" if run is None else without_ellipsis(run).lower() or run
    found = [
        run_id for run_id, each in roots.items() if run_id.startswith(begun) or each.run.name == run
    ]
    if len(found) == 1:
        return found[0]
    listed: Sequence[str] = found or [*roots]
    known = [f"{each} ({one_line(roots[each].run.name)})" for each in listed[:_MOST_LISTED]]
    named = ", ".join(known)
    if not found:
        raise click.UsageError(f"{path} has no such run; it has {named or 'none'}.")
    raise click.UsageError(f"{path} has several runs; pass one of them as RUN: {named}.")
