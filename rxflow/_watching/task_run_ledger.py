"""The task runs of one run: which are known, which of their states were delivered, who is awaited.

The ledger records what polls found. Which queries a poll sends is decided in `task_run_reader`,
which events follow in `run_watch`.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime

import msgspec
from msgspec.structs import replace

from rxflow._models.entities import TaskRun
from rxflow._models.states import State
from rxflow._models.times import Instant, Now, later
from rxflow._protocol.pages import MalformedRow

HISTORY_PAUSE = 0.25
"""Seconds until the next poll if there are more histories to read than one poll reads."""

SETTLE_TIME = 30.0
"""Seconds without a change after which the watch stops waiting for task runs to end.

With Prefect 3.8.8 all task runs of a completed run of 300 had ended 15.5 s after it.
"""


class TaskRunsRead(msgspec.Struct, frozen=True, kw_only=True):
    """What one poll found of one run; it counts only once it is committed.

    Attributes:
        rows: The task runs that were read.
        changed: Task runs with a state that is not recorded as delivered; where all states are
            wanted, each with all such states, sorted.
        awaited: Where all states are wanted, the task runs whose states are still to be read.
        lagging: Ids of those of them whose states were read, without the one that the row has.
        malformed: Rows that cannot be read.
        malformed_states: Undelivered states that cannot be read.
        missing: Ids of known task runs that the server no longer has.
        is_full: Whether ``rows`` and ``malformed`` are all task runs of the run.
    """

    rows: tuple[TaskRun, ...] = ()
    changed: tuple[tuple[TaskRun, State], ...] = ()
    awaited: tuple[TaskRun, ...] = ()
    lagging: frozenset[str] = frozenset()
    malformed: tuple[MalformedRow, ...] = ()
    malformed_states: tuple[MalformedRow, ...] = ()
    missing: tuple[str, ...] = ()
    is_full: bool = False


class TaskRunsState(msgspec.Struct, frozen=True, kw_only=True):
    """Which states of task runs were delivered, to save and load.

    Attributes:
        delivered: The ids of the states.
        last_change: The time of the latest of them.
        newest_updated: When the server last wrote one of their rows.
    """

    delivered: tuple[str, ...] = ()
    last_change: Instant | None = None
    newest_updated: Instant | None = None


class TaskRunHistory(msgspec.Struct, frozen=True):
    """The states of one task run.

    Attributes:
        states: Those that can be read.
        malformed: Those that cannot.
    """

    states: tuple[State, ...] = ()
    malformed: tuple[MalformedRow, ...] = ()


class TaskRunLedger:
    """The task runs of one run.

    Attributes:
        flow_run_id: The run.
        full_read_due: Whether the next poll must read all task runs of the run.
        fully_read: When they all were read last, in monotonic seconds.
        newest_updated: When the server last wrote one of those that are known, by its clock.
    """

    def __init__(self, flow_run_id: str, *, all_states: bool = False) -> None:
        """Start with no task run known.

        Args:
            flow_run_id: The run.
            all_states: Whether all states of each task run are wanted, and not only those in which
                it is found.
        """
        self.flow_run_id = flow_run_id
        self.full_read_due = True
        self.fully_read = 0.0
        self.newest_updated: datetime | None = None
        self._all_states = all_states
        self._awaited: dict[str, TaskRun] = {}
        self._lagging: frozenset[str] = frozenset()
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
        read = TaskRunsRead(
            rows=rows,
            changed=changed,
            malformed=tuple(malformed),
            missing=tuple(missing),
            is_full=is_full,
        )
        return self._awaiting_histories(read) if self._all_states else read

    def with_histories(
        self, read: TaskRunsRead, histories: Mapping[str, TaskRunHistory]
    ) -> TaskRunsRead:
        """Add the states of some task runs that were awaited.

        Args:
            read: What a poll found.
            histories: The states, by task run id.
        """
        changed: list[tuple[TaskRun, State]] = []
        malformed: list[MalformedRow] = []
        awaited: list[TaskRun] = []
        lagging = set(read.lagging)
        for row in read.awaited:
            history = histories.get(row.id)
            if history is None:
                awaited.append(row)
                continue
            states = {state.id: state for state in history.states}
            bad = {each.id: each for each in history.malformed}
            lagging.discard(row.id)
            if row.state is not None and row.state.id not in states.keys() | bad.keys():
                states[row.state.id] = row.state
                awaited.append(row)
                lagging.add(row.id)
            changed += (
                (row, states[state_id])
                for state_id in sorted(
                    states.keys() - self._delivered, key=lambda each: states[each].order
                )
            )
            malformed += (bad[state_id] for state_id in bad.keys() - self._delivered)
        return replace(
            read,
            changed=tuple(changed),
            awaited=tuple(awaited),
            lagging=frozenset(lagging),
            malformed_states=tuple(malformed),
        )

    @property
    def has_more(self) -> bool:
        """Whether states of task runs are still to be read for the first time."""
        return not self._awaited.keys() <= self._lagging

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
        self._awaited = {row.id: row for row in read.awaited}
        self._lagging = read.lagging
        self._delivered.update(state.id for _, state in read.changed)
        if read.changed or self._last_change_read is None:
            self._last_change_read = now.mono
            for _, state in read.changed:
                self._last_change = later(self._last_change, state.timestamp)

    def record_emitted(self, task_run: TaskRun, state: State) -> None:
        """Record a state that an earlier watch delivered, with the row that it came with."""
        self._delivered.add(state.id)
        self._last_change = later(self._last_change, state.timestamp)
        self.newest_updated = later(self.newest_updated, task_run.updated)

    def save_emitted(self) -> TaskRunsState:
        """Return which states were delivered."""
        return TaskRunsState(
            delivered=tuple(sorted(self._delivered)),
            last_change=self._last_change,
            newest_updated=self.newest_updated,
        )

    def load_emitted(self, state: TaskRunsState) -> None:
        """Go on after these states were delivered."""
        self._delivered = set(state.delivered)
        self._last_change, self.newest_updated = state.last_change, state.newest_updated

    def settled_in(self, server_time: datetime | None, now: Now) -> float:
        """Return the seconds until the watch stops waiting for task runs if none changes."""
        if self.has_more:
            return HISTORY_PAUSE
        if not (self._unsettled or self._awaited) or self._last_change_read is None:
            return 0.0
        ours = theirs = self._last_change_read + SETTLE_TIME - now.mono
        if server_time is not None and self._last_change is not None:
            theirs = SETTLE_TIME - (server_time - self._last_change).total_seconds()
        return max(0.0, min(ours, theirs))

    def _awaiting_histories(self, read: TaskRunsRead) -> TaskRunsRead:
        """Hold back what changed until the states of its task runs were read."""
        found = {row.id: row for row in read.rows}
        gone = set(read.missing)
        if read.is_full:
            gone |= self._awaited.keys() - found.keys()
        known = {row.id: found.get(row.id, row) for row in self._awaited.values()}
        awaited = {**known, **{row.id: row for row, _ in read.changed}}
        changed = {row.id for row, _ in read.changed}
        return replace(
            read,
            changed=(),
            awaited=tuple(row for row in awaited.values() if row.id not in gone),
            lagging=self._lagging - changed - gone,
        )

    def _forget(self, task_run_id: str) -> None:
        self._ended.discard(task_run_id)
        self._unsettled.pop(task_run_id, None)
        self._malformed.discard(task_run_id)
