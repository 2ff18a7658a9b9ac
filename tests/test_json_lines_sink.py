"""`sinks.to_json_lines`: files and streams that hold every event that was passed on."""

import gzip
import io
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, cast

import pytest
import reactivex as rx
from event_strategies import events
from hypothesis import given
from hypothesis import strategies as st
from reactivex import Observable, abc
from reactivex import operators as ops
from reactivex.subject import Subject
from sink_pipelines import (
    LINES,
    STATE_CHANGE,
    Broken,
    EagerSource,
    failing_at,
    is_open,
    log_line,
    read_events,
    recording_of,
)
from virtual_world import TEST_TIMEOUT, World

import rxflow
from rxflow import (
    Closed,
    FlowRunEvent,
    InvalidEvent,
    SinkFailed,
    decode_event,
    encode_event,
    sinks,
    watch_flow_run,
)

needs_proc = pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="reads Linux's /proc")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The path of a file that does not exist yet."""
    return tmp_path / "run.jsonl"


# -- files --------------------------------------------------------------------------------------


@given(written=st.lists(events(), max_size=5))
def test_a_file_holds_the_events(written: list[FlowRunEvent]) -> None:
    """Whatever the events hold, each is one line of the file, and is read back equal."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.jsonl"
        assert recording_of(rx.of(*written).pipe(sinks.to_json_lines(path))).completed
        assert read_events(path) == written


def test_a_line_is_in_the_file_when_its_event_is_passed_on(path: Path) -> None:
    """An event that was passed on is in the file, which is still open."""
    found: list[list[FlowRunEvent]] = []
    source = EagerSource(*LINES).pipe(sinks.to_json_lines(path))
    with source.pipe(ops.do_action(lambda _: found.append(read_events(path)))).subscribe():
        assert found == [LINES[:1], LINES[:2], LINES]


ENDS: dict[str, Callable[[Subject[Any], abc.DisposableBase], object]] = {
    "completed": lambda subject, _: subject.on_completed(),
    "failed": lambda subject, _: subject.on_error(Broken()),
    "disposed of": lambda _, subscription: subscription.dispose(),
    "sink failed": lambda subject, _: subject.on_next("no event"),
}


@needs_proc
@pytest.mark.parametrize("end", ENDS)
def test_a_file_is_closed_at_the_end(end: str, path: Path) -> None:
    """A file is closed when its pipeline completes, fails or is disposed of."""
    subject: Subject[Any] = Subject()
    ended: list[object] = []

    def note(*_: object) -> None:
        ended.append(is_open(path))

    subscription = subject.pipe(sinks.to_json_lines(path)).subscribe(
        on_error=note, on_completed=note
    )
    subject.on_next(LINES[0])
    assert is_open(path)
    ENDS[end](subject, subscription)
    subscription.dispose()
    assert not is_open(path)
    assert True not in ended, "closed only after the end was emitted"
    assert read_events(path) == LINES[:1]


@needs_proc
def test_a_file_is_closed_by_take(path: Path, world: World) -> None:
    """A watch that is cut short by `take` closes its file."""
    stream = watch_flow_run(world.add_finished_run(), client=world.client)
    taken = list(stream.pipe(sinks.to_json_lines(path), ops.take(2)))
    assert not is_open(path)
    assert read_events(path) == taken


@needs_proc
def test_a_file_is_closed_when_a_loop_is_left(path: Path, world: World) -> None:
    """Breaking out of a loop closes the file."""
    stream = watch_flow_run(world.add_finished_run(), client=world.client)
    for event in stream.pipe(sinks.to_json_lines(path)):
        assert is_open(path)
        assert read_events(path)[0] == event
        break
    assert not is_open(path)


@needs_proc
def test_a_file_is_closed_when_a_subscription_is_interrupted(path: Path) -> None:
    """Ctrl-C while a source emits in `subscribe` itself closes the file."""

    def interrupted(_: object, __: object = None) -> abc.DisposableBase:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        Observable(interrupted).pipe(sinks.to_json_lines(path)).subscribe()
    assert not is_open(path)
    del caught  # whose frames held all that had not been closed


def test_a_second_subscription_appends(path: Path) -> None:
    """Each subscription appends to the file, whose contents stay."""
    path.write_text("a remark\n")
    stream = rx.of(*LINES).pipe(sinks.to_json_lines(str(path)))
    stream.run()
    stream.run()
    head, *rest = path.read_bytes().splitlines()
    assert head == b"a remark"
    assert [decode_event(text) for text in rest] == LINES * 2


def test_a_second_subscription_may_empty_the_file(path: Path) -> None:
    """With append=False each subscription empties the file, so a retry leaves no repeats."""
    path.write_text("from yesterday\n" * 99)
    calls: list[object] = []
    source = rx.of(*LINES).pipe(
        sinks.to_json_lines(path, append=False), ops.do_action(failing_at(2, calls)), ops.retry(2)
    )
    assert recording_of(source).completed
    assert read_events(path) == LINES


@pytest.mark.parametrize("append", [True, False])
def test_two_subscriptions_share_a_file(append: bool, path: Path) -> None:
    """Two subscriptions that write to one file at the same time keep each other's lines whole."""
    sink = sinks.to_json_lines(path, append=append)
    subjects: list[Subject[Any]] = [Subject(), Subject()]
    for subject in subjects:
        subject.pipe(sink).subscribe()
    for event in LINES:
        for subject in subjects:
            subject.on_next(event)
    for subject in subjects:
        subject.on_completed()
    assert read_events(path) == [event for event in LINES for _ in subjects]


@given(cut=st.integers(0, 400))
def test_a_truncated_line_stays_by_itself(cut: int) -> None:
    """In a file that was truncated anywhere, new lines are whole, as are all but one old line."""
    whole = b"".join(encode_event(event) + b"\n" for event in LINES)
    truncated = whole[: cut % (len(whole) + 1)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.jsonl"
        path.write_bytes(truncated)
        rx.of(STATE_CHANGE).pipe(sinks.to_json_lines(path)).run()
        *before, last = path.read_bytes().splitlines()
    assert decode_event(last) == STATE_CHANGE
    number = truncated.count(b"\n")
    assert [decode_event(text) for text in before[:number]] == LINES[:number]
    assert len(before) == len(truncated.splitlines())


def test_a_truncated_line_is_an_invalid_event(path: Path) -> None:
    """Reading a truncated line raises an error that says what to do."""
    path.write_bytes(encode_event(LINES[0])[:40])
    with pytest.raises(InvalidEvent, match=r"truncated.*[Ll]eave out a line that was cut off"):
        read_events(path)


def test_events_passed_on_survive_a_killed_process(path: Path) -> None:
    """An event that was passed on is in the file if the process is killed right after."""
    script = f"""
import os, signal
from reactivex import of
from rxflow import decode_event, sinks
event = decode_event({encode_event(STATE_CHANGE)!r})
stream = of(event, event).pipe(sinks.to_json_lines({str(path)!r}))
stream.subscribe(lambda _: os.kill(os.getpid(), signal.SIGKILL))
"""
    done = subprocess.run([sys.executable, "-c", script], check=False, timeout=TEST_TIMEOUT)
    assert done.returncode == -9
    assert read_events(path) == [STATE_CHANGE]


UNWRITABLE: dict[str, tuple[Callable[[Path], Path], str]] = {
    "no folder": (lambda folder: folder / "none" / "run.jsonl", "No such file or directory"),
    "a folder": (lambda folder: folder, "Is a directory"),
    "in a file": (lambda folder: create_file_in(folder) / "run.jsonl", "Not a directory"),
}


def create_file_in(folder: Path) -> Path:
    """Create a file in a folder."""
    (folder / "file").touch()
    return folder / "file"


@pytest.mark.parametrize("case", UNWRITABLE)
@pytest.mark.parametrize("append", [True, False])
def test_a_file_that_cannot_be_opened_is_an_error(case: str, append: bool, tmp_path: Path) -> None:
    """Subscribing raises nothing: the pipeline fails with an error that names file and reason."""
    make, reason = UNWRITABLE[case]
    source = EagerSource(*LINES)
    path = make(tmp_path)
    recording = recording_of(source.pipe(sinks.to_json_lines(path, append=append)))
    assert isinstance(recording.error, SinkFailed)
    assert isinstance(recording.error, OSError)
    assert str(recording.error) == f"Cannot write events to {str(path)!r}: {reason}"
    assert isinstance(recording.error.__cause__, OSError)
    assert (source.subscribed, recording.values) == (0, [])


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write it")
def test_a_read_only_file_is_an_error(path: Path) -> None:
    """A read-only file fails the pipeline, and stays as it is."""
    path.write_text("mine\n")
    path.chmod(0o400)
    recording = recording_of(rx.of(*LINES).pipe(sinks.to_json_lines(path, append=False)))
    assert str(recording.error) == f"Cannot write events to {str(path)!r}: Permission denied"
    assert path.read_text() == "mine\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_an_error() -> None:
    """A full disk fails the pipeline at the first event, with the file and the reason."""
    source = EagerSource(*LINES)
    recording = recording_of(source.pipe(sinks.to_json_lines("/dev/full")))
    assert isinstance(recording.error, SinkFailed)
    assert str(recording.error).startswith(
        "Cannot write events to '/dev/full': No space left on device"
    )
    assert recording.values == []
    assert source.disposed == 1
    assert not is_open(Path("/dev/full"))


def test_a_pipe_is_written_to(tmp_path: Path) -> None:
    """A named pipe, which has no last line to read, is written like a file."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    lines: list[bytes] = []
    reader = threading.Thread(target=lambda: lines.extend(path.read_bytes().splitlines()))
    reader.start()
    rx.of(*LINES).pipe(sinks.to_json_lines(path)).run()
    reader.join(TEST_TIMEOUT)
    assert [decode_event(text) for text in lines] == LINES


# -- streams ------------------------------------------------------------------------------------


OPENED: dict[str, Callable[[Path], IO[Any]]] = {
    "bytes": lambda path: path.open("wb"),
    "text": lambda path: path.open("w", encoding="utf-8"),
    "raw": lambda path: path.open("wb", buffering=0),
    "gzip": lambda path: cast("IO[bytes]", gzip.open(path, "wb")),  # noqa: SIM115
    "named temporary, of text": lambda path: tempfile.NamedTemporaryFile(  # noqa: SIM115
        "w+", encoding="utf-8", dir=path.parent, delete=False
    ),
}


@pytest.mark.parametrize("kind", OPENED)
def test_a_stream_is_written_and_stays_open(kind: str, path: Path) -> None:
    """A text or byte stream accepts the lines of several subscriptions, and stays open."""
    with OPENED[kind](path) as stream:
        pipeline = rx.of(*LINES).pipe(sinks.to_json_lines(stream))
        pipeline.run()
        pipeline.run()
        assert not stream.closed
    unpacked = gzip.open if kind == "gzip" else open
    with unpacked(stream.name, "rb") as file:
        assert [decode_event(text) for text in file] == LINES * 2


class SmallDisk(io.RawIOBase):
    """A disk with room for a number of bytes.

    Attributes:
        held: The bytes written to it.
    """

    name = "small disk"

    def __init__(self, room: int) -> None:
        self.room = room
        self.held = b""

    def writable(self) -> bool:
        """Return True."""
        return True

    def write(self, data: Any) -> int:
        """Write as many bytes as there is room for; with no room left, fail as a disk does."""
        written = bytes(data)[: self.room - len(self.held)]
        if not written:
            raise OSError(28, "No space left on device")
        self.held += written
        return len(written)


@given(room=st.integers(0, 800), buffered=st.booleans())
def test_no_event_passed_on_is_lost_on_a_full_disk(room: int, buffered: bool) -> None:
    """When a disk fills up, every event passed on is on it whole, and the error says so."""
    disk = SmallDisk(room)
    stream: Any = io.BufferedWriter(disk) if buffered else disk
    recording = recording_of(rx.of(*LINES).pipe(sinks.to_json_lines(stream)))
    texts = [text for text in disk.held.splitlines(keepends=True) if text.endswith(b"\n")]
    assert [decode_event(text) for text in texts] == recording.values
    assert recording.completed is (recording.values == LINES)
    if not recording.completed:
        assert isinstance(recording.error, SinkFailed)
        assert "'small disk'" in str(recording.error)
        assert "all events passed on are in it" in str(recording.error)
    disk.room = 10**6  # so that closing can flush the buffer


def test_a_closed_stream_is_an_error() -> None:
    """A stream that was closed meanwhile fails the pipeline."""
    stream = io.StringIO()
    stream.close()
    recording = recording_of(rx.of(*LINES).pipe(sinks.to_json_lines(stream)))
    assert isinstance(recording.error, SinkFailed)
    assert "'StringIO': I/O operation on closed file" in str(recording.error)


def test_a_text_that_cannot_be_encoded_is_an_error() -> None:
    """A text that the stream's encoding cannot represent fails the pipeline."""
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    recording = recording_of(
        rx.of(log_line("plain"), log_line("é")).pipe(sinks.to_json_lines(stream))
    )
    assert [event.message for event in recording.values] == ["plain"]
    assert isinstance(recording.error, SinkFailed)
    assert "'ascii' codec can't encode" in str(recording.error)


def test_an_item_that_is_not_an_event_is_an_error(path: Path) -> None:
    """An item that is not an event fails the pipeline with the name of its type."""
    recording = recording_of(EagerSource("text").pipe(sinks.to_json_lines(path)))
    assert isinstance(recording.error, TypeError)
    assert "str is not an event" in str(recording.error)


@pytest.mark.long
def test_a_file_folds_to_the_view(path: Path, world: World) -> None:
    """The events of a file fold to the snapshot that its last event holds."""
    stream = watch_flow_run(world.add_finished_run(), client=world.client)
    stream.pipe(sinks.to_json_lines(path)).run()
    *before, closed = read_events(path)
    view: rxflow.Snapshot | None = None
    for event in before:
        view = rxflow.fold(view, event)
    assert isinstance(closed, Closed)
    assert closed.view == view
