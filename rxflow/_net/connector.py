"""The connector of a client: opens its channels, and holds what they share.

This module imports httpx, what httpx needs, and the backends. A client imports it with its first
channel.
"""

# httpx imports it with its first client, where no fork would wait for the import.
import httpcore  # noqa: F401  # pyright: ignore[reportUnusedImport]

from rxflow._config.settings import Settings
from rxflow._models.arguments import check_type
from rxflow._net.channel import AsyncChannel, Channel, SharedBackend
from rxflow._net.endpoint import Endpoint, HttpTransport
from rxflow._net.failure_texts import FailureTexts
from rxflow._net.tls import tls_context
from rxflow._net.transport import AsyncTransport, Transport


class Connector:
    """Opens channels to one server.

    Attributes:
        shared_backend: The backend of all channels.
    """

    def __init__(self, settings: Settings, transport: HttpTransport | None) -> None:
        """Read the certificates; nothing is connected yet.

        Args:
            settings: The server's URL, credentials and time-outs.
            transport: An httpx transport to use in place of the network; None for the network.

        Raises:
            ConfigurationError: The URL cannot be used, or the file of certificates not be read.
            TypeError: ``transport`` is of another class.
        """
        if transport is not None:
            check_type(
                "transport", transport, HttpTransport, "an httpx.MockTransport or another one"
            )
        self._endpoint = Endpoint(settings, tls_context(settings), transport)
        self.shared_backend = SharedBackend(settings.backend, FailureTexts(self._endpoint))

    def open_channel(self) -> Channel:
        """Return a channel for threads, which the caller must close."""
        return Channel(Transport(self._endpoint), self.shared_backend)

    def open_async_channel(self) -> AsyncChannel:
        """Return a channel for the running event loop, which the caller must close there."""
        return AsyncChannel(AsyncTransport(self._endpoint), self.shared_backend)
