"""Calls to send, and transports to send them with: the blocking one, and its twin for a loop.

The twin is used from the test's thread like the other one, and a loop in a thread of its own runs
it, so that one test shows that both do the same.
"""

import asyncio
import gc
import ssl
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from typing import Any, Protocol, TypeAlias, TypeVar

from virtual_world import HOUR, TEST_TIMEOUT

from rxflow._backends.backend import HttpCall, HttpReply
from rxflow._config.settings import Settings
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


class Sender(Protocol):
    """A transport, as the test's thread uses it."""

    def send(self, call: HttpCall) -> HttpReply | Failure:
        """Make one attempt."""
        ...

    def close(self) -> None:
        """Break off what is under way, from any thread, and close the connection."""
        ...


Opened: TypeAlias = Callable[[Settings, ssl.SSLContext | None], AbstractContextManager[Sender]]
"""Opens a transport, and closes it."""


@contextmanager
def in_threads(settings: Settings, tls: ssl.SSLContext | None) -> Iterator[Sender]:
    """Open a blocking transport."""
    with closing(Transport(settings, tls)) as transport:
        yield transport


@contextmanager
def on_a_loop(settings: Settings, tls: ssl.SSLContext | None) -> Iterator[Sender]:
    """Open a transport of a loop, on which no task goes on for ever."""
    transport = AsyncTransport(settings, tls)
    with loop_aside() as loop, closing(_OnLoop(transport, loop)) as sender:
        yield sender


@contextmanager
def loop_aside() -> Iterator[asyncio.AbstractEventLoop]:
    """Run a loop in a thread of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="a loop aside")
    thread.start()
    try:
        yield loop
        wait_for(_others_end(), loop)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()
        gc.collect()  # so that a connection that was left open fails this test and not another


def wait_for(work: Coroutine[Any, Any, T], loop: asyncio.AbstractEventLoop) -> T:
    """Have something done on a loop of another thread, and wait for it."""
    return asyncio.run_coroutine_threadsafe(work, loop).result(TEST_TIMEOUT)


class _OnLoop:
    def __init__(self, transport: AsyncTransport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop

    def send(self, call: HttpCall) -> HttpReply | Failure:
        return wait_for(self._transport.send(call), self._loop)

    def close(self) -> None:
        wait_for(self._transport.aclose(), self._loop)


async def _others_end() -> None:
    """Wait for tasks that nobody waits for, such as those by which Python finalises generators."""
    while others := asyncio.all_tasks() - {asyncio.current_task()}:
        await asyncio.wait(others)


def patient(url: str, *, deadline: float = HOUR, ssl_cert_file: str | None = None) -> Settings:
    """Make settings by which nothing but the deadline gives up before an hour has passed."""
    return Settings(
        api_url=url,
        connect_timeout=HOUR,
        read_timeout=HOUR,
        deadline=deadline,
        ssl_cert_file=ssl_cert_file,
        origin="the test",
    )


def reply(outcome: HttpReply | Failure) -> HttpReply:
    """Take what has to be a reply."""
    assert isinstance(outcome, HttpReply), outcome
    return outcome


def failure(outcome: HttpReply | Failure) -> Failure:
    """Take what has to be a failure."""
    assert isinstance(outcome, Failure), outcome
    return outcome
