"""Leases on Redis: a hash of who holds which until when, by the server's clock.

A lease that is released wakes one of those that wait for it, by a list.
"""

from contextlib import suppress
from typing import TYPE_CHECKING, Final

from rxflow._runtime.clocks import apause
from rxflow.relay._retries import Unanswered

if TYPE_CHECKING:
    from rxflow.relay._redis import RedisBroker

BLOCK_SECONDS: Final = 2.0
"""For how long one command waits; then a dropped log is seen."""

_FREE_SECONDS: Final = 60.0  # for which a released lease wakes those that wait for it

NOW: Final = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
"""
"""Sets a script's `now` to the server's time, in milliseconds since 1970."""

# A server that is full takes the HSET only after an HDEL; so relays keep their leases there.
_TAKE: Final = f"""{NOW}
local found = redis.call('HGET', KEYS[1], ARGV[1])
if found then
  local ends, holder = string.match(found, '^(%d+) (.*)$')
  if holder ~= ARGV[2] and tonumber(ends) > now then return tonumber(ends) - now end
end
redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('HSET', KEYS[1], ARGV[1], string.format('%.0f ', now + ARGV[3]) .. ARGV[2])
return 0
"""

_GIVE_BACK: Final = """
local found = redis.call('HGET', KEYS[1], ARGV[1])
if not found or string.match(found, '^%d+ (.*)$') ~= ARGV[2] then return 0 end
redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('DEL', KEYS[2])
redis.call('LPUSH', KEYS[2], '1')
redis.call('PEXPIRE', KEYS[2], ARGV[3])
return 1
"""


class RedisLease:
    """A lease on Redis, which ends by the server's clock; a `Lease`."""

    def __init__(
        self, broker: "RedisBroker", keys: tuple[str, str], claim: tuple[str, str], seconds: float
    ) -> None:
        """Make a lease that is not held yet.

        Args:
            broker: The broker.
            keys: That of all leases, and that of the list that wakes those that wait for this one.
            claim: The lease's name, and who is to hold it.
            seconds: How long it lasts without being renewed.
        """
        self._broker = broker
        self._keys = keys
        self._claim = claim
        self._seconds = seconds

    async def acquire(self) -> None:
        """Wait until the lease is free, and take it."""
        while left := await self._take():
            seconds = min(left / 1000, BLOCK_SECONDS)
            with suppress(Unanswered):
                await self._broker.link.command("BLPOP", self._keys[1], seconds, block=seconds)

    async def hold(self) -> None:
        """Renew the lease; return once another has it."""
        while True:
            await apause(self._seconds / 3)
            if await self._take():
                return

    async def release(self) -> None:
        """Hand the lease over, so that another need not wait until it has run out."""
        lasting = milliseconds(_FREE_SECONDS)
        with suppress(Unanswered):
            await self._broker.link.command(
                "EVAL", _GIVE_BACK, 2, *self._keys, *self._claim, lasting
            )

    async def _take(self) -> int:
        """Take or renew the lease; return for how many milliseconds another has it, 0 if taken."""
        lasting = milliseconds(self._seconds)
        left: int = await self._broker.answered(
            "EVAL", _TAKE, 1, self._keys[0], *self._claim, lasting
        )
        if left == 0:
            self._broker.refusal = None
        return left


def milliseconds(seconds: float) -> int:
    """Return a time as Redis takes it."""
    return max(1, int(seconds * 1000))
