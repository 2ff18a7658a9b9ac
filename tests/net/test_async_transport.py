"""The async transport where it differs from the blocking one: cancelling, its deadline, its end.

`test_transport.py` tests what both do.
"""

import asyncio
import gc
import ssl
import threading
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import httpx
import pytest
from broken_responses import stall_half_way
from certificates import Authority
from http_calls import GET, POST, failure_of, reply_of, settings_for
from virtual_world import TEST_TIMEOUT
from wire_server import (
    Script,
    ServerConnection,
    WireServer,
    http_response,
    respond_always,
    respond_then,
    stall_response,
)

from rxflow._config.settings import Settings
from rxflow._net.endpoint import Endpoint
from rxflow._net.transport import AsyncTransport, Transport
from rxflow._protocol.failures import Failure, FailureKind
from rxflow.errors import ConfigurationError
from rxflow.testing import FakePrefect3

pytestmark = pytest.mark.timeout(60)


@asynccontextmanager
async def open_transport(
    settings: Settings, tls: ssl.SSLContext | None = None
) -> AsyncIterator[AsyncTransport]:
    """Open a transport on the running event loop."""
    async with aclosing(AsyncTransport(Endpoint(settings, tls))) as transport:
        yield transport


class WatchedScript:
    """A script that shows when it has ended.

    Attributes:
        ended: Set when the client has disconnected.
    """

    def __init__(self, script: Script) -> None:
        self._script = script
        self.ended = threading.Event()

    def __call__(self, connection: ServerConnection) -> None:
        """Run the script to its end."""
        self._script(connection)
        self.ended.set()


async def has_stalled(server: WireServer) -> None:
    """Wait until the server stalls."""
    assert await asyncio.to_thread(server.stalling.wait, TEST_TIMEOUT)


async def end_cancelled(task: asyncio.Task[Any]) -> None:
    """Cancel a task, and check that it ends by the cancellation alone."""
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


# -- cancelling -----------------------------------------------------------------------------------


@pytest.mark.parametrize("stalls", [stall_response, stall_half_way])
@pytest.mark.parametrize("before", [0, 1], ids=["fresh", "kept"])
def test_cancelling_aborts_a_call(stalls: Script, before: int) -> None:
    """A cancelled call ends at once and its connection is closed; the next call has a response."""
    script = WatchedScript(respond_then(stalls) if before else stalls)

    async def cancel(server: WireServer) -> None:
        async with open_transport(settings_for(server.url)) as transport:
            for _ in range(before):
                reply_of(await transport.send(GET))
            task = asyncio.create_task(transport.send(POST))
            await has_stalled(server)
            await end_cancelled(task)
            assert await asyncio.to_thread(script.ended.wait, TEST_TIMEOUT)
            assert not server.released.is_set()
            assert reply_of(await transport.send(GET)).body == b"[1]"

    with WireServer(script, respond_always(http_response(b"[1]"))) as server:
        asyncio.run(cancel(server))
        gc.collect()
        assert (server.connections, len(server.requests)) == (2, before + 2)


@pytest.mark.parametrize("reading", [False, True], ids=["in the handshake", "after it"])
def test_cancelling_aborts_a_call_over_tls(reading: bool, authority: Authority) -> None:
    """Over TLS a cancelled call closes its connection too, in the handshake or after it."""
    context = authority.server_context() if reading else None
    trusting = ssl.create_default_context(cafile=authority.file)
    script = WatchedScript(stall_response if reading else ServerConnection.stall)

    async def cancel(server: WireServer) -> None:
        async with open_transport(
            settings_for(f"https://{server.address}/api"), trusting
        ) as transport:
            task = asyncio.create_task(transport.send(GET))
            await has_stalled(server)
            await end_cancelled(task)
            gc.collect()
            assert await asyncio.to_thread(script.ended.wait, TEST_TIMEOUT)
            assert not server.released.is_set()

    with WireServer(script, tls=context) as server:
        asyncio.run(cancel(server))
        gc.collect()


def test_a_call_may_be_cancelled_before_it_begins() -> None:
    """A call that is cancelled before its request is sent does no harm."""

    async def cancel(server: WireServer) -> None:
        async with open_transport(settings_for(server.url)) as transport:
            for turns in range(4):
                task = asyncio.create_task(transport.send(GET))
                for _ in range(turns):
                    await asyncio.sleep(0)
                await end_cancelled(task)
            assert reply_of(await transport.send(GET)).body == b"[]"

    with WireServer(*[respond_always(http_response())] * 5) as server:
        asyncio.run(cancel(server))
        gc.collect()


def test_the_end_of_an_event_loop_aborts_a_call() -> None:
    """No connection is left open when the main task ends during a call."""
    script = WatchedScript(stall_response)

    async def leave(server: WireServer) -> asyncio.Task[Any]:
        transport = AsyncTransport(Endpoint(settings_for(server.url), None))
        task = asyncio.create_task(transport.send(GET))
        await has_stalled(server)
        return task

    with WireServer(script) as server:
        task = asyncio.run(leave(server))
        assert task.cancelled()
        del task
        gc.collect()
        assert script.ended.wait(TEST_TIMEOUT)
        assert not server.released.is_set()


# -- the deadline ---------------------------------------------------------------------------------


class NeverConnects(httpx.AsyncBaseTransport):
    """An httpx transport whose connection is never made.

    Attributes:
        cancelled: How often a request was cancelled.
    """

    cancelled = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Wait for ever."""
        try:
            await asyncio.Event().wait()
        finally:
            self.cancelled += 1
        raise AssertionError(request)


def test_the_deadline_includes_connecting() -> None:
    """Name look-up and connecting end at the deadline."""
    never_connects = NeverConnects()

    async def send() -> Failure:
        settings = settings_for("http://nowhere.invalid/api", deadline=0.05)
        transport = AsyncTransport(Endpoint(settings, None, never_connects))
        return failure_of(await transport.send(GET))

    failure = asyncio.run(send())
    assert failure.kind is FailureKind.NETWORK
    assert "No complete response in 0.05 s" in failure.text
    assert never_connects.cancelled == 1


def test_a_cancellation_at_the_deadline_is_a_cancellation() -> None:
    """A task that is cancelled when the deadline has just passed is cancelled."""

    async def send() -> None:
        transport = AsyncTransport(
            Endpoint(settings_for("http://there/api", deadline=0.0), None, NeverConnects())
        )
        task = asyncio.create_task(transport.send(GET))
        await asyncio.sleep(0)
        await end_cancelled(task)
        assert task.cancelled()

    asyncio.run(send())


def test_a_time_out_around_a_call_is_raised() -> None:
    """A time-out of the caller is raised there, and is no failure of the server."""

    async def send() -> None:
        transport = AsyncTransport(
            Endpoint(settings_for("http://there/api"), None, NeverConnects())
        )
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await transport.send(GET)

    asyncio.run(send())


# -- closing --------------------------------------------------------------------------------------


def test_closing_from_another_task_aborts_a_call() -> None:
    """The call returns a failure at once."""
    script = WatchedScript(stall_response)

    async def close(server: WireServer) -> None:
        async with open_transport(settings_for(server.url)) as transport:
            task = asyncio.create_task(transport.send(GET))
            await has_stalled(server)
            await asyncio.gather(transport.aclose(), transport.aclose())
            assert "closed" in failure_of(await task).text
            assert "closed" in failure_of(await transport.send(GET)).text
            assert await asyncio.to_thread(script.ended.wait, TEST_TIMEOUT)

    with WireServer(script) as server:
        asyncio.run(close(server))
        gc.collect()
        assert server.connections == 1


def test_a_closed_transport_follows_no_redirect() -> None:
    """A transport that is closed while a redirect is read sends no other request."""
    paths: list[str] = []

    class Redirecting(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            paths.append(request.url.path)
            await transport.aclose()
            return httpx.Response(307, headers={"location": f"{request.url.path}/"})

    transport = AsyncTransport(Endpoint(settings_for("http://there/api"), None, Redirecting()))
    assert "closed" in failure_of(asyncio.run(transport.send(POST))).text
    assert paths == ["/api/logs/filter"]


def test_event_loops_may_follow_each_other() -> None:
    """Each loop has a transport of its own, and a closed one leaves nothing for the next."""

    async def send(server: WireServer) -> bytes:
        async with open_transport(settings_for(server.url)) as transport:
            return reply_of(await transport.send(GET)).body

    with WireServer(*[respond_always(http_response(b"[1]"))] * 3) as server:
        assert [asyncio.run(send(server)) for _ in range(3)] == [b"[1]"] * 3
        gc.collect()
        assert server.connections == 3


def test_no_thread_is_started(started: list[str]) -> None:
    """Calls to an address are made on the event loop alone."""

    async def send(server: WireServer) -> None:
        async with open_transport(settings_for(server.url)) as transport:
            for _ in range(3):
                reply_of(await transport.send(GET))

    with WireServer(respond_always(http_response())) as server:
        asyncio.run(send(server))
    assert set(started) == {"wire-server", "wire-connection"}


# -- httpx transports -----------------------------------------------------------------------------


def test_an_unsuitable_httpx_transport_is_refused() -> None:
    """An httpx transport for one kind of client alone is a configuration error for the other."""
    settings = settings_for("http://there/api")
    blocking, both = httpx.HTTPTransport(), FakePrefect3().transport()
    with pytest.raises(ConfigurationError, match=r"HTTPTransport.*`async for`.*AsyncBaseTransport"):
        AsyncTransport(Endpoint(settings, None, blocking))
    with pytest.raises(ConfigurationError, match=r"NeverConnects.*`for`.*\.BaseTransport"):
        Transport(Endpoint(settings, None, NeverConnects()))
    blocking.close()
    Transport(Endpoint(settings, None, both)).close()
    asyncio.run(AsyncTransport(Endpoint(settings, None, both)).aclose())
