"""Leases on NATS: a key of a bucket, written by comparing its revision.

No clock is compared with another machine's: a lease is free if its holder has released it, or if
its revision has not changed for as long as it lasts, by the clock of the one that waits.
"""

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import msgspec

from rxflow._runtime.clocks import apause
from rxflow.relay._jetstream import Message, WrongLast
from rxflow.relay._retries import Unanswered

if TYPE_CHECKING:
    from nats.aio.msg import Msg

    from rxflow.relay._nats import NatsBroker

_LONGEST_RETRY: Final = 0.5  # seconds


class _Claim(msgspec.Struct):
    """The value of a lease that is held.

    Attributes:
        holder: Who holds it.
        seconds: How long it lasts without being renewed.
    """

    holder: str
    seconds: float


class NatsLease:
    """A lease on NATS; a `Lease`."""

    def __init__(self, broker: "NatsBroker", subject: str, holder: str, seconds: float) -> None:
        """Make a lease that is not held yet.

        Args:
            broker: The broker.
            subject: The lease's subject.
            holder: Who is to hold it.
            seconds: How long it lasts without being renewed.
        """
        self._broker = broker
        self._subject = subject
        self._seconds = seconds
        self._holder = holder
        self._claim = msgspec.json.encode(_Claim(holder, seconds))
        self._revision = 0

    async def acquire(self) -> None:
        """Wait until the lease is free, and take it."""
        loop = asyncio.get_running_loop()
        changed = asyncio.Event()

        async def receive(_: "Msg") -> None:
            changed.set()

        # Also receives what is refused, so it is only a reason to look.
        subscription = await self._broker.answered(
            lambda: self._broker.link.subscribe(self._subject, receive)
        )
        seen, since = -1, 0.0
        try:
            while True:
                changed.clear()
                try:
                    found = await self._last()
                    revision, holder = _read(found)
                    if revision != seen:
                        seen, since = revision, loop.time()
                    is_still = loop.time() - since >= self._seconds
                    if is_still or holder in {None, self._holder}:
                        await self._write(self._claim, after=revision)
                        return
                except WrongLast:
                    continue
                except Unanswered:
                    seen = -1  # in an outage no holder can renew it
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._seconds / 6):
                        await changed.wait()
        finally:
            await self._broker.link.unsubscribe(subscription)

    async def hold(self) -> None:
        """Renew the lease; return once another has it."""
        while True:
            await apause(self._seconds / 3)
            while not await self._renew():
                await apause(min(self._seconds / 6, _LONGEST_RETRY))
            if self._revision == 0:
                return

    async def release(self) -> None:
        """Hand the lease over, so that another need not wait until it has run out."""
        with suppress(WrongLast, Unanswered):
            try:
                await self._write(b"", after=self._revision)
            except WrongLast:  # a renewal may have been cancelled before its reply came
                revision, holder = _read(await self._last())
                if holder == self._holder:
                    await self._write(b"", after=revision)
        self._revision = 0

    async def _renew(self) -> bool:
        """Renew the lease; return False if it is not known whether that was done."""
        try:
            try:
                await self._write(self._claim, after=self._revision)
            except WrongLast:
                # Of an earlier renewal the reply was lost, or another has the lease.
                revision, holder = _read(await self._last())
                self._revision = revision if holder == self._holder else 0
        except Unanswered:
            return False
        return True

    async def _last(self) -> Message | None:
        return await self._broker.jetstream.last(self._broker.lease_stream, self._subject)

    async def _write(self, value: bytes, *, after: int) -> None:
        self._revision = await self._broker.jetstream.put(self._subject, value, {}, after=after)


async def lease_holders(broker: "NatsBroker") -> dict[str, str]:
    """Return who holds which lease, as far as the server's own times show."""
    subjects, now = await broker.answered(
        lambda: broker.jetstream.subjects(broker.lease_stream, f"{broker.lease_prefix}*")
    )
    found = await broker.answered(
        lambda: broker.jetstream.last_of_each(broker.lease_stream, subjects)
    )
    holders: dict[str, str] = {}
    for message in found:
        claim = _claim_of(message)
        if claim is not None and now - message.stored_at < claim.seconds:
            holders[message.subject.removeprefix(broker.lease_prefix)] = claim.holder
    return holders


def _read(found: Message | None) -> tuple[int, str | None]:
    """Return the revision of a lease, and its holder; None if it was released."""
    if found is None:
        return 0, None
    claim = _claim_of(found)
    return found.sequence, None if claim is None else claim.holder


def _claim_of(message: Message) -> _Claim | None:
    try:
        return msgspec.json.decode(message.body, type=_Claim)
    except msgspec.DecodeError:
        return None
