"""Format the events of a run as lines of text that are safe to print on a terminal.

Unlike the lines of `rxflow.printing`, these have milliseconds, dates and the names of task runs.
"""

import logging
from collections.abc import Iterator
from datetime import date

from rxflow import (
    Closed,
    FlowRunEvent,
    FlowRunLog,
    RunChanged,
    RunSeen,
    TaskRunStateChange,
)
from rxflow._escapes import safe_text
from rxflow._models.terminal_text import in_column, local_time


class Transcript:
    """Formats the events of one run; knows the names of its task runs and the current day."""

    def __init__(self) -> None:
        """Start without an event."""
        self._task_run_names: dict[str, str] = {}
        self._day: date | None = None

    def lines(self, event: FlowRunEvent) -> Iterator[str]:
        """Yield the lines of an event: at most one of its own, and one before it for a new day.

        Args:
            event: The next event; its timestamp is shown in local time.
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
            self._task_run_names[event.task_run.id] = _one_line(event.task_run.name)
        # A log line before the first state of its task run is shown without a name.
        task_run_id = event.task_run_id if isinstance(event, FlowRunLog) else None
        name = self._task_run_names.get(task_run_id) if task_run_id else None
        return event.message if name is None else f"{name}: {event.message}"


def _one_line(text: str) -> str:
    return safe_text(text).replace("\n", "\\x0a")


def _title(name: str, run_id: str) -> str:
    return f"Flow run {name!r} ({run_id})"
