"""Which runs are late, and what a late run waits for."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import pairwise
from typing import Any

import httpx
import msgspec
import pytest
from reactivex import operators as ops

from rxflow import (
    Closed,
    FlowRun,
    FlowRunEvent,
    FlowRunLog,
    Notice,
    NoticeCode,
    State,
    StateChange,
    StateType,
    watch_flow_run,
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
from rxflow.testing import FakePrefect1, FakePrefect3, VirtualTime

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
    version: int | None = None,
    **fields: Any,
) -> FlowRun:
    """A run in a state since a second, and due at another; a state of Prefect 1 has a version."""
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
    "queued, nobody knows when": (
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
    agents: tuple[Agent, ...] = ()
    time: datetime | None = None

    def answer(self, query: Query) -> Page[Any]:
        """The page that answers a question; a thing that is not there is no row."""
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

NOT_TAKEN = "a worker of its work pool 'gpu' is online and has not picked it up yet"
SLOW = "a worker of its work pool 'gpu' is online and has picked it up, but not started it yet"
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
        "the process that serves its deployment 'nightly' has not picked it up yet",
    ),
    "served, and taken": (
        SERVED_TAKEN,
        Server(deployment=deployment(status="READY")),
        "the process that serves its deployment 'nightly' has picked it up, but not started it yet",
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


def ask(
    run: FlowRun, server: Server, backend: BackendName = BackendName.PREFECT_3
) -> tuple[str, list[Query]]:
    """Have a server answer, until the reason is known; with the questions that it took."""
    poll = read_late_reason(backend, run, second(60))
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


# -- what it waits for on Prefect 1 -------------------------------------------------------------


def agent(name: str, *labels: str, ago: float | None = 10) -> Agent:
    """An agent that asked for runs some seconds before second 60, or never."""
    asked = None if ago is None else second(60 - ago)
    return Agent(id=f"id of {name}", name=name, labels=labels, last_queried=asked)


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

OF_AGENTS: dict[str, tuple[FlowRun, Server, str]] = {
    "nobody": (LABELLED, Server(), "no agent is healthy; start one with label 'gpu'"),
    "nobody, no labels": (UNLABELLED, Server(), "no agent is healthy; start one without labels"),
    "nobody healthy": (
        LABELLED,
        Server(agents=(agent("a", ago=600), agent("b", ago=None))),
        "no agent is healthy; start one with label 'gpu'",
    ),
    "nobody with its labels": (
        LABELLED,
        Server(agents=(agent("a"), agent("b", "cpu"))),
        "no agent has matching labels; start one with label 'gpu'",
    ),
    "nobody without labels": (
        UNLABELLED,
        Server(agents=(agent("a", "gpu"),)),
        "no agent has matching labels; start one without labels",
    ),
    "one unhealthy": (
        LABELLED,
        Server(agents=(agent("a", "gpu", ago=600), agent("b"))),
        UNHEALTHY,
    ),
    "one that never asked": (LABELLED, Server(agents=(agent("a", "gpu", ago=None),)), UNHEALTHY),
    "several unhealthy": (
        LABELLED,
        Server(agents=(agent("a", "gpu", ago=600), agent("b", "gpu", ago=None))),
        (
            "several agents have matching labels, but none has queried for runs lately; "
            "restart one, or start one with label 'gpu'"
        ),
    ),
    "one healthy": (LABELLED, Server(agents=(agent("b"), agent("a", "gpu", "cpu"))), BUSY),
    "one healthy, by its own time": (
        LABELLED,
        Server(agents=(agent("a", "gpu", ago=600),), time=second(-500)),
        BUSY,
    ),
    "one unhealthy, by its own time": (
        LABELLED,
        Server(agents=(agent("a", "gpu"),), time=second(600)),
        UNHEALTHY,
    ),
    "one without a name": (
        LABELLED,
        Server(agents=(msgspec.structs.replace(agent("a", "gpu"), name=""),)),
        "agent id of a has matching labels and has not picked it up yet",
    ),
    "several healthy": (
        LABELLED,
        Server(agents=(agent("a", "gpu"), agent("b", "gpu"))),
        "several healthy agents have matching labels and none has picked it up yet",
    ),
    "pending": (PENDING, Server(agents=(agent("a", "gpu"),)), BUSY),
    "queued": (QUEUED, Server(), SLOT_FREE),
    "submitted": (SUBMITTED, Server(), "an agent has picked it up, but not started it yet"),
}


@pytest.mark.parametrize(("run", "server", "reason"), OF_AGENTS.values(), ids=OF_AGENTS)
def test_what_a_late_run_of_prefect_1_waits_for(run: FlowRun, server: Server, reason: str) -> None:
    """The reason is what its state says, or else what there is of agents with its labels."""
    told, asked = ask(run, server, BackendName.PREFECT_1)
    by_state = run is QUEUED or run is SUBMITTED
    assert (told, asked) == (reason, [] if by_state else [AgentsQuery(), AgentsQuery(1)])


# -- in a watch ---------------------------------------------------------------------------------

HOUR = timedelta(hours=1)


class Scene:
    """A Prefect 1 server with a run, and a watch of it in virtual time."""

    def __init__(self, **run: Any) -> None:
        self.time = VirtualTime()
        self.server = FakePrefect1(clock=self.time)
        self.run = self.server.add_run(name="nightly", labels=["gpu"], **run)

    def watch(self, seconds: float = 200) -> list[FlowRunEvent]:
        """Watch the run, whoever it waits for."""
        stream = watch_flow_run(self.run, client=self.server.client())
        return self.time.collect(stream, seconds=seconds)

    def notices(self, seconds: float = 200) -> list[str]:
        """What a watch notices."""
        return [event.message for event in self.watch(seconds) if isinstance(event, Notice)]


def put(scene: Scene, state: str, *, starts_in: timedelta | None = None) -> None:
    """Put the run in a state that may name a time to start."""
    start: dict[str, Any] = (
        {} if starts_in is None else {"start_time": (scene.time() + starts_in).isoformat()}
    )
    scene.server.set_state(scene.run, state, **start)


def later(scene: Scene) -> None:
    """Schedule the run for tomorrow."""
    scene.server.change_run(scene.run, scheduled_start_time=scene.time() + 24 * HOUR)
    put(scene, "Scheduled")


def queued_later(scene: Scene) -> None:
    """Schedule the run for tomorrow, and have it wait for a slot already."""
    later(scene)
    put(scene, "Queued", starts_in=timedelta(0))


NOBODY = "no agent is healthy; start one with label 'gpu'"
IN_A_WATCH: dict[str, tuple[Callable[[Scene], object], str | None]] = {
    "Scheduled": (lambda _: None, NOBODY),
    "Scheduled, for tomorrow": (later, None),
    "Scheduled, in a minute": (partial(put, state="Scheduled", starts_in=HOUR / 60), NOBODY),
    "Queued": (partial(put, state="Queued"), SLOT_FREE),
    "Queued, to try again later": (partial(put, state="Queued", starts_in=HOUR), SLOT_FREE),
    "Queued, for tomorrow": (queued_later, None),
    "Paused": (partial(put, state="Paused"), None),
    "Paused, until it is resumed": (partial(put, state="Paused", starts_in=HOUR), None),
    "Retrying, in an hour": (partial(put, state="Retrying", starts_in=HOUR), None),
    "Retrying, overdue": (partial(put, state="Retrying"), NOBODY),
    "Resume, in an hour": (partial(put, state="Resume", starts_in=HOUR), None),
    "Resume, overdue": (partial(put, state="Resume"), NOBODY),
    "Submitted": (
        partial(put, state="Submitted"),
        "an agent has picked it up, but not started it yet",
    ),
    "Pending": (partial(put, state="Pending"), NOBODY),
    "Running": (partial(put, state="Running"), None),
    "Cancelling": (partial(put, state="Cancelling"), None),
    "Success": (partial(put, state="Success"), None),
    "Failed": (partial(put, state="Failed"), None),
    "a state of another Prefect": (partial(put, state="Dreaming"), None),
}


@pytest.mark.parametrize(("become", "reason"), IN_A_WATCH.values(), ids=IN_A_WATCH)
def test_a_watch_of_prefect_1_says_what_a_late_run_waits_for(
    become: Callable[[Scene], object], reason: str | None
) -> None:
    """Once, with the reason that fits its state; and nothing of a run that is not late."""
    scene = Scene()
    become(scene)
    said = [] if reason is None else [f"Flow run 'nightly' is late: {reason}"]
    assert scene.notices() == said


def test_a_run_without_a_state_is_not_late() -> None:
    """Nothing is said of a run that nobody has scheduled."""
    assert Scene(state=None).notices() == []


@pytest.mark.parametrize(("seconds", "late"), [(13, False), (22, True)])
def test_a_watch_says_so_when_the_grace_is_over(seconds: float, *, late: bool) -> None:
    """No earlier than 15 s after the run was due, and no later than the next poll."""
    assert bool(Scene().notices(seconds)) is late


def test_a_reason_that_changes_is_told() -> None:
    """Each new reason is a notice, and the run that starts at last is told as ever."""
    scene = Scene()
    server, time, run = scene.server, scene.time, scene.run
    server.at(40, lambda: server.add_agent("a", labels=["gpu"]))
    server.at(300, lambda: server.set_state(run, "Submitted"))
    server.at(400, lambda: server.set_state(run, "Running"))
    server.at(410, lambda: server.set_state(run, "Success"))
    events = scene.watch(3600)
    assert [event.message for event in events if isinstance(event, Notice)] == [
        f"Flow run 'nightly' is late: {NOBODY}",
        f"Flow run 'nightly' is late: {BUSY}",
        f"Flow run 'nightly' is late: {UNHEALTHY}",
        "Flow run 'nightly' is late: an agent has picked it up, but not started it yet",
    ]
    assert isinstance(events[-1], Closed)
    assert events[-1].verified
    assert time.seconds < 450


# -- where nobody says why ----------------------------------------------------------------------


def refusal(status: int, code: str) -> httpx.Response:
    """What a Prefect 1 says to a question that it does not answer."""
    error = {"message": "no", "extensions": {"code": code}}
    return httpx.Response(status, json={"errors": [error], "data": None})


def unreachable() -> httpx.Response:
    """Break the connection off."""
    raise httpx.ReadError("gone")


NO_ANSWER: dict[str, Callable[[], httpx.Response]] = {
    "a field that is not there": lambda: refusal(400, "GRAPHQL_VALIDATION_FAILED"),
    "a bad value": lambda: refusal(200, "data-exception"),
    "no access": lambda: refusal(200, "UNAUTHENTICATED"),
    "no permission": lambda: httpx.Response(403, json={"detail": "Forbidden"}),
    "no such path": lambda: httpx.Response(405, json={"detail": "Method Not Allowed"}),
    "another server": lambda: httpx.Response(200, html="<html>hello</html>"),
    "too many rows": lambda: httpx.Response(
        422, json={"detail": "Invalid limit: must be less than or equal to 10."}
    ),
    "a failure": lambda: refusal(200, "INTERNAL_SERVER_ERROR"),
    "a failure, by its status": lambda: httpx.Response(500, json={"detail": "oh"}),
    "no time": lambda: httpx.Response(503, json={"detail": "busy"}),
    "nonsense": lambda: httpx.Response(200, json={"data": {"rows": 3}}),
    "nobody": unreachable,
}

Fake = tuple[VirtualTime, Any, str, Callable[[httpx.Request], bool]]


def prefect_1() -> Fake:
    """A Prefect 1 with a run that is due, and which requests are about agents."""
    time = VirtualTime()
    server = FakePrefect1(clock=time)
    run = server.add_run(name="nightly", labels=["gpu"])
    return time, server, run, lambda request: b"agent(" in request.content


def prefect_3() -> Fake:
    """A Prefect 3 with a run that is due, and which requests are about its work pool."""
    time = VirtualTime()
    server = FakePrefect3(clock=time)
    server.pools["gpu"] = {"name": "gpu", "is_paused": False, "status": "READY"}
    run = server.add_run(name="nightly", work_pool_name="gpu")
    return time, server, run, lambda request: "work_pools" in request.url.path


each_server = pytest.mark.parametrize("fake", [prefect_1, prefect_3])


@each_server
@pytest.mark.parametrize("answer", NO_ANSWER.values(), ids=NO_ANSWER)
def test_a_watch_goes_on_where_nobody_says_why(
    fake: Callable[[], Fake], answer: Callable[[], httpx.Response]
) -> None:
    """Whatever comes of that question: the run is told whole, and at once, and that it is late."""
    time, server, run, asks_why = fake()
    asked: list[float] = []

    def intercept(request: httpx.Request) -> httpx.Response | None:
        if not asks_why(request):
            return None
        asked.append(time.seconds)
        return answer()

    server.intercept = intercept
    running, over = ("Running", "Success") if fake is prefect_1 else ("RUNNING", "COMPLETED")
    server.at(100, lambda: server.log(run, "a line while it waits"))
    server.at(200, lambda: server.set_state(run, running))
    server.at(210, lambda: server.set_state(run, over))
    told: dict[str, float] = {}
    stream = watch_flow_run(run, client=server.client())

    def note(event: FlowRunEvent) -> None:
        told.setdefault(event.message, time.seconds)

    events = time.collect(stream.pipe(ops.do_action(note)))
    assert [type(event) for event in events if isinstance(event, StateChange | FlowRunLog)] == [
        StateChange,
        FlowRunLog,
        StateChange,
        StateChange,
    ]
    assert told["a line while it waits"] < 106
    (notice,) = (event for event in events if isinstance(event, Notice))
    assert notice.code is NoticeCode.LATE_START
    assert notice.message.startswith(
        "Flow run 'nightly' is late: what it waits for could not be read: "
    )
    assert told[notice.message] < 22
    closed = events[-1]
    assert isinstance(closed, Closed)
    assert closed.verified
    assert 1 < len(asked) <= 1 + 200 / 30


@each_server
def test_a_reason_that_was_known_is_not_forgotten(fake: Callable[[], Fake]) -> None:
    """Where the question is refused later on, there is nothing new to say."""
    time, server, run, asks_why = fake()
    server.at(
        60,
        lambda: setattr(
            server,
            "intercept",
            lambda request: httpx.Response(403, json={}) if asks_why(request) else None,
        ),
    )
    events = time.collect(watch_flow_run(run, client=server.client()), seconds=300)
    (notice,) = (event for event in events if isinstance(event, Notice))
    assert "could not be read" not in notice.message


@each_server
def test_a_server_that_asks_for_a_pause_is_given_it(fake: Callable[[], Fake]) -> None:
    """Who is busy and says for how long is left alone, and the watch goes on in between."""
    time, server, run, asks_why = fake()
    asked: list[float] = []

    def intercept(request: httpx.Request) -> httpx.Response | None:
        asked.append(time.seconds)
        if not asks_why(request):
            return None
        return httpx.Response(429, headers={"Retry-After": "40"}, json={"detail": "slow down"})

    server.intercept = intercept
    server.at(50, lambda: server.log(run, "a line while it waits"))
    events = time.collect(watch_flow_run(run, client=server.client()), seconds=150)
    pauses = (after - before for before, after in pairwise(asked))
    assert [round(pause) for pause in pauses if pause > 6] == [40, 40]
    assert "a line while it waits" in [event.message for event in events]
