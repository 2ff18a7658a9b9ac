"""Push channels: the websocket over which a server announces changes, on an event loop.

This module imports websockets, an extra. The library connects, answers pings and finds out whether
the other side is still there; its version 15 is the first that takes a proxy. Belongs here: how the
server is reached, which is as for HTTP requests, and how a connection ends. Does not belong here:
what is said (`_backends.prefect3_push`), and when to connect (`_runtime.push_reader`).
"""

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException
from websockets.frames import Close
from websockets.typing import Subprotocol
from websockets.version import version as websockets_version

from rxflow._backends.prefect3_push import (
    SUBPROTOCOL,
    announcement_of,
    auth_message,
    filter_message,
    is_accepted,
    path_of,
)
from rxflow._backends.reply_failures import printable
from rxflow._config.settings import Settings
from rxflow._forks import register
from rxflow._net.endpoint import Endpoint
from rxflow._net.failure_texts import FailureTexts
from rxflow._net.http_requests import fixed_headers
from rxflow._net.inherited_sockets import SocketDescriptor
from rxflow._net.send_errors import no_thread_failure, send_failure
from rxflow._own_log import log
from rxflow._protocol.failures import Failure, FailureKind
from rxflow._protocol.push import Announcement, PushEnd, PushSubscription

_LEAST_VERSION: Final = 15

if int(websockets_version.partition(".")[0]) < _LEAST_VERSION:
    raise ImportError(f"websockets {websockets_version} is older than {_LEAST_VERSION}")

_PING_INTERVAL: Final = 10.0  # seconds
_PING_TIMEOUT: Final = 10.0  # seconds after a ping until the other side is gone
_CLOSE_TIMEOUT: Final = 0.5  # seconds for the other side to take leave
_LARGEST_FRAME: Final = 2**20  # bytes; an event has some thousand, and a log line up to a million
_MOST_FRAMES: Final = 16  # that are read ahead

# Belong to HTTP requests and to the handshake, which have values of their own.
_HANDSHAKE_HEADERS: Final = frozenset(
    {"accept", "accept-encoding", "connection", "host", "upgrade", "user-agent"}
)

# The library logs what is sent: the key.
_SILENT = logging.Logger("rxflow.push")  # noqa: LOG001 - one that no configuration finds
_SILENT.disabled = True


def _ignore_open() -> None:
    """Do nothing about an open connection."""


class PushChannel:
    """Receives what a server announces, over one websocket at a time."""

    def __init__(self, endpoint: Endpoint, texts: FailureTexts) -> None:
        """Make a channel that is not connected.

        Args:
            endpoint: The server.
            texts: Completes the texts of failures.
        """
        self._endpoint = endpoint
        self._texts = texts
        self._descriptor = SocketDescriptor(None)
        register(self)

    async def read(
        self,
        subscription: PushSubscription,
        now: datetime,
        receive: Callable[[Announcement], None],
        on_open: Callable[[], None] = _ignore_open,
    ) -> PushEnd:
        """Connect, and receive announcements until the connection ends.

        Raises only `asyncio.CancelledError`, which ends it.

        Args:
            subscription: What the server is to announce.
            now: The time, aware.
            receive: Called with each announcement.
            on_open: Called once the server announces changes.
        """
        loop = asyncio.get_running_loop()
        opened = None
        try:
            connection = await self._connect(path_of(subscription))
            try:
                async with asyncio.timeout(self._endpoint.settings.read_timeout):
                    failure = await self._open(connection, subscription, now)
                if failure is None:
                    opened = loop.time()
                    on_open()
                    log("DEBUG", "{} announces changes", path_of(subscription))
                    while True:
                        announcement = announcement_of(await connection.recv(decode=False))
                        if announcement is not None:
                            receive(announcement)
            finally:
                await _close(connection)
        # A proxy that cannot be used is a ValueError, and one whose package is missing an
        # ImportError.
        except (WebSocketException, OSError, EOFError, ValueError, ImportError) as error:
            failure = self._failure_of(error)
        except RuntimeError as error:
            failure = no_thread_failure(error)
        lived = 0.0 if opened is None else loop.time() - opened
        log("DEBUG", "{} announces nothing: {}", path_of(subscription), failure.text)
        return PushEnd(failure=self._texts.complete_failure(failure), lived=lived)

    def reset_after_fork(self) -> None:
        """Let go of the parent's connection in a forked child."""
        self._descriptor.release()

    async def _connect(self, path: str) -> ClientConnection:
        settings, proxy = self._endpoint.settings, self._endpoint.proxy
        tls: dict[str, Any] = {} if self._endpoint.tls is None else {"ssl": self._endpoint.tls}
        connection = await _Connect(
            f"ws{settings.api_url.removeprefix('http')}{path}",
            subprotocols=[Subprotocol(SUBPROTOCOL)],
            additional_headers=_headers(settings),
            user_agent_header="rxflow",
            proxy=proxy.url.reveal() if proxy is not None else None,
            open_timeout=settings.read_timeout,
            ping_interval=_PING_INTERVAL,
            ping_timeout=_PING_TIMEOUT,
            close_timeout=_CLOSE_TIMEOUT,
            max_size=_LARGEST_FRAME,
            max_queue=_MOST_FRAMES,
            logger=_SILENT,
            **tls,
        )
        self._descriptor = SocketDescriptor(connection.transport.get_extra_info("socket"))
        return connection

    async def _open(
        self, connection: ClientConnection, subscription: PushSubscription, now: datetime
    ) -> Failure | None:
        await connection.send(auth_message(_token(self._endpoint.settings)))
        if not is_accepted(await connection.recv(decode=False)):
            return self._refused("it did not accept the key")
        await connection.send(filter_message(subscription, now))
        return None

    def _failure_of(self, error: Exception) -> Failure:
        match error:
            case InvalidStatus():
                return self._refused(f"its status was {error.response.status_code}")
            case ConnectionClosed(rcvd=Close(code, reason)):
                return self._refused(f"it closed with {code} {printable(reason)!r}")
            case ConnectionClosed():
                return self._refused("the connection broke")
            case OSError():
                return send_failure(error, self._endpoint.name, passed_deadline=None)
            case _:
                return self._refused(type(error).__name__)

    def _refused(self, reason: str) -> Failure:
        text = f"The websocket of {self._endpoint.name} cannot be used: {reason}"
        return Failure(kind=FailureKind.REJECTED, text=text)


class _Connect(connect):
    """Follows no redirect: the key is sent to the server that the settings name, and no other."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


async def _close(connection: ClientConnection) -> None:
    try:
        await connection.close()
    finally:  # the task may be cancelled again
        connection.transport.abort()


def _headers(settings: Settings) -> dict[str, str]:
    return {
        name: value
        for name, value in fixed_headers(settings).items()
        if name not in _HANDSHAKE_HEADERS and not name.startswith("sec-websocket-")
    }


def _token(settings: Settings) -> str | None:
    """Return what the server is sent as a key: as for requests, an auth string comes first."""
    token = settings.auth_string or settings.api_key
    return None if token is None else token.reveal()
