"""HTTP calls to send, and both transports to send them with from the thread of a test.

The async transport runs on an event loop in a thread of its own, so that one test shows that both
transports do the same.
"""

import asyncio
import gc
import socket
import ssl
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from typing import Any, Protocol, TypeAlias, TypeVar

from virtual_world import HOUR, TEST_TIMEOUT
from wire_server import WireServer

from rxflow._backends.backend import HttpCall, HttpResponse, HttpResult
from rxflow._config.settings import Settings
from rxflow._net.endpoint import Endpoint
from rxflow._net.transport import AsyncTransport, Transport
from rxflow._protocol.failures import Failure

T = TypeVar("T")

GET = HttpCall(method="GET", path="/flow_run_states/", params=(("flow_run_id", "a b&c"),))
POST = HttpCall(
    method="POST",
    path="/logs/filter",
    headers=(("Content-Type", "application/json"),),
    body=b'{"limit":1}',
)


class BlockingTransport(Protocol):
    """A transport of either kind, used from the thread of a test."""

    def send(self, call: HttpCall) -> HttpResult:
        """Make one attempt at a call."""
        ...

    def close(self) -> None:
        """Abort a call in progress, from any thread, and close the connection."""
        ...


OpenTransport: TypeAlias = Callable[
    [Settings, ssl.SSLContext | None], AbstractContextManager[BlockingTransport]
]
"""Opens a transport for a `with` block."""


@contextmanager
def open_blocking(settings: Settings, tls: ssl.SSLContext | None) -> Iterator[BlockingTransport]:
    """Open a blocking transport."""
    with closing(Transport(Endpoint(settings, tls))) as transport:
        yield transport


@contextmanager
def open_on_loop(settings: Settings, tls: ssl.SSLContext | None) -> Iterator[BlockingTransport]:
    """Open an async transport on an event loop, on which all tasks must end."""
    transport = AsyncTransport(Endpoint(settings, tls))
    with loop_in_thread() as loop, closing(_OnLoop(transport, loop)) as on_loop:
        yield on_loop


@contextmanager
def loop_in_thread() -> Iterator[asyncio.AbstractEventLoop]:
    """Run an event loop in a thread of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="loop-in-thread")
    thread.start()
    try:
        yield loop
        run_on(loop, _other_tasks_end())
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()
        gc.collect()  # so that a connection that was left open fails this test and not another


def run_on(loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on the event loop of another thread, and wait for its result."""
    return asyncio.run_coroutine_threadsafe(work, loop).result(TEST_TIMEOUT)


class _OnLoop:
    def __init__(self, transport: AsyncTransport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop

    def send(self, call: HttpCall) -> HttpResult:
        return run_on(self._loop, self._transport.send(call))

    def close(self) -> None:
        run_on(self._loop, self._transport.aclose())


async def _other_tasks_end() -> None:
    """Wait for tasks that are not awaited, such as those by which Python closes generators."""
    while others := asyncio.all_tasks() - {asyncio.current_task()}:
        await asyncio.wait(others)


def settings_for(url: str, *, deadline: float = HOUR, ssl_cert_file: str | None = None) -> Settings:
    """Make settings whose time-outs are an hour, except for the deadline."""
    return Settings(
        api_url=url,
        connect_timeout=HOUR,
        read_timeout=HOUR,
        deadline=deadline,
        ssl_cert_file=ssl_cert_file,
        origin="the test",
    )


def reply_of(result: HttpResult) -> HttpResponse:
    """Return a result that must be a reply."""
    assert isinstance(result, HttpResponse), result
    return result


def failure_of(result: HttpResult) -> Failure:
    """Return a result that must be a failure."""
    assert isinstance(result, Failure), result
    return result


class ConnectTo(Protocol):
    """Opens a transport to a server; all its time-outs but the deadline are an hour."""

    def __call__(
        self, server: WireServer, *, deadline: float = HOUR
    ) -> AbstractContextManager[BlockingTransport]:
        """Open it."""
        ...


def close_during_call(transport: BlockingTransport, server: WireServer) -> Failure:
    """Close a transport while a call in another thread has stalled, and return its failure."""
    results: list[HttpResult] = []
    sender = threading.Thread(target=lambda: results.append(transport.send(GET)))
    sender.start()
    server.stalling.wait()
    transport.close()
    sender.join()
    return failure_of(results[0])


@contextmanager
def refused_port() -> Iterator[int]:
    """Reserve a port on which no process listens."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        yield reserved.getsockname()[1]
