"""`watch_flow_runs(journal=...)`: a watch of many runs goes on where an earlier one ended."""

from collections import Counter
from contextlib import closing
from functools import partial
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

import pytest
import reactivex
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
    in_loop,
)
from journal_files import events_in, largest_file
from reactivex import operators as ops
from reactivex.subject import Subject
from resumed_runs import ResumedRuns, add_family, by_run, keys_by_run
from virtual_world import Recording, World

from rxflow import (
    AllClosed,
    Closed,
    FlowRunEvent,
    FlowRunLog,
    FlowRunsStream,
    FlowRunStream,
    InvalidJournal,
    JournalFailed,
    Notice,
    NoticeCode,
    RunSeen,
    StateChange,
    watch_flow_run,
    watch_flow_runs,
)
from rxflow.testing import FakePrefect3

MISSING = "00000000-0000-4000-8000-000000000000"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The path of a directory that does not exist yet."""
    return tmp_path / "nightly"


class Scene(ResumedRuns):
    """Runs that are over, and watches of them with one journal."""

    argument = "journal"

    def journaled(self) -> dict[str, list[FlowRunEvent]]:
        """Return the events in the files, by their runs."""
        return {file.stem: events_in(file) for file in self.path.glob("*.jsonl")}


@pytest.fixture
def scene(path: Path) -> Scene:
    """Some runs that are over."""
    return Scene(path)


# -- every face -----------------------------------------------------------------------------------


@pytest.mark.parametrize("face", [in_loop, in_async_loop, by_take])
def test_a_watch_that_is_left_goes_on_with_the_next_event(face: Leave, scene: Scene) -> None:
    """Left after any event, the next watch begins with what is new of each run."""
    whole, taken = scene.whole(), list[FlowRunEvent]()
    while not any(isinstance(event, AllClosed) for event in taken):
        taken += face(scene.watch(), 2)
        assert scene.journaled() == by_run(taken)
    assert keys_by_run(taken) == keys_by_run(whole)
    (last,) = scene.watch()
    assert isinstance(last, AllClosed)
    assert last.runs == whole[-1].runs  # type: ignore[union-attr]
    assert last.timestamp == taken[-1].timestamp


@pytest.mark.parametrize(
    "read", [*READS.values(), lambda stream: list(stream.shared())], ids=[*READS, "shared"]
)
def test_a_replay_has_the_events_of_the_journal(read: Read, scene: Scene) -> None:
    """Those of each run come as they were, once, before what is new of it."""
    begun = by_run(in_loop(scene.watch(), 7))
    events = read(scene.watch(replay=True))
    again = by_run(events)
    assert keys_by_run(events) == keys_by_run(scene.whole())
    assert all(again[run][: len(own)] == own for run, own in begun.items())
    assert by_run(read(scene.watch(replay=True))) == again == scene.journaled()


def test_a_replay_that_is_left_appends_nothing(scene: Scene) -> None:
    """Replayed events are not appended again, wherever the loop is left."""
    whole = by_run(list(scene.watch()))
    for count in range(1, 15, 3):
        in_loop(scene.watch(replay=True), count)
        assert scene.journaled() == whole


def test_pages_are_appended_and_handed_on_whole(path: Path) -> None:
    """A page has all its events in the files when it is handed on, and none of the next one."""
    scene, taken, sizes = Scene(path, lines=250), list[FlowRunEvent](), list[int]()
    for page in scene.watch().pages():
        taken += page
        sizes.append(len(page))
        assert scene.journaled() == by_run(taken)
    assert keys_by_run(taken) == keys_by_run(scene.whole())
    assert max(sizes) > 100


def test_a_part_is_the_whole_watch_filtered(scene: Scene) -> None:
    """The journal of a loop over the lines has all events, and the next one goes on with lines."""
    with closing(iter(scene.watch().logs)) as lines:
        first = list(islice(lines, 2))
    rest = list(scene.watch().logs)
    assert len({line.id for line in [*first, *rest]}) == len(first) + len(rest) == 9
    assert keys_by_run(list(scene.watch(replay=True))) == keys_by_run(scene.whole())
    assert list(scene.watch().states) == []
    assert len(list(scene.watch(replay=True).states)) == 6


@pytest.mark.parametrize("replay", [False, True])
def test_views_are_the_scans_of_all_events(replay: bool, scene: Scene) -> None:
    """Those of events in the journal come again, so that each run's last one is the whole run."""
    for count in (7, 100):
        in_loop(scene.watch(), count)
        last = {view.flow_run_id: view for view in scene.watch(replay=replay).views()}
        assert {run: len(view.states) for run, view in last.items()} == dict.fromkeys(scene.runs, 2)


def test_streams_that_keep_events_need_a_replay(scene: Scene) -> None:
    """Their readers get every event from the first on."""
    with pytest.raises(ValueError, match=r"shared\(\) keeps .* pass replay=True"):
        scene.watch().shared()
    with pytest.raises(ValueError, match=r"by_run\(\) keeps .* pass replay=True"):
        scene.watch().by_run()
    list(scene.watch())
    kinds = [[event.kind for event in run] for run in scene.watch(replay=True).by_run()]
    assert [(each[0], each[-1]) for each in kinds] == [("run-seen", "closed")] * 3


def test_the_events_of_one_run_go_on(scene: Scene) -> None:
    """`for_run` selects from what is new, and ends without an event if there is nothing."""
    run = scene.runs[1]
    with closing(iter(scene.watch().for_run(run))) as events:
        begun = list(islice(events, 2))
    rest = list(scene.watch().for_run(run))
    assert scene.journaled()[run] == begun + rest
    assert list(scene.watch().for_run(run)) == []
    scene.server.set_state(run, "RUNNING")
    scene.server.set_state(run, "FAILED")
    again = list(scene.watch().for_run(run))
    assert [event.kind for event in again] == ["state", "state", "run-changed", "notice", "closed"]
    assert list(scene.watch(replay=True).for_run(run)) == begun + rest + again


# -- members that come ----------------------------------------------------------------------------


def test_a_run_that_joins_late_goes_on(scene: Scene) -> None:
    """Its file is read when it joins, and only what is new of it is emitted."""
    run = scene.add_run()
    begun = in_loop(scene.watch([run]), 3)
    ids: Subject[str] = Subject()
    recording: Recording[FlowRunEvent] = Recording(lambda: 0.0)

    def add_late(event: FlowRunEvent) -> None:
        if isinstance(event, Closed) and event.flow_run_id == scene.runs[0]:
            ids.on_next(run)
            ids.on_completed()

    stream = scene.watch(reactivex.merge(reactivex.just(scene.runs[0]), ids))
    recording.subscribe_to(stream.pipe(ops.do_action(add_late)))
    recording.wait()
    assert recording.error is None
    rest = by_run(recording.values)[run]
    assert scene.journaled()[run] == begun + rest
    assert [event.kind for event in begun + rest].count("run-seen") == 1
    ids = Subject()
    again: Recording[FlowRunEvent] = Recording(lambda: 0.0)
    stream = scene.watch(reactivex.merge(reactivex.just(scene.runs[0]), ids), replay=True)
    again.subscribe_to(stream.pipe(ops.do_action(add_late)))
    again.wait()
    assert by_run(again.values) == by_run(recording.values) | {run: begun + rest}
    assert scene.journaled() == by_run(again.values)
    assert len({event.id for event in begun + rest if isinstance(event, FlowRunLog)}) == 3


def test_a_late_run_does_not_stop_what_is_emitted(path: Path) -> None:
    """Pages that wait to be taken when a run joins are appended as any others."""
    scene = Scene(path, runs=2, lines=40)
    ids: Subject[str] = Subject()
    taken: list[FlowRunEvent] = []
    with closing(iter(scene.watch(reactivex.merge(reactivex.just(scene.runs[0]), ids)))) as events:
        for event in events:
            taken.append(event)
            if len(taken) == 5:
                ids.on_next(scene.runs[1])
                ids.on_completed()
            assert scene.journaled() == by_run(taken)
    assert keys_by_run(taken) == keys_by_run(scene.whole())


def test_runs_that_filters_find_go_on(scene: Scene) -> None:
    """So do those that are discovered while others are watched."""
    runs = [scene.add_run(tags=["nightly"]) for _ in range(2)]
    taken = in_loop(scene.found(), 4)
    runs.append(scene.add_run(tags=["nightly"]))
    while not isinstance(taken[-1], AllClosed):
        taken += in_loop(scene.found(), 3)
        assert scene.journaled() == by_run(taken)
    assert {run: Counter(own).most_common(1)[0][1] for run, own in keys_by_run(taken).items()} == (
        dict.fromkeys(runs, 1)
    )


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
            tags=["nightly"], states=states, journal=path, drain=0, client=server.client()
        )

    begun = in_loop(watch(), 100 if is_closed else 2)
    server.set_state(run, "FAILED")
    (path / "notes.jsonl").touch()
    rest = [event.kind for event in watch()]
    assert rest == (
        ["all-closed"] if is_closed else ["state", "run-changed", "closed", "all-closed"]
    )
    assert begun[0].kind == "run-seen"


def test_a_run_and_its_subflows_go_on(path: Path) -> None:
    """Each has a file, and keeps the root that its events have."""
    server = FakePrefect3()
    runs = add_family(server)

    def watch(**options: Any) -> FlowRunStream:
        journal = {"journal": path, **options}
        return watch_flow_run(runs[0], subflows=True, drain=0, client=server.client(), **journal)

    taken: list[FlowRunEvent] = []
    while not (taken and taken[-1].kind == "closed" and taken[-1].flow_run_id == runs[0]):
        taken += in_loop(watch(), 2)
    assert keys_by_run(taken) == keys_by_run(list(watch(journal=None)))
    assert {event.root_flow_run_id for event in taken} == {runs[0]}
    assert list(watch()) == []
    assert {file.stem for file in path.glob("*.jsonl")} == {*runs}
    assert watch().run() == taken[-1] == watch(replay=True).run()
    assert by_run(list(watch(replay=True))) == by_run(taken)
    assert [view.name for view in watch().views()][-1] == "parent"
    assert watch().run_to_end() == 0


def test_the_subflows_of_a_run_that_goes_on_are_found(path: Path) -> None:
    """Also where the run was read by an earlier watch only, and is not over."""
    server = FakePrefect3()
    parent = server.add_run(state="RUNNING")

    def watch() -> FlowRunStream:
        return watch_flow_run(
            parent, max_duration=20, subflows=True, journal=path, client=server.client()
        )

    taken = in_loop(watch(), 2)
    child = server.add_run(state="RUNNING", parent=parent)
    with closing(iter(watch())) as events:
        seen = next(event for event in events if isinstance(event, RunSeen))
    assert seen.flow_run_id == child
    assert {event.flow_run_id for event in taken} == {parent}


def test_a_closed_run_that_goes_on_is_closed_again(scene: Scene) -> None:
    """The others are looked at once, and have no event."""
    list(scene.watch())
    run = scene.runs[1]
    scene.server.set_state(run, "RUNNING")
    scene.server.log(run, "again")
    scene.server.set_state(run, "FAILED")
    second = list(scene.watch())
    assert by_run(second).keys() == {run}
    assert [event.kind for event in second][-2:] == ["closed", "all-closed"]
    assert [event.message for event in second if isinstance(event, FlowRunLog)] == ["again"]
    assert [event.kind for event in scene.watch()] == ["all-closed"]


def test_a_run_that_is_gone_is_said_to_be_once(path: Path) -> None:
    """The next watch looks for it, and has no event of it."""
    world = World()
    run = world.server.add_run(state="COMPLETED")
    stream = watch_flow_runs([run, MISSING], journal=path, client=world.client)
    first = world.watch(stream, until=100.0).values
    codes = [event.code for event in first if isinstance(event, Notice)]
    assert codes == [NoticeCode.RUN_NOT_FOUND]
    (last,) = world.watch(stream, until=200.0).values
    assert isinstance(last, AllClosed)
    assert {*last.runs} == {*first[-1].runs}  # type: ignore[union-attr]


# -- what is wrong with a journal -----------------------------------------------------------------


@each_read
def test_a_foreign_file_ends_the_watch_before_anything_is_handed_on(
    read: Read, scene: Scene
) -> None:
    """The error names the file, no request is sent, and the files stay as they are."""
    scene.path.mkdir()
    foreign = scene.path / f"{scene.runs[1]}.jsonl"
    foreign.write_text("notes\n")
    with pytest.raises(InvalidJournal, match="move this file away") as caught:
        read(scene.watch())
    assert repr(str(foreign)) in str(caught.value)
    assert foreign.read_text() == "notes\n"
    assert scene.server.requests == []


def test_a_journal_of_another_level_is_refused(scene: Scene) -> None:
    """The error names the argument."""
    list(scene.watch())
    with pytest.raises(InvalidJournal, match="level=0 and not 40"):
        list(scene.watch(level="ERROR"))


@each_read
def test_a_second_watch_of_one_directory_is_refused(read: Read, scene: Scene) -> None:
    """It is the stream's error, and does no harm to the first."""
    with closing(iter(scene.watch())) as events:
        begun = [next(events), next(events)]
        with pytest.raises(JournalFailed, match="in use by another watch of this process"):
            read(scene.watch())
        rest = list(events)
    assert keys_by_run(begun + rest) == keys_by_run(scene.whole())


def test_a_watch_of_one_file_and_one_of_the_directory_exclude_each_other(scene: Scene) -> None:
    """Whichever begins first; the first goes on without harm."""
    run, client = scene.runs[0], scene.server.client()
    file = scene.path / f"{run}.jsonl"
    scene.path.mkdir()

    def own() -> FlowRunStream:
        return watch_flow_run(run, journal=file, drain=0, client=client)

    whole = keys_by_run(scene.whole())
    with closing(iter(own())) as events:
        begun = [next(events), next(events)]
        for _ in range(2):  # for the second time the directory has a lock
            with pytest.raises(JournalFailed, match="in use by another watch of this process"):
                list(scene.watch())
        assert keys_by_run(begun + list(events)) == {run: whole[run]}
    with closing(iter(scene.watch(scene.runs[1:]))) as events:
        begun = [next(events), next(events)]
        with pytest.raises(JournalFailed, match="in use by another watch of this process"):
            list(own())
        rest = keys_by_run(begun + list(events))
    assert rest == {run: whole[run] for run in scene.runs[1:]}


def test_a_file_is_not_a_directory(scene: Scene) -> None:
    """The error says what to pass; with one run, a directory is none of its files either."""
    scene.path.touch()
    with pytest.raises(JournalFailed, match="pass the path of a directory"):
        list(scene.watch())


@each_read
def test_a_full_disk_ends_the_stream(read: Read, scene: Scene) -> None:
    """The event that did not fit is not handed on, and comes first when there is room again."""
    taken = in_loop(scene.watch(), 5)
    with largest_file(300), pytest.raises(JournalFailed) as caught:
        read(scene.watch())
    assert caught.value.is_full
    assert scene.journaled().keys() >= by_run(taken).keys()
    taken += read(scene.watch())
    assert keys_by_run(taken) == keys_by_run(scene.whole())


@each_read
def test_a_watch_may_outlive_a_full_disk(read: Read, scene: Scene) -> None:
    """One notice says so, and the watch goes on to its end without journals."""
    taken = in_loop(scene.watch(), 5)
    before = scene.journaled()
    with largest_file(300):
        rest = read(scene.watch(on_full="continue"))
    notices = [event for event in rest if isinstance(event, Notice)]
    assert [event.code for event in notices] == [NoticeCode.JOURNAL_FULL]
    assert notices[0].flow_run_id == ""
    assert keys_by_run(taken + rest) == keys_by_run(scene.whole())
    assert {run: own for run, own in scene.journaled().items() if own} == before


REFUSED: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "bytes": ({"journal": b"nightly"}, TypeError, "journal"),
    "nothing": ({"journal": ""}, ValueError, "journal='' is not a path; pass one such as 'ni"),
    "replay without": ({"journal": None, "replay": True}, ValueError, "replay=True is about a"),
    "full without": ({"journal": None, "on_full": "continue"}, ValueError, 'on_full="continue" is'),
    "on_full": ({"on_full": "stop"}, ValueError, "on_full='stop' is neither"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_arguments_are_refused_at_the_call(what: str, scene: Scene) -> None:
    """The error names the argument, and nothing is created."""
    options, error, text = REFUSED[what]
    with pytest.raises(error, match=text):
        scene.watch(**options)
    assert not scene.path.exists()


def test_a_watch_in_virtual_time_goes_on(path: Path) -> None:
    """Runs that are read in a group are, too, wherever the watch is left."""
    world = World()
    runs = [world.server.add_run(state="RUNNING") for _ in range(4)]
    for number in range(40):
        world.at(2 + number / 2, partial(world.server.log, runs[number % 4], f"line {number}"))
    for run in runs:
        world.at(30, partial(world.server.set_state, run, "COMPLETED"))
    stream = watch_flow_runs(runs, journal=path, client=world.client)
    taken: list[FlowRunEvent] = []
    for end in (5.0, 11.5, 12.0, 31.0):
        taken += world.watch(stream, until=end).values
        assert {file.stem: events_in(file) for file in path.glob("*.jsonl")} == by_run(taken)
    last = world.watch(stream, until=200.0)
    assert last.completed
    taken += last.values
    for number, run in enumerate(runs):
        lines = [event.message for event in by_run(taken)[run] if isinstance(event, FlowRunLog)]
        assert lines == [f"line {each}" for each in range(number, 40, 4)]
        states = [
            event.state.name for event in by_run(taken)[run] if isinstance(event, StateChange)
        ]
        assert states == ["Running", "Completed"]


# -- kill -9 --------------------------------------------------------------------------------------

WATCH = "rxflow.watch_flow_runs(runs, drain=0.5, journal=path, client=client)"


@pytest.mark.long
@each_loop
def test_a_watch_that_is_killed_again_and_again_has_every_row_once(face: str, path: Path) -> None:
    """The files have each row once; what was handed on is in them, and no event came twice.

    Of the events in them at most the last one before each kill was not seen by the consumer.
    """
    random, kills, lines = Random(face), 5, 60
    server = FakePrefect3()
    runs = [server.add_run(state="RUNNING") for _ in range(4)]
    seen: list[Key] = []
    with server.serve() as url:
        for number in range(kills):
            for line in range(lines):
                server.log(runs[line % 4], f"{number}:{line}")
            watched = runs[: 1 + number]  # one more joins each time
            victim = Victim(face, WATCH, url, path, *watched)
            seen += victim.kill_after(random.randint(1, 12))
        for run in runs:
            server.set_state(run, "COMPLETED")
        seen += Victim(face, WATCH, url, path, *runs).end()
    assert seen.pop()[1] == "all-closed"
    journaled = [
        (event.flow_run_id, event.kind, getattr(event, "id", ""))
        for run in runs
        for event in events_in(path / f"{run}.jsonl")
    ]
    rows = {(row["flow_run_id"], "log", row["id"]) for row in server.logs}
    rows |= {(run, "state", row["id"]) for run in runs for row in server.states[run]}
    assert {key for key in journaled if key[1] in {"log", "state"}} == rows
    assert max(Counter(key for key in journaled if key[1] != "run-changed").values()) == 1
    assert Counter(seen) - Counter[Key](journaled) == Counter()
    assert (Counter[Key](journaled) - Counter(seen)).total() <= kills
    for run in runs:
        closed = events_in(path / f"{run}.jsonl")[-1]
        assert isinstance(closed, Closed)
        assert (closed.verified, closed.log_count) == (True, lines * kills // 4)
