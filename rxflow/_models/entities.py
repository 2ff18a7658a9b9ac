"""What a server stores: runs, task runs, flows, deployments, pools, workers and agents.

The structs are the same for all servers: backends decode responses into them, events contain them
and the fold joins them. Every datetime is aware; ids are lower-case strings. A field that a server
does not have keeps its default.

A row that holds mappings is hashed by its id and by what changes with the row, since mappings have
no hash; equal rows have equal hashes.
"""

from collections import Counter
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import msgspec

from rxflow._models.states import TERMINAL_TYPES, State
from rxflow._models.times import Instant


class BackendName(StrEnum):
    """The supported kinds of server."""

    PREFECT_3 = "prefect3"
    """Prefect 3's REST API."""
    PREFECT_1 = "prefect1"
    """The GraphQL API of Prefect Server, and of Prefect Cloud 1."""


class Server(msgspec.Struct, frozen=True, kw_only=True):
    """The server itself.

    Attributes:
        backend: Its kind.
        version: Its version, if it reports one.
    """

    backend: BackendName
    version: str | None = None


class ChangeReply(msgspec.Struct, frozen=True, kw_only=True):
    """The reply to a change of a flow run.

    Attributes:
        flow_run_id: The run, if it was created.
        refusal: Why the server did not make the change, in its own words; None if it did.
    """

    flow_run_id: str | None = None
    refusal: str | None = None


class FlowRun(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the server's table of flow runs.

    Estimates, which the server computes anew for each response, are left out: rows are equal as
    long as nothing has changed.

    Attributes:
        state: The state with the id ``state_id``; None for a run that has none yet.
        tags: The run's tags, in the server's order; on Prefect 1 its labels.
        labels: The run's labels, as keys and values; Prefect 1's have no values and are tags here.
        parameters: The arguments of the flow.
        context: The run's context, on Prefect 1.
        run_config: The run's run config, on Prefect 1.
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

    def __hash__(self) -> int:
        return hash((self.id, self.updated, self.state_id))

    @property
    def is_terminal(self) -> bool:
        """Whether the run is in a terminal state."""
        return self.state is not None and bool(self.state.is_terminal)


class TaskRun(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the server's table of task runs.

    Attributes:
        task_key: The key of its task: Prefect 3's task key, Prefect 1's slug.
        dynamic_key: Distinguishes the runs of one task.
        task_id: The id of its task, on servers where tasks have one, as on Prefect 1.
        map_index: The number of the run among those of its task, -1 for the only one, on servers
            that number them, as Prefect 1 does.
        state: The state with the id ``state_id``. A server may write the row before the state: the
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
        return self.state is not None and bool(self.state.is_terminal)


class TaskRunState(msgspec.Struct, frozen=True):
    """A state that a task run was in."""

    task_run_id: str
    state: State


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """A flow run at one moment: the value that `rxflow.fold` builds from events.

    Attributes:
        run: The run's row; its ``state`` is the latest that was emitted.
        states: The states that were emitted, by time.
        task_runs: The task runs that were emitted, by creation; empty unless they are streamed.
    """

    run: FlowRun
    states: tuple[State, ...] = ()
    task_runs: tuple[TaskRun, ...] = ()

    @property
    def state(self) -> State | None:
        """The run's state; None until one was emitted."""
        return self.run.state

    @property
    def task_run_counts(self) -> Counter[str]:
        """How many of the task runs are in a state of each type; types without any are left out."""
        return Counter(row.state.type for row in self.task_runs if row.state is not None)

    @property
    def progress(self) -> float | None:
        """The share of the task runs that are in a terminal state, from 0 to 1; None without any.

        A server has only the task runs that have begun, or were submitted, so the share falls when
        others are.
        """
        if not self.task_runs:
            return None
        counts = self.task_run_counts
        return sum(counts[ended] for ended in TERMINAL_TYPES) / len(self.task_runs)


class Flow(msgspec.Struct, frozen=True, kw_only=True):
    """A flow.

    Attributes:
        tags: The flow's tags; on Prefect 1 the labels of its flow group.
        registered: The flow's registration, on Prefect 1.
    """

    id: str
    name: str
    created: Instant
    updated: Instant
    tags: tuple[str, ...] = ()
    labels: Mapping[str, Any] = {}
    registered: "FlowRegistration | None" = None

    def __hash__(self) -> int:
        return hash((self.id, self.updated))


class FlowRegistration(msgspec.Struct, frozen=True, kw_only=True):
    """The registration of a flow with Prefect 1.

    Attributes:
        version: How often the flow was registered.
        project_name: The project of the flow.
        core_version: The version of Prefect that registered it.
        serialized_flow: The flow's graph.
        storage: The location of its code.
        run_config: The run config of its runs.
        archived: Whether the version was replaced by a later one or archived by a user.
    """

    version: int | None = None
    project_name: str | None = None
    core_version: str | None = None
    settings: Mapping[str, Any] = {}
    serialized_flow: Any = None
    storage: Any = None
    run_config: Any = None
    archived: bool = False

    def __hash__(self) -> int:
        return hash((self.version, self.project_name, self.core_version, self.archived))


class Deployment(msgspec.Struct, frozen=True, kw_only=True):
    """The deployment that a run was created from.

    Attributes:
        status: ``READY`` or ``NOT_READY``: whether a worker has recently polled for its runs.
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

    def __hash__(self) -> int:
        return hash((self.id, self.version))


class StoredResult(msgspec.Struct, frozen=True, kw_only=True):
    """The location of a task run's result; without a location it was not stored.

    Attributes:
        location: A path, or the key of the result in its storage.
        form: The format, such as ``json``; ``value`` if the location is the result itself, as
            JSON; None if the server does not store the format, as Prefect 1.
        storage: The storage, if it is not this machine's file system.
        children: For the parent of mapped task runs, whose result is the list of their results:
            how many there will be.
        task_run_id: The task run, in a page of many results.
    """

    location: str | None = None
    form: str | None = None
    storage: str | None = None
    children: int | None = None
    task_run_id: str | None = None


class WorkPool(msgspec.Struct, frozen=True, kw_only=True):
    """A pool of runs, which workers poll.

    Attributes:
        status: ``READY``, ``NOT_READY`` or ``PAUSED``.
    """

    name: str
    is_paused: bool = False
    status: str | None = None
    concurrency_limit: int | None = None


class Worker(msgspec.Struct, frozen=True, kw_only=True):
    """A process that polls a work pool for runs and starts them.

    Attributes:
        status: ``ONLINE`` or ``OFFLINE``.
    """

    name: str
    status: str | None = None
    last_heartbeat_time: Instant | None = None

    @property
    def is_online(self) -> bool:
        """Whether the server has recently received a heartbeat."""
        return self.status == "ONLINE"


class Agent(msgspec.Struct, frozen=True, kw_only=True):
    """A process that polls Prefect 1 for runs and starts them.

    Attributes:
        labels: The agent starts runs whose labels are all among these; runs without labels are
            started by agents without labels.
        last_queried: When it last polled, by the server's clock.
    """

    id: str
    name: str
    labels: tuple[str, ...] = ()
    last_queried: Instant | None = None
