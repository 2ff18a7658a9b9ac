"""Groups on Redis: a consumer group of the stream that has the run of each page.

A member needs XGROUP, XREADGROUP, XAUTOCLAIM, XPENDING, XCLAIM and XACK on the key of the pages,
and XRANGE on the runs' keys; with EVAL and XINFO it also deletes what the server keeps of members
that are gone.
"""

import asyncio
from contextlib import suppress
from secrets import token_hex
from typing import TYPE_CHECKING, Any, Final

from rxflow._own_log import log
from rxflow._runtime.clocks import apause
from rxflow.errors import BrokerFailed, ConfigurationError, InvalidRelayLog
from rxflow.relay._group import GroupOptions, GroupPage
from rxflow.relay._redis_entries import run_of_entry, stored_entry
from rxflow.relay._retries import Unanswered

if TYPE_CHECKING:
    from rxflow.relay._redis import RedisBroker

_BLOCK_SECONDS: Final = 1.0  # for which one command waits; then pages of others are looked for
_RETRY_SECONDS: Final = 0.3
_GONE_SECONDS: Final = 60.0  # without a command, after which a member without pages is deleted

# Nothing is lost of one that is alive: the server has it again with its next command.
_DELETE_GONE: Final = """
for _, fields in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do
  local member = {}
  for index = 1, #fields, 2 do member[fields[index]] = fields[index + 1] end
  if member['pending'] == 0 and member['idle'] >= tonumber(ARGV[2]) then
    redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], member['name'])
  end
end
return 0
"""


class RedisGroupMember:
    """Takes pages of a consumer group; a `GroupMember`."""

    def __init__(self, broker: "RedisBroker", options: GroupOptions) -> None:
        """Create a member that has not joined its group yet.

        Args:
            broker: The broker.
            options: The group.

        Raises:
            ConfigurationError: The group is of one run.
        """
        if options.run_id is not None:
            raise ConfigurationError(
                "On Redis a group shares all runs of a workspace; leave flow_run_id= away, or use "
                "NATS, where a group may share one run"
            )
        self._link = broker.link
        self._broker = broker
        self._key = broker.pages_key
        self._group = options.group
        self._name = token_hex(8)
        self._redeliver_seconds = options.redeliver_seconds
        self._has_joined = False
        self._claim_cursor = b"0-0"
        self._claim_due = 0.0  # on the loop's clock

    async def next_page(
        self,
        timeout: float,  # noqa: ASYNC109 - that nothing came is no error
    ) -> GroupPage | None:
        """Return the next page; see `GroupMember.next_page`."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        while (left := deadline - loop.time()) > 0:
            try:
                if not self._has_joined:
                    await self._join()
                entry = await self._claim() or await self._take(min(left, _BLOCK_SECONDS))
                page = None if entry is None else await self._page_of(entry)
            except Unanswered:
                await apause(min(_RETRY_SECONDS, left))
            except BrokerFailed as error:
                if "NOGROUP" not in str(error):
                    raise
                self._has_joined = False  # the logs were lost, and the group with them
            else:
                if page is not None:
                    return page
        return None

    async def ack(self, page: GroupPage) -> None:
        """Say that a page is done; see `GroupMember.ack`."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._redeliver_seconds
        while loop.time() < deadline:
            try:
                await self._link.command("XACK", self._key, self._group, page.receipt)
            except Unanswered:
                await apause(_RETRY_SECONDS)
            else:
                return
        log("WARNING", "A page that was handled is not acknowledged, and may come again")

    async def keep(self, page: GroupPage) -> None:
        """Say that the member is at work on a page."""
        await self._set_idle(page, 0.0)

    async def give_back(self, page: GroupPage) -> None:
        """Let another member have a page at once."""
        await self._set_idle(page, self._redeliver_seconds)

    async def aclose(self) -> None:
        """Do nothing: the group stays, without its members too."""

    async def _join(self) -> None:
        """Create the group, unless it is there; delete members that are gone, if permitted."""
        try:
            await self._link.command("XGROUP", "CREATE", self._key, self._group, "0", "MKSTREAM")
        except BrokerFailed as error:
            if "BUSYGROUP" not in str(error):
                raise
        gone = int(_GONE_SECONDS * 1000)
        with suppress(BrokerFailed):
            await self._link.command("EVAL", _DELETE_GONE, 1, self._key, self._group, gone)
        self._has_joined = True

    async def _claim(self) -> Any:
        """Return an entry that another member has had for too long; None if there is none."""
        now = asyncio.get_running_loop().time()
        if now < self._claim_due:
            return None
        idle = int(self._redeliver_seconds * 1000)
        where = (self._key, self._group, self._name, idle, self._claim_cursor)
        reply = await self._link.command("XAUTOCLAIM", *where, "COUNT", 1)
        self._claim_cursor = reply[0]
        entries = [entry for entry in reply[1] if entry is not None]  # of 6.2: None if deleted
        if not entries and self._claim_cursor == b"0-0":
            self._claim_due = now + min(_BLOCK_SECONDS, self._redeliver_seconds / 3)
        return entries[0] if entries else None

    async def _take(self, seconds: float) -> Any:
        """Return an entry that no member has had; None if there is none within some seconds."""
        found = await self._link.command(
            *("XREADGROUP", "GROUP", self._group, self._name, "COUNT", 1),
            *("BLOCK", max(1, int(seconds * 1000)), "STREAMS", self._key, ">"),
            block=seconds,
        )
        return found[0][1][0] if found else None

    async def _page_of(self, entry: Any) -> GroupPage | None:
        """Return the page of an entry; None, once it is acknowledged, if the log was dropped."""
        identity, fields = entry
        receipt = identity.decode()
        run = run_of_entry(fields or [])
        try:
            found = []
            if run is not None:
                key = self._broker.log_key(run)
                found = await self._link.command("XRANGE", key, receipt, receipt)
            if found and run is not None:
                return GroupPage(run, stored_entry(found[0], run), receipt)
        except (Unanswered, InvalidRelayLog):
            await self._return(receipt)
            raise
        await self._link.command("XACK", self._key, self._group, receipt)
        return None

    async def _set_idle(self, page: GroupPage, seconds: float) -> None:
        with suppress(Unanswered):
            pending = ("XPENDING", self._key, self._group, page.receipt, page.receipt, 1)
            if await self._link.command(*pending, self._name):  # not another member's meanwhile
                await self._return(page.receipt, seconds)

    async def _return(self, receipt: str, seconds: float | None = None) -> None:
        """Set for how long this member has given no sign of life for an entry."""
        idle = self._redeliver_seconds if seconds is None else seconds
        with suppress(Unanswered):
            await self._link.command(
                *("XCLAIM", self._key, self._group, self._name, 0, receipt),
                *("IDLE", int(idle * 1000), "JUSTID"),
            )
