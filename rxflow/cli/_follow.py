"""Show a watch on standard output, event by event, until it is over."""

from collections.abc import Iterable

from rxflow import Closed, FlowRunEvent
from rxflow.cli._exit_status import ExitStatus, status_of_state
from rxflow.cli._lines import Transcript, summary
from rxflow.cli._output import write

__all__ = ["follow"]


def follow(events: Iterable[FlowRunEvent], lowest: str | None = None) -> ExitStatus:
    """Write the lines of a watch and return the exit status.

    Args:
        events: The events of a watch.
        lowest: The name of the level below which log lines are left out; None for all.
    """
    transcript = Transcript()
    for event in events:
        for line in transcript.lines(event):
            write(line)
        if isinstance(event, Closed):
            if event.view is not None:
                write("\n".join(["", *summary(event.view, event, lowest)]))
            return status_of_state(event.state)
    return ExitStatus.FAILED
