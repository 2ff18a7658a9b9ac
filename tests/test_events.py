"""Events: their fields, levels and messages."""

import logging
from datetime import datetime
from typing import get_args

import msgspec
import pytest
from sample_events import NOON, second
from sample_events import RUN as RUN_ID

from rxflow import (
    AllClosed,
    Closed,
    FlowRun,
    FlowRunEvent,
    FlowRunFailed,
    FlowRunLog,
    Notice,
    NoticeCode,
    RunChanged,
    RunOutcome,
    RunSeen,
    Snapshot,
    State,
    StateChange,
    StateType,
    TaskRun,
    TaskRunStateChange,
)

KINDS: tuple[type[FlowRunEvent], ...] = get_args(FlowRunEvent)


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
    """An event and the values that are expected of it."""

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
    Sample(
        event=AllClosed(
            flow_run_id="",
            timestamp=second(8),
            runs=(
                RunOutcome(flow_run_id=RUN_ID, name="amber-fox", state=state("COMPLETED")),
                RunOutcome(flow_run_id="other"),
            ),
        ),
        kind="all-closed",
        timestamp=second(8),
        level=logging.DEBUG,
        message="2 flow runs closed: 1 Completed, 1 no state; not all verified",
    ),
]

each_sample = pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.kind)


# -- common to all kinds ------------------------------------------------------------------------


def test_each_kind_has_one_sample() -> None:
    """The tests with samples cover every kind of event."""
    assert [type(sample.event) for sample in SAMPLES] == list(KINDS)


@each_sample
def test_every_event_has_kind_run_id_timestamp_level_and_message(sample: Sample) -> None:
    """The values are those that the docstring of each kind states."""
    event = sample.event
    assert event.kind == sample.kind == type(event).__struct_config__.tag
    assert event.flow_run_id == ("" if isinstance(event, AllClosed) else RUN_ID)
    assert event.timestamp == sample.timestamp
    assert event.level == sample.level
    assert event.message == sample.message


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_events_are_not_late_by_default(kind: type[FlowRunEvent]) -> None:
    """Each kind has the field `late`, and it is False by default."""
    defaults = {field.name: field.default for field in msgspec.structs.fields(kind)}
    assert defaults["late"] is False


@each_sample
def test_events_are_frozen(sample: Sample) -> None:
    """No field of an event can be set."""
    for field in sample.event.__struct_fields__:
        with pytest.raises(AttributeError, match="immutable"):
            setattr(sample.event, field, None)
    with pytest.raises(AttributeError, match="immutable"):
        setattr(sample.event, "kind", "log")  # noqa: B010 - for type checkers it is constant


# -- levels and messages ------------------------------------------------------------------------

LEVELS = dict.fromkeys(StateType, logging.INFO) | {
    StateType.FAILED: logging.ERROR,
    StateType.CRASHED: logging.ERROR,
    StateType.CANCELLED: logging.WARNING,
}
CASES = [*LEVELS.items(), ("NEW_IN_PREFECT_4", logging.INFO), ("failed", logging.INFO)]


@pytest.mark.parametrize(("state_type", "level"), CASES, ids=[str(case[0]) for case in CASES])
def test_the_level_follows_the_state_type(state_type: str, level: int) -> None:
    """Failed and Crashed are errors, Cancelled is a warning, and all other states are INFO."""
    entered = state(state_type)
    of_run = StateChange(flow_run_id=RUN_ID, id=entered.id, state=entered)
    of_task = TaskRunStateChange(
        flow_run_id=RUN_ID, id=entered.id, task_run=TASK_RUN, state=entered
    )
    assert [of_run.level, of_task.level] == [level, level]


STATE_MESSAGES = {
    "none": (None, "Entered state Running"),
    "empty": ("", "Entered state Running"),
    "text": ("task 3 of 7", "Entered state Running: task 3 of 7"),
    "braces": ("{0} %s", "Entered state Running: {0} %s"),
}


@pytest.mark.parametrize(("text", "message"), STATE_MESSAGES.values(), ids=STATE_MESSAGES)
def test_a_state_change_includes_the_message_of_its_state(text: str | None, message: str) -> None:
    """The event's message is the name of the state, and the state's message if it has one."""
    entered = state(message=text)
    assert StateChange(flow_run_id=RUN_ID, id=entered.id, state=entered).message == message


def test_a_message_has_the_name_of_the_state_and_not_its_type() -> None:
    """A SCHEDULED state with the name Late is shown as Late."""
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
    """The timestamp of RunChanged is the later of the row's update and its state's timestamp."""
    found = None if entered is None else state(at=entered)
    run = msgspec.structs.replace(RUN, updated=second(updated), state=found)
    assert RunChanged(flow_run_id=RUN_ID, run=run).timestamp == second(expected)


ENDINGS: dict[str, tuple[Closed, str]] = {
    "not verified": (
        Closed(flow_run_id=RUN_ID, timestamp=NOON, state=state("FAILED"), log_count=2),
        "Flow run ended in state Failed; 2 log lines, not verified",
    ),
    "malformed rows": (
        Closed(flow_run_id=RUN_ID, timestamp=NOON, state=state("FAILED"), malformed=2),
        "Flow run ended in state Failed; 0 log lines, not verified; 2 rows could not be read",
    ),
    "no state": (
        Closed(flow_run_id=RUN_ID, timestamp=NOON, verified=True),
        "Flow run ended in state unknown; 0 log lines, verified",
    ),
}


@pytest.mark.parametrize(("closed", "message"), ENDINGS.values(), ids=ENDINGS)
def test_closed_summarizes_the_watch(closed: Closed, message: str) -> None:
    """The message has the last state, the number of log lines and whether they are verified."""
    assert closed.message == message


# -- raise_for_state ----------------------------------------------------------------------------


def closed_in(ended: State | None) -> Closed:
    """The last event of a run that ended in a state."""
    return Closed(flow_run_id=RUN_ID, timestamp=NOON, state=ended)


def test_a_completed_run_raises_nothing() -> None:
    """raise_for_state returns for a completed run."""
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


@pytest.mark.parametrize(("described", "ended"), FAILURES.items(), ids=FAILURES)
def test_a_run_that_did_not_complete_raises(described: str, ended: State | None) -> None:
    """The error has the run's id, its last state and that state's message."""
    with pytest.raises(FlowRunFailed) as raised:
        closed_in(ended).raise_for_state()
    assert str(raised.value) == f"Flow run {RUN_ID} ended in {described}"
    assert (raised.value.flow_run_id, raised.value.state) == (RUN_ID, ended)
    assert raised.value.flow_run_ids == (RUN_ID,)


def outcome(number: int, ended: State | None) -> RunOutcome:
    """The outcome of a run that was read to its end."""
    return RunOutcome(flow_run_id=f"run {number}", name="a", state=ended, verified=True)


def all_closed_in(*ended: State | None) -> AllClosed:
    """The end of a watch of runs that ended in these states."""
    runs = tuple(outcome(number, each) for number, each in enumerate(ended))
    return AllClosed(flow_run_id="", timestamp=NOON, runs=runs)


@pytest.mark.parametrize(
    ("types", "worst"),
    [
        (("COMPLETED", "FAILED", "CRASHED", "CANCELLED"), 2),
        (("COMPLETED", "CANCELLED", "FAILED", "FAILED"), 2),
        (("COMPLETED", "RUNNING", "CANCELLED"), 2),
        ((None, "RUNNING", "COMPLETED"), 1),
        (("COMPLETED", None), 1),
        (("COMPLETED", "COMPLETED"), 0),
    ],
)
def test_the_worst_outcome_is_the_first_of_the_worst(
    types: tuple[str | None, ...], worst: int
) -> None:
    """Crashed is worse than Failed, and no state worse than Completed."""
    closed = all_closed_in(*(None if each is None else state(each) for each in types))
    assert closed.worst is closed.runs[worst]


def test_all_closed_raises_for_runs_that_did_not_complete() -> None:
    """At most five are named, on one line."""
    all_closed_in(state("COMPLETED")).raise_for_state()
    failed = all_closed_in(
        *(state("FAILED", message="no\ndisk") for _ in range(6)), None, state("COMPLETED")
    )
    with pytest.raises(FlowRunFailed) as caught:
        failed.raise_for_state()
    text = str(caught.value)
    assert text.startswith("7 of 8 flow runs did not complete: run 0 in state Failed: no\\ndisk; ")
    assert text.endswith("; and 2 more")
    assert caught.value.flow_run_ids == tuple(f"run {number}" for number in range(7))
    with pytest.raises(
        FlowRunFailed, match=r"^1 of 1 flow runs did not complete: run 0 in no state$"
    ):
        all_closed_in(None).raise_for_state()


GONE: dict[str, tuple[NoticeCode, State | None]] = {
    "was deleted": (NoticeCode.RUN_DELETED, None),
    "was deleted, last in state Completed": (NoticeCode.RUN_DELETED, state("COMPLETED")),
    "was deleted, last in state Running: 3 of 4": (
        NoticeCode.RUN_DELETED,
        state("RUNNING", message="3 of 4"),
    ),
    "was not found": (NoticeCode.RUN_NOT_FOUND, None),
}


@pytest.mark.parametrize(("described", "end"), GONE.items(), ids=GONE)
def test_a_run_that_is_gone_did_not_complete(
    described: str, end: tuple[NoticeCode, State | None]
) -> None:
    """Whatever state it was in last, which the error names if there was one."""
    code, last = end
    run = RunOutcome(flow_run_id="a", state=last, ended_by=code)
    gone = AllClosed(flow_run_id="", timestamp=NOON, runs=(run,))
    with pytest.raises(FlowRunFailed) as caught:
        gone.raise_for_state()
    assert str(caught.value) == f"1 of 1 flow runs did not complete: a {described}"
    word = "deleted" if code is NoticeCode.RUN_DELETED else "not found"
    assert gone.message == f"1 flow run closed: 1 {word}; not all verified"


def test_the_end_of_one_run_and_of_none() -> None:
    """The message counts in words."""
    assert all_closed_in(state("FAILED")).message == "1 flow run closed: 1 Failed; all verified"
    assert all_closed_in().message == "No flow runs were watched"
