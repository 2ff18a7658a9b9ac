"""Sinks: what is passed on was written, what cannot be written is an error, and all is closed."""

import asyncio
import gzip
import io
import logging
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, Any, cast

import msgspec
import pytest
import reactivex as rx
from event_strategies import events
from hypothesis import given
from hypothesis import strategies as st
from loguru import logger as loguru_logger
from reactivex import Observable, abc
from reactivex import operators as ops
from reactivex.disposable import Disposable
from reactivex.subject import Subject
from virtual_world import TEST_TIMEOUT, Recording, World

import rxflow
from rxflow import (
    Closed,
    FlowRun,
    FlowRunEvent,
    FlowRunLog,
    InvalidEvent,
    RunChanged,
    RunSeen,
    SinkFailed,
    State,
    StateChange,
    Stream,
    TaskRun,
    TaskRunStateChange,
    decode_event,
    encode_event,
    sinks,
    watch_flow_run,
)

Operator = Callable[[Observable[Any]], Observable[Any]]

RUN_ID = "9e6caafc-4ea1-4493-b0a9-122efba9eaaa"
NOON = datetime(2026, 11, 22, 12, 0, 0, 123456, tzinfo=UTC)
HOSTILE = "100 % of {} {0.__class__} %s %(name)s <red>é</red> \\<b>\nnext line\n"


def line(message: str = "a line", *, level: int = 20, task_run_id: str | None = None) -> FlowRunLog:
    """A log line."""
    return FlowRunLog(
        flow_run_id=RUN_ID,
        id=f"row-{message}",
        timestamp=NOON,
        created=NOON,
        level=level,
        name="prefect.task_runs" if task_run_id else "prefect.flow_runs",
        message=message,
        task_run_id=task_run_id,
    )


STATE = State(id="state", type="FAILED", name="Failed", timestamp=NOON, message="no disk")
RUN = FlowRun(id=RUN_ID, name="amber-fox", created=NOON, updated=NOON)
TASK_RUN = TaskRun(
    id="task-run", name="load-0", task_key="load", dynamic_key="0", created=NOON, updated=NOON
)
SEEN = RunSeen(flow_run_id=RUN_ID, run=RUN)
ENTERED = StateChange(flow_run_id=RUN_ID, id="state", state=STATE)
TASK_ENTERED = TaskRunStateChange(flow_run_id=RUN_ID, id="state", state=STATE, task_run=TASK_RUN)
LINES = [line("one"), line("two"), line("three")]


class Source(Observable[Any]):
    """Items that are all emitted while it is subscribed to; it counts who comes and goes."""

    def __init__(self, *items: object) -> None:
        """Hold the items."""
        super().__init__()
        self._items = items
        self.subscribed = 0
        self.disposed = 0

    def _subscribe_core(
        self, observer: abc.ObserverBase[Any], _: abc.SchedulerBase | None = None
    ) -> abc.DisposableBase:
        self.subscribed += 1
        for item in self._items:
            observer.on_next(item)
        return Disposable(self._count)

    def _count(self) -> None:
        self.disposed += 1


class Broken(Exception):
    """What breaks in these tests."""


def told_by(observable: Observable[Any]) -> Recording[Any]:
    """What a subscription is told at once."""
    told: Recording[Any] = Recording()
    told.subscribe_to(observable)
    return told


def read(path: Path) -> list[FlowRunEvent]:
    """The events of a file."""
    with path.open("rb") as file:
        return [decode_event(text) for text in file]


def is_open(path: Path) -> bool:
    """Whether this process has the file open."""
    held: list[Path] = []
    for number in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # the one that lists them is gone by now
            held.append(number.readlink())
    return path in held


needs_proc = pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="asks Linux's /proc")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The path of a file that is not there yet."""
    return tmp_path / "run.jsonl"


# -- every sink ---------------------------------------------------------------------------------

SINKS: dict[str, Callable[[Path], Operator]] = {
    "callable": lambda _: sinks.to_callable(repr),
    "path": sinks.to_json_lines,
    "stream": lambda _: sinks.to_json_lines(io.BytesIO()),
    "loguru": lambda _: sinks.to_loguru(),
    "logging": lambda _: sinks.to_logging(),
}

each_sink = pytest.mark.parametrize("sink", SINKS)


@each_sink
def test_every_event_is_passed_on(sink: str, path: Path) -> None:
    """What goes into a sink comes out of it, the same objects in the same order, and the end."""
    told = told_by(rx.of(*LINES, ENTERED).pipe(SINKS[sink](path)))
    assert [*map(id, told.values)] == [*map(id, [*LINES, ENTERED])]
    assert told.completed


@each_sink
def test_an_error_of_the_source_is_passed_on(sink: str, path: Path) -> None:
    """An error goes through a sink as it is, after the events before it."""
    error = Broken()
    told = told_by(rx.concat(rx.of(*LINES), rx.throw(error)).pipe(SINKS[sink](path)))
    assert (told.values, told.error) == (LINES, error)


@each_sink
def test_nothing_happens_before_a_subscription(sink: str, path: Path) -> None:
    """A pipeline with a sink that nobody subscribes to asks nothing and creates nothing."""
    source = Source(*LINES)
    source.pipe(SINKS[sink](path))
    assert source.subscribed == 0
    assert not path.exists()


@each_sink
def test_the_scheduler_goes_through(sink: str, path: Path, world: World) -> None:
    """A pipeline with a sink runs on the scheduler that it is subscribed with."""
    told = world.watch(rx.timer(5.0).pipe(ops.map(lambda _: ENTERED), SINKS[sink](path)))
    assert told.events == [(5, ENTERED)]


@each_sink
def test_a_stream_stays_a_stream(sink: str, path: Path) -> None:
    """What a sink makes of a stream can be looped over, each time anew."""
    stream = Stream.of(rx.of(*LINES)).pipe(SINKS[sink](path))
    assert isinstance(stream, Stream)
    assert [*stream, *stream] == LINES * 2


@each_sink
def test_awaiting_drives_a_sink(sink: str, path: Path) -> None:
    """A pipeline with a sink can be awaited."""

    async def last() -> object:
        return await rx.of(*LINES).pipe(SINKS[sink](path))

    assert asyncio.run(last()) == LINES[-1]


# -- failure ------------------------------------------------------------------------------------


def failing_at(number: int, calls: list[object]) -> Callable[[object], None]:
    """A function that fails when it is called for the nth time."""

    def fail(item: object) -> None:
        calls.append(item)
        if len(calls) == number:
            raise Broken

    return fail


@given(length=st.integers(0, 6), number=st.integers(1, 6))
def test_what_was_passed_on_was_written(length: int, number: int) -> None:
    """A sink passes on what comes before its failure, and calls nothing after it."""
    calls: list[object] = []
    source = Source(*range(length))
    told = told_by(source.pipe(sinks.to_callable(failing_at(number, calls))))
    failed = number <= length
    assert calls == list(range(min(length, number)))
    assert told.values == list(range(number - 1 if failed else length))
    assert isinstance(told.error, Broken) is failed
    assert source.disposed == failed


def test_a_failure_is_told_once() -> None:
    """However much a source emits after a sink failed, there is one error and nothing else."""
    subject: Subject[int] = Subject()
    errors: list[Exception] = []
    completed: list[bool] = []
    subject.pipe(sinks.to_callable(failing_at(1, []))).subscribe(
        on_error=errors.append, on_completed=lambda: completed.append(True)
    )
    assert subject.observers
    subject.on_next(1)
    assert not subject.observers
    subject.on_next(2)
    subject.on_completed()
    assert [type(error) for error in errors] == [Broken]
    assert not completed


def test_a_failure_ends_the_watch_alone(world: World) -> None:
    """A sink that fails ends its watch at that event, and no other watch of the same world."""
    run_id = world.add_finished_run(lines=5)
    stream = watch_flow_run(run_id, client=world.client)
    broken = world.subscribe(stream.pipe(sinks.to_callable(failing_at(4, []))))
    well = world.subscribe(stream.pipe(sinks.to_callable(repr)))
    world.run(until=60)
    assert isinstance(broken.error, Broken)
    assert len(broken.values) == 3
    assert [channel.close_count for channel in world.channels] == [1, 1]
    assert well.completed
    assert isinstance(well.values[-1], Closed)


def test_a_failure_kills_no_thread(world: World, reported: list[BaseException | None]) -> None:
    """On the poll thread a failing sink is an error of its pipeline; the thread serves the next."""
    run_id = world.add_finished_run()
    world.run(until=3600)
    stream = watch_flow_run(run_id, client=world.client)
    let_go = threading.Event()

    def hold(_: object) -> None:
        assert let_go.wait(TEST_TIMEOUT)

    well: Recording[FlowRunEvent] = Recording()
    well.subscribe_to(stream.pipe(sinks.to_callable(hold)))  # on the thread all the while
    broken: Recording[FlowRunEvent] = Recording()
    broken.subscribe_to(stream.pipe(sinks.to_callable(failing_at(2, []))))
    let_go.set()
    broken.wait()
    well.wait()
    assert isinstance(broken.error, Broken)
    assert well.completed
    assert broken.threads == well.threads
    assert reported == []


def test_a_loop_raises_what_a_sink_raises(world: World) -> None:
    """A loop over a pipeline whose sink fails gets what was written, and then the error."""
    stream = watch_flow_run(world.add_finished_run(), client=world.client)
    seen: list[FlowRunEvent] = []
    with pytest.raises(Broken):
        seen.extend(iter_into(seen, stream.pipe(sinks.to_callable(failing_at(3, [])))))
    assert len(seen) == 2
    assert [channel.close_count for channel in world.channels] == [1]


def iter_into(seen: list[FlowRunEvent], stream: Stream[FlowRunEvent]) -> Iterator[FlowRunEvent]:
    """Put each event in a list as it comes, and give none."""
    for event in stream:
        seen.append(event)  # noqa: PERF402 - they are to be there when it raises
    yield from ()


@contextmanager
def unclosable() -> Iterator[Callable[[object], None]]:
    """A target that takes everything and cannot be closed, as on a network's disk."""
    yield lambda _: None
    raise Broken


def test_an_end_that_cannot_be_written_is_an_error() -> None:
    """Where closing the target fails, the pipeline does not complete but fails."""
    told = told_by(rx.of(1).pipe(sinks._sink(unclosable)))
    assert (told.values, told.completed) == ([1], False)
    assert isinstance(told.error, Broken)


def test_the_first_error_is_told() -> None:
    """Where the source fails and then closing the target does, the source's error is told."""
    told = told_by(rx.throw(ValueError("first")).pipe(sinks._sink(unclosable)))
    assert str(told.error) == "first"


def test_who_leaves_hears_that_closing_failed() -> None:
    """Where the target cannot be closed when a subscription is left, leaving it raises."""
    subscription = rx.never().pipe(sinks._sink(unclosable)).subscribe()
    with pytest.raises(Broken):
        subscription.dispose()


def test_a_subscription_is_left_while_its_sink_writes(reported: list[BaseException | None]) -> None:
    """Leaving in the middle of a write, from another thread, neither waits nor fails."""
    writing, go_on = threading.Event(), threading.Event()

    def write(_: object) -> None:
        writing.set()
        assert go_on.wait(TEST_TIMEOUT)

    subject: Subject[int] = Subject()
    told: Recording[int] = Recording()
    told.subscribe_to(subject.pipe(sinks.to_callable(write)))
    writer = threading.Thread(target=lambda: subject.on_next(1))
    writer.start()
    assert writing.wait(TEST_TIMEOUT)
    told.dispose()
    go_on.set()
    writer.join(TEST_TIMEOUT)
    assert (told.values, told.error, reported) == ([], None, [])


def test_retry_begins_anew() -> None:
    """After a failure a pipeline can be subscribed to again, by `retry` for instance."""
    calls: list[object] = []
    source = Source(1, 2)
    told = told_by(source.pipe(sinks.to_callable(failing_at(2, calls)), ops.retry(2)))
    assert told.values == [1, 1, 2]
    assert (source.subscribed, source.disposed) == (2, 1)


def test_a_coroutine_function_is_refused() -> None:
    """A function that would have to be awaited is refused at once, since nobody would."""

    async def store(_: object) -> None:
        """Never run."""

    with pytest.raises(TypeError, match="async for"):
        sinks.to_callable(store)


# -- files --------------------------------------------------------------------------------------


@given(written=st.lists(events(), max_size=5))
def test_a_file_holds_the_events(written: list[FlowRunEvent]) -> None:
    """Whatever the events hold, each is one line of the file, and is read from it as it was."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.jsonl"
        assert told_by(rx.of(*written).pipe(sinks.to_json_lines(path))).completed
        assert read(path) == written


def test_a_line_is_in_the_file_when_its_event_is_passed_on(path: Path) -> None:
    """Whoever is told an event finds it in the file, which is still being written."""
    found: list[list[FlowRunEvent]] = []
    source = Source(*LINES).pipe(sinks.to_json_lines(path))
    source.pipe(ops.do_action(lambda _: found.append(read(path)))).subscribe()
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
    """A file is open while its pipeline lives, and closed when it completes, fails or is left."""
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
    assert True not in ended, "closed only after the end was told"
    assert read(path) == LINES[:1]


@needs_proc
def test_a_file_is_closed_when_enough_was_seen(path: Path, world: World) -> None:
    """A watch that is cut short by `take` closes its file."""
    stream = watch_flow_run(world.add_finished_run(), client=world.client)
    taken = list(stream.pipe(sinks.to_json_lines(path), ops.take(2)))
    assert not is_open(path)
    assert read(path) == taken


@needs_proc
def test_a_file_is_closed_when_a_loop_is_left(path: Path, world: World) -> None:
    """Breaking out of a loop closes the file."""
    stream = watch_flow_run(world.add_finished_run(), client=world.client)
    for event in stream.pipe(sinks.to_json_lines(path)):
        assert is_open(path)
        assert read(path)[0] == event
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
    """Each subscription adds to the file, and what was in it before stays."""
    path.write_text("a remark\n")
    stream = rx.of(*LINES).pipe(sinks.to_json_lines(str(path)))
    stream.run()
    stream.run()
    head, *rest = path.read_bytes().splitlines()
    assert head == b"a remark"
    assert [decode_event(text) for text in rest] == LINES * 2


def test_a_second_subscription_may_begin_anew(path: Path) -> None:
    """With append=False each subscription begins an empty file, so a retry leaves no repeats."""
    path.write_text("from yesterday\n" * 99)
    calls: list[object] = []
    source = rx.of(*LINES).pipe(
        sinks.to_json_lines(path, append=False), ops.do_action(failing_at(2, calls)), ops.retry(2)
    )
    assert told_by(source).completed
    assert read(path) == LINES


@pytest.mark.parametrize("append", [True, False])
def test_two_subscriptions_share_a_file(append: bool, path: Path) -> None:
    """Two subscriptions that write to one file at the same time tear none of each other's lines."""
    sink = sinks.to_json_lines(path, append=append)
    subjects: list[Subject[Any]] = [Subject(), Subject()]
    for subject in subjects:
        subject.pipe(sink).subscribe()
    for event in LINES:
        for subject in subjects:
            subject.on_next(event)
    for subject in subjects:
        subject.on_completed()
    assert read(path) == [event for event in LINES for _ in subjects]


@given(cut=st.integers(0, 400))
def test_a_torn_line_stays_by_itself(cut: int) -> None:
    """After a file was cut off anywhere, what is added is whole, and so is all but one line."""
    whole = b"".join(encode_event(event) + b"\n" for event in LINES)
    torn = whole[: cut % (len(whole) + 1)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.jsonl"
        path.write_bytes(torn)
        rx.of(ENTERED).pipe(sinks.to_json_lines(path)).run()
        *before, last = path.read_bytes().splitlines()
    assert decode_event(last) == ENTERED
    number = torn.count(b"\n")
    assert [decode_event(text) for text in before[:number]] == LINES[:number]
    assert len(before) == len(torn.splitlines())


def test_a_line_that_was_cut_off_is_told_apart(path: Path) -> None:
    """Reading a line that was cut off raises an error that says what to do."""
    path.write_bytes(encode_event(LINES[0])[:40])
    with pytest.raises(InvalidEvent, match=r"truncated.*[Ll]eave out a line that was cut off"):
        read(path)


def test_a_killed_process_leaves_what_it_passed_on(path: Path) -> None:
    """What was passed on is in the file though the process was killed the moment after."""
    script = f"""
import os, signal
from reactivex import of
from rxflow import decode_event, sinks
event = decode_event({encode_event(ENTERED)!r})
stream = of(event, event).pipe(sinks.to_json_lines({str(path)!r}))
stream.subscribe(lambda _: os.kill(os.getpid(), signal.SIGKILL))
"""
    done = subprocess.run([sys.executable, "-c", script], check=False, timeout=TEST_TIMEOUT)
    assert done.returncode == -9
    assert read(path) == [ENTERED]


UNWRITABLE: dict[str, tuple[Callable[[Path], Path], str]] = {
    "no folder": (lambda folder: folder / "none" / "run.jsonl", "No such file or directory"),
    "a folder": (lambda folder: folder, "Is a directory"),
    "in a file": (lambda folder: file_in(folder) / "run.jsonl", "Not a directory"),
}


def file_in(folder: Path) -> Path:
    """A file."""
    (folder / "file").touch()
    return folder / "file"


@pytest.mark.parametrize("case", UNWRITABLE)
@pytest.mark.parametrize("append", [True, False])
def test_a_file_that_cannot_be_opened_is_an_error(case: str, append: bool, tmp_path: Path) -> None:
    """Subscribing raises nothing: the pipeline fails with an error that names the file and why."""
    make, reason = UNWRITABLE[case]
    source = Source(*LINES)
    path = make(tmp_path)
    told = told_by(source.pipe(sinks.to_json_lines(path, append=append)))
    assert isinstance(told.error, SinkFailed)
    assert isinstance(told.error, OSError)
    assert str(told.error) == f"Cannot write events to {str(path)!r}: {reason}"
    assert isinstance(told.error.__cause__, OSError)
    assert (source.subscribed, told.values) == (0, [])


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write it")
def test_a_file_that_may_not_be_written_is_an_error(path: Path) -> None:
    """A read-only file fails the pipeline, and stays as it is."""
    path.write_text("mine\n")
    path.chmod(0o400)
    told = told_by(rx.of(*LINES).pipe(sinks.to_json_lines(path, append=False)))
    assert str(told.error) == f"Cannot write events to {str(path)!r}: Permission denied"
    assert path.read_text() == "mine\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_an_error() -> None:
    """A disk without room fails the pipeline at the first event, with the file and the reason."""
    source = Source(*LINES)
    told = told_by(source.pipe(sinks.to_json_lines("/dev/full")))
    assert isinstance(told.error, SinkFailed)
    assert str(told.error).startswith("Cannot write events to '/dev/full': No space left on device")
    assert told.values == []
    assert source.disposed == 1
    assert not is_open(Path("/dev/full"))


def test_a_pipe_is_written_to(tmp_path: Path) -> None:
    """A named pipe, which has no end to look at, is written like a file."""
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
    """A stream of text or bytes takes the lines of any number of subscriptions, and stays open."""
    with OPENED[kind](path) as stream:
        pipeline = rx.of(*LINES).pipe(sinks.to_json_lines(stream))
        pipeline.run()
        pipeline.run()
        assert not stream.closed
    unpacked = gzip.open if kind == "gzip" else open
    with unpacked(stream.name, "rb") as file:
        assert [decode_event(text) for text in file] == LINES * 2


class Disk(io.RawIOBase):
    """A disk with room for so many bytes.

    Attributes:
        held: What it took.
    """

    name = "small disk"

    def __init__(self, room: int) -> None:
        """Begin empty."""
        self.room = room
        self.held = b""

    def writable(self) -> bool:
        """Yes."""
        return True

    def write(self, data: Any) -> int:
        """Take what there is room for; with no room left, fail as a disk does."""
        taken = bytes(data)[: self.room - len(self.held)]
        if not taken:
            raise OSError(28, "No space left on device")
        self.held += taken
        return len(taken)


@given(room=st.integers(0, 800), buffered=st.booleans())
def test_nothing_that_was_passed_on_is_lost(room: int, buffered: bool) -> None:
    """When a disk fills up, what was passed on before is on it whole, and the error says so."""
    disk = Disk(room)
    stream: Any = io.BufferedWriter(disk) if buffered else disk
    told = told_by(rx.of(*LINES).pipe(sinks.to_json_lines(stream)))
    texts = [text for text in disk.held.splitlines(keepends=True) if text.endswith(b"\n")]
    assert [decode_event(text) for text in texts] == told.values
    assert told.completed is (told.values == LINES)
    if not told.completed:
        assert isinstance(told.error, SinkFailed)
        assert "'small disk'" in str(told.error)
        assert "those that were passed on are in it" in str(told.error)
    disk.room = 10**6  # for what the buffer still holds


def test_a_closed_stream_is_an_error() -> None:
    """A stream that was closed meanwhile fails the pipeline."""
    stream = io.StringIO()
    stream.close()
    told = told_by(rx.of(*LINES).pipe(sinks.to_json_lines(stream)))
    assert isinstance(told.error, SinkFailed)
    assert "'StringIO': I/O operation on closed file" in str(told.error)


def test_a_stream_that_lacks_a_letter_is_an_error() -> None:
    """Text that the stream's encoding cannot hold fails the pipeline; nothing is left out."""
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    told = told_by(rx.of(line("plain"), line("é")).pipe(sinks.to_json_lines(stream)))
    assert [event.message for event in told.values] == ["plain"]
    assert isinstance(told.error, SinkFailed)
    assert "'ascii' codec can't encode" in str(told.error)


def test_what_is_no_event_is_an_error(path: Path) -> None:
    """Something else than an event fails the pipeline with the name of its type."""
    told = told_by(Source("text").pipe(sinks.to_json_lines(path)))
    assert isinstance(told.error, TypeError)
    assert "str is not an event" in str(told.error)


# -- loguru -------------------------------------------------------------------------------------


class Heard:
    """A loguru sink.

    Attributes:
        records: The records.
        texts: What each looks like in the format of the sink.
    """

    def __init__(self) -> None:
        """Begin with nothing heard."""
        self.records: list[Any] = []
        self.texts: list[str] = []

    def __call__(self, message: Any) -> None:
        """Keep a message."""
        self.records.append(message.record)
        self.texts.append(str(message))


@pytest.fixture
def heard() -> Iterator[Heard]:
    """Add a sink to loguru, as a user does."""
    heard = Heard()
    handler = loguru_logger.add(heard, level=0, format="{name}|{level}|{message}", catch=False)
    yield heard
    loguru_logger.remove(handler)


def to_loguru(*told: FlowRunEvent, logger: Any = None) -> Recording[Any]:
    """Write events to loguru."""
    return told_by(rx.of(*told).pipe(sinks.to_loguru(logger)))


def test_loguru_gets_time_level_and_text(heard: Heard) -> None:
    """A record has the event's time, level and text, and the name of the logger that wrote it."""
    to_loguru(line("two orders have no price", level=30), ENTERED)
    log, state = heard.records
    assert (log["name"], log["level"].name, log["level"].no) == ("prefect.flow_runs", "WARNING", 30)
    assert (log["time"], log["message"]) == (NOON, "two orders have no price")
    assert log["time"].tzinfo is not None
    assert (state["name"], state["level"].name) == ("rxflow", "ERROR")
    assert state["message"] == "Entered state Failed: no disk"
    assert log["function"] == log["file"].name == log["module"] == "<unknown>"
    assert log["line"] == 0


def test_loguru_formats_the_time_of_the_event() -> None:
    """The time formats of loguru show the event's time, to the microsecond."""
    heard = Heard()
    handler = loguru_logger.add(heard, format="{time:YYYY-MM-DD HH:mm:ss.SSSSSS!UTC}{message}")
    to_loguru(line(""))
    loguru_logger.remove(handler)
    assert heard.texts == ["2026-11-22 12:00:00.123456\n"]


@pytest.mark.parametrize("options", [{}, {"colors": True}, {"record": True}, {"lazy": True}])
def test_loguru_takes_the_message_for_text(options: dict[str, bool], heard: Heard) -> None:
    """Braces, color tags and newlines in a line come out as they are, whatever the options."""
    to_loguru(line(HOSTILE), logger=loguru_logger.opt(**options))
    assert heard.records[0]["message"] == HOSTILE
    assert heard.texts == [f"prefect.flow_runs|INFO|{HOSTILE}\n"]


def test_loguru_takes_names_for_text() -> None:
    """Names with braces and color tags in them do not disturb a colored format."""
    run = msgspec.structs.replace(RUN, name="<red>{0}")
    heard = Heard()
    handler = loguru_logger.add(
        heard, level=0, colorize=True, catch=False, format="{extra[flow_run_name]} {message}"
    )
    to_loguru(RunSeen(flow_run_id=RUN_ID, run=run), line(HOSTILE))
    loguru_logger.remove(handler)
    assert heard.texts[1] == f"<red>{{0}} {HOSTILE}\n"


LEVELS = {5: "TRACE", 20: "INFO", 25: "SUCCESS", 50: "CRITICAL", 35: "Level 35", 0: "Level 0"}


@pytest.mark.parametrize("level", LEVELS)
def test_loguru_knows_levels_by_number(level: int, heard: Heard) -> None:
    """A level that loguru has goes by its name, and any other by its number."""
    to_loguru(line(level=level))
    assert (heard.records[0]["level"].no, heard.records[0]["level"].name) == (level, LEVELS[level])


def test_loguru_has_no_level_below_zero(heard: Heard) -> None:
    """A level below zero, which loguru refuses, is zero."""
    assert to_loguru(line(level=-7)).completed
    assert heard.records[0]["level"].no == 0


DISABLED = {"as it is": [], "again": ["rxflow"], "by name": ["rxflow.sinks"]}


@pytest.mark.parametrize("names", DISABLED.values(), ids=DISABLED)
def test_a_run_is_heard_while_the_library_is_silent(names: list[str], heard: Heard) -> None:
    """A run's events reach loguru though rxflow's own log is disabled, however often and when."""
    loguru_logger.enable("rxflow")
    loguru_logger.disable("rxflow")
    for name in names:
        loguru_logger.disable(name)
    to_loguru(*LINES)
    assert [record["message"] for record in heard.records] == ["one", "two", "three"]


def test_loguru_sinks_choose_by_name_and_level() -> None:
    """A sink's level and its filter by module apply to the names that flows log with."""
    heard = Heard()
    wanted = {"": False, "prefect": "WARNING"}
    handler = loguru_logger.add(heard, level=0, filter=wanted)  # type: ignore[arg-type]
    to_loguru(line("quiet"), line("loud", level=40), ENTERED)
    loguru_logger.remove(handler)
    assert [record["message"] for record in heard.records] == ["loud"]


def test_loguru_binds_run_and_task(heard: Heard) -> None:
    """Each record says the ids of run and task run, and their names once they were told."""
    bound = loguru_logger.bind(team="data")
    to_loguru(line("early", task_run_id="task-run"), SEEN, TASK_ENTERED, logger=bound)
    to_loguru(SEEN, TASK_ENTERED, line("late", task_run_id="task-run"), ENTERED, logger=bound)
    early, _, _, _, _, late, state = (record["extra"] for record in heard.records)
    assert early == CONTEXT | {
        "team": "data",
        "kind": "log",
        "task_run_id": "task-run",
        "logger": "prefect.task_runs",
    }
    assert late == early | {"flow_run_name": "amber-fox", "task_run_name": "load-0"}
    assert state == CONTEXT | {"team": "data", "kind": "state", "flow_run_name": "amber-fox"}


CONTEXT: dict[str, str | None] = {
    "flow_run_id": RUN_ID,
    "flow_run_name": None,
    "task_run_id": None,
    "task_run_name": None,
    "logger": None,
}


def test_a_new_name_of_the_run_is_bound(heard: Heard) -> None:
    """A run that is renamed is bound by its new name from then on."""
    renamed = RunChanged(flow_run_id=RUN_ID, run=msgspec.structs.replace(RUN, name="red-fox"))
    to_loguru(SEEN, line(), renamed, line())
    names = [record["extra"]["flow_run_name"] for record in heard.records]
    assert names == ["amber-fox", "amber-fox", "red-fox", "red-fox"]


def test_runs_keep_their_names(heard: Heard) -> None:
    """In a stream of several runs each event is bound to its own."""
    other = msgspec.structs.replace(RUN, id="other", name="blue-fox")
    to_loguru(SEEN, RunSeen(flow_run_id="other", run=other), line())
    assert heard.records[2]["extra"]["flow_run_name"] == "amber-fox"


def test_a_users_patcher_still_patches(heard: Heard) -> None:
    """What the user's logger patches into records is still there."""
    patched = loguru_logger.patch(lambda record: record["extra"].update(host="h1"))
    to_loguru(line(), logger=patched)
    assert heard.records[0]["extra"]["host"] == "h1"


def test_a_failing_loguru_sink_is_an_error() -> None:
    """What a sink that was added with catch=False raises fails the pipeline."""

    def fail(_: object) -> None:
        raise Broken

    handler = loguru_logger.add(fail, catch=False)
    told = to_loguru(*LINES)
    loguru_logger.remove(handler)
    assert isinstance(told.error, Broken)
    assert told.values == []


# -- logging ------------------------------------------------------------------------------------


class Listener(logging.Handler):
    """Keeps the records."""

    def __init__(self) -> None:
        """Begin with nothing heard."""
        super().__init__()
        self.records: list[Any] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record."""
        self.records.append(record)


@pytest.fixture
def listener() -> Listener:
    """A handler."""
    return Listener()


@pytest.fixture
def flows(listener: Listener) -> Iterator[logging.Logger]:
    """A logger of a user's."""
    logger = logging.getLogger("my_flows")
    logger.setLevel(1)
    logger.propagate = False
    logger.addHandler(listener)
    yield logger
    logger.removeHandler(listener)
    logger.filters.clear()
    logger.propagate = True
    logger.setLevel(logging.NOTSET)


def to_logging(logger: logging.Logger | None, *told: FlowRunEvent) -> Recording[Any]:
    """Write events to logging."""
    return told_by(rx.of(*told).pipe(sinks.to_logging(logger)))


def test_logging_gets_time_level_and_text(flows: logging.Logger, listener: Listener) -> None:
    """A record has the event's time, level and text, and the name of the user's logger."""
    to_logging(flows, line("two orders have no price", level=30), line(level=35))
    record, odd = listener.records
    assert (record.name, record.levelno, record.levelname) == ("my_flows", 30, "WARNING")
    assert record.getMessage() == "two orders have no price"
    assert datetime.fromtimestamp(record.created, UTC) == NOON
    assert record.msecs == 123
    assert odd.levelname == "Level 35"
    formatter = logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s")
    shown = NOON.astimezone().strftime("%Y-%m-%d %H:%M:%S,123 WARNING my_flows")
    assert formatter.format(record) == f"{shown} two orders have no price"


def test_relative_time_is_that_of_the_event(flows: logging.Logger, listener: Listener) -> None:
    """Two records are as far apart in `relativeCreated` as their events are."""
    later = msgspec.structs.replace(line(), timestamp=NOON + timedelta(seconds=90))
    to_logging(flows, line(), later)
    first, second = (record.relativeCreated for record in listener.records)
    assert second - first == pytest.approx(90_000, abs=1)


def test_logging_takes_the_message_for_text(flows: logging.Logger, listener: Listener) -> None:
    """Percent signs, braces and newlines in a line come out as they are."""
    to_logging(flows, line(HOSTILE))
    assert listener.records[0].getMessage() == HOSTILE
    assert logging.Formatter("%(message)s").format(listener.records[0]) == HOSTILE


def test_logging_binds_run_and_task(flows: logging.Logger, listener: Listener) -> None:
    """Each record has the ids of run and task run, and their names once they were told."""
    to_logging(flows, line("early"), SEEN, TASK_ENTERED, line("late", task_run_id="task-run"))
    early, *_, late = listener.records
    assert {name: vars(early)[name] for name in CONTEXT} == CONTEXT | {
        "logger": "prefect.flow_runs"
    }
    text = "%(flow_run_name)s/%(task_run_name)s %(logger)s %(kind)s"
    assert logging.Formatter(text).format(late) == "amber-fox/load-0 prefect.task_runs log"


def test_names_are_learnt_from_what_is_not_logged(
    flows: logging.Logger, listener: Listener
) -> None:
    """The run's name is known though the event that told it is below the logger's level."""
    flows.setLevel(logging.INFO)
    to_logging(flows, SEEN, line())
    assert [record.flow_run_name for record in listener.records] == ["amber-fox"]


def test_the_loggers_level_and_filters_apply(flows: logging.Logger, listener: Listener) -> None:
    """What is below the logger's level, or refused by its filter, is passed on but not handled."""
    flows.setLevel(logging.WARNING)
    flows.addFilter(lambda record: vars(record)["kind"] != "state")
    told = to_logging(flows, line("quiet"), line("loud", level=40), ENTERED)
    assert [record.getMessage() for record in listener.records] == ["loud"]
    assert len(told.values) == 3


def test_a_record_factory_applies(flows: logging.Logger, listener: Listener) -> None:
    """Records are made by the factory that the user has set, even if it sets one of our names."""
    usual = logging.getLogRecordFactory()

    def factory(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = usual(*args, **kwargs)
        vars(record).update(host="h1", flow_run_id="of another")
        return record

    logging.setLogRecordFactory(factory)
    told = to_logging(flows, line())
    logging.setLogRecordFactory(usual)
    assert told.completed
    assert (listener.records[0].host, listener.records[0].flow_run_id) == ("h1", RUN_ID)


def test_without_a_logger_it_is_rxflows(listener: Listener) -> None:
    """Without a logger the records come out of the one named rxflow."""
    logger = logging.getLogger("rxflow")
    logger.addHandler(listener)
    to_logging(None, line(level=40))
    logger.removeHandler(listener)
    assert [record.name for record in listener.records] == ["rxflow"]


@pytest.mark.parametrize("part", ["handler", "filter"])
def test_a_handler_that_raises_is_an_error(part: str, flows: logging.Logger) -> None:
    """What a handler or a filter of the user raises fails the pipeline."""

    def fail(_: object) -> bool:
        raise Broken

    if part == "filter":
        flows.addFilter(fail)
    else:
        flows.handlers[0].emit = fail  # type: ignore[method-assign, assignment]
    told = to_logging(flows, *LINES)
    assert isinstance(told.error, Broken)
    assert told.values == []


def test_a_handler_of_the_standard_library_reports_by_itself(
    flows: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    """A stream handler whose stream is closed says so on stderr, and the pipeline goes on."""
    stream = io.StringIO()
    stream.close()
    handler = logging.StreamHandler(stream)
    flows.addHandler(handler)
    told = to_logging(flows, line())
    flows.removeHandler(handler)
    assert told.completed
    assert "closed file" in capsys.readouterr().err


# -- a whole run --------------------------------------------------------------------------------


def test_sinks_in_a_row_each_get_a_whole_run(
    path: Path, world: World, heard: Heard, flows: logging.Logger, listener: Listener
) -> None:
    """A watch through a file, loguru and logging tells what it tells without, and each has it."""
    run_id = world.add_finished_run(lines=5)
    task_run_id = world.server.set_task_state(run_id, None, "COMPLETED")
    world.server.log(run_id, HOSTILE, task_run_id=task_run_id)
    world.run(until=3600)
    stream = watch_flow_run(run_id, stream_tasks=True, client=world.client)
    plain = world.watch(stream).values
    piped = stream.pipe(
        sinks.to_json_lines(path), sinks.to_loguru(), sinks.to_logging(flows), ops.take_last(1)
    )
    (last,) = world.watch(piped).values
    texts = [event.message for event in plain]
    assert isinstance(last, Closed)
    assert HOSTILE in texts
    assert [event.message for event in read(path)] == texts
    assert [record["message"] for record in heard.records] == texts
    assert [record.getMessage() for record in listener.records] == texts
    assert {record.flow_run_id for record in listener.records} == {run_id}


@pytest.mark.long
def test_a_file_folds_to_the_view(path: Path, world: World) -> None:
    """The events of a file fold to the view that its last event has."""
    stream = watch_flow_run(world.add_finished_run(), client=world.client)
    stream.pipe(sinks.to_json_lines(path)).run()
    *before, closed = read(path)
    view: rxflow.Snapshot | None = None
    for event in before:
        view = rxflow.fold(view, event)
    assert isinstance(closed, Closed)
    assert closed.view == view
