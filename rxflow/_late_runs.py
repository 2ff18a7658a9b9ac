"""Why a run that should have started has not: a poll that asks its deployment, pool and workers.

A run that is merely scheduled for later is never late, nor is one that waits for its next attempt.
"""

from datetime import datetime, timedelta

from rxflow._model import BackendName, Deployment, FlowRun, StateType, Worker, WorkPool
from rxflow._polling import (
    DeploymentQuery,
    Page,
    Poll,
    WorkersQuery,
    WorkPoolQuery,
)

GRACE = timedelta(seconds=15)
"""How far past its time a run is late: when Prefect 3.8.8 itself names a run's state Late."""

_NOT_STARTED = frozenset({StateType.SCHEDULED, StateType.PENDING})


def late_by(run: FlowRun, server_time: datetime) -> timedelta | None:
    """How long a run has been due, if it is late.

    Args:
        run: The run's row.
        server_time: The time by the server's clock.

    Returns:
        None unless the run has not started and was due at least `GRACE` ago.
    """
    if run.state is None or run.state.type not in _NOT_STARTED:
        return None
    due = run.next_scheduled_start_time or run.expected_start_time or run.state.timestamp
    # A run that was taken up and is slow to start counts from when it was taken up.
    due = max(due, run.state.timestamp) if run.state.type == StateType.PENDING else due
    waited = server_time - due
    return waited if waited >= GRACE else None


def reason_to_wait(backend: BackendName, run: FlowRun, server_time: datetime) -> Poll[str]:
    """Find out what a late run waits for.

    Args:
        backend: What the server is.
        run: The run's row.
        server_time: The time by the server's clock.

    Returns:
        A clause such as "no worker of its work pool 'gpu' is online".
    """
    deployment: Deployment | None = None
    if run.deployment_id is not None:
        found: Page[Deployment] = yield DeploymentQuery(run.deployment_id)
        deployment = found.rows[0] if found.rows else None
    if deployment is not None and deployment.paused:
        return f"its deployment {deployment.name!r} is paused"
    if run.state is not None and run.state.name == "AwaitingConcurrencySlot":
        return "it waits for a free slot under a concurrency limit"
    if run.work_pool_name is None:
        return _without_pool(run, deployment)
    pools: Page[WorkPool] = yield WorkPoolQuery(run.work_pool_name)
    if not pools.rows:
        return f"its work pool {run.work_pool_name!r} does not exist any more"
    workers: Page[Worker] = yield WorkersQuery(run.work_pool_name)
    return _in_pool(run, pools.rows[0], workers.rows)


def _without_pool(run: FlowRun, deployment: Deployment | None) -> str:
    if deployment is None:
        return "it has no work pool, so only a process that runs it by its id will start it"
    if deployment.status == "READY":
        return f"the process that serves its deployment {deployment.name!r} {_progress(run)}"
    return f"no process serves its deployment {deployment.name!r}"


def _in_pool(run: FlowRun, pool: WorkPool, workers: tuple[Worker, ...]) -> str:
    if pool.is_paused or pool.status == "PAUSED":
        return f"its work pool {pool.name!r} is paused"
    if not any(worker.is_online for worker in workers):
        return f"no worker of its work pool {pool.name!r} is online"
    if pool.status == "NOT_READY":
        return f"its work pool {pool.name!r} is not ready"
    limit = pool.concurrency_limit
    limited = f"; the pool runs at most {limit} at a time" if limit is not None else ""
    return f"a worker of its work pool {pool.name!r} is online and {_progress(run)}{limited}"


def _progress(run: FlowRun) -> str:
    taken = run.state is not None and run.state.type == StateType.PENDING
    return "has taken it, but not started it yet" if taken else "has not taken it yet"
