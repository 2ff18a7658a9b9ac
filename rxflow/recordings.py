"""Record a stream with the times at which its events came, and replay it later, at any speed.

Record a night, and test a pipeline against it the next day, without a server:

    for event in rxflow.record(rxflow.watch_flow_run(run_id), "night.jsonl.gz"):
        ...

    alerts = rxflow.replay("night.jsonl.gz", speed=60).pipe(my_pipeline)
"""

import os
from typing import TypeVar

from reactivex import Observable

from rxflow._models.arguments import check_type, path_of, positive_number
from rxflow._protocol.queries import RunFilter
from rxflow._runtime.replay import replayed
from rxflow._runtime.watched_runs import WatchedRuns
from rxflow._watching.watch_spec import RunSelection, WatchSpec
from rxflow.client import Client
from rxflow.events import FlowRunEvent
from rxflow.stream import Stream
from rxflow.watch_runs import FlowRunsStream

__all__ = ["ReplayedStream", "record", "replay"]

E = TypeVar("E", bound=FlowRunEvent)

_ANY_RUNS = WatchedRuns((), RunSelection(where=RunFilter()))


class ReplayedStream(FlowRunsStream):
    """The events of a recording; made by `replay`.

    The stream is cold: each subscription and each loop reads the file from its beginning. Its parts
    (``logs``, ``states``, ``tasks``, ``notices``), ``views()``, ``by_run()``, ``for_run()`` and
    ``shared()`` are those of a watch, whether one run was recorded or many.
    """

    def __init__(self, path: str, speed: float | None, client: Client | None) -> None:
        """Create a stream; the file is opened on subscription.

        Args:
            path: The path of the file.
            speed: How many recorded seconds pass in one second; None for all at once.
            client: The client for views that read more; None finds the server when one does.

        Raises:
            TypeError: ``client`` is not a `Client`.
        """
        spec = WatchSpec(flow_run_id="")
        super().__init__(_ANY_RUNS, spec, client, replayed(path, speed))
        self._path = path

    def __repr__(self) -> str:
        """Show which file is replayed, once the stream is used."""
        return f"<ReplayedStream of {self._path!r}, not read until it is used>"


def record(
    stream: Observable[E], path: str | os.PathLike[str], *, overwrite: bool = False
) -> Stream[E]:
    """Pass the events of a stream on, and write each to a recording with the time at which it came.

    Each subscription, loop or ``await`` creates the file, with mode 0600, in a directory that
    exists. A page of events that came together is written before the first of them is passed on, so
    a loop that is left may have had fewer events than the recording. The stream's completion is
    recorded, and so is its error; a stream that is left has no end in the recording, and its replay
    completes. What was written survives the end of the process, however that was killed.

    The file is JSON Lines: a first line with the format's version and the time of the beginning,
    then one line for each event. It is compressed by gzip if its name ends in ``.gz``, and by
    Zstandard if it ends in ``.zst`` and Python 3.14 or the package ``zstandard`` is there.

    Args:
        stream: The events: a watch, or what operators have made of one.
        path: The path of the file, which must not exist.
        overwrite: Whether to replace a file that exists.

    Returns:
        A stream of the same events. It ends with `RecordingFailed`, and so does the watch behind
        it, if the file exists, or cannot be created or written, as on a full disk.

    Raises:
        RecordingFailed: There is no Zstandard for a name that ends in ``.zst``.
        TypeError: An argument is of another type. From the stream: an item is not an event.
        ValueError: No file can have this path.

    Example:
        >>> import rxflow, tempfile
        >>> from rxflow.testing import FakePrefect3
        >>> server = FakePrefect3()
        >>> run_id = server.add_run(state="COMPLETED")
        >>> watch = rxflow.watch_flow_run(run_id, drain=0, client=server.client())
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     recorded = list(rxflow.record(watch, f"{folder}/night.jsonl.gz"))
        ...     list(rxflow.replay(f"{folder}/night.jsonl.gz", speed=None)) == recorded
        True
    """
    advice = "a stream such as of rxflow.watch_flow_run"
    check_type("stream", stream, Observable, advice)
    return Stream.of(stream).record(path, overwrite=overwrite)


def replay(
    path: str | os.PathLike[str], speed: float | None = 1.0, *, client: Client | None = None
) -> ReplayedStream:
    """Emit the events of a recording again, as they came.

    No server is needed. The file is read while it is replayed, a small part at a time; one that is
    still being written is replayed as far as it goes. Where a process was killed while it wrote the
    last line, that line is left out.

    A journal (``watch_flow_run(..., journal=...)``) can be replayed as well: there each event comes
    at its own timestamp, counted from the first one, and none before one that precedes it.

    Args:
        path: The path of the file; whether it is compressed is seen from its contents.
        speed: How many recorded seconds pass in one second: 1 for real time, 60 for a minute in
            each second. None for all at once.
        client: The client for what views read beyond the recording; None finds the server from the
            environment and the active profile when a view does so.

    Returns:
        A stream of the events. It ends as the recorded one did, with its completion or with an
        error of the same class and text. An error that is not one of rxflow's is an `RxflowError`
        which names it. The stream ends with another error instead:

        - `RecordingFailed` if the file cannot be read,
        - `InvalidRecording` if it is neither a recording nor a journal, or damaged; the message
          names the line, and the events before it are emitted first.

    Raises:
        TypeError: An argument is of another type.
        ValueError: No file can have this path, or ``speed`` is not above 0.

    Example:
        >>> for event in rxflow.replay("night.jsonl.gz", speed=60):  # doctest: +SKIP
        ...     print(event)
    """
    name = path_of("path", path, "night.jsonl")
    return ReplayedStream(name, None if speed is None else positive_number("speed", speed), client)
