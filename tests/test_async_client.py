"""`Client` on event loops: many tasks, many loops, cancellation and closing."""

import asyncio
import gc
import threading
from contextlib import suppress

import httpx
import pytest
from client_readers import poll_of, serve_flows
from wire_server import ServerConnection, WireServer

from rxflow._protocol.queries import FlowQuery, LogsQuery
from rxflow.client import Client
from rxflow.errors import Unreachable
from rxflow.testing import FakePrefect3

LOGS = poll_of(LogsQuery(flow_run_ids=("ca449f3a-c029-47d8-acb6-1db88b00c1f2",)))

pytestmark = pytest.mark.timeout(60)


async def read_flow_id(client: Client, flow_id: str) -> str:
    """Read a flow, and return the id in the reply."""
    (flow,) = await client.aread(poll_of(FlowQuery(flow_id)))
    return str(flow.id)


async def wait_for(event: threading.Event) -> None:
    """Wait for an event of another thread."""
    assert await asyncio.to_thread(event.wait, 60)


def test_many_tasks_may_read_at_once() -> None:
    """Each task receives the reply to its own query, over the one connection."""
    flow_ids = [str(number) for number in range(40)]

    async def read(client: Client) -> list[str]:
        async with client:
            return list(
                await asyncio.gather(*(read_flow_id(client, flow_id) for flow_id in flow_ids))
            )

    with WireServer(serve_flows) as wire:
        assert asyncio.run(read(Client(api_url=wire.url, backend="prefect3"))) == flow_ids
        gc.collect()
        assert wire.connections == 1


def test_a_cancelled_task_does_not_block_others() -> None:
    """Cancelling a read, in progress or queued, ends only that read."""

    def script(connection: ServerConnection) -> None:
        connection.read()
        connection.stall()

    async def read(wire: WireServer) -> None:
        async with Client(api_url=wire.url, backend="prefect3") as client:
            tasks = [asyncio.create_task(read_flow_id(client, str(number))) for number in range(4)]
            await wait_for(wire.stalling)
            tasks[2].cancel()
            tasks[0].cancel()
            outcomes = await asyncio.gather(*tasks, return_exceptions=True)
            assert outcomes[1::2] == ["1", "3"]
            assert all(isinstance(outcomes[n], asyncio.CancelledError) for n in (0, 2))

    with WireServer(script, serve_flows) as wire:
        asyncio.run(read(wire))
        gc.collect()
        assert wire.connections == 2


def test_one_client_serves_many_loops() -> None:
    """Loops in several threads, and blocking reads beside them, each have their own connection."""
    received: list[str] = []
    start = threading.Barrier(3)
    with (
        WireServer(*[serve_flows] * 4) as wire,
        Client(api_url=wire.url, backend="prefect3") as client,
    ):

        async def read() -> None:
            start.wait(60)
            async with client:
                received.extend([await read_flow_id(client, str(number)) for number in range(5)])

        threads = [threading.Thread(target=lambda: asyncio.run(read())) for _ in range(3)]
        for thread in threads:
            thread.start()
        (flow,) = client.read(poll_of(FlowQuery("blocking")))
        for thread in threads:
            thread.join()
        assert flow.id == "blocking"
        assert sorted(received) == sorted("01234" * 3)
        assert wire.connections == 4


# asyncio warns of a connection that was not closed whenever it is collected.
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_one_loop_after_the_other_may_use_a_client() -> None:
    """A client not closed when its loop ended serves the next loop, and drops the first."""
    closed = threading.Event()

    def script(connection: ServerConnection) -> None:
        with suppress(ConnectionAbortedError):
            serve_flows(connection)
        closed.set()

    with WireServer(script, serve_flows) as wire:
        client = Client(api_url=wire.url, backend="prefect3")
        assert asyncio.run(read_flow_id(client, "first")) == "first"
        assert not closed.is_set()

        async def second() -> None:
            async with client:
                assert await read_flow_id(client, "second") == "second"
                gc.collect()
                await wait_for(closed)

        asyncio.run(second())
        gc.collect()
        assert wire.connections == 2


def test_an_async_context_closes_the_connection() -> None:
    """Leaving `async with` closes the connection of this loop, and the next read opens another."""
    closed = threading.Event()

    def script(connection: ServerConnection) -> None:
        with suppress(ConnectionAbortedError):
            serve_flows(connection)
        closed.set()

    async def read(wire: WireServer) -> None:
        async with Client(api_url=wire.url, backend="prefect3") as client:
            await read_flow_id(client, "a")
            assert not closed.is_set()
        await wait_for(closed)
        await client.aclose()
        assert await read_flow_id(client, "b") == "b"
        await client.aclose()

    with WireServer(script, serve_flows) as wire:
        asyncio.run(read(wire))
        gc.collect()
        assert wire.connections == 2


def test_closing_ends_the_reads_of_a_loop() -> None:
    """Reads in progress or queued fail when their client is closed."""

    def script(connection: ServerConnection) -> None:
        connection.read()
        connection.stall()

    async def read(wire: WireServer) -> None:
        client = Client(api_url=wire.url, backend="prefect3")
        tasks = [asyncio.create_task(client.aread(LOGS)) for _ in range(3)]
        await wait_for(wire.stalling)
        await client.aclose()
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            assert isinstance(outcome, Unreachable)
            assert "closed" in str(outcome)

    with WireServer(script) as wire:
        asyncio.run(read(wire))
        gc.collect()
        assert (wire.connections, len(wire.requests)) == (1, 1)


def test_waiting_to_retry_leaves_the_loop_free() -> None:
    """While a read waits to retry, other tasks run, and a cancellation ends the wait."""
    server = FakePrefect3()

    async def read() -> None:
        refused = asyncio.Event()

        def refuse(_: httpx.Request) -> httpx.Response:
            refused.set()
            return httpx.Response(503, headers={"retry-after": "29"})

        server.intercept = refuse
        async with server.client() as client:
            task = asyncio.create_task(client.aread(LOGS))
            await refused.wait()
            for _ in range(10):
                await asyncio.sleep(0)
            assert not task.done()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(read())
