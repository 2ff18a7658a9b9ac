"""A relay's broker on Redis or Valkey: a stream for each run's log.

    rxflow:<workspace>:run:<run id>   the log: an entry is a page, its id the position
    rxflow:<workspace>:pages          the run of each page by its id, a stream
    rxflow:<workspace>:runs           the runs that have a log, a set
    rxflow:<workspace>:dropped        the highest position in a log that was dropped
    rxflow:<workspace>:wants          which runs were wanted lately, a stream; also a channel
    rxflow:<workspace>:leases         who holds which lease until when, a hash
    rxflow:<workspace>:free:<name>    wakes one that waits for a lease, a list

A script appends a page only if the log's last entry has the id that the writer has read, which the
page keeps as ``previous``. The first part of an id is the server's time in milliseconds, or one
more than that of any page before, and the second is 0. A log that was made anew goes on above the
ids of logs that were dropped, so that no reader confuses it with one of them.

A want is published, so that it reaches the relays also while the server stores nothing, and stored
for relays that begin later.

A user that only reads needs the commands XREAD, XRANGE and EXISTS on the runs' keys and that of the
pages, HGETALL on that of the leases, XADD and PUBLISH on that of the wants, and TIME. The server
should force each command to its disk before it replies (``appendonly yes``, ``appendfsync
always``), and must not evict keys (``maxmemory-policy noeviction``).

Belongs here: keys, scripts and replies of logs and wants. Does not belong here: leases
(`_redis_lease`), and the connection (`_redis_link`).
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from random import Random
from typing import Any, Final

from rxflow._own_log import log
from rxflow._runtime.clocks import apause
from rxflow.errors import BrokerFailed, ConfigurationError
from rxflow.relay._address import Address
from rxflow.relay._broker import WANT_SECONDS, LogEnd, Moved, Page, StoredPage
from rxflow.relay._group import GroupOptions
from rxflow.relay._headers import headers_of
from rxflow.relay._names import lease_name, run_name, run_of
from rxflow.relay._page_chain import PageChain
from rxflow.relay._redis_entries import position_of, stored_entry, text_of
from rxflow.relay._redis_group import RedisGroupMember
from rxflow.relay._redis_lease import BLOCK_SECONDS, NOW, RedisLease, milliseconds
from rxflow.relay._redis_link import RedisLink
from rxflow.relay._redis_workspace import RedisWorkspaceFollower
from rxflow.relay._retries import (
    FIRST_PAUSE,
    Full,
    StoresNothing,
    Unanswered,
    is_same_page,
    pauses,
)
from rxflow.relay._room import Room, comes_within

_BATCH: Final = 16  # pages that are read at once, of 256 KiB each
_MOST_WANTS: Final = 100_000  # in their stream, roughly
_SURE_SECONDS: Final = 30.0  # until the page at a silent log's end is read again
_RETRY_SECONDS: Final = 0.3

_APPEND: Final = f"""{NOW}
local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
local position = last and tonumber(string.match(last[1], '^%d+')) or 0
if position ~= tonumber(ARGV[2]) then return -1 end
local newest = redis.call('XREVRANGE', KEYS[4], '+', '-', 'COUNT', 1)[1]
local least = math.max(
  position,
  newest and tonumber(string.match(newest[1], '^%d+')) or 0,
  tonumber(redis.call('GET', KEYS[3]) or 0))
local id = string.format('%.0f-0', math.max(now, least + 1))
redis.call('XADD', KEYS[1], id, 'previous', unpack(ARGV, 2))
redis.call('XADD', KEYS[4], id, 'run', ARGV[1])
redis.call('SADD', KEYS[2], ARGV[1])
return id
"""

# A server that is full takes the SET only after something was deleted. It frees a long log only
# later, for UNLINK and DEL alike, but what is trimmed at once: a page that waits for room is tried
# next, and if that was refused the next log would be dropped for it.
_DROP: Final = """
local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
local start = '-'
while last do
  local pages = redis.call('XRANGE', KEYS[1], start, '+', 'COUNT', 16)
  if #pages == 0 then break end
  for number, page in ipairs(pages) do redis.call('XDEL', KEYS[4], page[1]) end
  start = '(' .. pages[#pages][1]
end
redis.call('XTRIM', KEYS[1], 'MAXLEN', 0)
redis.call('DEL', KEYS[1])
redis.call('SREM', KEYS[2], ARGV[1])
if last then
  local position = tonumber(string.match(last[1], '^%d+'))
  local least = math.max(position, tonumber(redis.call('GET', KEYS[3]) or 0))
  redis.call('SET', KEYS[3], string.format('%.0f', least))
end
return 0
"""


async def open_redis_broker(address: Address, workspace: str, seconds: float) -> "RedisBroker":
    """Connect to Redis.

    Args:
        address: Where it is.
        workspace: The workspace.
        seconds: For how long to try.

    Raises:
        BrokerFailed: It cannot be reached, refuses the credentials, or is too old.
    """
    link = RedisLink(address)
    await link.open(seconds)
    return RedisBroker(link, workspace)


class RedisBroker:
    """A connection to Redis, in one workspace; a `Broker`.

    Attributes:
        refusal: Why the server stores nothing at all; None if it does, as far as is known.
    """

    def __init__(self, link: RedisLink, workspace: str) -> None:
        """Use a connection.

        Args:
            link: The connection, which is open.
            workspace: The workspace.
        """
        self.link = link
        self._prefix = f"rxflow:{workspace}:"
        self.refusal: str | None = None
        self._lease_end = 0  # of the lease that ends last, in milliseconds since 1970
        self._random = Random()  # noqa: S311 - jitter
        self._room = Room()

    @property
    def failures(self) -> int:
        """How many requests have failed and were sent again."""
        return self.link.failures

    @property
    def is_full(self) -> bool:
        """Whether a page waits for room, as far as is known; see `Broker.is_full`."""
        return self._room.is_full

    async def setup(
        self, *, replicas: int | None = None, max_bytes: int | None = None
    ) -> list[str]:
        """Warn of a server that would evict logs; there is nothing to create."""
        if replicas is not None or max_bytes is not None:
            raise ConfigurationError(
                "replicas= and max_bytes= are of NATS; a Redis server has its settings itself: "
                "maxmemory, and replicas of its own"
            )
        with suppress(BrokerFailed):  # not every user may read it
            memory = str(await self.answered("INFO", "memory"))
            if "maxmemory_policy:allkeys" in memory:
                text = (
                    f"may lose logs: the Redis server {self.link.name} evicts keys when full; "
                    "set its maxmemory-policy to noeviction"
                )
                return [text]
        return []

    # -- logs ---------------------------------------------------------------------------------

    async def append(self, run_id: str, page: Page, *, after: int) -> int:
        """Append a page, and return its position; see `Broker.append`."""
        run = run_name(run_id)
        fields = [text for pair in headers_of(page).items() for text in pair]
        command = ("EVAL", _APPEND, 4, *self._log_keys(run), run, after)
        with self._room.appending(run):
            reply = await self.answered(*command, *fields, "body", page.body, run=run)
            self._room.record_stored()
        if reply != -1:
            self.refusal = None
            return position_of(reply)
        last = await self.last(run)
        if last is not None and is_same_page(last.page, page):  # an earlier try stored it
            return last.position
        raise Moved(run)

    async def last(self, run_id: str) -> StoredPage | None:
        """Return the last page of a log."""
        run = run_name(run_id)
        found = await self.answered("XREVRANGE", self.log_key(run), "+", "-", "COUNT", 1)
        return stored_entry(found[0], run, is_last=True) if found else None

    async def read(self, run_id: str, *, after: int, limit: int = 64) -> list[StoredPage]:
        """Return the next pages of a log; see `Broker.read`."""
        run = run_name(run_id)
        count = min(limit, _BATCH)
        key = self.log_key(run)
        found = await self.answered("XRANGE", key, f"{after}-1", "+", "COUNT", count + 1)
        pages = _stored_pages(found, run, count)
        PageChain(run, after).move(pages)
        return pages

    def follow(self, run_id: str, *, after: int, page_id: str = "") -> "RedisFollower":
        """Return what reads a log from a position on, and goes on as it grows."""
        run = run_name(run_id)
        return RedisFollower(self, run, PageChain(run, after, page_id))

    async def page_at(self, run_id: str, position: int) -> StoredPage | None:
        """Return the page of a log at a position; see `Broker.page_at`."""
        run = run_name(run_id)
        identity = f"{position}-0"
        found = await self.answered("XRANGE", self.log_key(run), identity, identity)
        return stored_entry(found[0], run) if found else None

    def follow_all(self, *, after: int, mark: str) -> RedisWorkspaceFollower:  # noqa: ARG002
        """Return what reads all logs from a position on; see `Broker.follow_all`."""
        return RedisWorkspaceFollower(self, after)

    def member(self, options: GroupOptions) -> RedisGroupMember:
        """Return what takes pages as a member of a group, which is of all runs."""
        return RedisGroupMember(self, options)

    async def ends(self) -> AsyncIterator[LogEnd]:
        """Return how the logs of all runs end."""
        for name in await self.answered("SMEMBERS", f"{self._prefix}runs"):
            run = run_of(text_of(name), ":")
            if run is None:
                continue
            key = self.log_key(run)
            for identity, fields in await self.answered("XREVRANGE", key, "+", "-", "COUNT", 1):
                position = position_of(identity)
                yield LogEnd(run, position, position / 1000, b"Rx-End" in fields[::2])

    async def drop(self, run_id: str) -> None:
        """Delete the whole log of a run."""
        run = run_name(run_id)
        await self.answered("EVAL", _DROP, 4, *self._log_keys(run), run)
        self._room.record_dropped()

    # -- wants and leases ---------------------------------------------------------------------

    async def want(self, run_id: str) -> None:
        """Say that a run is wanted, for the next `WANT_SECONDS`."""
        run = run_name(run_id)
        limit = ("MAXLEN", "~", _MOST_WANTS)
        with suppress(Unanswered):  # relays that are at work hear of it nevertheless
            await self.link.command("XADD", self._wants, *limit, "*", "run", run)
        await self.answered("PUBLISH", self._wants, run)

    async def wanted(self) -> AsyncIterator[tuple[str, bool]]:
        """Return which runs are wanted or cease to be; see `Broker.wanted`."""
        loop = asyncio.get_running_loop()
        heard: dict[str, float] = {}  # when each run was last wanted, by our clock
        delays = pauses(self._random)
        while True:
            try:
                async with self.link.subscribed(self._wants) as wants:
                    # Readers could not say so in an outage, which is no reason to end a watch.
                    heard = dict.fromkeys(heard, loop.time())
                    delays = pauses(self._random)
                    news = await self._stored_wants()
                    while True:
                        for run in news:
                            heard[run] = loop.time()
                            yield run, True
                        least = loop.time() - WANT_SECONDS
                        for run in [run for run, at in heard.items() if at <= least]:
                            del heard[run]
                            yield run, False
                        oldest = min(heard.values(), default=loop.time())
                        left = max(oldest + WANT_SECONDS - loop.time(), FIRST_PAUSE)
                        said = text_of(await wants.next(left) or b"")
                        news = [said] if run_of(said, ":") is not None else []
            except Unanswered:
                await apause(next(delays))

    async def _stored_wants(self) -> list[str]:
        """Return the runs that were wanted within the last `WANT_SECONDS`."""
        seconds, _ = await self.link.command("TIME")
        first = f"{max(0, int((int(seconds) - WANT_SECONDS) * 1000))}-0"
        entries = await self.link.command("XRANGE", self._wants, first, "+")
        runs = dict.fromkeys(_texts(fields).get("run", "") for _, fields in entries)
        return [run for run in runs if run_of(run, ":") is not None]

    def lease(self, name: str, holder: str, seconds: float) -> RedisLease:
        """Return a lease; see `Broker.lease`."""
        name = lease_name(name)
        keys = (f"{self._prefix}leases", f"{self._prefix}free:{name}")
        return RedisLease(self, keys, (name, holder), seconds)

    async def holders(self) -> dict[str, str]:
        """Return who holds which lease: those that were renewed within their time."""
        found = await self.answered("HGETALL", f"{self._prefix}leases")
        seconds, _ = await self.answered("TIME")
        texts = {name: value.partition(" ") for name, value in _texts(found).items()}
        leases = {
            name: (int(ends), holder)
            for name, (ends, _, holder) in texts.items()
            if ends.isdecimal() and int(ends) > int(seconds) * 1000
        }
        last_end = max((ends for ends, _ in leases.values()), default=0)
        if last_end > self._lease_end:  # one was taken or renewed, perhaps by another relay
            self._lease_end, self.refusal = last_end, None
        return {name: holder for name, (_, holder) in leases.items()}

    async def aclose(self) -> None:
        """Close the connection. May be called twice."""
        await self.link.aclose()

    # -- for this module ----------------------------------------------------------------------

    def log_key(self, run: str) -> str:
        """Return the key of a run's log."""
        return f"{self._prefix}run:{run}"

    @property
    def pages_key(self) -> str:
        """The key of the runs of all pages."""
        return f"{self._prefix}pages"

    @property
    def _wants(self) -> str:
        return f"{self._prefix}wants"

    def _log_keys(self, run: str) -> tuple[str, str, str, str]:
        names = (f"{self._prefix}runs", f"{self._prefix}dropped", self.pages_key)
        return self.log_key(run), *names

    async def answered(
        self, *command: bytes | str | float, block: float = 0.0, run: str | None = None
    ) -> Any:
        """Send a command until there is a reply; at once after a drop, which may have made room.

        Args:
            command: The command and its arguments.
            block: For how many seconds the server may keep it waiting.
            run: The run of which it appends a page.

        Raises:
            BrokerFailed: The server refuses it.
        """
        delays = pauses(self._random)
        while True:
            dropped = self._room.dropped
            try:
                return await self.link.command(*command, block=block)
            except Full as error:
                if run is None:
                    log("WARNING", "{} has no room: {}", self.link.name, error)
                else:
                    self._room.record_refused(run, error)
            except StoresNothing as error:
                if self.refusal is None:
                    log("WARNING", "{} stores nothing: {}", self.link.name, error)
                self.refusal = str(error)
            except Unanswered:
                pass
            if await comes_within(dropped, next(delays)):
                delays = pauses(self._random)


class RedisFollower:
    """Reads a log's entries, and waits for more; a `LogFollower`."""

    def __init__(self, broker: RedisBroker, run: str, place: PageChain) -> None:
        """Begin at a place.

        Args:
            broker: The broker.
            run: The run.
            place: The place after which to read.
        """
        self._link = broker.link
        self._key = broker.log_key(run)
        self._run = run
        self._place = place
        self._is_unsure = True  # whether the page at that place is to be read again
        self._sure_at = 0.0

    async def pages(
        self,
        timeout: float,  # noqa: ASYNC109 - that nothing came is no error
    ) -> list[StoredPage]:
        """Return the next pages; see `LogFollower.pages`."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        while True:
            left = deadline - loop.time()
            try:
                if self._is_unsure or loop.time() - self._sure_at > _SURE_SECONDS:
                    await self._check_position()
                found = await self._read(min(max(left, 0.0), BLOCK_SECONDS))
                if found:
                    self._sure_at = loop.time()
                    return found
                if self._place.position and not await self._link.command("EXISTS", self._key):
                    raise self._place.lost()
            except Unanswered:
                self._is_unsure = True
                await apause(max(0.0, min(_RETRY_SECONDS, left)))
            if loop.time() >= deadline:
                return []

    async def aclose(self) -> None:
        """Do nothing: a connection is used while `pages` waits, and no longer."""

    async def _read(self, seconds: float) -> list[StoredPage]:
        """Return the next pages; wait for some seconds until there are any."""
        block = ("BLOCK", milliseconds(seconds)) if seconds > 0 else ()
        streams = ("STREAMS", self._key, f"{self._place.position}-0")
        count = ("COUNT", _BATCH + 1)
        found = await self._link.command("XREAD", *count, *block, *streams, block=seconds)
        pages = _stored_pages(found[0][1] if found else [], self._run, _BATCH)
        self._place.move(pages)
        return pages

    async def _check_position(self) -> None:
        """Check that the log has the page at the place still."""
        if self._place.position:
            identity = f"{self._place.position}-0"
            found = await self._link.command("XRANGE", self._key, identity, identity)
            self._place.check(stored_entry(found[0], self._run) if found else None)
        self._is_unsure = False
        self._sure_at = asyncio.get_running_loop().time()


def _stored_pages(entries: Sequence[Any], run: str, limit: int) -> list[StoredPage]:
    """Return the pages of entries, at most some of them; one more entry shows that more follow."""
    last = len(entries) - 1
    return [
        stored_entry(entry, run, is_last=number == last)
        for number, entry in enumerate(entries[:limit])
    ]


def _texts(fields: Sequence[bytes]) -> dict[str, str]:
    """Return names and values, which a reply has by turns, as text."""
    texts = list(map(text_of, fields))
    return dict(zip(texts[::2], texts[1::2], strict=False))
