"""`fold`: what each event adds to a snapshot, and what it leaves unchanged."""

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
    """Return a time so many seconds after noon."""
    return NOON + timedelta(seconds=seconds)


def state(name: str, at: float, state_id: str | None = None) -> State:
    """Make a state; its id is its name by default."""
    return State(id=state_id or name, type=name.upper(), name=name, timestamp=second(at))


def entered(name: str, at: float, state_id: str | None = None) -> StateChange:
    """Make a state change."""
    new = state(name, at, state_id)
    return StateChange(flow_run_id=RUN_ID, id=new.id, state=new)


def task_run(task_id: str, created: float, of: State | None = None) -> TaskRun:
    """Make a task run's row."""
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
    """Make a task run's state change."""
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
    flow_run_id=RUN_ID, code=NoticeCode.DEGRADED, message="no good reply", timestamp=second(7)
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
    """Fold events into the snapshot of a known run."""
    snapshot = reduce(fold, events, start)
    assert snapshot is not None
    return snapshot


# -- laws ---------------------------------------------------------------------------------------


@each_event
def test_given_snapshot_is_unchanged(event: FlowRunEvent) -> None:
    """Folding changes neither the given snapshot nor the event."""
    before = msgspec.json.encode((RUNNING, event))
    fold(RUNNING, event)
    assert msgspec.json.encode((RUNNING, event)) == before


@each_event
def test_fold_depends_on_its_arguments_alone(event: FlowRunEvent) -> None:
    """Equal snapshots and events fold to equal snapshots."""
    snapshot = msgspec.json.decode(msgspec.json.encode(RUNNING), type=Snapshot)
    same = msgspec.json.decode(msgspec.json.encode(event), type=FlowRunEvent)
    assert fold(snapshot, same) == fold(RUNNING, event)


@each_event
def test_only_run_seen_starts_a_snapshot(event: FlowRunEvent) -> None:
    """An event before RunSeen folds to None."""
    first = fold(None, event)
    assert first == (Snapshot(run=ROW) if event is SEEN else None)


@each_event
def test_folding_an_event_twice_adds_nothing(event: FlowRunEvent) -> None:
    """Folding one event twice makes the same snapshot as folding it once."""
    once = fold(RUNNING, event)
    assert fold(once, event) == once


@given(seconds=st.lists(st.integers(0, 5), min_size=1, max_size=8), data=st.data())
def test_states_are_sorted_whatever_the_order_of_events(
    seconds: list[int], data: st.DataObject
) -> None:
    """In whatever order states are folded, the history is sorted by (timestamp, id)."""
    changes = [entered("Running", at, f"state-{7 * n % 8}") for n, at in enumerate(seconds)]
    shuffled = data.draw(st.permutations(changes))
    history = [(known.timestamp, known.id) for known in folded(SEEN, *shuffled).states]
    assert history == sorted((change.timestamp, change.id) for change in changes)


# -- event by event -----------------------------------------------------------------------------


def test_run_seen_starts_over() -> None:
    """RunSeen makes a snapshot of the row alone, whatever was known before."""
    assert folded(SEEN) == Snapshot(run=ROW)


@pytest.mark.parametrize("event", [LOG, NOTICE], ids=["FlowRunLog", "Notice"])
def test_log_rows_and_notices_add_nothing(event: FlowRunEvent) -> None:
    """A log row or a notice returns the same snapshot object."""
    assert fold(RUNNING, event) is RUNNING


def test_run_changed_replaces_row_alone() -> None:
    """RunChanged sets the new row with its state, and keeps states and task runs."""
    assert folded(CHANGED) == replace(RUNNING, run=CHANGED.run)


def test_state_change_sets_row_state_and_history() -> None:
    """StateChange sets the row's state and its id, and nothing else of the row."""
    change = entered("Completed", 8)
    snapshot = folded(change)
    assert snapshot.run == replace(RUNNING.run, state=change.state, state_id=change.id)
    assert [known.name for known in snapshot.states] == ["Pending", "Running", "Completed"]
    assert snapshot.task_runs == RUNNING.task_runs


@pytest.mark.parametrize("order", list(permutations([1, 2, 3])), ids=str)
def test_states_are_sorted_by_time(order: tuple[int, ...]) -> None:
    """The history is sorted by the states' times, in whatever order they are folded."""
    snapshot = folded(SEEN, *(entered("Running", at, f"state-{at}") for at in order))
    assert [known.id for known in snapshot.states] == ["state-1", "state-2", "state-3"]


@pytest.mark.parametrize("order", ["ab", "ba"])
def test_states_of_one_time_are_sorted_by_id(order: str) -> None:
    """Of two states of one time the smaller id is first, whichever is folded first."""
    snapshot = folded(SEEN, *(entered("Running", 1, name) for name in order))
    assert [known.id for known in snapshot.states] == ["a", "b"]


def test_states_are_unique_by_id() -> None:
    """One id is in the history once, and one name as often as it has ids."""
    snapshot = folded(
        SEEN,
        entered("Running", 1, "first"),
        entered("Running", 2, "second"),
        entered("Running", 1, "first"),
    )
    assert [known.id for known in snapshot.states] == ["first", "second"]


def test_state_folded_again_is_replaced() -> None:
    """A state that is folded again with other fields is replaced, and sorted by its new time."""
    snapshot = folded(SEEN, entered("A", 1), entered("B", 2), entered("A", 3))
    assert [(known.id, known.timestamp) for known in snapshot.states] == [
        ("B", second(2)),
        ("A", second(3)),
    ]


def test_task_runs_are_sorted_by_creation() -> None:
    """Task runs are sorted by (created, id), each once, as the row folded last."""
    snapshot = folded(
        SEEN,
        task_entered("c", 3, "Running", 6),
        task_entered("b", 4, "Running", 5),
        task_entered("a", 4, "Running", 7),
        task_entered("b", 4, "Completed", 8),
    )
    states = [(row.id, row.state.name if row.state else None) for row in snapshot.task_runs]
    assert states == [("c", "Running"), ("a", "Running"), ("b", "Completed")]


@given(st.lists(st.tuples(st.sampled_from("abcde"), st.integers(0, 4), st.integers(0, 9))))
def test_task_runs_are_unique_and_sorted(steps: list[tuple[str, int, int]]) -> None:
    """Of each task run there is the row folded last, even if its creation differs from before."""
    events = [task_entered(name, created, "Running", at) for name, created, at in steps]
    last = {event.task_run.id: event.task_run for event in events}
    rows = sorted(last.values(), key=lambda row: (row.created, row.id))
    assert folded(SEEN, *events).task_runs == tuple(rows)


def test_task_run_leaves_flow_run_unchanged() -> None:
    """TaskRunStateChange changes neither the run's row nor its states."""
    snapshot = folded(task_entered("z", 9, "Running", 9))
    assert (snapshot.run, snapshot.states) == (RUNNING.run, RUNNING.states)


def test_closed_with_known_state_adds_nothing() -> None:
    """Closed returns the same snapshot object where the run's state is the last one."""
    known = folded(entered("Completed", 8))
    assert fold(known, CLOSED) is known


def test_closed_without_state_adds_nothing() -> None:
    """Closed without a state returns the same snapshot object."""
    assert fold(RUNNING, replace(CLOSED, state=None)) is RUNNING


def test_closed_sets_last_state_where_none_is_streamed() -> None:
    """Closed sets the row's state where no StateChange did, and adds no history."""
    snapshot = folded(SEEN, LOG, CLOSED)
    assert snapshot == Snapshot(run=replace(ROW, state=CLOSED.state, state_id="Completed"))
