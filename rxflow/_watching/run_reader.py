"""Reads one run: the polls of a watch, and what they have found so far.

A poll changes nothing; `RunReader.commit` records as delivered what one found. Belongs here: which
queries a tick and a close check send. Which events follow is decided in `run_watch`, log
paging in `rxflow._logs`.
"""

import math
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import NamedTuple

import msgspec
from msgspec.structs import replace

from rxflow._logs.cursor import CursorState, LogCursor
from rxflow._logs.log_read import LogRead, newest_created
from rxflow._models.entities import BackendName, FlowRun, Server
from rxflow._models.states import State
from rxflow._models.times import Now, later
from rxflow._protocol.failures import Failure
from rxflow._protocol.pages import MalformedRow, Page, Poll, read_all_pages, read_server
from rxflow._protocol.queries import Query, RunQuery, StatesQuery
from rxflow._watching.late_starts import REASON_QUERIES, late_by, read_late_reason
from rxflow._watching.log_reader import LogReader, RowLimit
from rxflow._watching.task_run_ledger import TaskRunLedger, TaskRunsRead
from rxflow._watching.task_run_reader import read_all_task_runs, read_task_runs
from rxflow._watching.watch_spec import EventSource, WatchSpec
from rxflow.errors import UnsupportedServer
from rxflow.events import FlowRunLog

_LATE_REASON_INTERVAL = 30.0
_MOST_SAVED_BUCKETS = 2048  # each takes 27 bytes, once it is compressed


class Tick(msgspec.Struct, frozen=True, kw_only=True):
    """What one tick found.

    Attributes:
        server: The server's kind and version; None, like the run, while a long history is read page
            by page.
        run: The run's row.
        awaits_row: Whether only the row's state was read, so that the rest is still to be read.
        states: The states that are not recorded as delivered, sorted.
        logs: The log rows.
        tasks: The task runs; None if they were not read.
        malformed: Undelivered states that cannot be read.
        covers_row_state: Whether the history that was read contains the state of the row.
        late_reason: What the run waits for, if it should have started by now.
    """

    server: Server | None = None
    run: FlowRun | None = None
    awaits_row: bool = False
    states: tuple[State, ...] = ()
    logs: LogRead = LogRead()
    tasks: TaskRunsRead | None = None
    malformed: tuple[MalformedRow, ...] = ()
    covers_row_state: bool = False
    late_reason: str | None = None


class CloseCheck(msgspec.Struct, frozen=True, kw_only=True):
    """What the check before the close of a terminal run found.

    Attributes:
        run: The run's row, read after all else.
        states: The states that are not recorded as delivered, sorted.
        logs: The log rows, and whether they are proven complete.
        tasks: All task runs; None if they were not read.
        malformed: Undelivered states that cannot be read.
    """

    run: FlowRun
    states: tuple[State, ...] = ()
    logs: LogRead
    tasks: TaskRunsRead | None = None
    malformed: tuple[MalformedRow, ...] = ()


class _HistoryRead(NamedTuple):
    states: tuple[State, ...] = ()
    malformed: tuple[MalformedRow, ...] = ()
    covers_row_state: bool = False


class RunReader:
    """Reads one run.

    Attributes:
        logs: The log rows; None while they are read together with those of other runs.
        task_runs: The task runs.
        server: The server's kind and version, once it is known.
        row: The run's row of the last tick that was committed.
        position: Where the next page of a long log history begins; None once it was read.
        unread_from: The time before which all log rows were read; None if all were.
    """

    def __init__(self, spec: WatchSpec, limit: RowLimit) -> None:
        """Start with nothing read.

        Args:
            spec: What to read.
            limit: The most rows to query at once.
        """
        self._spec = spec
        cursor = LogCursor(spec.flow_run_id, level=spec.level, since=spec.since)
        self.logs: LogReader | None = LogReader(cursor, limit, spec.since)
        self.task_runs = TaskRunLedger(spec.flow_run_id, all_states=spec.all_task_states)
        self.server: Server | None = None
        self.row: FlowRun | None = None
        self.position: datetime | None = None
        self.unread_from: datetime | None = None
        self._delivered_states: set[str] = set()
        self._covered_state: str | None = None
        self._late_reason: str | None = None
        self._late_reason_read = -math.inf
        self._was_shared = False
        self._newest_log: datetime | None = None  # since the log rows were shared
        self._row_limit = limit

    def tick(self, now: Now, server_time: datetime | None) -> Poll[Tick]:
        """Read what is new in each source.

        Args:
            now: The time.
            server_time: The server's time, as far as it is known.
        """
        server = self.server
        if server is None:
            server = yield from read_supported_server()
        if self.position is not None:  # a long history is read page by page before all else
            return Tick(logs=(yield from self._read_new_logs(now)))
        page: Page[FlowRun] = yield RunQuery(self._spec.flow_run_id)
        time = page.server_time or server_time or now.utc
        tick = yield from self.tick_of_row(page.rows[0], server, time, now)
        if not self.streams_tasks:
            return tick
        tasks = yield from read_task_runs((self.task_runs,), self._row_limit.rows, now)
        return replace(tick, tasks=tasks[self._spec.flow_run_id])

    def tick_of_row(self, run: FlowRun, server: Server, time: datetime, now: Now) -> Poll[Tick]:
        """Read what is new in each source but the task runs, given the run's row.

        Args:
            run: The row.
            server: The server's kind and version.
            time: The server's time.
            now: The time.
        """
        history = yield from self._read_new_states(run)
        logs = yield from self._read_new_logs(now)
        return Tick(
            server=server,
            run=run,
            states=history.states,
            logs=logs,
            malformed=history.malformed,
            covers_row_state=history.covers_row_state,
            late_reason=(yield from self._read_late_reason(server, run, time, now)),
        )

    def tick_of_state(
        self, now: Now, server_time: datetime | None, *, has_lines: bool
    ) -> Poll[Tick]:
        """Read the state that was announced, in as few requests as show that it is the run's.

        Of the states that a server stores the last one is the run's, and a single new one is the
        last. The rest of the row is read by the next tick. Log lines that were stored before the
        state are read after it, so that they are emitted before it.

        Args:
            now: The time.
            server_time: The server's time, as far as it is known.
            has_lines: Whether there may be new log lines.
        """
        row = self.row
        if row is None or not self.has_caught_up or EventSource.STATES not in self._spec.sources:
            return (yield from self.tick(now, server_time))
        history = yield from self._read_states(row)
        if len(history.states) != 1 or history.malformed:
            return (yield from self.tick(now, server_time))
        (state,) = history.states
        logs = (yield from self._read_new_logs(now)) if has_lines else LogRead()
        return Tick(
            server=self.server,
            run=replace(row, state=state, state_id=state.id),
            awaits_row=True,
            states=history.states,
            logs=logs,
            covers_row_state=True,
            late_reason=self._late_reason,
        )

    def close_check(self) -> Poll[CloseCheck]:
        """Count the log rows on the server, read all task runs, and then the run's row once more.

        A state that Prefect 1 stores after a later one leaves the run's row as it is, so there the
        states are read again, too.
        """
        logs = LogRead(proven=True)
        if self._streams_logs and self.logs is not None:
            logs = yield from self.logs.last_poll()
        history = _HistoryRead()
        if self.row is not None and self._row_may_miss_states():
            history = yield from self._read_states(self.row)
        tasks = None
        if self.streams_tasks:
            read = yield from read_all_task_runs((self.task_runs,), self._row_limit.rows)
            tasks = read[self._spec.flow_run_id]
        page: Page[FlowRun] = yield RunQuery(self._spec.flow_run_id)
        return CloseCheck(
            run=page.rows[0],
            states=history.states,
            logs=logs,
            tasks=tasks,
            malformed=history.malformed,
        )

    def record_emitted(
        self, run: FlowRun | None, states: Iterable[State], rows: Sequence[FlowRunLog]
    ) -> None:
        """Record as delivered what an earlier watch emitted.

        Args:
            run: The run's row as its events describe it; None before the first of them.
            states: States of the run.
            rows: Log rows, in the order in which they were emitted.
        """
        self.row = run
        self._delivered_states.update(state.id for state in states)
        if rows and self.logs is not None:
            self.logs.record_emitted(rows)

    def save_logs(self) -> CursorState:
        """Return which log rows were delivered; they must not be left to a group."""
        if self.logs is None:
            raise ValueError("The log rows are read together with those of other runs")
        return self.logs.cursor.save(most_buckets=_MOST_SAVED_BUCKETS)

    def commit(self, tick: Tick, now: Now) -> None:
        """Record as delivered what a tick found."""
        if tick.run is not None:
            if self.row is not None and self.row.state_id != tick.run.state_id:
                self.task_runs.full_read_due = True
            self.server, self.row = tick.server, tick.run
            self._delivered_states.update(state.id for state in tick.states)
            self._covered_state = tick.run.state_id if tick.covers_row_state else None
            if tick.late_reason is None:
                self._late_reason_read = -math.inf
            elif now.mono - self._late_reason_read >= _LATE_REASON_INTERVAL:
                self._late_reason_read = now.mono
            self._late_reason = tick.late_reason
        self._commit_task_runs(tick.tasks, now)
        self._commit_logs(tick.logs, now)

    def commit_close_check(self, check: CloseCheck, now: Now) -> None:
        """Record as delivered what a close check found."""
        self._delivered_states.update(state.id for state in check.states)
        self._commit_task_runs(check.tasks, now)
        self._commit_logs(check.logs, now)

    def record_duration(self, query: Query, seconds: float) -> None:
        """Record how long a reply took."""
        if self.logs is not None:  # pragma: no branch - a group records what it reads itself
            self.logs.record_duration(query, seconds)

    def adapt_to(self, query: Query | None, failure: Failure) -> bool:
        """Adapt later queries to a limit of the server that a failure reveals.

        Returns:
            Whether later queries differ, so that a poll can be sent again at once.
        """
        if self._row_limit.adapt_to(failure):
            return True
        return self.logs is not None and self.logs.adapt_to(query, failure)

    @property
    def newest_stored(self) -> datetime | None:
        """When the newest delivered log row or task run was stored, by the server's clock."""
        return later(self._newest_log_created(), self.task_runs.newest_updated)

    @property
    def has_caught_up(self) -> bool:
        """Whether the run's history was read to its end."""
        if self.row is None or self.position is not None:
            return False
        return self.logs is None or not self._streams_logs or self.logs.cursor.progress.backfilled

    def share_logs(self) -> LogCursor | None:
        """Leave the log rows to a group; return those delivered, or None if none are streamed."""
        if self.logs is None or not self._streams_logs:
            return None
        self._newest_log, self._was_shared = self._newest_log_created(), True
        cursor, self.logs = self.logs.cursor, None
        return cursor

    def resume_logs(self, cursor: LogCursor, *, of_earlier_watch: bool = False) -> None:
        """Read the log rows again that were left to a group.

        Args:
            cursor: Those of the run that were delivered.
            of_earlier_watch: Whether they were not left to a group, but delivered by another watch.
        """
        self.logs = LogReader(
            cursor, self._row_limit, self._spec.since, is_resuming=of_earlier_watch
        )

    def skip_optional(self, query: Query | None, failure: Failure, now: Now) -> bool:
        """Skip the optional late-start query after a failure.

        Returns:
            Whether the query was such a one, so that the next tick does without its reply.
        """
        if not isinstance(query, REASON_QUERIES):
            return False
        # The server's Retry-After does not count towards the interval.
        self._late_reason_read = now.mono + failure.retry_in(now)
        if self._late_reason is None:
            self._late_reason = f"what it waits for could not be read: {failure.text}"
        return True

    @property
    def streams_tasks(self) -> bool:
        """Whether the task runs are read."""
        return EventSource.TASKS in self._spec.sources

    @property
    def _streams_logs(self) -> bool:
        return EventSource.LOGS in self._spec.sources

    def _commit_logs(self, read: LogRead, now: Now) -> None:
        self.position = read.backfill_position
        self.unread_from = read.unread_from
        if self.logs is not None:
            self.logs.commit(read, now)
        if self._was_shared:
            self._newest_log = later(self._newest_log, newest_created(read))

    def _newest_log_created(self) -> datetime | None:
        if self.logs is None or self._was_shared:
            return self._newest_log
        return self.logs.cursor.newest_created

    def _commit_task_runs(self, read: TaskRunsRead | None, now: Now) -> None:
        if read is not None:
            self.task_runs.commit(read, now)

    def _read_new_states(self, run: FlowRun) -> Poll[_HistoryRead]:
        wanted = EventSource.STATES in self._spec.sources and run.state_id is not None
        if not wanted or run.state_id == self._covered_state:
            return _HistoryRead(covers_row_state=wanted)
        return (yield from self._read_states(run))

    def _read_states(self, run: FlowRun) -> Poll[_HistoryRead]:
        page: Page[State] = yield from read_all_pages(
            StatesQuery(run.id, limit=self._row_limit.rows)
        )
        found = {state.id: state for state in page.rows}
        covered = run.state_id in found or any(row.id == run.state_id for row in page.malformed)
        if run.state is not None:  # a history may lag behind the row
            found.setdefault(run.state.id, run.state)
        delivered = self._delivered_states
        new = (state for state in found.values() if state.id not in delivered)
        malformed = tuple(row for row in page.malformed if row.id not in delivered)
        return _HistoryRead(tuple(sorted(new, key=lambda state: state.order)), malformed, covered)

    def _row_may_miss_states(self) -> bool:
        of_prefect1 = self.server is not None and self.server.backend is BackendName.PREFECT_1
        return of_prefect1 and EventSource.STATES in self._spec.sources

    def _read_new_logs(self, now: Now) -> Poll[LogRead]:
        if not self._streams_logs or self.logs is None:
            return LogRead(proven=True)
        return (yield from self.logs.poll(now))

    def _read_late_reason(
        self, server: Server, run: FlowRun, time: datetime, now: Now
    ) -> Poll[str | None]:
        if EventSource.NOTICES not in self._spec.sources or late_by(run, time) is None:
            return None
        if now.mono - self._late_reason_read < _LATE_REASON_INTERVAL:
            return self._late_reason
        return (yield from read_late_reason(server.backend, run, time))


def read_supported_server() -> Poll[Server]:
    """Query the server's kind and version; refuse what is not supported."""
    server = yield from read_server()
    if server.version is not None and server.version.startswith("2."):
        raise UnsupportedServer(
            f"The server runs Prefect {server.version}, and rxflow supports Prefect 3 and "
            "Prefect 1; use a server of one of these"
        )
    return server
