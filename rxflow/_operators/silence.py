"""`Quiet`, and the detector that decides which runs of a stream have fallen silent.

The detector names the runs whose rows are to be read; reading them is left to
`rxflow._runtime.silence_subscription`.
"""

import logging
from enum import Enum, auto
from typing import ClassVar, Literal

import msgspec

from rxflow._models.entities import FlowRun
from rxflow._models.event import line_of
from rxflow._models.times import Instant, Now
from rxflow._operators.run_states import reported_state
from rxflow.events import Closed, FlowRunEvent, FlowRunLog, Notice, NoticeCode


class Quiet(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="quiet"):
    """A run has had no event for some time, although it is not over.

    Like an event it has a kind, a level and a message.

    Attributes:
        flow_run_id: The run.
        since: When its last event arrived, by the watcher's clock.
        run: The run's row, read just before this was emitted, with its state.
        timestamp: When the silence was detected, by the watcher's clock.
        late: Always False.
    """

    kind: ClassVar[Literal["quiet"]] = "quiet"

    flow_run_id: str
    since: Instant
    run: FlowRun
    timestamp: Instant
    late: bool = False

    @property
    def level(self) -> int:
        """``logging.WARNING``."""
        return logging.WARNING

    @property
    def message(self) -> str:
        """A sentence with the duration of the silence and the run's state."""
        seconds = (self.timestamp - self.since).total_seconds()
        state = f"is in state {self.run.state.name}" if self.run.state else "has no state"
        return f"No event of flow run {self.run.name!r} for {seconds:.0f} s; it {state}"

    def __str__(self) -> str:
        """Show it as one line, as events are: its time, the name of its level, its message."""
        return line_of(self)


class _Phase(Enum):
    COUNTING = auto()
    """The time since the last event is counted."""
    CHECKING = auto()
    """The run was silent for long enough; its row is being read."""
    CHECKED = auto()
    """The row was read; nothing is due until an event arrives."""
    ENDED = auto()
    """The run is over; nothing is due until it is opened again."""


class _RunActivity:
    """When one run last had an event, and what is due for it."""

    def __init__(self, now: Now) -> None:
        self.last_event_at = now.utc
        self.counted_from = now.mono
        self.phase = _Phase.COUNTING
        self.state_id: str | None = None
        self.in_outage = False

    @property
    def is_counted(self) -> bool:
        """Whether the time is counted towards a silence."""
        return self.phase is _Phase.COUNTING and not self.in_outage

    def restart(self, now: Now) -> None:
        """Count the time from now on."""
        self.phase = _Phase.COUNTING
        self.counted_from = now.mono


class SilenceDetector:
    """Counts the time without an event for each run, and returns a `Quiet` once its row was read.

    During an outage no event can arrive, so no time is counted. A `Notice` is about the watch, not
    about the run, and does not end a silence.
    """

    def __init__(self, seconds: float) -> None:
        """Create a detector that has received no event.

        Args:
            seconds: How long a run must be silent.
        """
        self._seconds = seconds
        self._runs: dict[str, _RunActivity] = {}

    def receive(self, event: FlowRunEvent, now: Now) -> None:
        """Record an event."""
        run = self._runs.get(event.flow_run_id)
        if run is None:
            if not event.flow_run_id:  # of a watch over many runs, as a whole
                return self._receive_of_watch(event, now)
            self._runs[event.flow_run_id] = run = _RunActivity(now)
        match event:
            case FlowRunLog():  # first, since most events are: each class before it takes 0.1 us
                state = None
            case Closed():
                return self.forget(event.flow_run_id)
            case Notice():
                return _record_notice(run, event.code, now)
            case _:
                state = reported_state(event)
        run.last_event_at, run.counted_from, run.in_outage = now.utc, now.mono, False
        if state is not None:
            run.state_id = state.id
            run.phase = _Phase.ENDED if state.is_terminal else _Phase.COUNTING
        elif run.phase is not _Phase.ENDED:
            run.phase = _Phase.COUNTING
        return None

    def _receive_of_watch(self, event: FlowRunEvent, now: Now) -> None:
        if isinstance(event, Notice):
            for run in self._runs.values():
                _record_notice(run, event.code, now)

    def due_in(self, now: Now) -> float | None:
        """Return the seconds until `next_row_checks` returns runs; None if no time is counted."""
        counted_from = [run.counted_from for run in self._runs.values() if run.is_counted]
        return max(0.0, min(counted_from) + self._seconds - now.mono) if counted_from else None

    def next_row_checks(self, now: Now) -> tuple[str, ...]:
        """Return the ids of the runs whose rows are to be read, since they are silent."""
        due = {
            run_id: run
            for run_id, run in self._runs.items()
            if run.is_counted and run.counted_from + self._seconds <= now.mono
        }
        for run in due.values():
            run.phase = _Phase.CHECKING
        return tuple(due)

    def receive_row(self, row: FlowRun, now: Now) -> Quiet | None:
        """Record the row that a check has read; return what to emit, if anything."""
        run = self._runs.get(row.id)
        if run is None or run.phase is not _Phase.CHECKING:
            return None
        if not row.is_terminal and run.state_id not in (None, row.state_id):
            # The stream has not emitted this state yet; if it has state changes, it soon will.
            run.state_id = row.state_id
            run.restart(now)
            return None
        run.phase = _Phase.CHECKED
        if row.is_terminal:
            return None
        return Quiet(flow_run_id=row.id, since=run.last_event_at, run=row, timestamp=now.utc)

    def receive_failure(self, run_id: str, now: Now) -> None:
        """Record that a row could not be read; retry after another full quiet period."""
        run = self._runs.get(run_id)
        if run is not None and run.phase is _Phase.CHECKING:
            run.restart(now)

    def forget(self, run_id: str) -> None:
        """Drop a run that is over or was deleted."""
        self._runs.pop(run_id, None)


def _record_notice(run: _RunActivity, code: NoticeCode, now: Now) -> None:
    if code not in (NoticeCode.DEGRADED, NoticeCode.RECOVERED):
        return
    run.in_outage = code is NoticeCode.DEGRADED
    if run.phase in (_Phase.COUNTING, _Phase.CHECKING):
        run.restart(now)
