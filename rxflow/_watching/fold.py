"""The fold: the definition of a snapshot, as one pure function over events.

``events.pipe(ops.scan(fold, None))`` makes the snapshots of a stream; views that are read at once
fold the same events. This file must not know where events come from or in which order they were
emitted.
"""

from bisect import bisect_left
from datetime import datetime
from operator import attrgetter
from typing import assert_never

from msgspec.structs import replace

from rxflow._models.entities import Snapshot, TaskRun
from rxflow._models.states import State
from rxflow.events import (
    AllClosed,
    Closed,
    FlowRunEvent,
    FlowRunLog,
    Notice,
    RunChanged,
    RunSeen,
    StateChange,
    TaskRunStateChange,
)

_id = attrgetter("id")


def fold(snapshot: Snapshot | None, event: FlowRunEvent) -> Snapshot | None:
    """Fold one event into a snapshot, and leave the given snapshot unchanged.

    `RunSeen` starts a new snapshot of the run's row alone. `RunChanged` replaces the row.
    `StateChange` sets the row's state and adds it to the states, which are unique by id and sorted
    by timestamp, then Prefect 1's version number, then id. `TaskRunStateChange` adds or replaces
    the task run; task runs are unique by id and sorted by (created, id). `Closed` sets the row's
    last state where no `StateChange` did. `FlowRunLog`, `Notice` and
    `AllClosed` add nothing.

    Args:
        snapshot: The snapshot so far, or None before the run's `RunSeen`.
        event: An event of the same run.

    Returns:
        The new snapshot; the same object where the event adds nothing, and None until a `RunSeen`
        is folded.

    Example:
        >>> from datetime import UTC, datetime
        >>> import rxflow
        >>> notice = rxflow.Notice(
        ...     flow_run_id="9e6caafc-4ea1-4493-b0a9-122efba9eaaa",
        ...     code=rxflow.NoticeCode.RECOVERED,
        ...     message="The server replies again",
        ...     timestamp=datetime(2026, 11, 22, tzinfo=UTC),
        ... )
        >>> rxflow.fold(None, notice) is None
        True
    """
    if isinstance(event, RunSeen):
        return Snapshot(run=event.run)
    if snapshot is None:
        return None
    match event:
        case RunChanged():
            return replace(snapshot, run=event.run)
        case StateChange():
            run = replace(snapshot.run, state=event.state, state_id=event.id)
            return replace(snapshot, run=run, states=_with_state(snapshot.states, event.state))
        case TaskRunStateChange():
            return replace(snapshot, task_runs=_with_task_run(snapshot.task_runs, event.task_run))
        case Closed():
            return _with_last_state(snapshot, event)
        case FlowRunLog() | Notice() | AllClosed():
            return snapshot
        case _:
            assert_never(event)


def _with_last_state(snapshot: Snapshot, event: Closed) -> Snapshot:
    # Only a watch that does not stream states finds its last state in this event.
    if event.state is None or event.state == snapshot.state:
        return snapshot
    return replace(snapshot, run=replace(snapshot.run, state=event.state, state_id=event.state.id))


def _with_state(states: tuple[State, ...], new: State) -> tuple[State, ...]:
    others = (state for state in states if state.id != new.id)
    return tuple(sorted((*others, new), key=lambda state: state.order))


def _with_task_run(task_runs: tuple[TaskRun, ...], new: TaskRun) -> tuple[TaskRun, ...]:
    key = _creation(new)
    at = bisect_left(task_runs, key, key=_creation)
    if at < len(task_runs) and _creation(task_runs[at]) == key:
        return (*task_runs[:at], new, *task_runs[at + 1 :])
    if new.id in map(_id, task_runs):  # it was created at another time before
        task_runs = tuple(task_run for task_run in task_runs if task_run.id != new.id)
        at = bisect_left(task_runs, key, key=_creation)
    return (*task_runs[:at], new, *task_runs[at:])


def _creation(task_run: TaskRun) -> tuple[datetime, str]:
    return task_run.created, task_run.id
