"""How time passes while a request to a fake server is under way, in process and over HTTP."""

import asyncio
from datetime import timedelta
from typing import Any

import httpx
import pytest
from server_connections import API_URL, CONNECTIONS, IN_PROCESS, VERSION, Connect, read_lines

from rxflow.testing import FakePrefect3, Faults, VirtualTime

ALWAYS = 1.0


def test_an_async_client_gets_the_same_responses() -> None:
    """Its responses equal a blocking client's, and an interceptor sees its requests."""
    server = FakePrefect3()
    run = server.add_run()
    methods: list[str] = []
    server.intercept = lambda request: methods.append(request.method)
    url = f"{API_URL}/flow_runs/{run}"

    async def get() -> Any:
        async with httpx.AsyncClient(transport=server.transport()) as http:
            return (await http.get(url)).json()

    with httpx.Client(transport=server.transport()) as http:
        blocking_row = http.get(url).json()
    async_row = asyncio.run(get())
    estimates = {"estimated_run_time", "estimated_start_time_delta"}
    assert {key for key in blocking_row if blocking_row[key] != async_row[key]} <= estimates
    assert methods == ["GET", "GET"]


@pytest.mark.parametrize("connect", IN_PROCESS)
def test_half_of_the_latency_passes_before_the_read(connect: Connect) -> None:
    """Rows that land before the server reads are in the response, and later ones are not."""
    time = VirtualTime()
    server = FakePrefect3(clock=time, faults=Faults(latency=2.0))
    run_id = server.add_run(state=None)
    read_at: list[float] = []
    server.intercept = lambda _: read_at.append(time.seconds)
    server.script(run_id, [(0.9, "before"), (1.1, "after")])
    with connect(server) as get:
        get(VERSION)
        assert (read_at, time.seconds) == ([1.0], 2.0)
    server.intercept = None
    server.at(0.9, lambda: server.log(run_id, "before the next read"))
    server.at(1.1, lambda: server.log(run_id, "after the next read"))
    assert read_lines(server, run_id) == ["before", "after", "before the next read"]


@pytest.mark.parametrize("connect", IN_PROCESS)
def test_a_slow_response_takes_its_delay_longer(connect: Connect) -> None:
    """The delay is added to the latency, if the client's timeout allows it."""
    time = VirtualTime()
    server = FakePrefect3(clock=time, faults=Faults(slow=ALWAYS, delay=4.0, latency=0.5))
    with connect(server) as get:
        assert get(VERSION).status_code == 200
    assert time.seconds == 4.5


@pytest.mark.parametrize("connect", IN_PROCESS)
def test_a_client_times_out_in_virtual_time(connect: Connect) -> None:
    """A response slower than the read timeout, here httpx's default of 5 s, is a `ReadTimeout`."""
    time = VirtualTime()
    server = FakePrefect3(clock=time, faults=Faults(slow=ALWAYS, delay=60.0))
    with connect(server) as get, pytest.raises(httpx.ReadTimeout):
        get(VERSION)
    assert time.seconds == 5.0


@pytest.mark.parametrize("connect", CONNECTIONS)
def test_with_a_real_clock_requests_wait_in_real_time(connect: Connect) -> None:
    """A slow response does not come before its delay has passed."""
    server = FakePrefect3(faults=Faults(slow=ALWAYS, delay=0.05))
    before = server.now()
    with connect(server) as get:
        get(VERSION)
    assert server.now() - before >= timedelta(seconds=0.05)


def test_a_client_times_out_over_http() -> None:
    """The client's timeout ends its wait, and the server's as well."""
    server = FakePrefect3(faults=Faults(slow=ALWAYS, delay=3600.0))
    with server.serve() as url, pytest.raises(httpx.ReadTimeout):
        httpx.get(url + VERSION, timeout=httpx.Timeout(10, read=0.01), trust_env=False)


def test_wait_replaces_waiting_in_real_time() -> None:
    """With `wait` given, it is called with the seconds that a request takes."""
    waits: list[float] = []
    server = FakePrefect3(wait=waits.append, faults=Faults(latency=2.0, slow=ALWAYS, delay=9.0))
    server.handle(httpx.Request("GET", API_URL + VERSION))
    assert waits == [1.0, 10.0]
