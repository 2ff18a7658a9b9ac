"""The events: what each kind has, says and weighs."""

import logging
import operator
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, get_args

import msgspec
import pytest
from event_strategies import events, events_of
from hypothesis import given
from hypothesis import strategies as st

from rxflow import (
    Closed,
    FlowRun,
    FlowRunEvent,
    FlowRunFailed,
    FlowRunLog,
    Notice,
    NoticeCode,
    RunChanged,
    RunSeen,
    Snapshot,
    State,
    StateChange,
    StateType,
    TaskRun,
    TaskRunStateChange,
)

RUN_ID = "9e6caafc-4ea1-4493-b0a9-122efba9eaaa"
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
KINDS: tuple[type[FlowRunEvent], ...] = get_args(FlowRunEvent)


def second(seconds: float) -> datetime:
    """A time after noon."""
    return NOON + timedelta(seconds=seconds)


def state(state_type: str = "RUNNING", *, at: float = 5, message: str | None = None) -> State:
    """A state."""
    return State(
        id=f"state-{at}",
        type=state_type,
        name=state_type.title(),
        timestamp=second(at),
        message=message,
    )


RUN = FlowRun(
    id=RUN_ID,
    name="amber-fox",
    created=second(0),
    updated=second(4),
    state=state(),
    state_id="state-5",
    parameters={"rows": 3, "deep": {"x": [1, None, "é"]}},
    tags=("nightly", "prod"),
    labels={"team": "data"},
    next_scheduled_start_time=second(1.25),
    total_run_time=1.5,
)
TASK_RUN = TaskRun(
    id="task-run",
    name="load-0",
    flow_run_id=RUN_ID,
    task_key="load-1a2b3c",
    dynamic_key="0",
    created=second(2),
    updated=second(6),
    state=state("FAILED"),
    state_id="state-5",
)


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """An event and what is to be read off it."""

    event: FlowRunEvent
    kind: str
    timestamp: datetime
    level: int
    message: str


SAMPLES = [
    Sample(
        event=RunSeen(flow_run_id=RUN_ID, run=RUN),
        kind="run-seen",
        timestamp=second(0),
        level=logging.DEBUG,
        message="Watching flow run 'amber-fox'",
    ),
    Sample(
        event=RunChanged(flow_run_id=RUN_ID, run=RUN),
        kind="run-changed",
        timestamp=second(5),
        level=logging.DEBUG,
        message="Flow run 'amber-fox' changed",
    ),
    Sample(
        event=StateChange(flow_run_id=RUN_ID, id="state-5", state=state("CRASHED"), late=True),
        kind="state",
        timestamp=second(5),
        level=logging.ERROR,
        message="Entered state Crashed",
    ),
    Sample(
        event=FlowRunLog(
            flow_run_id=RUN_ID,
            id="row",
            timestamp=second(3),
            created=second(4),
            level=logging.WARNING,
            name="prefect.flow_runs",
            message="2 orders have no price\n",
            task_run_id="task-run",
        ),
        kind="log",
        timestamp=second(3),
        level=logging.WARNING,
        message="2 orders have no price\n",
    ),
    Sample(
        event=TaskRunStateChange(
            flow_run_id=RUN_ID,
            id="state-5",
            task_run=TASK_RUN,
            state=state("FAILED", message="no disk"),
        ),
        kind="task-state",
        timestamp=second(5),
        level=logging.ERROR,
        message="Task run 'load-0' entered state Failed: no disk",
    ),
    Sample(
        event=Notice(
            flow_run_id=RUN_ID,
            code=NoticeCode.MALFORMED,
            message="A log row cannot be read",
            timestamp=second(7),
            row_id="row",
        ),
        kind="notice",
        timestamp=second(7),
        level=logging.WARNING,
        message="A log row cannot be read",
    ),
    Sample(
        event=Closed(
            flow_run_id=RUN_ID,
            timestamp=second(8),
            state=state("COMPLETED"),
            verified=True,
            log_count=3,
            unsettled=("task-run",),
            view=Snapshot(run=RUN, states=(state(),), task_runs=(TASK_RUN,)),
        ),
        kind="closed",
        timestamp=second(8),
        level=logging.DEBUG,
        message="Flow run ended in state Completed; 3 log lines, verified",
    ),
]

each_sample = pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.kind)


# -- what all have ------------------------------------------------------------------------------


def test_the_samples_are_of_every_kind() -> None:
    """Each kind of event has one sample here, so that nothing below passes a kind over."""
    assert [type(sample.event) for sample in SAMPLES] == list(KINDS)


@each_sample
def test_every_event_says_where_when_how_grave_and_what(sample: Sample) -> None:
    """Each kind has run id, timestamp, level and message, and they are those of its docstring."""
    event = sample.event
    assert event.flow_run_id == RUN_ID
    assert event.timestamp == sample.timestamp
    assert event.level == sample.level
    assert event.message == sample.message


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_no_event_is_late_unless_it_says_so(kind: type[FlowRunEvent]) -> None:
    """Each kind has the field `late`, and it is False by default."""
    defaults = {field.name: field.default for field in msgspec.structs.fields(kind)}
    assert defaults["late"] is False


@each_sample
def test_events_are_frozen(sample: Sample) -> None:
    """No field of an event can be set."""
    for field in sample.event.__struct_fields__:
        with pytest.raises(AttributeError, match="immutable"):
            setattr(sample.event, field, None)


# -- levels and messages ------------------------------------------------------------------------

LEVELS = dict.fromkeys(StateType, logging.INFO) | {
    StateType.FAILED: logging.ERROR,
    StateType.CRASHED: logging.ERROR,
    StateType.CANCELLED: logging.WARNING,
}
CASES = [*LEVELS.items(), ("NEW_IN_PREFECT_4", logging.INFO), ("failed", logging.INFO)]


@pytest.mark.parametrize(("state_type", "level"), CASES, ids=[str(case[0]) for case in CASES])
def test_the_level_is_that_of_the_state_type(state_type: str, level: int) -> None:
    """Failed and Crashed are errors, Cancelled is a warning, and all else is information."""
    entered = state(state_type)
    of_run = StateChange(flow_run_id=RUN_ID, id=entered.id, state=entered)
    of_task = TaskRunStateChange(
        flow_run_id=RUN_ID, id=entered.id, task_run=TASK_RUN, state=entered
    )
    assert [of_run.level, of_task.level] == [level, level]


SAID = {
    "nothing": (None, "Entered state Running"),
    "empty": ("", "Entered state Running"),
    "something": ("task 3 of 7", "Entered state Running: task 3 of 7"),
    "braces": ("{0} %s", "Entered state Running: {0} %s"),
}


@pytest.mark.parametrize(("said", "message"), SAID.values(), ids=SAID)
def test_a_state_change_repeats_what_was_said(said: str | None, message: str) -> None:
    """The message names the state, and then what was said when it was set, if anything."""
    entered = state(message=said)
    assert StateChange(flow_run_id=RUN_ID, id=entered.id, state=entered).message == message


def test_a_state_is_called_by_its_name_and_not_its_type() -> None:
    """A SCHEDULED state that people call Late is told as Late."""
    late = msgspec.structs.replace(state("SCHEDULED"), name="Late")
    event = StateChange(flow_run_id=RUN_ID, id=late.id, state=late)
    assert event.message == "Entered state Late"


ROWS = {
    "written after its state": (9, 5, 9),
    "written before its state": (4, 5, 5),
    "without a state": (4, None, 4),
}


@pytest.mark.parametrize(("updated", "entered", "expected"), ROWS.values(), ids=ROWS)
def test_a_changed_row_is_no_earlier_than_its_state(
    updated: float, entered: float | None, expected: float
) -> None:
    """RunChanged has the later of the times at which row and state were set."""
    found = None if entered is None else state(at=entered)
    run = msgspec.structs.replace(RUN, updated=second(updated), state=found)
    assert RunChanged(flow_run_id=RUN_ID, run=run).timestamp == second(expected)


ENDINGS: dict[str, tuple[Closed, str]] = {
    "unproven": (
        Closed(flow_run_id=RUN_ID, timestamp=NOON, state=state("FAILED"), log_count=2),
        "Flow run ended in state Failed; 2 log lines, not verified",
    ),
    "no state": (
        Closed(flow_run_id=RUN_ID, timestamp=NOON, verified=True),
        "Flow run ended in state unknown; 0 log lines, verified",
    ),
}


@pytest.mark.parametrize(("closed", "message"), ENDINGS.values(), ids=ENDINGS)
def test_the_last_event_sums_up(closed: Closed, message: str) -> None:
    """Closed says how the run ended, how many lines were told and whether that was proven."""
    assert closed.message == message


# -- how it ended -------------------------------------------------------------------------------


def closed_in(ended: State | None) -> Closed:
    """The last event of a run that ended so."""
    return Closed(flow_run_id=RUN_ID, timestamp=NOON, state=ended)


def test_a_completed_run_raises_nothing() -> None:
    """raise_for_state lets a completed run pass."""
    closed_in(state("COMPLETED")).raise_for_state()


FAILURES: dict[str, State | None] = {
    "state Failed": state("FAILED"),
    "state Crashed": state("CRASHED"),
    "state Cancelled": state("CANCELLED"),
    "state Failed: disk full": state("FAILED", message="disk full"),
    "state Running": state("RUNNING"),
    "state New_In_Prefect_4": state("NEW_IN_PREFECT_4"),
    "no state": None,
}


@pytest.mark.parametrize(("called", "ended"), FAILURES.items(), ids=FAILURES)
def test_any_other_end_raises(called: str, ended: State | None) -> None:
    """raise_for_state names the run and the state that it ended in, and what was said then."""
    with pytest.raises(FlowRunFailed) as raised:
        closed_in(ended).raise_for_state()
    assert str(raised.value) == f"Flow run {RUN_ID} ended in {called}"


# -- as Prefect 1's log lines -------------------------------------------------------------------


@given(event=events())
def test_an_event_unpacks_into_the_three_that_each_has(event: FlowRunEvent) -> None:
    """`timestamp, level, message = event` works for each kind, as for Prefect 1's log lines."""
    timestamp, level, message = event
    assert (timestamp, level, message) == (event.timestamp, event.level, event.message)


@given(told=st.lists(events()))
def test_events_sort_by_time_and_else_stay_as_they_were(told: list[FlowRunEvent]) -> None:
    """Sorting goes by the time alone, so that events of one time keep their order."""
    assert sorted(told) == sorted(told, key=lambda event: event.timestamp)
    assert sorted(told, reverse=True) == sorted(told, key=lambda e: e.timestamp, reverse=True)


@given(one=events(), other=events())
def test_comparisons_are_those_of_the_times(one: FlowRunEvent, other: FlowRunEvent) -> None:
    """The four comparisons of two events are those of their times; equality is of all fields."""
    assert (one < other) is (one.timestamp < other.timestamp)
    assert (one <= other) is (one.timestamp <= other.timestamp)
    assert (one > other) is (one.timestamp > other.timestamp)
    assert (one >= other) is (one.timestamp >= other.timestamp)
    assert (one == other) is (msgspec.structs.astuple(one) == msgspec.structs.astuple(other)) or (
        type(one) is not type(other)
    )


@pytest.mark.parametrize("other", [NOON, None, (NOON, 20, "a line"), "a line"])
def test_an_event_is_compared_with_events_only(other: object) -> None:
    """Comparing an event with anything else is a TypeError, and never a guess."""
    event = SAMPLES[0].event
    comparisons: tuple[Callable[[Any, Any], bool], ...]
    comparisons = (operator.lt, operator.le, operator.gt, operator.ge)
    for compare in comparisons:
        with pytest.raises(TypeError):
            compare(event, other)
    assert event != other


@given(event=events_of(FlowRunLog))
def test_a_line_is_hashed_as_what_it_is(event: FlowRunLog) -> None:
    """Equal lines have equal hashes, so that a set holds a line once."""
    again = msgspec.structs.replace(event)
    assert {event, again} == {event}
