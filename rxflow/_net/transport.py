"""HTTP: one attempt at one call, over httpx; for threads, and its twin on a loop.

A connection belongs to one transport, a transport to one watch, so that breaking off a watch
breaks off its requests and nobody else's. A call that met a keep-alive connection which the server
had closed meanwhile is sent once more, at once.
"""

import asyncio
import socket
import ssl
import threading
import time
from collections.abc import AsyncIterable, Callable, Iterable
from contextlib import suppress
from functools import partial
from typing import Any, cast

import httpx
from loguru import logger

from rxflow._backends.backend import HttpCall
from rxflow._config.settings import Settings
from rxflow._net.http import (
    SEND_ERRORS,
    STALE_CONNECTION_ERRORS,
    BodyReader,
    HttpResult,
    HttpTransport,
    RequestChain,
    connect,
    describe_server,
    failure_of,
)
from rxflow._protocol.failures import Failure, FailureKind
from rxflow.errors import ConfigurationError

_CLOSED = Failure(kind=FailureKind.NETWORK, text="The connection was closed")


class Transport:
    """Carries calls to one server, one at a time."""

    def __init__(
        self,
        settings: Settings,
        tls: ssl.SSLContext | None,
        transport: HttpTransport | None = None,
    ) -> None:
        """Make a transport that is not connected yet.

        Args:
            settings: Where the server is and how to be let in.
            tls: How to verify the server; None for plain HTTP.
            transport: Carries the requests in place of a network.

        Raises:
            ConfigurationError: The URL, or the proxy that the environment names, cannot be used;
                or what is in place of a network is for asyncio alone.
        """
        if not isinstance(transport, httpx.BaseTransport | None):
            raise ConfigurationError(_unfit(transport, httpx.BaseTransport, "for"))
        self._settings = settings
        self._where = describe_server(settings, transport)
        self._lock = threading.Lock()
        # Of the connection: a duplicate, which can be shut down while another thread reads from
        # the original, whatever TLS does with that, and whose number nobody else can get.
        self._handle: socket.socket | None = None
        self._connects = 0
        self._until = 0.0
        self._sending = 0
        self._closed = False
        self._http = connect(httpx.Client, settings, tls, transport)

    def send(self, call: HttpCall) -> HttpResult:
        """Make one attempt; never raises."""
        if not self._begin():
            return _CLOSED
        self._until = time.monotonic() + self._settings.deadline
        try:
            answer = self._attempt(call)
        finally:
            closed = self._end()
        if closed:  # what was broken off may look like an answer that ended
            answer = _CLOSED
        if isinstance(answer, Failure):
            self._let_go()
        return answer

    def close(self) -> None:
        """Break off what is under way, from any thread, and close the connection.

        Only the look-up of a name, and connecting, go on to their own end.
        """
        with self._lock:
            self._closed = True
            sending = self._sending
        self._let_go()
        if not sending:  # else the sender closes it, who uses it
            self._http.close()

    # -- under way ------------------------------------------------------------------------------

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
            self._http.close()
        return closed

    def _trace(self, event: str, info: dict[str, Any]) -> None:
        """Take part in connecting, which httpx does out of our sight."""
        step, _, stage = event.rpartition(".")
        if not step.endswith((".connect_tcp", ".start_tls")):
            return
        if stage == "started":
            info["timeout"] = min(info["timeout"], self._left())
        elif stage == "complete":
            stream = info["return_value"]
            stream.read = partial(self._read, stream.read)
            if step.endswith(".connect_tcp"):
                self._hold(stream.get_extra_info("socket"))

    def _left(self) -> float:
        return max(0.0, self._until - time.monotonic())

    def _read(
        self, read: Callable[..., bytes], max_bytes: int, timeout: float | None = None
    ) -> bytes:
        """Read within what is left of the deadline: httpx's time-out begins anew with each byte."""
        left = self._left()
        if not left:
            raise TimeoutError
        return read(max_bytes, timeout=left if timeout is None else min(left, timeout))

    def _hold(self, connection: socket.socket) -> None:
        self._let_go()
        handle = connection.dup()
        with self._lock:
            self._connects += 1
            self._handle = handle
            closed = self._closed
        if closed:
            self._let_go()

    def _let_go(self) -> None:
        with self._lock:
            handle, self._handle = self._handle, None
        if handle is not None:
            with suppress(OSError):  # the server had closed it
                handle.shutdown(socket.SHUT_RDWR)
            handle.close()

    # -- asking ---------------------------------------------------------------------------------

    def _attempt(self, call: HttpCall) -> HttpResult:
        try:
            exchange = RequestChain(self._http, self._settings, call, self._trace)
            while True:
                answer = self._request(exchange.request)
                if not exchange.leads_on(answer):
                    return answer
        except SEND_ERRORS as error:
            overdue = None if self._left() else self._settings.deadline
            return failure_of(error, self._where, overdue=overdue)

    def _request(self, request: httpx.Request) -> HttpResult:
        response = self._open(request)
        try:
            body = BodyReader(response)
            for chunk in cast("Iterable[bytes]", response.stream):
                if not body.add(chunk):
                    break
        finally:
            response.close()
        return _said(request, response, body)

    def _open(self, request: httpx.Request) -> httpx.Response:
        """Send a request, twice if the server had closed the connection that was kept for it."""
        connects = self._connects
        try:
            return self._http.send(request, stream=True)
        except STALE_CONNECTION_ERRORS:
            reused = connects > 0 and self._connects == connects
            if self._closed or not reused:
                raise
        return self._http.send(request, stream=True)  # all calls only read


class AsyncTransport:
    """Carries calls to one server, one at a time, on one event loop.

    Whoever cancels a call breaks it off. The deadline holds for connecting too.
    """

    def __init__(
        self,
        settings: Settings,
        tls: ssl.SSLContext | None,
        transport: HttpTransport | None = None,
    ) -> None:
        """Make a transport that is not connected yet.

        Args:
            settings: Where the server is and how to be let in.
            tls: How to verify the server; None for plain HTTP.
            transport: Carries the requests in place of a network.

        Raises:
            ConfigurationError: As for `Transport`, the other way round.
        """
        if not isinstance(transport, httpx.AsyncBaseTransport | None):
            raise ConfigurationError(_unfit(transport, httpx.AsyncBaseTransport, "async for"))
        self._settings = settings
        self._where = describe_server(settings, transport)
        self._connects = 0
        self._connected: Any = None
        self._under_way: set[asyncio.Timeout] = set()
        self._closed = False
        self._http = connect(httpx.AsyncClient, settings, tls, transport)

    async def send(self, call: HttpCall) -> HttpResult:
        """Make one attempt; raises nothing but `asyncio.CancelledError`."""
        answer = await self._attempt(call)
        return _CLOSED if self._closed else answer

    async def aclose(self) -> None:
        """Break off what is under way, and close the connection."""
        self._closed = True
        for limit in self._under_way:  # httpx would leave alone what is still connecting
            if not limit.expired():
                limit.reschedule(0.0)
        await self._http.aclose()

    async def _trace(self, event: str, info: dict[str, Any]) -> None:
        """Take part in connecting, which httpx does out of our sight."""
        if event.endswith(".connect_tcp.complete"):
            self._connects += 1
            self._connected = info["return_value"]
        elif event.endswith(".start_tls.failed"):
            await self._connected.aclose()  # httpx would leave it open after a cancellation

    async def _attempt(self, call: HttpCall) -> HttpResult:
        limit = asyncio.timeout(self._settings.deadline)
        self._under_way.add(limit)
        try:
            async with limit:
                exchange = RequestChain(self._http, self._settings, call, self._trace)
                while not self._closed:  # it may be while a redirect is read
                    answer = await self._request(exchange.request)
                    if not exchange.leads_on(answer):
                        return answer
        except SEND_ERRORS as error:
            overdue = self._settings.deadline if limit.expired() else None
            return failure_of(error, self._where, overdue=overdue)
        else:
            return _CLOSED
        finally:
            self._under_way.discard(limit)

    async def _request(self, request: httpx.Request) -> HttpResult:
        response = await self._open(request)
        try:
            body = BodyReader(response)
            async for chunk in cast("AsyncIterable[bytes]", response.stream):
                if not body.add(chunk):
                    break
        finally:
            await response.aclose()
        return _said(request, response, body)

    async def _open(self, request: httpx.Request) -> httpx.Response:
        connects = self._connects
        try:
            return await self._http.send(request, stream=True)
        except STALE_CONNECTION_ERRORS:
            reused = connects > 0 and self._connects == connects
            if self._closed or not reused:
                raise
        return await self._http.send(request, stream=True)  # all calls only read


def _said(request: httpx.Request, response: httpx.Response, body: BodyReader) -> HttpResult:
    logger.debug("{} {} -> {}", request.method, request.url.path, response.status_code)
    return body.end()


def _unfit(transport: object, wanted: type, loop: str) -> str:
    return (
        f"{type(transport).__name__} cannot carry what `{loop}` asks; "
        f"pass a transport that is an httpx.{wanted.__name__} too"
    )
