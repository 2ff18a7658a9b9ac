"""A fake server over real HTTP: its URL, its threads and connections, and watches through it.

That its replies equal those of a real server is tested in `tests/real/test_differential.py`.
"""

import threading
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import httpx
import pytest

import rxflow
from rxflow.events import Closed, StateChange
from rxflow.testing import FakePrefect3


def http_client(api_url: str) -> httpx.Client:
    """Make an HTTP client that keeps its connections open."""
    return httpx.Client(base_url=api_url, trust_env=False)


@pytest.fixture
def server() -> FakePrefect3:
    """Make a server without rows."""
    return FakePrefect3()


@pytest.fixture
def api_url(server: FakePrefect3) -> Iterator[str]:
    """Serve the server."""
    with server.serve() as url:
        yield url


def test_a_client_watches_a_run_over_http_to_its_end(server: FakePrefect3, api_url: str) -> None:
    """Rows that are written while a watch goes on are delivered by it."""
    run = server.add_run(state="RUNNING")
    lines = [f"line {number}" for number in range(450)]
    for line in lines[:300]:
        server.log(run, line)
    events: list[Any] = []
    with rxflow.Client(api_url=api_url) as client:
        for event in rxflow.watch_flow_run(run, drain=0, client=client):
            events.append(event)
            if getattr(event, "message", None) == lines[299]:
                for line in lines[300:]:
                    server.log(run, line)
                server.set_state(run, "COMPLETED")
    assert [event.message for event in events if isinstance(event, rxflow.FlowRunLog)] == lines
    names = [event.state.name for event in events if isinstance(event, StateChange)]
    assert names == ["Running", "Completed"]
    assert isinstance(events[-1], Closed)
    assert events[-1].verified


def test_the_url_ends_in_api_on_the_loopback(api_url: str) -> None:
    """It fits PREFECT_API_URL, and no other machine can reach it."""
    assert api_url.startswith("http://127.0.0.1:")
    assert api_url.endswith("/api")
    with http_client(api_url) as http:
        assert http.get("/admin/version").json() == "3.8.8"


def test_two_servers_have_two_ports(server: FakePrefect3, api_url: str) -> None:
    """Servers that run at once do not see each other's rows."""
    run = server.add_run()
    with FakePrefect3().serve() as other, http_client(other) as http:
        assert other != api_url
        assert http.get(f"/flow_runs/{run}").status_code == 404


def test_open_connections_do_not_keep_the_server_running(server: FakePrefect3) -> None:
    """The block ends while clients are connected, and leaves neither thread nor port."""
    before = set(threading.enumerate())
    with ExitStack() as clients:
        with server.serve() as url:
            for _ in range(5):
                http = clients.enter_context(http_client(url))
                assert http.get("/admin/version").status_code == 200
        assert set(threading.enumerate()) == before
        with pytest.raises(httpx.ConnectError):
            http_client(url).get("/admin/version")


def test_an_error_in_the_block_stops_the_server(server: FakePrefect3) -> None:
    """The error propagates, and no thread is left."""
    with pytest.raises(KeyboardInterrupt), server.serve():
        raise KeyboardInterrupt


def test_many_threads_write_and_read(server: FakePrefect3, api_url: str) -> None:
    """Each write is stored once and each response is complete."""
    run = server.add_run()
    where = {"logs": {"flow_run_id": {"any_": [run]}}}

    def work() -> None:
        with http_client(api_url) as http:
            for _ in range(25):
                server.log(run)
                assert http.post("/logs/filter", json=where).status_code == 200

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with http_client(api_url) as http:
        rows = http.post("/logs/filter", json=where).json()
    assert len({row["id"] for row in rows}) == len({row["created"] for row in rows}) == 100


def test_an_interceptor_replaces_a_response_or_breaks_it_off(
    server: FakePrefect3, api_url: str
) -> None:
    """A response of its own is sent unchanged; after an httpx error the client gets none."""

    def intercept(request: httpx.Request) -> httpx.Response | None:
        if request.url.path == "/api/broken":
            raise httpx.ReadError("broken off", request=request)
        busy = httpx.Response(503, headers={"retry-after": "7"}, text="busy")
        return busy if request.url.path == "/api/busy" else None

    server.intercept = intercept
    with http_client(api_url) as http:
        busy = http.get("/busy")
        assert (busy.status_code, busy.headers["retry-after"], busy.text) == (503, "7", "busy")
        with pytest.raises(httpx.RemoteProtocolError):
            http.get("/broken")
        assert http.get("/admin/version").status_code == 200
    assert server.requests == [("GET", "/busy"), ("GET", "/broken"), ("GET", "/admin/version")]


def test_a_defect_of_an_interceptor_is_reported(
    server: FakePrefect3, api_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its error is printed to stderr, and the server goes on."""

    def intercept(_: httpx.Request) -> httpx.Response | None:
        server.intercept = None
        raise ZeroDivisionError

    server.intercept = intercept
    with http_client(api_url) as http:
        with pytest.raises(httpx.RemoteProtocolError):
            http.get("/admin/version")
        assert http.get("/admin/version").status_code == 200
    assert "ZeroDivisionError" in capsys.readouterr().err
