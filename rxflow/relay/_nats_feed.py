"""What is read of a NATS stream in batches, and then as the stream republishes it.

A republished message may be lost, or come twice. What follows from that depends on what is read: a
log names the page before each (`_nats`), all logs of a workspace have a sequence
(`_nats_workspace`). Where a message does not follow the last one that was read, and after an outage
and now and then, the stream is read in batches again.

Belongs here: the subscription, and when to read. Does not belong here: the order of what is read.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from rxflow.errors import InvalidRelayLog
from rxflow.relay._broker import StoredPage
from rxflow.relay._headers import page_of
from rxflow.relay._jetstream import AFTER, Message, message_of
from rxflow.relay._nats_link import NoResponder
from rxflow.relay._retries import Unanswered

if TYPE_CHECKING:
    from rxflow.relay._nats import NatsBroker

P = TypeVar("P")

BATCH: Final = 64
"""The pages that are read at once."""

_MOST_LIVE: Final = 64  # messages that wait for a consumer
_RETRY_SECONDS: Final = 0.3
_SURE_SECONDS: Final = 30.0  # of silence, until it is checked that what was read is there


class NatsFeed(Generic[P]):
    """Reads some subjects of the stream of a workspace.

    Attributes:
        broker: The broker.
        live: The republished messages that were not looked at yet.
        is_behind: Whether the stream is to be read in batches.
        is_unsure: Whether it is to be checked that what was read last is there still.
    """

    def __init__(self, broker: "NatsBroker", subject: str) -> None:
        """Begin to read.

        Args:
            broker: The broker.
            subject: On which subject the stream republishes what is read.
        """
        self.broker = broker
        self.live: deque[Message] = deque()
        self.is_behind = self.is_unsure = True
        self._subject = subject
        self._changed = asyncio.Event()
        self._subscription: Subscription | None = None
        self._sure_at = 0.0
        self._end_listening = broker.link.on_reconnect(self.doubt)

    async def read(self, *, is_unsure: bool) -> Sequence[P]:
        """Read what comes next in a batch, and set `is_behind` if there may be more.

        Args:
            is_unsure: Whether to check that what was read last is there still.

        Raises:
            NoResponder: There is no such stream, or no replica of it at the moment.
            Unanswered: No reply came.
            RxflowError: As of `LogFollower.pages`.
        """
        raise NotImplementedError

    def take_live(self) -> Sequence[P]:
        """Return what comes next of `live`; set `is_behind` where something else does."""
        raise NotImplementedError

    async def pages(
        self,
        timeout: float,  # noqa: ASYNC109 - that nothing came is no error
    ) -> list[P]:
        """Return the next pages; see `LogFollower.pages`."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        while True:
            self._changed.clear()
            longest = timeout
            found: Sequence[P] = ()
            try:
                found = await self._next_pages()
            except NoResponder:
                await self.broker.check_absence()
                longest = _RETRY_SECONDS
            except Unanswered:
                longest = _RETRY_SECONDS
            if found:
                self._sure_at = loop.time()
                return [*found]
            left = deadline - loop.time()
            if left > 0:
                with suppress(TimeoutError):
                    async with asyncio.timeout(min(left, longest)):
                        await self._changed.wait()
            else:
                # Look now and then, since the last page's copy may be lost.
                self.is_behind = True
                self.is_unsure |= loop.time() - self._sure_at > _SURE_SECONDS
                return []

    def doubt(self) -> None:
        """Check that what was read is there still, and read on in batches."""
        self.is_behind = self.is_unsure = True
        self.live.clear()
        self._changed.set()

    async def aclose(self) -> None:
        """End the subscription. May be called twice."""
        self._end_listening()
        subscription, self._subscription = self._subscription, None
        if subscription is not None:
            await self.broker.link.unsubscribe(subscription)

    async def _next_pages(self) -> Sequence[P]:
        if self._subscription is None:
            self._subscription = await self.broker.link.subscribe(self._subject, self._receive)
        found = () if self.is_behind else self.take_live()
        return await self._read() if self.is_behind and not found else found

    async def _read(self) -> Sequence[P]:
        is_unsure = self.is_unsure
        # Before the request, for what is found out meanwhile needs a further one.
        self.is_behind = self.is_unsure = False
        is_done = False
        try:
            found = await self.read(is_unsure=is_unsure)
            is_done = True
        finally:
            if not is_done:
                self.is_behind = True
                self.is_unsure |= is_unsure
        if is_unsure:  # that nothing more is found shows nothing of what was read before
            self._sure_at = asyncio.get_running_loop().time()
        return found

    async def _receive(self, message: Msg) -> None:
        if "Rx-V" not in (message.headers or {}):  # as of a log that was dropped
            self.doubt()
        else:
            self.live.append(message_of(message))
            if len(self.live) > _MOST_LIVE:  # of a consumer that is slower than the log grows
                self.doubt()  # those that are cleared might show that the stream is another one
            self._changed.set()


def stored_page(message: Message, run: str) -> StoredPage:
    """Return the page of a message.

    Raises:
        InvalidRelayLog: It is no page, or one of a later version.
    """
    page = page_of(message.headers, message.body, run)
    previous = message.headers.get(AFTER, "")
    if not (previous.isascii() and previous.isdigit()):
        raise InvalidRelayLog(
            f"The log of flow run {run} has a page that does not name the one before it, which no "
            "relay writes; find out what else writes there, and drop the log"
        )
    is_last = None if message.pending is None else message.pending == 0
    return StoredPage(message.sequence, int(previous), page, is_last)
