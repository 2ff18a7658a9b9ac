"""Printing: the lines of a run in Prefect 1's format, printed while the run is watched."""

import io
import re
from collections.abc import Callable
from contextlib import redirect_stdout
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from virtual_world import World

import rxflow
from rxflow import stream_flow_run_logs
from rxflow.testing import FakePrefect1, FakePrefect3, VirtualTime

LINE = re.compile(r"\d\d:\d\d:\d\d \| (.{7,}?) \| (.*)")


class Scene:
    """A server with a run that is running, in virtual time."""

    def __init__(self, fake: Callable[..., Any] = FakePrefect3) -> None:
        self.time = VirtualTime(datetime(2026, 11, 22, 12, tzinfo=UTC))
        self.server = fake(clock=self.time)
        self.names = ("Running", "Success") if fake is FakePrefect1 else ("RUNNING", "COMPLETED")
        self.run = self.server.add_run(name="nightly", state=self.names[0])

    def end(self, state: str | None = None, *, ago: float = 3600) -> None:
        """End the run, some seconds ago."""
        self.server.set_state(self.run, state or self.names[1])
        self.time.wait(ago)

    def print(self, **options: Any) -> list[str]:
        """Print the run and return the lines of the output."""
        out = io.StringIO()
        with redirect_stdout(out):
            stream_flow_run_logs(self.run, client=self.server.client(), **options)
        *lines, rest = out.getvalue().split("\n")
        assert rest == ""
        return lines


def parts(lines: list[str]) -> list[tuple[str, str]]:
    """The level and the message of each line."""
    found = [LINE.fullmatch(line) for line in lines]
    return [(match[1], match[2]) for match in found if match]


def clock(time: datetime) -> str:
    """A time in the format of the output."""
    return f"{time.astimezone():%H:%M:%S}"


@pytest.mark.parametrize("fake", [FakePrefect1, FakePrefect3])
def test_states_and_log_lines_are_printed_to_the_end(fake: Callable[..., Any]) -> None:
    """States and log lines are printed, each with its local time, and nothing else is."""
    scene = Scene(fake)
    began = scene.time()
    scene.time.wait(61)
    scene.server.log(scene.run, "120 orders read")
    scene.time.wait(1)
    scene.end()
    running, over = (name.title() for name in scene.names)
    assert scene.print() == [
        f"{clock(began)} | INFO    | Entered state {running}",
        f"{clock(began + timedelta(seconds=61))} | INFO    | 120 orders read",
        f"{clock(began + timedelta(seconds=62))} | INFO    | Entered state {over}",
    ]


def test_a_level_is_printed_by_name() -> None:
    """Names are padded to seven characters; a level without a name is printed by its number."""
    scene = Scene()
    for level in (10, 20, 25, 30, 40, 50, 0):
        scene.server.log(scene.run, f"at {level}", level=level)
    scene.end("FAILED")
    assert parts(scene.print())[1:] == [
        ("DEBUG  ", "at 10"),
        ("INFO   ", "at 20"),
        ("Level 25", "at 25"),
        ("WARNING", "at 30"),
        ("ERROR  ", "at 40"),
        ("CRITICAL", "at 50"),
        ("NOTSET ", "at 0"),
        ("ERROR  ", "Entered state Failed"),
    ]


def test_further_lines_of_a_message_are_aligned_below_its_first() -> None:
    """No line of a message looks like another event."""
    scene = Scene()
    scene.server.log(scene.run, "Traceback:\r\n  File\n12:00:00 | INFO    | Entered state X\n")
    scene.end()
    lines = scene.print()[1:-1]
    column = lines[0].rindex("|")
    assert [line[column:] for line in lines] == [
        "| Traceback:",
        "|   File",
        "| 12:00:00 | INFO    | Entered state X",
    ]
    assert [line[:column].strip() for line in lines[1:]] == ["", ""]


@given(st.text(st.characters(codec="utf-8")))
def test_no_control_character_is_printed(message: str) -> None:
    """Control and direction characters of a message are escaped."""
    scene = Scene()
    scene.server.log(scene.run, message)
    scene.end()
    lines = scene.print()
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", "".join(lines))
    assert len(parts(lines)) >= 3


def test_a_character_that_the_encoding_lacks_is_escaped() -> None:
    """A character that is not in the encoding of the output does not end the watch."""
    scene = Scene()
    scene.server.log(scene.run, "schön, 漢字")
    scene.end()
    out = io.TextIOWrapper(io.BytesIO(), encoding="latin-1")
    with redirect_stdout(out):
        stream_flow_run_logs(scene.run, client=scene.server.client())
    out.seek(0)
    lines = out.read().splitlines()
    assert lines[1].endswith("| INFO    | schön, \\u6f22\\u5b57")
    assert lines[2].endswith("| Entered state Completed")


class Live(Scene):
    """A run that goes on while it is printed: each request takes 4 s of virtual time."""

    def __init__(self) -> None:
        super().__init__()
        self.out = io.StringIO()
        self.seen: list[int] = []
        self.server.intercept = self.pass_time

    def pass_time(self, request: httpx.Request) -> None:
        """Advance the time and record how many lines were printed until then."""
        del request
        self.time.wait(4)
        self.seen.append(len(self.out.getvalue().splitlines()))

    def watch(self) -> list[tuple[str, str]]:
        """Print the run to its end."""
        with redirect_stdout(self.out):
            stream_flow_run_logs(self.run, client=self.server.client())
        return parts(self.out.getvalue().splitlines())


def test_a_run_is_printed_while_it_is_watched() -> None:
    """Events are printed before the next request, and a late line when it is emitted."""
    live = Live()
    server, run, began = live.server, live.run, live.time()
    server.at(9, lambda: server.log(run, "first"))
    server.at(20, lambda: server.log(run, "late", timestamp=began + timedelta(seconds=1)))
    server.at(21, lambda: server.set_state(run, "COMPLETED"))
    assert [message for _, message in live.watch()] == [
        "Entered state Running",
        "first",
        "late",
        "Entered state Completed",
    ]
    assert any(0 < lines < 4 for lines in live.seen)
    assert live.seen == sorted(live.seen)


def test_notices_are_printed() -> None:
    """A notice of the watch is printed as a warning."""
    live = Live()
    server, run = live.server, live.run
    server.set_state(run, "PENDING")
    live.time.wait(60)
    server.at(10, lambda: server.set_state(run, "COMPLETED"))
    warnings = [message for level, message in live.watch() if level == "WARNING"]
    assert len(warnings) == 1
    assert warnings[0].startswith("Flow run 'nightly' is late: it has no work pool")


def test_a_run_that_outlasts_max_duration_is_an_error() -> None:
    """The events until then are printed before the error is raised."""
    scene = Scene()
    out = io.StringIO()
    with redirect_stdout(out), pytest.raises(rxflow.WatchTimedOut):
        stream_flow_run_logs(scene.run, timedelta(0), client=scene.server.client())
    assert parts(out.getvalue().splitlines()) == [("INFO   ", "Entered state Running")]


def test_an_unknown_run_is_an_error_of_the_call() -> None:
    """The call raises for a run that does not exist, and for an id that is not a UUID."""
    client = FakePrefect3().client()
    with pytest.raises(rxflow.RunNotFound):
        stream_flow_run_logs("9e6caafc-4ea1-4493-b0a9-122efba9eaaa", client=client)
    with pytest.raises(rxflow.InvalidRunId):
        stream_flow_run_logs("nightly", client=client)


def test_a_closed_output_ends_the_watch() -> None:
    """The error of the output is raised to the caller, and the watch sends no further request."""

    class Closed(io.StringIO):
        def write(self, text: str, /) -> int:
            raise BrokenPipeError(text)

    world = World()
    run = world.server.add_run(state="RUNNING")
    for number in range(400):
        world.server.log(run, str(number))
    # The reference to the error keeps its frames alive, as a caller's does.
    with redirect_stdout(Closed()), pytest.raises(BrokenPipeError) as caught:
        stream_flow_run_logs(run, client=world.client)
    assert [channel.close_count for channel in world.channels] == [1]
    assert [path for _, path in world.server.requests].count("/logs/filter") == 1
    assert caught.value.__traceback__
