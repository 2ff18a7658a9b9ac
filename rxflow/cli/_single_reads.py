"""Reads for the looks of the output, which must not hold it up: sent once, and left out if failed.

Such as names. What a command depends on is read by `rxflow.Client.read`, which tries again.
"""

from typing import TYPE_CHECKING, Any

from rxflow._protocol.pages import Page
from rxflow._protocol.queries import Query

if TYPE_CHECKING:
    from rxflow import Client
    from rxflow._net.channel import Channel

__all__ = ["SingleReads"]


class SingleReads:
    """Sends queries, each once, over a connection of its own."""

    def __init__(self, client: "Client") -> None:
        """Prepare to connect with the first query."""
        self._client = client
        self._channel: Channel | None = None

    def rows(self, query: Query) -> tuple[Any, ...]:
        """Return the rows of the first page of a query's reply; none if the query fails."""
        if self._channel is None:
            self._channel = self._client.open_channel()
        reply = self._channel.send(query)
        return reply.rows if isinstance(reply, Page) else ()

    def close(self) -> None:
        """Close the connection, if there is one."""
        channel, self._channel = self._channel, None
        if channel is not None:
            channel.close()
