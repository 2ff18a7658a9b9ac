"""`FakePrefect1` as a server: its key, recorded requests, faults, and the real 1.4.1 client."""

import asyncio
import subprocess
import sys
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import httpx
import pytest
from graphql_calls import URL, run_query

from rxflow.testing import FakePrefect1, Faults, VirtualTime


def test_with_a_key_requests_need_it() -> None:
    """A server with a key is Prefect Cloud, which rejects a request without it in status 200."""
    server = FakePrefect1(api_key="secret")
    query = {"query": "{ auth_info { tenant_id } }"}
    (tenant,) = server.tenants
    with httpx.Client(transport=server.transport()) as http:
        bare = http.post(URL, json=query)
        wrong = http.post(URL, json=query, headers={"authorization": "Basic secret"})
        right = http.post(URL, json=query, headers={"authorization": "Bearer secret"})
    assert {response.status_code for response in (bare, wrong, right)} == {200}
    assert bare.json()["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"
    assert "Malformed Authorization header" in str(wrong.json()["errors"])
    assert right.json() == {"data": {"auth_info": {"tenant_id": tenant}}}


def test_requests_are_recorded_with_their_variables() -> None:
    """Each request is recorded; variables are decoded from the string that the client sends."""
    server = FakePrefect1()
    with httpx.Client(transport=server.transport()) as http:
        http.post(URL, json={"query": "{ tenant { id } }", "variables": "null"})
        http.post(URL, json={"query": "{ agent { id } }", "variables": '{"n": 1}'})
        http.get(f"{URL}/health")
    assert server.requests == [
        ("{ tenant { id } }", None),
        ("{ agent { id } }", {"n": 1}),
        ("/health", None),
    ]


def test_interceptors_and_gates_work_as_on_prefect_3() -> None:
    """An interceptor's response replaces the server's, and a request waits at a gate."""
    server = FakePrefect1()
    request = httpx.Request("POST", URL, json={"query": "{ tenant { id } }"})
    server.intercept = lambda _: httpx.Response(429)
    assert server.handle(request).status_code == 429
    server.intercept = None

    async def cancel() -> int:
        async with httpx.AsyncClient(transport=server.transport()) as http:
            with server.hold() as hold:
                task = asyncio.create_task(http.post(URL, json={}))
                await hold.auntil_reached()
                task.cancel()
                await hold.auntil_left()
                return hold.left

    assert asyncio.run(cancel()) == 1


def test_a_stale_reply_lacks_the_newest_lines() -> None:
    """A replica that lags behind does not have the lines that landed since."""
    time = VirtualTime()
    server = FakePrefect1(clock=time, random=Random(1))
    run_id = server.add_run()
    server.log(run_id, "old")
    time.wait(60)
    server.log(run_id, "new")
    server.faults = Faults(stale=1.0, staleness=30.0)
    rows = run_query(server, "{ log { message } }")["log"]
    assert [row["message"] for row in rows] == ["old"]


def test_without_graphql_core_the_error_names_the_extra() -> None:
    """The rest of `rxflow.testing` works without graphql-core; only `FakePrefect1()` fails."""
    program = (
        "import sys; sys.modules['graphql'] = None\n"
        "from rxflow.testing import FakePrefect1, FakePrefect3\n"
        "FakePrefect3()\n"
        "try: FakePrefect1()\n"
        "except ImportError as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert "rxflow-prefect[fake-prefect1]" in done.stdout


@pytest.fixture
def served() -> Iterator[tuple[FakePrefect1, str]]:
    """Serve a fake over HTTP; return it and its URL."""
    server = FakePrefect1()
    with server.serve() as url:
        yield server, url


@pytest.mark.timeout(120)
def test_the_real_client_of_prefect_1_works_with_it(
    prefect1: Callable[..., Any], served: tuple[FakePrefect1, str]
) -> None:
    """Unmodified, it watches a run to its end, reads task runs and agents, and writes."""
    server, url = served
    flow_id = server.add_flow("etl")
    run_id = server.add_run(name="nightly", flow_id=flow_id, labels=["vm"])
    server.set_state(run_id, "Submitted", "Submitted for execution")
    server.add_agent("an-agent", labels=["vm"])
    parent = server.add_task_run(run_id, slug="load-1")
    server.set_task_state(parent, "Mapped", "Ready to proceed with mapping.", n_map_states=1)
    server.add_task_run(run_id, slug="load-1", map_index=0, state="Success")

    def begin(request: httpx.Request) -> None:
        """Let the run begin after it was first read; the client takes seconds to start."""
        if run_id in request.content.decode():
            server.intercept = None
            server.at(1, lambda: server.set_state(run_id, "Running", "Running flow."))
            server.at(1, lambda: server.log(run_id, "hello"))
            server.at(3, lambda: server.set_state(run_id, "Success", "All done."))

    server.intercept = begin
    report = prefect1("client.py", url, run_id, flow_id)
    assert report["name"] == "nightly"
    assert report["flow"] == "etl"
    messages = [message for _, message in report["watched"]]
    assert "hello" in messages
    assert messages[-1] == "Entered state <Success>: All done."
    assert report["task_runs"] == [["load-1", -1, "Mapped"], ["load-1", 0, "Success"]]
    assert "an-agent" in report["agents"] or "1 agent" in report["agents"]
    assert report["missing"].startswith("No flow runs found")
    assert report["malformed"] == "ClientError"
    created = server.runs[report["created"]]
    assert (created["name"], created["state"]) == ("by-client", "Running")
    assert [row["message"] for row in server.logs.values()] == ["hello", "by client"]
