"""What is shown of a run beside its lines: a fold of its events.

Belongs here: which facts the live view and the summary at the end show, and what they are called.
Does not belong here: widths, colours and the terminal.
"""

import logging
from bisect import insort
from collections import Counter
from collections.abc import Mapping
from datetime import datetime, timedelta
from operator import attrgetter

from rxflow import (
    AllClosed,
    Closed,
    FlowRun,
    FlowRunEvent,
    FlowRunLog,
    Notice,
    NoticeCode,
    RunChanged,
    RunSeen,
    State,
    StateChange,
    TaskRunStateChange,
)
from rxflow._escapes import one_line

__all__ = ["RunStatus", "RunStatuses", "TaskRunTally"]

_IN_ORDER = (
    *("COMPLETED", "RUNNING", "PENDING", "SCHEDULED", "PAUSED", "CANCELLING"),
    *("CANCELLED", "CRASHED", "FAILED"),
)
_FAILED = {"FAILED", "CRASHED"}
_UNVERIFIED = {NoticeCode.SOURCE_REWOUND, NoticeCode.RUN_DELETED, NoticeCode.RUN_NOT_FOUND}


class TaskRunTally:
    """The task runs of a run by state: a count of each type, and the names of those that failed."""

    def __init__(self, subflows: Mapping[str, str] | None = None) -> None:
        """Start without a task run.

        Args:
            subflows: The names of subflows by the ids of the task runs that stand for them in their
                parents; they are shown in place of the names of those task runs.
        """
        self._subflows: Mapping[str, str] = {} if subflows is None else subflows
        self._names: dict[str, str] = {}
        self._types: dict[str, str] = {}
        self._counts: Counter[str] = Counter()

    def receive(self, event: TaskRunStateChange) -> None:
        """Record the state of a task run."""
        task_run = event.task_run
        before = self._types.get(task_run.id)
        if before is not None:
            self._counts[before] -= 1
        self._names[task_run.id] = one_line(task_run.name)
        self._types[task_run.id] = now = str((task_run.state or event.state).type)
        self._counts[now] += 1

    @property
    def total(self) -> int:
        """How many task runs are known."""
        return len(self._types)

    @property
    def ended(self) -> int:
        """How many are in a terminal state."""
        return sum(self._counts[kind] for kind in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED"))

    @property
    def failed(self) -> list[str]:
        """The names of those that failed or crashed, by creation as far as it was emitted so."""
        return self._named(_FAILED)

    @property
    def running(self) -> list[str]:
        """The names of those that are running."""
        return self._named({"RUNNING"})

    @property
    def counts(self) -> list[tuple[str, int]]:
        """The types with their numbers, in the order in which they are shown."""
        known = [(kind, self._counts[kind]) for kind in _IN_ORDER]
        others = [(kind, n) for kind, n in self._counts.items() if kind not in _IN_ORDER]
        return [(kind, number) for kind, number in (*known, *others) if number]

    def name(self, task_run_id: str | None) -> str | None:
        """Return the name of a task run, if it is known."""
        if not task_run_id:
            return None
        return self._subflows.get(task_run_id) or self._names.get(task_run_id)

    def _named(self, types: set[str]) -> list[str]:
        found = (row for row, kind in self._types.items() if kind in types)
        return [self._subflows.get(row) or self._names[row] for row in found]


class RunStatus:
    """What the events of one run say; its attributes are what was last received of each kind.

    Attributes:
        run: The run's row.
        states: The states that it entered, in their order.
        task_runs: Its task runs, by state.
        first_error: Its first log line of level ERROR or above.
        error_count: How many such lines there are.
        log_count: How many log lines were received.
        last_news: When a state or a log line was last received, in monotonic seconds.
        notice: A notice about a condition that lasts, such as that the run is late.
        unverified: Why the watch of the run cannot be verified, as far as a notice said so.
        is_deleted: Whether the server has no such run, or none any more.
        closed: The end of its watch.
    """

    def __init__(
        self,
        flow_run_id: str,
        root_flow_run_id: str,
        subflows: Mapping[str, str] | None = None,
    ) -> None:
        """Start without an event.

        Args:
            flow_run_id: The run.
            root_flow_run_id: The run whose subflow it is, at any depth; else its own id.
            subflows: As for `TaskRunTally`.
        """
        self.flow_run_id = flow_run_id
        self.is_subflow = flow_run_id != root_flow_run_id
        self.root_flow_run_id = root_flow_run_id
        self.run: FlowRun | None = None
        self.states: list[State] = []
        self.task_runs = TaskRunTally(subflows)
        self.first_error: FlowRunLog | None = None
        self.error_count = 0
        self.log_count = 0
        self.last_news = 0.0
        self.notice: Notice | None = None
        self.unverified: str | None = None
        self.is_deleted = False
        self.closed: Closed | None = None

    def receive(self, event: FlowRunEvent, mono: float) -> None:
        """Record an event of the run.

        Args:
            event: The event.
            mono: The time, in seconds of a clock that never steps.
        """
        self.closed = None  # after its end the run may go on in a later watch
        match event:
            case FlowRunLog():
                self.last_news = mono
                self._receive_log(event)
            case StateChange():
                self.last_news = mono
                insort(self.states, event.state, key=attrgetter("order"))
                self.notice = None  # a run that entered a state is no longer late for it
            case TaskRunStateChange():
                self.task_runs.receive(event)
            case RunSeen() | RunChanged():
                self.run = event.run
            case Notice():
                self._receive_notice(event)
            case Closed():
                self.closed = event
            case AllClosed():
                pass

    def _receive_log(self, event: FlowRunLog) -> None:
        self.log_count += 1
        if event.level >= logging.ERROR:
            self.error_count += 1
            if self.first_error is None or event.timestamp < self.first_error.timestamp:
                self.first_error = event

    def _receive_notice(self, notice: Notice) -> None:
        if notice.code is NoticeCode.LATE_START:
            self.notice = notice
        if notice.code in _UNVERIFIED:
            self.unverified = one_line(notice.message)
            self.is_deleted = notice.code is not NoticeCode.SOURCE_REWOUND

    @property
    def name(self) -> str:
        """The run's name; its id before that is known."""
        return one_line(self.run.name) if self.run else self.flow_run_id

    @property
    def state(self) -> State | None:
        """The run's state, from its states or, if they are not watched, its row."""
        if self.closed is not None and self.closed.state is not None:
            return self.closed.state
        return self.states[-1] if self.states else self.run.state if self.run else None

    @property
    def is_over(self) -> bool:
        """Whether the run is in a terminal state."""
        return self.state is not None and bool(self.state.is_terminal)

    @property
    def started(self) -> datetime | None:
        """When the run first began to run."""
        if self.run is not None and self.run.start_time is not None:
            return self.run.start_time
        return next((state.timestamp for state in self.states if state.type == "RUNNING"), None)

    def elapsed(self, now: datetime) -> timedelta | None:
        """Return the time since the run began to run, or until its end; None before.

        Args:
            now: The time, aware.
        """
        if self.started is None:
            return None
        end = self.state.timestamp if self.state is not None and self.is_over else now
        return max(timedelta(), end - self.started)


class RunStatuses:
    """The statuses of all runs of a watch, in the order in which their first events came."""

    def __init__(self) -> None:
        """Start without a run."""
        self._by_id: dict[str, RunStatus] = {}
        self._subflows: dict[str, str] = {}
        self._outages: dict[str, Notice] = {}

    def receive(self, event: FlowRunEvent, mono: float) -> None:
        """Record an event.

        Args:
            event: The event.
            mono: The time, in seconds of a clock that never steps.
        """
        if isinstance(event, Notice):
            self._receive_outage(event)
        run = event.flow_run_id
        if not run:  # it is about all runs
            return
        if isinstance(event, RunSeen) and event.run.parent_task_run_id:
            self._subflows[event.run.parent_task_run_id] = one_line(event.run.name)
        if run not in self._by_id:
            self._by_id[run] = RunStatus(run, event.root_flow_run_id, self._subflows)
        self._by_id[run].receive(event, mono)

    def _receive_outage(self, notice: Notice) -> None:
        if notice.code is NoticeCode.DEGRADED:
            self._outages[notice.flow_run_id] = notice
        elif notice.code is NoticeCode.RECOVERED:
            self._outages.pop(notice.flow_run_id, None)

    @property
    def outage(self) -> Notice | None:
        """The notice that the server does not reply; None once it does."""
        return next(iter(self._outages.values()), None)

    @property
    def roots(self) -> list[RunStatus]:
        """The runs that are watched themselves, not as subflows of others."""
        return [status for status in self._by_id.values() if self._is_root(status)]

    def root(self, flow_run_id: str) -> RunStatus | None:
        """Return the status of a run; None if it was not seen, or is a subflow of another."""
        status = self._by_id.get(flow_run_id)
        return status if status is not None and self._is_root(status) else None

    def _is_root(self, status: RunStatus) -> bool:
        return not status.is_subflow or status.root_flow_run_id not in self._by_id

    def subflows(self, root: RunStatus) -> list[RunStatus]:
        """Return the subflows of a run, at any depth."""
        return [
            status
            for status in self._by_id.values()
            if status.root_flow_run_id == root.flow_run_id and status is not root
        ]
