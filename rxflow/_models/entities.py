"""The nouns: runs, states, task runs, pools and workers as plain frozen data.

Nothing here knows a server. A backend decodes its answers into these structs, the events carry
them and the fold puts them together. Every datetime is aware; ids are lower-case strings.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import msgspec

from rxflow._models.states import State
from rxflow._models.times import Instant


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
    registered: "FlowRegistration | None" = None


class FlowRegistration(msgspec.Struct, frozen=True, kw_only=True):
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
