"""Queries: what can be read from a server, in terms that all servers share; and two changes.

A query is data. A backend encodes it as a request, or returns an empty page at once if its server
does not support it. Rows are the structs of `rxflow._models`. A change is a query whose reply says
whether the server made it; sent again, it has no further effect.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

PAGE_LIMIT = 200
"""The most rows to query at once until a server names a lower limit: Prefect 3.8.8's default."""


class ServerQuery(msgspec.Struct, frozen=True):
    """The server itself: one `Server`."""


class RunQuery(msgspec.Struct, frozen=True):
    """A flow run: exactly one `FlowRun`."""

    flow_run_id: str


class RunFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which flow runs are meant: those that match every field that is set; an empty tuple is any.

    A run matches a field if it matches any of its values, but it must have all ``tags``. The fields
    of one thing are read as one: a run matches ``flow_ids`` and ``flow_names`` if it matches either
    of them, and so it is with the two for deployments and the two for states.

    Attributes:
        flow_run_ids: Only these.
        deployment_ids: Only runs of these deployments.
        deployment_names: The same by names: that of the flow, that of the deployment.
        flow_ids: Only runs of these flows.
        flow_names: The same by names.
        tags: Only runs with all these tags; on Prefect 1, labels.
        names: Only runs with one of these names.
        state_types: Only runs in states of these types.
        state_names: Only runs in states of these names.
        not_in_states: Only runs in a state of another name than these; in place of the other two.
        work_pools: Only runs in the work pools of these names.
        started_after: Only runs that started at this time or later, or are due then.
        parent_ids: Only runs that one of these flow runs started, as its subflows.
        top_level: Whether to leave out subflows, on servers that know them.
    """

    flow_run_ids: tuple[str, ...] = ()
    deployment_ids: tuple[str, ...] = ()
    deployment_names: tuple[tuple[str, str], ...] = ()
    flow_ids: tuple[str, ...] = ()
    flow_names: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    state_types: tuple[str, ...] = ()
    state_names: tuple[str, ...] = ()
    not_in_states: tuple[str, ...] = ()
    work_pools: tuple[str, ...] = ()
    started_after: datetime | None = None
    parent_ids: tuple[str, ...] = ()
    top_level: bool = False


class RunsQuery(msgspec.Struct, frozen=True, kw_only=True):
    """The flow runs that match a filter.

    Attributes:
        where: Which runs.
        without: Runs to leave out; no filter for some runs by their ids goes with it.
        after: Only runs whose expected start is at this time or later.
        before: Only runs whose expected start is at this time or earlier.
        newest_first: Whether runs are in descending order of their expected start, in which those
            of one time are in no order; else in an order without ties. Neither changes while they
            run.
        offset: How many runs to skip.
        limit: The most runs in the page.
    """

    where: RunFilter
    without: tuple[str, ...] = ()
    after: datetime | None = None
    before: datetime | None = None
    newest_first: bool = False
    offset: int = 0
    limit: int = PAGE_LIMIT


class StatesQuery(msgspec.Struct, frozen=True):
    """All states of a flow run, by time.

    Attributes:
        offset: How many states to skip, for pages after the first.
        limit: The most states in one page, on servers that page them.
    """

    flow_run_id: str
    offset: int = 0
    limit: int = PAGE_LIMIT


class LogsQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Log rows of some runs, by their timestamp; rows of equal timestamp are in no order.

    Attributes:
        after: Only rows of this time and later.
        before: Only rows of this time and earlier.
        level: Only rows of this level and above; 0 is all.
        descending: Whether the newest rows come first.
        offset: How many rows to skip.
        limit: The most rows in the page.
    """

    flow_run_ids: tuple[str, ...]
    after: datetime | None = None
    before: datetime | None = None
    level: int = 0
    descending: bool = False
    offset: int = 0
    limit: int = PAGE_LIMIT


class TaskRunsQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Task runs of some flow runs, in an order that does not change while they run.

    The newest task runs come first; on Prefect 3 by their ids, which hold the time of creation if
    they are version 7 UUIDs, as those of 3.8.8 are.

    Attributes:
        flow_run_ids: Whose task runs; an empty tuple is those of any, if `task_run_ids` are named.
        task_run_ids: Only these task runs; an empty tuple is all.
        unfinished: Whether to leave out task runs in a terminal state; a server may leave out those
            without a state, or with one that is not known here, too.
        task_key: Only runs of this task, where the server can filter by it; "" is any.
        map_index: Only runs with this map index, where the server has one; None is any.
    """

    flow_run_ids: tuple[str, ...]
    task_run_ids: tuple[str, ...] = ()
    unfinished: bool = False
    task_key: str = ""
    map_index: int | None = None
    offset: int = 0
    limit: int = PAGE_LIMIT


class TaskRunQuery(msgspec.Struct, frozen=True):
    """A task run: one `TaskRun`, or no row if it does not exist."""

    task_run_id: str


class TaskRunStatesQuery(msgspec.Struct, frozen=True):
    """All states of some task runs, those of each by time: one `TaskRunState` each.

    A server may send those of the first task run alone; the next query of the page is then for the
    others.

    Attributes:
        offset: How many states to skip, for pages after the first.
        limit: The most states in one page, on servers that page them.
    """

    task_run_ids: tuple[str, ...]
    offset: int = 0
    limit: int = PAGE_LIMIT


class ResultQuery(msgspec.Struct, frozen=True):
    """The location of a task run's result: one `StoredResult`, or no row without a task run."""

    task_run_id: str


class ResultsQuery(msgspec.Struct, frozen=True):
    """The locations of the results of mapped task runs: one `StoredResult` each, in any order.

    The page is empty on servers where mapped task runs have no parent.
    """

    task_run_ids: tuple[str, ...]


class FlowsQuery(msgspec.Struct, frozen=True):
    """The flows of a name, of a project, or of a group of versions, the newest first.

    Attributes:
        name: Only flows of this name; "" is any.
        project_name: Only flows of this project; "" is any, None is flows without a project.
        flow_group_id: Only versions of this flow; "" is any.
        flow_ids: Only these flows, at most as many as a page has rows; an empty tuple is any.
    """

    name: str = ""
    project_name: str | None = ""
    flow_group_id: str = ""
    flow_ids: tuple[str, ...] = ()


class FlowQuery(msgspec.Struct, frozen=True):
    """A flow: one `Flow`, or no row if it does not exist."""

    flow_id: str


class DeploymentQuery(msgspec.Struct, frozen=True):
    """A deployment: one `Deployment`, or no row if it does not exist."""

    deployment_id: str


class NamedDeploymentQuery(msgspec.Struct, frozen=True):
    """The deployment of a name: one `Deployment`, or no row if it does not exist."""

    flow_name: str
    name: str


class WorkPoolQuery(msgspec.Struct, frozen=True):
    """A work pool: one `WorkPool`, or no row if it does not exist."""

    name: str


class WorkPoolsQuery(msgspec.Struct, frozen=True):
    """All work pools; no rows on servers that have agents instead.

    Attributes:
        offset: How many work pools to skip, for pages after the first.
    """

    offset: int = 0


class WorkersQuery(msgspec.Struct, frozen=True):
    """The workers of a work pool; no rows if the pool does not exist."""

    work_pool_name: str


class AgentsQuery(msgspec.Struct, frozen=True):
    """All agents; no rows on servers that have workers instead.

    Attributes:
        offset: How many agents to skip, for pages after the first.
        limit: The most agents in one page, on servers that page them.
    """

    offset: int = 0
    limit: int = PAGE_LIMIT


class RunCreation(msgspec.Struct, frozen=True, kw_only=True):
    """Create a flow run that is due now: one `ChangeReply`, or no row without what it is made of.

    Attributes:
        source_id: The id of the deployment; on Prefect 1 of the flow.
        idempotency_key: Marks the run, so that the change sent again finds it.
        parameters: Arguments of the flow, in place of those that the deployment has.
        name: The run's name; "" for one that the server makes up.
        tags: Tags beside those of the deployment; on Prefect 1 labels in place of the flow's.
    """

    source_id: str
    idempotency_key: str
    parameters: Mapping[str, Any] = {}
    name: str = ""
    tags: tuple[str, ...] = ()


class RunCancellation(msgspec.Struct, frozen=True):
    """Cancel a flow run, which must exist: one `ChangeReply`."""

    flow_run_id: str


Query = (
    ServerQuery
    | RunQuery
    | RunsQuery
    | StatesQuery
    | LogsQuery
    | TaskRunsQuery
    | TaskRunQuery
    | TaskRunStatesQuery
    | ResultQuery
    | ResultsQuery
    | FlowsQuery
    | FlowQuery
    | DeploymentQuery
    | NamedDeploymentQuery
    | WorkPoolQuery
    | WorkPoolsQuery
    | WorkersQuery
    | AgentsQuery
    | RunCreation
    | RunCancellation
)

SUBJECTS: Mapping[type, str] = {
    ServerQuery: "the server's version",
    RunQuery: "a flow run",
    RunsQuery: "flow runs",
    StatesQuery: "the states of a flow run",
    LogsQuery: "log rows",
    TaskRunsQuery: "task runs",
    TaskRunQuery: "a task run",
    TaskRunStatesQuery: "the states of task runs",
    ResultQuery: "a task run's result",
    ResultsQuery: "task runs' results",
    FlowsQuery: "flows",
    FlowQuery: "a flow",
    DeploymentQuery: "a deployment",
    NamedDeploymentQuery: "a deployment",
    WorkPoolQuery: "a work pool",
    WorkPoolsQuery: "work pools",
    WorkersQuery: "workers",
    AgentsQuery: "agents",
    RunCreation: "a new flow run",
    RunCancellation: "the end of a flow run",
}
"""What each kind of query reads or changes, in words for messages."""


def subject_of(query: Query) -> str:
    """Return what a query reads or changes, in words for messages."""
    return SUBJECTS[type(query)]
