"""HTTP: one attempt at one call, over httpx. Errors of httpx end here.

A connection belongs to one `Transport`, a transport to one watch, so that breaking off a watch
breaks off its requests and nobody else's. A call that met a keep-alive connection which the server
had closed meanwhile is sent once more, at once.
"""

import socket
import ssl
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial
from ipaddress import ip_address
from typing import Any, cast
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import httpx
from loguru import logger

from rxflow._backends import HttpCall, HttpReply
from rxflow._polling import Failure, Trouble
from rxflow._settings import Settings
from rxflow.errors import ConfigurationError

MAX_BODY = 32 * 1024 * 1024
"""Bytes of a decompressed answer; of a larger one fewer rows are asked for."""

_REDIRECTS = 3
_LONGEST = 86_400.0  # seconds; sockets cannot wait for more than some weeks
_CLOSED = "The connection was closed"


HttpTransport = httpx.BaseTransport
"""What carries requests in place of a network."""


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
            ConfigurationError: The URL, or the proxy that the environment names, cannot be used.
        """
        self._settings = settings
        through = _through(settings.api_url) if transport is None else ""
        self._where = f"{settings.api_url} (from {settings.origin}){through}"
        self._lock = threading.Lock()
        # Of the connection: a duplicate, which can be shut down while another thread reads from
        # the original, whatever TLS does with that, and whose number nobody else can get.
        self._handle: socket.socket | None = None
        self._connects = 0
        self._until = 0.0
        self._sending = 0
        self._closed = False
        self._http = _http(settings, tls, transport)

    def send(self, call: HttpCall) -> HttpReply | Failure:
        """Make one attempt; never raises."""
        if not self._begin():
            return Failure(trouble=Trouble.NETWORK, text=_CLOSED)
        self._until = time.monotonic() + self._settings.deadline
        try:
            reply = self._attempt(call)
        finally:
            closed = self._end()
        if closed:  # what was broken off may look like an answer that ended
            reply = Failure(trouble=Trouble.NETWORK, text=_CLOSED)
        if isinstance(reply, Failure):
            self._let_go()
        return reply

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

    def _attempt(self, call: HttpCall) -> HttpReply | Failure:
        try:
            return self._exchange(call)
        except zlib.error:
            return Failure(trouble=Trouble.GARBLED, text="The answer cannot be decompressed")
        # A host name that cannot be encoded is a UnicodeError, and the deadline an OSError.
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeError, OSError) as error:
            return self._failure(error)

    def _exchange(self, call: HttpCall) -> HttpReply | Failure:
        url = httpx.URL(self._settings.api_url + call.path)
        if call.params:
            url = url.copy_with(params=call.params)
        reply = self._request(call, url)
        for _ in range(_REDIRECTS):
            to = _same_place(url, reply) if isinstance(reply, HttpReply) else None
            if to is None:
                break
            reply = self._request(call, url := to)
        return reply

    def _request(self, call: HttpCall, url: httpx.URL) -> HttpReply | Failure:
        request = self._http.build_request(
            call.method,
            url,
            content=call.body,
            headers=dict(call.headers),
            extensions={"trace": self._trace},
        )
        response = self._open(request)
        try:
            body = _body(response)
        finally:
            response.close()
        logger.debug("{} {} -> {}", call.method, call.path, response.status_code)
        if isinstance(body, Failure):
            return body
        headers = {name.lower(): value for name, value in response.headers.items()}
        return HttpReply(status=response.status_code, headers=headers, body=body)

    def _open(self, request: httpx.Request) -> httpx.Response:
        """Send a request, twice if the server had closed the connection that was kept for it."""
        connects = self._connects
        try:
            return self._http.send(request, stream=True)
        except (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError):
            reused = connects > 0 and self._connects == connects
            if self._closed or not reused:
                raise
        return self._http.send(request, stream=True)  # all calls only read

    def _failure(self, error: Exception) -> Failure:
        what = "No answer" if self._left() else f"No whole answer in {self._settings.deadline:g} s"
        trouble, text = Trouble.NETWORK, f"{what} from {self._where}: {type(error).__name__}"
        for cause in _causes(error):
            match cause:
                case ssl.SSLCertVerificationError():
                    trouble = Trouble.CERTIFICATE
                    text = (
                        f"The certificate of {self._where} cannot be verified "
                        f"({cause.verify_message}); set PREFECT_API_SSL_CERT_FILE"
                    )
                case ConnectionRefusedError():
                    trouble = Trouble.REFUSED
                    text = f"Nothing listens at {self._where}; is the server running?"
                case socket.gaierror() | UnicodeError():
                    text = f"The host name of {self._where} cannot be resolved"
                case _:
                    pass
        return Failure(trouble=trouble, text=text)


# -- how to connect -----------------------------------------------------------------------------


def tls_of(settings: Settings) -> ssl.SSLContext | None:
    """How to verify the server; None where its URL speaks plain HTTP.

    Without a file it is verified by the certificates that httpx brings along, as Prefect's client
    does it, and by the system's.

    Raises:
        ConfigurationError: The file of certificates cannot be read.
    """
    if not settings.api_url.startswith("https:"):
        return None
    try:
        if settings.ssl_cert_file is not None:
            context = ssl.create_default_context(cafile=settings.ssl_cert_file)
        else:
            context = httpx.create_ssl_context()
            context.load_default_certs()
    except OSError as error:  # an SSLError is one
        text = f"{settings.ssl_cert_file} is not a file of certificates in PEM form"
        raise ConfigurationError(text) from error
    if not settings.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _http(
    settings: Settings, tls: ssl.SSLContext | None, transport: HttpTransport | None
) -> httpx.Client:
    try:
        httpx.URL(settings.api_url)
    except httpx.InvalidURL as error:
        raise ConfigurationError(f"{settings.origin} is not a valid URL: {error}") from error
    try:
        return httpx.Client(
            headers=_headers(settings),
            timeout=httpx.Timeout(
                min(settings.read_timeout, _LONGEST),
                connect=min(settings.connect_timeout, _LONGEST),
            ),
            verify=tls if tls is not None else False,  # nothing to verify without TLS
            trust_env=not _is_loopback(settings.api_url),  # a proxy does not lead back here
            transport=transport,
            limits=httpx.Limits(max_keepalive_connections=1),
        )
    except (httpx.InvalidURL, ValueError, ImportError):
        # Whose text could hold a piece of the proxy's password.
        raise ConfigurationError(
            "The proxy that HTTP_PROXY, HTTPS_PROXY or ALL_PROXY names cannot be used; it must be "
            "a URL such as http://proxy.example:3128 (for a SOCKS proxy install socksio)"
        ) from None


def _headers(settings: Settings) -> dict[str, str]:
    headers = {name.lower(): value.reveal() for name, value in settings.headers}
    headers["user-agent"] = "rxflow"
    headers["accept-encoding"] = "gzip"  # what _body() can undo
    if (authorization := settings.authorization()) is not None:
        headers["authorization"] = authorization
    return headers


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _through(url: str) -> str:
    """Name the proxy that the environment puts in between, if any, without its password."""
    parts, proxies = urlsplit(url), getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if not proxy or _is_loopback(url) or proxy_bypass(parts.hostname or ""):
        return ""
    return f", through the proxy {proxy.rpartition('@')[2].rpartition('//')[2]}"


# -- answers and errors -------------------------------------------------------------------------

_TOO_LARGE = f"One row makes an answer of more than {MAX_BODY // 1024 // 1024} MiB"


def _body(response: httpx.Response) -> bytes | Failure:
    """Read an answer to its end, but no more of it, decompressed, than it may be long.

    By hand: httpx would decompress each chunk whole, and a chunk may be a bomb.
    """
    coding = response.headers.get("content-encoding", "identity").lower()
    if coding not in {"identity", "gzip"}:
        return Failure(trouble=Trouble.GARBLED, text="The answer is compressed, and not by gzip")
    gunzip = zlib.decompressobj(16 + zlib.MAX_WBITS) if coding == "gzip" else None
    body = bytearray()
    for chunk in cast("Iterable[bytes]", response.stream):
        if gunzip is None:
            body += chunk
        elif not gunzip.eof:  # it would keep what comes after
            body += gunzip.decompress(chunk, MAX_BODY + 1 - len(body))
        if len(body) > MAX_BODY:
            return Failure(trouble=Trouble.PAGE_LIMIT, text=_TOO_LARGE)
    if gunzip is not None and body and not gunzip.eof:
        return Failure(trouble=Trouble.GARBLED, text="The answer was cut short")
    return bytes(body)


def _same_place(url: httpx.URL, reply: HttpReply) -> httpx.URL | None:
    """Where a redirect leads that may be followed: to the same server, by the same method."""
    if reply.status not in {307, 308} or "location" not in reply.headers:
        return None
    try:
        to = url.join(reply.headers["location"])
    except (httpx.InvalidURL, ValueError):
        return None
    same = (to.scheme, to.host, to.port) == (url.scheme, url.host, url.port)
    return to if same and not to.userinfo else None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
