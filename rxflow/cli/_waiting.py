"""Wait for runs: write a line of each when it is over, and return the worst status."""

from typing import TYPE_CHECKING

from rxflow import AllClosed, Closed
from rxflow._escapes import one_line
from rxflow._models.durations import short_duration
from rxflow._runtime.watched_runs import watched_runs
from rxflow._views.durations import duration
from rxflow._watching.run_filters import run_filter_of
from rxflow._watching.spec_arguments import spec_of_wait
from rxflow.cli._close_names import close_filter_question
from rxflow.cli._exit_status import ExitStatus
from rxflow.cli._given_options import given_options
from rxflow.cli._interruption import explained_end
from rxflow.cli._output import report, write
from rxflow.cli._run_outcomes import outcome_sentence, status_of_outcomes
from rxflow.cli._run_table import coloured_state
from rxflow.cli._time_limit import TimeLimit
from rxflow.watch_runs import FlowRunsStream

if TYPE_CHECKING:
    from rxflow import Client
    from rxflow.cli._selection import SelectedRuns

__all__ = ["wait_for_runs"]


def wait_for_runs(
    runs: "SelectedRuns", timeout: TimeLimit | None, client: "Client", *, quiet: bool
) -> ExitStatus:
    """Wait until runs are over.

    Args:
        runs: The runs.
        timeout: How long to wait; None for no limit.
        client: The client of the server.
        quiet: Whether to write nothing but errors.

    Returns:
        The worst status of the runs.

    Raises:
        RxflowError: As for `rxflow.wait_for_flow_runs`.
        SystemExit: The wait was broken off, by a signal or the time limit; a sentence says so.
    """
    where = run_filter_of(**runs.filters)
    watched = watched_runs(runs.ids, where)
    status = ExitStatus.NOT_FOUND
    rest = None if timeout is None else timeout.rest
    with explained_end(runs.ids or (), command="wait", options=given_options()) as going_on:
        for event in FlowRunsStream(watched, spec_of_wait("", rest), client):
            going_on.receive(event)
            if isinstance(event, Closed) and not quiet:
                write(_line(event))
            elif isinstance(event, AllClosed):
                status = status_of_outcomes(event)
                if not quiet and len(event.runs) != 1:
                    report(outcome_sentence(event, lambda: close_filter_question(where, client)))
    return status


def _line(closed: Closed) -> str:
    if closed.view is None:
        return f"{closed.flow_run_id}  not found"
    run = closed.view.run
    if not run.is_terminal:
        return f"{run.id}  deleted  {one_line(run.name)}"
    took = duration(run.start_time, run.end_time)
    shown = "-" if took is None else short_duration(took)
    return "  ".join((run.id, coloured_state(run.state), shown, one_line(run.name)))
