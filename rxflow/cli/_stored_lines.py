"""Show the log lines that a server has of some runs, without following the runs."""

from contextlib import closing
from typing import TYPE_CHECKING

from msgspec.structs import replace

from rxflow import FlowRunLog, RunSeen
from rxflow._watching.run_filters import run_filter_of
from rxflow.cli._close_names import close_filter_question
from rxflow.cli._following import Scope, log_selection
from rxflow.cli._log_history import found_runs, read_lines, subflows_of
from rxflow.cli._names import Names
from rxflow.cli._output import report, write
from rxflow.cli._selection import SelectedRuns
from rxflow.cli._show_options import ShowOptions
from rxflow.cli._shown_lines import ShownLines, line_format
from rxflow.cli._single_reads import SingleReads
from rxflow.cli._time_limit import TimeLimit

if TYPE_CHECKING:
    from rxflow import Client

__all__ = ["show_stored_lines"]


def show_stored_lines(
    runs: SelectedRuns,
    client: "Client",
    show: ShowOptions,
    scope: Scope,
    limit: TimeLimit | None = None,
) -> None:
    """Write the log lines that there are now.

    Args:
        runs: The runs.
        client: The client of the server.
        show: Which lines are shown, and how.
        scope: What of the runs is shown.
        limit: The time limit of the command, to which the reads of the client keep.

    Raises:
        RxflowError: The server has no such run, or cannot be read from in time.
    """
    selection = log_selection(show, runs.since)
    rows = found_runs(runs.ids, runs.filters, client)
    if not rows and not show.quiet:
        question = close_filter_question(run_filter_of(**runs.filters), client)
        report(f"no flow run matches the filters{question}")
    given = {row.id for row in rows}
    if scope.children:
        rows += [row for row in subflows_of(given, client) if row.id not in given]
    root = next(iter(given)) if len(given) == 1 else None
    with closing(SingleReads(client, limit)) as reads:
        names = Names(reads)
        for row in rows:
            names.receive(RunSeen(flow_run_id=row.id, run=row))
        line = line_format(show, names, only_logs=True, tasks=False, many=root is None)
        lines = ShownLines(line, selection)
        for event in read_lines(rows, selection, client):
            rooted = event if root is None else _with_root(event, root)
            for text in lines.lines(rooted):
                write(text, unchanged=show.output != "text")
            if lines.is_full:
                return


def _with_root(line: FlowRunLog, root: str) -> FlowRunLog:
    return line if line.flow_run_id == root else replace(line, root=root)
