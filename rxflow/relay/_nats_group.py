"""Groups on NATS: a durable pull consumer of the stream of a workspace.

A member needs to publish to ``$JS.API.CONSUMER.CREATE.RXFLOW_<workspace>.<group>.>``,
``$JS.API.CONSUMER.MSG.NEXT.RXFLOW_<workspace>.<group>``, ``$JS.ACK.RXFLOW_<workspace>.<group>.>``
and, for events that are too large for a page, ``$JS.API.DIRECT.GET.RXFLOW_<workspace>``; and to
subscribe to ``_INBOX.>``. Without the first, somebody else must have created the group.
"""

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import msgspec
from nats.aio.msg import Msg

from rxflow._own_log import log
from rxflow._runtime.clocks import apause
from rxflow.errors import BrokerFailed, InvalidRelayLog
from rxflow.relay._group import GroupOptions, GroupPage
from rxflow.relay._jetstream import Message
from rxflow.relay._names import run_of
from rxflow.relay._nats_feed import stored_page
from rxflow.relay._nats_link import NoResponder
from rxflow.relay._retries import Unanswered

if TYPE_CHECKING:
    from rxflow.relay._nats import NatsBroker

ELECTION_SECONDS: Final = 20.0
"""In which servers that were started, or have lost one of them, have elected leaders."""

_RETRY_SECONDS: Final = 0.3
_ACK: Final = b"+ACK"
_GIVE_BACK: Final = b"-NAK"
_IN_PROGRESS: Final = b"+WPI"
_NOTHING: Final = {"404", "408"}  # none there; none came in time


class NatsGroupMember:
    """Takes pages of a durable consumer; a `GroupMember`."""

    def __init__(self, broker: "NatsBroker", options: GroupOptions) -> None:
        """Create a member that has not joined its group yet.

        Args:
            broker: The broker.
            options: The group.
        """
        self._broker = broker
        self._options = options
        self._has_joined = False
        self._refusal: BrokerFailed | None = None  # of the request that creates the group
        self._is_seen = False  # whether the group once responded
        self._absent_since: float | None = None

    async def next_page(
        self,
        timeout: float,  # noqa: ASYNC109 - that nothing came is no error
    ) -> GroupPage | None:
        """Return the next page; see `GroupMember.next_page`."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        while (left := deadline - loop.time()) > 0:
            try:
                if not self._has_joined:
                    await self._join()
                message = await self._pull(left)
            except NoResponder:
                self._has_joined = False
                await self._check_absence()
                await apause(min(_RETRY_SECONDS, left))
            except Unanswered:
                self._has_joined = False
                await apause(min(_RETRY_SECONDS, left))
            else:
                self._broker.record_seen()
                self._is_seen, self._absent_since = True, None
                page = None if message is None else await self._page_of(message)
                if page is not None:
                    return page
        return None

    async def ack(self, page: GroupPage) -> None:
        """Say that a page is done; see `GroupMember.ack`."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._options.redeliver_seconds
        while loop.time() < deadline:
            try:
                await self._broker.link.request(page.receipt, _ACK)
            except Unanswered:
                await apause(_RETRY_SECONDS)
            else:
                return
        log("WARNING", "A page that was handled is not acknowledged, and may come again")

    async def keep(self, page: GroupPage) -> None:
        """Say that the member is at work on a page."""
        with suppress(Unanswered):
            await self._broker.link.request(page.receipt, _IN_PROGRESS)

    async def give_back(self, page: GroupPage) -> None:
        """Let another member have a page at once."""
        with suppress(Unanswered):
            await self._broker.link.request(page.receipt, _GIVE_BACK)

    async def aclose(self) -> None:
        """Do nothing: the group stays, without its members too."""

    async def _check_absence(self) -> None:
        """Find out whether there is no such group or stream, or none while a leader is elected.

        Raises:
            BrokerFailed: There is none.
        """
        if self._refusal is None:
            return await self._broker.check_absence()
        now = asyncio.get_running_loop().time()
        if self._absent_since is None:
            self._absent_since = now
        if not self._is_seen or now - self._absent_since >= ELECTION_SECONDS:
            raise self._refusal from None
        return None

    async def _join(self) -> None:
        """Create the group, unless it is there."""
        options, stream = self._options, self._broker.stream
        subject = self._broker.log_subject(options.run_id or "*")
        config: dict[str, Any] = {
            "name": options.group,
            "durable_name": options.group,
            "deliver_policy": "all",
            "ack_policy": "explicit",
            "ack_wait": int(options.redeliver_seconds * 1e9),
            "max_deliver": -1,
            "filter_subject": subject,
            "replay_policy": "instant",
        }
        # Where this is refused, somebody else may have created it.
        self._refusal = await self._broker.jetstream.create_consumer(
            stream, options.group, subject, config
        )
        self._has_joined = True

    async def _pull(self, seconds: float) -> Msg | None:
        request = f"$JS.API.CONSUMER.MSG.NEXT.{self._broker.stream}.{self._options.group}"
        body = msgspec.json.encode({"batch": 1, "expires": int(seconds * 1e9)})
        message = await self._broker.link.request_message(request, body, seconds=seconds)
        headers = message.headers or {}
        status = headers.get("Status")
        if status is None or "Rx-V" in headers:
            return message
        if status in _NOTHING:
            return None
        raise Unanswered(f"{status} {headers.get('Description', '')}")  # as of a new leader

    async def _page_of(self, message: Msg) -> GroupPage | None:
        run = run_of(message.subject, ".")
        sequence = message.metadata.sequence.stream
        page = Message(message.subject, sequence, message.headers or {}, message.data, 0.0, None)
        receipt = message.reply
        if run is None:  # no relay wrote it
            with suppress(Unanswered):
                await self._broker.link.request(receipt, _ACK)
            return None
        try:
            return GroupPage(run, stored_page(page, run), receipt)
        except InvalidRelayLog:
            with suppress(Unanswered):
                await self._broker.link.request(receipt, _GIVE_BACK)
            raise
