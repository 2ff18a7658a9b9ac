"""What a stream of events says of its runs: whether all are over, and which have fallen silent."""

import logging
from enum import Enum, auto

import msgspec

from rxflow._models.entities import FlowRun
from rxflow._models.times import Instant, Now
from rxflow._operators.run_states import state_of
from rxflow.events import Closed, FlowRunEvent, Notice, NoticeCode


class Quiet(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="quiet"):
    """No event of a run came for some time, although it is not over.

    It reads like an event: it has a level and a message as well.

    Attributes:
        flow_run_id: The run.
        since: When its last event came, by the watcher's clock.
        run: The run's row as it was read before this was told, with its state.
        timestamp: When this was noticed, by the watcher's clock.
        late: Always False.
    """

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
        """A sentence."""
        seconds = (self.timestamp - self.since).total_seconds()
        state = f"is in state {self.run.state.name}" if self.run.state else "has no state"
        return f"No event of flow run {self.run.name!r} for {seconds:.0f} s; it {state}"


class _Phase(Enum):
    COUNTING = auto()
    """The time since the last event is counted."""
    ASKED = auto()
    """It was silent for long enough; its row is being read."""
    SETTLED = auto()
    """Nothing to do until an event comes."""
    OVER = auto()
    """Nothing to do until it is opened again."""


class _RunActivity:
    """What was heard of one run, and when."""

    def __init__(self, now: Now) -> None:
        self.since = now.utc
        self.counted_from = now.mono
        self.phase = _Phase.COUNTING
        self.state_id: str | None = None
        self.unreachable = False


class SilenceDetector:
    """Knows for how long nothing was heard of each run, and tells it once its row was read.

    During an outage nothing can be heard, so no time is counted. What a `Notice` says is the word
    of the watch and not a sign of life.
    """

    def __init__(self, seconds: float) -> None:
        """Know of no run.

        Args:
            seconds: For how long a run has to be silent.
        """
        self._seconds = seconds
        self._runs: dict[str, _RunActivity] = {}

    def receive(self, event: FlowRunEvent, now: Now) -> None:
        """Take an event in."""
        if isinstance(event, Closed):
            self.forget(event.flow_run_id)
            return
        heard = self._runs.setdefault(event.flow_run_id, _RunActivity(now))
        if isinstance(event, Notice):
            _note(heard, event.code, now)
            return
        heard.since, heard.counted_from, heard.unreachable = now.utc, now.mono, False
        state = state_of(event)
        if state is not None:
            heard.state_id = state.id
            heard.phase = _Phase.OVER if state.is_terminal else _Phase.COUNTING
        elif heard.phase is not _Phase.OVER:
            heard.phase = _Phase.COUNTING

    def due_in(self, now: Now) -> float | None:
        """Seconds until `take_due` has something to say; None if it depends on what comes."""
        began = [heard.counted_from for heard in self._runs.values() if _is_counted(heard)]
        return max(0.0, min(began) + self._seconds - now.mono) if began else None

    def take_due(self, now: Now) -> tuple[str, ...]:
        """The ids of the runs that are silent for long enough, whose rows are to be read."""
        due = [
            (run_id, heard)
            for run_id, heard in self._runs.items()
            if _is_counted(heard) and heard.counted_from + self._seconds <= now.mono
        ]
        for _, heard in due:
            heard.phase = _Phase.ASKED
        return tuple(run_id for run_id, _ in due)

    def judge(self, row: FlowRun, now: Now) -> Quiet | None:
        """Say what is to be told of a run, now that its row was read."""
        heard = self._runs.get(row.id)
        if heard is None or heard.phase is not _Phase.ASKED:
            return None
        if not row.is_terminal and heard.state_id not in (None, row.state_id):
            # Its state is news to the stream, which will tell it soon if it tells states.
            heard.state_id = row.state_id
            _count_again(heard, now)
            return None
        heard.phase = _Phase.SETTLED
        if row.is_terminal:
            return None
        return Quiet(flow_run_id=row.id, since=heard.since, run=row, timestamp=now.utc)

    def retry(self, run_id: str, now: Now) -> None:
        """Take in that a run's row could not be read: it is tried again after as long a time."""
        heard = self._runs.get(run_id)
        if heard is not None and heard.phase is _Phase.ASKED:
            _count_again(heard, now)

    def forget(self, run_id: str) -> None:
        """Take in that a run is no more."""
        self._runs.pop(run_id, None)


def _is_counted(heard: _RunActivity) -> bool:
    return heard.phase is _Phase.COUNTING and not heard.unreachable


def _count_again(heard: _RunActivity, now: Now) -> None:
    heard.phase = _Phase.COUNTING
    heard.counted_from = now.mono


def _note(heard: _RunActivity, code: NoticeCode, now: Now) -> None:
    if code not in (NoticeCode.DEGRADED, NoticeCode.RECOVERED):
        return
    heard.unreachable = code is NoticeCode.DEGRADED
    if heard.phase in (_Phase.COUNTING, _Phase.ASKED):
        _count_again(heard, now)
