"""When a relay drops logs: after some days, and the oldest ones when the broker is full.

A log goes as a whole, since one that has lost its beginning cannot be continued.
"""

import asyncio
from collections.abc import Callable

from rxflow._runtime.clocks import apause, real_now
from rxflow.relay._broker import Broker, LogEnd
from rxflow.relay._figures import Figures

_INTERVAL = 60.0  # seconds between two looks for logs that are too old
_FULL_INTERVAL = 0.5  # seconds between two looks whether the broker is full


def expired(ends: list[LogEnd], now: float, keep_seconds: float) -> list[LogEnd]:
    """Return the logs whose last page is older than some seconds.

    Args:
        ends: How logs end.
        now: The time, in seconds since 1970.
        keep_seconds: How long a log is kept after its last page.
    """
    return [end for end in ends if now - end.stored_at > keep_seconds]


def oldest_closed(ends: list[LogEnd]) -> LogEnd | None:
    """Return the log of a run that is over whose last page is the oldest; None if there is none."""
    closed = [end for end in ends if end.is_closed]
    return min(closed, key=lambda end: end.stored_at, default=None)


class Retention:
    """Drops the logs of one relay's share."""

    def __init__(
        self,
        broker: Broker,
        keep_seconds: float,
        figures: Figures,
        accepts: Callable[[str], bool],
        is_in_use: Callable[[str], bool],
    ) -> None:
        """Create it.

        Args:
            broker: The connection to the broker.
            keep_seconds: How long a log is kept after its last page.
            figures: Where it counts what it drops.
            accepts: Whether a run is of the relay's share.
            is_in_use: Whether a run is wanted or watched, so that its log is kept though it is old.
        """
        self._broker = broker
        self._keep_seconds = keep_seconds
        self._figures = figures
        self._accepts = accepts
        self._is_in_use = is_in_use

    async def keep(self) -> None:
        """Drop logs from now on; never returns."""
        due = 0.0
        while True:
            if self._broker.is_full:
                await self.make_room()
            if real_now().mono >= due:
                await self.drop_expired()
                due = real_now().mono + _INTERVAL
            await apause(_FULL_INTERVAL)

    async def drop_expired(self) -> None:
        """Drop the logs that are too old."""
        ends = [end async for end in self._broker.ends() if self._accepts(end.run_id)]
        for end in expired(ends, real_now().utc.timestamp(), self._keep_seconds):
            if not self._is_in_use(end.run_id):
                await self._drop(end)

    async def make_room(self) -> None:
        """Drop the oldest log of a run that is over, whichever relay has written it."""
        oldest = oldest_closed([end async for end in self._broker.ends()])
        if oldest is not None and self._broker.is_full:  # another relay may have made room
            await self._drop(oldest)

    async def _drop(self, end: LogEnd) -> None:
        await asyncio.shield(self._broker.drop(end.run_id))
        self._figures.dropped += 1
