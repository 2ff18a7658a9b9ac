"""`watch_flow_runs(checkpoint=...)`: of each run comes again what was not acknowledged."""

from collections import Counter
from contextlib import closing
from functools import partial
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

import pytest
import reactivex
from checkpoint_files import checkpoint_in, known_count
from interrupted_watches import (
    Key,
    Leave,
    Read,
    Victim,
    by_take,
    each_loop,
    each_read,
    in_async_loop,
    in_loop,
    keys,
)
from journal_files import largest_file
from reactivex import operators as ops
from reactivex.subject import Subject
from resumed_runs import ResumedRuns, add_family, keys_by_run
from virtual_world import World

from rxflow import (
    AllClosed,
    CheckpointFailed,
    Closed,
    FlowRunEvent,
    FlowRunLog,
    FlowRunsStream,
    FlowRunStream,
    InvalidCheckpoint,
    Notice,
    NoticeCode,
    RunSeen,
    StateChange,
    watch_flow_run,
    watch_flow_runs,
)
from rxflow.testing import FakePrefect3


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The path of a directory that does not exist yet."""
    return tmp_path / "nightly"


class Scene(ResumedRuns):
    """Runs that are over, and watches of them with one checkpoint."""

    argument = "checkpoint"

    def file_of(self, run: str) -> Path:
        """Return the path of a run's checkpoint."""
        return self.path / f"{run}.ckpt"

    def known(self) -> dict[str, int]:
        """Return how many log lines of each run the checkpoints know."""
        return {run: known_count(self.file_of(run)) for run in self.runs}


@pytest.fixture
def scene(path: Path) -> Scene:
    """Some runs that are over."""
    return Scene(path)


def joined(first: list[FlowRunEvent], second: list[FlowRunEvent]) -> list[FlowRunEvent]:
    """Return the events of two watches; the second begins with the last event of the first."""
    assert keys(second[:1]) == keys(first[-1:])
    assert second[0].flow_run_id == first[-1].flow_run_id
    return first[:-1] + second


# -- every face -----------------------------------------------------------------------------------


@pytest.mark.parametrize("leave", [in_loop, in_async_loop, by_take])
def test_an_event_that_was_being_handled_comes_again(leave: Leave, scene: Scene) -> None:
    """Left within any event, the next watch has it and what follows of each run, and no others."""
    whole, acknowledged = keys_by_run(scene.whole()), Counter[str]()
    while True:
        taken = leave(scene.watch(), 2)
        for run, own in keys_by_run(taken).items():
            assert own == whole[run][acknowledged[run] :][: len(own)]
        if isinstance(taken[0], AllClosed):
            break
        acknowledged[taken[0].flow_run_id] += 1
    assert acknowledged == {run: len(own) for run, own in whole.items()}


@each_read
def test_a_watch_that_ended_leaves_nothing_to_come_again(read: Read, scene: Scene) -> None:
    """With the end of the stream all events are acknowledged; `AllClosed` ends each watch."""
    first = read(scene.watch())
    assert keys_by_run(first) == keys_by_run(scene.whole())
    (last,) = read(scene.watch())
    assert isinstance(last, AllClosed)
    assert last.runs == first[-1].runs  # type: ignore[union-attr]
    names = {each.name.removesuffix(".prev") for each in scene.path.iterdir()}
    assert names == {"checkpoint.lock", *(f"{run}.ckpt" for run in scene.runs)}


def test_pages_are_acknowledged_whole(path: Path) -> None:
    """A page that was being handled comes again from its first event on."""
    scene, before = Scene(path, lines=250), list[FlowRunEvent]()
    with closing(iter(scene.watch().pages())) as pages:
        for page in pages:
            if len(page) > 100:
                break
            before += page
    again = [event for page in scene.watch().pages() for event in page]
    assert keys_by_run(before + again) == keys_by_run(scene.whole())


def test_a_part_is_the_whole_watch_filtered(scene: Scene) -> None:
    """What a part leaves out is acknowledged with what it emits."""
    with closing(iter(scene.watch().logs)) as lines:
        first = list(islice(lines, 2))
    rest = list(scene.watch().logs)
    assert rest[0] == first[-1]
    assert len({line.id for line in [*first, *rest]}) == len(first) + len(rest) - 1 == 9
    assert list(scene.watch().states) == []


@pytest.mark.parametrize("count", [0, 5, 100])
def test_views_begin_with_what_is_known(count: int, scene: Scene) -> None:
    """So that the last one of each run is the whole run, and nothing comes again by that."""
    by_take(scene.watch(), count)
    for _ in range(2):
        last = {view.flow_run_id: view for view in scene.watch().views()}
        assert {run: len(view.states) for run, view in last.items()} == dict.fromkeys(scene.runs, 2)
    assert [event.kind for event in scene.watch()] == ["all-closed"]


def test_streams_that_keep_events_are_refused(scene: Scene) -> None:
    """No event is acknowledged by all of their readers."""
    with pytest.raises(ValueError, match=r"shared\(\) keeps .* pass a journal in place"):
        scene.watch().shared()
    with pytest.raises(ValueError, match=r"by_run\(\) keeps .* pass a journal in place"):
        scene.watch().by_run()


def test_the_events_of_one_run_go_on(scene: Scene) -> None:
    """`for_run` selects from what is new, and ends without an event if there is nothing."""
    run = scene.runs[1]
    with closing(iter(scene.watch().for_run(run))) as events:
        begun = list(islice(events, 2))
    rest = list(scene.watch().for_run(run))
    assert keys(joined(begun, rest)) == keys_by_run(scene.whole())[run]
    assert list(scene.watch().for_run(run)) == []


# -- members that come ----------------------------------------------------------------------------


def test_a_run_that_joins_late_goes_on(scene: Scene) -> None:
    """Its file is read when it joins, whatever waits to be handed on then."""
    run = scene.add_run()
    begun = in_loop(scene.watch([run]), 3)
    ids: Subject[str] = Subject()
    taken: list[FlowRunEvent] = []
    stream = scene.watch(reactivex.merge(reactivex.just(scene.runs[0]), ids))
    for event in stream:
        taken.append(event)
        if len(taken) == 2:
            ids.on_next(run)
            ids.on_completed()
    whole = keys_by_run(list(scene.watch([run, scene.runs[0]], checkpoint=None)))
    again = keys_by_run(taken)
    assert again[scene.runs[0]] == whole[scene.runs[0]]
    assert keys(begun)[:-1] + again[run] == whole[run]


def test_runs_that_filters_find_go_on(scene: Scene) -> None:
    """So do those that are discovered while others are watched."""
    runs = [scene.add_run(tags=["nightly"]) for _ in range(2)]
    taken = in_loop(scene.found(), 4)
    runs.append(scene.add_run(tags=["nightly"]))
    while not isinstance(taken[-1], AllClosed):
        taken = taken[:-1] + in_loop(scene.found(), 3)
    assert keys_by_run(taken) == keys_by_run(list(scene.watch(runs, checkpoint=None)))


@pytest.mark.parametrize("is_closed", [False, True], ids=["unclosed", "closed"])
def test_a_run_that_does_not_match_any_more_is_watched_to_its_end(
    is_closed: bool, path: Path
) -> None:
    """One that an earlier watch has closed is not looked at again."""
    server = FakePrefect3()
    run = server.add_run(state="RUNNING", tags=["nightly"])
    if is_closed:
        server.set_state(run, "COMPLETED")

    def watch() -> FlowRunsStream:
        states = "Completed" if is_closed else "Running"
        return watch_flow_runs(
            tags=["nightly"], states=states, checkpoint=path, drain=0, client=server.client()
        )

    begun = in_loop(watch(), 100 if is_closed else 2)
    server.set_state(run, "FAILED")
    (path / "notes.ckpt").touch()
    rest = [event.kind for event in watch()]
    assert rest == (
        ["all-closed"] if is_closed else ["state", "state", "run-changed", "closed", "all-closed"]
    )
    assert begun[0].kind == "run-seen"


def test_a_run_and_its_subflows_go_on(path: Path) -> None:
    """Each has a file, and keeps the root that its events have."""
    server = FakePrefect3()
    runs = add_family(server)

    def watch(**options: Any) -> FlowRunStream:
        checkpoint = {"checkpoint": path, **options}
        return watch_flow_run(runs[0], subflows=True, drain=0, client=server.client(), **checkpoint)

    taken = in_loop(watch(), 2)
    while not (taken[-1].kind == "closed" and taken[-1].flow_run_id == runs[0]):
        taken = taken[:-1] + in_loop(watch(), 4)
    assert keys_by_run(taken) == keys_by_run(list(watch(checkpoint=None)))
    assert {event.root_flow_run_id for event in taken} == {runs[0]}
    assert {checkpoint_in(path / f"{run}.ckpt").state.root for run in runs[1:]} == {runs[0]}
    assert keys([*watch(), watch().run()])[-1:] == keys(taken[-1:])
    assert list(watch()) == []
    assert watch().run() == watch().run()
    assert [view.name for view in watch().views()][-1] == "parent"
    assert watch().run_to_end() == 0


def test_the_subflows_of_a_run_that_goes_on_are_found(path: Path) -> None:
    """Also where the run was read by an earlier watch only, and is not over."""
    server = FakePrefect3()
    parent = server.add_run(state="RUNNING")

    def watch() -> FlowRunStream:
        return watch_flow_run(
            parent, max_duration=20, subflows=True, checkpoint=path, client=server.client()
        )

    in_loop(watch(), 2)
    child = server.add_run(state="RUNNING", parent=parent)
    with closing(iter(watch())) as events:
        seen = next(event for event in events if isinstance(event, RunSeen))
    assert seen.flow_run_id == child


def test_a_closed_run_that_goes_on_is_closed_again(scene: Scene) -> None:
    """The others are looked at once, and have no event."""
    list(scene.watch())
    run = scene.runs[1]
    scene.server.set_state(run, "RUNNING")
    scene.server.log(run, "again")
    scene.server.set_state(run, "FAILED")
    second = list(scene.watch())
    assert keys_by_run(second).keys() == {run}
    assert [event.kind for event in second][-2:] == ["closed", "all-closed"]
    assert [event.message for event in second if isinstance(event, FlowRunLog)] == ["again"]
    assert [event.kind for event in scene.watch()] == ["all-closed"]


# -- what is wrong with a checkpoint --------------------------------------------------------------


@each_read
def test_a_foreign_file_ends_the_watch_before_anything_is_handed_on(
    read: Read, scene: Scene
) -> None:
    """The error names the file, no request is sent, and the files stay as they are."""
    scene.path.mkdir()
    foreign = scene.file_of(scene.runs[1])
    foreign.write_text("notes\n")
    with pytest.raises(InvalidCheckpoint, match="move this one away") as caught:
        read(scene.watch())
    assert repr(str(foreign)) in str(caught.value)
    assert foreign.read_text() == "notes\n"
    assert scene.server.requests == []


def test_a_checkpoint_of_another_level_is_refused(scene: Scene) -> None:
    """The error names the argument."""
    list(scene.watch())
    with pytest.raises(InvalidCheckpoint, match="level=0 and not 40"):
        list(scene.watch(level="ERROR"))


@each_read
def test_of_a_damaged_checkpoint_the_one_before_it_is_used(read: Read, scene: Scene) -> None:
    """A notice says so; of that run, what was acknowledged since then comes again."""
    run = scene.runs[0]
    while not scene.file_of(run).with_suffix(".ckpt.prev").exists():
        in_loop(scene.watch(), 3)
    list(scene.watch())
    scene.file_of(run).write_bytes(b"")
    first, *rest = read(scene.watch())
    assert isinstance(first, Notice)
    assert (first.code, first.flow_run_id) == (NoticeCode.CHECKPOINT_STALE, "")
    assert repr(str(scene.file_of(run))) in first.message
    assert keys_by_run(rest).keys() == {run}
    assert [event.kind for event in read(scene.watch())] == ["all-closed"]


@each_read
def test_a_second_watch_of_one_directory_is_refused(read: Read, scene: Scene) -> None:
    """It is the stream's error, and does no harm to the first."""
    with closing(iter(scene.watch())) as events:
        begun = [next(events), next(events)]
        with pytest.raises(CheckpointFailed, match="in use by another watch of this process"):
            read(scene.watch())
        rest = list(events)
    assert keys_by_run(begun + rest) == keys_by_run(scene.whole())


def test_a_watch_of_one_file_and_one_of_the_directory_exclude_each_other(scene: Scene) -> None:
    """Whichever begins first; the first goes on without harm."""
    run, client = scene.runs[0], scene.server.client()
    file = scene.path / f"{run}.ckpt"
    scene.path.mkdir()

    def own() -> FlowRunStream:
        return watch_flow_run(run, checkpoint=file, drain=0, client=client)

    whole = keys_by_run(scene.whole())
    with closing(iter(own())) as events:
        begun = [next(events), next(events)]
        for _ in range(2):  # for the second time the directory has a lock
            with pytest.raises(CheckpointFailed, match="in use by another watch of this process"):
                list(scene.watch())
        assert keys_by_run(begun + list(events)) == {run: whole[run]}
    with closing(iter(scene.watch(scene.runs[1:]))) as events:
        begun = [next(events), next(events)]
        with pytest.raises(CheckpointFailed, match="in use by another watch of this process"):
            list(own())
        rest = keys_by_run(begun + list(events))
    assert rest == {run: whole[run] for run in scene.runs[1:]}


def test_a_file_is_not_a_directory(scene: Scene) -> None:
    """The error says what to pass."""
    scene.path.touch()
    with pytest.raises(InvalidCheckpoint, match="so pass the path of a directory"):
        list(scene.watch())


@each_read
def test_a_watch_outlives_a_full_disk(read: Read, scene: Scene) -> None:
    """One notice says so, the watch goes on to its end, and later everything comes again."""
    with largest_file(100):
        events = read(scene.watch())
    notices = [event for event in events if isinstance(event, Notice)]
    assert [notice.code for notice in notices] == [NoticeCode.CHECKPOINT_STALE]
    assert isinstance(events[-1], AllClosed)
    assert list(scene.path.glob("*.ckpt*")) == []
    assert keys_by_run(read(scene.watch())) == keys_by_run(scene.whole())


REFUSED: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "bytes": ({"checkpoint": b"nightly"}, TypeError, "checkpoint"),
    "nothing": ({"checkpoint": ""}, ValueError, "checkpoint='' is not a path; pass one such as 'n"),
    "a journal": ({"journal": "nightly"}, ValueError, "a journal or a checkpoint; pass the"),
    "acknowledge": ({"acknowledge": "later"}, ValueError, "acknowledge='later' is neither"),
    "manual without": (
        {"checkpoint": None, "acknowledge": "manual"},
        ValueError,
        "acknowledge=\"manual\" is about a checkpoint; pass checkpoint='nightly/'",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_arguments_are_refused_at_the_call(what: str, scene: Scene) -> None:
    """The error names the argument, and nothing is created."""
    options, error, text = REFUSED[what]
    with pytest.raises(error, match=text):
        scene.watch(**options)
    assert not scene.path.exists()


# -- virtual time ---------------------------------------------------------------------------------


def test_a_watch_in_virtual_time_goes_on(path: Path) -> None:
    """Runs that are read in a group are, too, wherever the watch is left."""
    world = World()
    runs = [world.server.add_run(state="RUNNING") for _ in range(4)]
    for number in range(40):
        world.at(2 + number / 2, partial(world.server.log, runs[number % 4], f"line {number}"))
    for run in runs:
        world.at(30, partial(world.server.set_state, run, "COMPLETED"))
    stream = watch_flow_runs(runs, checkpoint=path, client=world.client)
    taken: list[FlowRunEvent] = []
    for end in (5.0, 11.5, 12.0, 31.0):
        taken += world.watch(stream, until=end).values
    last = world.watch(stream, until=200.0)
    assert last.completed
    taken += last.values
    for number, run in enumerate(runs):
        own = [event for event in taken if event.flow_run_id == run]
        lines = [event.message for event in own if isinstance(event, FlowRunLog)]
        assert lines == [f"line {each}" for each in range(number, 40, 4)]
        states = [event.state.name for event in own if isinstance(event, StateChange)]
        assert states == ["Running", "Completed"]
        assert isinstance(own[-1], Closed)


def test_only_the_files_of_runs_with_news_are_written(path: Path, tmp_path: Path) -> None:
    """A run that is quiet costs nothing, and is not more than a second old either."""
    world = World()
    runs = [world.server.add_run(state="RUNNING") for _ in range(5)]
    for number in range(20):
        world.at(10 + number, partial(world.server.log, runs[0], f"{number}"))

    def keep() -> None:
        for run in runs:
            (tmp_path / run).hardlink_to(path / f"{run}.ckpt")

    world.at(9, keep)
    stream = watch_flow_runs(runs, checkpoint=path, client=world.client)
    world.watch(stream.pipe(ops.do_action(lambda _: None)), until=41.0)
    replaced = [run for run in runs if not (path / f"{run}.ckpt").samefile(tmp_path / run)]
    assert replaced == runs[:1]
    assert known_count(path / f"{runs[0]}.ckpt") == 20


def test_many_files_are_written_in_turns(path: Path) -> None:
    """After the first one, each second the files of 32 runs are, and not those of all."""
    world = World()
    runs = [world.server.add_run(state="RUNNING") for _ in range(150)]
    world.at(60, lambda: [world.server.log(run, "line") for run in runs])
    known: list[int] = []

    def note() -> None:
        known.append(sum(known_count(path / f"{run}.ckpt") for run in runs))

    for quarter in range(240, 400):
        world.at(quarter / 4, note)
    stream = watch_flow_runs(runs, checkpoint=path, client=world.client)
    world.watch(stream, until=101.0)
    steps = sorted({*known})
    assert steps == [0, 1, 33, 65, 97, 129, 150]
    for count in (1, 33, 65, 97, 129):
        assert known.count(count) >= 3
    assert {each.suffix for each in path.iterdir()} <= {".ckpt", ".prev", ".lock"}


def test_the_files_of_many_runs_are_written_at_the_end(path: Path) -> None:
    """However many have news when the watch is left."""
    server = FakePrefect3()
    runs = [server.add_run(state="COMPLETED") for _ in range(100)]

    def watch() -> FlowRunsStream:
        return watch_flow_runs(runs, checkpoint=path, drain=0, client=server.client())

    first = keys_by_run(by_take(watch(), 250))
    second = keys_by_run(list(watch()))
    both = {run: first.get(run, []) + second.get(run, []) for run in runs}
    again = [run for run, own in both.items() if len(own) != 3]
    assert len(again) == 1  # that of the last event
    assert len(list(path.glob("*.ckpt"))) == 100


# -- kill -9 --------------------------------------------------------------------------------------

WATCH = "rxflow.watch_flow_runs(runs, drain=0.5, checkpoint=path, client=client)"


@pytest.mark.long
@each_loop
def test_what_comes_twice_after_kills_was_not_in_the_checkpoints(face: str, path: Path) -> None:
    """Of each run no row is missing, and a row comes again if and only if its file did not have it.

    One more run joins with each life, and each of them logs before it.
    """
    random, lives, lines = Random(face), 4, 400
    server = FakePrefect3()
    runs = [server.add_run(state="RUNNING") for _ in range(lives)]
    rows: dict[str, list[Key]] = {run: [] for run in runs}  # in the order of their first emission
    redelivered = 0
    with server.serve() as url:
        for life in range(1, lives + 1):
            watched = runs[:life]
            for line in range(lines * life):
                server.log(watched[line % life], f"{life}:{line}")
            known = {run: known_count(path / f"{run}.ckpt") for run in watched}
            victim = Victim(face, WATCH, url, path, *watched)
            # The last is killed after a thousand events, by which files are written in any case.
            least, most = (200 if life < lives else 1200), lines * life
            printed = victim.kill_after(random.randint(least, most))
            redelivered += _receive(rows, known, printed)
        for run in runs:
            server.set_state(run, "COMPLETED")
        known = {run: known_count(path / f"{run}.ckpt") for run in runs}
        last = Victim(face, WATCH, url, path, *runs)
        redelivered += _receive(rows, known, last.end())
    assert last.process.returncode == 0
    assert Counter(key for own in rows.values() for key in own) == Counter(
        (row["flow_run_id"], "log", row["id"]) for row in server.logs
    )
    assert redelivered > 0
    assert sum(known.values()) > 0
    for number, run in enumerate(runs):
        closed = checkpoint_in(path / f"{run}.ckpt").state.closed
        assert closed is not None
        assert (closed.verified, closed.log_count) == (True, lines * (lives - number))


def _receive(rows: dict[str, list[Key]], known: dict[str, int], printed: list[Key]) -> int:
    """Compare the rows of a life with those in its checkpoints; return how many came again."""
    redelivered = 0
    for run, count in known.items():
        handed_on = [key for key in printed if key[:2] == (run, "log")]
        again = rows[run][count : count + len(handed_on)]
        assert handed_on[: len(again)] == again
        rows[run] += handed_on[len(again) :]
        redelivered += len(again)
    return redelivered
