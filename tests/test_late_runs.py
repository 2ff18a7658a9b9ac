"""Which runs are late, and what a late run waits for."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from rxflow import FlowRun, State, StateType
from rxflow._late_runs import GRACE, late_by, reason_to_wait
from rxflow._model import Deployment, Worker, WorkPool
from rxflow._polling import DeploymentQuery, Page, Query, WorkersQuery, WorkPoolQuery

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def second(seconds: float) -> datetime:
    """The server's time."""
    return NOON + timedelta(seconds=seconds)


def run_in(
    state_type: str | None,
    name: str = "",
    *,
    since: float = 0,
    due: float | None = None,
    expected: float | None = None,
    **fields: Any,
) -> FlowRun:
    """A run in a state since a second, and due at another."""
    state = None
    if state_type is not None:
        state = State(
            id="state", type=state_type, name=name or state_type.title(), timestamp=second(since)
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


def test_the_grace_is_that_of_the_server() -> None:
    """A run is late 15 s past its time, as on the server."""
    assert timedelta(seconds=15) == GRACE


@pytest.mark.parametrize("state_type", [*StateType, "NEW_IN_PREFECT_4", None], ids=str)
def test_only_a_run_that_has_not_started_can_be_late(state_type: str | None) -> None:
    """Whatever its times, a run is late in SCHEDULED and PENDING alone."""
    late = late_by(run_in(state_type, due=0), second(1e6))
    assert (late is not None) is (state_type in {"SCHEDULED", "PENDING"})


LATENESS: dict[str, tuple[FlowRun, float, float | None]] = {
    # the run, the server's time, by how many seconds it is late
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
    "due by what is expected": (run_in("SCHEDULED", expected=100), 160, 60),
    "expected later": (run_in("SCHEDULED", expected=150), 160, None),
    "due when it was scheduled": (run_in("SCHEDULED", since=100), 160, 60),
    "scheduled just now": (run_in("SCHEDULED", since=150), 160, None),
    "taken up just now": (run_in("PENDING", since=150, due=0), 160, None),
    "taken up long ago": (run_in("PENDING", since=100, due=0), 160, 60),
    "taken up before its time": (run_in("PENDING", since=0, due=100), 160, 60),
    "taken up, never scheduled": (run_in("PENDING", since=100), 160, 60),
    "no state": (run_in(None, due=0), 160, None),
}


@pytest.mark.parametrize(("run", "now", "seconds"), LATENESS.values(), ids=LATENESS)
def test_by_how_much_a_run_is_late(run: FlowRun, now: float, seconds: float | None) -> None:
    """A run counts from when it was due, or was taken up if that was later."""
    late = late_by(run, second(now))
    assert late == (None if seconds is None else timedelta(seconds=seconds))


# -- what it waits for --------------------------------------------------------------------------


class Server(msgspec.Struct, frozen=True, kw_only=True):
    """What there is on a server."""

    deployment: Deployment | None = None
    pool: WorkPool | None = None
    workers: tuple[Worker, ...] = ()

    def answer(self, query: Query) -> Page[Any]:
        """The page that answers a question; a thing that is not there is no row."""
        match query:
            case DeploymentQuery("nightly-id"):
                return Page(() if self.deployment is None else (self.deployment,))
            case WorkPoolQuery("gpu"):
                return Page(() if self.pool is None else (self.pool,))
            case WorkersQuery("gpu"):
                return Page(self.workers)
            case _:
                pytest.fail(f"nobody needs to ask {query}")


def deployment(**fields: Any) -> Deployment:
    """The run's deployment."""
    return Deployment(id="nightly-id", name="nightly", flow_id="flow", **fields)


def pool(**fields: Any) -> WorkPool:
    """The run's work pool."""
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
TAKEN = run_in("PENDING", deployment_id="nightly-id", work_pool_name="gpu")
SERVED_TAKEN = run_in("PENDING", deployment_id="nightly-id")

NOT_TAKEN = "a worker of its work pool 'gpu' is online and has not taken it yet"
SLOW = "a worker of its work pool 'gpu' is online and has taken it, but not started it yet"
SLOT_FREE = "it waits for a free slot under a concurrency limit"

READY = Server(deployment=deployment(), pool=pool(), workers=(OFFLINE, ONLINE))

REASONS: dict[str, tuple[FlowRun, Server, str]] = {
    "deployment paused": (
        POOLED,
        Server(deployment=deployment(paused=True), pool=pool(), workers=(ONLINE,)),
        "its deployment 'nightly' is paused",
    ),
    "deployment paused, no pool": (
        DEPLOYED,
        Server(deployment=deployment(paused=True)),
        "its deployment 'nightly' is paused",
    ),
    "neither deployment nor pool": (
        LATE,
        Server(),
        "it has no work pool, so only a process that runs it by its id will start it",
    ),
    "deployment deleted, no pool": (
        DEPLOYED,
        Server(),
        "it has no work pool, so only a process that runs it by its id will start it",
    ),
    "served by nobody": (
        DEPLOYED,
        Server(deployment=deployment(status="NOT_READY")),
        "no process serves its deployment 'nightly'",
    ),
    "served, as far as is known, by nobody": (
        DEPLOYED,
        Server(deployment=deployment()),
        "no process serves its deployment 'nightly'",
    ),
    "served": (
        DEPLOYED,
        Server(deployment=deployment(status="READY")),
        "the process that serves its deployment 'nightly' has not taken it yet",
    ),
    "served, and taken": (
        SERVED_TAKEN,
        Server(deployment=deployment(status="READY")),
        "the process that serves its deployment 'nightly' has taken it, but not started it yet",
    ),
    "pool gone": (
        POOLED,
        Server(deployment=deployment()),
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
        Server(deployment=deployment(status="READY")),
        SLOT_FREE,
    ),
    "concurrency slot, served by nobody": (
        SERVED_SLOT,
        Server(deployment=deployment(status="NOT_READY")),
        SLOT_FREE,
    ),
    "concurrency slot, no worker": (
        SLOT,
        msgspec.structs.replace(READY, workers=()),
        SLOT_FREE,
    ),
    "concurrency slot, neither deployment nor pool": (LONE_SLOT, Server(), SLOT_FREE),
    "concurrency slot, deployment paused": (
        SERVED_SLOT,
        Server(deployment=deployment(paused=True)),
        "its deployment 'nightly' is paused",
    ),
    "the pool has a limit": (
        POOLED,
        msgspec.structs.replace(READY, pool=pool(concurrency_limit=4)),
        f"{NOT_TAKEN}; the pool runs at most 4 at a time",
    ),
    "taken": (TAKEN, READY, SLOW),
    "taken, and the pool has a limit": (
        TAKEN,
        msgspec.structs.replace(READY, pool=pool(concurrency_limit=4)),
        f"{SLOW}; the pool runs at most 4 at a time",
    ),
    "not taken yet": (
        POOLED,
        READY,
        NOT_TAKEN,
    ),
    "not taken yet, deployment deleted": (
        POOLED,
        msgspec.structs.replace(READY, deployment=None),
        NOT_TAKEN,
    ),
    "not taken yet, no deployment": (
        UNDEPLOYED,
        msgspec.structs.replace(READY, deployment=None),
        NOT_TAKEN,
    ),
}


def ask(run: FlowRun, server: Server) -> tuple[str, list[Query]]:
    """Have a server answer, until the reason is known; with the questions that it took."""
    poll = reason_to_wait(run)
    asked: list[Query] = []
    try:
        query = next(poll)
        while True:
            asked.append(query)
            query = poll.send(server.answer(query))
    except StopIteration as end:
        return str(end.value), asked


@pytest.mark.parametrize(("run", "server", "reason"), REASONS.values(), ids=REASONS)
def test_what_a_late_run_waits_for(run: FlowRun, server: Server, reason: str) -> None:
    """The reason is the first thing in the run's way, from its deployment to its workers."""
    assert ask(run, server)[0] == reason


QUESTIONS: dict[str, tuple[FlowRun, Server, list[Query]]] = {
    "nothing to ask about": (LATE, READY, []),
    "a deployment alone": (DEPLOYED, READY, [DeploymentQuery("nightly-id")]),
    "a paused deployment": (
        POOLED,
        msgspec.structs.replace(READY, deployment=deployment(paused=True)),
        [DeploymentQuery("nightly-id")],
    ),
    "a pool that is gone": (
        UNDEPLOYED,
        Server(),
        [WorkPoolQuery("gpu")],
    ),
    "a concurrency slot": (SLOT, READY, []),
    "a concurrency slot of a deployment": (
        SERVED_SLOT,
        READY,
        [DeploymentQuery("nightly-id")],
    ),
    "all there is": (
        POOLED,
        READY,
        [DeploymentQuery("nightly-id"), WorkPoolQuery("gpu"), WorkersQuery("gpu")],
    ),
}


@pytest.mark.parametrize(("run", "server", "asked"), QUESTIONS.values(), ids=QUESTIONS)
def test_no_more_is_asked_than_is_needed(run: FlowRun, server: Server, asked: list[Query]) -> None:
    """The questions end with the first that has the reason."""
    assert ask(run, server)[1] == asked
