"""The order in which a watch tells what it found, and what was told so far.

Within a tick events go by (timestamp, created, id). State changes wait until the log lines before
them are out, so that nobody reads "Completed" before line 1. An event below one that was told in
an earlier tick is flagged late.
"""

from collections.abc import Iterable
from datetime import datetime
from itertools import groupby

import msgspec

from rxflow._models.entities import Snapshot
from rxflow._watching.fold import fold
from rxflow._watching.watch_spec import EventSource
from rxflow.events import (
    FlowRunEvent,
    FlowRunLog,
    RunChanged,
    StateChange,
    TaskRunStateChange,
)

DatedEvent = StateChange | RunChanged | FlowRunLog | TaskRunStateChange
"""Events that have their place in time; the others come when they come."""

EventPages = tuple[tuple[EventSource, tuple[FlowRunEvent, ...]], ...]
"""What one tick tells: pages, each of one source, in order."""

_Key = tuple[datetime, datetime, int, str]


class EventOrder:
    """Puts events in order, flags the late ones and keeps the view of what was told."""

    def __init__(self, sources: frozenset[EventSource]) -> None:
        """Start with nothing told.

        Args:
            sources: Events of other sources are neither told nor taken into the view.
        """
        self._sources = sources
        self._held: list[DatedEvent] = []
        self._top: _Key | None = None
        self.view: Snapshot | None = None
        self.log_count = 0

    def tell(
        self,
        *,
        first: Iterable[FlowRunEvent] = (),
        dated: Iterable[DatedEvent] = (),
        lines: tuple[FlowRunLog, ...] = (),
        last: Iterable[FlowRunEvent] = (),
        position: datetime | None = None,
    ) -> EventPages:
        """Say what is to be told now.

        Args:
            first: Events that come before all others.
            dated: Events that go by their time.
            lines: Log lines, in order.
            last: Events that come after all others.
            position: Log lines before this time are all there; of what is dated later, only log
                lines are told now and the rest is held back. None: all there is was read.
        """
        now, self._held = _split([*self._held, *dated], position)
        if now or not self._follow_on(lines):
            ordered = [self._flagged(event) for event in _in_order([*now, *lines])]
            return self._cut([*first, *ordered, *last])
        self._top = _key(lines[-1])
        self.log_count += len(lines)
        return (*self._cut(first), (EventSource.LOGS, lines), *self._cut(last))

    def say(self, *notices: FlowRunEvent) -> EventPages:
        """Say something now, and hold back what is held back."""
        return self._cut(notices)

    def _follow_on(self, lines: tuple[FlowRunLog, ...]) -> bool:
        """Whether lines can be told as they are: the page as a whole, and none of them late."""
        if not lines or EventSource.LOGS not in self._sources:
            return False
        return self._top is None or _key(lines[0]) >= self._top

    def _flagged(self, event: DatedEvent) -> DatedEvent:
        # A changed row is no moment of the run's life that could come late.
        if isinstance(event, RunChanged) or _source(event) not in self._sources:
            return event
        key = _key(event)
        if self._top is None or key >= self._top:
            self._top = key
            return event
        return msgspec.structs.replace(event, late=True)

    def _cut(self, events: Iterable[FlowRunEvent]) -> EventPages:
        pages: list[tuple[EventSource, tuple[FlowRunEvent, ...]]] = []
        for source, run in groupby(events, key=_source):
            if source not in self._sources:
                continue
            page = tuple(run)
            pages.append((source, page))
            if source is EventSource.LOGS:
                self.log_count += len(page)
            else:
                for event in page:
                    self.view = fold(self.view, event)
        return tuple(pages)


def _split(
    events: list[DatedEvent], position: datetime | None
) -> tuple[list[DatedEvent], list[DatedEvent]]:
    """What can be told and what has to wait; a changed row waits for all of its states."""
    waiting: list[DatedEvent] = [
        event
        for event in events
        if position is not None
        and not isinstance(event, FlowRunLog)
        and event.timestamp >= position
    ]
    if any(isinstance(event, StateChange) for event in waiting):
        waiting += [e for e in events if isinstance(e, RunChanged) and e not in waiting]
    waits = {id(event) for event in waiting}
    return [event for event in events if id(event) not in waits], waiting


def _in_order(events: list[DatedEvent]) -> list[DatedEvent]:
    """By time; a changed row comes after the states that led to it, whatever their clocks said."""
    ordered = sorted(events, key=_key)
    states = [number for number, event in enumerate(ordered) if isinstance(event, StateChange)]
    if not states:
        return ordered
    head, tail = ordered[: states[-1] + 1], ordered[states[-1] + 1 :]
    changed: list[DatedEvent] = [event for event in head if isinstance(event, RunChanged)]
    return [*(event for event in head if not isinstance(event, RunChanged)), *changed, *tail]


def _key(event: DatedEvent) -> _Key:
    match event:
        case FlowRunLog():
            return (event.timestamp, event.created, 0, event.id)
        case RunChanged():
            return (event.timestamp, event.timestamp, 0, "")
        case StateChange() | TaskRunStateChange():
            return (event.timestamp, *event.state.order)


def _source(event: FlowRunEvent) -> EventSource:
    match event:
        case StateChange() | RunChanged():
            return EventSource.STATES
        case FlowRunLog():
            return EventSource.LOGS
        case TaskRunStateChange():
            return EventSource.TASKS
        case _:
            return EventSource.NOTICES
