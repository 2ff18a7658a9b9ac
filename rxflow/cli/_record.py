"""Record runs as the options of a command say: nothing is shown but what the recording has."""

from collections.abc import Generator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

from rxflow import FlowRunEvent, watch_flow_run, watch_flow_runs
from rxflow._watching.run_filters import run_filter_of
from rxflow.cli._close_names import close_filter_question
from rxflow.cli._exit_status import ExitStatus
from rxflow.cli._follow import follow
from rxflow.cli._given_options import given_options
from rxflow.cli._interruption import RunsGoingOn, explained_end
from rxflow.cli._output import report
from rxflow.cli._selection import SelectedRuns
from rxflow.cli._time_limit import TimeLimit

if TYPE_CHECKING:
    from rxflow import Client
    from rxflow.stream import Stream

__all__ = ["record_runs"]


def record_runs(
    runs: SelectedRuns,
    client: "Client",
    path: str,
    *,
    overwrite: bool,
    children: bool,
    timeout: TimeLimit | None,
    push: bool,
    quiet: bool,
) -> ExitStatus:
    """Record runs until they are over, and return the status to exit with.

    Args:
        runs: The runs.
        client: The client of the server.
        path: The file of the recording.
        overwrite: Whether to replace a file that exists.
        children: Whether subflows are recorded as well.
        timeout: How long, at most; None for no limit.
        push: Whether the server may announce changes.
        quiet: Whether to write nothing but errors.

    Raises:
        RxflowError: As for `rxflow.watch_flow_runs` and `rxflow.record`.
        SystemExit: The watch was broken off, by a signal or the time limit; a sentence says so.
    """
    arguments: dict[str, Any] = {
        "stream_tasks": True,
        "subflows": children,
        "since": runs.since,
        "max_duration": None if timeout is None else timeout.rest,
        "push": "auto" if push else False,
        "client": client,
    }
    options = given_options({"output", "overwrite", "quiet"})  # else those of a watch
    stream: Stream[FlowRunEvent]
    if runs.ids is not None and len(runs.ids) == 1:
        stream = watch_flow_run(runs.ids[0], **arguments)
    else:
        stream = watch_flow_runs(**runs.arguments, **arguments)
    with (
        explained_end(runs.ids or (), command="record", options=options) as going_on,
        _counted(path, going_on, quiet=quiet) as tally,
        closing(iter(stream.record(path, overwrite=overwrite))) as events,
    ):
        return follow(
            events,
            tally,
            tabulated=not quiet,
            suggest=lambda: close_filter_question(run_filter_of(**runs.filters), client),
        )


class _Tally:
    """Counts the events in place of showing them; a `Display`."""

    def __init__(self, runs: RunsGoingOn) -> None:
        self._runs = runs
        self.events = 0

    def show(self, event: FlowRunEvent) -> None:
        """Count an event."""
        self._runs.receive(event)
        self.events += 1

    def say(self, text: str) -> None:
        """Write a sentence to standard error."""
        report(text)

    def close(self) -> None:
        """Do nothing."""


@contextmanager
def _counted(path: str, runs: RunsGoingOn, *, quiet: bool) -> Generator[_Tally]:
    """Say at the end, however it comes, what has been recorded."""
    tally = _Tally(runs)
    try:
        yield tally
    finally:
        if tally.events and not quiet:
            events = "1 event" if tally.events == 1 else f"{tally.events} events"
            report(f"recorded {events} in {path}; to show them: rxflow replay {path}")
