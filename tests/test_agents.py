"""`rxflow.agents`: each case of Prefect 1's agents and of Prefect 3's work pools, on both faces."""

import asyncio
import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from twin_calls import TWINS, Call

import rxflow
from rxflow import acheck_for_compatible_agents, check_for_compatible_agents
from rxflow.testing import FakePrefect1, FakePrefect3, VirtualTime

FAR_OFF = datetime(2040, 6, 1, 12, tzinfo=UTC)
"""The server's time, which no real clock shows."""


@pytest.fixture(params=list(TWINS.values()), ids=list(TWINS))
def check(request: pytest.FixtureRequest) -> Call:
    """Return the check, blocking or on an event loop."""

    def call(*given: Any, **named: Any) -> Any:
        return request.param(rxflow, "check_for_compatible_agents", *given, **named)

    return call


# -- Prefect 1 ----------------------------------------------------------------------------------


class AgentServer:
    """A Prefect 1 server with agents."""

    def __init__(self, **server: Any) -> None:
        self.server = FakePrefect1(clock=VirtualTime(FAR_OFF), **server)
        self.client = self.server.client()

    def add(self, name: str, *labels: str, seconds: float | None = 5) -> str:
        """Add an agent that queried for runs some seconds ago, or never."""
        queried = FAR_OFF - timedelta(seconds=seconds or 0)
        agent_id = self.server.add_agent(name, labels=labels, last_queried=queried)
        if seconds is None:
            self.server.agents[agent_id]["last_queried"] = None
        return agent_id


Given = Iterable[tuple[str, tuple[str, ...], float | None]]

START = "Start an agent with labels 'gpu' and 'linux' to pick up the flow run"
CASES: dict[str, tuple[Given, str]] = {
    # name, labels and age of each agent; the text for a run with labels gpu and linux
    "one healthy match": (
        [("a", ("gpu", "linux", "big"), 5), ("b", ("gpu",), 5)],
        (
            "Agent 'a' (ID) has matching labels and last queried for runs 5 seconds ago. "
            "It should pick up the flow run."
        ),
    ),
    "one healthy match beside unhealthy ones": (
        [("a", ("gpu", "linux"), 5), ("b", ("gpu", "linux"), 500), ("c", ("linux", "gpu"), None)],
        (
            "Agent 'a' (ID) has matching labels and last queried for runs 5 seconds ago. "
            "It should pick up the flow run."
        ),
    ),
    "several healthy matches": (
        [("a", ("gpu", "linux"), 5), ("b", ("linux", "gpu"), 59), ("c", (), 5)],
        "2 healthy agents have matching labels. One of them should pick up the flow run.",
    ),
    "one unhealthy match": (
        [("a", ("gpu", "linux"), 7200), ("b", ("gpu",), 5)],
        (
            "Agent 'a' (ID) has matching labels, but it last queried for runs 2 hours ago and "
            "looks unhealthy. Restart it, or start an agent with labels 'gpu' and 'linux', to pick "
            "up the flow run."
        ),
    ),
    "one match that never queried": (
        [("a", ("gpu", "linux"), None)],
        (
            "Agent 'a' (ID) has matching labels, but it has never queried for runs and looks "
            "unhealthy. Restart it, or start an agent with labels 'gpu' and 'linux', to pick up "
            "the flow run."
        ),
    ),
    "several unhealthy matches": (
        [("a", ("gpu", "linux"), 500), ("b", ("gpu", "linux"), None), ("c", (), 5)],
        (
            "2 agents have matching labels, but all of them look unhealthy: none queried for runs "
            "in the last 1 min. Restart one of them, or start an agent with labels 'gpu' and "
            "'linux', to pick up the flow run."
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


@pytest.mark.parametrize(("agents", "expected"), CASES.values(), ids=CASES)
def test_each_prefect_1_case_says_what_to_do(check: Call, agents: Given, expected: str) -> None:
    """The text says which agents match, which are healthy and what to do."""
    world = AgentServer()
    ids = [world.add(name, *labels, seconds=seconds) for name, labels, seconds in agents]
    text = check(["linux", "gpu", "linux"], client=world.client)
    assert text == expected.replace("ID", ids[0] if ids else "")


UNLABELLED: dict[str, tuple[Given, str]] = {
    "an agent without labels": (
        [("a", (), 5)],
        (
            "Agent 'a' (ID) has matching labels and last queried for runs 5 seconds ago. "
            "It should pick up the flow run."
        ),
    ),
    "an agent with labels": (
        [("a", ("gpu",), 5)],
        (
            "1 agent is healthy, but without matching labels. "
            "Start an agent without labels to pick up the flow run."
        ),
    ),
}


@pytest.mark.parametrize(("agents", "expected"), UNLABELLED.values(), ids=UNLABELLED)
def test_run_without_labels_needs_agent_without(check: Call, agents: Given, expected: str) -> None:
    """Only an agent without labels matches a run without labels."""
    world = AgentServer()
    ids = [world.add(name, *labels, seconds=seconds) for name, labels, seconds in agents]
    assert check([], client=world.client) == expected.replace("ID", ids[0])


def test_labels_of_a_view_can_be_passed(check: Call) -> None:
    """The labels of a run's view can be passed."""
    world = AgentServer()
    world.add("a", "gpu")
    run = world.server.add_run(labels=["gpu"])
    view = rxflow.FlowRunView.from_flow_run_id(run, client=world.client)
    assert "It should pick up" in check(view.labels, client=world.client)


def test_null_labels_are_no_labels(check: Call) -> None:
    """An agent whose labels are null matches a run without labels, and no other."""
    world = AgentServer()
    agent = world.add("", seconds=5)
    world.server.agents[agent]["labels"] = None
    assert check([], client=world.client).startswith(f"Agent {agent} has matching labels")
    assert "without matching labels" in check(["gpu"], client=world.client)


@pytest.mark.parametrize(
    ("minutes", "healthy"),
    [(1, False), (4.9, False), (5, True), (60, True), (1e300, True), (0, False)],
)
def test_since_minutes_decides_which_agent_is_healthy(
    check: Call, minutes: float, healthy: bool
) -> None:
    """An agent that queried five minutes ago is healthy for `since_minutes` of five or more."""
    world = AgentServer()
    world.add("a", "gpu", seconds=300)
    text = check(["gpu"], minutes, client=world.client)
    assert ("unhealthy" not in text, "last queried for runs 5 minutes ago" in text) == (
        healthy,
        True,
    )


@pytest.mark.parametrize(("limit", "count"), [(None, 450), (7, 20), (2, 6)])
def test_all_agents_are_read(check: Call, limit: int | None, count: int) -> None:
    """An agent matches wherever it is in a long list, whatever the server's row limit."""
    world = AgentServer(row_limit=limit)
    for number in range(count):
        world.add(f"agent {number}", str(number), "all")
    text = check(["all"], client=world.client)
    assert text.startswith(f"{count} healthy agents")
    for number in (0, count // 2, count - 1):
        assert "It should pick up" in check([str(number)], client=world.client)


# -- Prefect 3 ----------------------------------------------------------------------------------


class PoolServer:
    """A Prefect 3 server with work pools and workers."""

    def __init__(self, **server: Any) -> None:
        self.server = FakePrefect3(clock=VirtualTime(FAR_OFF), **server)
        self.client = self.server.client()

    def add(self, name: str, *, paused: bool = False, status: str = "READY") -> None:
        """Add a work pool."""
        self.server.pools[name] = {"name": name, "is_paused": paused, "status": status}

    def add_worker(
        self, pool: str, name: str, *, online: bool = True, seconds: float | None = 5
    ) -> None:
        """Add a worker whose last heartbeat was some seconds ago; None for no heartbeat."""
        beat = None if seconds is None else FAR_OFF - timedelta(seconds=seconds)
        status = "ONLINE" if online else "OFFLINE"
        row = {"name": name, "status": status, "last_heartbeat_time": beat}
        self.server.workers.setdefault(pool, []).append(row)


def no_pool(world: PoolServer) -> None:
    """Add nothing."""
    del world


def other_pool(world: PoolServer) -> None:
    """Add another pool than the run's."""
    world.add("cpu")
    world.add_worker("cpu", "w0")


def paused_pool(world: PoolServer) -> None:
    """Add the pool, paused, with an online worker."""
    world.add("gpu", paused=True)
    world.add_worker("gpu", "w1")


def pool_with_paused_status(world: PoolServer) -> None:
    """Add the pool, paused by its status, with an online worker."""
    world.add("gpu", status="PAUSED")
    world.add_worker("gpu", "w1")


def no_worker(world: PoolServer) -> None:
    """Add the pool without a worker."""
    world.add("gpu", status="NOT_READY")


def offline_workers(world: PoolServer) -> None:
    """Add the pool with offline workers."""
    world.add("gpu", status="NOT_READY")
    world.add_worker("gpu", "w1", online=False, seconds=3 * 3600)
    world.add_worker("gpu", "w2", online=False, seconds=90)
    world.add_worker("gpu", "w3", online=False, seconds=None)


def one_worker(world: PoolServer) -> None:
    """Add the pool with one online worker among offline ones."""
    offline_workers(world)
    world.add_worker("gpu", "w4", seconds=80)


def one_worker_without_heartbeat(world: PoolServer) -> None:
    """Add the pool with one online worker that has no heartbeat."""
    world.add("gpu")
    world.add_worker("gpu", "w1", seconds=None)


def one_worker_by_heartbeat(world: PoolServer) -> None:
    """Add the pool with one worker that is offline by its status, and had a recent heartbeat."""
    world.add("gpu")
    world.add_worker("gpu", "w1", online=False, seconds=59)


def two_workers(world: PoolServer) -> None:
    """Add the pool with two online workers among offline ones."""
    offline_workers(world)
    world.add_worker("gpu", "w4")
    world.add_worker("gpu", "w5")


def several_pools(world: PoolServer) -> None:
    """Add two pools with a worker each, and a paused one."""
    other_pool(world)
    world.add("gpu")
    world.add_worker("gpu", "w1")
    world.add("old", paused=True)


OF_POOLS: dict[str, tuple[Callable[[PoolServer], None], list[str], str]] = {
    "no pool": (
        no_pool,
        [],
        (
            "There is no work pool. Create one with `prefect work-pool create NAME` and start a "
            "worker for it to pick up the flow run."
        ),
    ),
    "no such pool": (
        other_pool,
        ["gpu"],
        (
            "Work pool 'gpu' does not exist. Create one with `prefect work-pool create gpu` and "
            "start a worker for it to pick up the flow run."
        ),
    ),
    "no such pools": (
        other_pool,
        ["gpu", "big one"],
        (
            "Work pools 'big one' and 'gpu' do not exist. Create one with `prefect work-pool "
            "create NAME` and start a worker for it to pick up the flow run."
        ),
    ),
    "paused": (
        paused_pool,
        ["gpu"],
        (
            "Work pool 'gpu' is paused. Resume with `prefect work-pool resume gpu` so that the "
            "flow run is picked up."
        ),
    ),
    "all paused": (
        pool_with_paused_status,
        [],
        (
            "Work pool 'gpu' is paused. Resume with `prefect work-pool resume gpu` so that the "
            "flow run is picked up."
        ),
    ),
    "no worker": (
        no_worker,
        ["gpu"],
        (
            "No worker of work pool 'gpu' is online. Start one with `prefect worker start --pool "
            "gpu` to pick up the flow run."
        ),
    ),
    "no worker online": (
        offline_workers,
        ["gpu"],
        (
            "No worker of work pool 'gpu' is online; the last heartbeat was 1 minute ago. Start "
            "one with `prefect worker start --pool gpu` to pick up the flow run."
        ),
    ),
    "one worker": (
        one_worker,
        ["gpu"],
        (
            "Worker 'w4' of work pool 'gpu' is online; its last heartbeat was 1 minute ago. "
            "It should pick up the flow run."
        ),
    ),
    "one worker without a heartbeat": (
        one_worker_without_heartbeat,
        ["gpu"],
        "Worker 'w1' of work pool 'gpu' is online. It should pick up the flow run.",
    ),
    "one worker, by its heartbeat": (
        one_worker_by_heartbeat,
        ["gpu"],
        (
            "Worker 'w1' of work pool 'gpu' is online; its last heartbeat was 59 seconds ago. "
            "It should pick up the flow run."
        ),
    ),
    "several workers": (
        two_workers,
        ["gpu", "not there"],
        "2 workers of work pool 'gpu' are online. One should pick up the flow run.",
    ),
    "any pool": (
        several_pools,
        [],
        "2 workers of work pools 'cpu' and 'gpu' are online. One should pick up the flow run.",
    ),
    "one pool of several": (
        several_pools,
        ["cpu", "old"],
        (
            "Worker 'w0' of work pool 'cpu' is online; its last heartbeat was 5 seconds ago. "
            "It should pick up the flow run."
        ),
    ),
}


@pytest.mark.parametrize(("fill", "labels", "expected"), OF_POOLS.values(), ids=OF_POOLS)
def test_each_prefect_3_case_says_what_to_do(
    check: Call, fill: Callable[[PoolServer], None], labels: list[str], expected: str
) -> None:
    """Labels name work pools, no labels mean any pool, and the text has the command to run."""
    world = PoolServer()
    fill(world)
    assert check(labels, client=world.client) == expected


@pytest.mark.parametrize(("minutes", "online"), [(1, False), (1.4, False), (1.5, True), (9, True)])
def test_since_minutes_decides_which_worker_is_online(
    check: Call, minutes: float, online: bool
) -> None:
    """An offline worker counts as online if its last heartbeat is recent enough."""
    world = PoolServer()
    offline_workers(world)
    text = check(["gpu"], since_minutes=minutes, client=world.client)
    assert text.startswith("Worker 'w2' of work pool 'gpu' is online") is online


def test_all_pools_are_read(check: Call) -> None:
    """A pool is found wherever it is in a long list, and a sentence names five of many."""
    world = PoolServer(page_limit=3)
    for number in range(10):
        world.add(f"p{number}")
    assert check(["p9"], client=world.client).startswith("No worker of work pool 'p9' is online")
    text = check([], client=world.client)
    assert text.startswith(
        "No worker of work pools 'p0', 'p1', 'p2', 'p3', 'p4' and 5 more is online. "
        "Start one with `prefect worker start --pool NAME`"
    )


def test_workers_of_paused_pools_are_not_read() -> None:
    """Workers are read only of pools from which one could pick up the run."""
    world = PoolServer()
    several_pools(world)
    check_for_compatible_agents(["gpu", "old"], client=world.client)
    paths = [path for _, path in world.server.requests if "workers" in path]
    assert paths == ["/work_pools/gpu/workers/filter"]


def test_names_in_commands_are_quoted() -> None:
    """A name with characters that are special to a shell is quoted in the command."""
    world = PoolServer()
    world.add("big one; rm")
    text = check_for_compatible_agents([], client=world.client)
    assert "`prefect worker start --pool 'big one; rm'`" in text


# -- both ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("minutes", [-1, -0.001, float("nan"), float("inf")])
def test_minutes_are_validated_before_any_request(check: Call, minutes: float) -> None:
    """A negative or infinite time is refused before any request."""
    world = AgentServer()
    with pytest.raises(ValueError, match=re.escape(f"since_minutes={minutes!r}")):
        check([], minutes, client=world.client)
    assert world.server.requests == []


def test_labels_are_not_a_string(check: Call) -> None:
    """A string is refused, since it would be a list of its letters."""
    world = AgentServer()
    with pytest.raises(TypeError, match=re.escape("pass a list of labels: ['gpu']")):
        check("gpu", client=world.client)
    assert world.server.requests == []


def test_labels_may_be_any_iterable(check: Call) -> None:
    """A set, a tuple and a generator of labels give the same result."""
    world = AgentServer()
    world.add("a", "gpu", "linux")
    labels: Any
    for labels in ({"gpu", "linux"}, ("gpu", "linux"), (each for each in ("linux", "gpu"))):
        assert "It should pick up" in check(labels, client=world.client)


@pytest.mark.long  # a refusal is believed after half a minute
def test_refused_query_is_an_rxflow_error(check: Call) -> None:
    """A server that refuses the query raises BadResponse, which names the query."""
    world = AgentServer()
    refusal = {"errors": [{"message": "no", "extensions": {"code": "GRAPHQL_VALIDATION_FAILED"}}]}
    world.server.intercept = lambda _: httpx.Response(400, json=refusal)
    with pytest.raises(rxflow.BadResponse, match="the query for agents"):
        check([], client=world.client)


def test_server_is_found_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a client, the server that the environment names is used, blocking and async."""
    server = FakePrefect3()
    with server.serve() as url:
        monkeypatch.setenv("PREFECT_API_URL", url)
        text = check_for_compatible_agents(["gpu"])
        assert text.startswith("Work pool 'gpu' does not exist")
        assert asyncio.run(acheck_for_compatible_agents(["gpu"])) == text
