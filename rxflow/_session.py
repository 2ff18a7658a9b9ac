"""A watch without its I/O: which question comes next, and what an answer tells.

The engine asks `Session.next_command`, carries it out and hands back what came of it with
`Session.receive`; each returns at once. A tick reads the run's row, its states if they changed,
and the next page of logs; what it found is committed and told only after the last answer.
"""

import math
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import msgspec

from rxflow._cursor import LogCursor, LogRead
from rxflow._lateness import late_by, reason_to_wait
from rxflow._lifecycle import DRAIN, Lifecycle, Phase
from rxflow._model import FlowRun, State
from rxflow._polling import (
    PAGE_LIMIT,
    Failure,
    Interval,
    LogsQuery,
    Now,
    Page,
    Patience,
    Poll,
    Query,
    RunQuery,
    StatesQuery,
    Trouble,
    VersionQuery,
)
from rxflow._tasks import TaskRead, TaskRunReader
from rxflow._telling import Batch, Dated, Source, Teller
from rxflow.errors import RxflowError, UnsupportedServer, WatchTimedOut
from rxflow.events import (
    Closed,
    Notice,
    NoticeCode,
    RunChanged,
    RunSeen,
    StateChange,
    TaskRunStateChange,
)

DEGRADED_AFTER = 10.0
"""Seconds after a request was sent without a good answer until the user hears of it."""

_ASK_WHY_LATE_EVERY = 30.0
_MISSING_ANSWERS, _MISSING_SECONDS = 3, 5.0
# A server counts its way to an offset: 17 to 34 ms at 100,000 rows. Of a longer table the rows at
# the end are read at each poll, and all are counted only so often that it takes 2 % of the time.
_LONG_TABLE = 100_000
_PROBE_SHARE = 50
_REWOUND = (
    "Log lines that were told are gone from the server; those that may be new are told again, and "
    "flagged replayed"
)
_INSTANT = 1e-6  # the finest step of a clock that counts in datetimes: a shorter wait may be none
_HTTP_DATE_STEP = 1.0  # a Date header counts whole seconds


class WatchSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What to watch, and for how long.

    Attributes:
        flow_run_id: The run.
        sources: Which parts to tell.
        level: Only log lines of this level and above.
        since: Only log lines of this time and later.
        drain: Seconds without news before a run that is over is closed.
        max_duration: Seconds until a run that is not over is given up; None is for ever.
    """

    flow_run_id: str
    sources: frozenset[Source] = frozenset(Source)
    level: int = 0
    since: datetime | None = None
    drain: float = DRAIN
    max_duration: float | None = None


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


class _Tick(msgspec.Struct, frozen=True, kw_only=True):
    """What one tick found."""

    run: FlowRun | None = None
    states: tuple[State, ...] = ()
    logs: LogRead = LogRead()
    tasks: TaskRead = TaskRead()
    late_because: str | None = None


class _Proof(msgspec.Struct, frozen=True, kw_only=True):
    """What the last look at a run that is over found."""

    run: FlowRun
    logs: LogRead


class Session:
    """One watch over one run."""

    def __init__(self, spec: WatchSpec, random: Random) -> None:
        """Make a watch that has asked nothing yet.

        Args:
            spec: What to watch.
            random: The source of jitter.
        """
        self._spec = spec
        self._patience = Patience(random)
        self._interval = Interval(random)
        self._lifecycle = Lifecycle(drain=spec.drain)
        self._teller = Teller(spec.sources)
        self._cursor = LogCursor(spec.flow_run_id, level=spec.level, since=spec.since)
        self._task_runs = TaskRunReader(spec.flow_run_id)
        self._limit = PAGE_LIMIT
        self._asked = self._probe_cost = 0.0
        self._deep_due = -math.inf
        self._now = Now(0.0, datetime.min.replace(tzinfo=UTC))
        self._server_time: datetime | None = None
        # The poll under way and its question; a failure drops both.
        self._poll: Poll[_Tick] | Poll[_Proof] | None = None
        self._query: Query | None = None
        self._closing = False
        self._wake = 0.0
        self._deadline = math.inf
        self._begun = False
        self._done: Done | None = None
        # What was told.
        self._row: FlowRun | None = None
        self._states: set[str] = set()
        self._position: datetime | None = None
        self._late_reason: str | None = None
        self._late_asked: float | None = None
        self._degraded = False
        self._missing: list[float] = []

    # -- what the engine calls ------------------------------------------------------------------

    def next_command(self, now: Now) -> Command:
        """Say what to do next."""
        self._begin(now)
        if self._done is not None:
            return self._done
        if self._query is None:
            start = self._wake if self._is_over() else min(self._wake, self._deadline)
            pause = start - now.mono
            if pause > _INSTANT:
                alarm = self.overdue_in(now)
                return Wait(pause if alarm is None else min(pause, alarm))
            self._poll = self._prove() if self._closing else self._tick()
            self._query = next(self._poll)
        self._patience.asked(now)
        self._asked = now.mono
        return Fetch(self._query)

    def receive(self, answer: Page[Any] | Failure, now: Now) -> Batch:
        """Take in an answer to the question last asked, and say what to tell."""
        self._now = now
        if isinstance(answer, Failure):
            return self._failed(answer)
        self._server_time = answer.server_time or self._server_time
        if isinstance(self._query, LogsQuery) and self._query.offset:
            self._probe_cost = now.mono - self._asked
        if self._poll is None:  # an answer that nobody waits for any more
            return ()
        try:
            self._query = self._poll.send(answer)
        except StopIteration as end:
            return (*self._answered(), *self._found(end.value))
        except RxflowError as error:
            self._done = Done(error)
        return ()

    def overdue(self, now: Now) -> Batch:
        """Say what is to be told because of the time that has passed."""
        self._now = now
        if self.overdue_in(now) != 0:
            return ()
        return self._degrade(f"No good answer for {DEGRADED_AFTER:.0f} s")

    def overdue_in(self, now: Now) -> float | None:
        """Seconds until `overdue` has something to say, if no answer comes; None for never."""
        since = self._patience.since
        if self._degraded or since is None:
            return None
        return max(0.0, since + DEGRADED_AFTER - now.mono)

    # -- time -----------------------------------------------------------------------------------

    def _begin(self, now: Now) -> None:
        self._now = now
        if self._begun:
            return
        self._begun = True
        self._wake = now.mono
        if self._spec.max_duration is not None:
            self._deadline = now.mono + self._spec.max_duration

    def _time_out(self) -> None:
        if self._is_over() or self._now.mono < self._deadline:
            return
        state = self._row.state.name if self._row and self._row.state else "unknown"
        watched = timedelta(seconds=self._spec.max_duration or 0)
        self._done = Done(
            WatchTimedOut(
                f"Flow run {self._spec.flow_run_id} was watched for {watched} and is still in "
                f"state {state}; pass a longer max_duration, or None to watch it for ever"
            )
        )

    def _is_over(self) -> bool:
        return self._row is not None and self._row.is_terminal

    # -- polls ----------------------------------------------------------------------------------

    def _tick(self) -> Poll[_Tick]:
        if self._row is None:
            yield from self._check_version()
        if self._position is not None:  # a long history is read page by page before all else
            return _Tick(logs=(yield from self._cursor.poll(self._limit)))
        page: Page[FlowRun] = yield RunQuery(self._spec.flow_run_id)
        run = page.rows[0]
        return _Tick(
            run=run,
            states=(yield from self._new_states(run)),
            logs=(yield from self._new_logs()),
            tasks=(yield from self._task_runs.poll(self._limit))
            if Source.TASKS in self._spec.sources
            else TaskRead(),
            late_because=(yield from self._why_late(run)),
        )

    def _check_version(self) -> Poll[None]:
        page: Page[str] = yield VersionQuery()
        if page.rows and page.rows[0].startswith("2."):
            raise UnsupportedServer(
                f"The server is Prefect {page.rows[0]}, and rxflow speaks the API of Prefect 3"
            )

    def _new_states(self, run: FlowRun) -> Poll[tuple[State, ...]]:
        if Source.STATES not in self._spec.sources or run.state_id in {None, *self._states}:
            return ()
        page: Page[State] = yield StatesQuery(run.id)
        found = {state.id: state for state in page.rows}
        if run.state is not None:  # a history may lag behind the row
            found.setdefault(run.state.id, run.state)
        new = (state for state in found.values() if state.id not in self._states)
        return tuple(sorted(new, key=lambda state: state.timestamp))

    def _new_logs(self) -> Poll[LogRead]:
        if Source.LOGS not in self._spec.sources:
            return LogRead(proven=True)
        deep = self._now.mono >= self._deep_due
        read = yield from self._cursor.poll(self._limit, deep=deep)
        if deep and self._cursor.ledger.total > _LONG_TABLE:
            self._deep_due = self._now.mono + _PROBE_SHARE * self._probe_cost
        return read

    def _why_late(self, run: FlowRun) -> Poll[str | None]:
        by = late_by(run, self._server_time or self._now.utc)
        if by is None or Source.NOTICES not in self._spec.sources:
            return None
        asked = self._late_asked
        if asked is not None and self._now.mono - asked < _ASK_WHY_LATE_EVERY:
            return self._late_reason
        return (yield from reason_to_wait(run))

    def _prove(self) -> Poll[_Proof]:
        logs = LogRead(proven=True)
        if Source.LOGS in self._spec.sources:
            logs = yield from self._cursor.poll(self._limit, last=True)
        page: Page[FlowRun] = yield RunQuery(self._spec.flow_run_id)
        return _Proof(run=page.rows[0], logs=logs)

    # -- what a poll leads to -------------------------------------------------------------------

    def _found(self, found: _Tick | _Proof) -> Batch:
        self._poll = self._query = None
        return self._closed(found) if isinstance(found, _Proof) else self._ticked(found)

    def _ticked(self, tick: _Tick) -> Batch:
        first: list[RunSeen] = []
        dated: list[Dated] = []
        last = self._log_notices(tick.logs)
        if tick.run is not None:
            if self._row is None:
                first.append(RunSeen(flow_run_id=tick.run.id, run=self._without_state(tick.run)))
            dated += self._states_and_row(tick.run, tick.states)
            last += self._late_start(tick.run, tick.late_because)
            self._row = tick.run
            self._task_runs.commit(tick.tasks, self._now)
        for task_run, state in tick.tasks.changed:
            dated.append(
                TaskRunStateChange(
                    flow_run_id=self._spec.flow_run_id, id=state.id, task_run=task_run, state=state
                )
            )
        dated += self._take_logs(tick.logs)
        last += self._follow_life(caught_up=self._position is None)
        told = self._teller.tell(first=first, dated=dated, last=last, position=self._position)
        self._plan(something_happened=bool(told))
        self._time_out()
        return told

    def _states_and_row(self, run: FlowRun, states: tuple[State, ...]) -> list[Dated]:
        told: list[Dated] = [
            StateChange(flow_run_id=run.id, id=state.id, state=state) for state in states
        ]
        self._states.update(state.id for state in states)
        expected = self._row or self._without_state(run)
        if states:
            expected = msgspec.structs.replace(expected, state=states[-1], state_id=states[-1].id)
        if run != expected:
            told.append(RunChanged(flow_run_id=run.id, run=run))
        return told

    def _without_state(self, run: FlowRun) -> FlowRun:
        if Source.STATES not in self._spec.sources:
            return run
        return msgspec.structs.replace(run, state=None, state_id=None)

    def _take_logs(self, read: LogRead) -> list[Dated]:
        self._cursor.commit(read)
        self._position = read.position
        return list(read.rows)

    def _log_notices(self, read: LogRead) -> list[Notice]:
        notices = [
            self._notice(
                NoticeCode.MALFORMED, f"A log row cannot be read: {row.reason}", row_id=row.id
            )
            for row in read.malformed
        ]
        if read.rewound:
            notices.append(self._notice(NoticeCode.SOURCE_REWOUND, _REWOUND))
        return notices

    def _late_start(self, run: FlowRun, reason: str | None) -> list[Notice]:
        if reason is None:
            self._late_reason = self._late_asked = None
            return []
        if self._late_asked is None or self._now.mono - self._late_asked >= _ASK_WHY_LATE_EVERY:
            self._late_asked = self._now.mono
        if reason == self._late_reason:
            return []
        self._late_reason = reason
        return [self._notice(NoticeCode.LATE_START, f"Flow run {run.name!r} is late: {reason}")]

    def _follow_life(self, *, caught_up: bool) -> list[Notice]:
        if self._row is None:
            return []
        reopened = self._lifecycle.saw(
            self._row, self._cursor.newest_created, caught_up=caught_up, now=self._now
        )
        if not reopened:
            return []
        state = self._row.state.name if self._row.state else "none"
        return [self._notice(NoticeCode.REOPENED, f"The run was over and is now in state {state}")]

    def _plan(self, *, something_happened: bool) -> None:
        now = self._now
        pause = self._interval.after(something_happened=something_happened)
        if self._position is not None:
            pause = 0.0
        elif self._lifecycle.phase is Phase.DRAINING:
            quiet = max(
                self._lifecycle.quiet_in(self._server_time, now),
                self._task_runs.settled_in(self._server_time, now),
            )
            self._closing = quiet == 0
            # The server tells its time in whole seconds, and there is no point in asking sooner.
            pause = 0.0 if self._closing else min(pause, max(quiet, _HTTP_DATE_STEP / 4))
        self._wake = now.mono + pause

    def _closed(self, proof: _Proof) -> Batch:
        self._closing = False
        self._wake = self._now.mono
        if self._row is None or proof.run.state_id != self._row.state_id:
            return ()
        rows = self._take_logs(proof.logs)
        last = self._log_notices(proof.logs)
        found = bool(rows or last) or self._position is not None
        told = self._teller.tell(dated=rows, last=last, position=self._position)
        logs = proof.logs
        if found or not self._lifecycle.end(proven=logs.proven, provable=logs.provable):
            self._wake += self._interval.after(something_happened=found)
            return told
        return (*told, *self._close(verified=logs.proven))

    def _close(self, *, verified: bool) -> Batch:
        self._done = Done()
        closed = Closed(
            flow_run_id=self._spec.flow_run_id,
            timestamp=self._server_time or self._now.utc,
            state=self._row.state if self._row else None,
            verified=verified,
            log_count=self._teller.log_count,
            unsettled=self._task_runs.unsettled,
            view=self._teller.view,
        )
        return self._teller.tell(last=[closed])

    # -- trouble --------------------------------------------------------------------------------

    def _answered(self) -> Batch:
        self._missing.clear()
        outage = self._patience.answered(self._now)
        if outage is None:
            return ()
        self._lifecycle.recovered(outage)
        if not self._degraded:
            return ()
        self._degraded = False
        lasted = outage.ended - outage.began
        text = f"The server answers again after {lasted:.0f} s; the watch goes on where it was"
        return self._teller.tell(last=[self._notice(NoticeCode.RECOVERED, text)])

    def _failed(self, failure: Failure) -> Batch:
        query, self._poll, self._query = self._query, None, None
        self._wake = self._now.mono
        if self._asks_otherwise(query, failure):
            return ()
        if failure.trouble is Trouble.RUN_MISSING and self._row is not None:
            return self._run_missing()
        verdict = self._patience.failed(failure, self._now)
        if isinstance(verdict, RxflowError):
            self._done = Done(verdict)
            return ()
        self._wake += verdict
        self._time_out()
        return self._degrade(failure.text) if self.overdue_in(self._now) == 0 else ()

    def _asks_otherwise(self, query: Query | None, failure: Failure) -> bool:
        """Learn how this server wants to be asked; whether there is something to learn."""
        if failure.trouble is Trouble.PAGE_LIMIT:
            limit = failure.limit or self._limit // 2
            learnt = 0 < limit < self._limit
            self._limit = limit if learnt else self._limit
            return learnt
        if failure.trouble is Trouble.REJECTED and isinstance(query, LogsQuery) and query.offset:
            return self._cursor.refuse_offsets()
        return False

    def _degrade(self, why: str) -> Batch:
        self._degraded = True
        text = f"{why}. The watch goes on asking, and nothing is lost"
        return self._teller.tell(last=[self._notice(NoticeCode.DEGRADED, text)])

    def _run_missing(self) -> Batch:
        # One such answer may come from a replica that lags behind.
        self._missing.append(self._now.mono)
        if (
            len(self._missing) < _MISSING_ANSWERS
            or self._now.mono - self._missing[0] < _MISSING_SECONDS
        ):
            self._wake += _MISSING_SECONDS / (_MISSING_ANSWERS - 1)
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
