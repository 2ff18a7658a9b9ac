"""The room for pages on a broker: which runs wait for some, and what ends the waiting.

Belongs here: what a connection knows of that. Does not belong here: which logs are dropped to make
room (`_retention`), or how a broker refuses a page (its own module).
"""

import asyncio
from collections.abc import Generator
from contextlib import contextmanager, suppress

from rxflow._own_log import log


class Room:
    """What one connection knows of the room.

    Attributes:
        is_full: Whether a page waits for room, as far as is known; see `Broker.is_full`.
        dropped: Is set by the next drop of a log; another event takes its place then.
    """

    def __init__(self) -> None:
        """Begin with room for pages."""
        self.is_full = False
        self.dropped = asyncio.Event()
        self._waiting: set[str] = set()  # runs of which a page found no room

    @contextmanager
    def appending(self, run: str) -> Generator[None]:
        """Let a page of a run wait for room, until the block is left."""
        try:
            yield
        finally:
            self._waiting.discard(run)
            self.is_full = self.is_full and bool(self._waiting)

    def record_refused(self, run: str, reason: Exception) -> None:
        """Record that there was no room for a page."""
        self.is_full = True
        if run not in self._waiting:
            self._waiting.add(run)
            log("WARNING", "The log of run {} waits for room: {}", run, reason)

    def record_stored(self) -> None:
        """Record that there was room for a page."""
        self.is_full = False

    def record_dropped(self) -> None:
        """Record that a log was dropped, which wakes those that wait."""
        self.is_full = False
        self.dropped.set()
        self.dropped = asyncio.Event()


async def comes_within(event: asyncio.Event, seconds: float) -> bool:
    """Wait for an event, for some seconds at most; return whether it came."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            return await event.wait()
    return False
