"""Who would take a run: the cases of Prefect 1's agents, and those of Prefect 3's work pools."""

import asyncio
import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from twin_calls import TWINS, Call

import rxflow
from rxflow import acheck_for_compatible_agents, check_for_compatible_agents
from rxflow._models.entities import Agent, BackendName, Server
from rxflow._protocol.pages import Page
from rxflow._protocol.queries import AgentsQuery, ServerQuery
from rxflow._watching.compatible_agents import Candidates, candidates, find_takers
from rxflow.testing import FakePrefect1, FakePrefect3, VirtualTime

FAR_OFF = datetime(2040, 6, 1, 12, tzinfo=UTC)
"""The server's time, which no machine's clock shows."""

MINUTE = 60.0


@pytest.fixture(params=list(TWINS.values()), ids=list(TWINS))
def check(request: pytest.FixtureRequest) -> Call:
    """Ask, blocking or on an event loop."""

    def call(*given: Any, **named: Any) -> Any:
        return request.param(rxflow, "check_for_compatible_agents", *given, **named)

    return call


# -- Prefect 1 ----------------------------------------------------------------------------------


class Agents:
    """A Prefect 1 server with agents."""

    def __init__(self, **server: Any) -> None:
        self.server = FakePrefect1(clock=VirtualTime(FAR_OFF), **server)
        self.client = self.server.client()

    def add(self, name: str, *labels: str, seconds: float | None = 5) -> str:
        """Add an agent that asked for runs some seconds ago, or never."""
        asked = FAR_OFF - timedelta(seconds=seconds or 0)
        agent_id = self.server.add_agent(name, labels=labels, last_queried=asked)
        if seconds is None:
            self.server.agents[agent_id]["last_queried"] = None
        return agent_id


Given = Iterable[tuple[str, tuple[str, ...], float | None]]

START = "Start an agent with labels 'gpu' and 'linux' to have the flow run taken"
CASES: dict[str, tuple[Given, str]] = {
    # name, labels and age of each agent; what is said to a run with labels gpu and linux
    "one healthy match": (
        [("a", ("gpu", "linux", "big"), 5), ("b", ("gpu",), 5)],
        (
            "Agent 'a' (ID) has matching labels and last asked for runs 5 seconds ago. "
            "It should take the flow run."
        ),
    ),
    "one healthy match beside unhealthy ones": (
        [("a", ("gpu", "linux"), 5), ("b", ("gpu", "linux"), 500), ("c", ("linux", "gpu"), None)],
        (
            "Agent 'a' (ID) has matching labels and last asked for runs 5 seconds ago. "
            "It should take the flow run."
        ),
    ),
    "several healthy matches": (
        [("a", ("gpu", "linux"), 5), ("b", ("linux", "gpu"), 59), ("c", (), 5)],
        "2 healthy agents have matching labels. One of them should take the flow run.",
    ),
    "one unhealthy match": (
        [("a", ("gpu", "linux"), 7200), ("b", ("gpu",), 5)],
        (
            "Agent 'a' (ID) has matching labels, but it last asked for runs 2 hours ago and looks "
            "unhealthy. Restart it, or start an agent with labels 'gpu' and 'linux', to have "
            "the flow run taken."
        ),
    ),
    "one match that never asked": (
        [("a", ("gpu", "linux"), None)],
        (
            "Agent 'a' (ID) has matching labels, but it has never asked for runs and looks "
            "unhealthy. Restart it, or start an agent with labels 'gpu' and 'linux', to have "
            "the flow run taken."
        ),
    ),
    "several unhealthy matches": (
        [("a", ("gpu", "linux"), 500), ("b", ("gpu", "linux"), None), ("c", (), 5)],
        (
            "2 agents have matching labels, but all of them look unhealthy: none asked for runs in "
            "the last 1 min. Restart one of them, or start an agent with labels 'gpu' and 'linux', "
            "to have the flow run taken."
        ),
    ),
    "no agent": (
        [],
        f"There is no healthy agent, and no agent at all with matching labels. {START}.",
    ),
    "no healthy agent, and none that matches": (
        [("a", ("gpu",), 500), ("b", (), None)],
        f"There is no healthy agent, and no agent at all with matching labels. {START}.",
    ),
    "one healthy agent, and none that matches": (
        [("a", ("gpu",), 5), ("b", (), 500)],
        f"1 agent is healthy, but without matching labels. {START}.",
    ),
    "healthy agents, and none that matches": (
        [("a", ("gpu",), 5), ("b", ("linux",), 5), ("c", (), 5)],
        f"3 agents are healthy, but without matching labels. {START}.",
    ),
}


@pytest.mark.parametrize(("agents", "said"), CASES.values(), ids=CASES)
def test_each_case_of_prefect_1_says_what_to_do(check: Call, agents: Given, said: str) -> None:
    """Who matches, who is healthy and what to do is said, whatever the order of the labels."""
    world = Agents()
    ids = [world.add(name, *labels, seconds=seconds) for name, labels, seconds in agents]
    told = check(["linux", "gpu", "linux"], client=world.client)
    assert told == said.replace("ID", ids[0] if ids else "")


UNLABELLED: dict[str, tuple[Given, str]] = {
    "an agent without labels": (
        [("a", (), 5)],
        (
            "Agent 'a' (ID) has matching labels and last asked for runs 5 seconds ago. "
            "It should take the flow run."
        ),
    ),
    "an agent with labels": (
        [("a", ("gpu",), 5)],
        (
            "1 agent is healthy, but without matching labels. "
            "Start an agent without labels to have the flow run taken."
        ),
    ),
}


@pytest.mark.parametrize(("agents", "said"), UNLABELLED.values(), ids=UNLABELLED)
def test_a_run_without_labels_is_for_agents_without(check: Call, agents: Given, said: str) -> None:
    """No labels are matched by no labels, and by nothing else."""
    world = Agents()
    ids = [world.add(name, *labels, seconds=seconds) for name, labels, seconds in agents]
    assert check([], client=world.client) == said.replace("ID", ids[0])


def test_labels_of_a_view_can_be_passed(check: Call) -> None:
    """What a view of a run has for labels is what the question takes."""
    world = Agents()
    world.add("a", "gpu")
    run = world.server.add_run(labels=["gpu"])
    view = rxflow.FlowRunView.from_flow_run_id(run, client=world.client)
    assert "It should take" in check(view.labels, client=world.client)


def test_an_agent_whose_labels_are_null_has_none(check: Call) -> None:
    """Null labels match a run without labels, and no other."""
    world = Agents()
    agent = world.add("", seconds=5)
    world.server.agents[agent]["labels"] = None
    assert check([], client=world.client).startswith(f"Agent {agent} has matching labels")
    assert "without matching labels" in check(["gpu"], client=world.client)


@pytest.mark.parametrize(
    ("minutes", "healthy"),
    [(1, False), (4.9, False), (5, True), (60, True), (1e300, True), (0, False)],
)
def test_how_long_an_agent_may_be_silent_is_up_to_who_asks(
    check: Call, minutes: float, healthy: bool
) -> None:
    """An agent that asked five minutes ago is healthy for whoever allows five minutes or more."""
    world = Agents()
    world.add("a", "gpu", seconds=300)
    told = check(["gpu"], minutes, client=world.client)
    assert ("unhealthy" not in told, "last asked for runs 5 minutes ago" in told) == (healthy, True)


@pytest.mark.parametrize(("limit", "count"), [(None, 450), (7, 20), (2, 6)])
def test_all_agents_are_read(check: Call, limit: int | None, count: int) -> None:
    """An agent matches wherever it is in a long list, whatever a server gives at once."""
    world = Agents(row_limit=limit)
    for number in range(count):
        world.add(f"agent {number}", str(number), "all")
    told = check(["all"], client=world.client)
    assert told.startswith(f"{count} healthy agents")
    for number in (0, count // 2, count - 1):
        assert "It should take" in check([str(number)], client=world.client)


# -- the judgement ------------------------------------------------------------------------------

NAMES = st.sampled_from("abc")
AGES = st.none() | st.integers(-100, 100)
AGENTS = st.lists(st.tuples(st.frozensets(NAMES), AGES), max_size=8)


@given(AGENTS, st.frozensets(NAMES), st.integers(0, 100))
def test_whom_a_run_can_expect(
    given: list[tuple[frozenset[str], int | None]], labels: frozenset[str], seconds: int
) -> None:
    """A match has all of the run's labels, or both have none; and it is healthy if it asked."""
    agents = [
        Agent(
            id=str(number),
            name="",
            labels=tuple(has),
            last_queried=None if age is None else FAR_OFF - timedelta(seconds=age),
        )
        for number, (has, age) in enumerate(given)
    ]

    def chosen(*, matching: bool, healthy: bool) -> tuple[Agent, ...]:
        return tuple(
            agent
            for agent in agents
            if ((labels <= set(agent.labels)) if labels else not agent.labels) == matching
            and (
                agent.last_queried is not None
                and FAR_OFF - agent.last_queried <= timedelta(seconds=seconds)
            )
            == healthy
        )

    assert candidates(agents, labels, seconds, FAR_OFF) == Candidates(
        healthy=chosen(matching=True, healthy=True),
        unhealthy=chosen(matching=True, healthy=False),
        others=len(chosen(matching=False, healthy=True)),
    )


def test_the_time_is_the_server_s_and_else_ours() -> None:
    """Where the server does not tell its time, the time that was passed counts."""
    agent = Agent(id="1", name="a", last_queried=FAR_OFF)

    def told(server_time: datetime | None) -> str:
        poll = find_takers(frozenset(), MINUTE, FAR_OFF + timedelta(minutes=3))
        assert next(poll) == ServerQuery()
        assert poll.send(Page((Server(backend=BackendName.PREFECT_1),))) == AgentsQuery()
        with pytest.raises(StopIteration) as end:
            poll.send(Page((agent,), server_time))
        return str(end.value.value)

    assert "3 minutes ago and looks unhealthy" in told(None)
    assert "2 days ago and looks unhealthy" in told(FAR_OFF + timedelta(days=2))
    assert "1 second ago. It should take" in told(FAR_OFF + timedelta(seconds=1))
    assert "0 seconds ago. It should take" in told(FAR_OFF - timedelta(hours=1))


# -- Prefect 3 ----------------------------------------------------------------------------------


class Pools:
    """A Prefect 3 server with work pools and workers."""

    def __init__(self, **server: Any) -> None:
        self.server = FakePrefect3(clock=VirtualTime(FAR_OFF), **server)
        self.client = self.server.client()

    def add(self, name: str, *, paused: bool = False, status: str = "READY") -> None:
        """Add a work pool."""
        self.server.pools[name] = {"name": name, "is_paused": paused, "status": status}

    def staff(
        self, pool: str, name: str, *, online: bool = True, seconds: float | None = 5
    ) -> None:
        """Add a worker whose last heartbeat was some seconds ago; None: it had none."""
        beat = None if seconds is None else FAR_OFF - timedelta(seconds=seconds)
        status = "ONLINE" if online else "OFFLINE"
        row = {"name": name, "status": status, "last_heartbeat_time": beat}
        self.server.workers.setdefault(pool, []).append(row)


def none_at_all(world: Pools) -> None:
    """There is no pool."""
    del world


def only_another(world: Pools) -> None:
    """There is a pool, and it is another one."""
    world.add("cpu")
    world.staff("cpu", "w0")


def paused(world: Pools) -> None:
    """The pool is paused, with a worker that is online."""
    world.add("gpu", paused=True)
    world.staff("gpu", "w1")


def paused_by_status(world: Pools) -> None:
    """The pool says by its status that it is paused."""
    world.add("gpu", status="PAUSED")
    world.staff("gpu", "w1")


def nobody(world: Pools) -> None:
    """The pool has no worker and never had one."""
    world.add("gpu", status="NOT_READY")


def offline(world: Pools) -> None:
    """The pool's workers are offline."""
    world.add("gpu", status="NOT_READY")
    world.staff("gpu", "w1", online=False, seconds=3 * 3600)
    world.staff("gpu", "w2", online=False, seconds=90)
    world.staff("gpu", "w3", online=False, seconds=None)


def one(world: Pools) -> None:
    """One worker is online."""
    offline(world)
    world.staff("gpu", "w4", seconds=80)


def one_unheard(world: Pools) -> None:
    """One worker is online, and nobody says since when."""
    world.add("gpu")
    world.staff("gpu", "w1", seconds=None)


def one_by_its_heartbeat(world: Pools) -> None:
    """One worker was heard of lately, though the server calls it offline."""
    world.add("gpu")
    world.staff("gpu", "w1", online=False, seconds=59)


def two(world: Pools) -> None:
    """Two workers are online."""
    offline(world)
    world.staff("gpu", "w4")
    world.staff("gpu", "w5")


def elsewhere(world: Pools) -> None:
    """Two pools have a worker each, and a third is paused."""
    only_another(world)
    world.add("gpu")
    world.staff("gpu", "w1")
    world.add("old", paused=True)


OF_POOLS: dict[str, tuple[Callable[[Pools], None], list[str], str]] = {
    "no pool": (
        none_at_all,
        [],
        (
            "There is no work pool. Create one with `prefect work-pool create NAME` and start a "
            "worker for it to have the flow run taken."
        ),
    ),
    "no such pool": (
        only_another,
        ["gpu"],
        (
            "Work pool 'gpu' does not exist. Create one with `prefect work-pool create gpu` and "
            "start a worker for it to have the flow run taken."
        ),
    ),
    "no such pools": (
        only_another,
        ["gpu", "big one"],
        (
            "Work pools 'big one' and 'gpu' do not exist. Create one with `prefect work-pool "
            "create NAME` and start a worker for it to have the flow run taken."
        ),
    ),
    "paused": (
        paused,
        ["gpu"],
        (
            "Work pool 'gpu' is paused. Resume with `prefect work-pool resume gpu` to have the "
            "flow run taken."
        ),
    ),
    "all paused": (
        paused_by_status,
        [],
        (
            "Work pool 'gpu' is paused. Resume with `prefect work-pool resume gpu` to have the "
            "flow run taken."
        ),
    ),
    "no worker": (
        nobody,
        ["gpu"],
        (
            "No worker of work pool 'gpu' is online. Start one with `prefect worker start --pool "
            "gpu` to have the flow run taken."
        ),
    ),
    "no worker online": (
        offline,
        ["gpu"],
        (
            "No worker of work pool 'gpu' is online; one was last heard of 1 minute ago. Start one "
            "with `prefect worker start --pool gpu` to have the flow run taken."
        ),
    ),
    "one worker": (
        one,
        ["gpu"],
        (
            "Worker 'w4' of work pool 'gpu' is online, last heard of 1 minute ago. "
            "It should take the flow run."
        ),
    ),
    "one worker, never heard of": (
        one_unheard,
        ["gpu"],
        "Worker 'w1' of work pool 'gpu' is online. It should take the flow run.",
    ),
    "one worker, by its heartbeat": (
        one_by_its_heartbeat,
        ["gpu"],
        (
            "Worker 'w1' of work pool 'gpu' is online, last heard of 59 seconds ago. "
            "It should take the flow run."
        ),
    ),
    "several workers": (
        two,
        ["gpu", "not there"],
        "2 workers of work pool 'gpu' are online. One should take the flow run.",
    ),
    "any pool": (
        elsewhere,
        [],
        "2 workers of work pools 'cpu' and 'gpu' are online. One should take the flow run.",
    ),
    "one pool of several": (
        elsewhere,
        ["cpu", "old"],
        (
            "Worker 'w0' of work pool 'cpu' is online, last heard of 5 seconds ago. "
            "It should take the flow run."
        ),
    ),
}


@pytest.mark.parametrize(("made", "labels", "said"), OF_POOLS.values(), ids=OF_POOLS)
def test_each_case_of_prefect_3_says_what_to_do(
    check: Call, made: Callable[[Pools], None], labels: list[str], said: str
) -> None:
    """Labels name work pools, none is any of them, and what to do is said with the command."""
    world = Pools()
    made(world)
    assert check(labels, client=world.client) == said


@pytest.mark.parametrize(("minutes", "online"), [(1, False), (1.4, False), (1.5, True), (9, True)])
def test_how_long_a_worker_may_be_silent_is_up_to_who_asks(
    check: Call, minutes: float, online: bool
) -> None:
    """A worker that is offline is as good as online if it was heard of in the time allowed."""
    world = Pools()
    offline(world)
    told = check(["gpu"], since_minutes=minutes, client=world.client)
    assert told.startswith("Worker 'w2' of work pool 'gpu' is online") is online


def test_all_pools_are_read(check: Call) -> None:
    """A pool is found wherever it is in a long list, and a sentence names a few of many."""
    world = Pools(page_limit=3)
    for number in range(10):
        world.add(f"p{number}")
    assert check(["p9"], client=world.client).startswith("No worker of work pool 'p9' is online")
    told = check([], client=world.client)
    assert told.startswith(
        "No worker of work pools 'p0', 'p1', 'p2', 'p3', 'p4' and 5 more is online. "
        "Start one with `prefect worker start --pool NAME`"
    )


def test_the_workers_of_paused_pools_are_nobody_s_business() -> None:
    """Workers are asked for where one could take the run, and nowhere else."""
    world = Pools()
    elsewhere(world)
    check_for_compatible_agents(["gpu", "old"], client=world.client)
    asked = [path for _, path in world.server.requests if "workers" in path]
    assert asked == ["/work_pools/gpu/workers/filter"]


def test_a_command_can_be_pasted() -> None:
    """A name that a shell would take apart is quoted in the command."""
    world = Pools()
    world.add("big one; rm")
    told = check_for_compatible_agents([], client=world.client)
    assert "`prefect worker start --pool 'big one; rm'`" in told


# -- both ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("minutes", [-1, -0.001, float("nan"), float("inf")])
def test_minutes_are_checked_before_anything_is_asked(check: Call, minutes: float) -> None:
    """A time that is none is refused at once."""
    world = Agents()
    with pytest.raises(ValueError, match=re.escape(f"since_minutes={minutes!r}")):
        check([], minutes, client=world.client)
    assert world.server.requests == []


def test_labels_are_not_one_text(check: Call) -> None:
    """A text is not taken for the list of its letters."""
    world = Agents()
    with pytest.raises(TypeError, match=re.escape("pass a list of labels: ['gpu']")):
        check("gpu", client=world.client)
    assert world.server.requests == []


def test_labels_may_be_any_iterable(check: Call) -> None:
    """A set, a generator and a tuple say the same."""
    world = Agents()
    world.add("a", "gpu", "linux")
    labels: Any
    for labels in ({"gpu", "linux"}, ("gpu", "linux"), (each for each in ("linux", "gpu"))):
        assert "It should take" in check(labels, client=world.client)


def test_an_answer_that_is_refused_is_an_error_of_ours(check: Call) -> None:
    """What the server says to a question that it does not take comes out as an error."""
    world = Agents()
    refusal = {"errors": [{"message": "no", "extensions": {"code": "GRAPHQL_VALIDATION_FAILED"}}]}
    world.server.intercept = lambda _: httpx.Response(400, json=refusal)
    with pytest.raises(rxflow.BadResponse, match="AgentsQuery"):
        check([], client=world.client)


def test_the_server_is_found_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a client, the one that the environment names is asked, blocking and async."""
    server = FakePrefect3()
    with server.serve() as url:
        monkeypatch.setenv("PREFECT_API_URL", url)
        told = check_for_compatible_agents(["gpu"])
        assert told.startswith("Work pool 'gpu' does not exist")
        assert asyncio.run(acheck_for_compatible_agents(["gpu"])) == told
