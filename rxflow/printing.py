"""Print a run while it is watched, in the line format of Prefect 1."""

import logging
import sys
from contextlib import closing
from datetime import timedelta
from uuid import UUID

from rxflow._models.terminal_text import in_column, local_time
from rxflow.client import Client
from rxflow.events import Closed, FlowRunEvent, RunChanged, RunSeen
from rxflow.watch import watch_flow_run

__all__ = ["stream_flow_run_logs"]


def stream_flow_run_logs(
    flow_run_id: str | UUID,
    max_duration: timedelta | float | None = timedelta(hours=12),
    *,
    client: Client | None = None,
) -> None:
    r"""Print a flow run's states, log lines and notices; return when the run is over.

    A line is ``HH:MM:SS | LEVEL   | message``, in local time. Further lines of a message are
    aligned below its first, and control characters are escaped, as ``\x1b``. Late events are
    printed when they are emitted. To do more than print, loop over `watch_flow_run`.

    Args:
        flow_run_id: The run's id, a UUID.
        max_duration: Maximum time to watch a run that does not end, in seconds if a number; None
            for no limit. A run that is over is always printed to its end.
        client: The client of the server to read from; None finds the server from the environment
            and the active profile.

    Raises:
        InvalidRunId: The id is not a UUID.
        RunNotFound: The server has no such run.
        WatchTimedOut: The run was not over after ``max_duration``.
        RxflowError: As for `watch_flow_run`.
        OSError: The output cannot be written, such as `BrokenPipeError` once its reader has closed
            the pipe.

    Example:
        >>> import rxflow
        >>> rxflow.stream_flow_run_logs(flow_run_id)  # doctest: +SKIP
        12:00:03 | INFO    | Entered state Running
        12:00:04 | WARNING | 3 orders have no date
        12:00:09 | INFO    | Entered state Completed
    """
    stream = watch_flow_run(flow_run_id, max_duration=max_duration, client=client)
    with closing(iter(stream)) as events:
        for event in events:
            if not isinstance(event, RunSeen | RunChanged | Closed):
                _print(_line(event))


def _line(event: FlowRunEvent) -> str:
    time, level = local_time(event.timestamp), logging.getLevelName(event.level)
    return in_column(f"{time:%H:%M:%S} | {level:<7} ", event.message)


def _print(line: str) -> None:
    try:
        print(line, flush=True)
    except UnicodeEncodeError:  # an output with an old code page must not end the watch
        encoding = sys.stdout.encoding
        print(line.encode(encoding, "backslashreplace").decode(encoding), flush=True)
