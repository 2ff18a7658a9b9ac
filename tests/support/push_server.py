"""A websocket server on loopback that plays the part of Prefect's, well or badly."""

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Self

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.http11 import Request, Response

Behaviour = Callable[["PushServer", ServerConnection], Awaitable[None]]
"""What the server does with a connection; the connection is closed when it returns."""

LIMIT = 60.0
"""Seconds after which a test gives up."""


class PushServer:
    """A server in a thread of its own.

    Attributes:
        paths: The path of each request to open a websocket, in order.
        headers: The headers of each of them, keyed by lower-cased name.
        messages: What clients have sent, parsed.
        url: The API's URL.
    """

    url: str

    def __init__(self, *behaviours: Behaviour, status: int | None = None, ssl: Any = None) -> None:
        """Make a server that is not started.

        Args:
            behaviours: One for each connection; the last one for all further ones.
            status: The HTTP status with which it refuses websockets; None to accept them.
            ssl: The TLS context; None for plain HTTP.
        """
        self.paths: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.messages: list[Any] = []
        self._behaviours = list(behaviours)
        self._status = status
        self._ssl = ssl
        self._changed = threading.Condition()
        self._open: set[ServerConnection] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="push-server")
        self._server: Server | None = None

    def __enter__(self) -> Self:
        """Start."""
        self._thread.start()
        self._run(self._start())
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop, and close all connections."""
        self._run(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def open_count(self) -> int:
        """How many websockets are open."""
        return len(self._open)

    def wait_for(self, predicate: Callable[[], object]) -> None:
        """Wait until a predicate is true; it is checked when anything has happened here."""
        with self._changed:
            assert self._changed.wait_for(predicate, LIMIT), "it did not become true"

    def send(self, frame: Any) -> None:
        """Send a frame over all websockets that are open."""
        text = frame if isinstance(frame, str | bytes) else json.dumps(frame)
        self._run(self._send(text))

    def drop(self) -> None:
        """Close all websockets."""
        self._run(self._drop())

    # -- on the loop ------------------------------------------------------------------------------

    def _run(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(LIMIT)

    async def _start(self) -> None:
        self._server = await serve(
            self._handle,
            "127.0.0.1",
            0,
            ssl=self._ssl,
            subprotocols=["prefect"],  # type: ignore[list-item]
            process_request=self._process,
            ping_interval=None,
            close_timeout=0.1,
        )
        port = next(iter(self._server.sockets)).getsockname()[1]
        self.url = f"http{'s' if self._ssl else ''}://127.0.0.1:{port}/api"

    async def _stop(self) -> None:
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()

    async def _process(self, connection: ServerConnection, request: Request) -> Response | None:
        with self._changed:
            self.paths.append(request.path)
            self.headers.append({name.lower(): value for name, value in request.headers.items()})
            self._changed.notify_all()
        return None if self._status is None else connection.respond(self._status, "no\n")

    async def _handle(self, connection: ServerConnection) -> None:
        number = min(len(self.paths), len(self._behaviours)) - 1
        self._track(connection, is_open=True)
        try:
            await self._behaviours[number](self, connection)
        finally:
            self._track(connection, is_open=False)

    def _track(self, connection: ServerConnection, *, is_open: bool) -> None:
        with self._changed:
            (self._open.add if is_open else self._open.discard)(connection)
            self._changed.notify_all()

    async def _send(self, text: str | bytes) -> None:
        for connection in [*self._open]:
            await connection.send(text)

    async def _drop(self) -> None:
        for connection in [*self._open]:
            await connection.close()

    async def receive(self, connection: ServerConnection) -> Any:
        """Receive a message, and record it."""
        message = json.loads(await connection.recv())
        with self._changed:
            self.messages.append(message)
            self._changed.notify_all()
        return message


# -- behaviours -----------------------------------------------------------------------------------


async def announce(server: PushServer, connection: ServerConnection) -> None:
    """Accept the key and the filter, and stay; frames are sent by `PushServer.send`."""
    await server.receive(connection)
    await connection.send('{"type":"auth_success"}')
    await server.receive(connection)
    await connection.wait_closed()


async def stay_silent(_: PushServer, connection: ServerConnection) -> None:
    """Accept nothing and stay."""
    await connection.wait_closed()


async def refuse_key(server: PushServer, connection: ServerConnection) -> None:
    """Close as Prefect does for a wrong key."""
    await server.receive(connection)
    await connection.close(1008, "Invalid token")


async def refuse_filter(server: PushServer, connection: ServerConnection) -> None:
    """Close as Prefect does for a filter that it does not know."""
    await server.receive(connection)
    await connection.send('{"type":"auth_success"}')
    await server.receive(connection)
    await connection.close(1002, "Invalid filter")


async def reset(_: PushServer, connection: ServerConnection) -> None:
    """Break the connection off."""
    connection.transport.abort()


def sending(*frames: str | bytes) -> Behaviour:
    """Return what accepts the key and the filter, sends frames, and closes."""

    async def behave(server: PushServer, connection: ServerConnection) -> None:
        await server.receive(connection)
        await connection.send('{"type":"auth_success"}')
        await server.receive(connection)
        for frame in frames:
            await connection.send(frame)

    return behave
