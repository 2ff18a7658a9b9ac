"""The order in which a watch emits events, and the view of the events emitted so far.

Within a tick events are sorted by (timestamp, created, id). State changes wait until the log rows
before them were emitted, so that no consumer reads "Completed" before line 1. An event whose key is
below one emitted in an earlier tick is flagged late. What is emitted at all, and why, is decided in
`run_watch`, not here.
"""

from collections.abc import Iterable
from datetime import datetime
from itertools import groupby
from typing import assert_never

import msgspec

from rxflow._models.entities import Snapshot
from rxflow._models.times import Instant, later
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
"""Events that are sorted by time; the others are emitted in the order in which they are given."""

EventPage = tuple[FlowRunEvent, ...]
"""Events of one source that are emitted together."""

EventPages = tuple[tuple[EventSource, EventPage], ...]
"""What one tick emits: pages, each of one source, in order."""

_Key = tuple[datetime, datetime, int, str]


class OrderState(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of the events that were emitted, to save and load.

    Attributes:
        view: Their fold.
        top: The key of the highest of those that are sorted.
        newest: The latest timestamp of them all.
        log_count: How many log rows were among them.
    """

    view: Snapshot | None = None
    top: tuple[Instant, Instant, int, str] | None = None
    newest: Instant | None = None
    log_count: int = 0


class EventOrder:
    """Sorts events, flags the late ones, and keeps the view of the events emitted.

    Attributes:
        view: The fold of all events emitted.
        newest: The latest timestamp of an event that was emitted.
        log_count: How many log rows were emitted.
        has_emitted: Whether any event was emitted that was not by an earlier watch.
    """

    def __init__(self, sources: frozenset[EventSource]) -> None:
        """Start with no event emitted.

        Args:
            sources: Events of other sources are neither emitted nor folded into the view.
        """
        self._sources = sources
        self._held: list[DatedEvent] = []
        self._top: _Key | None = None
        self.view: Snapshot | None = None
        self.newest: datetime | None = None
        self.log_count = 0
        self.has_emitted = False

    def arrange(
        self,
        *,
        first: Iterable[FlowRunEvent] = (),
        dated: Iterable[DatedEvent] = (),
        logs: tuple[FlowRunLog, ...] = (),
        last: Iterable[FlowRunEvent] = (),
        position: datetime | None = None,
    ) -> EventPages:
        """Sort the events of one tick into pages to emit, and hold back what must wait.

        Args:
            first: Events to emit before all others, in this order.
            dated: Events to sort by time.
            logs: Log rows, sorted.
            last: Events to emit after all others, in this order.
            position: The time before which all log rows were read, or None if all were read. Log
                rows are emitted whatever their time; other events from this time on are held back.
        """
        ready, self._held = _split([*self._held, *dated], position)
        if ready or not self._can_pass_whole(logs):
            ordered = [self._flagged(event) for event in _sorted([*ready, *logs])]
            return self._paged([*first, *ordered, *last])
        self._top = _key(logs[-1])
        self.has_emitted = True
        self.newest = later(self.newest, logs[-1].timestamp)
        self.log_count += len(logs)
        return (*self._paged(first), (EventSource.LOGS, logs), *self._paged(last))

    def notify(self, *notices: FlowRunEvent) -> EventPages:
        """Emit notices now, and release nothing that is held back."""
        return self._paged(notices)

    def record_emitted(self, events: Iterable[FlowRunEvent]) -> None:
        """Record events that an earlier watch emitted, in their order."""
        for event in events:
            self.newest = later(self.newest, event.timestamp)
            if isinstance(event, StateChange | FlowRunLog | TaskRunStateChange):
                key = _key(event)
                self._top = key if self._top is None else max(self._top, key)
            if isinstance(event, FlowRunLog):
                self.log_count += 1
            else:
                self.view = fold(self.view, event)

    def save_emitted(self) -> OrderState:
        """Return what is known of the events that were emitted; what is held back is not."""
        return OrderState(
            view=self.view, top=self._top, newest=self.newest, log_count=self.log_count
        )

    def load_emitted(self, state: OrderState) -> None:
        """Go on after events of which this is known."""
        self.view, self._top = state.view, state.top
        self.newest, self.log_count = state.newest, state.log_count

    def _can_pass_whole(self, logs: tuple[FlowRunLog, ...]) -> bool:
        """Whether log rows can be emitted as the page they are, since none of them is late."""
        if not logs or EventSource.LOGS not in self._sources:
            return False
        return self._top is None or _key(logs[0]) >= self._top

    def _flagged(self, event: DatedEvent) -> DatedEvent:
        # A RunChanged has no fixed moment in the run's life, so it cannot be late.
        if isinstance(event, RunChanged) or source_of(event) not in self._sources:
            return event
        key = _key(event)
        if self._top is None or key >= self._top:
            self._top = key
            return event
        return msgspec.structs.replace(event, late=True)

    def _paged(self, events: Iterable[FlowRunEvent]) -> EventPages:
        """Cut events into pages of one source each, and fold them into the view."""
        pages: list[tuple[EventSource, tuple[FlowRunEvent, ...]]] = []
        for source, run in groupby(events, key=source_of):
            if source not in self._sources:
                continue
            page = tuple(run)
            pages.append((source, page))
            self.has_emitted = True
            self.newest = later(self.newest, max(event.timestamp for event in page))
            if source is EventSource.LOGS:
                self.log_count += len(page)
            else:
                for event in page:
                    self.view = fold(self.view, event)
        return tuple(pages)


def _split(
    events: list[DatedEvent], position: datetime | None
) -> tuple[list[DatedEvent], list[DatedEvent]]:
    """Split events into those to emit and those to hold back.

    A RunChanged waits as long as any state does: it follows all states that led to it.
    """
    waiting: list[DatedEvent] = [
        event
        for event in events
        if position is not None
        and not isinstance(event, FlowRunLog)
        and event.timestamp >= position
    ]
    if any(isinstance(event, StateChange) for event in waiting):
        waiting += [e for e in events if isinstance(e, RunChanged) and e not in waiting]
    waiting_ids = {id(event) for event in waiting}
    return [event for event in events if id(event) not in waiting_ids], waiting


def _sorted(events: list[DatedEvent]) -> list[DatedEvent]:
    """Sort by time, and put each RunChanged after all states, whatever their writers' clocks."""
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
        case _:
            assert_never(event)


def source_of(event: FlowRunEvent) -> EventSource:
    """Return the source that emits events of this kind."""
    match event:
        case StateChange() | RunChanged():
            return EventSource.STATES
        case FlowRunLog():
            return EventSource.LOGS
        case TaskRunStateChange():
            return EventSource.TASKS
        case _:
            return EventSource.NOTICES
