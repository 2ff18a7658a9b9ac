"""Endpoints: one server, and how it is reached: over TLS, through a proxy, over an httpx transport.

Belongs here: everything that is fixed before a connection is made. Does not belong here: requests
(`http_requests`) and sending them (`transport`).
"""

import ssl
from collections.abc import Callable
from typing import TypeVar

import httpx

from rxflow._config.settings import Settings
from rxflow._forks import no_fork
from rxflow._net.proxies import proxy_of
from rxflow.errors import ConfigurationError

HttpTransport = httpx.BaseTransport | httpx.AsyncBaseTransport
"""An httpx transport, which replaces the network."""

H = TypeVar("H", httpx.BaseTransport, httpx.AsyncBaseTransport)


class Endpoint:
    """One server, and how it is reached.

    Attributes:
        settings: The server's URL, credentials and time-outs.
        proxy: The proxy that the environment sets for it; None for none.
        tls: How to verify it; None for plain HTTP.
        name: The server's URL, where it was set, and the proxy, for messages.
    """

    def __init__(
        self,
        settings: Settings,
        tls: ssl.SSLContext | None,
        http_transport: HttpTransport | None = None,
    ) -> None:
        """Look for a proxy; nothing is connected yet.

        Args:
            settings: The server's URL, credentials and time-outs.
            tls: How to verify the server; None for plain HTTP.
            http_transport: An httpx transport to use in place of the network; None for the network.

        Raises:
            ConfigurationError: The URL cannot be used.
        """
        try:
            url = httpx.URL(settings.api_url)
        except httpx.InvalidURL as error:
            raise ConfigurationError(f"{settings.origin} is not a valid URL: {error}") from error
        self.settings = settings
        self.proxy = proxy_of(url) if http_transport is None else None
        through = f", through the proxy {self.proxy.name}" if self.proxy is not None else ""
        self.name = f"{settings.api_url} (from {settings.origin}){through}"
        self.tls = tls
        self._http_transport = http_transport

    @property
    def is_network(self) -> bool:
        """Whether no httpx transport replaces the network."""
        return self._http_transport is None

    def open_http(self) -> httpx.BaseTransport:
        """Return the httpx transport for threads, which is not connected yet.

        Raises:
            ConfigurationError: The proxy that the environment names cannot be used, or the httpx
                transport that was given is for asyncio only.
        """
        return self._open(httpx.BaseTransport, httpx.HTTPTransport, "for")

    def open_async_http(self) -> httpx.AsyncBaseTransport:
        """Return the httpx transport for an event loop, which is not connected yet.

        Raises:
            ConfigurationError: The proxy that the environment names cannot be used, or the httpx
                transport that was given is not for asyncio.
        """
        return self._open(httpx.AsyncBaseTransport, httpx.AsyncHTTPTransport, "async for")

    def _open(self, kind: type[H], make: Callable[..., H], loop: str) -> H:
        if self._http_transport is None:
            return self._open_network(make)
        if not isinstance(self._http_transport, kind):
            raise ConfigurationError(
                f"{type(self._http_transport).__name__} cannot send the requests of `{loop}`; "
                f"pass a transport that is an httpx.{kind.__name__} too"
            )
        return self._http_transport

    def _open_network(self, make: Callable[..., H]) -> H:
        try:
            with no_fork:
                return make(
                    # Plain HTTP has no certificate to verify; httpx makes a TLS context even so.
                    verify=self.tls if self.tls is not None else False,
                    trust_env=False,  # the settings have read the variables of certificates
                    proxy=self.proxy.url.reveal() if self.proxy is not None else None,
                    limits=httpx.Limits(max_keepalive_connections=1),
                )
        except (httpx.InvalidURL, ValueError, ImportError):
            # The error's text may hold a part of the proxy's password.
            raise ConfigurationError(
                "The proxy that HTTP_PROXY, HTTPS_PROXY or ALL_PROXY names cannot be used; it must "
                "be a URL such as http://proxy.example:3128 (for a SOCKS proxy install socksio)"
            ) from None
