"""Task runs: read whole each time, told apart by the id of their state.

A server offers no "changed since", and a task run that began and ended between two reads would be
missed by a filter on the state, so each poll reads all of a run's task runs.
"""

from datetime import datetime

import msgspec
from msgspec.structs import replace

from rxflow._models.entities import TaskRun
from rxflow._models.states import State
from rxflow._models.times import Now
from rxflow._protocol.pages import MalformedRow, Page, Poll
from rxflow._protocol.queries import TaskRunsQuery

SETTLING = 30.0
"""Seconds without a change after which task runs that are not over are waited for no longer.

With Prefect 3.8.8 the task runs of a completed run of 300 were all over 15.5 s after it.
"""


class TaskRunsRead(msgspec.Struct, frozen=True):
    """What one poll found; nothing of it counts until it is committed.

    Attributes:
        rows: All task runs of the run.
        changed: Those in a state that was not told before, each with the state.
        malformed: Rows that cannot be read.
    """

    rows: tuple[TaskRun, ...] = ()
    changed: tuple[tuple[TaskRun, State], ...] = ()
    malformed: tuple[MalformedRow, ...] = ()


def read_task_run_rows(
    query: TaskRunsQuery,
) -> Poll[tuple[tuple[TaskRun, ...], tuple[MalformedRow, ...]]]:
    """Read all task runs that a question is for, page by page.

    Returns:
        Those that can be read, and those that cannot.
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
    """Reads the task runs of one run, each state that it finds once."""

    def __init__(self, flow_run_id: str) -> None:
        """Start with none told."""
        self._run = flow_run_id
        self._told: set[str] = set()
        self._open: tuple[str, ...] = ()
        self._news: datetime | None = None
        self._news_seen: float | None = None

    @property
    def unsettled(self) -> tuple[str, ...]:
        """Ids of the task runs that are not in a terminal state."""
        return self._open

    def poll(self, limit: int) -> Poll[TaskRunsRead]:
        """Read all task runs.

        Args:
            limit: The most rows the server gives at once.
        """
        rows, malformed = yield from read_task_run_rows(
            TaskRunsQuery(flow_run_id=self._run, limit=limit)
        )
        changed = tuple(
            (row, row.state)
            for row in rows
            if row.state is not None and row.state.id not in self._told
        )
        return TaskRunsRead(rows, changed, malformed)

    def commit(self, read: TaskRunsRead, now: Now) -> None:
        """Take what a poll found for told."""
        self._told.update(state.id for _, state in read.changed)
        self._open = tuple(row.id for row in read.rows if not row.is_terminal)
        if read.changed or self._news_seen is None:
            self._news_seen = now.mono
            news = [state.timestamp for _, state in read.changed]
            self._news = max(news if self._news is None else [self._news, *news], default=None)

    def settled_in(self, server_time: datetime | None, now: Now) -> float:
        """Seconds until the task runs are waited for no longer if none changes."""
        if not self._open or self._news_seen is None:
            return 0.0
        ours = theirs = self._news_seen + SETTLING - now.mono
        if server_time is not None and self._news is not None:
            theirs = SETTLING - (server_time - self._news).total_seconds()
        return max(0.0, min(ours, theirs))
