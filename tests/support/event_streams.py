"""Reading a stream of server-sent events as a browser does."""

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import httpx
import pytest

import rxflow


class Frame(NamedTuple):
    """One frame.

    Attributes:
        id: Its id; a browser sends the last one when it reconnects.
        kind: Its type, which is ``message`` if it names none.
        data: Its data.
    """

    id: str
    kind: str
    data: str

    @property
    def event(self) -> rxflow.FlowRunEvent:
        """The event in it."""
        return rxflow.decode_event(self.data)


@contextmanager
def event_stream(
    http: httpx.Client, path: str, last_event_id: str = ""
) -> Generator[Iterator[Frame]]:
    """Open a stream of events; disconnect at the end of the block."""
    headers = {"Last-Event-ID": last_event_id} if last_event_id else {}
    with http.stream("GET", path, headers=headers) as response:
        assert response.status_code == httpx.codes.OK, response.read()
        assert response.headers["content-type"].startswith("text/event-stream")
        yield _frames(response.iter_lines())


def _frames(lines: Iterator[str]) -> Iterator[Frame]:
    fields: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(": ")
        if line:
            fields[name] = value
            continue
        if "data" in fields:
            yield Frame(fields.get("id", ""), fields.get("event", "message"), fields["data"])
        fields = {}


def until_message(frames: Iterator[Frame], message: str) -> list[Frame]:
    """Read frames up to the one of an event with a message."""
    received: list[Frame] = []
    for frame in frames:
        received.append(frame)
        if frame.event.message == message:
            return received
    pytest.fail(f"it ended without {message!r}: {received}")


def messages(frames: list[Frame]) -> list[str]:
    """The messages of the events of frames, without those that only watching has."""
    return [
        frame.event.message
        for frame in frames
        if isinstance(frame.event, rxflow.StateChange | rxflow.FlowRunLog)
    ]
