"""Asking: queries and their pages, how often to ask, and how patient to be when asking fails.

A *poll* is a generator that yields queries and is sent pages; what it learnt it keeps to itself
until the last page is there, so a poll that fails half way has changed nothing. Everything here
is told the time and never waits; the one source of chance is handed in.
"""

from datetime import datetime

import msgspec

PAGE_LIMIT = 200
"""Rows to ask for at once until a server names a lower limit: the default of Prefect 3.8.8."""


class ServerQuery(msgspec.Struct, frozen=True):
    """Who answers? One `Server`."""


class RunQuery(msgspec.Struct, frozen=True):
    """One flow run's row: exactly one `FlowRun`."""

    flow_run_id: str


class StatesQuery(msgspec.Struct, frozen=True):
    """All states that a flow run was ever in, by time.

    Attributes:
        offset: How many to leave out, for the rest of an answer.
        limit: How many in one answer, where there may be a rest.
    """

    flow_run_id: str
    offset: int = 0
    limit: int = PAGE_LIMIT


class LogsQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Log rows of some runs, by their timestamp; rows of one timestamp come in any order.

    Attributes:
        after: Only rows of this time and later.
        before: Only rows of this time and earlier.
        level: Only rows of this level and above; 0 is all.
        descending: Whether the newest come first.
        offset: How many rows to leave out, from the first on.
        limit: How many rows at the most.
    """

    flow_run_ids: tuple[str, ...]
    after: datetime | None = None
    before: datetime | None = None
    level: int = 0
    descending: bool = False
    offset: int = 0
    limit: int = PAGE_LIMIT


class TaskRunsQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Task runs of a flow run, in an order that does not change while they run.

    Attributes:
        task_run_ids: Only these; none are all.
        task_key: Only runs of this task, where the server can tell; "" is any.
        map_index: Only those with this map index, where the server numbers them; None is all.
    """

    flow_run_id: str
    task_run_ids: tuple[str, ...] = ()
    task_key: str = ""
    map_index: int | None = None
    offset: int = 0
    limit: int = PAGE_LIMIT


class TaskRunQuery(msgspec.Struct, frozen=True):
    """A task run: one `TaskRun`, or no row."""

    task_run_id: str


class TaskRunStatesQuery(msgspec.Struct, frozen=True):
    """All states that a task run was ever in, by time."""

    task_run_id: str


class ResultQuery(msgspec.Struct, frozen=True):
    """Where a task run's result is: one `StoredResult`, or no row for no such task run."""

    task_run_id: str


class ResultsQuery(msgspec.Struct, frozen=True):
    """Where the results of mapped task runs are: a `StoredResult` each, in any order.

    No rows where mapped task runs have no parent.
    """

    task_run_ids: tuple[str, ...]


class FlowsQuery(msgspec.Struct, frozen=True):
    """The flows of a name, of a project, or of a group of versions; the newest first.

    Attributes:
        name: Only flows of this name; "" is any.
        project_name: Only flows of this project; "" is any, None is no project.
        flow_group_id: Only versions of this flow; "" is any.
    """

    name: str = ""
    project_name: str | None = ""
    flow_group_id: str = ""


class FlowQuery(msgspec.Struct, frozen=True):
    """A flow: one `Flow`, or no row."""

    flow_id: str


class DeploymentQuery(msgspec.Struct, frozen=True):
    """A deployment: one `Deployment`, or no row."""

    deployment_id: str


class WorkPoolQuery(msgspec.Struct, frozen=True):
    """A work pool: one `WorkPool`, or no row."""

    name: str


class WorkPoolsQuery(msgspec.Struct, frozen=True):
    """All work pools; none where there are agents instead.

    Attributes:
        offset: How many to leave out, for the rest of an answer.
    """

    offset: int = 0


class WorkersQuery(msgspec.Struct, frozen=True):
    """The workers of a work pool; none where the pool does not exist."""

    work_pool_name: str


class AgentsQuery(msgspec.Struct, frozen=True):
    """All agents; none where there are workers instead.

    Attributes:
        offset: How many to leave out, for the rest of an answer.
        limit: How many in one answer, where there may be a rest.
    """

    offset: int = 0
    limit: int = PAGE_LIMIT


Query = (
    ServerQuery
    | RunQuery
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
    | WorkPoolQuery
    | WorkPoolsQuery
    | WorkersQuery
    | AgentsQuery
)
