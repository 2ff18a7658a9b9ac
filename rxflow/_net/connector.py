"""The connector of a client: opens its channels, and holds what they share.

This module imports httpx, what httpx needs, and the backends. A client imports it with its first
channel.
"""

from typing import TYPE_CHECKING

# httpx imports it with its first client, where no fork would wait for the import.
import httpcore  # noqa: F401  # pyright: ignore[reportUnusedImport]

from rxflow._config.settings import Settings
from rxflow._forks import no_fork
from rxflow._models.arguments import check_type
from rxflow._net.channel import AsyncChannel, Channel, SharedBackend
from rxflow._net.endpoint import Endpoint, HttpTransport
from rxflow._net.failure_texts import FailureTexts
from rxflow._net.tls import tls_context
from rxflow._net.transport import AsyncTransport, Transport
from rxflow._own_log import log

if TYPE_CHECKING:
    from rxflow._net.push_channel import PushChannel


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
        self._texts = FailureTexts(self._endpoint)
        self.shared_backend = SharedBackend(settings.backend, self._texts)

    def open_channel(self) -> Channel:
        """Return a channel for threads, which the caller must close."""
        return Channel(Transport(self._endpoint), self.shared_backend)

    def open_async_channel(self) -> AsyncChannel:
        """Return a channel for the running event loop, which the caller must close there."""
        return AsyncChannel(AsyncTransport(self._endpoint), self.shared_backend)

    def open_push_channel(self) -> "PushChannel | None":
        """Return a channel for announcements, for the running event loop.

        Returns:
            None where websockets is not installed, or an httpx transport replaces the network.
        """
        if not self._endpoint.is_network:
            return None
        try:
            with no_fork:
                # Not before it is needed, and an extra.
                from rxflow._net.push_channel import PushChannel  # noqa: PLC0415
        except ImportError as error:
            log("DEBUG", "Changes are polled for, and not announced: {}", error)
            return None
        return PushChannel(self._endpoint, self._texts)
