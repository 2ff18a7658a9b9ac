"""Requests that wait at a gate: in threads, in tasks and over HTTP."""

import asyncio
import threading
from collections.abc import Callable

import httpx
import pytest

import rxflow
from rxflow.errors import RxflowError
from rxflow.testing import FakePrefect3, Hold, VirtualTime

FAKE = "http://fake.invalid/api"
VERSION = "/admin/version"
SOON = 0.01

PLAIN = httpx.Timeout(None)


def in_thread(action: Callable[[], object]) -> threading.Thread:
    """Have something done in a thread of its own."""
    thread = threading.Thread(target=action)
    thread.start()
    return thread


@pytest.fixture
def server() -> FakePrefect3:
    """A server."""
    return FakePrefect3()


# -- opened -------------------------------------------------------------------------------------


def test_a_thread_waits_until_it_opens(server: FakePrefect3) -> None:
    """Its answer tells of what was written while it waited."""
    run_id = server.add_run(state="RUNNING")
    names: list[str] = []

    def ask() -> None:
        with httpx.Client(base_url=FAKE, transport=server.transport(), timeout=PLAIN) as http:
            names.append(http.get(f"/flow_runs/{run_id}").json()["state_name"])

    with server.hold() as hold:
        thread = in_thread(ask)
        hold.until_reached()
        server.set_state(run_id, "COMPLETED")
        assert names == []
    thread.join()
    assert names == ["Completed"]
    assert (hold.came, hold.left) == (1, 0)


def test_tasks_wait_until_it_opens(server: FakePrefect3) -> None:
    """Many of one loop wait at once, and all go on."""

    async def ask() -> list[int]:
        transport = server.transport()
        async with httpx.AsyncClient(base_url=FAKE, transport=transport, timeout=PLAIN) as http:
            with server.hold() as hold:
                tasks = [asyncio.create_task(http.get(VERSION)) for _ in range(9)]
                await hold.auntil_reached(9)
                assert not any(task.done() for task in tasks)
            return [(await task).status_code for task in tasks]

    assert asyncio.run(ask()) == [200] * 9


def test_it_is_opened_from_another_thread(server: FakePrefect3) -> None:
    """A task that waits is woken from wherever."""

    async def ask() -> int:
        transport = server.transport()
        async with httpx.AsyncClient(base_url=FAKE, transport=transport, timeout=PLAIN) as http:
            return (await http.get(VERSION)).status_code

    hold = server.hold()

    def release() -> None:
        hold.until_reached()
        hold.release()

    thread = in_thread(release)
    assert asyncio.run(ask()) == 200
    thread.join()


def test_only_some_requests_wait(server: FakePrefect3) -> None:
    """Those that the gate is for; the others pass."""
    with server.serve() as url, server.hold(lambda asked: asked.method == "POST") as hold:
        assert httpx.get(url + VERSION, trust_env=False).status_code == 200
        thread = in_thread(
            lambda: httpx.post(f"{url}/logs/filter", json={}, trust_env=False, timeout=PLAIN)
        )
        hold.until_reached()
        hold.release()
        thread.join()
    assert (hold.came, hold.left) == (1, 0)


def test_an_open_gate_stays_open(server: FakePrefect3) -> None:
    """After its block requests pass, and a new gate closes again."""
    with server.hold():
        pass
    request = httpx.Request("GET", FAKE + VERSION)
    assert server.handle(request).status_code == 200
    with server.hold() as again:
        thread = in_thread(lambda: server.handle(request))
        again.until_reached()
    thread.join()


def test_gates_stand_one_behind_another(server: FakePrefect3) -> None:
    """A request waits at each that it must."""
    first, second = server.hold(), server.hold()
    thread = in_thread(lambda: server.handle(httpx.Request("GET", FAKE + VERSION)))
    first.until_reached()
    assert second.came == 0
    first.release()
    second.until_reached()
    second.release()
    thread.join()


# -- left ---------------------------------------------------------------------------------------


def test_a_cancelled_task_leaves(server: FakePrefect3) -> None:
    """The gate tells that a request under way was broken off, and others go on."""

    async def cancel_one() -> tuple[int, bool, int]:
        transport = server.transport()
        async with httpx.AsyncClient(base_url=FAKE, transport=transport, timeout=PLAIN) as http:
            with server.hold() as hold:
                gone, kept = (asyncio.create_task(http.get(VERSION)) for _ in range(2))
                await hold.auntil_reached(2)
                gone.cancel()
                await hold.auntil_left()
                left = hold.left
            return left, gone.cancelled(), (await kept).status_code

    assert asyncio.run(cancel_one()) == (1, True, 200)


def test_a_client_that_hangs_up_leaves(server: FakePrefect3) -> None:
    """Over HTTP, a cancelled task closes its connection, which the server sees."""

    async def cancel(url: str) -> int:
        async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=PLAIN) as http:
            with server.hold() as hold:
                task = asyncio.create_task(http.get(VERSION))
                await hold.auntil_reached()
                task.cancel()
                await hold.auntil_left()
                return hold.left

    with server.serve() as url:
        assert asyncio.run(cancel(url)) == 1


def test_closing_a_client_breaks_its_read_off(server: FakePrefect3) -> None:
    """A blocking read over HTTP that is under way when its client is closed ends."""
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
def test_patience_ends_at_a_gate_too(server: FakePrefect3, *, blocking: bool) -> None:
    """Where nothing else ends the wait, the client's read timeout does."""
    timeout = httpx.Timeout(None, read=SOON)

    async def ask() -> None:
        transport = server.transport()
        async with httpx.AsyncClient(base_url=FAKE, transport=transport, timeout=timeout) as http:
            await http.get(VERSION)

    def block() -> None:
        with httpx.Client(transport=server.transport(), timeout=timeout) as http:
            http.get(FAKE + VERSION)

    with server.hold() as hold, pytest.raises(httpx.ReadTimeout):
        block() if blocking else asyncio.run(ask())
    assert hold.left == 1


def test_a_server_that_stops_waits_for_nobody(server: FakePrefect3) -> None:
    """Requests that are held when the block ends are broken off with their connections."""
    errors: list[Exception] = []

    def ask() -> None:
        try:
            httpx.get(url + VERSION, trust_env=False, timeout=PLAIN)
        except httpx.TransportError as error:
            errors.append(error)

    hold = server.hold()
    with server.serve() as url:
        thread = in_thread(ask)
        hold.until_reached()
    thread.join()
    assert (len(errors), hold.left) == (1, 1)


def test_what_waits_in_vain_says_so() -> None:
    """A test that waits for what does not come ends with an error, not never."""
    hold = Hold()
    with pytest.raises(TimeoutError, match="0 requests came"):
        hold.until_reached(timeout=SOON)
    with pytest.raises(TimeoutError):
        hold.until_left(timeout=SOON)
    with pytest.raises(TimeoutError):
        asyncio.run(hold.auntil_reached(timeout=SOON))
    with pytest.raises(TimeoutError):
        asyncio.run(hold.auntil_left(timeout=SOON))


def test_time_may_pass_at_a_gate() -> None:
    """What falls due while a request waits is in its answer."""
    time = VirtualTime()
    server = FakePrefect3(clock=time)
    run_id = server.add_run()
    server.at(60, lambda: server.set_state(run_id, "CRASHED"))
    told: list[str] = []

    def ask() -> None:
        answer = server.handle(httpx.Request("GET", f"{FAKE}/flow_runs/{run_id}"))
        told.append(answer.json()["state_name"])

    with server.hold() as hold:
        thread = in_thread(ask)
        hold.until_reached()
        time.wait(60)
    thread.join()
    assert told == ["Crashed"]
