"""The events of a recording, for commands that do without the error that its stream ended with."""

from collections.abc import Iterator

from rxflow import FlowRunEvent, InvalidRecording, RecordingFailed, RxflowError, replay

__all__ = ["recorded_events"]


def recorded_events(path: str) -> Iterator[FlowRunEvent]:
    """Yield the events of a recording or a journal, and end without the recorded error.

    Args:
        path: The file.

    Raises:
        InvalidRecording: The file is malformed.
        RecordingFailed: The file cannot be read.
    """
    try:
        yield from replay(path, None)
    except (InvalidRecording, RecordingFailed):
        raise
    except RxflowError:  # the watch ended so, such as at its time limit; what came before is there
        return
