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


class Server(msgspec.Struct, frozen=True, kw_only=True):
    """Who answers.

    Attributes:
        version: What it says its version is, if it says so.
    """

    backend: BackendName
    version: str | None = None


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
        version: Which of its run's states it is, where the server counts them, as Prefect 1 does.
    """

    id: str
    type: str
    name: str
    timestamp: Instant
    message: str | None = None
    version: int | None = None

    @property
    def order(self) -> tuple[datetime, int, str]:
        """What states are sorted by."""
        return self.timestamp, self.version or 0, self.id

    @property
    def is_terminal(self) -> bool:
        """Whether a run in this state is over, unless it is opened again."""
        return self.type in TERMINAL

    @property
    def is_completed(self) -> bool:
        """Whether this is how a run ends that did what it was for."""
        return self.type == StateType.COMPLETED

    def _verdict(self, predicate: str) -> Verdict:
        of_prefect1 = self.version is not None  # where a name is no free text, but a class
        return verdict(self.type, self.name, predicate, of_prefect1=of_prefect1)

    # What Prefect 1's states answered: `state.is_failed()`, or without the call.

    @property
    def is_successful(self) -> Verdict:
        """Whether it is an end as hoped for; of Prefect 1 that is Success."""
        return self._verdict("is_successful")

    @property
    def is_failed(self) -> Verdict:
        """Whether it is an end by failure, such as Failed, Crashed or TimedOut."""
        return self._verdict("is_failed")

    @property
    def is_finished(self) -> Verdict:
        """Whether it is an end, of whatever kind."""
        return self._verdict("is_finished")

    @property
    def is_running(self) -> Verdict:
        """Whether the run is running; Cancelling and Prefect 3's Retrying are."""
        return self._verdict("is_running")

    @property
    def is_pending(self) -> Verdict:
        """Whether the run has yet to begin, or to go on."""
        return self._verdict("is_pending")

    @property
    def is_scheduled(self) -> Verdict:
        """Whether the run waits for its time; of Prefect 1, Queued too."""
        return self._verdict("is_scheduled")

    @property
    def is_retrying(self) -> Verdict:
        """Whether this is another attempt, or the wait for it."""
        return self._verdict("is_retrying")

    @property
    def is_paused(self) -> Verdict:
        """Whether someone must resume the run."""
        return self._verdict("is_paused")

    @property
    def is_submitted(self) -> Verdict:
        """Whether the run was handed to what is to start it."""
        return self._verdict("is_submitted")

    @property
    def is_queued(self) -> Verdict:
        """Whether the run waits for a free slot."""
        return self._verdict("is_queued")

    @property
    def is_cached(self) -> Verdict:
        """Whether an earlier result stands in for the run."""
        return self._verdict("is_cached")

    @property
    def is_skipped(self) -> Verdict:
        """Whether the run was left out, which counts as success."""
        return self._verdict("is_skipped")

    @property
    def is_mapped(self) -> Verdict:
        """Whether this is Prefect 1's parent of mapped task runs."""
        return self._verdict("is_mapped")

    @property
    def is_looped(self) -> Verdict:
        """Whether this is the end of one turn of Prefect 1's loops."""
        return self._verdict("is_looped")

    @property
    def is_meta_state(self) -> Verdict:
        """Whether this is one of Prefect 1's states about states."""
        return self._verdict("is_meta_state")


class FlowRun(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the server's table of flow runs.

    What the server works out anew for each answer (estimates) is left out, so that two equal rows
    mean that nothing happened.

    Attributes:
        state: The state that ``state_id`` names; None for a run that has none yet.
        tags: The run's tags, in the server's order; of Prefect 1 its labels.
        labels: The run's labels, as keys and values; Prefect 1's have no values, and are tags here.
        parameters: What the flow was called with.
        context: What was put into the run's context.
        run_config: How Prefect 1 was to run it.
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
    run_config: Mapping[str, Any] | None = None
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
        task_key: What its task goes by: Prefect 3's task key, Prefect 1's slug.
        dynamic_key: Tells the runs of one task apart.
        task_id: The id of its task, where tasks have one, as in Prefect 1.
        map_index: Which of the runs of its task it is, -1 for the only one, where the server
            numbers them, as Prefect 1 does.
        state: The state that ``state_id`` names. A server may write the row before the state: the
            id is then set and the state is None.
    """

    id: str
    name: str
    flow_run_id: str | None = None
    task_key: str
    dynamic_key: str
    task_id: str | None = None
    map_index: int | None = None
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
    """The flow that a run is a run of.

    Attributes:
        tags: The flow's tags; of Prefect 1 the labels of its flow group.
        registered: What Prefect 1 was told of the flow.
    """

    id: str
    name: str
    created: Instant
    updated: Instant
    tags: tuple[str, ...] = ()
    labels: Mapping[str, Any] = {}
    registered: "Registered | None" = None


class Registered(msgspec.Struct, frozen=True, kw_only=True):
    """What Prefect 1 knows of a flow, from when it was registered.

    Attributes:
        version: How often it was registered.
        project_name: The project that it is in.
        core_version: The Prefect that it was registered with.
        serialized_flow: The flow's graph.
        storage: Where its code is.
        run_config: How it is to be run.
        archived: Whether a later version took its place, or someone archived it.
    """

    version: int | None = None
    project_name: str | None = None
    core_version: str | None = None
    settings: Mapping[str, Any] = {}
    serialized_flow: Any = None
    storage: Any = None
    run_config: Any = None
    archived: bool = False


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
        form: What it was written as, such as ``json``; ``value`` where the location is the result
            itself, as JSON; None where nobody says it, as in Prefect 1.
        storage: What keeps it if that is not this machine's file system.
        children: Of the parent of mapped task runs, whose result is the list of theirs: how many
            there are to be.
        task_run_id: Whose it is, where many were asked for.
    """

    location: str | None = None
    form: str | None = None
    storage: str | None = None
    children: int | None = None
    task_run_id: str | None = None


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


class Agent(msgspec.Struct, frozen=True, kw_only=True):
    """A process that takes runs from Prefect 1 and starts them.

    Attributes:
        labels: A run must have none but these to be taken; one without labels is taken by agents
            without labels.
        last_queried: When it last asked for runs, by the server's clock.
    """

    id: str
    name: str
    labels: tuple[str, ...] = ()
    last_queried: Instant | None = None


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
            f"{shown} is not a {noun} id; an id is a UUID, as Prefect's pages and its command line "
            "show it"
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
    if isinstance(value, bool) or not 0 <= seconds < float("inf") or (seconds == 0 and not zero):
        least = "from 0 on" if zero else "above 0"
        raise ValueError(f"{name}={value!r} is not a time; pass a timedelta, or seconds {least}")
    return seconds
