"""HTTP, as far as it is the same for threads and on a loop: connecting, answers, errors.

Errors of httpx end here. Nothing here sends or waits; `_transport` does.
"""

import socket
import ssl
import zlib
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from typing import Any, TypeVar, cast
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import httpx

from rxflow._backends.backend import HttpCall, HttpReply
from rxflow._config.settings import Settings
from rxflow._models.entities import BackendName
from rxflow._protocol.failures import Failure, FailureKind
from rxflow.errors import ConfigurationError

MAX_BODY = 32 * 1024 * 1024
"""Bytes of a decompressed answer; of a larger one fewer rows are asked for."""

HttpTransport = httpx.BaseTransport | httpx.AsyncBaseTransport
"""What carries requests in place of a network."""

HttpResult = HttpReply | Failure

C = TypeVar("C", httpx.Client, httpx.AsyncClient)

_REDIRECTS = 3
_LONGEST = 86_400.0  # seconds; sockets cannot wait for more than some weeks


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


def connect(
    make: Callable[..., C], settings: Settings, tls: ssl.SSLContext | None, transport: Any
) -> C:
    """Make a client of httpx, blocking or async, that is not connected yet.

    Args:
        make: `httpx.Client` or `httpx.AsyncClient`.
        settings: Where the server is and how to be let in.
        tls: How to verify the server; None for plain HTTP.
        transport: Carries the requests in place of a network.

    Raises:
        ConfigurationError: The URL, or the proxy that the environment names, cannot be used.
    """
    try:
        httpx.URL(settings.api_url)
    except httpx.InvalidURL as error:
        raise ConfigurationError(f"{settings.origin} is not a valid URL: {error}") from error
    try:
        return make(
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


def describe_server(settings: Settings, transport: object | None) -> str:
    """Name the server, and the proxy that the environment puts in between, for messages."""
    through = _through(settings.api_url) if transport is None else ""
    return f"{settings.api_url} (from {settings.origin}){through}"


def _headers(settings: Settings) -> dict[str, str]:
    headers = _tenant(settings)
    headers |= {name.lower(): value.reveal() for name, value in settings.headers}
    headers["user-agent"] = "rxflow"
    headers["accept-encoding"] = "gzip"  # what _body() can undo
    if (authorization := settings.authorization()) is not None:
        headers["authorization"] = authorization
    return headers


def _tenant(settings: Settings) -> dict[str, str]:
    """As Prefect 1's client names its tenant: never without a key, for a key may have several."""
    if settings.backend is BackendName.PREFECT_3 or not (settings.api_key and settings.tenant_id):
        return {}
    return {"x-prefect-tenant-id": settings.tenant_id.reveal()}


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


# -- a call and its answer ----------------------------------------------------------------------


class RequestChain:
    """The requests of one call: its own, and those that redirects lead to.

    Attributes:
        request: What to send next.
    """

    def __init__(
        self,
        http: httpx.Client | httpx.AsyncClient,
        settings: Settings,
        call: HttpCall,
        trace: Callable[[str, dict[str, Any]], Any],
    ) -> None:
        """Begin a call.

        Args:
            http: Who will send the requests.
            settings: Where the server is.
            call: The call.
            trace: Is told what httpx does underneath; a coroutine function for an async client.
        """
        self._http = http
        self._call = call
        self._trace = trace
        self._redirects = 0
        url = httpx.URL(settings.api_url + call.path)
        self.request = self._to(url.copy_with(params=call.params) if call.params else url)

    def leads_on(self, answer: HttpResult) -> bool:
        """Take what came of the request; whether there is another one to send."""
        to = _same_place(self.request.url, answer) if isinstance(answer, HttpReply) else None
        if to is None or self._redirects == _REDIRECTS:
            return False
        self._redirects += 1
        self.request = self._to(to)
        return True

    def _to(self, url: httpx.URL) -> httpx.Request:
        return self._http.build_request(
            self._call.method,
            url,
            content=self._call.body,
            headers=dict(self._call.headers),
            extensions={"trace": self._trace},
        )


class BodyReader:
    """Reads an answer to its end, but no more of it, decompressed, than it may be long.

    By hand: httpx would decompress each chunk whole, and a chunk may be a bomb.
    """

    def __init__(self, response: httpx.Response) -> None:
        """Begin to read an answer."""
        self._response = response
        coding = response.headers.get("content-encoding", "identity").lower()
        self._gunzip = zlib.decompressobj(16 + zlib.MAX_WBITS) if coding == "gzip" else None
        self._read = bytearray()
        self._failure: Failure | None = None
        if coding not in {"identity", "gzip"}:
            self._failure = _unreadable("The answer is compressed, and not by gzip")

    def add(self, chunk: bytes) -> bool:
        """Take a chunk; whether more are wanted."""
        if self._gunzip is None:
            self._read += chunk
        elif not self._gunzip.eof:  # it would keep what comes after
            try:
                self._read += self._gunzip.decompress(chunk, MAX_BODY + 1 - len(self._read))
            except zlib.error:
                self._failure = _unreadable("The answer cannot be decompressed")
        if len(self._read) > MAX_BODY:
            self._failure = Failure(kind=FailureKind.PAGE_LIMIT, text=_TOO_LARGE)
        return self._failure is None

    def end(self) -> HttpResult:
        """What was read."""
        if self._gunzip is not None and self._read and not self._gunzip.eof:
            self._failure = self._failure or _unreadable("The answer was cut short")
        if self._failure is not None:
            return self._failure
        headers = {name.lower(): value for name, value in self._response.headers.items()}
        return HttpReply(status=self._response.status_code, headers=headers, body=bytes(self._read))


def _unreadable(text: str) -> Failure:
    return Failure(kind=FailureKind.UNREADABLE, text=text)


_TOO_LARGE = f"One row makes an answer of more than {MAX_BODY // 1024 // 1024} MiB"

STALE_CONNECTION_ERRORS = (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError)
"""How a connection fails that the server had closed while it was kept."""

# A host name that cannot be encoded is a UnicodeError, and a deadline an OSError.
SEND_ERRORS = (httpx.HTTPError, httpx.InvalidURL, UnicodeError, OSError)
"""What sending a request may raise."""


def failure_of(error: Exception, where: str, *, overdue: float | None) -> Failure:
    """What an error means, and what to do.

    Args:
        error: One of `ERRORS`.
        where: The server's name.
        overdue: The deadline in seconds, if it is what passed.
    """
    what = "No answer" if overdue is None else f"No whole answer in {overdue:g} s"
    trouble, text = FailureKind.NETWORK, f"{what} from {where}: {type(error).__name__}"
    for cause in _causes(error):
        match cause:
            case ssl.SSLCertVerificationError():
                trouble = FailureKind.CERTIFICATE
                text = (
                    f"The certificate of {where} cannot be verified "
                    f"({cause.verify_message}); set PREFECT_API_SSL_CERT_FILE"
                )
            case ConnectionRefusedError():
                trouble = FailureKind.REFUSED
                text = f"Nothing listens at {where}; is the server running?"
            case socket.gaierror() | UnicodeError():
                text = f"The host name of {where} cannot be resolved"
            case _:
                pass
    return Failure(kind=trouble, text=text)


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
        if isinstance(error, ExceptionGroup):  # on a loop, where a host has several addresses
            for one in cast("ExceptionGroup[Exception]", error).exceptions:
                yield from _causes(one)
        error = error.__cause__ or error.__context__
