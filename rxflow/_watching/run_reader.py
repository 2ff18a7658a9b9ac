"""What a watch reads of its run: a tick, and the last look before it is closed.

A reader knows what was read and told so far. Its polls change nothing; `RunReader.commit` takes
what one found for told.
"""

import math
from datetime import datetime

import msgspec

from rxflow._logs.cursor import LogCursor, LogRead
from rxflow._models.entities import BackendName, FlowRun, Server
from rxflow._models.states import State
from rxflow._models.times import Now
from rxflow._protocol.failures import Failure, FailureKind
from rxflow._protocol.pages import MalformedRow, Page, Poll, read_all_pages, read_server
from rxflow._protocol.queries import PAGE_LIMIT, LogsQuery, Query, RunQuery, StatesQuery
from rxflow._watching.late_starts import REASON_QUERIES, late_by, read_late_reason
from rxflow._watching.task_run_reader import TaskRunReader, TaskRunsRead
from rxflow._watching.watch_spec import EventSource, WatchSpec
from rxflow.errors import UnsupportedServer

_LATE_REASON_INTERVAL = 30.0

# A server counts its way to an offset: 17 to 34 ms at 100,000 rows. Of a longer table the rows at
# the end are read at each poll, and all are counted only so often that it takes 2 % of the time.
_LONG_TABLE = 100_000
_PROBE_SHARE = 50


class Tick(msgspec.Struct, frozen=True, kw_only=True):
    """What one tick found.

    Attributes:
        server: Who answers; None while a long history is read page by page, like the run.
        run: The run's row.
        states: States that were not told before, by time.
        malformed: States and task runs that cannot be read, told or not.
        covered: Whether the history that was read has the state that the row names.
        late_because: What the run waits for, if it should have started by now.
    """

    server: Server | None = None
    run: FlowRun | None = None
    states: tuple[State, ...] = ()
    logs: LogRead = LogRead()
    tasks: TaskRunsRead = TaskRunsRead()
    malformed: tuple[MalformedRow, ...] = ()
    covered: bool = False
    late_because: str | None = None


class CloseCheck(msgspec.Struct, frozen=True, kw_only=True):
    """What the last look at a run that is over found.

    Attributes:
        states: States that were not told before, by time.
    """

    run: FlowRun
    states: tuple[State, ...] = ()
    logs: LogRead


class RunReader:
    """Reads one run."""

    def __init__(self, spec: WatchSpec) -> None:
        """Start with nothing read.

        Args:
            spec: What to read.
        """
        self._spec = spec
        self.cursor = LogCursor(spec.flow_run_id, level=spec.level, since=spec.since)
        self.task_runs = TaskRunReader(spec.flow_run_id)
        self.server: Server | None = None
        self.row: FlowRun | None = None
        self.position: datetime | None = None
        self._states: set[str] = set()
        self._covered: str | None = None
        self._late_reason: str | None = None
        self._late_asked = -math.inf
        self._limit = PAGE_LIMIT
        self._probe_cost = 0.0
        self._deep_due = -math.inf

    def tick(self, now: Now, server_time: datetime | None) -> Poll[Tick]:
        """Read what is new of everything.

        Args:
            now: The time.
            server_time: The server's time, as far as it is known.
        """
        server = self.server
        if server is None:
            server = yield from self._get_to_know()
        if self.position is not None:  # a long history is read page by page before all else
            return Tick(logs=(yield from self.cursor.poll(self._limit)))
        page: Page[FlowRun] = yield RunQuery(self._spec.flow_run_id)
        run = page.rows[0]
        time = page.server_time or server_time or now.utc
        states, malformed, covered = yield from self._new_states(run)
        logs = yield from self._new_logs(now)
        tasks = yield from self._new_tasks()
        return Tick(
            server=server,
            run=run,
            states=states,
            logs=logs,
            tasks=tasks,
            malformed=(*malformed, *tasks.malformed),
            covered=covered,
            late_because=(yield from self._why_late(server, run, time, now)),
        )

    def prove(self) -> Poll[CloseCheck]:
        """Have the server count the log rows, and then look at the run once more.

        A state that Prefect 1 stored after a later one leaves the run's row as it is, so that its
        history is looked at too.
        """
        logs = LogRead(proven=True)
        if EventSource.LOGS in self._spec.sources:
            logs = yield from self.cursor.poll(self._limit, last=True)
        states: tuple[State, ...] = ()
        if self.row is not None and self._may_be_overtaken():
            states, _, _ = yield from self._read_states(self.row)
        page: Page[FlowRun] = yield RunQuery(self._spec.flow_run_id)
        return CloseCheck(run=page.rows[0], states=states, logs=logs)

    def commit(self, tick: Tick, now: Now) -> None:
        """Take what a tick found for told."""
        if tick.run is not None:
            self.server, self.row = tick.server, tick.run
            self._states.update(state.id for state in tick.states)
            self._covered = tick.run.state_id if tick.covered else None
            self.task_runs.commit(tick.tasks, now)
            if tick.late_because is None:
                self._late_asked = -math.inf
            elif now.mono - self._late_asked >= _LATE_REASON_INTERVAL:
                self._late_asked = now.mono
            self._late_reason = tick.late_because
        self.commit_logs(tick.logs, now)

    def commit_proof(self, proof: CloseCheck, now: Now) -> None:
        """Take what a last look found for told."""
        self._states.update(state.id for state in proof.states)
        self.commit_logs(proof.logs, now)

    def commit_logs(self, read: LogRead, now: Now) -> None:
        """Take log rows for told."""
        self.cursor.commit(read)
        self.position = read.position
        if now.mono >= self._deep_due and self.cursor.ledger.total > _LONG_TABLE:
            self._deep_due = now.mono + _PROBE_SHARE * self._probe_cost

    def probed(self, query: Query | None, seconds: float) -> None:
        """Note how long an answer took."""
        if isinstance(query, LogsQuery) and query.offset and query.after == self._spec.since:
            self._probe_cost = seconds

    def learn(self, query: Query | None, failure: Failure) -> bool:
        """Learn from a failure how this server wants to be asked.

        Returns:
            Whether there was something to learn, so that asking again at once makes sense.
        """
        if failure.kind is FailureKind.PAGE_LIMIT:
            limit = failure.limit or self._limit // 2
            learnt = 0 < limit < self._limit
            self._limit = limit if learnt else self._limit
            return learnt
        if failure.kind is FailureKind.REJECTED and isinstance(query, LogsQuery) and query.offset:
            return self.cursor.refuse_offsets()
        return False

    def forgo(self, query: Query | None, failure: Failure, now: Now) -> bool:
        """Do without an answer that was asked for by the way: what a late run waits for.

        Returns:
            Whether this was one, so that the tick makes sense without it.
        """
        if not isinstance(query, REASON_QUERIES):
            return False
        # A pause that the server asks for is no time in which it can be asked again.
        self._late_asked = now.mono + (failure.retry_after or 0.0)
        if self._late_reason is None:
            self._late_reason = f"nobody can say what it waits for: {failure.text}"
        return True

    def _get_to_know(self) -> Poll[Server]:
        server = yield from read_server()
        if server.version is not None and server.version.startswith("2."):
            raise UnsupportedServer(
                f"The server is Prefect {server.version}, and rxflow speaks the APIs of Prefect 3 "
                "and Prefect 1"
            )
        return server

    def _new_states(
        self, run: FlowRun
    ) -> Poll[tuple[tuple[State, ...], tuple[MalformedRow, ...], bool]]:
        wanted = EventSource.STATES in self._spec.sources and run.state_id is not None
        if not wanted or run.state_id == self._covered:
            return (), (), wanted
        return (yield from self._read_states(run))

    def _read_states(
        self, run: FlowRun
    ) -> Poll[tuple[tuple[State, ...], tuple[MalformedRow, ...], bool]]:
        page: Page[State] = yield from read_all_pages(StatesQuery(run.id, limit=self._limit))
        found = {state.id: state for state in page.rows}
        covered = run.state_id in found or any(row.id == run.state_id for row in page.malformed)
        if run.state is not None:  # a history may lag behind the row
            found.setdefault(run.state.id, run.state)
        new = (state for state in found.values() if state.id not in self._states)
        in_order = tuple(sorted(new, key=lambda state: state.order))
        return in_order, page.malformed, covered

    def _may_be_overtaken(self) -> bool:
        of_prefect1 = self.server is not None and self.server.backend is BackendName.PREFECT_1
        return of_prefect1 and EventSource.STATES in self._spec.sources

    def _new_logs(self, now: Now) -> Poll[LogRead]:
        if EventSource.LOGS not in self._spec.sources:
            return LogRead(proven=True)
        return (yield from self.cursor.poll(self._limit, deep=now.mono >= self._deep_due))

    def _new_tasks(self) -> Poll[TaskRunsRead]:
        if EventSource.TASKS not in self._spec.sources:
            return TaskRunsRead()
        return (yield from self.task_runs.poll(self._limit))

    def _why_late(self, server: Server, run: FlowRun, time: datetime, now: Now) -> Poll[str | None]:
        if EventSource.NOTICES not in self._spec.sources or late_by(run, time) is None:
            return None
        if now.mono - self._late_asked < _LATE_REASON_INTERVAL:
            return self._late_reason
        return (yield from read_late_reason(server.backend, run, time))
