"""Reads the task runs of one run: all of them at each poll, each state found once.

A server has no query for "changed since", and a filter on the state would miss a task run that
began and ended between two polls, so each poll reads all task runs of the run. Which events they
become is decided in `run_watch`, not here.
"""

from datetime import datetime

import msgspec
from msgspec.structs import replace

from rxflow._models.entities import TaskRun
from rxflow._models.states import State
from rxflow._models.times import Now
from rxflow._protocol.pages import MalformedRow, Page, Poll
from rxflow._protocol.queries import TaskRunsQuery

SETTLE_TIME = 30.0
"""Seconds without a change after which the watch stops waiting for task runs to end.

With Prefect 3.8.8 all task runs of a completed run of 300 had ended 15.5 s after it.
"""


class TaskRunsRead(msgspec.Struct, frozen=True):
    """What one poll found; it counts only once it is committed.

    Attributes:
        rows: All task runs of the run.
        changed: The task runs whose state is not recorded as delivered, each with that state.
        malformed: Rows that cannot be read.
    """

    rows: tuple[TaskRun, ...] = ()
    changed: tuple[tuple[TaskRun, State], ...] = ()
    malformed: tuple[MalformedRow, ...] = ()


def read_task_run_rows(
    query: TaskRunsQuery,
) -> Poll[tuple[tuple[TaskRun, ...], tuple[MalformedRow, ...]]]:
    """Read all task runs that match a query, page by page.

    Returns:
        The rows that can be read, and those that cannot.
    """
    rows: dict[str, TaskRun] = {}
    malformed: dict[str, MalformedRow] = {}
    offset = 0
    while True:
        page: Page[TaskRun] = yield replace(query, offset=offset)
        rows.update((row.id, row) for row in page.rows)
        malformed.update((row.id, row) for row in page.malformed)
        offset += page.count
        if page.count < query.limit:
            return tuple(rows.values()), tuple(malformed.values())


class TaskRunReader:
    """Reads the task runs of one run, and finds each of their states once."""

    def __init__(self, flow_run_id: str) -> None:
        """Start with no state delivered."""
        self._flow_run_id = flow_run_id
        self._delivered: set[str] = set()
        self._unsettled: tuple[str, ...] = ()
        self._last_change: datetime | None = None  # by the server's clock
        self._last_change_read: float | None = None  # by the watcher's monotonic clock

    @property
    def unsettled(self) -> tuple[str, ...]:
        """Ids of the task runs that are not in a terminal state."""
        return self._unsettled

    def poll(self, limit: int) -> Poll[TaskRunsRead]:
        """Read all task runs.

        Args:
            limit: The largest number of rows in one page.
        """
        rows, malformed = yield from read_task_run_rows(
            TaskRunsQuery(flow_run_id=self._flow_run_id, limit=limit)
        )
        changed = tuple(
            (row, row.state)
            for row in rows
            if row.state is not None and row.state.id not in self._delivered
        )
        return TaskRunsRead(rows, changed, malformed)

    def commit(self, read: TaskRunsRead, now: Now) -> None:
        """Record as delivered what a poll found."""
        self._delivered.update(state.id for _, state in read.changed)
        self._unsettled = tuple(row.id for row in read.rows if not row.is_terminal)
        if read.changed or self._last_change_read is None:
            self._last_change_read = now.mono
            changes = [state.timestamp for _, state in read.changed]
            if self._last_change is not None:
                changes.append(self._last_change)
            self._last_change = max(changes, default=None)

    def settled_in(self, server_time: datetime | None, now: Now) -> float:
        """Return the seconds until the watch stops waiting for task runs if none changes."""
        if not self._unsettled or self._last_change_read is None:
            return 0.0
        ours = theirs = self._last_change_read + SETTLE_TIME - now.mono
        if server_time is not None and self._last_change is not None:
            theirs = SETTLE_TIME - (server_time - self._last_change).total_seconds()
        return max(0.0, min(ours, theirs))
