"""A watch goes on from the events of an earlier one, or from what was saved of them.

Each test is run with `RunSession.record_emitted` of the events, and with `RunSession.load_emitted`
of a checkpoint that was saved and loaded after every few of them.
"""

import gc
import sys
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from functools import partial
from random import Random
from typing import Any

import pytest
from hostile_worlds import late_is_late, reordered
from msgspec.structs import replace
from simulated_world import START, SimulatedWatch, World, refused

from rxflow import (
    Closed,
    FlowRunEvent,
    FlowRunLog,
    Notice,
    NoticeCode,
    RunChanged,
    RunSeen,
    StateChange,
    TaskRunStateChange,
)
from rxflow._protocol.failures import Failure, FailureKind
from rxflow._protocol.queries import LogsQuery
from rxflow._runtime.checkpoint_format import decode_checkpoint, encode_checkpoint, new_checkpoint
from rxflow._watching.emitted_state import EmittedState, known_events
from rxflow._watching.lifecycle import LAST_LINE_WAIT
from rxflow._watching.log_reader import RowLimit
from rxflow._watching.run_session import RunSession
from rxflow._watching.run_watch import RunWatch
from rxflow._watching.watch_spec import EventSource, WatchSpec

ALL = frozenset(EventSource)


FORMS = ("events", "checkpoint")
form = FORMS[0]


@pytest.fixture(autouse=True, params=FORMS)
def _form(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], "form", request.param)


def watch(
    world: World, run_id: str, emitted: Sequence[FlowRunEvent] = (), **options: Any
) -> SimulatedWatch:
    """Return a watch that goes on from events, which it gets three at a time, or a checkpoint."""
    spec = WatchSpec(**{"flow_run_id": run_id, "sources": ALL, **options})
    session = RunSession(spec, Random(0))
    if form == "events":
        for part in in_parts(emitted, 3):
            session.record_emitted(part)
    elif emitted:
        session.load_emitted(saved_and_loaded(spec, emitted))
    return SimulatedWatch(world, spec, session=session)


def saved_and_loaded(spec: WatchSpec, events: Sequence[FlowRunEvent]) -> EmittedState:
    """Return what is known of events, saved and loaded after every three of them."""
    state: EmittedState | None = None
    for part in in_parts(events, 3):
        record = RunWatch(spec, RowLimit())
        if state is not None:
            record.load_emitted(state)
        record.record_emitted(part)
        checkpoint = new_checkpoint(spec, "http://fake.invalid/api", record.save_emitted())
        assert decode_checkpoint(encode_checkpoint(checkpoint)) == checkpoint
        state = decode_checkpoint(encode_checkpoint(checkpoint)).state
    assert state is not None
    return state


def in_parts(events: Sequence[FlowRunEvent], size: int) -> Iterator[Sequence[FlowRunEvent]]:
    """Return events in parts of a size."""
    return (events[start : start + size] for start in range(0, len(events), size))


def rows_of(events: Sequence[FlowRunEvent]) -> list[tuple[str, str]]:
    """Return what the events with an id say, sorted; each id must be there once."""
    rows = [event for event in events if hasattr(event, "id")]
    assert len({event.id for event in rows}) == len(rows)
    return sorted((event.kind, event.message) for event in rows)


def codes(events: Sequence[FlowRunEvent]) -> list[NoticeCode]:
    """Return what the notices are about."""
    return [event.code for event in events if isinstance(event, Notice)]


def closes_of(events: Sequence[FlowRunEvent]) -> list[Closed]:
    """Return the ends."""
    return [event for event in events if isinstance(event, Closed)]


# -- a small world, cut anywhere ------------------------------------------------------------------


def busy_run(world: World) -> str:
    """Add a run of two writers, one of them late, whose tasks change and which is reopened."""
    server = world.server
    run_id = server.add_run(name="busy")
    task = server.add_task_run(run_id, name="task")
    world.at(1, partial(server.set_state, run_id, "RUNNING"))
    world.at(2, partial(server.set_task_state, run_id, task, "RUNNING"))
    for number in range(8):
        stored = 3 + 2 * number
        for writer, late in (("a", 0.5), ("b", 6.0)):
            written = START + timedelta(seconds=stored - late)
            text = f"{writer}:{number}"
            world.at(stored, partial(server.log, run_id, text, timestamp=written))
    world.at(9.5, partial(server.set_task_state, run_id, task, "SCHEDULED", "AwaitingRetry"))
    world.at(11, partial(server.set_task_state, run_id, task, "COMPLETED"))
    world.at(12, partial(server.set_state, run_id, "FAILED"))
    world.at(14.5, partial(server.set_state, run_id, "RUNNING"))
    world.at(18, partial(server.set_state, run_id, "COMPLETED"))
    world.at(21, partial(server.log, run_id, "b:8", timestamp=START + timedelta(seconds=4)))
    return run_id


def shape_of(closed: Closed) -> list[Any]:
    """Return the snapshot at the end, without what differs between worlds."""
    view = closed.view
    assert view is not None
    states = [state.name for state in view.states]
    return [view.run.state and view.run.state.name, states, len(view.task_runs)]


@pytest.fixture(scope="module")
def whole() -> list[FlowRunEvent]:
    """The events of a busy run, watched without a cut."""
    world = World()
    return watch(world, busy_run(world), all_task_states=True).run().events


def cut_at(index: int, pause: float) -> list[FlowRunEvent]:
    """Return the events of a watch of a busy run that is killed after some of them, and goes on."""
    world = World()
    run_id = busy_run(world)
    first = watch(world, run_id, all_task_states=True)
    while len(first.events) < index:
        first.step()
    emitted = first.events[:index]
    world.wait(pause)
    return emitted + watch(world, run_id, emitted, all_task_states=True).run().events


def test_a_watch_that_goes_on_at_once_is_the_watch_that_was_not_cut(
    whole: list[FlowRunEvent],
) -> None:
    """Cut after any event, it has the same set, the same order of each writer, and the same end."""
    for index in range(len(whole) + 1):
        events = cut_at(index, 0.0)
        assert rows_of(events) == rows_of(whole), index
        logs = [event for event in events if isinstance(event, FlowRunLog)]
        assert not reordered(logs), index
        assert late_is_late(events), index
        (closed,) = closes_of(events)
        assert closed is events[-1], index
        assert (closed.verified, closed.log_count) == (True, len(logs)), index
        assert shape_of(closed) == shape_of(closes_of(whole)[0]), index
        assert [event.kind for event in events].count("run-seen") == 1, index


def test_a_watch_that_goes_on_later_has_the_same_rows(whole: list[FlowRunEvent]) -> None:
    """However long there was no watch, no row is missing, and none comes twice."""
    for index in range(len(whole) + 1):
        events = cut_at(index, 3600.0)
        assert rows_of(events) == rows_of(whole), index
        assert closes_of(events)[-1].verified, index
        assert closes_of(events)[-1].log_count == closes_of(whole)[0].log_count, index


def test_what_is_saved_and_loaded_is_what_was_never_saved(whole: list[FlowRunEvent]) -> None:
    """Of the events up to any cut the same is known, however often it was saved before."""
    spec = WatchSpec(flow_run_id=whole[0].flow_run_id, sources=ALL, all_task_states=True)
    for end in range(1, len(whole) + 1):
        record = RunWatch(spec, RowLimit())
        for part in in_parts(whole[:end], 3):
            record.record_emitted(part)
        assert saved_and_loaded(spec, whole[:end]) == record.save_emitted(), end


def test_the_small_world_has_what_a_cut_could_break(whole: list[FlowRunEvent]) -> None:
    """It has late lines, a reopening, and several states of a task run."""
    assert any(event.late for event in whole if isinstance(event, FlowRunLog))
    assert NoticeCode.REOPENED in codes(whole)
    tasks = [event for event in whole if isinstance(event, TaskRunStateChange)]
    assert [event.state.name for event in tasks] == [
        *("Pending", "Running", "AwaitingRetry", "Completed")
    ]


# -- each thing that a watch knows ----------------------------------------------------------------


def test_a_line_that_was_replayed_is_recorded_once() -> None:
    """Rows that came again, since others had vanished, count once in what is proven."""
    world = World()
    run_id = world.server.add_run(state="RUNNING")
    for number in range(5):
        world.server.log(run_id, f"line {number}")
    world.wait(30)
    emitted = watch(world, run_id).run(until=31).events
    lines = [event for event in emitted if isinstance(event, FlowRunLog)]
    again = [replace(line, replayed=True) for line in lines[:2]]
    world.server.set_state(run_id, "COMPLETED")
    watched = watch(world, run_id, [*emitted, *again]).run()
    assert watched.of(FlowRunLog) == []
    assert watched.closed.verified
    session: Any = watched.session
    assert session._run.reader.logs.cursor.ledger.total == 5


def test_a_replayed_line_whose_first_is_unknown_is_recorded() -> None:
    """A line that is only known replayed was delivered."""
    world = World()
    run_id = world.server.add_run(state="RUNNING")
    world.server.log(run_id, "line")
    emitted = watch(world, run_id).run(until=1).events
    replayed = [
        replace(event, replayed=True) if isinstance(event, FlowRunLog) else event
        for event in emitted
    ]
    world.server.set_state(run_id, "COMPLETED")
    watched = watch(world, run_id, replayed).run()
    assert watched.of(FlowRunLog) == []
    assert watched.closed.verified


def test_a_watch_of_states_alone_goes_on() -> None:
    """Without lines there is no ledger to fill, and no state comes twice."""
    world = World()
    sources = ALL - {EventSource.LOGS, EventSource.TASKS}
    run_id = busy_run(world)
    first = watch(world, run_id, sources=sources).run(until=13).events
    assert any(isinstance(event, StateChange) for event in first)
    events = first + watch(world, run_id, first, sources=sources).run().events
    names = [event.state.name for event in events if isinstance(event, StateChange)]
    assert names == ["Scheduled", "Running", "Failed", "Running", "Completed"]


def test_the_runs_row_is_known() -> None:
    """A row that did not change is no event, and one that did is one."""
    world = World()
    run_id = world.server.add_run(state="RUNNING")
    first = watch(world, run_id).run(until=5).events
    assert watch(world, run_id, first).run(until=10).events == []
    world.server.runs[run_id]["tags"] = ["new"]
    again = watch(world, run_id, first).run(until=15).events
    assert [type(event) for event in again] == [RunChanged]


def test_a_malformed_line_is_not_reported_again_and_counts() -> None:
    """The notice stays the only one, and the close is not verified."""
    world = World()
    run_id = world.server.add_run(state="RUNNING")
    world.server.log(run_id, "x")
    world.server.logs[-1]["message"] = None
    world.server.log(run_id, "good")
    first = watch(world, run_id).run(until=5).events
    assert codes(first) == [NoticeCode.MALFORMED]
    world.server.set_state(run_id, "COMPLETED")
    watched = watch(world, run_id, first).run()
    assert codes(watched.events) == []
    closed = watched.closed
    assert (closed.verified, closed.malformed, closed.log_count) == (False, 1, 1)


def test_a_malformed_line_that_was_mended_is_emitted() -> None:
    """It is then delivered, so that the close is verified."""
    world = World()
    run_id = world.server.add_run(state="RUNNING")
    world.server.log(run_id, "x")
    world.server.logs[-1]["message"] = None
    first = watch(world, run_id).run(until=5).events
    world.server.logs[-1]["message"] = "mended"
    world.server.set_state(run_id, "COMPLETED")
    watched = watch(world, run_id, first).run()
    assert [line.message for line in watched.of(FlowRunLog)] == ["mended"]
    assert (watched.closed.verified, watched.closed.malformed) == (True, 0)


def test_a_malformed_state_that_was_read_after_all_does_not_count() -> None:
    """Of a state that was reported first and emitted later, only the second is remembered."""
    world = World()
    server = world.server
    run_id = server.add_run(state="RUNNING")
    server.set_state(run_id, "PAUSED")
    server.set_state(run_id, "RUNNING")
    state = server.states[run_id][1]
    name, state["name"] = state["name"], None
    first = watch(world, run_id)
    world.at(3, lambda: state.update(name=name))
    world.at(4, partial(server.set_state, run_id, "COMPLETED"))
    emitted = first.run(until=5).events
    assert codes(emitted) == [NoticeCode.MALFORMED]
    watched = watch(world, run_id, emitted).run()
    assert codes(watched.events) == []
    assert (watched.closed.verified, watched.closed.malformed) == (True, 0)


def test_a_late_start_is_not_reported_again() -> None:
    """A notice with the same reason is not repeated; one with another reason is made."""
    world = World()
    server = world.server
    server.pools["gpu"] = {"name": "gpu", "is_paused": False, "status": "NOT_READY"}
    run_id = server.add_run(work_pool_name="gpu")
    first = watch(world, run_id).run(until=200).events
    assert codes(first) == [NoticeCode.LATE_START]
    assert codes(watch(world, run_id, first).run(until=300).events) == []
    server.pools["gpu"]["is_paused"] = True
    assert codes(watch(world, run_id, first).run(until=400).events) == [NoticeCode.LATE_START]


def test_a_reopening_is_reported_once() -> None:
    """One that was reported is not reported again, and one that happened meanwhile is."""
    world = World()
    server = world.server
    run_id = server.add_run(state="RUNNING")
    world.at(2, partial(server.set_state, run_id, "FAILED"))
    world.at(4, partial(server.set_state, run_id, "RUNNING"))
    world.at(6, partial(server.set_state, run_id, "FAILED"))
    first = watch(world, run_id).run(until=7).events
    assert codes(first) == [NoticeCode.REOPENED]
    world.at(8, partial(server.set_state, run_id, "RUNNING"))
    world.at(10, partial(server.set_state, run_id, "COMPLETED"))
    world.wait(2)
    assert codes(watch(world, run_id, first).run().events) == [NoticeCode.REOPENED]


@pytest.mark.parametrize("states", ["latest", "all"])
def test_states_of_task_runs_are_known(states: str) -> None:
    """None comes twice, those that were set meanwhile come, and the task runs are waited for."""
    world = World()
    server = world.server
    run_id = server.add_run(state="RUNNING")
    tasks = [server.add_task_run(run_id, state="RUNNING") for _ in range(2)]
    options: dict[str, Any] = {"all_task_states": states == "all"}
    first = watch(world, run_id, **options).run(until=3).events
    world.at(4, partial(server.set_task_state, run_id, tasks[0], "SCHEDULED", "AwaitingRetry"))
    world.at(5, partial(server.set_task_state, run_id, tasks[0], "RUNNING", "Retrying"))
    world.at(6, partial(server.set_state, run_id, "COMPLETED"))
    world.at(16, partial(server.set_task_state, run_id, tasks[0], "COMPLETED"))
    world.wait(3.0)
    watched = watch(world, run_id, first, **options).run()
    names = [event.state.name for event in watched.of(TaskRunStateChange)]
    meanwhile = ["AwaitingRetry"] if states == "all" else []
    assert names == [*meanwhile, "Retrying", "Completed"]
    assert watched.closed.unsettled == (tasks[1],)


# -- the end --------------------------------------------------------------------------------------

TEXT = "Finished in state Completed()"


def ending_run(world: World, *, line_at: float | None) -> str:
    """Add a run that its process ends at second 10, and logs its last line maybe."""
    server = world.server
    run_id = server.add_run(state="RUNNING")
    world.at(10, partial(server.set_state, run_id, "COMPLETED", transition_id="t"))
    if line_at is not None:
        last: dict[str, Any] = {
            "name": "prefect.flow_runs",
            "timestamp": START + timedelta(seconds=10.2),
        }
        world.at(line_at, partial(server.log, run_id, TEXT, **last))
    return run_id


@pytest.mark.parametrize(
    ("line_at", "closed_by"),
    [(8.0, 17.0), (12.0, 19.0), (25.0, 33.0), (None, 10 + LAST_LINE_WAIT + 1)],
    ids=["before its state", "before the cut", "after the cut", "never"],
)
def test_the_last_line_is_awaited_as_before(line_at: float | None, closed_by: float) -> None:
    """A line that an earlier watch emitted is not awaited; one that has not come is."""
    world = World()
    run_id = ending_run(world, line_at=line_at)
    first = watch(world, run_id).run(until=13).events
    assert closes_of(first) == []
    watched = watch(world, run_id, first).run()
    assert watched.closed.verified
    assert watched.emitted[-1][0] <= closed_by
    if line_at is None or line_at > 13:
        assert watched.emitted[-1][0] > 30


def test_an_outage_before_the_kill_delays_the_close() -> None:
    """Writers that could not send get the time for their retries, though the watcher is another."""
    world = World()
    run_id = world.server.add_run(state="RUNNING")
    world.at(5, lambda: setattr(world, "fault", refused))
    first = watch(world, run_id).run(until=40).events
    assert codes(first) == [NoticeCode.DEGRADED]
    world.fault = lambda _: None
    world.server.set_state(run_id, "COMPLETED")
    world.at(65, partial(world.server.log, run_id, "retried"))
    watched = watch(world, run_id, first).run()
    assert [line.message for line in watched.of(FlowRunLog)] == ["retried"]
    # The outage is known from the notice, which came some seconds after it had begun.
    assert watched.emitted[-1][0] >= 40 + 1.3 * 30 + 4


def test_an_outage_that_had_ended_before_the_kill_delays_the_close_as_long() -> None:
    """The time counts from the end of the outage, not from the beginning of the second watch."""
    world = World()
    run_id = world.server.add_run(state="RUNNING")
    world.at(5, lambda: setattr(world, "fault", refused))
    world.at(40, lambda: setattr(world, "fault", lambda _: None))
    first = watch(world, run_id).run(until=60).events
    assert codes(first) == [NoticeCode.DEGRADED, NoticeCode.RECOVERED]
    world.server.set_state(run_id, "COMPLETED")
    watched = watch(world, run_id, first).run()
    assert 40 + 1.3 * 30 + 4 <= watched.emitted[-1][0] <= 40 + 1.3 * 45 + 20


def test_a_recovery_without_an_outage_delays_nothing() -> None:
    """A notice of one alone says nothing about when the outage began."""
    world = World()
    run_id = world.server.add_run(state="COMPLETED")
    recovered = Notice(
        flow_run_id=run_id, code=NoticeCode.RECOVERED, message="", timestamp=world.clock()
    )
    watched = watch(world, run_id, [recovered], drain=0.0).run()
    assert watched.emitted[-1][0] < 5


def closed_world() -> tuple[World, str, list[FlowRunEvent]]:
    """Make a world with a run that was watched to its end an hour ago."""
    world = World()
    run_id = busy_run(world)
    events = watch(world, run_id).run().events
    world.wait(3600)
    return world, run_id, events


def test_after_closed_there_is_one_look_and_no_event() -> None:
    """A watch of a run that was closed ends without an event, after few requests."""
    world, run_id, events = closed_world()
    watched = watch(world, run_id, events).run()
    assert (watched.events, watched.ended, watched.error) == ([], True, None)
    assert len(watched.sent) <= 12
    assert world.now < 3700


def test_a_better_closed_is_emitted() -> None:
    """A run whose lines could not be counted then, and can be now, is closed again."""
    world, run_id, events = closed_world()
    assert isinstance(events[-1], Closed)
    unproven = replace(events[-1], verified=False)
    watched = watch(world, run_id, [*events[:-1], unproven]).run()
    (closed,) = watched.events
    assert isinstance(closed, Closed)
    assert closed.verified


def test_of_no_events_nothing_is_known() -> None:
    """A watch that has read no row folds to nothing."""
    spec = WatchSpec(flow_run_id="9e6caafc-4ea1-4493-b0a9-122efba9eaaa", sources=ALL)
    assert known_events(RunWatch(spec, RowLimit()).save_emitted()) == []


AFTER: dict[str, tuple[Callable[[World, str], object], list[str]]] = {
    "a line": (lambda world, run: world.server.log(run, "post mortem"), ["log", "closed"]),
    "another row": (
        lambda world, run: world.server.runs[run].update(tags=["new"]),
        ["run-changed", "closed"],
    ),
}


@pytest.mark.parametrize("what", AFTER)
def test_what_came_after_closed_is_emitted_before_another(what: str) -> None:
    """A run that got something new after its end is closed again."""
    world, run_id, events = closed_world()
    change, kinds = AFTER[what]
    change(world, run_id)
    watched = watch(world, run_id, events).run()
    assert [event.kind for event in watched.events] == kinds
    assert watched.closed.verified


def test_a_run_that_was_reopened_after_closed_goes_on() -> None:
    """It is watched to its next end; a third watch then finds nothing new."""
    world, run_id, events = closed_world()
    world.server.set_state(run_id, "RUNNING")
    world.at(world.now + 30, partial(world.server.set_state, run_id, "COMPLETED"))
    watched = watch(world, run_id, events).run()
    names = [event.state.name for event in watched.of(StateChange)]
    assert names == ["Running", "Completed"]
    assert codes(watched.events) == [NoticeCode.REOPENED]
    assert watched.closed.verified
    assert watch(world, run_id, events + watched.events).run().events == []


def test_events_before_the_first_row_are_gone_on_from() -> None:
    """A watch that was killed before it had read the run begins with `RunSeen`."""
    world = World()
    run_id = world.server.add_run(state="COMPLETED")
    degraded = Notice(
        flow_run_id=run_id, code=NoticeCode.DEGRADED, message="", timestamp=world.clock()
    )
    watched = watch(world, run_id, [degraded], drain=0.0).run()
    assert isinstance(watched.events[0], RunSeen)
    assert watched.closed.verified


def test_a_server_that_refuses_offsets_is_gone_on_from() -> None:
    """The first look has an offset, and its refusal does not end a watch that has only begun."""
    world = World()
    run_id = world.server.add_run(state="RUNNING")
    for number in range(5):
        world.server.log(run_id, f"line {number}")
    first = watch(world, run_id).run(until=1).events
    world.server.log(run_id, "line 5")
    world.server.set_state(run_id, "COMPLETED")

    def refuse(query: Any) -> Failure | None:
        refuses = isinstance(query, LogsQuery) and query.offset > 0
        return Failure(kind=FailureKind.REJECTED, text="no offsets") if refuses else None

    world.fault = refuse
    watched = watch(world, run_id, first).run()
    assert watched.error is None
    assert [line.message for line in watched.of(FlowRunLog)] == ["line 5"]


def test_no_events_are_gone_on_from() -> None:
    """An earlier watch that had emitted nothing makes no difference."""
    world = World()
    run_id = world.server.add_run(state="COMPLETED")
    session = RunSession(WatchSpec(flow_run_id=run_id, drain=0.0), Random(0))
    session.record_emitted([])
    watched = SimulatedWatch(world, session._run.spec, session=session).run()
    assert isinstance(watched.events[0], RunSeen)


# -- long histories -------------------------------------------------------------------------------


FIELDS = ("flow_run_id", "id", "timestamp", "created", "level", "name", "message")


def history(world: World, run_id: str, lines: int) -> list[FlowRunEvent]:
    """Store lines of a run, ten a second from the beginning on; return them as they are emitted."""
    for number in range(lines):
        written = START + timedelta(seconds=number / 10)
        world.server.log(run_id, f"line {number}", timestamp=written, created=written)
    return [FlowRunLog(**{name: row[name] for name in FIELDS}) for row in world.server.logs]


@pytest.mark.long
def test_a_long_history_is_taken_over_with_few_requests_and_little_memory() -> None:
    """100,000 lines cost a look and the ledger: no id of a line that is older than seconds."""
    world = World()
    server = world.server
    run_id = server.add_run(state="RUNNING")
    first = watch(world, run_id).run(until=1).events
    world.wait(10_000)
    lines = history(world, run_id, 100_000)
    session = RunSession(WatchSpec(flow_run_id=run_id), Random(0))
    session.record_emitted(first)
    gc.collect()
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    for part in in_parts(lines, 500):
        session.record_emitted(part)
    gc.collect()
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert after - before < 512 * 1024
    logs = session._run.reader.logs
    assert logs is not None
    assert logs.cursor.ledger.kept_id_count < 300
    server.set_state(run_id, "COMPLETED")
    watched = SimulatedWatch(world, session._run.spec, session=session).run()
    assert watched.of(FlowRunLog) == []
    assert (watched.closed.verified, watched.closed.log_count) == (True, 100_000)
    assert sum(isinstance(query, LogsQuery) for _, query in watched.sent) <= 20
