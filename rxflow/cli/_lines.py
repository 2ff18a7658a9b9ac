"""Events as lines of text that are safe to print on a terminal."""

import logging
from collections.abc import Iterator
from datetime import date

from rxflow import (
    Closed,
    FlowRunEvent,
    FlowRunLog,
    RunChanged,
    RunSeen,
    Snapshot,
    TaskRunStateChange,
)
from rxflow._models.terminal_text import in_column, local_time, safe_text


class Transcript:
    """Turns the events of one run into lines, and keeps in mind what its task runs are called."""

    def __init__(self) -> None:
        """Begin with nothing told."""
        self._task_runs: dict[str, str] = {}
        self._day: date | None = None

    def lines(self, event: FlowRunEvent) -> Iterator[str]:
        """Yield what a person reads of an event: one line or none, after one for a new day.

        Args:
            event: The next event; its time is shown in local time.
        """
        if isinstance(event, RunChanged | Closed):
            return
        time = local_time(event.timestamp)
        day, self._day = self._day, time.date()
        if isinstance(event, RunSeen):
            yield f"{_title(event.run.name, event.run.id)}, created {self._day}"
            return
        if day not in {None, self._day}:
            yield f"{self._day}"
        level = logging.getLevelName(event.level)[:8]
        head = f"{time:%H:%M:%S}.{time.microsecond // 1000:03} {level:<8} "
        yield in_column(head, self._text(event))

    def _text(self, event: FlowRunEvent) -> str:
        if isinstance(event, TaskRunStateChange):
            self._task_runs[event.task_run.id] = _in_line(event.task_run.name)
        # A line may come before the first state of its task run does: it then goes without.
        task_run = event.task_run_id if isinstance(event, FlowRunLog) else None
        name = f"{self._task_runs[task_run]}: " if task_run in self._task_runs else ""
        return f"{name}{event.message}"


def closing(view: Snapshot, closed: Closed) -> Iterator[str]:
    """Yield what a person reads at the end: the run as it is then."""
    path = " > ".join(state.name for state in view.states)
    proof = "as many as the server counts" if closed.verified else "not verified by a count"
    yield _title(view.run.name, view.run.id)
    yield f"  state      {_in_line(view.state.name) if view.state else 'none'}"
    yield f"  states     {_in_line(path)}"
    if view.task_runs:
        done = sum(task_run.is_terminal for task_run in view.task_runs)
        yield f"  task runs  {done} of {len(view.task_runs)} over"
    yield f"  log lines  {closed.log_count}, {proof}"


def _in_line(text: str) -> str:
    return safe_text(text).replace("\n", "\\x0a")


def _title(name: str, run_id: str) -> str:
    return f"Flow run {name!r} ({run_id})"
