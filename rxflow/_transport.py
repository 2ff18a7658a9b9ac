"""HTTP: one attempt at one call, over httpx. Errors of httpx end here.

A connection belongs to one `Transport`, a transport to one watch, so that breaking off a watch
breaks off its requests and nobody else's. A call that met a keep-alive connection which the server
had closed meanwhile is sent once more, at once.
"""

import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from ipaddress import ip_address
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpx
from loguru import logger

from rxflow._backends import HttpCall, HttpReply
from rxflow._polling import Failure, Trouble
from rxflow._settings import Settings

MAX_BODY = 32 * 1024 * 1024
"""Bytes of a decompressed answer; of a larger one fewer rows are asked for."""

_REDIRECTS = 3
_CONNECTED = {"connection.connect_tcp.complete", "connection.start_tls.complete"}


class Transport:
    """Carries calls to one server, one at a time."""

    def __init__(
        self,
        settings: Settings,
        tls: ssl.SSLContext | None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """Make a transport that is not connected yet.

        Args:
            settings: Where the server is and how to be let in.
            tls: How to verify the server; None for plain HTTP.
            transport: Carries the requests in place of a network.
        """
        self._settings = settings
        self._sockets: list[socket.socket] = []
        self._connects = 0
        self._closed = False
        self._lock = threading.Lock()
        self._http = httpx.Client(
            headers=_headers(settings),
            timeout=httpx.Timeout(settings.read_timeout, connect=settings.connect_timeout),
            verify=tls if tls is not None else False,  # nothing to verify without TLS
            trust_env=not _is_loopback(settings.api_url),  # a proxy does not lead back here
            transport=transport,
            limits=httpx.Limits(max_connections=1),
        )

    def send(self, call: HttpCall) -> HttpReply | Failure:
        """Make one attempt; never raises."""
        connects = self._connects
        try:
            try:
                return self._exchange(call)
            except (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError):
                if self._closed or self._connects != connects:
                    raise
                # The server had closed the connection that was kept; all calls only read.
                return self._exchange(call)
        except httpx.DecodingError:
            return Failure(trouble=Trouble.GARBLED, text="The answer cannot be decompressed")
        except httpx.HTTPError as error:
            return self._failure(error)
        except RuntimeError as error:  # httpx: the client was closed
            if not self._closed:
                raise
            return Failure(trouble=Trouble.NETWORK, text=str(error))

    def close(self) -> None:
        """Break off what is under way, from any thread, and close the connection."""
        with self._lock:
            self._closed = True
            sockets, self._sockets = self._sockets, []
        for connection in sockets:
            with suppress(OSError):  # gone by itself
                # Not the TLS socket's own method: it would pull the session from under a reader.
                socket.socket.shutdown(connection, socket.SHUT_RDWR)
        self._http.close()

    def _exchange(self, call: HttpCall) -> HttpReply | Failure:
        deadline = time.monotonic() + self._settings.deadline
        url = self._settings.api_url + call.path
        reply = self._request(call, url, deadline)
        for _ in range(_REDIRECTS):
            to = _same_place(url, reply) if isinstance(reply, HttpReply) else None
            if to is None:
                break
            reply = self._request(call, url := to, deadline)
        return reply

    def _request(self, call: HttpCall, url: str, deadline: float) -> HttpReply | Failure:
        request = self._http.build_request(
            call.method,
            url,
            params=call.params or None,
            content=call.body,
            headers=dict(call.headers),
            extensions={"trace": self._trace},
        )
        body = bytearray()
        response = self._http.send(request, stream=True)
        try:
            for chunk in response.iter_bytes():
                body += chunk
                if len(body) > MAX_BODY:
                    return Failure(trouble=Trouble.PAGE_LIMIT, text=_TOO_LARGE)
                if time.monotonic() > deadline:
                    text = f"The answer took longer than {self._settings.deadline:g} s"
                    return Failure(trouble=Trouble.NETWORK, text=text)
        finally:
            response.close()
        logger.debug("{} {} -> {}", call.method, call.path, response.status_code)
        headers = {name.lower(): value for name, value in response.headers.items()}
        return HttpReply(status=response.status_code, headers=headers, body=bytes(body))

    def _trace(self, event: str, info: Mapping[str, Any]) -> None:
        if event not in _CONNECTED:
            return
        self._connects += 1
        connection = info["return_value"].get_extra_info("socket")
        with self._lock:
            if not self._closed:
                self._sockets = [connection]
                return
        connection.close()

    def _failure(self, error: httpx.HTTPError) -> Failure:
        causes = list(_causes(error))
        where = f"{self._settings.api_url} (from {self._settings.origin})"
        if any(isinstance(cause, ssl.SSLCertVerificationError) for cause in causes):
            text = f"The certificate of {where} cannot be verified; set PREFECT_API_SSL_CERT_FILE"
            return Failure(trouble=Trouble.CERTIFICATE, text=text)
        if any(isinstance(cause, ConnectionRefusedError) for cause in causes):
            text = f"Nothing listens at {where}; is the server running?"
            return Failure(trouble=Trouble.REFUSED, text=text)
        if any(isinstance(cause, socket.gaierror) for cause in causes):
            text = f"The host name of {where} cannot be resolved"
            return Failure(trouble=Trouble.NETWORK, text=text)
        return Failure(
            trouble=Trouble.NETWORK, text=f"No answer from {where}: {type(error).__name__}"
        )


_TOO_LARGE = f"One row makes an answer of more than {MAX_BODY // 1024 // 1024} MiB"


def tls_of(settings: Settings) -> ssl.SSLContext | None:
    """How to verify the server; None where its URL speaks plain HTTP."""
    if not settings.api_url.startswith("https:"):
        return None
    context = ssl.create_default_context(cafile=settings.ssl_cert_file)
    if not settings.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _headers(settings: Settings) -> dict[str, str]:
    headers = {name: value.reveal() for name, value in settings.headers}
    headers.setdefault("User-Agent", "rxflow")
    if (authorization := settings.authorization()) is not None:
        headers = {k: v for k, v in headers.items() if k.lower() != "authorization"}
        headers["Authorization"] = authorization
    return headers


def _same_place(url: str, reply: HttpReply) -> str | None:
    """Where a redirect leads that may be followed: to the same server, by the same method."""
    if reply.status not in {307, 308} or "location" not in reply.headers:
        return None
    to = urljoin(url, reply.headers["location"])
    return to if urlsplit(to)[:2] == urlsplit(url)[:2] else None


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
