"""Build events of a watch; a test passes the fields that matter to it."""

from datetime import UTC, datetime, timedelta

from rxflow import (
    AllClosed,
    Closed,
    FlowRun,
    FlowRunLog,
    Notice,
    NoticeCode,
    RunChanged,
    RunSeen,
    State,
    StateChange,
    TaskRun,
    TaskRunStateChange,
)
from rxflow._models.times import Now

RUN = "9e6caafc-4ea1-4493-b0a9-122efba9eaaa"
OTHER = "1b671a64-40d5-491e-99b0-da01ff1f3341"
TASK = "6ecd8c99-4036-403d-bf84-cf8400f67836"
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def second(seconds: float) -> datetime:
    """Return the time a number of seconds after noon."""
    return NOON + timedelta(seconds=seconds)


def at(seconds: float) -> Now:
    """Return both clock readings at a second; the monotonic clock began long before."""
    return Now(seconds + 1e3, second(seconds))


def line(
    seconds: float = 0,
    message: str = "a line",
    *,
    level: int = 20,
    run: str = RUN,
    task: str | None = None,
    late: bool = False,
) -> FlowRunLog:
    """Build a log line that was written and stored at a second."""
    return FlowRunLog(
        flow_run_id=run,
        id=f"{message} {seconds}",
        timestamp=second(seconds),
        created=second(seconds),
        level=level,
        name="prefect.flow_runs",
        message=message,
        task_run_id=task,
        late=late,
    )


def state(name: str, seconds: float = 0) -> State:
    """Build a state, whose id consists of its name and time."""
    return State(id=f"{name} {seconds}", type=name.upper(), name=name, timestamp=second(seconds))


def entered(name: str, seconds: float = 0, *, run: str = RUN) -> StateChange:
    """Build a state change."""
    new = state(name, seconds)
    return StateChange(flow_run_id=run, id=new.id, state=new)


def row(name: str | None = None, seconds: float = 0, *, run: str = RUN) -> FlowRun:
    """Build the row of a run, in a state if a name is given."""
    new = None if name is None else state(name, seconds)
    return FlowRun(
        id=run,
        name="amber-fox",
        created=NOON,
        updated=second(seconds),
        state=new,
        state_id=new.id if new else None,
    )


def seen(name: str | None = None, seconds: float = 0, *, run: str = RUN) -> RunSeen:
    """Build the first event of a run; its row has a state if a name is given."""
    return RunSeen(flow_run_id=run, run=row(name, seconds, run=run))


def changed(name: str, seconds: float = 0, *, run: str = RUN) -> RunChanged:
    """Build the event of a changed row."""
    return RunChanged(flow_run_id=run, run=row(name, seconds, run=run))


def task_entered(name: str, seconds: float = 0, *, task: str = TASK) -> TaskRunStateChange:
    """Build a state change of a task run."""
    new = state(name, seconds)
    task_run = TaskRun(
        id=task,
        name="load-0",
        task_key="load",
        dynamic_key="0",
        created=NOON,
        updated=new.timestamp,
        state=new,
        state_id=new.id,
    )
    return TaskRunStateChange(flow_run_id=RUN, id=new.id, task_run=task_run, state=new)


def notice(code: NoticeCode, seconds: float = 0, *, run: str = RUN) -> Notice:
    """Build a notice of the watch."""
    return Notice(flow_run_id=run, code=code, message="a notice", timestamp=second(seconds))


def all_closed(seconds: float = 0) -> AllClosed:
    """Build the last event of a watch over many runs."""
    return AllClosed(flow_run_id="", timestamp=second(seconds))


def closed(seconds: float = 0, *, run: str = RUN) -> Closed:
    """Build the last event of a watch."""
    return Closed(flow_run_id=run, timestamp=second(seconds), state=state("Completed"))
