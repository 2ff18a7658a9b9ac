"""Reads for the looks of the output, which must not hold it up: sent once, and left out if failed.

Such as names. What a command depends on is read by `rxflow.Client.read`, which tries again.
"""

from time import monotonic
from typing import TYPE_CHECKING, Any

from rxflow._protocol.pages import Page
from rxflow._protocol.queries import Query
from rxflow.cli._time_limit import TimeLimit

if TYPE_CHECKING:
    from rxflow import Client
    from rxflow._net.channel import Channel

__all__ = ["SingleReads"]

LONGEST_READ = 2.0
"""Seconds that a read may take."""

SILENCE = 20.0
"""Seconds without reads after one took too long, so that a silent server takes a tenth of them."""


class SingleReads:
    """Sends queries, each once and not for long, over a connection of its own."""

    def __init__(self, client: "Client", limit: TimeLimit | None = None) -> None:
        """Prepare to connect with the first query.

        Args:
            client: The client of the server.
            limit: The time limit of the command, of which no read takes more than half.
        """
        self._client = client
        self._longest = LONGEST_READ
        if limit is not None:
            self._longest = min(LONGEST_READ, limit.duration.total_seconds() / 2)
        self._channel: Channel | None = None
        self._not_before = 0.0

    def rows(self, query: Query) -> tuple[Any, ...] | None:
        """Return the rows of the first page of a query's reply; None if it fails or takes long."""
        if monotonic() < self._not_before:
            return None
        if self._channel is None:
            self._channel = self._client.open_channel()
        end = monotonic() + self._longest

        def time_left() -> float | None:
            left = end - monotonic()
            return left if left > 0 else None

        reply = self._channel.send(query, time_left)
        if isinstance(reply, Page):
            return reply.rows
        if time_left() is None:
            self._not_before = monotonic() + SILENCE
        return None

    def close(self) -> None:
        """Close the connection, if there is one."""
        channel, self._channel = self._channel, None
        if channel is not None:
            channel.close()
