"""The nouns: runs, states, task runs, pools and workers as plain frozen data.

Nothing here knows a server. A backend decodes its answers into these structs, the events carry
them and the fold puts them together. Every datetime is aware; ids are lower-case strings.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any
from uuid import UUID

import msgspec

from rxflow._verdicts import Verdict, verdict
from rxflow.errors import InvalidRunId

Instant = Annotated[datetime, msgspec.Meta(tz=True)]
"""A point in time with its offset from UTC; a row with a naive one is malformed."""


class BackendName(StrEnum):
    """The kinds of server that are spoken to."""

    PREFECT_3 = "prefect3"
    """Prefect 3's REST API."""
    PREFECT_1 = "prefect1"
    """The GraphQL API of Prefect Server, and of Prefect Cloud in the days of Prefect 1."""


class StateType(StrEnum):
    """The state types that are known here; a server may send others, which are kept as text."""

    SCHEDULED = "SCHEDULED"
    PENDING = "PENDING"
    RUNNING = "RUNNING"
    PAUSED = "PAUSED"
    CANCELLING = "CANCELLING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CRASHED = "CRASHED"
    CANCELLED = "CANCELLED"


TERMINAL = frozenset(
    {StateType.COMPLETED, StateType.FAILED, StateType.CRASHED, StateType.CANCELLED}
)


class State(msgspec.Struct, frozen=True, kw_only=True):
    """One state that a flow run or a task run was put in.

    Two states are the same when their ids are: a run can be set to Running twice.

    Attributes:
        id: The state's id.
        type: One of `StateType`, or the text of a type that is not known here.
        name: What people call it, such as ``Late`` for a ``SCHEDULED`` state.
        timestamp: When the state was set, by the clock of whoever set it.
        message: What was said when it was set, if anything.
    """

    id: str
    type: str
    name: str
    timestamp: Instant
    message: str | None = None

    @property
    def is_terminal(self) -> bool:
        """Whether a run in this state is over, unless it is opened again."""
        return self.type in TERMINAL

    @property
    def is_completed(self) -> bool:
        """Whether this is how a run ends that did what it was for."""
        return self.type == StateType.COMPLETED

    # What Prefect 1's states answered: `state.is_failed()`, or without the call.

    @property
    def is_successful(self) -> Verdict:
        """Whether it is an end as hoped for; of Prefect 1 that is Success."""
        return verdict(self.type, self.name, "is_successful")

    @property
    def is_failed(self) -> Verdict:
        """Whether it is an end by failure, such as Failed, Crashed or TimedOut."""
        return verdict(self.type, self.name, "is_failed")

    @property
    def is_finished(self) -> Verdict:
        """Whether it is an end, of whatever kind."""
        return verdict(self.type, self.name, "is_finished")

    @property
    def is_running(self) -> Verdict:
        """Whether the run is running; Cancelling and Prefect 3's Retrying are."""
        return verdict(self.type, self.name, "is_running")

    @property
    def is_pending(self) -> Verdict:
        """Whether the run has yet to begin, or to go on."""
        return verdict(self.type, self.name, "is_pending")

    @property
    def is_scheduled(self) -> Verdict:
        """Whether the run waits for its time; of Prefect 1, Queued too."""
        return verdict(self.type, self.name, "is_scheduled")

    @property
    def is_retrying(self) -> Verdict:
        """Whether this is another attempt, or the wait for it."""
        return verdict(self.type, self.name, "is_retrying")

    @property
    def is_paused(self) -> Verdict:
        """Whether someone must resume the run."""
        return verdict(self.type, self.name, "is_paused")

    @property
    def is_submitted(self) -> Verdict:
        """Whether the run was handed to what is to start it."""
        return verdict(self.type, self.name, "is_submitted")

    @property
    def is_queued(self) -> Verdict:
        """Whether the run waits for a free slot."""
        return verdict(self.type, self.name, "is_queued")

    @property
    def is_cached(self) -> Verdict:
        """Whether an earlier result stands in for the run."""
        return verdict(self.type, self.name, "is_cached")

    @property
    def is_skipped(self) -> Verdict:
        """Whether the run was left out, which counts as success."""
        return verdict(self.type, self.name, "is_skipped")

    @property
    def is_mapped(self) -> Verdict:
        """Whether this is Prefect 1's parent of mapped task runs."""
        return verdict(self.type, self.name, "is_mapped")

    @property
    def is_looped(self) -> Verdict:
        """Whether this is the end of one turn of Prefect 1's loops."""
        return verdict(self.type, self.name, "is_looped")

    @property
    def is_meta_state(self) -> Verdict:
        """Whether this is one of Prefect 1's states about states."""
        return verdict(self.type, self.name, "is_meta_state")


class FlowRun(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the server's table of flow runs.

    What the server works out anew for each answer (estimates) is left out, so that two equal rows
    mean that nothing happened.

    Attributes:
        state: The state that ``state_id`` names; None for a run that has none yet.
        tags: The run's tags, in the server's order.
        labels: The run's labels, as keys and values.
        parameters: What the flow was called with.
        context: What was put into the run's context.
        total_run_time: Seconds spent in Running states that are over.
    """

    id: str
    name: str
    flow_id: str | None = None
    created: Instant
    updated: Instant
    state_id: str | None = None
    state: State | None = None
    deployment_id: str | None = None
    deployment_version: str | None = None
    flow_version: str | None = None
    work_pool_name: str | None = None
    work_queue_name: str | None = None
    parameters: Mapping[str, Any] = {}
    context: Mapping[str, Any] = {}
    tags: tuple[str, ...] = ()
    labels: Mapping[str, Any] = {}
    idempotency_key: str | None = None
    parent_task_run_id: str | None = None
    run_count: int = 0
    expected_start_time: Instant | None = None
    next_scheduled_start_time: Instant | None = None
    start_time: Instant | None = None
    end_time: Instant | None = None
    total_run_time: float = 0.0
    auto_scheduled: bool = False
    infrastructure_pid: str | None = None

    @property
    def is_terminal(self) -> bool:
        """Whether the run is in a terminal state."""
        return self.state is not None and self.state.is_terminal


class TaskRun(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the server's table of task runs.

    Attributes:
        state: The state that ``state_id`` names. A server may write the row before the state: the
            id is then set and the state is None.
    """

    id: str
    name: str
    flow_run_id: str | None = None
    task_key: str
    dynamic_key: str
    created: Instant
    updated: Instant
    state_id: str | None = None
    state: State | None = None
    tags: tuple[str, ...] = ()
    run_count: int = 0
    expected_start_time: Instant | None = None
    start_time: Instant | None = None
    end_time: Instant | None = None

    @property
    def is_terminal(self) -> bool:
        """Whether the task run is in a terminal state."""
        return self.state is not None and self.state.is_terminal


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a flow run at one moment: the value that `rxflow.fold` builds.

    Attributes:
        run: The run's row; its ``state`` is the latest that was told.
        states: The states that were told, by time.
        task_runs: The task runs that were told, by creation; empty unless they are streamed.
    """

    run: FlowRun
    states: tuple[State, ...] = ()
    task_runs: tuple[TaskRun, ...] = ()

    @property
    def state(self) -> State | None:
        """The run's state, or None as long as none was told."""
        return self.run.state


class Flow(msgspec.Struct, frozen=True, kw_only=True):
    """The flow that a run is a run of."""

    id: str
    name: str
    created: Instant
    updated: Instant
    tags: tuple[str, ...] = ()
    labels: Mapping[str, Any] = {}


class Deployment(msgspec.Struct, frozen=True, kw_only=True):
    """The deployment that a run was created from.

    Attributes:
        status: ``READY`` or ``NOT_READY``: whether something has lately asked for its runs.
    """

    id: str
    name: str
    flow_id: str
    paused: bool = False
    status: str | None = None
    concurrency_limit: int | None = None
    work_pool_name: str | None = None
    work_queue_name: str | None = None
    version: str | None = None
    entrypoint: str | None = None
    path: str | None = None
    pull_steps: Any = None
    job_variables: Any = None


class StoredResult(msgspec.Struct, frozen=True, kw_only=True):
    """Where a task run's result was put; without a location it was not kept.

    Attributes:
        location: A path, or what the storage knows it by.
        form: What it was written as, such as ``json``.
        storage: What keeps it if that is not this machine's file system.
    """

    location: str | None = None
    form: str | None = None
    storage: str | None = None


class WorkPool(msgspec.Struct, frozen=True, kw_only=True):
    """A queue of runs that workers take from.

    Attributes:
        status: ``READY``, ``NOT_READY`` or ``PAUSED``.
    """

    name: str
    is_paused: bool = False
    status: str | None = None
    concurrency_limit: int | None = None


class Worker(msgspec.Struct, frozen=True, kw_only=True):
    """A process that takes runs from a work pool and starts them.

    Attributes:
        status: ``ONLINE`` or ``OFFLINE``.
    """

    name: str
    status: str | None = None
    last_heartbeat_time: Instant | None = None

    @property
    def is_online(self) -> bool:
        """Whether the server has heard from it lately."""
        return self.status == "ONLINE"


def canonical_id(text: str, noun: str = "flow run") -> str:
    """The canonical form of a run's id.

    Args:
        text: The id.
        noun: What it is the id of.

    Raises:
        InvalidRunId: It is not a UUID.
    """
    try:
        return str(UUID(text))
    except (ValueError, AttributeError, TypeError):
        shown = repr(text)[:80]
        raise InvalidRunId(
            f"{shown} is not a {noun} id; an id is a UUID, as the run's page and "
            "`prefect flow-run ls` show it"
        ) from None


def seconds_of(name: str, value: timedelta | float, *, zero: bool = True) -> float:
    """An argument that is a time, in seconds.

    Args:
        name: The argument's name.
        value: What was passed.
        zero: Whether it may be 0.

    Raises:
        ValueError: It is negative, endless or not a number.
    """
    seconds = value.total_seconds() if isinstance(value, timedelta) else float(value)
    if not 0 <= seconds < float("inf") or (seconds == 0 and not zero):
        least = "from 0 on" if zero else "above 0"
        raise ValueError(f"{name}={value!r} is not a time; pass a timedelta, or seconds {least}")
    return seconds
