"""Requests that wait at a `Hold`: in threads, in tasks and over HTTP."""

import asyncio
import threading
from collections.abc import Callable

import httpx
import pytest
from server_connections import API_URL, VERSION

import rxflow
from rxflow.errors import RxflowError
from rxflow.testing import FakePrefect3, Hold, VirtualTime

SHORT = 0.01  # seconds

NO_TIMEOUT = httpx.Timeout(None)


def in_thread(action: Callable[[], object]) -> threading.Thread:
    """Run an action in a new thread."""
    thread = threading.Thread(target=action)
    thread.start()
    return thread


@pytest.fixture
def server() -> FakePrefect3:
    """Make a server without rows."""
    return FakePrefect3()


# -- gates that open ----------------------------------------------------------------------------


def test_a_thread_waits_until_the_gate_opens(server: FakePrefect3) -> None:
    """Its response shows what was written while it waited."""
    run_id = server.add_run(state="RUNNING")
    names: list[str] = []

    def get() -> None:
        with httpx.Client(
            base_url=API_URL, transport=server.transport(), timeout=NO_TIMEOUT
        ) as http:
            names.append(http.get(f"/flow_runs/{run_id}").json()["state_name"])

    with server.hold() as hold:
        thread = in_thread(get)
        hold.until_reached()
        server.set_state(run_id, "COMPLETED")
        assert names == []
    thread.join()
    assert names == ["Completed"]
    assert (hold.came, hold.left) == (1, 0)


def test_tasks_wait_until_the_gate_opens(server: FakePrefect3) -> None:
    """Many tasks of one loop wait at once, and all go on."""

    async def get_all() -> list[int]:
        transport = server.transport()
        async with httpx.AsyncClient(
            base_url=API_URL, transport=transport, timeout=NO_TIMEOUT
        ) as http:
            with server.hold() as hold:
                tasks = [asyncio.create_task(http.get(VERSION)) for _ in range(9)]
                await hold.auntil_reached(9)
                assert not any(task.done() for task in tasks)
            return [(await task).status_code for task in tasks]

    assert asyncio.run(get_all()) == [200] * 9


def test_a_gate_may_be_opened_from_another_thread(server: FakePrefect3) -> None:
    """A task that waits is woken from outside its loop."""

    async def get() -> int:
        transport = server.transport()
        async with httpx.AsyncClient(
            base_url=API_URL, transport=transport, timeout=NO_TIMEOUT
        ) as http:
            return (await http.get(VERSION)).status_code

    hold = server.hold()

    def release() -> None:
        hold.until_reached()
        hold.release()

    thread = in_thread(release)
    assert asyncio.run(get()) == 200
    thread.join()


def test_only_the_selected_requests_wait(server: FakePrefect3) -> None:
    """Requests that the gate does not select pass."""
    with server.serve() as url, server.hold(lambda request: request.method == "POST") as hold:
        assert httpx.get(url + VERSION, trust_env=False).status_code == 200
        thread = in_thread(
            lambda: httpx.post(f"{url}/logs/filter", json={}, trust_env=False, timeout=NO_TIMEOUT)
        )
        hold.until_reached()
        hold.release()
        thread.join()
    assert (hold.came, hold.left) == (1, 0)


def test_an_open_gate_stays_open(server: FakePrefect3) -> None:
    """After its block requests pass, and a new gate stops them again."""
    with server.hold():
        pass
    request = httpx.Request("GET", API_URL + VERSION)
    assert server.handle(request).status_code == 200
    with server.hold() as again:
        thread = in_thread(lambda: server.handle(request))
        again.until_reached()
    thread.join()


def test_a_request_waits_at_one_gate_after_another(server: FakePrefect3) -> None:
    """It reaches the second gate when the first has opened."""
    first, second = server.hold(), server.hold()
    thread = in_thread(lambda: server.handle(httpx.Request("GET", API_URL + VERSION)))
    first.until_reached()
    assert second.came == 0
    first.release()
    second.until_reached()
    second.release()
    thread.join()


# -- requests that are broken off ---------------------------------------------------------------


def test_a_cancelled_task_leaves_the_gate(server: FakePrefect3) -> None:
    """The gate counts its request as left, and other requests go on."""

    async def cancel_one() -> tuple[int, bool, int]:
        transport = server.transport()
        async with httpx.AsyncClient(
            base_url=API_URL, transport=transport, timeout=NO_TIMEOUT
        ) as http:
            with server.hold() as hold:
                gone, kept = (asyncio.create_task(http.get(VERSION)) for _ in range(2))
                await hold.auntil_reached(2)
                gone.cancel()
                await hold.auntil_left()
                left = hold.left
            return left, gone.cancelled(), (await kept).status_code

    assert asyncio.run(cancel_one()) == (1, True, 200)


def test_a_client_that_disconnects_leaves_the_gate(server: FakePrefect3) -> None:
    """Over HTTP a cancelled task closes its connection, which the server notices."""

    async def cancel(url: str) -> int:
        async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=NO_TIMEOUT) as http:
            with server.hold() as hold:
                task = asyncio.create_task(http.get(VERSION))
                await hold.auntil_reached()
                task.cancel()
                await hold.auntil_left()
                return hold.left

    with server.serve() as url:
        assert asyncio.run(cancel(url)) == 1


def test_closing_a_client_breaks_off_its_request(server: FakePrefect3) -> None:
    """A blocking read over HTTP ends with an error when its client is closed."""
    run_id = server.add_run()
    errors: list[Exception] = []

    def read(client: rxflow.Client) -> None:
        try:
            rxflow.FlowRunView.from_flow_run_id(run_id, client=client)
        except RxflowError as error:
            errors.append(error)

    with server.serve() as url, server.hold() as hold:
        client = rxflow.Client(api_url=url)
        thread = in_thread(lambda: read(client))
        hold.until_reached()
        client.close()
        thread.join()
        hold.until_left()
    assert "closed" in str(errors[0])


@pytest.mark.parametrize("blocking", [True, False], ids=["thread", "task"])
def test_the_read_timeout_applies_at_a_gate(server: FakePrefect3, *, blocking: bool) -> None:
    """A request that waits longer than the client's read timeout is a `ReadTimeout`."""
    timeout = httpx.Timeout(None, read=SHORT)

    async def get_async() -> None:
        transport = server.transport()
        async with httpx.AsyncClient(
            base_url=API_URL, transport=transport, timeout=timeout
        ) as http:
            await http.get(VERSION)

    def get() -> None:
        with httpx.Client(transport=server.transport(), timeout=timeout) as http:
            http.get(API_URL + VERSION)

    with server.hold() as hold, pytest.raises(httpx.ReadTimeout):
        get() if blocking else asyncio.run(get_async())
    assert hold.left == 1


def test_a_server_that_stops_breaks_off_held_requests(server: FakePrefect3) -> None:
    """Requests that wait when the serving block ends lose their connections."""
    errors: list[Exception] = []

    def get() -> None:
        try:
            httpx.get(url + VERSION, trust_env=False, timeout=NO_TIMEOUT)
        except httpx.TransportError as error:
            errors.append(error)

    hold = server.hold()
    with server.serve() as url:
        thread = in_thread(get)
        hold.until_reached()
    thread.join()
    assert (len(errors), hold.left) == (1, 1)


def test_waiting_in_vain_raises_a_timeout_error() -> None:
    """A test that waits for a request that does not come ends with an error."""
    hold = Hold()
    with pytest.raises(TimeoutError, match="0 requests came"):
        hold.until_reached(timeout=SHORT)
    with pytest.raises(TimeoutError):
        hold.until_left(timeout=SHORT)
    with pytest.raises(TimeoutError):
        asyncio.run(hold.auntil_reached(timeout=SHORT))
    with pytest.raises(TimeoutError):
        asyncio.run(hold.auntil_left(timeout=SHORT))


def test_time_may_pass_while_a_request_waits() -> None:
    """Actions that become due meanwhile have run when the server replies."""
    time = VirtualTime()
    server = FakePrefect3(clock=time)
    run_id = server.add_run()
    server.at(60, lambda: server.set_state(run_id, "CRASHED"))
    names: list[str] = []

    def get() -> None:
        response = server.handle(httpx.Request("GET", f"{API_URL}/flow_runs/{run_id}"))
        names.append(response.json()["state_name"])

    with server.hold() as hold:
        thread = in_thread(get)
        hold.until_reached()
        time.wait(60)
    thread.join()
    assert names == ["Crashed"]
