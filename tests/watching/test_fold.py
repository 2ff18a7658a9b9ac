"""The fold: what each event adds to a snapshot, and what it leaves alone."""

from datetime import UTC, datetime, timedelta
from functools import reduce
from itertools import permutations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from rxflow import (
    Closed,
    FlowRun,
    FlowRunEvent,
    FlowRunLog,
    Notice,
    NoticeCode,
    RunChanged,
    RunSeen,
    Snapshot,
    State,
    StateChange,
    TaskRun,
    TaskRunStateChange,
    fold,
)

RUN_ID = "9e6caafc-4ea1-4493-b0a9-122efba9eaaa"
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def second(seconds: float) -> datetime:
    """A time after noon."""
    return NOON + timedelta(seconds=seconds)


def state(name: str, at: float, state_id: str | None = None) -> State:
    """A state; its id is its name unless told otherwise."""
    return State(id=state_id or name, type=name.upper(), name=name, timestamp=second(at))


def entered(name: str, at: float, state_id: str | None = None) -> StateChange:
    """A state change."""
    new = state(name, at, state_id)
    return StateChange(flow_run_id=RUN_ID, id=new.id, state=new)


def task_run(task_id: str, created: float, of: State | None = None) -> TaskRun:
    """A task run's row."""
    return TaskRun(
        id=task_id,
        name=task_id,
        task_key="load",
        dynamic_key=task_id,
        created=second(created),
        updated=second(created),
        state=of,
        state_id=of.id if of else None,
    )


def task_entered(task_id: str, created: float, name: str, at: float) -> TaskRunStateChange:
    """A task run's state change."""
    new = state(name, at, f"{task_id}-{name}")
    row = task_run(task_id, created, new)
    return TaskRunStateChange(flow_run_id=RUN_ID, id=new.id, task_run=row, state=new)


ROW = FlowRun(id=RUN_ID, name="amber-fox", created=NOON, updated=NOON)
SEEN = RunSeen(flow_run_id=RUN_ID, run=ROW)
RUNNING = Snapshot(
    run=replace(ROW, state=state("Running", 5), state_id="Running"),
    states=(state("Pending", 2), state("Running", 5)),
    task_runs=(task_run("a", 3), task_run("b", 4)),
)
LOG = FlowRunLog(
    flow_run_id=RUN_ID,
    id="row",
    timestamp=second(6),
    created=second(6),
    level=20,
    name="prefect.flow_runs",
    message="120 orders read",
)
NOTICE = Notice(
    flow_run_id=RUN_ID, code=NoticeCode.DEGRADED, message="no answer", timestamp=second(7)
)
CHANGED = RunChanged(flow_run_id=RUN_ID, run=replace(ROW, name="renamed", tags=("x",)))
CLOSED = Closed(flow_run_id=RUN_ID, timestamp=second(9), state=state("Completed", 8))

EVENTS: dict[str, FlowRunEvent] = {
    "RunSeen": SEEN,
    "RunChanged": CHANGED,
    "StateChange": entered("Completed", 8),
    "FlowRunLog": LOG,
    "TaskRunStateChange": task_entered("b", 4, "Running", 6),
    "Notice": NOTICE,
    "Closed": CLOSED,
}

each_event = pytest.mark.parametrize("event", EVENTS.values(), ids=EVENTS)


def folded(*events: FlowRunEvent, start: Snapshot | None = RUNNING) -> Snapshot:
    """What some events make of a run that is known."""
    snapshot = reduce(fold, events, start)
    assert snapshot is not None
    return snapshot


# -- laws ---------------------------------------------------------------------------------------


@each_event
def test_the_snapshot_given_is_left_as_it_was(event: FlowRunEvent) -> None:
    """Folding an event changes neither the snapshot that it is folded into nor the event."""
    before = msgspec.json.encode((RUNNING, event))
    fold(RUNNING, event)
    assert msgspec.json.encode((RUNNING, event)) == before


@each_event
def test_equal_snapshots_and_events_fold_to_equal_ones(event: FlowRunEvent) -> None:
    """The outcome depends on nothing but what is given."""
    snapshot = msgspec.json.decode(msgspec.json.encode(RUNNING), type=Snapshot)
    same = msgspec.json.decode(msgspec.json.encode(event), type=FlowRunEvent)
    assert fold(snapshot, same) == fold(RUNNING, event)


@each_event
def test_nothing_is_known_before_the_run_was_seen(event: FlowRunEvent) -> None:
    """Only RunSeen begins a snapshot; what comes before it is not kept."""
    first = fold(None, event)
    assert first == (Snapshot(run=ROW) if event is SEEN else None)


@each_event
def test_an_event_that_came_before_adds_nothing(event: FlowRunEvent) -> None:
    """Folding one event twice makes what folding it once does."""
    once = fold(RUNNING, event)
    assert fold(once, event) == once


@given(seconds=st.lists(st.integers(0, 5), min_size=1, max_size=8), data=st.data())
def test_the_order_in_which_states_come_makes_no_difference(
    seconds: list[int], data: st.DataObject
) -> None:
    """However states come, those of one time among them, the history is by (timestamp, id)."""
    changes = [entered("Running", at, f"state-{7 * n % 8}") for n, at in enumerate(seconds)]
    shuffled = data.draw(st.permutations(changes))
    history = [(known.timestamp, known.id) for known in folded(SEEN, *shuffled).states]
    assert history == sorted((change.timestamp, change.id) for change in changes)


# -- event by event -----------------------------------------------------------------------------


def test_seeing_a_run_begins_anew() -> None:
    """RunSeen is the row alone, whatever was known before."""
    assert folded(SEEN) == Snapshot(run=ROW)


@pytest.mark.parametrize("event", [LOG, NOTICE], ids=["FlowRunLog", "Notice"])
def test_lines_and_notices_add_nothing(event: FlowRunEvent) -> None:
    """A log line or a notice gives the very same snapshot back."""
    assert fold(RUNNING, event) is RUNNING


def test_a_changed_row_replaces_the_row_alone() -> None:
    """RunChanged gives the new row, with its state, and keeps states and task runs."""
    assert folded(CHANGED) == replace(RUNNING, run=CHANGED.run)


def test_a_state_is_the_row_s_state_and_a_part_of_the_history() -> None:
    """StateChange sets the row's state and its id, and nothing else of the row."""
    change = entered("Completed", 8)
    snapshot = folded(change)
    assert snapshot.run == replace(RUNNING.run, state=change.state, state_id=change.id)
    assert [known.name for known in snapshot.states] == ["Pending", "Running", "Completed"]
    assert snapshot.task_runs == RUNNING.task_runs


@pytest.mark.parametrize("order", list(permutations([1, 2, 3])), ids=str)
def test_states_stand_by_their_time(order: tuple[int, ...]) -> None:
    """The history goes by the states' times, in whatever order they were told."""
    snapshot = folded(SEEN, *(entered("Running", at, f"state-{at}") for at in order))
    assert [known.id for known in snapshot.states] == ["state-1", "state-2", "state-3"]


@pytest.mark.parametrize("order", ["ab", "ba"])
def test_states_of_one_time_stand_by_their_id(order: str) -> None:
    """Of two states of one time the smaller id is first, whichever was told first."""
    snapshot = folded(SEEN, *(entered("Running", 1, name) for name in order))
    assert [known.id for known in snapshot.states] == ["a", "b"]


def test_a_state_is_known_by_its_id() -> None:
    """One id stands once in the history, one name as often as there are ids."""
    snapshot = folded(
        SEEN,
        entered("Running", 1, "first"),
        entered("Running", 2, "second"),
        entered("Running", 1, "first"),
    )
    assert [known.id for known in snapshot.states] == ["first", "second"]


def test_the_last_word_on_a_state_counts() -> None:
    """A state that is told again with other content stands there with that, at its new time."""
    snapshot = folded(SEEN, entered("A", 1), entered("B", 2), entered("A", 3))
    assert [(known.id, known.timestamp) for known in snapshot.states] == [
        ("B", second(2)),
        ("A", second(3)),
    ]


def test_task_runs_stand_by_their_creation() -> None:
    """Task runs go by (created, id), each once, as the row that was told last."""
    snapshot = folded(
        SEEN,
        task_entered("c", 3, "Running", 6),
        task_entered("b", 4, "Running", 5),
        task_entered("a", 4, "Running", 7),
        task_entered("b", 4, "Completed", 8),
    )
    told = [(row.id, row.state.name if row.state else None) for row in snapshot.task_runs]
    assert told == [("c", "Running"), ("a", "Running"), ("b", "Completed")]


def test_a_task_run_leaves_the_flow_run_alone() -> None:
    """TaskRunStateChange changes neither the run's row nor its states."""
    snapshot = folded(task_entered("z", 9, "Running", 9))
    assert (snapshot.run, snapshot.states) == (RUNNING.run, RUNNING.states)


def test_the_end_adds_nothing_where_its_state_was_told() -> None:
    """Closed gives the very same snapshot back where the run's state is the last one."""
    told = folded(entered("Completed", 8))
    assert fold(told, CLOSED) is told


def test_the_end_adds_nothing_where_it_has_no_state() -> None:
    """Closed without a state gives the very same snapshot back."""
    assert fold(RUNNING, replace(CLOSED, state=None)) is RUNNING


def test_the_end_gives_the_last_state_where_none_is_streamed() -> None:
    """Closed sets the row's state where no StateChange did, and adds no history."""
    snapshot = folded(SEEN, LOG, CLOSED)
    assert snapshot == Snapshot(run=replace(ROW, state=CLOSED.state, state_id="Completed"))
