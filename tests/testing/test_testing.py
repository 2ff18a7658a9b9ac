"""The fake server that rxflow ships: over real HTTP, and as users' own tests use it.

That it answers as a real server does is tested against one, in `tests/real/test_differential.py`.
"""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from random import Random
from typing import Any

import httpx
import pytest

import rxflow
from rxflow.events import Closed, StateChange
from rxflow.testing import FakePrefect3, VirtualTime


def http_of(api_url: str) -> httpx.Client:
    """An HTTP client of one's own, which keeps its connections open."""
    return httpx.Client(base_url=api_url, trust_env=False)


@pytest.fixture
def server() -> FakePrefect3:
    """A server without rows."""
    return FakePrefect3()


@pytest.fixture
def api_url(server: FakePrefect3) -> Iterator[str]:
    """Where it is served."""
    with server.serve() as url:
        yield url


def test_a_client_watches_a_run_over_http_to_its_end(server: FakePrefect3, api_url: str) -> None:
    """What is written while a watch goes on is told by it, in another thread, over a socket."""
    run = server.add_run(state="RUNNING")
    lines = [f"line {number}" for number in range(450)]
    for line in lines[:300]:
        server.log(run, line)
    told: list[Any] = []
    with rxflow.Client(api_url=api_url) as client:
        for event in rxflow.watch_flow_run(run, drain=0, client=client):
            told.append(event)
            if getattr(event, "message", None) == lines[299]:
                for line in lines[300:]:
                    server.log(run, line)
                server.set_state(run, "COMPLETED")
    assert [event.message for event in told if isinstance(event, rxflow.FlowRunLog)] == lines
    names = [event.state.name for event in told if isinstance(event, StateChange)]
    assert names == ["Running", "Completed"]
    assert isinstance(told[-1], Closed)
    assert told[-1].verified


def test_the_url_ends_in_api_on_the_loopback(api_url: str) -> None:
    """It is fit for PREFECT_API_URL, and nobody else's machine can reach it."""
    assert api_url.startswith("http://127.0.0.1:")
    assert api_url.endswith("/api")
    with http_of(api_url) as http:
        assert http.get("/admin/version").json() == "3.8.8"


def test_two_servers_are_served_at_once(server: FakePrefect3, api_url: str) -> None:
    """Each has a port of its own."""
    run = server.add_run()
    with FakePrefect3().serve() as other, http_of(other) as http:
        assert other != api_url
        assert http.get(f"/flow_runs/{run}").status_code == 404


def test_connections_that_are_kept_open_do_not_keep_it_up(server: FakePrefect3) -> None:
    """The block ends with clients still connected, and leaves neither thread nor port."""
    before = set(threading.enumerate())
    with ExitStack() as clients:
        with server.serve() as url:
            for _ in range(5):
                http = clients.enter_context(http_of(url))
                assert http.get("/admin/version").status_code == 200
        assert set(threading.enumerate()) == before
        with pytest.raises(httpx.ConnectError):
            http_of(url).get("/admin/version")


def test_the_block_may_end_with_an_error(server: FakePrefect3) -> None:
    """An error in it comes out, and everything is gone all the same."""
    with pytest.raises(KeyboardInterrupt), server.serve():
        raise KeyboardInterrupt


def test_many_threads_write_and_read(server: FakePrefect3, api_url: str) -> None:
    """Each write is there once and each answer is whole, whoever asks meanwhile."""
    run = server.add_run()
    where = {"logs": {"flow_run_id": {"any_": [run]}}}

    def work() -> None:
        with http_of(api_url) as http:
            for _ in range(25):
                server.log(run)
                assert http.post("/logs/filter", json=where).status_code == 200

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with http_of(api_url) as http:
        rows = http.post("/logs/filter", json=where).json()
    assert len({row["id"] for row in rows}) == len({row["created"] for row in rows}) == 100


def test_an_interceptor_answers_or_breaks_off(server: FakePrefect3, api_url: str) -> None:
    """A response of one's own goes out as it is; an httpx error leaves the client without any."""

    def intercept(request: httpx.Request) -> httpx.Response | None:
        if request.url.path == "/api/broken":
            raise httpx.ReadError("broken off", request=request)
        busy = httpx.Response(503, headers={"retry-after": "7"}, text="busy")
        return busy if request.url.path == "/api/busy" else None

    server.intercept = intercept
    with http_of(api_url) as http:
        busy = http.get("/busy")
        assert (busy.status_code, busy.headers["retry-after"], busy.text) == (503, "7", "busy")
        with pytest.raises(httpx.RemoteProtocolError):
            http.get("/broken")
        assert http.get("/admin/version").status_code == 200
    assert server.requests == [("GET", "/busy"), ("GET", "/broken"), ("GET", "/admin/version")]


def test_an_interceptor_that_fails_is_reported(
    server: FakePrefect3, api_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A defect of a test's own is seen on stderr, and the server goes on."""

    def intercept(_: httpx.Request) -> httpx.Response | None:
        server.intercept = None
        raise ZeroDivisionError

    server.intercept = intercept
    with http_of(api_url) as http:
        with pytest.raises(httpx.RemoteProtocolError):
            http.get("/admin/version")
        assert http.get("/admin/version").status_code == 200
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_task_runs_live_beside_their_run(server: FakePrefect3) -> None:
    """They are told in the states that a watch finds them in, by the names that they were given."""
    run = server.add_run(state="RUNNING")
    task = server.add_task_run(run, name="load-0", task_key="load-12345678")
    server.add_task_run(run, name="save-0", state="CRASHED")
    server.set_task_state(run, task, "COMPLETED")
    server.set_state(run, "COMPLETED")
    stream = rxflow.watch_flow_run(run, drain=0, stream_tasks=True, client=server.client())
    told = {event.task_run.name: event for event in stream.tasks}
    assert {name: event.state.name for name, event in told.items()} == {
        "load-0": "Completed",
        "save-0": "Crashed",
    }
    assert told["load-0"].id == server.task_runs[task]["state_id"]


def test_a_seed_repeats_ids() -> None:
    """With a `random` of one seed the same writes make rows of the same ids."""

    def ids(seed: int) -> list[str]:
        server = FakePrefect3(clock=VirtualTime(), random=Random(seed))
        run = server.add_run()
        return [run, server.set_state(run, "RUNNING"), server.log(run), server.add_task_run(run)]

    assert ids(1) == ids(1)
    assert not set(ids(1)) & set(ids(2))


def test_log_rows_are_deleted_and_restored() -> None:
    """By their ids, and by when they landed."""
    time = VirtualTime()
    server = FakePrefect3(clock=time)
    run = server.add_run()
    first, second = server.log(run), server.log(run)
    backup = time()
    time.wait(1)
    third = server.log(run)
    server.delete_logs([second, "no such row"])
    assert [row["id"] for row in server.logs] == [first, third]
    server.restore_logs(backup)
    assert [row["id"] for row in server.logs] == [first]


def test_an_async_client_asks_in_process(server: FakePrefect3) -> None:
    """Its answers are those that a blocking client gets, and an interceptor sees its requests."""
    run = server.add_run()
    seen: list[str] = []
    server.intercept = lambda request: seen.append(request.method)
    url = f"http://fake.invalid/api/flow_runs/{run}"

    async def ask() -> Any:
        async with httpx.AsyncClient(transport=server.transport()) as http:
            return (await http.get(url)).json()

    with httpx.Client(transport=server.transport()) as http:
        known = http.get(url).json()
    varying = {"estimated_run_time", "estimated_start_time_delta"}
    told = asyncio.run(ask())
    assert {key for key in known if known[key] != told[key]} <= varying
    assert seen == ["GET", "GET"]
