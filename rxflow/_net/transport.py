"""Transports: one attempt at one HTTP call, in threads and on event loops.

A transport has one connection and belongs to one watch, so that closing it aborts the requests of
that watch only. A call on a kept connection that the server has closed in the meantime is sent once
more, at once. A forked child cannot send: its transports are closed, and their sockets released.

Belongs here: deadlines, closing and the replay. Does not belong here: whatever needs no connection
(`endpoint`, `http_requests`, `redirects`, `response_bodies`, `send_errors`).
"""

import asyncio
import math
import socket
import threading
import time
from collections.abc import AsyncIterable, Callable, Iterable
from contextlib import suppress
from functools import partial
from typing import Any, cast

import httpx

from rxflow._backends.backend import HttpCall, HttpResponse, HttpResult
from rxflow._forks import register
from rxflow._net.endpoint import Endpoint
from rxflow._net.http_requests import RequestBuilder
from rxflow._net.inherited_sockets import SocketDescriptor
from rxflow._net.redirects import RequestChain
from rxflow._net.response_bodies import BodyReader
from rxflow._net.send_errors import (
    CONNECTION_CLOSED,
    SEND_ERRORS,
    STALE_CONNECTION_ERRORS,
    no_thread_failure,
    send_failure,
)
from rxflow._own_log import log
from rxflow._protocol.failures import Failure

WhileWaiting = Callable[[], float | None]
"""Called while a response is awaited: returns the seconds after which to call it again at the
latest, or None to abort the call. Never raises."""

_CONNECTING = tuple(
    f".{step}.{phase}" for step in ("connect_tcp", "start_tls") for phase in ("started", "complete")
)  # the ends of events
_LONGEST_READ = 0.5  # seconds between two calls of `while_waiting`
_SHORTEST_READ = 0.001  # seconds; a time-out of 0 is none
_SHORTEST_CONNECT = 2.0  # seconds: a lost packet is sent again after one


class Transport:
    """Sends HTTP calls to one server, one at a time, and blocks until each has a result."""

    def __init__(self, endpoint: Endpoint) -> None:
        """Build a transport that is not connected yet.

        Args:
            endpoint: The server.

        Raises:
            ConfigurationError: The server cannot be reached in the way that is set; see
                `Endpoint.open_http`.
        """
        self._endpoint = endpoint
        self._http = endpoint.open_http()
        self._requests = RequestBuilder(endpoint.settings)
        self._lock = threading.Lock()
        # A duplicate of the connection's socket: it can be shut down while another thread reads
        # from the original, whatever TLS does there, and its number cannot be reused meanwhile.
        self._socket: socket.socket | None = None
        self._descriptors: tuple[SocketDescriptor, ...] = ()  # of the connection, to let go of
        self._connects = 0
        self._deadline_at = 0.0
        self._while_waiting: WhileWaiting | None = None
        self._sending = 0
        self._closed = False
        self._inherited = False  # whether the connection is that of a parent process
        register(self)

    def send(self, call: HttpCall, while_waiting: WhileWaiting | None = None) -> HttpResult:
        """Make one attempt at a call; never raises.

        Args:
            call: The call.
            while_waiting: Called in this thread while the response is awaited.
        """
        if not self._begin():
            return CONNECTION_CLOSED
        self._while_waiting = while_waiting
        self._deadline_at = time.monotonic() + self._endpoint.settings.deadline
        try:
            result = self._attempt(call)
        finally:
            self._while_waiting = None
            closed = self._end()
        if closed:  # an aborted response may look like a complete one
            result = CONNECTION_CLOSED
        if isinstance(result, Failure):
            self._shut_down_socket()
        return result

    def close(self) -> None:
        """Abort a call in progress, from any thread, and close the connection.

        Only a name look-up and an attempt to connect continue until they end by themselves.
        """
        with self._lock:
            self._closed = True
            sending = self._sending
        self._shut_down_socket()
        if not sending:  # otherwise the sending thread uses it, and closes it
            self._close_http()

    def reset_after_fork(self) -> None:
        """Let go of the parent's connection in a forked child, and send nothing any more."""
        self._lock = threading.Lock()
        self._closed = self._inherited = True
        self._socket = None
        for descriptor in self._descriptors:
            descriptor.release()

    # -- the connection, and the deadline ---------------------------------------------------------

    def _begin(self) -> bool:
        with self._lock:
            if not self._closed:
                self._sending += 1
            return not self._closed

    def _end(self) -> bool:
        with self._lock:
            self._sending -= 1
            closed = self._closed
        if closed:
            self._close_http()
        return closed

    def _close_http(self) -> None:
        if not self._inherited:  # a lock of httpx's may be held, by a thread of the parent
            self._http.close()

    def _trace(self, event: str, info: dict[str, Any]) -> None:
        """Apply the deadline to httpx's connecting and reading, and duplicate its socket."""
        if not event.endswith(_CONNECTING):  # so are ten events of each request
            return
        step, _, phase = event.rpartition(".")
        if phase == "started":
            # An attempt to connect cannot be paused, and one that is too short never succeeds.
            longest = max(self._pause(), _SHORTEST_CONNECT)
            info["timeout"] = min(info["timeout"], self._time_left(), longest)
        else:
            stream = info["return_value"]
            stream.read = partial(self._read, stream.read)
            if step.endswith(".connect_tcp"):
                self._keep_socket(stream.get_extra_info("socket"))

    def _time_left(self) -> float:
        return max(0.0, self._deadline_at - time.monotonic())

    def _read(
        self, read: Callable[..., bytes], max_bytes: int, timeout: float | None = None
    ) -> bytes:
        """Read until the deadline: httpx's own time-out starts again with each byte."""
        end = self._deadline_at
        if timeout is not None:
            end = min(end, time.monotonic() + timeout)
        while (time_left := end - time.monotonic()) > 0:
            pause = self._pause()
            if self._while_waiting is not None:  # other threads may schedule what is due sooner
                pause = min(max(pause, _SHORTEST_READ), _LONGEST_READ)
            turn = min(time_left, pause)
            try:
                return read(max_bytes, timeout=turn)
            except Exception as error:
                # httpcore's ReadTimeout: nothing was read, with TLS neither, and reading may go on.
                if turn == time_left or not isinstance(error.__cause__, TimeoutError):
                    raise
        raise TimeoutError

    def _pause(self) -> float:
        """Run what is due while the call waits; return the seconds until more is due.

        Raises:
            TimeoutError: The call is to be aborted.
        """
        pause = math.inf if self._while_waiting is None else self._while_waiting()
        if pause is None:
            raise TimeoutError
        return pause

    def _keep_socket(self, connection: socket.socket) -> None:
        self._shut_down_socket()
        duplicate = connection.dup()
        with self._lock:
            self._connects += 1
            self._socket = duplicate
            self._descriptors = (SocketDescriptor(connection), SocketDescriptor(duplicate))
            closed = self._closed
        if closed:
            self._shut_down_socket()

    def _shut_down_socket(self) -> None:
        with self._lock:
            duplicate, self._socket = self._socket, None
        if duplicate is not None:
            with suppress(OSError):  # the server has closed it
                duplicate.shutdown(socket.SHUT_RDWR)
            duplicate.close()

    # -- sending ----------------------------------------------------------------------------------

    def _attempt(self, call: HttpCall) -> HttpResult:
        try:
            # A transport in place of the network may call `while_waiting`: `rxflow.testing` does.
            extensions = {"trace": self._trace, "while_waiting": self._while_waiting}
            chain = RequestChain(self._requests, call, extensions)
            while True:
                result = self._request(chain.request)
                _log_result(call, result)
                if not chain.follow(result):
                    return result
        except SEND_ERRORS as error:
            passed_deadline = None if self._time_left() else self._endpoint.settings.deadline
            return send_failure(error, self._endpoint.name, passed_deadline=passed_deadline)

    def _request(self, request: httpx.Request) -> HttpResult:
        response = self._open(request)
        try:
            body = BodyReader(response)
            for chunk in cast("Iterable[bytes]", response.stream):
                if not body.add(chunk):
                    break
        finally:
            response.close()
        return body.end()

    def _open(self, request: httpx.Request) -> httpx.Response:
        """Send a request, and again if the server had closed the connection that was kept."""
        connects = self._connects
        try:
            response = self._http.handle_request(request)
        except STALE_CONNECTION_ERRORS:
            reused = connects > 0 and self._connects == connects
            if self._closed or not reused:
                raise
            response = self._http.handle_request(request)  # safe: none does more if repeated
        return self._requests.receive(request, response)


class AsyncTransport:
    """Sends HTTP calls to one server, one at a time, on one event loop.

    Cancelling the task of a call aborts it. The deadline includes name look-up and connecting.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        """Build a transport that is not connected yet.

        Args:
            endpoint: The server.

        Raises:
            ConfigurationError: The server cannot be reached in the way that is set; see
                `Endpoint.open_async_http`.
        """
        self._endpoint = endpoint
        self._http = endpoint.open_async_http()
        self._requests = RequestBuilder(endpoint.settings)
        self._connects = 0
        self._connection: Any = None
        self._descriptor = SocketDescriptor(None)
        self._deadlines: set[asyncio.Timeout] = set()  # of the calls in progress
        self._closed = False
        self._inherited = False  # whether the connection is that of a parent process
        register(self)

    async def send(self, call: HttpCall) -> HttpResult:
        """Make one attempt at a call; raises only `asyncio.CancelledError`."""
        result = await self._attempt(call)
        return CONNECTION_CLOSED if self._closed else result

    async def aclose(self) -> None:
        """Abort a call in progress, and close the connection."""
        if self._inherited:
            return
        self._closed = True
        for deadline in self._deadlines:  # httpx would not abort a call that is still connecting
            if not deadline.expired():
                deadline.reschedule(0.0)
        await self._http.aclose()

    def reset_after_fork(self) -> None:
        """Let go of the parent's connection in a forked child, and send nothing any more."""
        self._closed = self._inherited = True
        self._descriptor.release()

    async def _trace(self, event: str, info: dict[str, Any]) -> None:
        """Count httpx's connections, and close one whose TLS handshake failed."""
        if event.endswith(".connect_tcp.complete"):
            self._connects += 1
            self._connection = info["return_value"]
            self._descriptor = SocketDescriptor(self._connection.get_extra_info("socket"))
        elif event.endswith(".start_tls.failed"):
            await self._connection.aclose()  # httpx leaves it open after a cancellation

    async def _attempt(self, call: HttpCall) -> HttpResult:
        deadline = asyncio.timeout(self._endpoint.settings.deadline)
        self._deadlines.add(deadline)
        try:
            async with deadline:
                chain = RequestChain(self._requests, call, {"trace": self._trace})
                while not self._closed:  # it may be closed while a redirect is read
                    result = await self._request(chain.request)
                    _log_result(call, result)
                    if not chain.follow(result):
                        return result
        except SEND_ERRORS as error:
            passed_deadline = self._endpoint.settings.deadline if deadline.expired() else None
            return send_failure(error, self._endpoint.name, passed_deadline=passed_deadline)
        except RuntimeError as error:
            return no_thread_failure(error)
        else:
            return CONNECTION_CLOSED
        finally:
            self._deadlines.discard(deadline)

    async def _request(self, request: httpx.Request) -> HttpResult:
        response = await self._open(request)
        try:
            body = BodyReader(response)
            async for chunk in cast("AsyncIterable[bytes]", response.stream):
                if not body.add(chunk):
                    break
        finally:
            await response.aclose()
        return body.end()

    async def _open(self, request: httpx.Request) -> httpx.Response:
        """Send a request, and again if the server had closed the connection that was kept."""
        connects = self._connects
        try:
            response = await self._http.handle_async_request(request)
        except STALE_CONNECTION_ERRORS:
            reused = connects > 0 and self._connects == connects
            if self._closed or not reused:
                raise
            response = await self._http.handle_async_request(request)  # safe, see above
        return self._requests.receive(request, response)


def _log_result(call: HttpCall, result: HttpResult) -> None:
    # Of a redirect too the path of the call: the one that the server named may hold a secret.
    outcome = result.status if isinstance(result, HttpResponse) else result.kind.value
    log("DEBUG", "{} {} -> {}", call.method, call.path, outcome)
