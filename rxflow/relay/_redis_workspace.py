"""Reads all logs of a workspace on Redis, in the order of a stream that has the run of each page.

A page is appended together with its entry there, by one script; so nothing is missing there, and
a page that is missing in its log was dropped with it.
"""

import asyncio
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Final

from rxflow._runtime.clocks import apause
from rxflow.errors import InvalidRelayLog
from rxflow.relay._broker import RunPage
from rxflow.relay._redis_entries import position_of, run_of_entry, stored_entry
from rxflow.relay._retries import Unanswered

if TYPE_CHECKING:
    from rxflow.relay._redis import RedisBroker

_BATCH: Final = 16  # pages that are read at once, of 256 KiB each
_BLOCK_SECONDS: Final = 2.0  # for which one command waits
_RETRY_SECONDS: Final = 0.3


class RedisWorkspaceFollower:
    """Reads all logs, and waits for more; a `WorkspaceFollower`."""

    def __init__(self, broker: "RedisBroker", after: int) -> None:
        """Begin after a position.

        Args:
            broker: The broker.
            after: The position; 0 for the beginning.
        """
        self._broker = broker
        self._position = after

    async def pages(
        self,
        timeout: float,  # noqa: ASYNC109 - that nothing came is no error
    ) -> list[RunPage]:
        """Return the next pages; see `WorkspaceFollower.pages`."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        while True:
            left = deadline - loop.time()
            pages: list[RunPage] = []
            try:
                await self._read(min(max(left, 0.0), _BLOCK_SECONDS), pages)
            except Unanswered:
                if not pages:
                    await apause(max(0.0, min(_RETRY_SECONDS, left)))
            except InvalidRelayLog:
                if not pages:
                    raise
            if pages or loop.time() >= deadline:
                return pages

    async def aclose(self) -> None:
        """Do nothing: a connection is used while `pages` waits, and no longer."""

    async def _read(self, seconds: float, pages: list[RunPage]) -> None:
        """Read pages after the position, and move that; wait for some seconds until there are any.

        Args:
            seconds: How long to wait.
            pages: Where pages are added, so that those before a failure are returned.
        """
        block = ("BLOCK", max(1, int(seconds * 1000))) if seconds > 0 else ()
        streams = ("STREAMS", self._broker.pages_key, f"{self._position}-0")
        found = await self._broker.link.command(
            "XREAD", "COUNT", _BATCH, *block, *streams, block=seconds
        )
        entries = (
            [(run_of_entry(fields), identity) for identity, fields in found[0][1]] if found else []
        )
        for run, some in groupby(entries, itemgetter(0)):
            identities = [identity for _, identity in some]
            if run is not None:
                await self._read_log(run, identities, pages)
            self._position = position_of(identities[-1])

    async def _read_log(self, run: str, identities: list[bytes], pages: list[RunPage]) -> None:
        """Read the pages of a run that have some ids, without those that were dropped."""
        key = self._broker.log_key(run)
        for entry in await self._broker.link.command("XRANGE", key, identities[0], identities[-1]):
            stored = stored_entry(entry, run)
            pages.append(RunPage(run, stored, ""))
            self._position = stored.position
