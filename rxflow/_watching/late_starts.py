"""Which runs are late, and the poll that finds what a late run waits for.

On Prefect 3 that is its deployment, its work pool or a worker; on Prefect 1 an agent. A run that is
scheduled for later is not late, nor is one that waits for its next attempt. When the poll is sent,
and how often, is decided in `run_reader`.
"""

from datetime import datetime, timedelta
from typing import assert_never

from rxflow._models.entities import Agent, BackendName, Deployment, FlowRun, Worker, WorkPool
from rxflow._models.states import State, StateType
from rxflow._protocol.pages import Page, Poll, read_all_pages
from rxflow._protocol.queries import AgentsQuery, DeploymentQuery, WorkersQuery, WorkPoolQuery
from rxflow._watching.compatible_agents import (
    HEALTHY_FOR,
    Candidates,
    find_candidates,
    is_paused,
    labels_phrase,
)

GRACE = timedelta(seconds=15)
"""How far past its start time a run is late: when Prefect 3.8.8 itself names its state Late."""

REASON_QUERIES = (AgentsQuery, DeploymentQuery, WorkPoolQuery, WorkersQuery)
"""The queries that a watch sends only to find the reason."""

_WAITS_FOR_SLOT = "it waits for a free slot under a concurrency limit"

_NOT_STARTED = frozenset({StateType.SCHEDULED, StateType.PENDING})


def late_by(run: FlowRun, server_time: datetime) -> timedelta | None:
    """Return how long ago a late run should have started.

    Args:
        run: The run's row.
        server_time: The time by the server's clock.

    Returns:
        None unless the run has not started and should have at least `GRACE` ago.
    """
    if run.state is None or run.state.type not in _NOT_STARTED:
        return None
    waited = server_time - _start_time(run, run.state)
    return waited if waited >= GRACE else None


def _start_time(run: FlowRun, state: State) -> datetime:
    """When the run should have started."""
    if state.is_queued:  # its own time is that of the next try to get a slot
        return run.expected_start_time or state.timestamp
    scheduled = run.next_scheduled_start_time
    if scheduled is not None and state.type == StateType.SCHEDULED:
        return scheduled
    # A run that was picked up but is slow to start is timed from when it was picked up, and a
    # resumed run from when it was resumed.
    return max(scheduled or run.expected_start_time or state.timestamp, state.timestamp)


def read_late_reason(backend: BackendName, run: FlowRun, server_time: datetime) -> Poll[str]:
    """Find what a late run waits for.

    Args:
        backend: The server's kind.
        run: The run's row.
        server_time: The time by the server's clock.

    Returns:
        A clause such as "no worker of its work pool 'gpu' is online".
    """
    match backend:
        case BackendName.PREFECT_3:
            return (yield from _prefect3_reason(run))
        case BackendName.PREFECT_1:
            return (yield from _prefect1_reason(run, server_time))
        case _:
            assert_never(backend)


# -- Prefect 3 ----------------------------------------------------------------------------------


def _prefect3_reason(run: FlowRun) -> Poll[str]:
    deployment: Deployment | None = None
    if run.deployment_id is not None:
        found: Page[Deployment] = yield DeploymentQuery(run.deployment_id)
        deployment = found.rows[0] if found.rows else None
    if deployment is not None and deployment.paused:
        return f"its deployment {deployment.name!r} is paused"
    if _is_queued(run):
        return _WAITS_FOR_SLOT
    if run.work_pool_name is None:
        return _reason_without_pool(run, deployment)
    pools: Page[WorkPool] = yield WorkPoolQuery(run.work_pool_name)
    if not pools.rows:
        return f"its work pool {run.work_pool_name!r} does not exist any more"
    workers: Page[Worker] = yield WorkersQuery(run.work_pool_name)
    return _reason_in_pool(run, pools.rows[0], workers.rows)


def _reason_without_pool(run: FlowRun, deployment: Deployment | None) -> str:
    if deployment is None:
        return "it has no work pool, so only a process that runs it by its id will start it"
    if deployment.status == "READY":
        return f"the process that serves its deployment {deployment.name!r} {_progress(run)}"
    return f"no process serves its deployment {deployment.name!r}"


def _reason_in_pool(run: FlowRun, pool: WorkPool, workers: tuple[Worker, ...]) -> str:
    if is_paused(pool):
        return f"its work pool {pool.name!r} is paused"
    if not any(worker.is_online for worker in workers):
        return f"no worker of its work pool {pool.name!r} is online"
    if pool.status == "NOT_READY":
        return f"its work pool {pool.name!r} is not ready"
    limit = pool.concurrency_limit
    limited = f"; the pool runs at most {limit} at a time" if limit is not None else ""
    return f"a worker of its work pool {pool.name!r} is online and {_progress(run)}{limited}"


# -- Prefect 1 ----------------------------------------------------------------------------------


def _prefect1_reason(run: FlowRun, server_time: datetime) -> Poll[str]:
    if _is_queued(run):
        return _WAITS_FOR_SLOT
    if run.state is not None and run.state.is_submitted:
        return f"an agent {_progress(run)}"
    page: Page[Agent] = yield from read_all_pages(AgentsQuery())
    now = page.server_time or server_time
    start = f"start one {labels_phrase(run.tags)}"
    # No times and no counts: a reason that differs from the last one is a notice of its own.
    match find_candidates(page.rows, run.tags, HEALTHY_FOR, now):
        case Candidates(healthy=(agent,)):
            return f"agent {_agent_name(agent)} has matching labels and has not picked it up yet"
        case Candidates(healthy=(_, *_)):
            return "several healthy agents have matching labels and none has picked it up yet"
        case Candidates(unhealthy=(agent,)):
            return (
                f"agent {_agent_name(agent)} has matching labels, but has not queried for runs "
                f"lately; restart it, or {start}"
            )
        case Candidates(unhealthy=(_, *_)):
            return (
                "several agents have matching labels, but none has queried for runs lately; "
                f"restart one, or {start}"
            )
        case Candidates(others=0):
            return f"no agent is healthy; {start}"
        case _:
            return f"no agent has matching labels; {start}"


def _agent_name(agent: Agent) -> str:
    return repr(agent.name) if agent.name else agent.id


# -- both ---------------------------------------------------------------------------------------


def _is_queued(run: FlowRun) -> bool:
    return run.state is not None and bool(run.state.is_queued)


def _progress(run: FlowRun) -> str:
    picked_up = run.state is not None and run.state.type == StateType.PENDING
    return "has picked it up, but not started it yet" if picked_up else "has not picked it up yet"
