"""Format the events of runs as lines of text that are safe to print on a terminal.

Unlike the lines of `rxflow.printing`, these have milliseconds, dates, the names of task runs and
subflows, and colours, as ANSI sequences that are the only ones in them.
"""

import re
from collections.abc import Iterable, Iterator
from datetime import date, datetime, timedelta, tzinfo

import click
import msgspec

from rxflow import (
    FlowRunEvent,
    FlowRunLog,
    Notice,
    RunSeen,
    StateChange,
    TaskRunStateChange,
)
from rxflow._escapes import safe_text
from rxflow._models.terminal_text import local_time
from rxflow.cli._names import Names
from rxflow.cli._option_names import as_options

__all__ = ["TEXT_KINDS", "LineStyle", "Transcript", "level_name"]

_LEVELS = {10: "DEBUG", 20: "INFO", 30: "WARNING", 40: "ERROR", 50: "CRITICAL"}
_LEVEL_COLOURS = ((40, "red"), (30, "yellow"), (20, "green"))
_RUN_COLOURS = ("cyan", "magenta", "blue", "bright_green", "bright_yellow", "bright_magenta")


TEXT_KINDS = (RunSeen, StateChange, FlowRunLog, TaskRunStateChange, Notice)
"""The kinds of events that can have a line."""


class LineStyle(msgspec.Struct, frozen=True, kw_only=True):
    """How lines are written.

    Attributes:
        zone: The time zone of times; None for the local one.
        timestamps: Whether a time is in full, with its date and the offset from UTC.
        highlight: What is made to stand out in messages.
        many: Whether several runs are shown, so that each line has the name of its run.
    """

    zone: tzinfo | None = None
    timestamps: bool = False
    highlight: tuple[re.Pattern[str], ...] = ()
    many: bool = False

    def time(self, time: datetime) -> str:
        """Format a time."""
        local = local_time(time, self.zone)
        if self.timestamps:
            return local.isoformat(timespec="milliseconds")
        return f"{local:%H:%M:%S}.{local.microsecond // 1000:03}"

    def date(self, time: datetime) -> date:
        """Return the date of a time."""
        return local_time(time, self.zone).date()


def level_name(level: int) -> str:
    """Return the name of a level; its number, if it is none of the five of `logging`."""
    return _LEVELS.get(level) or str(level)


class Transcript:
    """Formats the events of runs; knows the current day and offset from UTC."""

    def __init__(
        self,
        style: LineStyle | None = None,
        names: Names | None = None,
        kinds: tuple[type[FlowRunEvent], ...] = TEXT_KINDS,
    ) -> None:
        """Start without an event.

        Args:
            style: How lines are written.
            names: Finds the names of runs and task runs.
            kinds: The kinds of events that have lines.
        """
        self._style = style or LineStyle()
        self._names = names or Names()
        self._kinds = kinds
        self._colours: dict[str, str] = {}
        self._day: date | None = None
        self._offset: timedelta | None = None

    def lines(self, event: FlowRunEvent) -> Iterator[str]:
        """Yield the lines of an event: at most one of its own, and one before it for a new day.

        Further lines of a message are in the same text, aligned below its first.

        Args:
            event: The next event.
        """
        self._names.receive(event)
        if not isinstance(event, self._kinds):
            return
        if isinstance(event, RunSeen):
            if event.root_flow_run_id == event.flow_run_id:
                title = safe_text(f"Flow run {event.run.name!r} ({event.run.id})")
                created = self._style.date(event.run.created)
                yield f"{click.style(title, bold=True)}, created {created}"
            return
        if not self._style.timestamps:
            yield from self._changed_date(local_time(event.timestamp, self._style.zone))
        yield self._line(event)

    def recall(self, event: FlowRunEvent) -> None:
        """Record an event whose lines an earlier command has written.

        Args:
            event: An event before those that are shown.
        """
        self._names.receive(event)
        if isinstance(event, self._kinds) and not isinstance(event, RunSeen):
            self._run_label(event)  # which gives the run its colour
            if not self._style.timestamps:
                for _ in self._changed_date(local_time(event.timestamp, self._style.zone)):
                    pass

    def _changed_date(self, time: datetime) -> Iterator[str]:
        """Yield a line for a new day, and for a new offset from UTC."""
        day, self._day = self._day, time.date()
        offset, self._offset = self._offset, time.utcoffset()
        if offset not in {None, self._offset}:
            yield click.style(f"{self._day} UTC{_offset_text(time)}", dim=True)
        elif day not in {None, self._day}:
            yield click.style(f"{self._day}", dim=True)

    def _line(self, event: FlowRunEvent) -> str:
        time, level = self._style.time(event.timestamp), f"{level_name(event.level):<8}"
        indent = " " * (len(time) + len(level) + 2)
        message = as_options(event.message) if isinstance(event, Notice) else event.message
        text = safe_text(message.replace("\r\n", "\n").rstrip("\n"))
        text = _highlighted(text, self._style.highlight).replace("\n", f"\n{indent}| ")
        return f"{time} {_styled_level(level, event.level)} | {self._label(event)}{text}"

    def _label(self, event: FlowRunEvent) -> str:
        """Return the names of the run and the task run of a line, as far as it needs them."""
        found = (self._run_label(event), self._names.task_run(event))
        names = "/".join(name for name in found if name)
        return f"{names}: " if names else ""

    def _run_label(self, event: FlowRunEvent) -> str | None:
        if not self._style.many and event.root_flow_run_id == event.flow_run_id:
            return None
        run = self._names.run(event.flow_run_id)
        return click.style(run, fg=self._colour(event.flow_run_id)) if run else None

    def _colour(self, flow_run_id: str) -> str:
        """Return the colour of a run: in turn those of the list, in order of appearance."""
        following = _RUN_COLOURS[len(self._colours) % len(_RUN_COLOURS)]
        return self._colours.setdefault(flow_run_id, following)


def _styled_level(text: str, level: int) -> str:
    colour = next((colour for least, colour in _LEVEL_COLOURS if level >= least), None)
    return click.style(text, fg=colour, bold=level >= 50 or None, dim=colour is None or None)


def _offset_text(time: datetime) -> str:
    return time.isoformat(timespec="seconds")[len("2026-01-01T12:00:00") :]


def _highlighted(text: str, patterns: Iterable[re.Pattern[str]]) -> str:
    """Make what matches stand out; matches of several patterns may overlap."""
    spans = sorted(found.span() for pattern in patterns for found in pattern.finditer(text))
    parts: list[str] = []
    end = 0
    for start, stop in spans:
        if stop > max(start, end):
            parts += [text[end:start], click.style(text[max(start, end) : stop], reverse=True)]
            end = stop
    return "".join([*parts, text[end:]])
