"""The transport of an event loop, in what is its own: cancelling, the loop's deadline, its end.

What it does as its blocking twin does is in test_transport.py, for both.
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
import trustme
from http_calls import GET, POST, failure, patient, reply
from virtual_world import TEST_TIMEOUT
from wire_server import Script, Talk, WireServer, answer, forever, kept, stall

from rxflow._config.settings import Settings
from rxflow._net.transport import AsyncTransport, Transport
from rxflow._protocol.failures import Failure, FailureKind
from rxflow.errors import ConfigurationError
from rxflow.testing import FakePrefect3

pytestmark = pytest.mark.timeout(60)


@asynccontextmanager
async def opened(
    settings: Settings, tls: ssl.SSLContext | None = None
) -> AsyncIterator[AsyncTransport]:
    """Open a transport on this loop."""
    async with aclosing(AsyncTransport(settings, tls)) as transport:
        yield transport


class Peer:
    """A script that says when its peer has gone.

    Attributes:
        gone: Set then.
    """

    def __init__(self, script: Script) -> None:
        self._script = script
        self.gone = threading.Event()

    def __call__(self, talk: Talk) -> None:
        """Play the script to its end."""
        self._script(talk)
        self.gone.set()


def stall_half(talk: Talk) -> None:
    """Stall in the middle of an answer."""
    talk.read()
    talk.send(answer(b"[1, 2, 3]")[:-4])
    talk.stall()


async def stalling(server: WireServer) -> None:
    """Wait until the server stalls."""
    assert await asyncio.to_thread(server.stalling.wait, TEST_TIMEOUT)


async def cancelled(task: asyncio.Task[Any]) -> None:
    """Cancel a task, which ends by that and by nothing else."""
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


# -- cancelling ---------------------------------------------------------------------------------


@pytest.mark.parametrize("script", [stall, stall_half])
@pytest.mark.parametrize("before", [0, 1], ids=["fresh", "kept"])
def test_cancelling_breaks_off_a_call(script: Script, before: int) -> None:
    """A cancelled call ends at once, its server sees the peer leave, and the next call is made."""
    peer = Peer(kept(script) if before else script)

    async def cancel(server: WireServer) -> None:
        async with opened(patient(server.url)) as transport:
            for _ in range(before):
                reply(await transport.send(GET))
            task = asyncio.create_task(transport.send(POST))
            await stalling(server)
            await cancelled(task)
            assert await asyncio.to_thread(peer.gone.wait, TEST_TIMEOUT)
            assert not server.released.is_set()
            assert reply(await transport.send(GET)).body == b"[1]"

    with WireServer(peer, forever(answer(b"[1]"))) as server:
        asyncio.run(cancel(server))
        gc.collect()
        assert (server.connections, len(server.requests)) == (2, before + 2)


@pytest.mark.parametrize("reading", [False, True], ids=["in the handshake", "after it"])
def test_cancelling_breaks_off_a_call_over_tls(reading: bool) -> None:
    """Over TLS a cancelled call closes its connection too, wherever it was."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    peer = Peer(stall if reading else Talk.stall)

    async def cancel(server: WireServer) -> None:
        async with opened(patient(f"https://{server.address}/api"), trusting) as transport:
            task = asyncio.create_task(transport.send(GET))
            await stalling(server)
            await cancelled(task)
            gc.collect()
            assert await asyncio.to_thread(peer.gone.wait, TEST_TIMEOUT)
            assert not server.released.is_set()

    with WireServer(peer, tls=context if reading else None) as server:
        asyncio.run(cancel(server))
        gc.collect()


def test_a_call_may_be_cancelled_before_it_begins() -> None:
    """A call that is cancelled in its first moments reaches nobody, and does no harm."""

    async def cancel(server: WireServer) -> None:
        async with opened(patient(server.url)) as transport:
            for turns in range(4):
                task = asyncio.create_task(transport.send(GET))
                for _ in range(turns):
                    await asyncio.sleep(0)
                await cancelled(task)
            assert reply(await transport.send(GET)).body == b"[]"

    with WireServer(*[forever(answer())] * 5) as server:
        asyncio.run(cancel(server))
        gc.collect()


def test_a_loop_that_ends_breaks_off_what_is_under_way() -> None:
    """A loop whose main task ends leaves no connection open, though a call was under way."""
    peer = Peer(stall)

    async def leave(server: WireServer) -> asyncio.Task[Any]:
        transport = AsyncTransport(patient(server.url), None)
        task = asyncio.create_task(transport.send(GET))
        await stalling(server)
        return task

    with WireServer(peer) as server:
        task = asyncio.run(leave(server))
        assert task.cancelled()
        del task
        gc.collect()
        assert peer.gone.wait(TEST_TIMEOUT)
        assert not server.released.is_set()


# -- the deadline -------------------------------------------------------------------------------


class Endless(httpx.AsyncBaseTransport):
    """In place of a network: a connection that is never made.

    Attributes:
        broken_off: How often it was cancelled.
    """

    broken_off = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Never answer."""
        try:
            await asyncio.Event().wait()
        finally:
            self.broken_off += 1
        raise AssertionError(request)


def test_the_deadline_holds_for_connecting() -> None:
    """Whatever the call waits for, names and connections included, the deadline ends it."""
    endless = Endless()

    async def send() -> Failure:
        settings = patient("http://nowhere.invalid/api", deadline=0.05)
        transport = AsyncTransport(settings, None, endless)
        return failure(await transport.send(GET))

    found = asyncio.run(send())
    assert found.kind is FailureKind.NETWORK
    assert "No complete response in 0.05 s" in found.text
    assert endless.broken_off == 1


def test_a_cancellation_is_not_taken_for_the_deadline() -> None:
    """Who is cancelled when the deadline has just passed is cancelled all the same."""

    async def send() -> None:
        transport = AsyncTransport(patient("http://there/api", deadline=0.0), None, Endless())
        task = asyncio.create_task(transport.send(GET))
        await asyncio.sleep(0)
        await cancelled(task)

    asyncio.run(send())


def test_a_deadline_of_the_caller_is_the_callers() -> None:
    """A time-out around a call is raised where it was set, not told as a failure of the server."""

    async def send() -> None:
        transport = AsyncTransport(patient("http://there/api"), None, Endless())
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await transport.send(GET)

    asyncio.run(send())


# -- closing ------------------------------------------------------------------------------------


def test_closing_within_the_loop_ends_a_call() -> None:
    """Who waits for an answer when another task closes the transport is told so, at once."""
    peer = Peer(stall)

    async def close(server: WireServer) -> None:
        async with opened(patient(server.url)) as transport:
            task = asyncio.create_task(transport.send(GET))
            await stalling(server)
            await asyncio.gather(transport.aclose(), transport.aclose())
            assert "closed" in failure(await task).text
            assert "closed" in failure(await transport.send(GET)).text
            assert await asyncio.to_thread(peer.gone.wait, TEST_TIMEOUT)

    with WireServer(peer) as server:
        asyncio.run(close(server))
        gc.collect()
        assert server.connections == 1


def test_closing_while_a_redirect_is_read() -> None:
    """A transport that is closed by the time a redirect was read does not follow it."""
    asked: list[str] = []

    class Redirecting(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            asked.append(request.url.path)
            await transport.aclose()
            return httpx.Response(307, headers={"location": f"{request.url.path}/"})

    transport = AsyncTransport(patient("http://there/api"), None, Redirecting())
    assert "closed" in failure(asyncio.run(transport.send(POST))).text
    assert asked == ["/api/logs/filter"]


def test_one_loop_after_the_other() -> None:
    """Each loop has a transport of its own, and a closed one leaves nothing for the next."""

    async def send(server: WireServer) -> bytes:
        async with opened(patient(server.url)) as transport:
            return reply(await transport.send(GET)).body

    with WireServer(*[forever(answer(b"[1]"))] * 3) as server:
        assert [asyncio.run(send(server)) for _ in range(3)] == [b"[1]"] * 3
        gc.collect()
        assert server.connections == 3


def test_no_thread_is_started(started: list[str]) -> None:
    """Calls to an address are made on the loop alone."""

    async def send(server: WireServer) -> None:
        async with opened(patient(server.url)) as transport:
            for _ in range(3):
                reply(await transport.send(GET))

    with WireServer(forever(answer())) as server:
        asyncio.run(send(server))
    assert set(started) == {"wire-server", "wire-connection"}


# -- in place of a network ----------------------------------------------------------------------


def test_what_stands_for_a_network_must_fit() -> None:
    """A transport of httpx that is for one kind of loop alone is refused by the other."""
    settings = patient("http://there/api")
    blocking, both = httpx.HTTPTransport(), FakePrefect3().transport()
    with pytest.raises(ConfigurationError, match=r"HTTPTransport.*`async for`.*AsyncBaseTransport"):
        AsyncTransport(settings, None, blocking)
    with pytest.raises(ConfigurationError, match=r"Endless.*`for`.*\.BaseTransport"):
        Transport(settings, None, Endless())
    blocking.close()
    Transport(settings, None, both).close()
    asyncio.run(AsyncTransport(settings, None, both).aclose())
