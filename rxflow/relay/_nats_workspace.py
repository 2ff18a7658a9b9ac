"""Reads all logs of a workspace on NATS: they are one stream, whose sequence orders their pages.

A republished page that has the next sequence follows the last one that was read. Where it has a
later one, pages were lost on the way, or a log was dropped; then the stream is read in batches.

A position is a sequence. A stream that was deleted and made anew, or has lost its end, gives the
sequences that were read to other pages, which were stored later than any of those. So the mark of a
page is the latest time at which it or one before it was stored: a server's clock may be set back,
and the one of the next leader may be behind.
"""

from typing import TYPE_CHECKING

from rxflow.errors import InvalidRelayLog, RelayLogLost
from rxflow.relay._broker import RunPage
from rxflow.relay._jetstream import Message
from rxflow.relay._names import run_of
from rxflow.relay._nats_feed import BATCH, NatsFeed, stored_page

if TYPE_CHECKING:
    from rxflow.relay._nats import NatsBroker

_ALL = "*"  # in place of a run


class NatsWorkspaceFollower(NatsFeed[RunPage]):
    """Reads all logs, and waits for more; a `WorkspaceFollower`."""

    def __init__(self, broker: "NatsBroker", after: int, mark: str) -> None:
        """Begin after a position.

        Args:
            broker: The broker.
            after: The position; 0 for the beginning.
            mark: When that page or one before it was stored last, in microseconds since 1970.
        """
        super().__init__(broker, broker.live_subject(_ALL))
        self._position = after
        self._stored_at = int(mark) if mark.isdecimal() else 0

    async def read(self, *, is_unsure: bool) -> list[RunPage]:
        """Read the pages after the position."""
        if is_unsure and self._position:
            await self._check_history()
        messages = await self.broker.read_messages(_ALL, start=self._position + 1, limit=BATCH)
        pages = self._pages_of(messages)
        self.is_behind |= bool(messages) and messages[-1].pending != 0
        return pages

    def take_live(self) -> list[RunPage]:
        """Return the pages that follow without a gap."""
        following: list[Message] = []
        position = self._position
        while self.live:
            message = self.live.popleft()
            if message.sequence <= position:
                if _stored_at(message) > self._stored_at and not following:
                    raise self._lost()
                continue  # read in a batch meanwhile
            if message.sequence != position + 1:
                self.is_behind = True
                break
            position = message.sequence
            following.append(message)
        return self._pages_of(following)

    def _pages_of(self, messages: list[Message]) -> list[RunPage]:
        """Return the pages of messages; those before an invalid one, which is read again then."""
        pages: list[RunPage] = []
        for message in messages:
            run = run_of(message.subject, ".")
            try:
                stored = None if run is None else stored_page(message, run)
            except InvalidRelayLog:
                if not pages:
                    raise
                self.is_behind = True
                return pages
            self._position = message.sequence
            self._stored_at = max(self._stored_at, _stored_at(message))
            if run is not None and stored is not None:
                pages.append(RunPage(run, stored, str(self._stored_at)))
        return pages

    async def _check_history(self) -> None:
        """Check that no page was stored in place of those that were read.

        All logs of which pages were read may have been dropped, so that a page which is gone shows
        nothing.
        """
        first = await self.broker.read_messages(_ALL, start=1, limit=1)
        last = await self.broker.read_messages(_ALL, start=self._position, limit=1)
        for message in (*first, *last):
            if message.sequence <= self._position and _stored_at(message) > self._stored_at:
                raise self._lost()

    def _lost(self) -> RelayLogLost:
        return RelayLogLost(
            f"The NATS server {self.broker.link.name} no longer has the logs that were read "
            "before: they were lost or made anew; read all runs again, without after="
        )


def _stored_at(message: Message) -> int:
    return round(message.stored_at * 1e6)
