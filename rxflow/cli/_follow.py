"""Follow a watch to its end: show its events, and return the status that its runs ended with."""

from collections.abc import Callable, Iterable
from contextlib import closing

from rxflow import AllClosed, Closed, FlowRunEvent
from rxflow.cli._display import Display
from rxflow.cli._exit_status import ExitStatus, status_of_state
from rxflow.cli._output import report_lines
from rxflow.cli._run_outcomes import outcome_table, status_of_outcomes

__all__ = ["follow"]


def follow(
    events: Iterable[FlowRunEvent],
    display: Display,
    *,
    tabulated: bool = True,
    suggest: Callable[[], str] = str,
) -> ExitStatus:
    """Show the events of a watch and return the exit status.

    Args:
        events: The events of a watch over one run or several, which end after the last.
        display: Shows them; it is closed afterwards.
        tabulated: Whether to write, to standard error, a table of how each of several runs ended.
        suggest: As for `outcome_sentence`.

    Returns:
        The status of the run, or of the worst one; how a subflow of theirs ended does not count.
    """
    last: FlowRunEvent | None = None
    with closing(display):
        for last in events:
            display.show(last)
    if isinstance(last, AllClosed):
        if tabulated:
            report_lines(outcome_table(last, suggest))
        return status_of_outcomes(last)
    # The run's own Closed follows those of its subflows.
    return status_of_state(last.state) if isinstance(last, Closed) else ExitStatus.FAILED
