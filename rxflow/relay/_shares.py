"""How relays share the runs of a workspace: each holds one of some leases, and watches its shards.

    lease relay-0   relay-1   relay-2   ...     one a relay, at most as many as there are shards
             |         |
    shards 0,2,4,..  1,3,5,..                   of the holders in order, one after the other

A slot is the number of a lease; a lease is the broker's record of who holds it, and until when; a
share is the shards that its holder watches.

A run belongs to a shard by its id. When a relay comes or goes, the others see it by the leases that
are held. Until all have seen it, two may watch one run; the broker refuses what the second appends.

Belongs here: which shards a relay watches. Does not belong here: what a lease is (`_broker`).
"""

import asyncio
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from random import Random
from secrets import token_hex
from zlib import crc32

from rxflow._runtime.clocks import apause, real_now
from rxflow.relay._broker import Broker, Lease
from rxflow.relay._figures import Figures

_ACQUIRE_LEASES = 3.0  # times a lease: one whose holder was killed is first seen to stand still
_RELEASE_TIMEOUT = 2.0  # seconds that the end of a relay waits for a broker


def shard_of(run_id: str, shards: int) -> int:
    """Return the shard of a run, from 0; every version and process has the same."""
    return crc32(run_id.encode()) % shards


def fair_share(own: int, held: set[int], shards: int) -> frozenset[int]:
    """Return the shards of the relay with one slot, while others are held as well."""
    slots = sorted({own, *held})
    return frozenset(range(slots.index(own), shards, len(slots)))


class Shares:
    """The share of one relay.

    Attributes:
        held: The shards that it watches.
        holder: Its name, which no other relay has.
    """

    def __init__(
        self,
        broker: Broker,
        figures: Figures,
        changed: Callable[[], None],
        *,
        shards: int,
        lease_seconds: float,
    ) -> None:
        """Start without a share.

        Args:
            broker: The connection to the broker.
            figures: What is known of the relay.
            changed: Is called after each change of the share.
            shards: How many shards there are, the same for all relays of a workspace.
            lease_seconds: When a lease runs out that is not renewed.
        """
        self.held: frozenset[int] = frozenset()
        # The last part is for relays that were given another number.
        self.holder = f"{socket.gethostname()}:{os.getpid()}:{token_hex(4)}:{shards}"
        self._broker = broker
        self._figures = figures
        self._shards = shards
        self._seconds = lease_seconds
        self._changed = changed
        self._random = Random()  # noqa: S311 - which slot, not a secret
        self._lease: Lease | None = None

    def accepts(self, run_id: str) -> bool:
        """Whether a run is of this share. Callable from any thread."""
        return shard_of(run_id, self._shards) in self.held

    async def keep(self) -> None:
        """Hold a share from now on, and follow how large it is; never returns."""
        while True:
            slot, lease = await self._acquire()
            holding = asyncio.create_task(lease.hold())
            try:
                while not holding.done():
                    self._set(fair_share(slot, await self._held_slots(), self._shards))
                    await asyncio.wait({holding}, timeout=self._seconds / 3)
                holding.result()
            finally:
                holding.cancel()
            self._lease = None
            self._set(frozenset())

    async def release(self) -> None:
        """Let the other relays take the share over at once."""
        lease, self._lease = self._lease, None
        if lease is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(_RELEASE_TIMEOUT):
                    await lease.release()

    async def _acquire(self) -> tuple[int, Lease]:
        """Wait until a slot is free, and take it; return it and its lease."""
        while True:
            held = await self._held_slots()
            free = [slot for slot in range(self._shards) if slot not in held]
            if free:
                slot = self._random.choice(free)
                self._lease = lease = self._broker.lease(
                    f"relay-{slot}", self.holder, self._seconds
                )
                with suppress(TimeoutError):
                    async with asyncio.timeout(_ACQUIRE_LEASES * self._seconds):
                        await lease.acquire()
                        return slot, lease
                self._lease = None  # another relay was quicker
            await apause(self._seconds / 3)

    async def _held_slots(self) -> set[int]:
        names = await self._broker.holders()
        self._figures.heard_at = real_now().mono
        numbers = {holder.rpartition(":")[2] for holder in names.values()}
        self._figures.foreign_shards = ", ".join(sorted(numbers - {str(self._shards)}))
        return {slot for slot in range(self._shards) if f"relay-{slot}" in names}

    def _set(self, held: frozenset[int]) -> None:
        if held != self.held:
            self.held = held
            self._changed()
