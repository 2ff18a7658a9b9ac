"""Follow a watch to its end: show its events, and return the status that its runs ended with."""

from collections.abc import Iterable
from contextlib import closing

from rxflow import AllClosed, Closed, FlowRunEvent, NoticeCode, RunOutcome
from rxflow.cli._display import Display
from rxflow.cli._exit_status import ExitStatus, status_of_state, worst

__all__ = ["follow"]


def follow(events: Iterable[FlowRunEvent], display: Display) -> ExitStatus:
    """Show the events of a watch and return the exit status.

    Args:
        events: The events of a watch over one run or several, which end after the last.
        display: Shows them; it is closed afterwards.

    Returns:
        The status of the run, or of the worst one; how a subflow of theirs ended does not count.
    """
    status = ExitStatus.FAILED
    with closing(display):
        for event in events:
            display.show(event)
            if isinstance(event, Closed):  # that of the run itself follows those of its subflows
                status = status_of_state(event.state)
            elif isinstance(event, AllClosed):
                status = worst(_status_of(run) for run in event.runs if _is_root(run))
    return status


def _is_root(run: RunOutcome) -> bool:
    return run.root_flow_run_id in {None, run.flow_run_id}


def _status_of(run: RunOutcome) -> ExitStatus:
    if run.ended_by in {NoticeCode.RUN_DELETED, NoticeCode.RUN_NOT_FOUND}:
        return ExitStatus.NOT_FOUND
    return status_of_state(run.state)
