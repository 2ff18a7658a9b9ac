"""Takes pages as a member of a group, on an event loop, for an engine in any thread.

The engine reads more only when the events before were handed on and their consumer has returned,
or wants the next one. So a page is acknowledged when the next read begins, and given back if none
does. Meanwhile the member says now and then that it is at work, however long that takes.
"""

import asyncio

import msgspec

from rxflow._own_log import log
from rxflow._runtime.clocks import apause
from rxflow.errors import RxflowError
from rxflow.relay._broker import Broker, RunPage
from rxflow.relay._connections import BrokerAccess, connections
from rxflow.relay._group import GroupMember, GroupOptions, GroupPage
from rxflow.relay._log_channel import (
    LISTEN_SECONDS,
    AsyncLogChannel,
    BlockingLogChannel,
    LogRead,
)
from rxflow.relay._whole_pages import whole_page
from rxflow.relay._workspace_session import WorkspaceRead


class GroupSource(msgspec.Struct, frozen=True):
    """From where the pages of a group are taken.

    Attributes:
        access: How the broker is reached.
        options: The group.
    """

    access: BrokerAccess
    options: GroupOptions

    def open_channel(self) -> BlockingLogChannel:
        """Open a channel for threads."""
        return BlockingLogChannel(GroupReader(self))

    def open_async_channel(self) -> AsyncLogChannel:
        """Open a channel for the running event loop, or the one that it is used on."""
        return AsyncLogChannel(GroupReader(self))

    def open_push_channel(self) -> None:
        """Return that nothing announces changes."""


class GroupReader:
    """Takes one page after the other; a `PageReader`."""

    def __init__(self, source: GroupSource) -> None:
        """Create a reader that is not connected yet.

        Args:
            source: What to read.
        """
        self._source = source
        self._broker: Broker | None = None
        self._member: GroupMember | None = None
        self._page: GroupPage | None = None  # that is not acknowledged
        self._keeping: asyncio.Task[None] | None = None

    async def read(self) -> LogRead:
        """Acknowledge the page before, and return what comes next."""
        try:
            broker = self._broker or await self._open()
            member = self._member = self._member or broker.member(self._source.options)
            self._keeping = self._keeping or asyncio.create_task(self._keep(member))
            if self._page is not None:
                await member.ack(self._page)
                self._page = None
            self._page = page = await member.next_page(LISTEN_SECONDS)
            if page is None:
                return LogRead(is_relayed=await connections.is_relayed(self._source.access))
            whole = await whole_page(broker, page.run_id, page.stored)
            return WorkspaceRead(run_pages=(RunPage(page.run_id, whole, ""),), is_relayed=True)
        except RxflowError as error:
            return LogRead(error=error)

    async def _open(self) -> Broker:
        self._broker = await connections.acquire(self._source.access)
        return self._broker

    async def _keep(self, member: GroupMember) -> None:
        """Say that the member is at work, for as long as it has a page."""
        while True:
            await apause(self._source.options.redeliver_seconds / 3)
            try:
                if self._page is not None:
                    await member.keep(self._page)
            except RxflowError as error:
                log("WARNING", "The broker refuses that a page is kept", error=error)

    async def aclose(self) -> None:
        """Give the page back that is not acknowledged, and release what the broker holds."""
        keeping, self._keeping = self._keeping, None
        if keeping is not None:
            keeping.cancel()
            await asyncio.wait([keeping])
        member, self._member = self._member, None
        page, self._page = self._page, None
        try:
            if member is not None and page is not None:
                await member.give_back(page)
        except RxflowError as error:
            log("WARNING", "The broker refuses that a page is given back", error=error)
        if member is not None:
            await member.aclose()
        broker, self._broker = self._broker, None
        if broker is not None:
            await connections.release(self._source.access)
