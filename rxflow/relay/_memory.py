"""A broker in the memory of this process, for tests and for a try without a broker.

A `MemoryStore` is the broker, and each `MemoryBroker` a connection to it, on an event loop of its
own. It keeps what it promises under the faults that a store can be given: requests take time, are
lost, or are carried out while their reply is lost.

Belongs here: the broker and its faults. Does not belong here: what is in a page (`_pages`).
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from random import Random
from time import monotonic
from typing import TypeVar

import msgspec

from rxflow._runtime.clocks import apause, real_now
from rxflow.relay._broker import WANT_SECONDS, LogEnd, Moved, Page, RunPage, StoredPage
from rxflow.relay._group import GroupOptions
from rxflow.relay._memory_group import MemoryGroup, MemoryGroupMember
from rxflow.relay._memory_workspace import MemoryWorkspaceFollower
from rxflow.relay._page_chain import PageChain

T = TypeVar("T")

_RETRY = 0.01  # seconds until a request that failed is sent again


class MemoryFaults(msgspec.Struct, frozen=True, kw_only=True):
    """What happens to the requests of all connections to a store.

    Attributes:
        delay: The longest time that a request takes, in seconds.
        lost_requests: The share of requests that do not arrive.
        lost_replies: The share of requests that are carried out, and whose reply is lost.
        is_down: Whether no request arrives.
    """

    delay: float = 0.0
    lost_requests: float = 0.0
    lost_replies: float = 0.0
    is_down: bool = False


_HeldLease = tuple[str, float]
"""Who has taken a lease, and until when, in monotonic seconds."""


class _StoredLog:
    def __init__(self) -> None:
        self.pages: list[tuple[int, Page]] = []  # each with its position
        self.stored_at = 0.0

    @property
    def end(self) -> int:
        return self.pages[-1][0] if self.pages else 0

    @property
    def size(self) -> int:
        return sum(len(page.body) for _, page in self.pages)


class MemoryStore:
    """What a broker stores. All its methods may be called by any thread.

    Attributes:
        faults: What happens to requests from now on.
        fenced: Whether a page is refused unless it follows the last one; False to see what would
            happen without that.
        most_bytes: The most bytes of pages that there is room for.
        want_seconds: For how long a run is wanted.
        version: A number that grows with every change.
    """

    _named: dict[str, "MemoryStore"] = {}  # noqa: RUF012 - of the process

    def __init__(self, *, random: Random | None = None, want_seconds: float = WANT_SECONDS) -> None:
        """Make an empty store.

        Args:
            random: Draws the faults.
            want_seconds: For how long a run is wanted after the last reader said so.
        """
        self.faults = MemoryFaults()
        self.fenced = True
        self.most_bytes = 1 << 40
        self.want_seconds = want_seconds
        self.random = random or Random()  # noqa: S311 - faults, not secrets
        self.lock = threading.RLock()
        self.logs: dict[tuple[str, str], _StoredLog] = {}
        self.wants: dict[tuple[str, str], float] = {}  # until when, in monotonic seconds
        self.leases: dict[tuple[str, str], _HeldLease] = {}
        self.groups: dict[tuple[str, str], MemoryGroup] = {}
        self.version = 0
        self._position = 0
        self._watchers: list[Callable[[], None]] = []

    @classmethod
    def named(cls, name: str) -> "MemoryStore":
        """Return the store of a name, the same for each call in this process."""
        return cls._named.setdefault(name, cls())

    def connect(self, workspace: str = "default") -> "MemoryBroker":
        """Return a new connection, for one event loop."""
        return MemoryBroker(self, workspace)

    def pages(self, run_id: str, workspace: str = "default") -> list[Page]:
        """Return the pages of a run's log."""
        with self.lock:
            log = self.logs.get((workspace, run_id))
            return [page for _, page in log.pages] if log is not None else []

    def size(self) -> int:
        """Return the bytes of all pages."""
        return sum(log.size for log in self.logs.values())

    def append(self, key: tuple[str, str], page: Page, after: int) -> int | None:
        """Append a page; return its position, or None if the log does not end there."""
        with self.lock:
            log = self.logs.get(key) or _StoredLog()
            if self.fenced and log.end != after:
                return None
            self.logs[key] = log
            self._position += 1
            log.pages.append((self._position, page))
            log.stored_at = real_now().utc.timestamp()
            position = self._position
        self.notify()
        return position

    def read(self, key: tuple[str, str], after: int, limit: int) -> list[StoredPage]:
        """Return the pages of a log after a position."""
        with self.lock:
            log = self.logs.get(key)
            if log is None:
                return []
            previous, found = 0, list[StoredPage]()
            for position, page in log.pages:
                if position > after and len(found) < limit:
                    found.append(StoredPage(position, previous, page, position == log.end))
                previous = position
            return found

    def read_all(self, workspace: str, after: int, limit: int) -> list[RunPage]:
        """Return the pages of all logs after a position."""
        with self.lock:
            runs = [run_id for of, run_id in self.logs if of == workspace]
            pages = [
                RunPage(run_id, stored, "")
                for run_id in runs
                for stored in self.read((workspace, run_id), after, limit)
            ]
        return sorted(pages, key=lambda page: page.stored.position)[:limit]

    def watch(self, changed: Callable[[], None]) -> Callable[[], None]:
        """Call a function whenever something changes; return what ends that."""
        self._watchers.append(changed)
        return lambda: self._watchers.remove(changed)

    def notify(self) -> None:
        """Call those that wait for a change."""
        self.version += 1
        for changed in [*self._watchers]:
            changed()


class MemoryBroker:
    """A connection to a store; a `Broker`.

    Attributes:
        failures: How many requests have failed and were sent again.
        is_full: Whether a page waits to be appended because there is no room for it.
        refusal: Why nothing is stored; a test may set it.
    """

    def __init__(self, store: MemoryStore, workspace: str) -> None:
        """Connect to a store.

        Args:
            store: The store.
            workspace: The workspace.
        """
        self.failures = 0
        self.is_full = False
        self.refusal: str | None = None
        self._store = store
        self._workspace = workspace
        self._goes_on = asyncio.Event()
        self._goes_on.set()

    def pause(self) -> None:
        """Let all requests wait, those under way included, as of a process that is stopped."""
        self._goes_on.clear()

    def resume(self) -> None:
        """Let the requests go on."""
        self._goes_on.set()

    async def _request(self, carry_out: Callable[[], T]) -> T:
        """Carry out a request until its reply arrives."""
        while True:
            store = self._store
            faults = store.faults
            await apause(store.random.uniform(0, faults.delay) if faults.delay else 0)
            await self._goes_on.wait()
            if not (faults.is_down or store.random.random() < faults.lost_requests):
                result = carry_out()
                if store.random.random() >= faults.lost_replies:
                    return result
            self.failures += 1
            await apause(_RETRY)

    def _key(self, name: str) -> tuple[str, str]:
        return self._workspace, name

    async def setup(
        self,
        *,
        replicas: int | None = None,  # noqa: ARG002 - there is one store
        max_bytes: int | None = None,
    ) -> list[str]:
        """Say how many bytes of pages there is room for."""
        if max_bytes is not None:
            self._store.most_bytes = max_bytes
        return []

    # -- logs -----------------------------------------------------------------------------------

    async def append(self, run_id: str, page: Page, *, after: int) -> int:
        store, key = self._store, self._key(run_id)
        while store.size() + len(page.body) > store.most_bytes:
            self.is_full = True
            await apause(_RETRY)
        self.is_full = False
        position = await self._request(lambda: store.append(key, page, after))
        if position is not None:
            return position
        last = await self.last(run_id)
        if last is not None and last.page.page_id == page.page_id:  # stored, the reply was lost
            return last.position
        raise Moved(run_id)

    async def last(self, run_id: str) -> StoredPage | None:
        def read() -> StoredPage | None:
            log = self._store.logs.get(self._key(run_id))
            if log is None:
                return None
            return self._store.read(self._key(run_id), log.end - 1, 1)[0]

        return await self._request(read)

    async def read(self, run_id: str, *, after: int, limit: int = 64) -> list[StoredPage]:
        return await self._request(lambda: self._store.read(self._key(run_id), after, limit))

    def follow(self, run_id: str, *, after: int, page_id: str = "") -> "MemoryFollower":
        return MemoryFollower(self, PageChain(run_id, after, page_id), run_id)

    async def page_at(self, run_id: str, position: int) -> StoredPage | None:
        found = await self.read(run_id, after=position - 1, limit=1)
        return found[0] if found and found[0].position == position else None

    def follow_all(self, *, after: int, mark: str) -> MemoryWorkspaceFollower:  # noqa: ARG002
        return MemoryWorkspaceFollower(self, after)

    async def read_all(self, *, after: int, limit: int = 64) -> list[RunPage]:
        """Return the next pages of all logs."""
        return await self._request(lambda: self._store.read_all(self._workspace, after, limit))

    def member(self, options: GroupOptions) -> MemoryGroupMember:
        return MemoryGroupMember(self, options)

    async def in_group(self, name: str, carry_out: Callable[[MemoryGroup], T]) -> T:
        """Do something with what the store knows of a group, which is created if need be."""

        def locked() -> T:
            with self._store.lock:
                return carry_out(self._store.groups.setdefault(self._key(name), MemoryGroup()))

        return await self._request(locked)

    def stored_pages(self, after: int) -> list[RunPage]:
        """Return the next page of all logs, to be called within a request."""
        return self._store.read_all(self._workspace, after, 1)

    async def ends(self) -> AsyncIterator[LogEnd]:
        def read() -> list[LogEnd]:
            with self._store.lock:
                return [
                    LogEnd(run_id, log.end, log.stored_at, log.pages[-1][1].is_end)
                    for (workspace, run_id), log in self._store.logs.items()
                    if workspace == self._workspace
                ]

        for end in await self._request(read):
            yield end

    async def drop(self, run_id: str) -> None:
        await self._request(lambda: self._store.logs.pop(self._key(run_id), None))
        self.is_full = False
        self._store.notify()

    @property
    def version(self) -> int:
        """A number that grows with every change, to be passed to `wait_for_change`."""
        return self._store.version

    async def read_or_wait(self, read: Callable[[], Awaitable[T]], seconds: float) -> T:
        """Read, and once more after the store has changed or some seconds, if nothing was found."""
        version = self.version
        found = await read()
        if not found:
            await self.wait_for_change(version, seconds)
            found = await read()
        return found

    async def wait_for_change(self, since: int, seconds: float) -> None:
        """Wait until something in the store has changed, for some seconds at most.

        Args:
            since: The version after which a change counts.
            seconds: How long to wait.
        """
        loop = asyncio.get_running_loop()
        changed = asyncio.Event()

        def wake() -> None:
            with suppress(RuntimeError):  # the loop was closed
                loop.call_soon_threadsafe(changed.set)

        unwatch = self._store.watch(wake)
        try:
            if self._store.version == since:
                async with asyncio.timeout(seconds):
                    await changed.wait()
        except TimeoutError:
            pass
        finally:
            unwatch()

    # -- wants and leases -----------------------------------------------------------------------

    async def want(self, run_id: str) -> None:
        def put() -> None:
            self._store.wants[self._key(run_id)] = monotonic() + self._store.want_seconds

        await self._request(put)
        self._store.notify()

    async def wanted(self) -> AsyncIterator[tuple[str, bool]]:
        known: dict[str, float] = {}  # until when each run is wanted, as far as was said
        while True:
            version = self.version
            wants = await self._request(lambda: {**self._store.wants})
            wanted = {
                run_id: until
                for (workspace, run_id), until in wants.items()
                if workspace == self._workspace and until > monotonic()
            }
            for run_id in known.keys() - wanted:
                yield run_id, False
            for run_id, until in wanted.items():
                if until != known.get(run_id):
                    yield run_id, True
            known = wanted
            await self.wait_for_change(version, self._store.want_seconds / 10)

    def lease(self, name: str, holder: str, seconds: float) -> "MemoryLease":
        return MemoryLease(self, name, holder, seconds)

    async def holders(self) -> dict[str, str]:
        leases = await self._request(lambda: {**self._store.leases})
        return {
            name: holder
            for (workspace, name), (holder, until) in leases.items()
            if workspace == self._workspace and until > monotonic()
        }

    async def lease_of(self, name: str) -> _HeldLease | None:
        """Return who has taken a lease last, and until when; None if it is free."""
        return await self._request(lambda: self._store.leases.get(self._key(name)))

    async def take(
        self, name: str, holder: str, seconds: float, *, instead_of: _HeldLease | None
    ) -> bool:
        """Take or renew a lease; return False if it was taken or renewed meanwhile."""

        def put() -> bool:
            with self._store.lock:
                if self._store.leases.get(self._key(name)) != instead_of:
                    return False
                self._store.leases[self._key(name)] = holder, monotonic() + seconds
                return True

        return await self._request(put)

    async def give_back(self, name: str, holder: str) -> None:
        """End a lease, unless another holds it."""

        def remove() -> None:
            with self._store.lock:
                if self._store.leases.get(self._key(name), ("", 0.0))[0] == holder:
                    del self._store.leases[self._key(name)]

        await self._request(remove)

    async def aclose(self) -> None:
        self._goes_on.set()


class MemoryFollower:
    """Reads a log, and waits for more; a `LogFollower`."""

    def __init__(self, broker: MemoryBroker, place: PageChain, run_id: str) -> None:
        """Begin at a place.

        Args:
            broker: The connection.
            place: The place after which to read.
            run_id: The run.
        """
        self._broker = broker
        self._place = place
        self._run_id = run_id

    async def pages(
        self,
        timeout: float,  # noqa: ASYNC109 - that nothing came is no error
    ) -> list[StoredPage]:
        return await self._broker.read_or_wait(self._read, timeout)

    async def _read(self) -> list[StoredPage]:
        at = self._place.position  # the page there is read again, which shows that it is there
        found = await self._broker.read(self._run_id, after=max(0, at - 1))
        if at:
            self._place.check(found[0] if found else None)
            found = found[1:]
        self._place.move(found)
        return found

    async def aclose(self) -> None:
        pass


class MemoryLease:
    """A lease in a store; a `Lease`."""

    def __init__(self, broker: MemoryBroker, name: str, holder: str, seconds: float) -> None:
        """Make a lease that is not held yet.

        Args:
            broker: The connection.
            name: Its name.
            holder: Who is to hold it.
            seconds: When it runs out.
        """
        self._broker = broker
        self._arguments = (name, holder, seconds)

    async def acquire(self) -> None:
        """Wait until the lease is free, or was not renewed for as long as it lasts."""
        name, holder, seconds = self._arguments
        seen, since = await self._broker.lease_of(name), monotonic()
        while True:
            held = await self._broker.lease_of(name)
            if held != seen:
                seen, since = held, monotonic()
            is_free = held is None or held[0] == holder or monotonic() - since >= seconds
            if is_free and await self._broker.take(name, holder, seconds, instead_of=held):
                return
            await apause(seconds / 6)

    async def hold(self) -> None:
        """Renew the lease; return once another has it."""
        name, holder, seconds = self._arguments
        while True:
            await apause(seconds / 3)
            held = await self._broker.lease_of(name)
            if held is None or held[0] != holder:
                return
            await self._broker.take(name, holder, seconds, instead_of=held)

    async def release(self) -> None:
        await self._broker.give_back(*self._arguments[:2])
