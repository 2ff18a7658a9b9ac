"""Events, sources and helpers for the tests of sinks."""

from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from reactivex import Observable, abc
from reactivex.disposable import Disposable
from virtual_world import Recording

from rxflow import (
    FlowRun,
    FlowRunEvent,
    FlowRunLog,
    RunSeen,
    State,
    StateChange,
    TaskRun,
    TaskRunStateChange,
    decode_event,
)

Operator = Callable[[Observable[Any]], Observable[Any]]

RUN_ID = "9e6caafc-4ea1-4493-b0a9-122efba9eaaa"
NOON = datetime(2026, 11, 22, 12, 0, 0, 123456, tzinfo=UTC)
FORMAT_CHARACTERS = "100 % of {} {0.__class__} %s %(name)s <red>é</red> \\<b>\nnext line\n"
"""A message with the special characters of every way to format a message."""

_STATE = State(id="state", type="FAILED", name="Failed", timestamp=NOON, message="no disk")
_TASK_RUN = TaskRun(
    id="task-run", name="load-0", task_key="load", dynamic_key="0", created=NOON, updated=NOON
)


def log_line(
    message: str = "a line", *, level: int = 20, task_run_id: str | None = None
) -> FlowRunLog:
    """Build a log line."""
    return FlowRunLog(
        flow_run_id=RUN_ID,
        id=f"row-{message}",
        timestamp=NOON,
        created=NOON,
        level=level,
        name="prefect.task_runs" if task_run_id else "prefect.flow_runs",
        message=message,
        task_run_id=task_run_id,
    )


RUN = FlowRun(id=RUN_ID, name="amber-fox", created=NOON, updated=NOON)
RUN_SEEN = RunSeen(flow_run_id=RUN_ID, run=RUN)
STATE_CHANGE = StateChange(flow_run_id=RUN_ID, id="state", state=_STATE)
TASK_STATE_CHANGE = TaskRunStateChange(
    flow_run_id=RUN_ID, id="state", state=_STATE, task_run=_TASK_RUN
)
LINES = [log_line("one"), log_line("two"), log_line("three")]


class EagerSource(Observable[Any]):
    """A source that emits all its items while it is subscribed to.

    Attributes:
        subscribed: How often it was subscribed to.
        disposed: How many subscriptions were disposed of.
    """

    def __init__(self, *items: object) -> None:
        super().__init__()
        self._items = items
        self.subscribed = 0
        self.disposed = 0

    def _subscribe_core(
        self, observer: abc.ObserverBase[Any], _: abc.SchedulerBase | None = None
    ) -> abc.DisposableBase:
        self.subscribed += 1
        for item in self._items:
            observer.on_next(item)
        return Disposable(self._count)

    def _count(self) -> None:
        self.disposed += 1


class Broken(Exception):
    """The error of what fails in these tests."""


def failing_at(number: int, calls: list[object]) -> Callable[[object], None]:
    """Return a function that records its calls and fails at one of them, counted from 1."""

    def fail(item: object) -> None:
        calls.append(item)
        if len(calls) == number:
            raise Broken

    return fail


def recording_of(observable: Observable[Any]) -> Recording[Any]:
    """Subscribe to an observable and return the recording."""
    recording: Recording[Any] = Recording()
    recording.subscribe_to(observable)
    return recording


def read_events(path: Path) -> list[FlowRunEvent]:
    """Read the events in a file."""
    with path.open("rb") as file:
        return [decode_event(text) for text in file]


def is_open(path: Path) -> bool:
    """Whether this process has a file open; needs Linux's /proc."""
    held: list[Path] = []
    for number in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # the descriptor that lists the folder is closed by now
            held.append(number.readlink())
    return path in held
