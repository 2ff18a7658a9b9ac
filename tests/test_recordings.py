"""`record` and `replay`: what was recorded comes again, on every face, at its time or at once."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from functools import partial
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import reactivex
from event_strategies import events
from hypothesis import given
from hypothesis import strategies as st
from journal_files import largest_file
from reactivex import operators as ops
from recording_files import HEADER, line_of, lines_of, timed
from sample_events import OTHER, RUN, all_closed, closed, entered, line, notice, seen
from sink_pipelines import is_open
from stream_faces import collect_async
from virtual_world import TEST_TIMEOUT, Recording

import rxflow
from rxflow import (
    FlowRunEvent,
    FlowRunView,
    NoticeCode,
    RecordingFailed,
    RunNotFound,
    RxflowError,
    Stream,
    Unreachable,
    record,
    replay,
)
from rxflow.testing import FakePrefect3, VirtualTime

NIGHT: list[FlowRunEvent] = [
    seen(),
    entered("Running", 1),
    line(2, "first"),
    line(3, "second"),
    notice(NoticeCode.DEGRADED, 4),
    entered("Completed", 5),
    closed(6),
]
MISSING = "00000000-0000-4000-8000-000000000000"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The path of a recording that does not exist yet."""
    return tmp_path / "night.jsonl"


@pytest.fixture
def night(path: Path) -> Path:
    """A recording of seven events, all of which came at once."""
    assert list(record(reactivex.from_iterable(NIGHT), path)) == NIGHT
    return path


def recorded_watch(path: Path) -> Stream[FlowRunEvent]:
    """Return a watch of a run that is over, which is recorded."""
    server = FakePrefect3()
    run = server.add_run(state="RUNNING")
    server.set_state(run, "COMPLETED")
    return rxflow.watch_flow_run(run, drain=0, client=server.client()).record(path)


def in_virtual_time(stream: reactivex.Observable[FlowRunEvent]) -> Recording[FlowRunEvent]:
    """Subscribe in virtual time, and return what was emitted when, to the end."""
    time = VirtualTime()
    recording: Recording[FlowRunEvent] = Recording(lambda: time.seconds)
    recording.subscribe_to(stream, time)
    while recording.ended is None:
        time.advance_by(10.0)
    return recording


def by_subscription(stream: Stream[FlowRunEvent]) -> list[FlowRunEvent]:
    """Subscribe without a scheduler, and return all events."""
    recording: Recording[FlowRunEvent] = Recording()
    recording.subscribe_to(stream)
    recording.wait()
    if recording.error is not None:
        raise recording.error
    return recording.values


def to_the_end(stream: Stream[FlowRunEvent]) -> tuple[list[FlowRunEvent], Exception | None]:
    """Return all events of a loop, and the error that it ended with."""
    taken: list[FlowRunEvent] = []
    try:
        taken.extend(stream)
    except RxflowError as error:
        return taken, error
    return taken, None


def by_pages(stream: Stream[FlowRunEvent]) -> list[FlowRunEvent]:
    """Iterate the pages, and return their events."""
    return [event for page in stream.pages() for event in page]


FACES: dict[str, Callable[[Stream[FlowRunEvent]], list[FlowRunEvent]]] = {
    "loop": list,
    "async loop": collect_async,
    "subscription": by_subscription,
    "pages": by_pages,
}
each_face = pytest.mark.parametrize("face", FACES.values(), ids=FACES)
each_name = pytest.mark.parametrize("name", ["night.jsonl", "night.jsonl.gz"])


# -- the same again -------------------------------------------------------------------------------


@each_face
@each_name
def test_each_face_records_what_it_passes_on_and_replays_it(
    face: Callable[[Stream[FlowRunEvent]], list[FlowRunEvent]], name: str, tmp_path: Path
) -> None:
    """The events of a watch are passed on as they are, and those of the replay equal them."""
    server = FakePrefect3()
    run = server.add_run(state="RUNNING")
    for number in range(300):
        server.log(run, f"line {number}")
    server.set_state(run, "COMPLETED")
    watch = rxflow.watch_flow_run(run, drain=0, client=server.client())
    passed_on = face(watch.record(tmp_path / name))
    assert len(passed_on) > 300
    assert face(replay(tmp_path / name, speed=None)) == passed_on
    assert face(replay(tmp_path / name, speed=1e6)) == passed_on


MOMENTS = st.lists(
    st.tuples(st.integers(0, 10**10).map(lambda number: number / 1e6), events()), max_size=8
).map(lambda moments: sorted(moments, key=lambda moment: moment[0]))


@given(
    moments=MOMENTS,
    pause=st.integers(0, 10**9).map(lambda number: number / 1e6),
    error=st.none() | st.text().map(Unreachable),
    name=st.sampled_from(["a.jsonl", "a.jsonl.gz"]),
)
def test_a_replay_in_virtual_time_equals_what_was_recorded(
    moments: list[tuple[float, FlowRunEvent]], pause: float, error: Exception | None, name: str
) -> None:
    """Any events, at any times, end as the recorded stream did: with equal times and errors."""
    ends_at = pause + (moments[-1][0] if moments else 0.0)
    source = timed(moments, ends_at=ends_at, error=error)
    with TemporaryDirectory() as folder:
        recorded = in_virtual_time(record(source, f"{folder}/{name}"))
        again = in_virtual_time(replay(f"{folder}/{name}"))
    assert again.values == recorded.values == [event for _, event in moments]
    assert [at for at, _ in again.events] == pytest.approx(
        [at for at, _ in recorded.events], abs=2e-6
    )
    assert again.ended == pytest.approx(recorded.ended, abs=2e-6)
    assert (type(again.error), str(again.error)) == (type(recorded.error), str(recorded.error))
    assert again.completed == recorded.completed


@pytest.mark.parametrize(("speed", "expected"), [(1, 100.0), (50, 2.0), (0.5, 200.0), (None, 0.0)])
def test_the_speed_says_how_fast_recorded_seconds_pass(
    speed: float | None, expected: float, path: Path
) -> None:
    """At a speed of 50, what came after 100 s comes after 2 s; at once, it does not wait."""
    in_virtual_time(record(timed([(100.0, line())], ends_at=200.0), path))
    again = in_virtual_time(replay(path, speed))
    assert again.values == [line()]
    assert again.events[0][0] == pytest.approx(expected, abs=1e-5)
    assert again.ended == pytest.approx(2 * expected, abs=1e-5)


def test_a_slow_consumer_delays_no_later_event(path: Path) -> None:
    """Times count from the subscription: what is due while the consumer is busy comes at once."""
    moments = [(float(second), line(second)) for second in (1, 2, 3, 10)]
    in_virtual_time(record(timed(moments, ends_at=11.0), path))
    time = VirtualTime()
    came: list[float] = []

    def receive(_: FlowRunEvent) -> None:
        came.append(time.seconds)
        if len(came) == 1:
            time.wait(5)

    replay(path).subscribe(receive, scheduler=time)
    time.advance_by(20.0)
    assert came == pytest.approx([1.0, 6.0, 6.0, 10.0], abs=1e-5)


def test_a_pause_of_any_length_is_waited_for(path: Path) -> None:
    """What comes after more seconds than a timer can have does not end the replay."""
    path.write_bytes(HEADER + line_of(0, line()) + line_of(1e9, line(1)))
    time = VirtualTime()
    recording: Recording[FlowRunEvent] = Recording()
    recording.subscribe_to(replay(path, 1e-9), time)
    time.advance_by(10_000.0)
    assert (recording.values, recording.ended) == ([line()], None)
    assert is_open(path)
    recording.dispose()


def test_each_subscription_replays_from_the_beginning(night: Path) -> None:
    """A replay is cold: two loops over one stream have the same events."""
    stream = replay(night, None)
    assert list(stream) == list(stream) == NIGHT


def test_a_replay_that_is_left_ends_and_closes_the_file(night: Path) -> None:
    """After `take` and after a broken loop no file is open."""
    assert list(replay(night, None).pipe(ops.take(2))) == NIGHT[:2]
    assert not is_open(night)
    with closing(iter(replay(night, 1))) as loop:
        assert list(islice(loop, 2)) == NIGHT[:2]
        assert is_open(night)
    assert not is_open(night)


# -- as a watch -----------------------------------------------------------------------------------


def test_parts_and_views_are_those_of_a_watch(tmp_path: Path) -> None:
    """Log lines, states, notices and snapshots of a replay equal those of the watch."""
    server = FakePrefect3()
    run = server.add_run(state="RUNNING")
    server.add_task_run(run, task_key="load", state="COMPLETED")
    server.log(run, "a line")
    server.set_state(run, "COMPLETED")
    watch = rxflow.watch_flow_run(run, drain=0, stream_tasks=True, client=server.client())
    list(watch.record(tmp_path / "a.jsonl"))
    again = replay(tmp_path / "a.jsonl", None)

    def views(stream: Any) -> list[tuple[Any, ...]]:
        return [(view.state, view.states, view.updated_at) for view in stream.views()]

    assert list(again.logs) == list(watch.logs)
    assert list(again.tasks) == list(watch.tasks)
    assert [event.kind for event in again.notices] == ["run-seen", "closed"]
    assert views(again) == views(watch)
    assert list(again.for_run(run)) == list(again)


def test_a_replay_is_divided_by_its_runs(path: Path) -> None:
    """`by_run` has a stream of each run, whose end is its `Closed`."""
    whole: list[FlowRunEvent] = [
        *(seen(), seen(run=OTHER), line(1), closed(2, run=OTHER), line(3), closed(4)),
        all_closed(5),
    ]
    list(record(reactivex.from_iterable(whole), path))
    divided = {run.flow_run_id: list(run) for run in replay(path, None).by_run()}
    assert divided == {
        run: [event for event in whole if event.flow_run_id == run] for run in (RUN, OTHER)
    }


def test_a_run_that_went_on_after_its_end_does_so_in_the_replay(path: Path) -> None:
    """The stream of a run ends with its first `Closed`, and the next one begins after that."""
    whole: list[FlowRunEvent] = [seen(), closed(1), seen(), line(2), closed(3)]
    list(record(reactivex.from_iterable(whole), path))
    assert list(replay(path, None).for_run(RUN)) == whole[:2]
    assert [list(run) for run in replay(path, None).by_run()] == [whole[:2], whole[2:]]


def test_a_replay_needs_no_server(night: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any setting a replay, its parts, its views and its runs can be read."""
    monkeypatch.setenv("PREFECT_HOME", str(night.parent / "none"))
    monkeypatch.setenv("HOME", str(night.parent / "none"))
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    stream = replay(night, None).shared()
    assert len(list(stream.logs)) == 2
    assert all(isinstance(view, FlowRunView) for view in stream.views())
    assert [len(list(run.logs)) for run in stream.by_run()] == [2]


# -- how a recording ends -------------------------------------------------------------------------


def test_the_error_of_a_watch_is_the_error_of_its_replay(path: Path) -> None:
    """A run that there was none of is not found in the replay either, with the same words."""
    watch = rxflow.watch_flow_run(MISSING, client=FakePrefect3().client())
    with pytest.raises(RunNotFound) as first:
        list(record(watch, path))
    with pytest.raises(RunNotFound) as second:
        list(replay(path))
    assert str(second.value) == str(first.value)
    assert [*lines_of(path)[-1]["error"]] == ["type", "message"]


def test_an_error_that_is_not_of_rxflow_is_named(path: Path) -> None:
    """An error of a pipeline before `record` comes as an `RxflowError` with its class."""
    broken = reactivex.concat(
        reactivex.of(line()), reactivex.throw(LookupError("\ud800 no such column"))
    )
    with pytest.raises(LookupError):
        list(record(broken, path))
    with pytest.raises(RxflowError, match=r"^LookupError: . no such column$") as raised:
        list(replay(path, None))
    assert type(raised.value) is RxflowError


def test_a_stream_that_is_left_has_no_end_in_its_recording(path: Path) -> None:
    """Its replay completes after the events that were recorded."""
    with closing(iter(recorded_watch(path))) as loop:
        first = next(loop)
    assert not {"error", "completed"} & {key for entry in lines_of(path) for key in entry}
    events = list(replay(path, None))
    assert events[0] == first
    assert len(events) == len(lines_of(path)) - 1


def test_what_a_consumer_raises_is_not_recorded(path: Path) -> None:
    """An error of the observer ends the watch, and is no error of the stream."""
    time = VirtualTime()
    server = FakePrefect3(clock=time)
    run = server.add_run(state="COMPLETED")

    def fail(_: FlowRunEvent) -> None:
        raise ZeroDivisionError

    errors: list[Exception] = []
    stream = rxflow.watch_flow_run(run, client=server.client()).record(path)
    stream.subscribe(fail, errors.append, scheduler=time)
    time.advance_by(60.0)
    assert [type(error) for error in errors] == [ZeroDivisionError]
    assert "error" not in lines_of(path)[-1]


def test_a_run_is_recorded_as_far_as_a_killed_process_came(path: Path) -> None:
    """SIGKILL between two events loses neither of those before it, compressed or not."""
    script = (
        "import os, signal, sys, rxflow, reactivex\n"
        "sys.path.insert(0, sys.argv[2])\n"
        "from sample_events import line\n"
        "source = reactivex.from_iterable(line(number) for number in range(9))\n"
        "for event in rxflow.record(source, sys.argv[1]):\n"
        "    if event == line(5): os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    for target in (path, path.with_suffix(".jsonl.gz")):
        support = Path(__file__).parent / "support"
        done = subprocess.run(
            [sys.executable, "-c", script, str(target), str(support)],
            check=False,
            timeout=TEST_TIMEOUT,
        )
        assert done.returncode == -signal.SIGKILL
        events = list(replay(target, None))
        assert events[:6] == [line(number) for number in range(6)]


# -- while it goes on -----------------------------------------------------------------------------


def test_what_is_written_can_be_replayed_while_the_recording_goes_on(path: Path) -> None:
    """Each event is in the file before it is passed on, compressed or not."""
    for target in (path, path.with_suffix(".jsonl.gz")):
        found: list[list[FlowRunEvent]] = []
        moments = [(float(second), line(second)) for second in range(1, 4)]
        stream = record(timed(moments, ends_at=9.0), target)
        in_virtual_time(stream.do_action(partial(_read_into, found, target)))
        assert found == [[line(1)], [line(1), line(2)], [line(1), line(2), line(3)]]


def _read_into(found: list[list[FlowRunEvent]], path: Path, _: FlowRunEvent) -> None:
    found.append(list(replay(path, None)))


def test_a_cancelled_loop_ends_a_replay_that_waits(path: Path) -> None:
    """A cancellation ends an ``async for`` that waits for an event of the next hour."""
    path.write_bytes(HEADER + line_of(0, line()) + line_of(3600, line()))

    async def main() -> list[FlowRunEvent]:
        taken: list[FlowRunEvent] = []
        came = asyncio.Event()

        async def read() -> None:
            async for event in replay(path):
                taken.append(event)
                came.set()

        task = asyncio.create_task(read())
        async with asyncio.timeout(TEST_TIMEOUT):
            await came.wait()
            task.cancel()
            await asyncio.wait([task])
        assert task.cancelled()
        return taken

    assert asyncio.run(main()) == [line()]


def test_ctrl_c_ends_a_loop_that_waits(path: Path, interruptible: None) -> None:
    """A blocking loop that waits for an event of the next hour is interrupted at once."""
    del interruptible
    path.write_bytes(HEADER + line_of(0, line()) + line_of(3600, line()))
    script = (
        "import sys, rxflow\n"
        "try:\n"
        "    for event in rxflow.replay(sys.argv[1]): print(event.kind, flush=True)\n"
        "except KeyboardInterrupt: print('interrupted')\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "log\n"
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=TEST_TIMEOUT)[0] == "interrupted\n"


# -- files ----------------------------------------------------------------------------------------


@each_name
def test_a_recording_is_for_its_owner_alone(name: str, tmp_path: Path) -> None:
    """The file is created with mode 0600, and begins with the version and the wall clock."""
    list(record(reactivex.from_iterable(NIGHT), tmp_path / name))
    assert (tmp_path / name).stat().st_mode & 0o777 == 0o600
    header, *_, last = lines_of(tmp_path / name)
    assert header["rxflow_recording"] == 1
    assert header["started"].endswith("Z")
    assert last["completed"] is True


def test_an_existing_file_is_replaced_only_if_that_was_said(night: Path) -> None:
    """Without ``overwrite`` the stream ends with an error, and the file is unchanged."""
    before = night.read_bytes()
    with pytest.raises(RecordingFailed, match=r"exists; .*overwrite=True"):
        list(record(reactivex.of(line()), night))
    assert night.read_bytes() == before
    assert list(record(reactivex.of(line()), night, overwrite=True)) == [line()]
    assert list(replay(night, None)) == [line()]


def test_a_recording_under_way_is_not_overwritten(path: Path) -> None:
    """A second recording of the same file is refused as long as the first one writes it."""
    with closing(iter(recorded_watch(path))) as loop:
        first = next(loop)
        with pytest.raises(RecordingFailed, match="is being written by another one"):
            list(record(reactivex.of(line()), path, overwrite=True))
    assert next(iter(replay(path, None))) == first
    list(record(reactivex.of(line()), path, overwrite=True))


def test_a_file_that_cannot_be_created_is_an_error(tmp_path: Path) -> None:
    """The error names the file and what the system says."""
    with pytest.raises(RecordingFailed, match=r"no/night.jsonl' cannot be created: No such file"):
        list(record(reactivex.of(line()), tmp_path / "no" / "night.jsonl"))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_an_error_at_once() -> None:
    """Nothing is passed on that was not recorded, and the error says that the disk is full."""
    passed_on, error = to_the_end(record(reactivex.of(line()), "/dev/full", overwrite=True))
    assert isinstance(error, RecordingFailed)
    assert error.is_full
    assert "'/dev/full' cannot be written: No space left on device" in str(error)
    assert passed_on == []


@each_name
def test_a_disk_that_fills_up_ends_the_watch(name: str, tmp_path: Path) -> None:
    """The recording has all events that were passed on, each whole."""
    server = FakePrefect3()
    run = server.add_run(state="RUNNING")
    for _ in range(500):
        server.log(run, os.urandom(50).hex())
    server.set_state(run, "COMPLETED")
    stream = rxflow.watch_flow_run(run, client=server.client()).record(tmp_path / name)
    with largest_file(40_000):
        passed_on, error = to_the_end(stream)
    assert isinstance(error, RecordingFailed)
    assert error.is_full
    assert 0 < len(passed_on) < 500
    assert list(replay(tmp_path / name, None)) == passed_on


@each_name
def test_a_forked_child_leaves_the_recording_alone(name: str, tmp_path: Path) -> None:
    """A child that continues a loop has an error, and the recording neither that nor an end."""
    path = tmp_path / name
    with closing(iter(recorded_watch(path))) as loop:
        next(loop)
        child = os.fork()
        if child == 0:
            try:
                list(loop)
            except rxflow.WatchInherited:
                os._exit(7)
            os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        rest = list(loop)
    assert [entry for entry in lines_of(path) if "error" in entry] == []
    assert len(list(replay(path, None))) == 1 + len(rest)


# -- arguments ------------------------------------------------------------------------------------


@pytest.mark.parametrize("speed", [0, -1, float("nan"), float("inf"), 10**400])
def test_a_speed_is_above_zero(speed: float) -> None:
    """A speed at which no time would pass, or all, is refused at the call."""
    with pytest.raises(ValueError, match=r"speed=.* is not a number above 0"):
        replay("night.jsonl", speed)


@pytest.mark.parametrize("speed", ["60", True, [1]])
def test_a_speed_is_a_number(speed: Any) -> None:
    """Text, a truth or a list is no speed."""
    with pytest.raises(TypeError, match=r"speed=.* is not a number above 0"):
        replay("night.jsonl", speed)


@pytest.mark.parametrize("call", [replay, lambda path: record(reactivex.of(line()), path)])
def test_a_path_is_text_or_a_path(call: Callable[[Any], Any]) -> None:
    """Bytes, nothing and what no file can be named are refused at the call."""
    for other in (b"night.jsonl", None, 7):
        with pytest.raises(TypeError, match="path"):
            call(other)
    for text in ("", "a\0b"):
        with pytest.raises(ValueError, match="is not a path"):
            call(text)


def test_what_is_recorded_is_a_stream_of_events(path: Path) -> None:
    """A list is refused at the call, and an item that is no event ends the stream."""
    with pytest.raises(TypeError, match=r"stream is of the class list"):
        record([line()], path)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="int is not an event"):
        list(record(reactivex.of(line(), 7), path))  # type: ignore[type-var]


def test_the_stream_says_what_it_is(night: Path) -> None:
    """Its repr names the file, and reads nothing."""
    assert repr(replay(night)) == f"<ReplayedStream of {str(night)!r}, not read until it is used>"
