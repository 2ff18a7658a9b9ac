"""Reads all logs of a workspace on an event loop, for an engine in any thread."""

import msgspec

from rxflow.errors import RxflowError
from rxflow.relay._broker import Broker, WorkspaceFollower
from rxflow.relay._connections import BrokerAccess, connections
from rxflow.relay._log_channel import (
    LISTEN_SECONDS,
    AsyncLogChannel,
    BlockingLogChannel,
    LogRead,
)
from rxflow.relay._whole_pages import whole_page
from rxflow.relay._workspace_position import WorkspacePosition
from rxflow.relay._workspace_session import WorkspaceRead


class WorkspaceSource(msgspec.Struct, frozen=True):
    """From where all logs of a workspace are read.

    Attributes:
        access: How the broker is reached.
        after: After which event to read.
    """

    access: BrokerAccess
    after: WorkspacePosition

    def open_channel(self) -> BlockingLogChannel:
        """Open a channel for threads."""
        return BlockingLogChannel(WorkspaceReader(self))

    def open_async_channel(self) -> AsyncLogChannel:
        """Open a channel for the running event loop, or the one that it is used on."""
        return AsyncLogChannel(WorkspaceReader(self))

    def open_push_channel(self) -> None:
        """Return that nothing announces changes."""


class WorkspaceReader:
    """Reads all logs; a `PageReader`."""

    def __init__(self, source: WorkspaceSource) -> None:
        """Create a reader that is not connected yet.

        Args:
            source: What to read.
        """
        self._source = source
        self._broker: Broker | None = None
        self._follower: WorkspaceFollower | None = None

    async def read(self) -> LogRead:
        """Return what comes next; raises only `asyncio.CancelledError`."""
        try:
            broker = self._broker or await self._open()
            follower = self._follower = self._follower or broker.follow_all(
                after=self._source.after.position, mark=self._source.after.mark
            )
            found = await follower.pages(LISTEN_SECONDS)
            pages = [
                run_page._replace(stored=await whole_page(broker, run_page.run_id, run_page.stored))
                for run_page in found
            ]
            if pages:
                return WorkspaceRead(run_pages=tuple(pages), is_relayed=True)
            return LogRead(is_relayed=await connections.is_relayed(self._source.access))
        except RxflowError as error:
            return LogRead(error=error)

    async def _open(self) -> Broker:
        self._broker = await connections.acquire(self._source.access)
        return self._broker

    async def aclose(self) -> None:
        """Release what the broker and its client hold."""
        follower, self._follower = self._follower, None
        if follower is not None:
            await follower.aclose()
        broker, self._broker = self._broker, None
        if broker is not None:
            await connections.release(self._source.access)
