"""Frames: what a browser reads, and from which event it goes on."""

import asyncio
import json
from collections.abc import AsyncGenerator, Sequence

import pytest
from hostile_lines import ALL
from sample_events import closed, entered, line, seen

from rxflow import FlowRunEvent, FlowRunLog, RunNotFound, decode_event
from rxflow.web._frames import Position, frames_of, position_of

EVENTS: list[FlowRunEvent] = [seen(), entered("Running"), line(1), line(2), closed()]
PAGES = [EVENTS[:1], EVENTS[1:4], EVENTS[4:]]
RETRY = "retry: 1000"


def frames(
    pages: Sequence[Sequence[FlowRunEvent]], received: int = 0, error: Exception | None = None
) -> list[str]:
    """The frames of a session with the key ``k3``, which may fail after its pages."""

    async def session() -> AsyncGenerator[Sequence[FlowRunEvent]]:
        for page in pages:
            yield page
        if error:
            raise error

    async def read() -> bytes:
        return b"".join([frame async for frame in frames_of(session(), "k3", received)])

    *all_frames, rest = asyncio.run(read()).decode().split("\n\n")
    assert rest == ""
    return all_frames


@pytest.mark.parametrize("received", range(len(EVENTS) + 1))
def test_each_event_is_a_frame_with_its_number(received: int) -> None:
    """A browser receives the events after those that it has, with their numbers in the session."""
    sent = [frame.split("\n") for frame in frames(PAGES, received) if frame != RETRY]
    assert [lines[0] for lines in sent] == [f"id: k3-{n}" for n in range(received + 1, 6)]
    events = [decode_event(lines[1].removeprefix("data: ")) for lines in sent]
    assert events == EVENTS[received:]


@pytest.mark.parametrize("received", [0, 3])
def test_a_browser_learns_first_when_to_reconnect(received: int) -> None:
    """The first frame has the pause before a reconnection, even where no event follows."""
    assert frames(PAGES, received)[0] == RETRY
    assert frames([EVENTS[:received]], received) == [RETRY] * bool(received)


@pytest.mark.parametrize("name", ALL)
def test_no_message_breaks_out_of_its_frame(name: str) -> None:
    """Whatever a message holds, its frame is two lines, and it comes back equal."""
    _, frame = frames([[line(1, message=ALL[name])]])
    first, second = frame.replace("\r", "\n").split("\n")
    assert first == "id: k3-1"
    again = decode_event(second.removeprefix("data: "))
    assert isinstance(again, FlowRunLog)
    assert again.message == ALL[name]


def test_a_session_that_fails_says_why() -> None:
    """The last frame is of another type, has no id, and its message is one line of JSON."""
    *_, last = frames(PAGES[:1], error=RunNotFound("no such run:\n\nid: k3-9\x1b"))
    kind, data = last.split("\n")
    assert kind == "event: failed"
    assert json.loads(data.removeprefix("data: ")) == {"message": "no such run:\n\nid: k3-9\\x1b"}


def test_a_session_that_fails_at_once_has_no_frame() -> None:
    """The error is raised, for a status that says so; not to a browser that was connected."""
    with pytest.raises(RunNotFound):
        frames([], error=RunNotFound("no such run"))
    assert frames([], received=3, error=RunNotFound("no such run"))[-1].startswith("event: failed")


@pytest.mark.parametrize(
    ("last_event_id", "position"),
    [
        ("k3-12", Position("k3", 12)),
        ("k3-0", Position("k3", 0)),
        ("", Position()),
        ("k3", Position()),
        ("k3-", Position()),
        ("k3--1", Position()),
        ("k3-1.5", Position()),
        ("k3-\N{ARABIC-INDIC DIGIT ONE}", Position()),
        ("k3-" + "9" * 400, Position()),
        ("12", Position()),
    ],
)
def test_a_browser_says_what_it_has_received(last_event_id: str, position: Position) -> None:
    """The header has a session's key and a number; any other text is nothing received."""
    assert position_of(last_event_id) == position


def test_a_position_counts_in_its_own_session_only() -> None:
    """Of another session a browser has received nothing."""
    assert Position("k3", 12).within("k3") == 12
    assert Position("k3", 12).within("other") == 0
    assert Position().within("") == 0
