"""Runs of one watch that have caught up, read together: one query for all rows, one log table.

A tick costs two requests while nothing happens, however many runs there are: the rows of all runs,
and a count of all their log rows; one or two more if task runs are streamed. A run joins when its
history was read, by a reader of its own, and leaves when it is to be closed or is not found, so
that its own reader finds out why. What the reads mean for a run is decided in `run_watch`; when to
poll, and who joins, in `runs_session`.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping
from datetime import datetime
from heapq import merge
from itertools import groupby

import msgspec
from msgspec.structs import replace

from rxflow._logs.log_read import LogRead
from rxflow._models.entities import Server
from rxflow._models.times import Now
from rxflow._protocol.failures import Failure
from rxflow._protocol.pages import MalformedRow, Poll
from rxflow._protocol.queries import Query
from rxflow._watching.event_order import EventPages
from rxflow._watching.group_rows import GroupRows, RowsRead
from rxflow._watching.log_reader import LogReader, RowLimit
from rxflow._watching.run_reader import Tick
from rxflow._watching.run_watch import RunWatch
from rxflow._watching.task_run_ledger import TaskRunsRead
from rxflow._watching.task_run_reader import read_task_runs
from rxflow._watching.watch_spec import EventSource
from rxflow.events import FlowRunEvent, FlowRunLog

MAX_RUNS = 200
"""The most runs of a group: as many rows as a server sends at once."""


class GroupTick(msgspec.Struct, frozen=True, kw_only=True):
    """What one tick of a group found.

    Attributes:
        rows: The runs' rows, of which all else follows; None while a long history is read. If rows
            are missing, nothing else was read.
        ticks: Of each run what is new, without its log rows.
        logs: The log rows of all runs.
    """

    rows: RowsRead | None = None
    ticks: Mapping[str, Tick] = {}
    logs: LogRead = LogRead()


class RunGroup:
    """Some runs that are read together."""

    def __init__(self, server: Server, limit: RowLimit) -> None:
        """Start without runs.

        Args:
            server: The server's kind and version.
            limit: The most rows to query at once.
        """
        self._server = server
        self._limit = limit
        self._rows = GroupRows(server, limit)
        self._runs: dict[str, RunWatch] = {}
        self._logs: LogReader | None = None
        self._reading: RunWatch | None = None  # of which a poll reads more than its row

    @property
    def runs(self) -> Collection[RunWatch]:
        """The runs, in the order in which they joined."""
        return self._runs.values()

    @property
    def has_room(self) -> bool:
        """Whether another run may join now."""
        return self.has_caught_up and len(self._runs) < MAX_RUNS

    @property
    def has_caught_up(self) -> bool:
        """Whether no page of log rows is left to be read at once."""
        return self._logs is None or self._logs.position is None

    # -- joining and leaving --------------------------------------------------------------------

    def join(self, run: RunWatch) -> None:
        """Read a run together with the others from now on; it must have caught up."""
        cursor = run.reader.share_logs()
        if cursor is not None:
            if self._logs is None:
                self._logs = LogReader(cursor, self._limit, run.spec.since)
            else:
                self._logs.cursor.join(cursor)
        self._runs[run.spec.flow_run_id] = run

    def leave(self, flow_run_id: str) -> RunWatch:
        """Leave the reading of a run to a reader of its own; none may be under way."""
        run = self._runs.pop(flow_run_id)
        if self._logs is not None:
            cursor = self._logs.cursor
            run.reader.resume_logs(cursor.leave(flow_run_id) if self._runs else cursor)
        if not self._runs:
            self._logs = None
        return run

    # -- polls ----------------------------------------------------------------------------------

    def tick(
        self, now: Now, server_time: datetime | None, announced: Collection[str] = ()
    ) -> Poll[GroupTick]:
        """Read what is new of each run.

        Args:
            now: The time.
            server_time: The server's time, as far as it is known.
            announced: Runs that are said to have entered a state.
        """
        if self._logs is not None and self._logs.position is not None:
            return GroupTick(logs=(yield from self._logs.poll(now)))
        known = {run_id: run.row for run_id, run in self._runs.items()}
        read = yield from self._rows.poll(known, now, announced)
        if read.missing:
            return GroupTick(rows=read)
        time = read.server_time or server_time or now.utc
        ticks: dict[str, Tick] = {}
        for run_id, run in self._runs.items():
            row = read.rows.get(run_id, run.row)
            if run_id in read.malformed or row is None:
                ticks[run_id] = Tick(malformed=(read.malformed[run_id],))
                continue
            self._reading = run
            ticks[run_id] = yield from run.reader.tick_of_row(row, self._server, time, now)
        logs = LogRead(proven=True)
        if self._logs is not None:
            logs = yield from self._logs.poll(now)
        tasks = yield from self._read_task_runs(now)
        return GroupTick(
            rows=read,
            ticks={
                run_id: replace(tick, tasks=tasks.get(run_id)) for run_id, tick in ticks.items()
            },
            logs=logs,
        )

    def receive_tick(self, tick: GroupTick, now: Now) -> tuple[EventPages, bool]:
        """Record as delivered what a tick found, and return its events in order.

        Returns:
            The events, and whether any of them shows that a run is at work.
        """
        lines: defaultdict[str, list[FlowRunLog]] = defaultdict(list)
        for row in tick.logs.rows:
            lines[row.flow_run_id].append(row)
        malformed: defaultdict[str | None, list[MalformedRow]] = defaultdict(list)
        for bad in tick.logs.malformed:  # each is of one of the runs, as the table's reader has it
            malformed[bad.flow_run_id].append(bad)
        rewound = self._rewound(tick.logs)
        if tick.rows is not None:
            self._rows.commit(tick.rows, now)
        if tick.logs.table_shrank:  # as it does when the rows of a deleted run are deleted, too
            self._rows.read_all_next()
        if self._logs is not None:
            self._logs.commit(tick.logs, now)
        found = [
            run.receive_tick(
                replace(
                    tick.ticks.get(run_id, Tick()),
                    logs=LogRead(
                        rows=tuple(lines[run_id]),
                        malformed=tuple(malformed[run_id]),
                        backfill_position=tick.logs.backfill_position,
                        rewound=run_id in rewound,
                    ),
                ),
                now,
            )
            for run_id, run in self._runs.items()
        ]
        return merged([pages for pages, _ in found if pages]), any(active for _, active in found)

    def record_duration(self, query: Query, seconds: float) -> None:
        """Record how long a reply took."""
        if self._logs is not None:
            self._logs.record_duration(query, seconds)

    def adapt_to(self, query: Query | None, failure: Failure, now: Now) -> bool:
        """Adapt later queries to a limit of the server that a failure reveals.

        Returns:
            Whether later queries differ, so that a poll can be sent again at once.
        """
        if self._reading is not None and self._reading.reader.skip_optional(query, failure, now):
            return True
        if self._limit.adapt_to(failure) or self._rows.adapt_to(query, failure):
            return True
        return self._logs is not None and self._logs.adapt_to(query, failure)

    # -- parts ----------------------------------------------------------------------------------

    def _read_task_runs(self, now: Now) -> Poll[Mapping[str, TaskRunsRead]]:
        readers = [run.reader for run in self._runs.values()]
        ledgers = [reader.task_runs for reader in readers if reader.streams_tasks]
        if not ledgers:
            return {}
        return (yield from read_task_runs(ledgers, self._limit.rows, now))

    def _rewound(self, read: LogRead) -> Collection[str]:
        """Return the runs of which delivered rows vanished; to be called before the commit."""
        if self._logs is None or not read.rewound:
            return ()
        of_rows = self._logs.cursor.ledger.runs_of(read.vanished_ids)
        return {*of_rows, *(bucket.flow_run_id for bucket in read.replaced_buckets)}


def merged(found: list[EventPages]) -> EventPages:
    """Merge the events of some runs by their timestamps; the order within each run is kept."""
    if len(found) <= 1:
        return found[0] if found else ()
    sourced = ([(source, event) for source, page in pages for event in page] for pages in found)
    ordered = merge(*sourced, key=_timestamp)
    return tuple(
        (source, tuple(event for _, event in page))
        for source, page in groupby(ordered, key=_source)
    )


def _timestamp(sourced: tuple[EventSource, FlowRunEvent]) -> datetime:
    return sourced[1].timestamp


def _source(sourced: tuple[EventSource, FlowRunEvent]) -> EventSource:
    return sourced[0]
