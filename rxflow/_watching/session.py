"""A watch without its I/O: which question comes next, and what an answer tells.

The engine asks `Session.next_command`, carries it out and hands back what came of it with
`Session.receive`; each returns at once. What is read is the reader's business, what is told in
which order the teller's, and when it is over the lifecycle's; here they are put together.
"""

import math
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from random import Random

import msgspec

from rxflow._logs.cursor import LogRead
from rxflow._models.entities import FlowRun
from rxflow._models.states import State
from rxflow._models.times import Now
from rxflow._protocol.failures import Failure, FailureKind, Reply
from rxflow._protocol.intervals import PollInterval
from rxflow._protocol.pages import MalformedRow, Poll
from rxflow._protocol.queries import Query
from rxflow._protocol.retry import RetryPolicy
from rxflow._watching.event_order import DatedEvent, EventOrder, EventPages
from rxflow._watching.lifecycle import Lifecycle, Phase
from rxflow._watching.run_reader import CloseCheck, RunReader, Tick
from rxflow._watching.watch_spec import EventSource, WatchSpec
from rxflow.errors import RxflowError, WatchTimedOut
from rxflow.events import (
    Closed,
    FlowRunEvent,
    Notice,
    NoticeCode,
    RunChanged,
    RunSeen,
    StateChange,
    TaskRunStateChange,
)

DEGRADED_AFTER = 10.0
"""Seconds after a request was sent without a good answer until the user hears of it."""

_MISSING_ANSWERS, _MISSING_SECONDS = 3, 5.0
_REWOUND = (
    "Log lines that were told are gone from the server; those that may be new are told again, and "
    "flagged replayed"
)
_INSTANT = 1e-6  # the finest step of a clock that counts in datetimes: a shorter wait may be none
_HTTP_DATE_STEP = 1.0  # a Date header counts whole seconds


class Fetch(msgspec.Struct, frozen=True):
    """Ask the server, then call `Session.receive`."""

    query: Query


class Wait(msgspec.Struct, frozen=True):
    """Do nothing for some seconds."""

    seconds: float


class Done(msgspec.Struct, frozen=True):
    """The watch is over, well or with an error."""

    error: RxflowError | None = None


Command = Fetch | Wait | Done


class Session:
    """One watch over one run."""

    def __init__(self, spec: WatchSpec, random: Random) -> None:
        """Make a watch that has asked nothing yet.

        Args:
            spec: What to watch.
            random: The source of jitter.
        """
        self._spec = spec
        self._retry = RetryPolicy(random)
        self._interval = PollInterval(random)
        self._lifecycle = Lifecycle(drain=spec.drain)
        self._teller = EventOrder(spec.sources)
        self._reader = RunReader(spec)
        self._asked = 0.0
        self._now = Now(0.0, datetime.min.replace(tzinfo=UTC))
        self._server_time: datetime | None = None
        # The poll under way and its question; a failure drops both.
        self._poll: Poll[Tick] | Poll[CloseCheck] | None = None
        self._query: Query | None = None
        self._closing = False
        self._next_poll = 0.0
        self._deadline = math.inf
        self._begun = False
        self._done: Done | None = None
        self._late_reason: str | None = None
        self._unread: set[str] = set()
        self._degraded = False
        self._last_failure: Failure | None = None
        self._missing: list[float] = []

    # -- what the engine calls ------------------------------------------------------------------

    def next_command(self, now: Now) -> Command:
        """Say what to do next."""
        self._begin(now)
        if self._done is not None:
            return self._done
        if self._query is None:
            start = self._next_poll if self._is_over() else min(self._next_poll, self._deadline)
            pause = start - now.mono
            if pause > _INSTANT:
                alarm = self.due_in(now)
                return Wait(pause if alarm is None else min(pause, alarm))
            reader = self._reader
            self._poll = reader.prove() if self._closing else reader.tick(now, self._server_time)
            self._query = next(self._poll)
        self._retry.record_sent(now)
        self._asked = now.mono
        return Fetch(self._query)

    def receive(self, reply: Reply, now: Now) -> EventPages:
        """Receive the reply to the query last sent, and return the events to emit."""
        self._now = now
        if isinstance(reply, Failure):
            return self._failed(reply)
        self._server_time = reply.server_time or self._server_time
        self._reader.probed(self._query, now.mono - self._asked)
        if self._poll is None:  # no poll waits for this reply any more
            return ()
        try:
            self._query = self._poll.send(reply)
        except StopIteration as end:
            return (*self._answered(), *self._found(end.value))
        except RxflowError as error:
            self._done = Done(error)
        return ()

    def wake(self, now: Now) -> EventPages:
        """Return the events that are due because time has passed."""
        self._now = now
        if self.due_in(now) != 0:
            return ()
        return self._degrade()

    def due_in(self, now: Now) -> float | None:
        """Return the seconds until `wake` has events to emit if no reply comes; None for never."""
        since = self._retry.waiting_since
        if self._degraded or since is None:
            return None
        return max(0.0, since + DEGRADED_AFTER - now.mono)

    # -- time -----------------------------------------------------------------------------------

    def _begin(self, now: Now) -> None:
        self._now = now
        if self._begun:
            return
        self._begun = True
        self._next_poll = now.mono
        if self._spec.max_duration is not None:
            self._deadline = now.mono + self._spec.max_duration

    def _time_out(self) -> None:
        if self._is_over() or self._now.mono < self._deadline:
            return
        row = self._reader.row
        state = row.state.name if row and row.state else "unknown"
        watched = timedelta(seconds=self._spec.max_duration or 0)
        self._done = Done(
            WatchTimedOut(
                f"Flow run {self._spec.flow_run_id} was watched for {watched} and is still in "
                f"state {state}; pass a longer max_duration, or None to watch it for ever"
            )
        )

    def _is_over(self) -> bool:
        row = self._reader.row
        return row is not None and row.is_terminal

    # -- what a poll leads to -------------------------------------------------------------------

    def _found(self, found: Tick | CloseCheck) -> EventPages:
        self._poll = self._query = None
        return self._closed(found) if isinstance(found, CloseCheck) else self._ticked(found)

    def _ticked(self, tick: Tick) -> EventPages:
        first: list[RunSeen] = []
        dated: list[DatedEvent] = []
        last = [*self._log_notices(tick.logs), *self._unreadable(tick.malformed)]
        reopened = False
        if tick.server is not None:
            self._lifecycle.meet(tick.server.backend)
        if tick.run is not None:
            if self._reader.row is None:
                first.append(RunSeen(flow_run_id=tick.run.id, run=self._without_state(tick.run)))
            reopened = self._passed_an_end(tick.states)
            dated += self._states_and_row(tick.run, tick.states)
            last += self._late_start(tick.run, tick.late_because)
        beat = self._is_heartbeat(tick.run)
        dated += (
            TaskRunStateChange(
                flow_run_id=self._spec.flow_run_id, id=state.id, task_run=task_run, state=state
            )
            for task_run, state in tick.tasks.changed
        )
        self._reader.commit(tick, self._now)
        last += self._follow_life(reopened=reopened)
        told = self._teller.tell(
            first=first,
            dated=dated,
            lines=tick.logs.rows,
            last=last,
            position=self._reader.position,
        )
        events = (event for _, page in told for event in page)
        self._plan(something_happened=any(not (beat and _is_row(event)) for event in events))
        self._time_out()
        return told

    def _is_heartbeat(self, run: FlowRun | None) -> bool:
        """Whether the row was written again, and nothing of it is new."""
        row = self._reader.row
        if run is None or row is None or run == row:
            return False
        return run == msgspec.structs.replace(row, updated=run.updated)

    def _states_and_row(self, run: FlowRun, states: tuple[State, ...]) -> list[DatedEvent]:
        told: list[DatedEvent] = [
            StateChange(flow_run_id=run.id, id=state.id, state=state) for state in states
        ]
        expected = self._reader.row or self._without_state(run)
        if states:
            expected = msgspec.structs.replace(expected, state=states[-1], state_id=states[-1].id)
        if run != expected:
            told.append(RunChanged(flow_run_id=run.id, run=run))
        return told

    def _without_state(self, run: FlowRun) -> FlowRun:
        if EventSource.STATES not in self._spec.sources:
            return run
        return msgspec.structs.replace(run, state=None, state_id=None)

    def _log_notices(self, read: LogRead) -> list[Notice]:
        notices = self._unreadable(read.malformed)
        if read.rewound:
            notices.append(self._notice(NoticeCode.SOURCE_REWOUND, _REWOUND))
        return notices

    def _unreadable(self, rows: tuple[MalformedRow, ...]) -> list[Notice]:
        new = [row for row in rows if row.id not in self._unread]
        self._unread.update(row.id for row in new)
        return [
            self._notice(NoticeCode.MALFORMED, f"A row cannot be read: {row.reason}", row_id=row.id)
            for row in new
        ]

    def _late_start(self, run: FlowRun, reason: str | None) -> list[Notice]:
        told, self._late_reason = self._late_reason, reason
        if reason is None or reason == told:
            return []
        return [self._notice(NoticeCode.LATE_START, f"Flow run {run.name!r} is late: {reason}")]

    def _passed_an_end(self, states: tuple[State, ...]) -> bool:
        """Whether the run was over and was opened again since the last tick."""
        row = self._reader.row
        if row is None or row.state is None:
            return False
        # A history that lagged may bring an earlier state only now.
        told = row.state
        since = (state for state in states if state.timestamp > told.timestamp)
        return any(a.is_terminal and not b.is_terminal for a, b in pairwise((told, *since)))

    def _follow_life(self, *, reopened: bool) -> list[Notice]:
        row = self._reader.row
        if row is None:
            return []
        reopened |= self._lifecycle.saw(
            row,
            self._reader.cursor.newest_created,
            caught_up=self._reader.position is None,
            now=self._now,
        )
        if not reopened:
            return []
        state = row.state.name if row.state else "none"
        return [self._notice(NoticeCode.REOPENED, f"The run was over and is now in state {state}")]

    def _plan(self, *, something_happened: bool) -> None:
        now = self._now
        pause = self._interval.next_delay(active=something_happened)
        if self._reader.position is not None:
            pause = 0.0
        elif self._lifecycle.phase is Phase.DRAINING:
            quiet = max(
                self._lifecycle.quiet_in(self._server_time, now),
                self._reader.task_runs.settled_in(self._server_time, now),
            )
            self._closing = quiet == 0
            # The server tells its time in whole seconds, and there is no point in asking sooner.
            pause = 0.0 if self._closing else min(pause, max(quiet, _HTTP_DATE_STEP / 4))
        self._next_poll = now.mono + pause

    def _closed(self, proof: CloseCheck) -> EventPages:
        self._closing = False
        self._next_poll = self._now.mono
        row, logs = self._reader.row, proof.logs
        if row is None or proof.run != row:
            return ()
        last = self._log_notices(logs)
        dated = self._states_and_row(row, proof.states) if proof.states else []
        self._reader.commit_proof(proof, self._now)
        told = self._teller.tell(dated=dated, lines=logs.rows, last=last, position=logs.position)
        if told or logs.position is not None:
            return told
        if not self._lifecycle.end(proven=logs.proven, provable=logs.provable):
            self._next_poll += self._interval.next_delay(active=False)
            return ()
        return self._close(verified=logs.proven)

    def _close(self, *, verified: bool) -> EventPages:
        self._done = Done()
        row = self._reader.row
        closed = Closed(
            flow_run_id=self._spec.flow_run_id,
            timestamp=self._server_time or self._now.utc,
            state=row.state if row else None,
            verified=verified,
            log_count=self._teller.log_count,
            unsettled=self._reader.task_runs.unsettled,
            view=self._teller.view,
        )
        return self._teller.tell(last=[closed])

    # -- trouble --------------------------------------------------------------------------------

    def _answered(self) -> EventPages:
        self._missing.clear()
        self._last_failure = None
        began = self._retry.waiting_since
        outage = self._retry.record_success(self._now)
        if outage is not None:
            self._lifecycle.recovered(outage)
        if not self._degraded or began is None:
            return ()
        self._degraded = False
        lasted = self._now.mono - began
        text = f"The server answers again after {lasted:.0f} s; the watch goes on where it was"
        return self._teller.say(self._notice(NoticeCode.RECOVERED, text))

    def _failed(self, failure: Failure) -> EventPages:
        query, self._poll, self._query = self._query, None, None
        self._last_failure = failure
        self._next_poll = self._now.mono
        if self._reader.forgo(query, failure, self._now):
            self._next_poll += failure.retry_after or 0.0
            return ()
        if self._reader.learn(query, failure):
            return ()
        if failure.kind is FailureKind.RUN_NOT_FOUND and self._reader.row is not None:
            return self._run_missing()
        verdict = self._retry.record_failure(failure, self._now)
        if isinstance(verdict, RxflowError):
            self._done = Done(verdict)
            return ()
        self._next_poll += verdict
        self._time_out()
        return self._degrade() if self.due_in(self._now) == 0 else ()

    def _degrade(self) -> EventPages:
        self._degraded = True
        why = f": {self._last_failure.text}" if self._last_failure else ""
        end = "" if why.endswith((".", "?")) else "."
        text = f"No good answer for {DEGRADED_AFTER:.0f} s{why}{end} The watch goes on asking"
        return self._teller.say(self._notice(NoticeCode.DEGRADED, text))

    def _run_missing(self) -> EventPages:
        # One such answer may come from a replica that lags behind.
        self._missing.append(self._now.mono)
        if (
            len(self._missing) < _MISSING_ANSWERS
            or self._now.mono - self._missing[0] < _MISSING_SECONDS
        ):
            self._next_poll += _MISSING_SECONDS / (_MISSING_ANSWERS - 1)
            return ()
        self._lifecycle.vanish()
        gone = self._notice(NoticeCode.RUN_DELETED, "The flow run was deleted from the server")
        return (*self._teller.tell(last=[gone]), *self._close(verified=False))

    def _notice(self, code: NoticeCode, message: str, *, row_id: str | None = None) -> Notice:
        return Notice(
            flow_run_id=self._spec.flow_run_id,
            code=code,
            message=message,
            timestamp=self._now.utc,
            row_id=row_id,
        )


def _is_row(event: FlowRunEvent) -> bool:
    return isinstance(event, RunChanged)
