"""`late_starts`: which runs are late, and the reason that the poll finds."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from rxflow import (
    FlowRun,
    State,
    StateType,
)
from rxflow._models.entities import Agent, BackendName, Deployment, Worker, WorkPool
from rxflow._protocol.pages import Page
from rxflow._protocol.queries import (
    AgentsQuery,
    DeploymentQuery,
    Query,
    WorkersQuery,
    WorkPoolQuery,
)
from rxflow._watching.late_starts import GRACE, late_by, read_late_reason

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def second(seconds: float) -> datetime:
    """Return the server's time at a second."""
    return NOON + timedelta(seconds=seconds)


def run_in(
    state_type: str | None,
    name: str = "",
    *,
    since: float = 0,
    due: float | None = None,
    expected: float | None = None,
    version: int | None = None,
    **fields: Any,
) -> FlowRun:
    """Make the row of a run in a state since a second; a state of Prefect 1 has a version."""
    state = None
    if state_type is not None:
        state = State(
            id="state",
            type=state_type,
            name=name or state_type.title(),
            timestamp=second(since),
            version=version,
        )
    return FlowRun(
        id="run",
        name="amber-fox",
        created=NOON,
        updated=NOON,
        state=state,
        next_scheduled_start_time=None if due is None else second(due),
        expected_start_time=None if expected is None else second(expected),
        **fields,
    )


# -- which runs are late ------------------------------------------------------------------------


def test_grace_is_that_of_the_server() -> None:
    """A run is late 15 s past its start time, as on the server."""
    assert timedelta(seconds=15) == GRACE


@pytest.mark.parametrize("state_type", [*StateType, "NEW_IN_PREFECT_4", None], ids=str)
def test_only_a_run_that_has_not_started_can_be_late(state_type: str | None) -> None:
    """Whatever its times, only a run in SCHEDULED or PENDING is late."""
    late = late_by(run_in(state_type, due=0), second(1e6))
    assert (late is not None) is (state_type in {"SCHEDULED", "PENDING"})


LATENESS: dict[str, tuple[FlowRun, float, float | None]] = {
    # the run, the server's time, how many seconds it is late
    "due just now": (run_in("SCHEDULED", due=100), 100, None),
    "within the grace": (run_in("SCHEDULED", due=100), 114.9, None),
    "at the end of the grace": (run_in("SCHEDULED", due=100), 115, 15),
    "past the grace": (run_in("SCHEDULED", due=100), 160, 60),
    "named Late": (run_in("SCHEDULED", "Late", since=115, due=100), 160, 60),
    "scheduled for later": (run_in("SCHEDULED", due=5000), 160, None),
    "scheduled for later than expected": (
        run_in("SCHEDULED", due=5000, expected=0),
        160,
        None,
    ),
    "awaiting its next attempt": (
        run_in("SCHEDULED", "AwaitingRetry", since=90, due=200, expected=0),
        160,
        None,
    ),
    "its next attempt is overdue": (
        run_in("SCHEDULED", "AwaitingRetry", since=90, due=120, expected=0),
        160,
        40,
    ),
    "due by its expected start time": (run_in("SCHEDULED", expected=100), 160, 60),
    "expected later": (run_in("SCHEDULED", expected=150), 160, None),
    "due when it was scheduled": (run_in("SCHEDULED", since=100), 160, 60),
    "scheduled just now": (run_in("SCHEDULED", since=150), 160, None),
    "picked up just now": (run_in("PENDING", since=150, due=0), 160, None),
    "picked up long ago": (run_in("PENDING", since=100, due=0), 160, 60),
    "picked up before its time": (run_in("PENDING", since=0, due=100), 160, 60),
    "picked up, never scheduled": (run_in("PENDING", since=100), 160, 60),
    "resumed just now": (
        run_in("SCHEDULED", "Resume", version=3, since=150, expected=0),
        160,
        None,
    ),
    "resumed long ago": (run_in("SCHEDULED", "Resume", version=3, since=100, expected=0), 160, 60),
    "waiting for a slot": (
        run_in("SCHEDULED", "AwaitingConcurrencySlot", since=150, due=180, expected=100),
        160,
        60,
    ),
    "queued": (run_in("SCHEDULED", "Queued", version=3, since=150, due=180, expected=100), 160, 60),
    "queued, without an expected start time": (
        run_in("SCHEDULED", "Queued", version=3, since=100, due=180),
        160,
        60,
    ),
    "queued, and expected later": (
        run_in("SCHEDULED", "Queued", version=3, since=100, due=120, expected=150),
        160,
        None,
    ),
    "no state": (run_in(None, due=0), 160, None),
}


@pytest.mark.parametrize(("run", "now", "seconds"), LATENESS.values(), ids=LATENESS)
def test_lateness_counts_from_start_time(run: FlowRun, now: float, seconds: float | None) -> None:
    """Lateness counts from the scheduled time, or from the pick-up if that is later."""
    late = late_by(run, second(now))
    assert late == (None if seconds is None else timedelta(seconds=seconds))


# -- reasons on Prefect 3 -----------------------------------------------------------------------


class FakeRows(msgspec.Struct, frozen=True, kw_only=True):
    """The rows on a server."""

    deployment: Deployment | None = None
    pool: WorkPool | None = None
    workers: tuple[Worker, ...] = ()
    agents: tuple[Agent, ...] = ()
    time: datetime | None = None

    def reply(self, query: Query) -> Page[Any]:
        """Return the page for a query; what is not there is an empty page."""
        match query:
            case DeploymentQuery("nightly-id"):
                return Page(() if self.deployment is None else (self.deployment,))
            case WorkPoolQuery("gpu"):
                return Page(() if self.pool is None else (self.pool,))
            case WorkersQuery("gpu"):
                return Page(self.workers)
            case AgentsQuery(0):  # one at a time
                return Page(self.agents[:1], self.time, next_query=AgentsQuery(1))
            case AgentsQuery(1):
                return Page(self.agents[1:], self.time)
            case _:
                pytest.fail(f"the reason does not depend on {query}")


def deployment(**fields: Any) -> Deployment:
    """Make the run's deployment."""
    return Deployment(id="nightly-id", name="nightly", flow_id="flow", **fields)


def pool(**fields: Any) -> WorkPool:
    """Make the run's work pool."""
    return WorkPool(**{"name": "gpu", "status": "READY", **fields})


ONLINE = Worker(name="w1", status="ONLINE")
OFFLINE = Worker(name="w2", status="OFFLINE")
LATE = run_in("SCHEDULED", "Late")
DEPLOYED = run_in("SCHEDULED", "Late", deployment_id="nightly-id")
POOLED = run_in("SCHEDULED", "Late", deployment_id="nightly-id", work_pool_name="gpu")
UNDEPLOYED = run_in("SCHEDULED", "Late", work_pool_name="gpu")
SLOT = run_in("SCHEDULED", "AwaitingConcurrencySlot", work_pool_name="gpu")
SERVED_SLOT = run_in("SCHEDULED", "AwaitingConcurrencySlot", deployment_id="nightly-id")
LONE_SLOT = run_in("SCHEDULED", "AwaitingConcurrencySlot")
PICKED_UP = run_in("PENDING", deployment_id="nightly-id", work_pool_name="gpu")
SERVED_PICKED_UP = run_in("PENDING", deployment_id="nightly-id")

NOT_PICKED_UP = "a worker of its work pool 'gpu' is online and has not picked it up yet"
SLOW = "a worker of its work pool 'gpu' is online and has picked it up, but not started it yet"
SLOT_FREE = "it waits for a free slot under a concurrency limit"

READY = FakeRows(deployment=deployment(), pool=pool(), workers=(OFFLINE, ONLINE))

REASONS: dict[str, tuple[FlowRun, FakeRows, str]] = {
    "deployment paused": (
        POOLED,
        FakeRows(deployment=deployment(paused=True), pool=pool(), workers=(ONLINE,)),
        "its deployment 'nightly' is paused",
    ),
    "deployment paused, no pool": (
        DEPLOYED,
        FakeRows(deployment=deployment(paused=True)),
        "its deployment 'nightly' is paused",
    ),
    "neither deployment nor pool": (
        LATE,
        FakeRows(),
        "it has no work pool, so only a process that runs it by its id will start it",
    ),
    "deployment deleted, no pool": (
        DEPLOYED,
        FakeRows(),
        "it has no work pool, so only a process that runs it by its id will start it",
    ),
    "not served": (
        DEPLOYED,
        FakeRows(deployment=deployment(status="NOT_READY")),
        "no process serves its deployment 'nightly'",
    ),
    "not served, as far as is known": (
        DEPLOYED,
        FakeRows(deployment=deployment()),
        "no process serves its deployment 'nightly'",
    ),
    "served": (
        DEPLOYED,
        FakeRows(deployment=deployment(status="READY")),
        "the process that serves its deployment 'nightly' has not picked it up yet",
    ),
    "served, and picked up": (
        SERVED_PICKED_UP,
        FakeRows(deployment=deployment(status="READY")),
        "the process that serves its deployment 'nightly' has picked it up, but not started it yet",
    ),
    "pool deleted": (
        POOLED,
        FakeRows(deployment=deployment()),
        "its work pool 'gpu' does not exist any more",
    ),
    "pool paused": (
        POOLED,
        msgspec.structs.replace(READY, pool=pool(is_paused=True)),
        "its work pool 'gpu' is paused",
    ),
    "pool paused, by its status": (
        POOLED,
        msgspec.structs.replace(READY, pool=pool(status="PAUSED")),
        "its work pool 'gpu' is paused",
    ),
    "no worker": (
        POOLED,
        msgspec.structs.replace(READY, pool=pool(status="NOT_READY"), workers=()),
        "no worker of its work pool 'gpu' is online",
    ),
    "no worker online": (
        POOLED,
        msgspec.structs.replace(READY, workers=(OFFLINE, OFFLINE)),
        "no worker of its work pool 'gpu' is online",
    ),
    "pool not ready": (
        POOLED,
        msgspec.structs.replace(READY, pool=pool(status="NOT_READY")),
        "its work pool 'gpu' is not ready",
    ),
    "concurrency slot": (SLOT, READY, SLOT_FREE),
    "concurrency slot, served": (
        SERVED_SLOT,
        FakeRows(deployment=deployment(status="READY")),
        SLOT_FREE,
    ),
    "concurrency slot, not served": (
        SERVED_SLOT,
        FakeRows(deployment=deployment(status="NOT_READY")),
        SLOT_FREE,
    ),
    "concurrency slot, no worker": (
        SLOT,
        msgspec.structs.replace(READY, workers=()),
        SLOT_FREE,
    ),
    "concurrency slot, neither deployment nor pool": (LONE_SLOT, FakeRows(), SLOT_FREE),
    "concurrency slot, deployment paused": (
        SERVED_SLOT,
        FakeRows(deployment=deployment(paused=True)),
        "its deployment 'nightly' is paused",
    ),
    "the pool has a limit": (
        POOLED,
        msgspec.structs.replace(READY, pool=pool(concurrency_limit=4)),
        f"{NOT_PICKED_UP}; the pool runs at most 4 at a time",
    ),
    "picked up": (PICKED_UP, READY, SLOW),
    "picked up, and the pool has a limit": (
        PICKED_UP,
        msgspec.structs.replace(READY, pool=pool(concurrency_limit=4)),
        f"{SLOW}; the pool runs at most 4 at a time",
    ),
    "not picked up yet": (
        POOLED,
        READY,
        NOT_PICKED_UP,
    ),
    "not picked up yet, deployment deleted": (
        POOLED,
        msgspec.structs.replace(READY, deployment=None),
        NOT_PICKED_UP,
    ),
    "not picked up yet, no deployment": (
        UNDEPLOYED,
        msgspec.structs.replace(READY, deployment=None),
        NOT_PICKED_UP,
    ),
}


def read_reason(
    run: FlowRun, server: FakeRows, backend: BackendName = BackendName.PREFECT_3
) -> tuple[str, list[Query]]:
    """Run the poll against some rows; return the reason and the queries sent."""
    poll = read_late_reason(backend, run, second(60))
    sent: list[Query] = []
    try:
        query = next(poll)
        while True:
            sent.append(query)
            query = poll.send(server.reply(query))
    except StopIteration as end:
        return str(end.value), sent


@pytest.mark.parametrize(("run", "server", "reason"), REASONS.values(), ids=REASONS)
def test_late_reason_on_prefect_3(run: FlowRun, server: FakeRows, reason: str) -> None:
    """The reason is the first obstacle on the way from the deployment to the workers."""
    assert read_reason(run, server)[0] == reason


QUERIES_SENT: dict[str, tuple[FlowRun, FakeRows, list[Query]]] = {
    "nothing to read_reason about": (LATE, READY, []),
    "a deployment alone": (DEPLOYED, READY, [DeploymentQuery("nightly-id")]),
    "a paused deployment": (
        POOLED,
        msgspec.structs.replace(READY, deployment=deployment(paused=True)),
        [DeploymentQuery("nightly-id")],
    ),
    "a deleted pool": (
        UNDEPLOYED,
        FakeRows(),
        [WorkPoolQuery("gpu")],
    ),
    "a concurrency slot": (SLOT, READY, []),
    "a concurrency slot of a deployment": (
        SERVED_SLOT,
        READY,
        [DeploymentQuery("nightly-id")],
    ),
    "a deployment, a pool and its workers": (
        POOLED,
        READY,
        [DeploymentQuery("nightly-id"), WorkPoolQuery("gpu"), WorkersQuery("gpu")],
    ),
}


@pytest.mark.parametrize(("run", "server", "sent"), QUERIES_SENT.values(), ids=QUERIES_SENT)
def test_queries_end_with_the_reason(run: FlowRun, server: FakeRows, sent: list[Query]) -> None:
    """No query is sent after the one that has the reason."""
    assert read_reason(run, server)[1] == sent


# -- reasons on Prefect 1 -----------------------------------------------------------------------


def agent(name: str, *labels: str, ago: float | None = 10) -> Agent:
    """Make an agent that queried for runs some seconds before second 60, or never."""
    queried = None if ago is None else second(60 - ago)
    return Agent(id=f"id of {name}", name=name, labels=labels, last_queried=queried)


LABELLED = run_in("SCHEDULED", "Scheduled", version=2, tags=("gpu",))
UNLABELLED = run_in("SCHEDULED", "Scheduled", version=2)
QUEUED = run_in("SCHEDULED", "Queued", version=2, tags=("gpu",))
SUBMITTED = run_in("PENDING", "Submitted", version=2, tags=("gpu",))
PENDING = run_in("PENDING", "Pending", version=2, tags=("gpu",))

BUSY = "agent 'a' has matching labels and has not picked it up yet"
UNHEALTHY = (
    "agent 'a' has matching labels, but has not queried for runs lately; "
    "restart it, or start one with label 'gpu'"
)

OF_AGENTS: dict[str, tuple[FlowRun, FakeRows, str]] = {
    "no agent": (LABELLED, FakeRows(), "no agent is healthy; start one with label 'gpu'"),
    "no agent, no labels": (
        UNLABELLED,
        FakeRows(),
        "no agent is healthy; start one without labels",
    ),
    "no healthy agent": (
        LABELLED,
        FakeRows(agents=(agent("a", ago=600), agent("b", ago=None))),
        "no agent is healthy; start one with label 'gpu'",
    ),
    "no agent with its labels": (
        LABELLED,
        FakeRows(agents=(agent("a"), agent("b", "cpu"))),
        "no agent has matching labels; start one with label 'gpu'",
    ),
    "no agent without labels": (
        UNLABELLED,
        FakeRows(agents=(agent("a", "gpu"),)),
        "no agent has matching labels; start one without labels",
    ),
    "one unhealthy": (
        LABELLED,
        FakeRows(agents=(agent("a", "gpu", ago=600), agent("b"))),
        UNHEALTHY,
    ),
    "one that never queried": (
        LABELLED,
        FakeRows(agents=(agent("a", "gpu", ago=None),)),
        UNHEALTHY,
    ),
    "several unhealthy": (
        LABELLED,
        FakeRows(agents=(agent("a", "gpu", ago=600), agent("b", "gpu", ago=None))),
        (
            "several agents have matching labels, but none has queried for runs lately; "
            "restart one, or start one with label 'gpu'"
        ),
    ),
    "one healthy": (LABELLED, FakeRows(agents=(agent("b"), agent("a", "gpu", "cpu"))), BUSY),
    "one healthy, by the server's time": (
        LABELLED,
        FakeRows(agents=(agent("a", "gpu", ago=600),), time=second(-500)),
        BUSY,
    ),
    "one unhealthy, by the server's time": (
        LABELLED,
        FakeRows(agents=(agent("a", "gpu"),), time=second(600)),
        UNHEALTHY,
    ),
    "one without a name": (
        LABELLED,
        FakeRows(agents=(msgspec.structs.replace(agent("a", "gpu"), name=""),)),
        "agent id of a has matching labels and has not picked it up yet",
    ),
    "several healthy": (
        LABELLED,
        FakeRows(agents=(agent("a", "gpu"), agent("b", "gpu"))),
        "several healthy agents have matching labels and none has picked it up yet",
    ),
    "pending": (PENDING, FakeRows(agents=(agent("a", "gpu"),)), BUSY),
    "queued": (QUEUED, FakeRows(), SLOT_FREE),
    "submitted": (SUBMITTED, FakeRows(), "an agent has picked it up, but not started it yet"),
}


@pytest.mark.parametrize(("run", "server", "reason"), OF_AGENTS.values(), ids=OF_AGENTS)
def test_late_reason_on_prefect_1(run: FlowRun, server: FakeRows, reason: str) -> None:
    """The reason follows from the run's state, or else from the agents and their labels."""
    text, sent = read_reason(run, server, BackendName.PREFECT_1)
    by_state = run is QUEUED or run is SUBMITTED
    assert (text, sent) == (reason, [] if by_state else [AgentsQuery(), AgentsQuery(1)])
