"""httpx clients, blocking and async: headers, time-outs, proxies, and the server's name in errors.

Belongs here: everything that is fixed for the life of a connection. Does not belong here: sending
(`transport`).
"""

import ssl
from collections.abc import Callable
from ipaddress import ip_address
from typing import Any, NamedTuple, TypeVar
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

import httpx

from rxflow._config.settings import Settings
from rxflow._models.entities import BackendName
from rxflow.errors import ConfigurationError

HttpTransport = httpx.BaseTransport | httpx.AsyncBaseTransport
"""An httpx transport, which replaces the network."""

C = TypeVar("C", httpx.Client, httpx.AsyncClient)

_LONGEST_TIMEOUT = 86_400.0  # seconds; sockets refuse time-outs of more than some weeks


def build_http_client(
    make: Callable[..., C], settings: Settings, tls: ssl.SSLContext | None, transport: Any
) -> C:
    """Build an httpx client that is not connected yet.

    Args:
        make: `httpx.Client` or `httpx.AsyncClient`.
        settings: The server's URL, credentials and time-outs.
        tls: How to verify the server; None for plain HTTP.
        transport: An httpx transport to use in place of the network; None for the network.

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
                min(settings.read_timeout, _LONGEST_TIMEOUT),
                connect=min(settings.connect_timeout, _LONGEST_TIMEOUT),
            ),
            verify=tls if tls is not None else False,  # plain HTTP has no certificate to verify
            trust_env=not _is_loopback(settings.api_url),  # a proxy cannot reach this machine
            transport=transport,
            limits=httpx.Limits(max_keepalive_connections=1),
        )
    except (httpx.InvalidURL, ValueError, ImportError):
        # The error's text may hold a part of the proxy's password.
        raise ConfigurationError(
            "The proxy that HTTP_PROXY, HTTPS_PROXY or ALL_PROXY names cannot be used; it must be "
            "a URL such as http://proxy.example:3128 (for a SOCKS proxy install socksio)"
        ) from None


def describe_server(settings: Settings, transport: HttpTransport | None) -> str:
    """Name the server, and the proxy that the environment sets for it, for messages."""
    proxy = proxy_of(settings.api_url) if transport is None else None
    through = f", through the proxy {proxy.name}" if proxy is not None else ""
    return f"{settings.api_url} (from {settings.origin}){through}"


class Proxy(NamedTuple):
    """A proxy that the environment sets.

    Attributes:
        name: Host and port.
        user_info: Its ``user:password``, a secret; "" for none.
    """

    name: str
    user_info: str


def proxy_of(url: str) -> Proxy | None:
    """Return the proxy that the environment sets for a URL, None for none."""
    parts, proxies = urlsplit(url), getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if not proxy or _is_loopback(url) or proxy_bypass(parts.hostname or ""):
        return None
    user_info, _, name = proxy.rpartition("@")
    return Proxy(name.rpartition("//")[2], unquote(user_info.rpartition("//")[2]))


def _headers(settings: Settings) -> dict[str, str]:
    headers = _tenant(settings)
    headers |= {name.lower(): value.reveal() for name, value in settings.headers}
    headers["user-agent"] = "rxflow"
    headers["accept-encoding"] = "gzip"  # the coding that `BodyReader` decodes
    if (authorization := settings.authorization()) is not None:
        headers["authorization"] = authorization
    return headers


def _tenant(settings: Settings) -> dict[str, str]:
    """Name the tenant as Prefect 1's client does: only with a key, which may have several."""
    if settings.backend is BackendName.PREFECT_3 or not (settings.api_key and settings.tenant_id):
        return {}
    return {"x-prefect-tenant-id": settings.tenant_id.reveal()}


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
