"""What a user is promised, whatever server it is: each test runs on every server there is.

A test module takes these tests by importing all of this one, and brings the fixture ``prefect``,
the server. Nothing here knows a server's words, and nothing depends on how long anything takes:
what happens to a run while it is watched happens in answer to what was told.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import reduce
from itertools import pairwise
from typing import Any
from uuid import uuid4

import pytest
from msgspec.structs import asdict, replace
from servers_under_test import (
    FACES,
    Acts,
    Line,
    ServerUnderTest,
    entered,
    rows,
    said,
    subscribed,
    watched,
)
from stream_faces import collect_async
from twin_calls import TWINS, Call
from virtual_world import TEST_TIMEOUT, Recording, identities

import rxflow
from rxflow import (
    Closed,
    FlowRunEvent,
    FlowRunLog,
    FlowRunView,
    Notice,
    NoticeCode,
    RunSeen,
    StateChange,
    StateType,
    TaskRunStateChange,
    wait_for_flow_run,
    watch_flow_run,
)

SECOND = timedelta(seconds=1)
LEVELS = {"one": 10, "two": 20, "three": 30, "four": 20, "five": 40}
TASKS = [("load", 0), ("load", 1), ("load", 2), ("sum", -1)]
PAGES = 450  # lines, which is more than two pages


@pytest.fixture(params=FACES)
def face(request: pytest.FixtureRequest) -> Callable[[Any], list[Any]]:
    """A way to use a stream to its end."""
    return FACES[request.param]


@pytest.fixture(params=TWINS)
def call(request: pytest.FixtureRequest) -> Call:
    """Call a method, or its async twin."""
    return TWINS[request.param]


@pytest.fixture
def past(prefect: ServerUnderTest) -> str:
    """A run that completed, with three states, five lines of four levels, and task runs."""
    run = prefect.add_run()
    prefect.enter(run, StateType.RUNNING)
    begun = prefect.now() - 10 * SECOND
    lines = [Line(text, begun + n * SECOND, LEVELS[text]) for n, text in enumerate(LEVELS)]
    prefect.log(run, *lines)
    for task, index in TASKS:
        prefect.enter_task(run, prefect.add_task_run(run, task, index), StateType.COMPLETED)
    prefect.enter(run, StateType.COMPLETED)
    prefect.let_time_pass()
    return run


def all_of(prefect: ServerUnderTest, run: str, **options: Any) -> rxflow.FlowRunStream:
    """A watch of all that there is, with as much drain as there is time for."""
    given = {"drain": prefect.drain, "client": prefect.client}
    return watch_flow_run(run, **(given | options))


def messages(events: Sequence[FlowRunEvent]) -> list[str]:
    """The text of each log line."""
    return [event.message for event in events if isinstance(event, FlowRunLog)]


def states(events: list[FlowRunEvent]) -> list[str]:
    """The type of each state that the run entered."""
    return [event.state.type for event in events if isinstance(event, StateChange)]


def late(events: list[FlowRunEvent]) -> list[str]:
    """What is flagged late."""
    return [event.message for event in events if event.late]


def codes(events: list[FlowRunEvent]) -> list[NoticeCode]:
    """What the notices are about."""
    return [event.code for event in events if isinstance(event, Notice)]


def closed(events: list[FlowRunEvent]) -> Closed:
    """The last event."""
    assert isinstance(events[-1], Closed)
    return events[-1]


def folded(events: list[FlowRunEvent]) -> rxflow.Snapshot:
    """What the events make of the run."""
    nothing: rxflow.Snapshot | None = None
    snapshot = reduce(rxflow.fold, events, nothing)
    assert snapshot is not None
    return snapshot


def assert_whole(events: list[FlowRunEvent], prefect: ServerUnderTest, run: str) -> None:
    """Each row of the run was told once, between the first event and the last, which knows it."""
    assert rows(events) == prefect.stored(run)
    kinds = [kind for kind, _ in identities(events) if kind not in {"state", "log", "run-changed"}]
    assert kinds == ["run-seen", "closed"]
    assert (type(events[0]), type(events[-1])) == (RunSeen, Closed)
    assert closed(events).verified
    assert closed(events).log_count == len(messages(events))


# -- each row once, whenever the watch begins -----------------------------------------------------


def test_watchers_early_midway_and_late_are_told_the_same(prefect: ServerUnderTest) -> None:
    """From the first moment on, midway or after the end: each state and each line comes once."""
    run = prefect.add_run()
    stream = all_of(prefect, run)
    others: list[Recording[FlowRunEvent]] = []

    def join() -> None:
        others.append(prefect.begin(stream, acts))
        prefect.log(run, "three")

    acts = Acts(
        (entered(StateType.PENDING), lambda: prefect.enter(run, StateType.RUNNING)),
        (entered(StateType.RUNNING), lambda: prefect.log(run, "one", "two")),
        (said("two"), join),
        (said("three"), lambda: prefect.enter(run, StateType.COMPLETED)),
        (entered(StateType.COMPLETED), lambda: prefect.log(run, "after the end")),
    )
    early = watched(prefect, stream, acts)
    midway = prefect.finish(others[0])
    for events in (early, midway, watched(prefect, stream)):
        assert_whole(events, prefect, run)
        assert messages(events) == ["one", "two", "three", "after the end"]
        assert states(events) == ["PENDING", "RUNNING", "COMPLETED"]


def test_the_faces_of_a_run_that_is_over_are_equal(prefect: ServerUnderTest, past: str) -> None:
    """A `for` loop, an `async for` loop and subscribers get equal events in the same order."""
    stream = all_of(prefect, past, stream_tasks=True)
    told = [*(face(stream) for face in FACES.values()), watched(prefect, stream)]
    # On a server whose clock goes on, each watch has an end of its own.
    ended = closed(told[0]).timestamp
    first, *others = [[*events[:-1], replace(closed(events), timestamp=ended)] for events in told]
    assert len(first) > len(LEVELS)
    assert others == [first] * len(FACES)


def test_the_end_can_be_waited_for(prefect: ServerUnderTest, past: str) -> None:
    """`run` and `await` give the last event alone."""
    stream = all_of(prefect, past)

    async def last() -> FlowRunEvent:
        return await stream

    for event in (stream.run(), asyncio.run(last())):
        assert isinstance(event, Closed)
        assert event.log_count == len(LEVELS)
        assert event.verified


def test_the_faces_of_a_run_that_goes_on_are_told_the_same(prefect: ServerUnderTest) -> None:
    """Loops and a subscriber that watch at once over HTTP, unasked what it is, miss nothing."""
    run = prefect.add_run()
    acts = Acts(
        (entered(StateType.PENDING), lambda: prefect.enter(run, StateType.RUNNING)),
        (entered(StateType.RUNNING), lambda: prefect.log(run, "one", "two")),
        (said("two"), lambda: prefect.enter(run, StateType.COMPLETED)),
    )
    driving: list[FlowRunEvent] = []
    with prefect.serve() as api_url, rxflow.Client(api_url=api_url) as client:
        stream = watch_flow_run(run, drain=0, max_duration=TEST_TIMEOUT, client=client)
        with ThreadPoolExecutor(2) as pool:
            others = [pool.submit(collect_async, stream), pool.submit(subscribed, stream)]
            for event in stream:
                driving.append(event)
                acts(event)
            told = [driving, *(other.result(TEST_TIMEOUT) for other in others)]
    for events in told:
        assert_whole(events, prefect, run)
        assert messages(events) == ["one", "two"]


def test_two_runs_are_kept_apart(prefect: ServerUnderTest, past: str) -> None:
    """Watches of one client, going on at once, tell the rows of their own run and no others."""
    another = prefect.add_run(state=StateType.RUNNING)
    begun = prefect.begin(
        all_of(prefect, another),
        Acts(
            (entered(StateType.RUNNING), lambda: prefect.log(another, "another")),
            (said("another"), lambda: prefect.enter(another, StateType.COMPLETED)),
        ),
    )
    assert_whole(watched(prefect, all_of(prefect, past)), prefect, past)
    assert_whole(prefect.finish(begun), prefect, another)


def test_states_are_told_by_their_ids(prefect: ServerUnderTest) -> None:
    """A run that enters the same state twice has two states, and both come."""
    run = prefect.add_run(state=StateType.RUNNING)
    acts = Acts(
        (entered(StateType.RUNNING), lambda: prefect.enter(run, StateType.RUNNING)),
        (entered(StateType.RUNNING), lambda: prefect.enter(run, StateType.COMPLETED)),
    )
    events = watched(prefect, all_of(prefect, run), acts)
    assert_whole(events, prefect, run)
    assert states(events) == ["RUNNING", "RUNNING", "COMPLETED"]


def test_states_between_two_looks_are_told(prefect: ServerUnderTest) -> None:
    """However short a state lasted, it is told, and all of them in their order."""
    run = prefect.add_run()

    def live() -> None:
        for state in (StateType.RUNNING, StateType.PAUSED, StateType.RUNNING, StateType.CANCELLING):
            prefect.enter(run, state)
        prefect.enter(run, StateType.CANCELLED)

    acts = Acts((entered(StateType.PENDING), live))
    events = watched(prefect, all_of(prefect, run), acts)
    assert_whole(events, prefect, run)
    told = ["PENDING", "RUNNING", "PAUSED", "RUNNING", "CANCELLING", "CANCELLED"]
    assert states(events) == told


def test_a_run_that_goes_on_after_its_end_is_watched_on(prefect: ServerUnderTest) -> None:
    """A failed run that is put to work again is told to its second end, and a notice says so."""
    run = prefect.add_run(state=StateType.RUNNING)
    acts = Acts(
        (entered(StateType.RUNNING), lambda: prefect.enter(run, StateType.FAILED)),
        (entered(StateType.FAILED), lambda: prefect.enter(run, StateType.RUNNING)),
        (entered(StateType.RUNNING), lambda: prefect.log(run, "again")),
        (said("again"), lambda: prefect.enter(run, StateType.COMPLETED)),
    )
    events = watched(prefect, all_of(prefect, run), acts)
    assert rows(events) == prefect.stored(run)
    assert codes(events) == [NoticeCode.REOPENED]
    assert states(events) == ["RUNNING", "FAILED", "RUNNING", "COMPLETED"]
    assert closed(events).verified
    closed(events).raise_for_state()


# -- log lines: once, in order, else flagged ------------------------------------------------------


def test_a_line_is_told_as_it_was_written(prefect: ServerUnderTest, past: str) -> None:
    """Its text, its level and its time, to the microsecond."""
    run = prefect.add_run()
    moment = prefect.now().replace(microsecond=123456)
    texts = ["", "two\nlines", "\N{SNOWMAN} \U0001f600", "%s {} [red]", "x" * 5_000]
    prefect.log(run, *(Line(text, moment + n * SECOND) for n, text in enumerate(texts)))
    prefect.enter(run, StateType.COMPLETED)
    lines = watched(prefect, all_of(prefect, run).logs)
    assert [line.message for line in lines] == texts
    assert [line.timestamp for line in lines] == [moment + n * SECOND for n in range(len(texts))]
    levels = {line.message: line.level for line in watched(prefect, all_of(prefect, past).logs)}
    assert levels == LEVELS


def test_lines_of_one_look_come_by_their_times(prefect: ServerUnderTest) -> None:
    """What was stored between two polls comes by its time, however it was stored."""
    run = prefect.add_run(state=StateType.RUNNING)
    begun = prefect.now() + SECOND
    shuffled = [Line(f"line {n}", begun + n * SECOND) for n in (3, 0, 4, 1, 2)]
    acts = Acts(
        (entered(StateType.RUNNING), lambda: prefect.log(run, *shuffled)),
        (said("line 4"), lambda: prefect.enter(run, StateType.COMPLETED)),
    )
    events = watched(prefect, all_of(prefect, run), acts)
    assert_whole(events, prefect, run)
    assert messages(events) == [f"line {n}" for n in range(5)]
    assert not [text for text in late(events) if text.startswith("line")]


def test_a_line_that_is_stored_late_is_flagged(prefect: ServerUnderTest) -> None:
    """It comes once, after lines with later times, and says so; a late watcher has it in order."""
    run = prefect.add_run(state=StateType.RUNNING)
    before = Line("late", prefect.now() - 30 * SECOND)
    acts = Acts(
        (entered(StateType.RUNNING), lambda: prefect.log(run, "one")),
        (said("one"), lambda: prefect.log(run, before)),
        (said("late"), lambda: prefect.log(run, "two")),
        (said("two"), lambda: prefect.enter(run, StateType.COMPLETED)),
    )
    stream = all_of(prefect, run)
    events = watched(prefect, stream, acts)
    assert_whole(events, prefect, run)
    assert messages(events) == ["one", "late", "two"]
    assert late(events) == ["late"]
    afterwards = watched(prefect, stream)
    assert_whole(afterwards, prefect, run)
    assert messages(afterwards) == ["late", "one", "two"]
    assert late(afterwards) == []


def test_lines_of_one_time_are_told_one_by_one(prefect: ServerUnderTest) -> None:
    """Lines with equal times and texts are as many as there are, and not late to each other."""
    run = prefect.add_run(state=StateType.RUNNING)
    moment = prefect.now() + SECOND
    tie, last = Line("tie", moment), Line("last", moment)
    acts = Acts(
        (entered(StateType.RUNNING), lambda: prefect.log(run, tie, tie, tie)),
        (said("tie"), lambda: prefect.log(run, tie, tie)),
        (said("tie"), lambda: prefect.log(run, last)),
        (said("last"), lambda: prefect.enter(run, StateType.COMPLETED)),
    )
    stream = all_of(prefect, run)
    for events in (watched(prefect, stream, acts), watched(prefect, stream)):
        assert_whole(events, prefect, run)
        assert messages(events) == ["tie"] * 5 + ["last"]
        assert "tie" not in late(events)


def test_many_lines_are_told_in_order(prefect: ServerUnderTest) -> None:
    """More lines than two pages hold, half of them of one time, come once each, live and later."""
    run = prefect.add_run(state=StateType.RUNNING)
    begun = prefect.now() + SECOND
    times = [begun + min(n, PAGES // 2) * SECOND / 100 for n in range(PAGES)]
    lines = [Line(f"line {n:03}", time) for n, time in enumerate(times)]
    acts = Acts(
        (entered(StateType.RUNNING), lambda: prefect.log(run, *lines)),
        (said(lines[PAGES // 2 - 1].message), lambda: prefect.enter(run, StateType.COMPLETED)),
    )
    stream = all_of(prefect, run)
    for events in (watched(prefect, stream, acts), watched(prefect, stream)):
        assert_whole(events, prefect, run)
        told = messages(events)
        assert told[: PAGES // 2] == [line.message for line in lines[: PAGES // 2]]
        assert sorted(told) == [line.message for line in lines]


def test_lines_after_the_end_are_waited_for(prefect: ServerUnderTest) -> None:
    """Each line that is stored in the quiet time after the end is told, and begins it anew."""
    run = prefect.add_run(state=StateType.RUNNING)
    acts = Acts(
        (entered(StateType.RUNNING), lambda: prefect.enter(run, StateType.FAILED)),
        (entered(StateType.FAILED), lambda: prefect.log(run, "one")),
        (said("one"), lambda: prefect.log(run, "two")),
        (said("two"), lambda: prefect.log(run, "three")),
    )
    events = watched(prefect, all_of(prefect, run, drain=1), acts)
    assert_whole(events, prefect, run)
    assert messages(events) == ["one", "two", "three"]


# -- what is asked for ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "kinds"),
    [
        ({}, {"state", "log"}),
        ({"stream_logs": False}, {"state"}),
        ({"stream_states": False}, {"log"}),
        ({"stream_states": False, "stream_logs": False}, set()),
        ({"stream_tasks": True}, {"state", "log", "task-state"}),
        ({"stream_states": False, "stream_logs": False, "stream_tasks": True}, {"task-state"}),
    ],
    ids=["by-default", "states-only", "logs-only", "neither", "tasks-too", "tasks-only"],
)
def test_what_is_not_asked_for_is_not_told(
    prefect: ServerUnderTest, past: str, options: dict[str, bool], kinds: set[str]
) -> None:
    """Each source can be left out; the first event and the last, which is verified, stay."""
    events = watched(prefect, all_of(prefect, past, **options))
    told = {kind for kind, _ in identities(events)}
    # A changed row belongs to the states, and comes only if they do not say all.
    assert told - ({"run-changed"} if "state" in kinds else set()) == kinds | {"run-seen", "closed"}
    assert closed(events).verified
    assert closed(events).log_count == len(messages(events))
    wanted = [row for row in prefect.stored(past) if row[0] in kinds]
    assert rows(events) == wanted
    state = closed(events).state
    assert state is not None
    assert state.is_completed


def test_the_parts_are_the_whole(prefect: ServerUnderTest, past: str) -> None:
    """States, logs, tasks and notices tell together what the stream tells."""
    stream = all_of(prefect, past, stream_tasks=True)
    parts = (stream.states, stream.logs, stream.tasks, stream.notices)
    told = [event for part in parts for event in watched(prefect, part)]
    assert sorted(identities(told)) == sorted(identities(watched(prefect, stream)))


def test_lines_below_the_level_are_left_out(prefect: ServerUnderTest, past: str) -> None:
    """Only lines of the level and above are told, and of states all, as if no others were there."""
    for level in (10, 11, 20, 30, 40, 50):
        events = watched(prefect, all_of(prefect, past, level=level))
        assert messages(events) == [text for text, of in LEVELS.items() if of >= level]
        assert len(states(events)) == 3
        assert closed(events).verified


def test_lines_before_the_time_are_left_out(prefect: ServerUnderTest, past: str) -> None:
    """Only lines of the time and later are told, and of states all."""
    lines = watched(prefect, all_of(prefect, past).logs)
    for number, line in enumerate(lines):
        events = watched(prefect, all_of(prefect, past, since=line.timestamp))
        assert messages(events) == list(LEVELS)[number:]
        assert len(states(events)) == 3
        assert closed(events).verified
    loud = watched(prefect, all_of(prefect, past, since=lines[3].timestamp, level=30))
    assert messages(loud) == ["five"]


def test_task_runs_are_told_and_folded(prefect: ServerUnderTest) -> None:
    """Each state that a task run is found in is told, and the last view has its row as it is."""
    run = prefect.add_run(state=StateType.RUNNING)
    first = prefect.add_task_run(run, "load", 0)
    more: list[str] = []

    def found(task_runs: list[str], state: StateType) -> Callable[[FlowRunEvent], bool]:
        def is_told(event: FlowRunEvent) -> bool:
            return (
                isinstance(event, TaskRunStateChange)
                and event.task_run.id == task_runs[0]
                and event.state.type == state
            )

        return is_told

    acts = Acts(
        (found([first], StateType.RUNNING), lambda: more.append(prefect.add_task_run(run, "sum"))),
        (found(more, StateType.RUNNING), lambda: prefect.enter_task(run, first, StateType.FAILED)),
        (
            found([first], StateType.FAILED),
            lambda: prefect.enter_task(run, more[0], StateType.COMPLETED),
        ),
        (
            found(more, StateType.COMPLETED),
            lambda: prefect.enter(run, StateType.COMPLETED),
        ),
    )
    stream = all_of(prefect, run, stream_tasks=True)
    events = watched(prefect, stream, acts)
    told = [(e.task_run.id, e.state.type) for e in events if isinstance(e, TaskRunStateChange)]
    assert told == [
        (first, "RUNNING"),
        (more[0], "RUNNING"),
        (first, "FAILED"),
        (more[0], "COMPLETED"),
    ]
    assert rows(events) == prefect.stored(run)
    assert closed(events).unsettled == ()
    view = FlowRunView.from_flow_run_id(run, client=prefect.client)
    task_runs = tuple(each.task_run for each in view.get_all_task_runs())
    for snapshot in (folded(events), folded(watched(prefect, stream))):
        assert asdict(snapshot.run) == asdict(view.snapshot.run)
        assert snapshot.task_runs == task_runs


# -- how a watch ends -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("end", "level"),
    [
        (StateType.COMPLETED, logging.INFO),
        (StateType.FAILED, logging.ERROR),
        (StateType.CANCELLED, logging.WARNING),
    ],
)
def test_the_end_says_how_the_run_ended(
    prefect: ServerUnderTest, end: StateType, level: int
) -> None:
    """`raise_for_state` raises unless the run completed, and the state's level tells as much."""
    run = prefect.add_run(state=StateType.RUNNING)
    acts = Acts((entered(StateType.RUNNING), lambda: prefect.enter(run, end)))
    events = watched(prefect, all_of(prefect, run), acts)
    assert_whole(events, prefect, run)
    assert [event.level for event in events if isinstance(event, StateChange)][-1] == level
    if end is StateType.COMPLETED:
        closed(events).raise_for_state()
    else:
        with pytest.raises(rxflow.FlowRunFailed, match=run):
            closed(events).raise_for_state()


def test_a_run_that_nobody_knows_is_not_found(
    prefect: ServerUnderTest, face: Callable[[Any], list[Any]]
) -> None:
    """It is the only thing that each face tells of an unknown run, and it is a ValueError."""
    stream = all_of(prefect, str(uuid4()))
    with pytest.raises(rxflow.RunNotFound) as found:
        face(stream)
    assert isinstance(found.value, ValueError)


def test_views_and_waits_find_no_unknown_run(prefect: ServerUnderTest, call: Call) -> None:
    """A view of an unknown run, and waiting for it, end with the same error."""
    nobody = str(uuid4())
    with pytest.raises(rxflow.RunNotFound):
        call(FlowRunView, "from_flow_run_id", nobody, client=prefect.client)
    with pytest.raises(rxflow.RunNotFound):
        call(rxflow, "wait_for_flow_run", nobody, client=prefect.client)


@pytest.mark.parametrize("text", ["nightly", "", "9e6caafc"])
def test_what_is_no_id_is_refused_at_the_call(prefect: ServerUnderTest, text: str) -> None:
    """A malformed id is a ValueError before anything is asked."""
    for asked in (watch_flow_run, FlowRunView.from_flow_run_id, wait_for_flow_run):
        with pytest.raises(rxflow.InvalidRunId) as refused:
            asked(text, client=prefect.client)
        assert isinstance(refused.value, ValueError)


def test_an_id_may_be_written_in_any_way(prefect: ServerUnderTest, past: str) -> None:
    """Upper case, braces, or no dashes: it is the same run."""
    for text in (past.upper(), f"{{{past}}}", past.replace("-", "")):
        assert_whole(watched(prefect, all_of(prefect, text)), prefect, past)


def test_a_run_that_is_deleted_ends_its_watch(prefect: ServerUnderTest) -> None:
    """A notice tells of it, and the stream ends without an error and without a proof."""
    run = prefect.add_run(state=StateType.RUNNING)
    prefect.log(run, "one")
    acts = Acts((said("one"), lambda: prefect.delete_run(run)))
    events = watched(prefect, all_of(prefect, run), acts)
    assert messages(events) == ["one"]
    assert states(events) == ["RUNNING"]
    assert codes(events) == [NoticeCode.RUN_DELETED]
    assert not closed(events).verified


def test_a_watch_that_takes_too_long_gives_up(
    prefect: ServerUnderTest, face: Callable[[Any], list[Any]]
) -> None:
    """After ``max_duration`` a run that is not over ends each face with an error of two kinds."""
    run = prefect.add_run(state=StateType.RUNNING)
    with pytest.raises(rxflow.WatchTimedOut) as timed_out:
        face(all_of(prefect, run, max_duration=0.1))
    assert isinstance(timed_out.value, RuntimeError)
    assert isinstance(timed_out.value, TimeoutError)


def test_a_run_that_is_over_is_never_too_long(prefect: ServerUnderTest, past: str) -> None:
    """However short the time that is given, it is told to its end."""
    assert_whole(watched(prefect, all_of(prefect, past, max_duration=0)), prefect, past)


def test_waiting_ends_when_the_run_does(prefect: ServerUnderTest, call: Call) -> None:
    """`wait_for_flow_run` and its twin return the run as it is when it is over."""
    run = prefect.add_run(state=StateType.RUNNING)
    with pytest.raises(rxflow.WatchTimedOut):
        call(rxflow, "wait_for_flow_run", run, 0.05, client=prefect.client)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(
            call, rxflow, "wait_for_flow_run", run, TEST_TIMEOUT, client=prefect.client
        )
        prefect.enter(run, StateType.FAILED)
        view = waiting.result(TEST_TIMEOUT)
    assert view == FlowRunView.from_flow_run_id(run, client=prefect.client)
    assert view.state.is_failed()


# -- views ----------------------------------------------------------------------------------------


def test_views_come_to_what_the_server_says(prefect: ServerUnderTest) -> None:
    """Each view says something new, and the last one what is read of the run, field by field."""
    run = prefect.add_run(name="nightly")
    acts = Acts(
        (entered(StateType.PENDING), lambda: prefect.enter(run, StateType.RUNNING)),
        (entered(StateType.RUNNING), lambda: prefect.log(run, "one")),
        (said("one"), lambda: prefect.enter(run, StateType.COMPLETED)),
    )
    stream = all_of(prefect, run)
    begun = prefect.begin(stream.views(), lambda _: None)
    events = watched(prefect, stream, acts)
    views = prefect.finish(begun)
    read = FlowRunView.from_flow_run_id(run, client=prefect.client)
    assert asdict(views[-1].snapshot.run) == asdict(read.snapshot.run)
    assert views[-1].states == read.states
    assert views[-1] == read
    assert read.name == "nightly"
    assert all(before != after for before, after in pairwise(views))
    assert [len(view.states) for view in views] == sorted(len(view.states) for view in views)
    assert asdict(folded(events).run) == asdict(read.snapshot.run)
    assert closed(events).view == folded(events) == read.snapshot


def test_a_view_reads_the_lines_of_the_watch(
    prefect: ServerUnderTest, past: str, call: Call
) -> None:
    """`get_logs` gives the lines that the watch tells, or those after one time up to another."""
    told = watched(prefect, all_of(prefect, past).logs)
    view = call(FlowRunView, "from_flow_run_id", past, client=prefect.client)
    assert call(view, "get_logs") == told
    start, end = told[1].timestamp, told[3].timestamp
    assert call(view, "get_logs", start, end) == told[2:4]
    assert call(view, "get_logs", start_time=end) == told[4:]
    assert call(view, "get_logs", end_time=start) == told[:2]


def test_a_view_reads_many_lines(prefect: ServerUnderTest, call: Call) -> None:
    """More lines than two pages hold are all there, by their times."""
    run = prefect.add_run()
    begun = prefect.now()
    lines = [Line(f"line {n:03}", begun + n * SECOND / 100) for n in range(PAGES)]
    prefect.log(run, *reversed(lines))
    view = call(FlowRunView, "from_flow_run_id", run, client=prefect.client)
    assert [line.message for line in call(view, "get_logs")] == [line.message for line in lines]


def test_a_view_stays_and_its_latest_follows(prefect: ServerUnderTest, call: Call) -> None:
    """`get_latest` shows what has changed, and the view that it was asked of does not."""
    run = prefect.add_run(state=StateType.RUNNING)
    view = call(FlowRunView, "from_flow_run_id", run, client=prefect.client)
    prefect.enter(run, StateType.COMPLETED)
    latest = call(view, "get_latest")
    assert [state.type for state in view.states] == ["RUNNING"]
    assert [state.type for state in latest.states] == ["RUNNING", "COMPLETED"]
    assert latest.state == latest.states[-1]
    assert latest == call(FlowRunView, "from_flow_run_id", run, client=prefect.client)


def test_a_view_reads_the_task_runs(prefect: ServerUnderTest, past: str, call: Call) -> None:
    """All of them by creation, and each by its id, or by its task and its number."""
    view = call(FlowRunView, "from_flow_run_id", past, client=prefect.client)
    found = call(view, "get_all_task_runs")
    assert [(each.task_slug, each.map_index) for each in found] == TASKS
    assert call(view, "get_task_run_ids") == [each.task_run_id for each in found]
    for each in found:
        assert each.state.is_successful()
        assert call(view, "get_task_run", task_run_id=each.task_run_id) == each
        assert call(view, "get_task_run", each.task_slug, map_index=each.map_index) == each
    with pytest.raises(rxflow.TaskRunNotFound):
        call(view, "get_task_run", "no such task")
    with pytest.raises(rxflow.TaskRunNotFound):
        call(view, "get_task_run", task_run_id=str(uuid4()))
    told = watched(prefect, all_of(prefect, past, stream_tasks=True))
    assert folded(told).task_runs == tuple(each.task_run for each in found)
    # Prefect 1 has no children of mapped task runs among these.
    static = call(FlowRunView, "from_flow_run_id", past, True, client=prefect.client)
    assert found[-1].task_run in static.task_runs
    assert call(static, "get_latest", True) == static


# -- over HTTP ------------------------------------------------------------------------------------


def test_a_client_finds_out_what_the_server_is(prefect: ServerUnderTest, past: str) -> None:
    """With nothing but a URL, a client watches and reads as one does that was told."""
    with prefect.serve() as api_url, rxflow.Client(api_url=api_url) as client:
        assert_whole(list(all_of(prefect, past, client=client)), prefect, past)
        read = FlowRunView.from_flow_run_id(past, client=client)
        assert read == FlowRunView.from_flow_run_id(past, client=prefect.client)
        assert messages(read.get_logs()) == list(LEVELS)
        with pytest.raises(rxflow.RunNotFound):
            list(all_of(prefect, str(uuid4()), client=client))
