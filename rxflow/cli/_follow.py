"""Follow a watch to its end: show its events, and return the status that its runs ended with."""

from collections.abc import Iterable
from contextlib import closing

from rxflow import AllClosed, Closed, FlowRunEvent
from rxflow.cli._display import Display
from rxflow.cli._exit_status import ExitStatus, status_of_state
from rxflow.cli._output import report
from rxflow.cli._run_outcomes import outcome_table, status_of_outcomes

__all__ = ["follow"]


def follow(events: Iterable[FlowRunEvent], display: Display) -> ExitStatus:
    """Show the events of a watch, report how several runs ended, and return the exit status.

    Args:
        events: The events of a watch over one run or several, which end after the last.
        display: Shows them; it is closed afterwards.

    Returns:
        The status of the run, or of the worst one; how a subflow of theirs ended does not count.
    """
    status = ExitStatus.FAILED
    table: Iterable[str] = ()
    with closing(display):
        for event in events:
            display.show(event)
            if isinstance(event, Closed):  # that of the run itself follows those of its subflows
                status = status_of_state(event.state)
            elif isinstance(event, AllClosed):
                status, table = status_of_outcomes(event), outcome_table(event)
    if lines := "\n".join(table):
        report(lines)
    return status
