"""`watch_flow_run(run, checkpoint=...)`: an event comes again unless it was acknowledged."""

import asyncio
import resource
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from functools import partial
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

import pytest
from checkpoint_files import checkpoint_in, known_count, known_states
from interrupted_watches import (
    Key,
    Leave,
    Read,
    Victim,
    by_take,
    each_loop,
    each_read,
    in_async_loop,
    in_failing_observer,
    in_loop,
    in_piped_loop,
    keys,
)
from journal_files import largest_file
from reactivex import operators as ops
from virtual_world import TEST_TIMEOUT, Recording, World

from rxflow import (
    CheckpointFailed,
    Closed,
    FlowRunEvent,
    FlowRunLog,
    FlowRunStream,
    InvalidCheckpoint,
    Notice,
    NoticeCode,
    RunNotFound,
    WatchTimedOut,
    watch_flow_run,
)
from rxflow.testing import FakePrefect1, FakePrefect3

MISSING = "00000000-0000-4000-8000-000000000000"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The path of a checkpoint that does not exist yet."""
    return tmp_path / "run.ckpt"


class Scene:
    """A server in real time with a run that is over, and watches of it with one checkpoint."""

    def __init__(self, path: Path, *, lines: int = 6) -> None:
        """Add the run."""
        self.path = path
        self.server = FakePrefect3()
        self.run = self.server.add_run(state="RUNNING")
        for number in range(lines):
            self.server.log(self.run, f"line {number}")
        self.server.set_state(self.run, "COMPLETED")

    def watch(self, **options: Any) -> FlowRunStream:
        """Return a watch with the checkpoint."""
        options = {"checkpoint": self.path, "drain": 0, **options}
        return watch_flow_run(self.run, client=self.server.client(), **options)

    def whole(self) -> list[FlowRunEvent]:
        """Return the events of a watch without a checkpoint."""
        return list(watch_flow_run(self.run, drain=0, client=self.server.client()))


@pytest.fixture
def scene(path: Path) -> Scene:
    """A run that is over."""
    return Scene(path)


# -- every face -----------------------------------------------------------------------------------


LEFT_WITHIN: list[Leave] = [*(in_loop, in_piped_loop, in_async_loop, in_failing_observer, by_take)]


@pytest.mark.parametrize("leave", LEFT_WITHIN, ids=lambda leave: leave.__name__)
def test_an_event_that_was_being_handled_comes_again(leave: Leave, scene: Scene) -> None:
    """Left within any event, the next watch begins with the same one; the others come once."""
    whole = scene.whole()
    for number in range(len(whole) - 1):
        begun = leave(scene.watch(), 2)
        assert keys(begun) == keys(whole)[number : number + 2]
    assert keys(list(scene.watch())) == keys(whole)[-1:]
    assert list(scene.watch()) == []


@each_read
def test_a_watch_that_ended_leaves_nothing_to_come_again(read: Read, scene: Scene) -> None:
    """With the end of the stream all events are acknowledged, `Closed` included."""
    assert keys(read(scene.watch())) == keys(scene.whole())
    assert checkpoint_in(scene.path).state.closed is not None
    assert read(scene.watch()) == []
    assert read(scene.watch()) == []


@each_read
def test_more_than_a_checkpoint_holds_back_is_saved_meanwhile(read: Read, path: Path) -> None:
    """After a thousand events there is a checkpoint, however short the time was."""
    scene, known = Scene(path, lines=2500), list[int]()

    def note(_: FlowRunEvent) -> None:
        known.append(known_count(path))

    assert len(read(scene.watch().pipe(ops.do_action(note)))) == 2504
    assert [max(known[:at]) >= at - 1010 for at in (1100, 2100, 2500)] == [True] * 3
    assert all(count <= number for number, count in enumerate(known))


def test_what_a_loop_was_not_given_is_not_acknowledged(path: Path) -> None:
    """Each checkpoint has only events for which the loop has wanted the next one."""
    scene, given = Scene(path, lines=30), 0
    for event in scene.watch():
        assert known_count(path) <= given
        assert len(known_states(path)) <= 2
        given += isinstance(event, FlowRunLog)
    assert known_count(path) == given == 30


def test_the_result_of_a_watch_that_is_over_is_its_last_event(scene: Scene) -> None:
    """``run()`` and ``await`` give the same `Closed`, though no event is new."""
    closed = scene.watch().run()
    assert isinstance(closed, Closed)

    async def wait() -> FlowRunEvent:
        return await scene.watch()

    assert scene.watch().run() == closed
    assert asyncio.run(wait()) == closed
    assert scene.watch().run_to_end() == 0


def test_a_run_that_goes_on_after_closed_is_closed_again(scene: Scene) -> None:
    """Only what is new comes, and then the end."""
    list(scene.watch())
    scene.server.set_state(scene.run, "RUNNING")
    scene.server.log(scene.run, "again")
    scene.server.set_state(scene.run, "FAILED")
    second = list(scene.watch())
    assert [event.kind for event in second].count("closed") == 1
    assert [event.message for event in second if isinstance(event, FlowRunLog)] == ["again"]
    assert list(scene.watch()) == []


def test_a_watch_of_prefect_1_goes_on(path: Path) -> None:
    """The checkpoint is the same for both kinds of servers."""
    server = FakePrefect1()
    run = server.add_run(state="Running")
    for number in range(5):
        server.log(run, f"line {number}")
    server.set_state(run, "Success")

    def watch() -> FlowRunStream:
        return watch_flow_run(run, drain=0, checkpoint=path, client=server.client())

    whole = list(watch_flow_run(run, drain=0, client=server.client()))
    for number in range(len(whole) - 1):
        assert keys(in_loop(watch(), 2)) == keys(whole)[number : number + 2]
    assert keys(list(watch())) == keys(whole)[-1:]


# -- pages, parts, views --------------------------------------------------------------------------


def test_pages_are_acknowledged_whole(path: Path) -> None:
    """A page that was being handled comes again from its first event on."""
    scene, before = Scene(path, lines=450), list[FlowRunEvent]()
    with closing(iter(scene.watch().pages())) as pages:
        for page in pages:
            if len(page) > 100:
                break
            before += page
    again = [event for page in scene.watch().pages() for event in page]
    assert again[0] == page[0]
    assert keys(before + again) == keys(scene.whole())


def test_a_part_is_the_whole_watch_filtered(scene: Scene) -> None:
    """What a part leaves out is acknowledged, so that no part goes back."""
    logs = scene.watch().logs
    with closing(iter(logs)) as lines:
        assert [line.message for line in islice(lines, 2)] == ["line 0", "line 1"]
    assert [line.message for line in logs] == ["line 1", "line 2", "line 3", "line 4", "line 5"]
    assert list(scene.watch()) == []


@pytest.mark.parametrize("count", range(8))
def test_views_begin_with_what_is_known(count: int, scene: Scene) -> None:
    """Though the events do not come again, the snapshots of them do, and the last is the run."""
    client = scene.server.client()
    plain = [view.state for view in watch_flow_run(scene.run, drain=0, client=client).views()]
    by_take(scene.watch(), count)
    for _ in range(2):
        assert [view.state for view in scene.watch().views()] == plain
    assert list(scene.watch()) == []


@pytest.mark.parametrize("count", range(1, 4))
def test_views_that_are_left_lose_nothing(count: int, scene: Scene) -> None:
    """The snapshots of known events do not make them unknown, wherever the loop is left."""
    list(scene.watch())
    for _ in range(2):
        with closing(iter(scene.watch().views())) as views:
            assert len(list(islice(views, count))) == count
    assert list(scene.watch()) == []


def test_views_have_the_task_runs(path: Path) -> None:
    """Those that are known, and those that came later."""
    scene = Scene(path)
    tasks = [scene.server.add_task_run(scene.run, state="COMPLETED") for _ in range(3)]
    in_loop(scene.watch(stream_tasks=True), 4)
    view = checkpoint_in(path).state.order.view
    assert view is not None
    assert len(view.task_runs) < 3
    *_, last = scene.watch(stream_tasks=True).views()
    assert last.get_task_run_ids() == tasks
    *_, last = scene.watch(stream_tasks=True).views()
    assert last.get_task_run_ids() == tasks


@pytest.mark.parametrize("streams", [(True, False), (False, True), (False, False)])
def test_streams_that_are_left_out_do_not_come_again(
    streams: tuple[bool, bool], scene: Scene
) -> None:
    """A watch of states or lines alone goes on, and its result is known."""
    options = {"stream_states": streams[0], "stream_logs": streams[1]}
    first = scene.watch(**options).run()
    assert scene.watch(**options).run() == first
    assert list(scene.watch(**options)) == []


def test_a_shared_watch_is_refused(scene: Scene) -> None:
    """No event is acknowledged by all of its subscribers."""
    with pytest.raises(ValueError, match="pass a journal in place of the checkpoint"):
        scene.watch().shared()


# -- one watch ------------------------------------------------------------------------------------


ENDS: dict[str, Callable[[Scene], object]] = {
    "completed": lambda scene: list(scene.watch()),
    "left": lambda scene: in_loop(scene.watch(), 1),
    "taken": lambda scene: by_take(scene.watch(), 1),
    "raised": lambda scene: in_failing_observer(scene.watch(), 1),
}


@pytest.mark.parametrize("end", ENDS)
def test_a_checkpoint_is_free_after_the_end(end: str, scene: Scene) -> None:
    """However a watch ends, the next one can open its checkpoint at once."""
    for _ in range(3):
        ENDS[end](scene)


def test_a_checkpoint_is_saved_before_an_error(path: Path) -> None:
    """A watch that reached its limit goes on with the next one."""
    server = FakePrefect3()
    run = server.add_run(state="RUNNING")
    server.log(run, "line")

    def watch(**options: Any) -> FlowRunStream:
        return watch_flow_run(run, drain=0, checkpoint=path, client=server.client(), **options)

    taken: list[FlowRunEvent] = []
    for _ in range(2):
        with pytest.raises(WatchTimedOut):
            taken.extend(watch(max_duration=0.1))
    assert [event.kind for event in taken] == ["run-seen", "state", "log"]
    server.set_state(run, "COMPLETED")
    assert [event.kind for event in watch()][-1] == "closed"


def test_a_repeated_watch_goes_on(scene: Scene) -> None:
    """`take` completes before it disposes of the watch, whose checkpoint is then awaited."""
    recording: Recording[FlowRunEvent] = Recording(lambda: 0.0)
    recording.subscribe_to(scene.watch().pipe(ops.take(2), ops.repeat(3)))
    recording.wait()
    whole = keys(scene.whole())
    assert keys(recording.values) == [*whole[0:2], *whole[1:3], *whole[2:4]]


@each_read
def test_a_second_watch_of_one_checkpoint_is_refused(read: Read, scene: Scene) -> None:
    """It is the stream's error, and does no harm to the first."""
    with closing(iter(scene.watch())) as events:
        begun = [next(events), next(events)]
        with pytest.raises(CheckpointFailed, match="in use by another watch of this process"):
            read(scene.watch())
        rest = list(events)
    assert keys(begun + rest) == keys(scene.whole())


def test_nothing_is_opened_before_the_watch_is_used(scene: Scene) -> None:
    """Neither the call nor a part or a pipeline creates a file."""
    stream = scene.watch()
    stream.logs.only(FlowRunLog).pipe(ops.take(1))
    stream.views()
    assert list(scene.path.parent.iterdir()) == []


def test_a_forked_child_acknowledges_nothing(scene: Scene) -> None:
    """Its copy of a loop raises, and the checkpoint has what the parent's loop was given."""
    script = f"""
import os, sys, rxflow
from rxflow.testing import FakePrefect3
server = FakePrefect3()
run = server.add_run(state="RUNNING")
for number in range(6):
    server.log(run, f"line {{number}}")
server.set_state(run, "COMPLETED")
path = {str(scene.path)!r}
def watch():
    return rxflow.watch_flow_run(run, drain=0, checkpoint=path, client=server.client())
events = iter(watch())
taken = [next(events), next(events)]
child = os.fork()
if child == 0:
    try:
        next(events)
    except rxflow.WatchInherited:
        os._exit(7)
    os._exit(1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
taken += [next(events), next(events)]
events.close()
rest = list(watch())
assert rest[0] == taken[-1]
assert rest[-1].verified
assert len(taken) + len(rest) == 10 + 1
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script], check=False, timeout=TEST_TIMEOUT
    )
    assert done.returncode == 0


# -- what is wrong with a checkpoint --------------------------------------------------------------


@each_read
def test_a_foreign_file_is_the_streams_error(read: Read, scene: Scene) -> None:
    """No request is sent, and the file stays as it is."""
    scene.path.write_text("notes\n")
    with pytest.raises(InvalidCheckpoint, match="move this one away"):
        read(scene.watch())
    assert scene.path.read_text() == "notes\n"
    assert scene.server.requests == []


def test_a_checkpoint_of_another_level_is_refused(scene: Scene) -> None:
    """The error names the argument."""
    list(scene.watch())
    with pytest.raises(InvalidCheckpoint, match="level=0 and not 40"):
        list(scene.watch(level="ERROR"))


def test_a_watch_that_cannot_begin_saves_nothing(scene: Scene) -> None:
    """The error is that of the watch."""
    with pytest.raises(RunNotFound):
        list(watch_flow_run(MISSING, checkpoint=scene.path, client=scene.server.client()))
    assert not scene.path.exists()


@each_read
def test_of_a_damaged_checkpoint_the_one_before_it_is_used(read: Read, scene: Scene) -> None:
    """A notice says so first, and what was acknowledged since then comes again."""
    in_loop(scene.watch(), 3)
    in_loop(scene.watch(), 3)
    scene.path.write_bytes(scene.path.read_bytes()[:-1])
    known = known_count(scene.path.with_name("run.ckpt.prev"))
    first, *rest = read(scene.watch())
    assert isinstance(first, Notice)
    assert first.code is NoticeCode.CHECKPOINT_STALE
    assert "it was cut off or changed. The one before it is used" in first.message
    assert sum(isinstance(event, FlowRunLog) for event in rest) == 6 - known
    assert read(scene.watch()) == []


# -- a full disk ----------------------------------------------------------------------------------


@each_read
def test_a_watch_outlives_a_full_disk(read: Read, scene: Scene) -> None:
    """One notice says so, the watch goes on to its end, and later everything comes again."""
    with largest_file(100):
        events = read(scene.watch())
    notices = [event for event in events if isinstance(event, Notice)]
    assert [notice.code for notice in notices] == [NoticeCode.CHECKPOINT_STALE]
    assert "cannot be written: File too large. The watch goes on" in notices[0].message
    assert keys([event for event in events if event not in notices]) == keys(scene.whole())
    assert isinstance(events[-1], Closed)
    assert not scene.path.exists()
    assert keys(read(scene.watch())) == keys(scene.whole())


def test_a_notice_of_a_full_disk_comes_before_the_end(scene: Scene) -> None:
    """Where no checkpoint is due between a full disk and the end, one is tried before `Closed`."""
    with closing(iter(scene.watch())) as events:
        assert [next(events).kind, next(events).kind] == ["run-seen", "state"]
        assert scene.path.exists()
        with largest_file(100):
            rest = list(events)
    assert [event.kind for event in rest].count("notice") == 1
    assert isinstance(rest[-1], Closed)


# -- arguments ------------------------------------------------------------------------------------

REFUSED: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "bytes": ({"checkpoint": b"run.ckpt"}, TypeError, "checkpoint"),
    "a number": ({"checkpoint": 3}, TypeError, "checkpoint"),
    "nothing": ({"checkpoint": ""}, ValueError, "checkpoint='' is not a path"),
    "a folder": ({"checkpoint": "a/"}, ValueError, "checkpoint='a/' is a directory"),
    "a zero": ({"checkpoint": "a\0b"}, ValueError, "is not a path"),
    "a journal": ({"journal": "run.jsonl"}, ValueError, "a journal or a checkpoint; pass the"),
    "acknowledge": ({"acknowledge": "no"}, ValueError, "acknowledge='no' is neither"),
    "manual without": (
        {"checkpoint": None, "acknowledge": "manual"},
        ValueError,
        'acknowledge="manual" is about a checkpoint; pass checkpoint=',
    ),
    "replay": ({"replay": True}, ValueError, "replay=True is about a journal"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_arguments_are_refused_at_the_call(what: str, scene: Scene) -> None:
    """The error names the argument, and no file is created."""
    options, error, text = REFUSED[what]
    with pytest.raises(error, match=text):
        scene.watch(**options)
    assert list(scene.path.parent.iterdir()) == []


# -- virtual time ---------------------------------------------------------------------------------


class Minutes:
    """A run in virtual time that logs a line a second, and a watch that is never left.

    Attributes:
        lines: How many lines were handled.
    """

    def __init__(self, path: Path, *, lines: int = 60) -> None:
        """Add the run, whose watch begins with the first action."""
        self.path = path
        self.world = World()
        self.run = self.world.server.add_run(state="RUNNING")
        for number in range(lines):
            self.world.at(0.5 + number, partial(self.world.server.log, self.run, f"{number}"))
        self.lines = 0

    def watch(self, until: float) -> list[FlowRunEvent]:
        """Watch from the present to a time."""
        stream = watch_flow_run(self.run, checkpoint=self.path, client=self.world.client)
        return self.world.watch(stream.pipe(ops.do_action(self._count)), until=until).values

    def _count(self, event: FlowRunEvent) -> None:
        self.lines += isinstance(event, FlowRunLog)


def test_a_checkpoint_is_at_most_a_second_old(path: Path) -> None:
    """Without a thousand events, and without an end, what was handled is saved in time."""
    minutes, behind = Minutes(path), list[tuple[int, int]]()
    for second in range(10, 50):
        before: list[int] = []
        minutes.world.at(second, lambda: before.append(minutes.lines))  # noqa: B023
        minutes.world.at(
            second + 1.01,
            lambda: behind.append((before[0], known_count(path))),  # noqa: B023
        )
    minutes.watch(until=60.0)
    assert len(behind) == 40
    assert all(handled <= known for handled, known in behind)
    assert any(handled < known for handled, known in behind)


def test_a_full_disk_is_tried_again(path: Path) -> None:
    """The checkpoint is written when there is room, without news, and each outage has a notice."""
    minutes = Minutes(path, lines=20)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def limit(size: int) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))

    known: list[int] = []
    minutes.world.at(5, lambda: limit(100))
    minutes.world.at(24, lambda: known.append(known_count(path)))
    minutes.world.at(25, lambda: limit(soft))
    minutes.world.at(40, lambda: known.append(known_count(path)))
    minutes.world.at(41, lambda: limit(100))
    minutes.world.at(42, partial(minutes.world.server.log, minutes.run, "last"))
    try:
        events = minutes.watch(until=58.0)
    finally:
        limit(soft)
    codes = [event.code for event in events if isinstance(event, Notice)]
    assert codes == [NoticeCode.CHECKPOINT_STALE] * 2
    assert known[0] <= 6
    assert known[1] == 20


# -- kill -9 --------------------------------------------------------------------------------------

WATCH = "rxflow.watch_flow_run(runs[0], drain=0.5, checkpoint=path, client=client)"


@pytest.mark.long
@each_loop
def test_what_comes_twice_after_kills_was_not_in_the_checkpoint(face: str, path: Path) -> None:
    """No row is missing, and a row comes again if and only if the checkpoint did not have it.

    Each life hands on the rows after those that the checkpoint had when the life before it ended.
    """
    random = Random(face)
    server = FakePrefect3()
    run = server.add_run(state="RUNNING")
    rows: list[Key] = []  # in the order in which they are emitted first
    lives: list[tuple[int, list[Key]]] = []  # the lines known at the start, and the rows handed on
    with server.serve() as url:
        for number in range(6):
            for line in range(300):
                server.log(run, f"{number}:{line}")
            known = known_count(path)
            victim = Victim(face, WATCH, url, path, run)
            printed = victim.kill_after(random.randint(1, 250))
            lives.append((known, [key for key in printed if key[1] == "log"]))
        server.set_state(run, "COMPLETED")
        known = known_count(path)
        last = Victim(face, WATCH, url, path, run)
        lives.append((known, [key for key in last.end() if key[1] == "log"]))
    assert last.process.returncode == 0
    for known, handed_on in lives:
        again = rows[known : known + len(handed_on)]
        assert handed_on[: len(again)] == again
        rows += handed_on[len(again) :]
    assert Counter(rows) == Counter((run, "log", row["id"]) for row in server.logs)
    assert max(known for known, _ in lives) > 0
    closed = checkpoint_in(path).state.closed
    assert closed is not None
    assert (closed.verified, closed.log_count) == (True, 1800)
