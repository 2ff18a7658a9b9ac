"""`acknowledge="manual"`: an event comes again unless `ack` was called for it or a later one."""

import asyncio
import pickle
import queue
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import aclosing, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest
from checkpoint_files import checkpoint_in, known_count
from interrupted_watches import Key, Read, Victim, each_read, in_loop, keys
from journal_files import largest_file
from reactivex import operators as ops
from virtual_world import TEST_TIMEOUT, Recording

from rxflow import (
    CheckpointFailed,
    Closed,
    FlowRunEvent,
    FlowRunLog,
    FlowRunStream,
    Notice,
    NoticeCode,
    watch_flow_run,
    watch_flow_runs,
)
from rxflow.testing import FakePrefect3


class Scene:
    """A server with a run that is over, and watches of it with one checkpoint."""

    def __init__(self, path: Path, *, lines: int = 6) -> None:
        """Add the run, which has logged a line a second."""
        self.path = path
        self.server = FakePrefect3()
        self.run = self.server.add_run(state="RUNNING")
        began = datetime(2026, 11, 22, 12, tzinfo=UTC)
        for number in range(lines):
            time = began + timedelta(seconds=number)
            self.server.log(self.run, f"line {number}", timestamp=time, created=time)
        self.server.set_state(self.run, "COMPLETED")

    def watch(self, **options: Any) -> FlowRunStream:
        """Return a watch whose events are acknowledged by `ack`."""
        options = {"checkpoint": self.path, "acknowledge": "manual", "drain": 0, **options}
        return watch_flow_run(self.run, client=self.server.client(), **options)

    def whole(self) -> list[FlowRunEvent]:
        """Return the events of a watch without a checkpoint."""
        return list(watch_flow_run(self.run, drain=0, client=self.server.client()))


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    """A run that is over."""
    return Scene(tmp_path / "run.ckpt")


@each_read
def test_what_is_not_acknowledged_comes_again(read: Read, scene: Scene) -> None:
    """Neither the next item nor the end of the stream acknowledges anything."""
    whole = keys(scene.whole())
    assert keys(read(scene.watch())) == whole
    assert not scene.path.exists()
    for number in range(len(whole)):
        stream = scene.watch()
        events = read(stream)
        assert keys(events) == whole[number:]
        stream.ack(events[0])
    assert read(scene.watch()) == []


def test_an_event_stands_for_those_before_it(scene: Scene) -> None:
    """After the end, too, and whatever is acknowledged later than what follows it."""
    stream = scene.watch()
    events = list(stream)
    for number in (4, 2, 4, 0):
        stream.ack(events[number])
    assert keys(list(scene.watch())) == keys(events)[5:]


def test_batches_are_acknowledged_with_their_last_event(tmp_path: Path) -> None:
    """In a loop, the checkpoint has no event of a batch that is not full."""
    scene = Scene(tmp_path / "run.ckpt", lines=2500)
    stream, batch, done = scene.watch(), list[FlowRunEvent](), 0
    for event in stream:
        batch.append(event)
        if len(batch) == 700:
            done += sum(isinstance(each, FlowRunLog) for each in batch)
            stream.ack(batch[-1])
            batch.clear()
        assert known_count(scene.path) <= done
    assert known_count(scene.path) == done > 2000
    stream.ack(batch[-1])
    assert known_count(scene.path) == 2500
    assert list(scene.watch()) == []


def test_a_loop_that_is_left_can_be_acknowledged(scene: Scene) -> None:
    """What a page of the server had beyond the last event comes again."""
    stream = scene.watch()
    taken = in_loop(stream, 4)
    assert keys(in_loop(scene.watch(), 2)) == keys(taken)[:2]
    stream.ack(taken[-1])
    rest = list(scene.watch())
    assert keys(taken + rest) == keys(scene.whole())


def test_an_event_may_be_acknowledged_in_any_thread(tmp_path: Path) -> None:
    """A worker takes events from a queue, and acknowledges what it has stored."""
    scene = Scene(tmp_path / "run.ckpt", lines=600)
    stream = scene.watch()
    waiting: queue.SimpleQueue[FlowRunEvent | None] = queue.SimpleQueue()
    stored: list[FlowRunEvent] = []

    def store() -> None:
        while (event := waiting.get()) is not None:
            stored.append(event)
            stream.ack(event)

    worker = threading.Thread(target=store)
    worker.start()
    for event in stream:
        waiting.put(event)
    waiting.put(None)
    worker.join()
    assert keys(stored) == keys(scene.whole())
    assert list(scene.watch()) == []


def test_parts_and_pipelines_are_acknowledged_by_their_stream(scene: Scene) -> None:
    """What they leave out is acknowledged with the next event that they emit."""
    stream = scene.watch()
    lines = list(stream.logs)
    stream.ack(lines[3])
    assert [event.kind for event in scene.watch()] == ["log", "log", "state", "state", "closed"]
    stream = scene.watch()
    pages = list(stream.only(FlowRunLog).pages())
    stream.ack(pages[-1][-1])
    assert [event.kind for event in scene.watch()] == ["state", "state", "closed"]
    stream = scene.watch()
    batches: list[list[FlowRunEvent]] = []

    def insert(batch: list[FlowRunEvent]) -> None:
        batches.append(batch)
        stream.ack(batch[-1])

    stream.pipe(ops.buffer_with_count(2), ops.do_action(insert)).run()
    assert [[event.kind for event in batch] for batch in batches] == [
        ["state", "state"],
        ["closed"],
    ]
    assert list(scene.watch()) == []


def test_a_copy_from_another_process_will_do(scene: Scene) -> None:
    """An event that was pickled is equal to the one that was handed on."""
    stream = scene.watch()
    event = list(stream)[3]
    stream.ack(pickle.loads(pickle.dumps(event)))  # noqa: S301 - our own
    assert len(list(scene.watch())) == len(scene.whole()) - 4


def test_the_last_event_may_be_acknowledged_again(scene: Scene) -> None:
    """The result of a watch is its last event, be it new or known."""
    for _ in range(2):
        stream = scene.watch()
        closed = stream.run()
        assert isinstance(closed, Closed)
        stream.ack(closed)
    assert list(scene.watch()) == []

    async def wait() -> None:
        stream = scene.watch()
        stream.ack(await stream)

    asyncio.run(wait())


def test_the_events_of_many_runs_are_acknowledged_in_one_order(tmp_path: Path) -> None:
    """An event stands for those of all runs that were handed on before it."""
    server = FakePrefect3()
    runs = [server.add_run(state="COMPLETED") for _ in range(3)]

    def watch() -> Any:
        return watch_flow_runs(
            runs, checkpoint=tmp_path, acknowledge="manual", drain=0, client=server.client()
        )

    whole = [(event.flow_run_id, event.kind) for event in watch()]
    acknowledged: list[tuple[str, str]] = []
    while len(acknowledged) < len(whole):
        stream = watch()
        events = list(stream)
        stream.ack(events[1])
        acknowledged += [(event.flow_run_id, event.kind) for event in events[:2]]
    assert Counter(acknowledged) == Counter(whole)
    stream = watch()
    (last,) = stream
    stream.ack(last)


# -- misuse ---------------------------------------------------------------------------------------


def test_without_a_checkpoint_there_is_nothing_to_acknowledge(scene: Scene) -> None:
    """The error says what to pass."""
    for options in ({"acknowledge": "auto"}, {"acknowledge": "auto", "checkpoint": None}):
        stream = scene.watch(**options)
        events = list(stream)
        with pytest.raises(ValueError, match='pass a checkpoint and acknowledge="manual"'):
            stream.ack(events[0])


def test_another_streams_event_is_refused(scene: Scene) -> None:
    """Nothing is acknowledged by it."""
    stream = scene.watch()
    (first, *_) = scene.whole()
    with pytest.raises(ValueError, match="has handed on no event; call ack"):
        stream.ack(first)
    events = list(stream)
    run = scene.server.add_run(state="COMPLETED")
    other = next(iter(watch_flow_run(run, drain=0, client=scene.server.client())))
    with pytest.raises(ValueError, match="has not handed on the event"):
        stream.ack(other)
    not_an_event: Any = events[0].flow_run_id
    with pytest.raises(TypeError, match=r"event is of the class str, not .* pass the event up"):
        stream.ack(not_an_event)
    assert not scene.path.exists()


def test_only_the_last_loop_is_acknowledged(scene: Scene) -> None:
    """An event of an earlier loop is refused, unless it has come again."""
    stream = scene.watch()
    first = list(stream)
    in_loop(stream, 2)
    stream.ack(first[1])  # which has come again
    with pytest.raises(ValueError, match="has not handed on the event"):
        stream.ack(first[-1])
    assert keys(list(stream)) == keys(first)[2:]


def each_run_watched(scene: Scene, *, several: bool) -> Callable[[], Any]:
    """Return what begins a watch of the run, or of a watch that may have several."""
    if not several:
        return scene.watch
    return lambda: watch_flow_runs(
        [scene.run],
        checkpoint=scene.path,
        acknowledge="manual",
        drain=0,
        client=scene.server.client(),
    )


def in_observer(stream: Any, count: int, within: Callable[[], None]) -> list[FlowRunEvent]:
    """Subscribe, and dispose of the subscription within an event, after a call."""
    recording: Recording[FlowRunEvent] = Recording(lambda: 0.0)
    taken: list[FlowRunEvent] = []

    def take(event: FlowRunEvent) -> None:
        taken.append(event)
        if len(taken) == count:
            within()

    recording.subscribe_to(stream.pipe(ops.do_action(take), ops.take(count)))
    recording.wait()
    assert recording.error is None
    return taken


def _in_loop(stream: Any, count: int, within: Callable[[], None]) -> list[FlowRunEvent]:
    with closing(iter(stream)) as events:
        taken = [next(events) for _ in range(count)]
        within()
    return taken


def _in_async_loop(stream: Any, count: int, within: Callable[[], None]) -> list[FlowRunEvent]:
    async def take() -> list[FlowRunEvent]:
        async with aclosing(aiter(stream)) as events:
            taken = [await anext(events) for _ in range(count)]
            within()
        return taken

    return asyncio.run(take())


@pytest.mark.parametrize("several", [False, True], ids=["a run", "runs"])
@pytest.mark.parametrize(
    "leave", [_in_loop, _in_async_loop, in_observer], ids=["loop", "async loop", "subscription"]
)
def test_an_event_that_was_not_handed_on_is_refused(
    leave: Callable[[Any, int, Callable[[], None]], list[FlowRunEvent]],
    scene: Scene,
    *,
    several: bool,
) -> None:
    """It came in the same reply as those that were; within an event, and after it was left."""
    watch, whole = each_run_watched(scene, several=several), scene.whole()
    stream = watch()

    def refuse() -> None:
        for event in whole[4:]:
            with pytest.raises(ValueError, match="has not handed on the event"):
                stream.ack(event)

    taken = leave(stream, 4, refuse)
    assert keys(taken) == keys(whole[:4])
    refuse()
    assert not scene.path.is_file()
    stream.ack(taken[-1])
    assert keys(list(watch()))[: len(whole) - 4] == keys(whole[4:])


@pytest.mark.parametrize("several", [False, True], ids=["a run", "runs"])
def test_an_event_of_a_later_page_is_refused(tmp_path: Path, *, several: bool) -> None:
    """A page is handed on as a whole, and no other with it."""
    scene = Scene(tmp_path / "run.ckpt", lines=450)
    watch, whole = each_run_watched(scene, several=several), scene.whole()
    stream, count = watch(), 0
    with closing(iter(stream.pages())) as pages:
        for page in pages:
            count += len(page)
            for event in whole[count:]:
                with pytest.raises(ValueError, match="has not handed on the event"):
                    stream.ack(event)
            if len(page) > 1:
                break
    assert count < len(whole) - 200
    stream.ack(whole[count - 1])
    assert keys(list(watch()))[: len(whole) - count] == keys(whole[count:])


def test_an_ack_after_another_watch_went_on_is_refused(scene: Scene) -> None:
    """The checkpoint of the other one is not replaced by an older one."""
    stream, other = scene.watch(), scene.watch()
    events = list(stream)
    again = list(other)
    with closing(iter(scene.watch())) as running:
        next(running)
        with pytest.raises(CheckpointFailed, match="in use by another watch of this process"):
            stream.ack(events[0])
    other.ack(again[5])
    with pytest.raises(CheckpointFailed, match="was written by another watch since this one"):
        stream.ack(events[2])
    assert keys(list(scene.watch())) == keys(events)[6:]


def test_streams_without_events_of_their_own_are_refused(scene: Scene) -> None:
    """Views are no events, and several readers have no common pace."""
    with pytest.raises(ValueError, match=r"views\(\) emits no events that ack\(\) could"):
        scene.watch().views()
    with pytest.raises(ValueError, match="pass a journal in place of the checkpoint"):
        scene.watch().shared()


def test_a_forked_child_acknowledges_nothing(scene: Scene) -> None:
    """Its call raises, and the parent's goes on."""
    script = f"""
import os, rxflow
from rxflow.testing import FakePrefect3
server = FakePrefect3()
run = server.add_run(state="COMPLETED")
def watch():
    return rxflow.watch_flow_run(
        run, drain=0, checkpoint={str(scene.path)!r}, acknowledge="manual", client=server.client()
    )
stream = watch()
events = list(stream)
child = os.fork()
if child == 0:
    try:
        stream.ack(events[1])
    except rxflow.WatchInherited:
        os._exit(7)
    os._exit(1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
assert len(list(watch())) == 3
stream.ack(events[0])
assert len(list(watch())) == 2
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script], check=False, timeout=TEST_TIMEOUT
    )
    assert done.returncode == 0


# -- a full disk, a slow consumer -----------------------------------------------------------------


def test_a_full_disk_is_said_while_the_watch_goes_on(scene: Scene) -> None:
    """As a notice; after the end it is the error of the call, and the next call may succeed."""
    stream = scene.watch()
    taken: list[FlowRunEvent] = []
    with largest_file(100):
        for event in stream:
            taken.append(event)
            stream.ack(event)
        with pytest.raises(CheckpointFailed, match="cannot be written: File too large"):
            stream.ack(taken[-1])
    codes = [event.code for event in taken if isinstance(event, Notice)]
    assert codes == [NoticeCode.CHECKPOINT_STALE]
    assert not scene.path.exists()
    stream.ack(taken[-1])
    assert checkpoint_in(scene.path).state.closed is not None
    assert list(scene.watch()) == []


def test_a_consumer_that_acknowledges_nothing_stops_the_polling(tmp_path: Path) -> None:
    """No more than some ten thousand events are kept; a notice says so, and `ack` goes on."""
    scene = Scene(tmp_path / "run.ckpt", lines=10_600)
    stream, taken = scene.watch(), list[FlowRunEvent]()
    with closing(iter(stream)) as events:
        for event in events:
            taken.append(event)
            if isinstance(event, Notice):
                break
        assert 10_000 <= len(taken) <= 10_300
        requests = len(scene.server.requests)
        released = threading.Timer(0.3, stream.ack, [taken[-2]])
        released.start()
        taken.append(next(events))
        released.join()
        assert len(scene.server.requests) > requests
        taken += events
    assert sum(isinstance(event, FlowRunLog) for event in taken) == 10_600
    assert sum(isinstance(event, Notice) for event in taken) == 1
    assert isinstance(taken[-1], Closed)


# -- kill -9 --------------------------------------------------------------------------------------

STREAM = """rxflow.watch_flow_run(
    runs[0], drain=0.5, checkpoint=path, acknowledge="manual", client=client
)"""


@pytest.mark.long
def test_what_comes_twice_after_kills_was_not_acknowledged(tmp_path: Path) -> None:
    """A process that is killed again and again acknowledges each hundredth event it has printed."""
    face, random, path = "subscription", Random(0), tmp_path / "run.ckpt"
    server = FakePrefect3()
    run = server.add_run(state="RUNNING")
    rows: list[Key] = []  # in the order in which they are emitted first
    with server.serve() as url:
        for number in range(5):
            for line in range(300):
                server.log(run, f"{number}:{line}")
            victim = Victim(face, STREAM, url, path, run, acks=100)
            _receive(rows, known_count(path), victim.kill_after(random.randint(150, 280)))
        server.set_state(run, "COMPLETED")
        known = known_count(path)
        _receive(rows, known, Victim(face, STREAM, url, path, run, acks=1).end())
    assert known > 0
    assert Counter(rows) == Counter((run, "log", row["id"]) for row in server.logs)
    closed = checkpoint_in(path).state.closed
    assert closed is not None
    assert (closed.verified, closed.log_count) == (True, 1500)


def _receive(rows: list[Key], known: int, printed: list[Key]) -> None:
    handed_on = [key for key in printed if key[1] == "log"]
    again = rows[known : known + len(handed_on)]
    assert handed_on[: len(again)] == again
    rows += handed_on[len(again) :]
