"""The channels that the engine sends queries on, and that announce changes, as protocols.

`_runtime` may not import `_net`; `rxflow.client.Client` is the opener, and the channels of
`rxflow._net.channel` are what it opens.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Protocol

from rxflow._protocol.failures import Reply
from rxflow._protocol.push import Announcement, PushEnd, PushSubscription
from rxflow._protocol.queries import Query

WhileWaiting = Callable[[], float | None]
"""Called while a reply is awaited: returns the seconds after which to call it again at the latest,
or None to abort the query. Never raises."""


class QueryChannel(Protocol):
    """A blocking connection to one server, used by one thread at a time."""

    def send(self, query: Query, while_waiting: WhileWaiting | None = None) -> Reply:
        """Send a query once and wait for the reply; never raises.

        Args:
            query: The query.
            while_waiting: Called in this thread, now and then, until the reply has arrived.
        """
        ...

    def close(self) -> None:
        """Abort the query in flight and close the connection. Callable from any thread."""
        ...


class AsyncQueryChannel(Protocol):
    """A connection to one server for an event loop, used by one task."""

    async def send(self, query: Query) -> Reply:
        """Send a query once; raises only `asyncio.CancelledError`, which aborts the query."""
        ...

    async def aclose(self) -> None:
        """Close the connection."""
        ...


class AnnouncingChannel(Protocol):
    """A connection over which one server announces changes, for an event loop."""

    async def read(
        self,
        subscription: PushSubscription,
        now: datetime,
        receive: Callable[[Announcement], None],
    ) -> PushEnd:
        """Connect, and receive announcements until the connection ends.

        Raises only `asyncio.CancelledError`, which ends it.

        Args:
            subscription: What the server is to announce.
            now: The time, aware.
            receive: Called with each announcement, on the event loop.
        """
        ...


class ChannelOpener(Protocol):
    """Opens channels to one server."""

    def open_channel(self) -> QueryChannel:
        """Open a channel for threads."""
        ...

    def open_async_channel(self) -> AsyncQueryChannel:
        """Open a channel for the running event loop."""
        ...

    def open_push_channel(self) -> AnnouncingChannel | None:
        """Make a channel for announcements, for an event loop; None if there can be none."""
        ...
