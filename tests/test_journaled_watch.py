"""`watch_flow_run(run, journal=...)`: a watch goes on where an earlier one ended, on every face."""

import asyncio
import json
import os
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
from interrupted_watches import (
    READS,
    Key,
    Leave,
    Read,
    Victim,
    by_take,
    each_loop,
    each_read,
    in_async_loop,
    in_cancelled_task,
    in_failing_observer,
    in_loop,
    in_piped_loop,
    keys,
)
from journal_files import events_in, header_of, largest_file
from reactivex import operators as ops
from sink_pipelines import is_open
from virtual_world import TEST_TIMEOUT, Recording, World

from rxflow import (
    Closed,
    FlowRunEvent,
    FlowRunLog,
    FlowRunStream,
    InvalidJournal,
    JournalFailed,
    Notice,
    NoticeCode,
    RunNotFound,
    StateChange,
    WatchTimedOut,
    decode_event,
    watch_flow_run,
)
from rxflow.testing import FakePrefect1, FakePrefect3

MISSING = "00000000-0000-4000-8000-000000000000"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The path of a journal that does not exist yet."""
    return tmp_path / "run.jsonl"


class Scene:
    """A server in real time with a run that is over, and watches of it with one journal."""

    def __init__(self, path: Path, *, lines: int = 6) -> None:
        """Add the run."""
        self.path = path
        self.server = FakePrefect3()
        self.run = self.server.add_run(state="RUNNING")
        for number in range(lines):
            self.server.log(self.run, f"line {number}")
        self.server.set_state(self.run, "COMPLETED")

    def watch(self, **options: Any) -> FlowRunStream:
        """Return a watch with the journal."""
        options = {"journal": self.path, "drain": 0, **options}
        return watch_flow_run(self.run, client=self.server.client(), **options)

    def whole(self) -> list[FlowRunEvent]:
        """Return the events of a watch without a journal."""
        return list(watch_flow_run(self.run, drain=0, client=self.server.client()))


@pytest.fixture
def scene(path: Path) -> Scene:
    """A run that is over."""
    return Scene(path)


# -- every face -----------------------------------------------------------------------------------


FACES = [*(in_loop, in_piped_loop, in_async_loop, in_cancelled_task, by_take, in_failing_observer)]


@pytest.mark.parametrize("face", FACES, ids=lambda face: face.__name__)
def test_a_watch_that_is_left_goes_on_with_the_next_event(face: Leave, scene: Scene) -> None:
    """Left after any event, the next watch begins with the one after it, and none is skipped."""
    whole, taken = scene.whole(), list[FlowRunEvent]()
    while len(taken) < len(whole):
        taken += face(scene.watch(), 2)
        assert events_in(scene.path) == taken
    assert keys(taken) == keys(whole)
    assert list(scene.watch()) == []


@pytest.mark.parametrize(
    "read", [*READS.values(), lambda stream: list(stream.shared())], ids=[*READS, "shared"]
)
def test_a_replay_has_the_events_of_the_journal_first(read: Read, scene: Scene) -> None:
    """They are as they were, once, and the new ones follow."""
    begun = in_loop(scene.watch(), 3)
    events = read(scene.watch(replay=True))
    assert events[:3] == begun
    assert keys(events) == keys(scene.whole())
    assert read(scene.watch(replay=True)) == events == events_in(scene.path)


def test_a_replay_that_is_left_appends_nothing(scene: Scene) -> None:
    """Replayed events are not appended again, wherever the loop is left."""
    whole = list(scene.watch())
    for count in range(len(whole)):
        assert in_loop(scene.watch(replay=True), count) == whole[:count]
        assert events_in(scene.path) == whole


def test_the_result_of_a_watch_that_is_over_is_its_last_event(scene: Scene) -> None:
    """``run()`` and ``await`` give `Closed` from the journal, though no event is new."""
    closed = scene.watch().run()
    assert isinstance(closed, Closed)

    async def wait() -> FlowRunEvent:
        return await scene.watch()

    assert scene.watch().run() == closed
    assert asyncio.run(wait()) == closed
    assert scene.watch().run_to_end() == 0


def test_a_run_that_goes_on_after_closed_is_closed_again(scene: Scene) -> None:
    """The journal then has both ends, and so does its replay."""
    first = list(scene.watch())
    scene.server.set_state(scene.run, "RUNNING")
    scene.server.log(scene.run, "again")
    scene.server.set_state(scene.run, "FAILED")
    second = list(scene.watch())
    assert [event.kind for event in second].count("closed") == 1
    assert [event.message for event in second if isinstance(event, FlowRunLog)] == ["again"]
    assert list(scene.watch(replay=True)) == first + second


def test_a_watch_of_prefect_1_goes_on(path: Path) -> None:
    """The journal is the same for both kinds of servers."""
    server = FakePrefect1()
    run = server.add_run(state="Running")
    for number in range(5):
        server.log(run, f"line {number}")
    server.set_state(run, "Success")

    def watch() -> FlowRunStream:
        return watch_flow_run(run, drain=0, journal=path, client=server.client())

    taken: list[FlowRunEvent] = []
    while not any(isinstance(event, Closed) for event in taken):
        taken += in_loop(watch(), 1)
    assert keys(taken) == keys(list(watch_flow_run(run, drain=0, client=server.client())))


# -- pages, parts, views, sharing -----------------------------------------------------------------


def test_pages_are_appended_and_handed_on_whole(path: Path) -> None:
    """A page has all its events in the journal when it is handed on, and none of the next one."""
    scene, taken = Scene(path, lines=450), list[FlowRunEvent]()
    sizes: list[int] = []
    for page in scene.watch().pages():
        taken += page
        sizes.append(len(page))
        assert events_in(path) == taken
    assert keys(taken) == keys(scene.whole())
    assert max(sizes) > 100


def test_pages_of_parts_and_selections_are_whole(path: Path) -> None:
    """`only` and the parts keep the pages of a watch with a journal, too."""
    scene = Scene(path, lines=450)
    for number, pages in enumerate(
        [
            scene.watch(journal=path.with_name("0")).logs.pages(),
            scene.watch(journal=path.with_name("1")).only(FlowRunLog).pages(),
            scene.watch(journal=path.with_name("2")).logs.level_at_least(20).pages(),
        ]
    ):
        sizes = [len(page) for page in pages]
        assert (sum(sizes), max(sizes) > 100) == (450, True), number


def test_a_part_is_the_whole_watch_filtered(scene: Scene) -> None:
    """The journal of a loop over the lines has all events, and the next one goes on with lines."""
    logs = scene.watch().logs
    with closing(iter(logs)) as lines:
        assert [line.message for line in islice(lines, 2)] == ["line 0", "line 1"]
    assert [event.kind for event in events_in(scene.path)] == ["run-seen", "state", "log", "log"]
    assert [line.message for line in logs] == ["line 2", "line 3", "line 4", "line 5"]
    assert keys(events_in(scene.path)) == keys(scene.whole())
    assert list(scene.watch(replay=True).states) == list(scene.watch(replay=True).only(StateChange))
    assert [event.kind for event in scene.watch(replay=True).notices] == ["run-seen", "closed"]


def test_a_part_that_is_not_watched_is_refused(scene: Scene) -> None:
    """Task runs are not in a journal of states and lines."""
    with pytest.raises(ValueError, match=r"has no tasks.*pass stream_tasks=True"):
        scene.watch().tasks  # noqa: B018
    assert list(scene.watch(stream_tasks=True).tasks) == []


@pytest.mark.parametrize("replay", [False, True])
def test_views_are_the_scan_of_all_events(replay: bool, scene: Scene) -> None:
    """Those of events in the journal come again, so that the last one is always the whole run."""
    client = scene.server.client()
    plain = [view.state for view in watch_flow_run(scene.run, drain=0, client=client).views()]
    in_loop(scene.watch(), 4)
    assert [view.state for view in scene.watch(replay=replay).views()] == plain
    assert [view.state for view in scene.watch(replay=replay).views()] == plain


def test_a_shared_watch_needs_a_replay(scene: Scene) -> None:
    """Its subscribers get every event from the first on."""
    with pytest.raises(ValueError, match="pass replay=True"):
        scene.watch().shared()


def test_subscribers_of_a_shared_watch_use_one_journal(scene: Scene) -> None:
    """Each gets all events, its parts and its views, and each event is in the journal once."""
    begun = in_loop(scene.watch(), 3)
    shared = scene.watch(replay=True).shared()
    recordings: list[Recording[Any]] = [Recording(lambda: 0.0) for _ in range(3)]
    for recording in recordings[:2]:
        recording.subscribe_to(shared)
    recordings[2].subscribe_to(shared.logs)
    for recording in recordings:
        recording.wait()
        assert recording.error is None
    events = events_in(scene.path)
    assert recordings[0].values == recordings[1].values == events
    assert events[:3] == begun
    assert [line.message for line in recordings[2].values] == [f"line {n}" for n in range(6)]
    assert list(shared.views())[-1].state == scene.whole()[-1].state  # type: ignore[union-attr]


def test_a_long_journal_is_read_in_turns(path: Path) -> None:
    """On an event loop other tasks run while a journal of megabytes is read."""
    scene = Scene(path, lines=6000)
    assert scene.watch().run_to_end() == 6004
    size = path.stat().st_size

    async def main() -> tuple[int, int]:
        turns, done = 0, asyncio.Event()

        async def count() -> None:
            nonlocal turns
            while not done.is_set():
                turns += 1
                await asyncio.sleep(0)

        counting = asyncio.create_task(count())
        events = await scene.watch(replay=True).arun_to_end()
        done.set()
        await counting
        return turns, events

    turns, events = asyncio.run(main())
    assert events == 6004
    assert turns > size / (512 * 1024)


# -- one writer -----------------------------------------------------------------------------------


ENDS: dict[str, Callable[[Scene], object]] = {
    "completed": lambda scene: list(scene.watch(replay=True)),
    "left": lambda scene: in_loop(scene.watch(replay=True), 1),
    "cancelled": lambda scene: in_cancelled_task(scene.watch(replay=True), 1),
    "taken": lambda scene: by_take(scene.watch(replay=True), 1),
    "raised": lambda scene: in_failing_observer(scene.watch(replay=True), 1),
}


@pytest.mark.parametrize("end", ENDS)
def test_a_journal_is_free_after_the_end(end: str, scene: Scene) -> None:
    """However a watch ends, the next one can open its journal at once."""
    list(scene.watch())
    for _ in range(3):
        ENDS[end](scene)


def test_a_journal_is_free_after_an_error(path: Path) -> None:
    """A watch that reached its limit goes on with the next one, which may have another limit."""
    server = FakePrefect3()
    run = server.add_run(state="RUNNING")
    server.log(run, "line")

    def watch(**options: Any) -> FlowRunStream:
        return watch_flow_run(run, drain=0, journal=path, client=server.client(), **options)

    for _ in range(2):
        with pytest.raises(WatchTimedOut):
            list(watch(max_duration=0.1))
    assert len(events_in(path)) == 3
    server.set_state(run, "COMPLETED")
    assert [event.kind for event in watch()][-1] == "closed"


def test_a_retry_opens_the_journal_again(path: Path) -> None:
    """When a watch fails, its journal is closed before the error is emitted."""
    server = FakePrefect3()
    run = server.add_run(state="RUNNING")
    server.log(run, "line")
    watch = watch_flow_run(run, max_duration=0.1, drain=0, journal=path, client=server.client())

    def end_run(_: Exception) -> None:
        server.set_state(run, "COMPLETED")

    events = list(watch.pipe(ops.do_action(on_error=end_run), ops.retry(2)))
    assert keys(events) == keys(events_in(path))
    assert isinstance(events[-1], Closed)


@each_read
def test_a_second_watch_of_one_journal_is_refused(read: Read, scene: Scene) -> None:
    """It is the stream's error, and does no harm to the first."""
    with closing(iter(scene.watch())) as events:
        begun = [next(events), next(events)]
        with pytest.raises(JournalFailed, match="in use by another watch of this process"):
            read(scene.watch())
        rest = list(events)
    assert keys(begun + rest) == keys(scene.whole())
    assert events_in(scene.path) == begun + rest


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="reads Linux's /proc")
@pytest.mark.parametrize("limit", [None, 0.1], ids=["completed", "failed"])
def test_a_journal_is_closed_when_the_end_is_emitted(limit: float | None, path: Path) -> None:
    """What an observer of the end starts finds the journal free."""
    server = FakePrefect3()
    run = server.add_run(state="RUNNING" if limit else "COMPLETED")
    stream = watch_flow_run(run, max_duration=limit, drain=0, journal=path, client=server.client())
    opened: list[bool] = []

    def note(*_: object) -> None:
        opened.append(is_open(path))

    recording: Recording[FlowRunEvent] = Recording(lambda: 0.0)
    recording.subscribe_to(stream.pipe(ops.do_action(note, on_error=note, on_completed=note)))
    recording.wait()
    assert opened == [True] * len(events_in(path)) + [False]


def test_a_repeated_watch_opens_the_journal_again(scene: Scene) -> None:
    """`take` completes before it disposes of the watch, whose journal is then awaited."""
    taken = list(scene.watch().pipe(ops.take(2), ops.repeat(3)))
    assert keys(taken) == keys(scene.whole())[:6]
    assert events_in(scene.path) == taken


def test_nothing_is_opened_before_the_watch_is_used(scene: Scene) -> None:
    """Neither the call nor a part or a pipeline creates the file."""
    stream = scene.watch()
    stream.logs.only(FlowRunLog).pipe(ops.take(1))
    stream.views()
    assert not scene.path.exists()


def test_a_forked_child_does_not_write(scene: Scene) -> None:
    """Its copy of a loop raises, and the journal has what the parent's loop was given."""
    script = f"""
import os, sys, rxflow
from pathlib import Path
from rxflow.testing import FakePrefect3
server = FakePrefect3()
run = server.add_run(state="RUNNING")
for number in range(6):
    server.log(run, f"line {{number}}")
server.set_state(run, "COMPLETED")
path = {str(scene.path)!r}
events = iter(rxflow.watch_flow_run(run, drain=0, journal=path, client=server.client()))
taken = [next(events), next(events)]
child = os.fork()
if child == 0:
    try:
        next(events)
    except rxflow.WatchInherited:
        os._exit(7)
    os._exit(1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
taken += events
lines = Path(path).read_bytes().split(b"\\n")[1:-1]
assert [rxflow.decode_event(line) for line in lines] == taken
assert taken[-1].verified
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script], check=False, timeout=TEST_TIMEOUT
    )
    assert done.returncode == 0


# -- what is wrong with a journal -----------------------------------------------------------------


@pytest.mark.parametrize("kind", ["log", "state"])
def test_the_event_of_a_damaged_line_comes_again_without_the_line(kind: str, scene: Scene) -> None:
    """As the error says: once the line is removed, flagged late, and no other event comes."""
    list(scene.watch())
    lines = scene.path.read_bytes().split(b"\n")
    number = next(
        number for number, line in enumerate(lines) if b'"kind":"%b"' % kind.encode() in line
    )
    lost = decode_event(lines[number])
    scene.path.write_bytes(b"\n".join([*lines[:number], lines[number][:-9], *lines[number + 1 :]]))
    with pytest.raises(InvalidJournal, match=f"its line {number + 1} is not an event.*remove that"):
        list(scene.watch())
    scene.path.write_bytes(b"\n".join(lines[:number] + lines[number + 1 :]))
    again = [event for event in scene.watch() if isinstance(event, FlowRunLog | StateChange)]
    assert keys(again) == keys([lost])
    assert again[0].late


@each_read
def test_a_foreign_journal_is_the_streams_error(read: Read, scene: Scene) -> None:
    """No request is sent, and the file stays as it is."""
    scene.path.write_text("notes\n")
    with pytest.raises(InvalidJournal, match="move this file away"):
        read(scene.watch())
    assert scene.path.read_text() == "notes\n"
    assert scene.server.requests == []


def test_a_journal_of_another_level_is_refused(scene: Scene) -> None:
    """The error names the argument."""
    list(scene.watch())
    with pytest.raises(InvalidJournal, match="level=0 and not 40"):
        list(scene.watch(level="ERROR"))


def test_a_watch_that_cannot_begin_leaves_a_journal_to_go_on_from(scene: Scene) -> None:
    """The error is that of the watch, and the file has no event."""
    with pytest.raises(RunNotFound):
        list(watch_flow_run(MISSING, journal=scene.path, client=scene.server.client()))
    assert events_in(scene.path) == []
    assert header_of(scene.path)["flow_run_id"] == MISSING


@each_read
def test_a_full_disk_ends_the_stream(read: Read, scene: Scene) -> None:
    """The event that did not fit is not handed on, and comes first when there is room again."""
    taken = in_loop(scene.watch(), 3)
    with largest_file(scene.path.stat().st_size + 100), pytest.raises(JournalFailed) as caught:
        read(scene.watch())
    assert caught.value.is_full
    assert "cannot be written: File too large" in str(caught.value)
    assert events_in(scene.path) == taken
    taken += read(scene.watch())
    assert keys(taken) == keys(scene.whole())


@each_read
def test_a_watch_may_outlive_a_full_disk(read: Read, scene: Scene) -> None:
    """One notice says so before the event that did not fit, and the watch goes on to its end."""
    taken = in_loop(scene.watch(), 3)
    with largest_file(scene.path.stat().st_size + 100):
        rest = read(scene.watch(on_full="continue"))
    assert isinstance(rest[0], Notice)
    assert rest[0].code is NoticeCode.JOURNAL_FULL
    assert "File too large. The watch goes on without it" in rest[0].message
    assert keys(taken + rest[1:]) == keys(scene.whole())
    assert rest[-1].timestamp >= rest[0].timestamp
    assert events_in(scene.path) == taken
    again = list(scene.watch(on_full="continue"))
    assert keys(again) == keys(rest[1:])


def test_another_failure_is_an_error_though_a_full_disk_is_not(scene: Scene) -> None:
    """`on_full` is about room alone."""
    with pytest.raises(JournalFailed, match="Is a directory"):
        list(scene.watch(journal=scene.path.parent, on_full="continue"))


# -- arguments ------------------------------------------------------------------------------------

REFUSED: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "bytes": ({"journal": b"run.jsonl"}, TypeError, "journal"),
    "a number": ({"journal": 3}, TypeError, "journal"),
    "a file": ({"journal": sys.stdout}, TypeError, "journal"),
    "nothing": ({"journal": ""}, ValueError, "journal='' is not a path"),
    "a zero": ({"journal": "a\0b"}, ValueError, "is not a path"),
    "replay without": ({"journal": None, "replay": True}, ValueError, "replay=True is about a"),
    "full without": ({"journal": None, "on_full": "continue"}, ValueError, 'on_full="continue" is'),
    "replay": ({"replay": "yes"}, TypeError, "replay"),
    "on_full": ({"on_full": "stop"}, ValueError, "on_full='stop' is neither"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_arguments_are_refused_at_the_call(what: str, scene: Scene) -> None:
    """The error names the argument, and no file is created."""
    options, error, text = REFUSED[what]
    with pytest.raises(error, match=text):
        scene.watch(**options)
    assert list(scene.path.parent.iterdir()) == []


def test_a_path_of_bytes_is_refused(scene: Scene) -> None:
    """A `PathLike` may give bytes, which no error could show as they are."""

    class Path(os.PathLike[Any]):
        def __fspath__(self) -> bytes:
            return b"run.jsonl"

    with pytest.raises(TypeError, match="journal"):
        scene.watch(journal=Path())


# -- virtual time ---------------------------------------------------------------------------------


def test_a_watch_in_virtual_time_goes_on(path: Path) -> None:
    """A pipeline with a journal can be tested as any other."""
    world = World()
    run = world.server.add_run(state="RUNNING")
    for number in range(20):
        world.at(2 + number, partial(world.server.log, run, f"line {number}"))
    world.at(30, lambda: world.server.set_state(run, "COMPLETED"))
    stream = watch_flow_run(run, journal=path, client=world.client)
    taken: list[FlowRunEvent] = []
    for end in (5.0, 11.5, 12.0, 31.0):
        taken += world.watch(stream, until=end).values
        assert events_in(path) == taken
    last = world.watch(stream, until=200.0)
    assert last.completed
    taken += last.values
    assert events_in(path) == taken
    lines = [event.message for event in taken if isinstance(event, FlowRunLog)]
    assert lines == [f"line {number}" for number in range(20)]
    assert [event.kind for event in taken].count("run-seen") == 1


# -- kill -9 --------------------------------------------------------------------------------------

WATCH = "rxflow.watch_flow_run(runs[0], drain=0.5, journal=path, client=client)"


@pytest.mark.long
@each_loop
def test_a_watch_that_is_killed_again_and_again_has_every_row_once(face: str, path: Path) -> None:
    """The journal has each row once; what was handed on is in it, and no event came twice.

    Of the events in it at most the last one before each kill was not seen by the consumer.
    """
    random = Random(face)
    server = FakePrefect3()
    run = server.add_run(state="RUNNING")
    seen: list[Key] = []
    kills = 5
    with server.serve() as url:
        for number in range(kills):
            for line in range(150):
                server.log(run, f"{number}:{line}")
            seen += Victim(face, WATCH, url, path, run).kill_after(random.randint(1, 120))
        server.set_state(run, "COMPLETED")
        last = Victim(face, WATCH, url, path, run)
        seen += last.end()
    assert last.process.returncode == 0
    journaled: list[Key] = [(run, *key) for key in keys(events_in(path))]
    rows = {(run, "log", row["id"]) for row in server.logs if row["flow_run_id"] == run}
    rows |= {(run, "state", row["id"]) for row in server.states[run]}
    assert {key for key in journaled if key[1] in {"log", "state"}} == rows
    assert max(Counter(key for key in journaled if key[1] != "run-changed").values()) == 1
    missed = Counter(journaled) - Counter(seen)
    assert Counter(seen) - Counter(journaled) == Counter()
    assert missed.total() <= kills
    closed = events_in(path)[-1]
    assert isinstance(closed, Closed)
    assert (closed.verified, closed.log_count) == (True, 150 * kills)
    assert json.loads(path.read_bytes().split(b"\n")[0])["pid"] == last.process.pid
