"""The task runs of one run: which are known, which of their states were delivered, who is awaited.

The ledger records what polls found. Which queries a poll sends is decided in `task_run_reader`,
which events follow in `run_watch`.
"""

from collections.abc import Iterable
from datetime import datetime

import msgspec

from rxflow._models.entities import TaskRun
from rxflow._models.states import State
from rxflow._models.times import Now, later
from rxflow._protocol.pages import MalformedRow

SETTLE_TIME = 30.0
"""Seconds without a change after which the watch stops waiting for task runs to end.

With Prefect 3.8.8 all task runs of a completed run of 300 had ended 15.5 s after it.
"""


class TaskRunsRead(msgspec.Struct, frozen=True, kw_only=True):
    """What one poll found of one run; it counts only once it is committed.

    Attributes:
        rows: The task runs that were read.
        changed: The task runs whose state is not recorded as delivered, each with that state.
        malformed: Rows that cannot be read.
        missing: Ids of known task runs that the server no longer has.
        is_full: Whether ``rows`` and ``malformed`` are all task runs of the run.
    """

    rows: tuple[TaskRun, ...] = ()
    changed: tuple[tuple[TaskRun, State], ...] = ()
    malformed: tuple[MalformedRow, ...] = ()
    missing: tuple[str, ...] = ()
    is_full: bool = False


class TaskRunLedger:
    """The task runs of one run.

    Attributes:
        flow_run_id: The run.
        full_read_due: Whether the next poll must read all task runs of the run.
        fully_read: When they all were read last, in monotonic seconds.
        newest_updated: When the server last wrote one of those that are known, by its clock.
    """

    def __init__(self, flow_run_id: str) -> None:
        """Start with no task run known.

        Args:
            flow_run_id: The run.
        """
        self.flow_run_id = flow_run_id
        self.full_read_due = True
        self.fully_read = 0.0
        self.newest_updated: datetime | None = None
        self._ended: set[str] = set()
        self._unsettled: dict[str, None] = {}
        self._malformed: set[str] = set()
        self._delivered: set[str] = set()
        self._last_change: datetime | None = None  # by the server's clock
        self._last_change_read: float | None = None  # by the watcher's monotonic clock

    @property
    def count(self) -> int:
        """How many task runs are known, malformed ones included."""
        return len(self._ended) + len(self._unsettled) + len(self._malformed)

    @property
    def unsettled(self) -> tuple[str, ...]:
        """Ids of the task runs that are not in a terminal state."""
        return tuple(self._unsettled)

    def knows(self, task_run_id: str) -> bool:
        """Whether a task run is known."""
        return (
            task_run_id in self._ended
            or task_run_id in self._unsettled
            or task_run_id in self._malformed
        )

    def read_of(
        self,
        rows: Iterable[TaskRun],
        malformed: Iterable[MalformedRow],
        *,
        missing: Iterable[str] = (),
        is_full: bool,
    ) -> TaskRunsRead:
        """Return what is new in the rows that a poll read of the run."""
        rows = tuple(rows)
        changed = tuple(
            (row, row.state)
            for row in rows
            if row.state is not None and row.state.id not in self._delivered
        )
        return TaskRunsRead(
            rows=rows,
            changed=changed,
            malformed=tuple(malformed),
            missing=tuple(missing),
            is_full=is_full,
        )

    def commit(self, read: TaskRunsRead, now: Now) -> None:
        """Record as delivered what a poll found."""
        if read.is_full:
            self._ended, self._unsettled, self._malformed = set(), {}, set()
            self.full_read_due, self.fully_read = False, now.mono
        for missing in read.missing:
            self._forget(missing)
        for row in read.rows:
            self._forget(row.id)
            if row.is_terminal:
                self._ended.add(row.id)
            else:
                self._unsettled[row.id] = None
            self.newest_updated = later(self.newest_updated, row.updated)
        for malformed in read.malformed:
            self._forget(malformed.id)
            self._malformed.add(malformed.id)
        self._delivered.update(state.id for _, state in read.changed)
        if read.changed or self._last_change_read is None:
            self._last_change_read = now.mono
            for _, state in read.changed:
                self._last_change = later(self._last_change, state.timestamp)

    def settled_in(self, server_time: datetime | None, now: Now) -> float:
        """Return the seconds until the watch stops waiting for task runs if none changes."""
        if not self._unsettled or self._last_change_read is None:
            return 0.0
        ours = theirs = self._last_change_read + SETTLE_TIME - now.mono
        if server_time is not None and self._last_change is not None:
            theirs = SETTLE_TIME - (server_time - self._last_change).total_seconds()
        return max(0.0, min(ours, theirs))

    def _forget(self, task_run_id: str) -> None:
        self._ended.discard(task_run_id)
        self._unsettled.pop(task_run_id, None)
        self._malformed.discard(task_run_id)
