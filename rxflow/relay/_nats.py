"""A relay's broker on NATS JetStream: a subject for each run's log, in one stream per workspace.

    rxflow.<workspace>.run.<run id>         pages are appended here, and kept by the stream
    rxlive.<workspace>.run.<run id>         the stream republishes them here once they are stored
    $KV.rxflow_want_<workspace>.<run id>    that a run is wanted, for some seconds
    $KV.rxflow_lease_<workspace>.<name>     who holds a lease

A page is stored only if it names the sequence of the subject's last one, which the server compares.
So its headers say which page it follows, in the stream and as it is republished alike.

A user that only reads needs to publish to ``$JS.API.DIRECT.GET.RXFLOW_<workspace>`` and
``$KV.rxflow_want_<workspace>.*``, and to subscribe to ``rxlive.<workspace>.run.*`` and
``_INBOX.>``.

Belongs here: the broker's logs and wants. Does not belong here: leases (`_nats_lease`), or the
requests that all of this takes (`_jetstream`).
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from functools import partial
from random import Random
from typing import Any, Final, TypeVar

from nats.aio.msg import Msg

from rxflow._runtime.clocks import apause
from rxflow.errors import BrokerFailed
from rxflow.relay._address import Address
from rxflow.relay._broker import WANT_SECONDS, LogEnd, Moved, Page, StoredPage
from rxflow.relay._group import GroupOptions
from rxflow.relay._headers import headers_of
from rxflow.relay._jetstream import JetStream, Message, WrongLast
from rxflow.relay._names import lease_name, run_name, run_of
from rxflow.relay._nats_feed import BATCH, NatsFeed, stored_page
from rxflow.relay._nats_group import ELECTION_SECONDS, NatsGroupMember
from rxflow.relay._nats_lease import NatsLease, lease_holders
from rxflow.relay._nats_link import NatsLink, NoResponder
from rxflow.relay._nats_workspace import NatsWorkspaceFollower
from rxflow.relay._page_chain import PageChain
from rxflow.relay._retries import Full, Unanswered, is_same_page, pauses
from rxflow.relay._room import Room, comes_within

T = TypeVar("T")

_MAX_BYTES: Final = 2 << 30  # of all logs, unless `setup` is given another size
_ABSENT_SECONDS: Final = 5.0  # until a stream that does not respond is looked for
_MOST_LOOKS: Final = 20  # for a page that a replica lacks: within five seconds
_LOOK_PAUSE: Final = 0.25  # seconds
_ENDS_AT_ONCE: Final = 64  # of logs, whose last pages are held in memory
_DROPPED: Final = {"Rx-Dropped": "1"}


async def open_nats_broker(address: Address, workspace: str, seconds: float) -> "NatsBroker":
    """Connect to NATS.

    Args:
        address: Where it is.
        workspace: The workspace.
        seconds: For how long to try.

    Raises:
        BrokerFailed: It cannot be reached, refuses the credentials, or is too old.
    """
    link = NatsLink(address)
    await link.open(seconds)
    return NatsBroker(link, workspace)


class NatsBroker:
    """A connection to NATS, in one workspace; a `Broker`."""

    def __init__(self, link: NatsLink, workspace: str) -> None:
        """Use a connection.

        Args:
            link: The connection, which is open.
            workspace: The workspace.
        """
        self.link = link
        self.jetstream = JetStream(link)
        self.stream = f"RXFLOW_{workspace}"
        self.lease_stream = f"KV_rxflow_lease_{workspace}"
        self._want_stream = f"KV_rxflow_want_{workspace}"
        self._workspace = workspace
        self._random = Random()  # noqa: S311 - jitter
        self._is_seen = False  # whether the streams once responded
        self._absent_since: float | None = None
        self._room = Room()

    @property
    def failures(self) -> int:
        """How many requests have failed and were sent again."""
        return self.link.failures

    @property
    def is_full(self) -> bool:
        """Whether a page waits for room, as far as is known; see `Broker.is_full`."""
        return self._room.is_full

    @property
    def refusal(self) -> None:
        """Return that a server which stores nothing is not known from one that is full."""

    async def setup(
        self, *, replicas: int | None = None, max_bytes: int | None = None
    ) -> list[str]:
        """Create the streams, or change their settings where they differ."""
        copies: dict[str, Any] = {} if replicas is None else {"num_replicas": replicas}
        size: dict[str, Any] = {} if max_bytes is None else {"max_bytes": max_bytes}
        logs, live = self.log_subject("*"), f"{self._live_prefix}{{{{wildcard(1)}}}}"
        bucket = {
            "max_msgs_per_subject": 1,
            "discard": "new",
            "allow_direct": True,
            "allow_rollup_hdrs": True,
            "deny_delete": True,
            **copies,
        }
        for config, initial in (
            (
                {
                    "name": self.stream,
                    "subjects": [logs],
                    "retention": "limits",
                    # A log is deleted as a whole: of one without its beginning it is not known
                    # what was emitted. So the stream is full rather than to lose the oldest.
                    "discard": "new",
                    "max_age": 0,
                    "max_msgs": -1,
                    "max_msgs_per_subject": -1,
                    "allow_direct": True,
                    # Subscribers of the subjects themselves receive refused pages as well.
                    "republish": {"src": logs, "dest": live},
                    **copies,
                    **size,
                },
                {"storage": "file", "compression": "s2", "max_bytes": _MAX_BYTES},
            ),
            (
                {
                    "name": self.lease_stream,
                    "subjects": [f"{self.lease_prefix}>"],
                    "max_age": 0,
                    **bucket,
                },
                {"storage": "file"},
            ),
            (
                {
                    "name": self._want_stream,
                    "subjects": [f"{self._want_prefix}>"],
                    "max_age": int(WANT_SECONDS * 1e9),
                    "duplicate_window": int(WANT_SECONDS * 1e9),  # not above the age
                    **bucket,
                },
                {"storage": "memory"},
            ),
        ):
            await self.answered(partial(self.jetstream.create_stream, config, initial))
        return []

    # -- logs ---------------------------------------------------------------------------------

    async def append(self, run_id: str, page: Page, *, after: int) -> int:
        """Append a page, and return its position; see `Broker.append`."""
        run = run_name(run_id)
        subject, headers = self.log_subject(run), headers_of(page)

        async def send() -> int:
            try:
                position = await self.jetstream.put(subject, page.body, headers, after=after)
            except Full as error:
                self._room.record_refused(run, error)
                raise
            self._room.record_stored()
            return position

        try:
            with self._room.appending(run):
                return await self.answered(send)
        except WrongLast:
            last = await self.last(run)
            if last is not None and is_same_page(last.page, page):  # an earlier try stored it
                return last.position
            raise Moved(run) from None

    async def last(self, run_id: str) -> StoredPage | None:
        """Return the last page of a log, as the stream's leader has it."""
        run = run_name(run_id)
        found = await self.answered(lambda: self.jetstream.last(self.stream, self.log_subject(run)))
        return None if found is None else stored_page(found, run)._replace(is_last=True)

    async def read(self, run_id: str, *, after: int, limit: int = 64) -> list[StoredPage]:
        """Return the next pages of a log; see `Broker.read`."""
        run = run_name(run_id)
        found = await self.answered(lambda: self.read_messages(run, start=after + 1, limit=limit))
        pages = [stored_page(message, run) for message in found]
        PageChain(run, after).move(pages)
        return pages

    def follow(self, run_id: str, *, after: int, page_id: str = "") -> "NatsFollower":
        """Return what reads a log from a position on, and goes on as it grows."""
        run = run_name(run_id)
        return NatsFollower(self, run, PageChain(run, after, page_id))

    async def page_at(self, run_id: str, position: int) -> StoredPage | None:
        """Return the page of a log at a position; see `Broker.page_at`."""
        run = run_name(run_id)
        for attempt in range(_MOST_LOOKS):
            if attempt:
                await apause(_LOOK_PAUSE)
            # A page of any run after it shows that it is gone; without one, a replica may lag.
            found = await self.answered(lambda: self.read_messages("*", start=position, limit=1))
            if found:
                message = found[0]
                is_here = message.sequence == position and run_of(message.subject, ".") == run
                return stored_page(message, run) if is_here else None
        return None

    def follow_all(self, *, after: int, mark: str) -> NatsWorkspaceFollower:
        """Return what reads all logs from a position on; see `Broker.follow_all`."""
        return NatsWorkspaceFollower(self, after, mark)

    def member(self, options: GroupOptions) -> NatsGroupMember:
        """Return what takes pages as a member of a group."""
        return NatsGroupMember(self, options)

    async def ends(self) -> AsyncIterator[LogEnd]:
        """Return how the logs of all runs end."""
        subjects, _ = await self.answered(
            lambda: self.jetstream.subjects(self.stream, self.log_subject("*"))
        )
        for start in range(0, len(subjects), _ENDS_AT_ONCE):
            some = subjects[start : start + _ENDS_AT_ONCE]
            for last in await self.answered(
                partial(self.jetstream.last_of_each, self.stream, some)
            ):
                run = run_of(last.subject, ".")
                if run is not None:
                    yield LogEnd(run, last.sequence, last.stored_at, "Rx-End" in last.headers)

    async def drop(self, run_id: str) -> None:
        """Delete the whole log of a run."""
        run = run_name(run_id)
        await self.answered(lambda: self.jetstream.purge(self.stream, self.log_subject(run)))
        self._room.record_dropped()
        await self.link.publish(self.live_subject(run), _DROPPED)  # its followers look for it

    # -- wants and leases ---------------------------------------------------------------------

    async def want(self, run_id: str) -> None:
        """Say that a run is wanted, for the next `WANT_SECONDS`."""
        subject = f"{self._want_prefix}{run_name(run_id)}"
        await self.answered(lambda: self.jetstream.put(subject, b"", {}))

    async def wanted(self) -> AsyncIterator[tuple[str, bool]]:
        """Return which runs are wanted or cease to be; see `Broker.wanted`."""
        loop = asyncio.get_running_loop()
        heard: dict[str, float] = {}  # when each run was last wanted, by our clock
        news: set[str] = set()
        changed = asyncio.Event()
        is_partial = True  # what was wanted before the subscription, or in an outage, is to be read

        def read_all() -> None:
            nonlocal is_partial
            is_partial = True
            changed.set()

        async def receive(message: Msg) -> None:
            run = run_of(message.subject, ".")
            if run is not None:
                news.add(run)
                changed.set()

        subscription = await self.answered(
            lambda: self.link.subscribe(f"{self._want_prefix}*", receive)
        )
        end_listening = self.link.on_reconnect(read_all)
        try:
            while True:
                changed.clear()
                if is_partial:
                    is_partial = False
                    keys, _ = await self.answered(
                        lambda: self.jetstream.subjects(self._want_stream, f"{self._want_prefix}*")
                    )
                    news.update(run for key in keys if (run := run_of(key, ".")) is not None)
                    # Readers could not say so in an outage, which is no reason to end a watch.
                    heard = dict.fromkeys(heard, loop.time())
                while news:
                    run = news.pop()
                    heard[run] = loop.time()
                    yield run, True
                if self.link.is_connected:
                    least = loop.time() - WANT_SECONDS
                    for run in [run for run, at in heard.items() if at <= least]:
                        del heard[run]
                        yield run, False
                left = min(heard.values(), default=loop.time()) + WANT_SECONDS - loop.time()
                with suppress(TimeoutError):
                    async with asyncio.timeout(left if self.link.is_connected else None):
                        await changed.wait()
        finally:
            end_listening()
            await self.link.unsubscribe(subscription)

    def lease(self, name: str, holder: str, seconds: float) -> NatsLease:
        """Return a lease; see `Broker.lease`."""
        subject = f"{self.lease_prefix}{lease_name(name)}"
        return NatsLease(self, subject, holder, seconds)

    async def holders(self) -> dict[str, str]:
        """Return who holds which lease: those that were renewed within their time."""
        return await lease_holders(self)

    async def aclose(self) -> None:
        """Close the connection. May be called twice."""
        await self.link.aclose()

    # -- for this module and `_nats_lease` ----------------------------------------------------

    @property
    def lease_prefix(self) -> str:
        """What precedes the name of a lease in its subject."""
        return f"$KV.rxflow_lease_{self._workspace}."

    @property
    def _want_prefix(self) -> str:
        return f"$KV.rxflow_want_{self._workspace}."

    @property
    def _live_prefix(self) -> str:
        return f"rxlive.{self._workspace}.run."

    def log_subject(self, run: str) -> str:
        """Return the subject of a run's log."""
        return f"rxflow.{self._workspace}.run.{run}"

    def live_subject(self, run: str) -> str:
        """Return the subject on which the stored pages of a run are republished."""
        return f"{self._live_prefix}{run}"

    async def read_messages(self, run: str, *, start: int, limit: int) -> list[Message]:
        """Read messages of a run's log once; errors as of `JetStream.read`."""
        found = await self.jetstream.read(
            self.stream, self.log_subject(run), start=start, limit=limit
        )
        self.record_seen()
        return found

    async def answered(self, send: Callable[[], Awaitable[T]]) -> T:
        """Send a request until there is a reply; at once after a drop, which may have made room.

        Raises:
            BrokerFailed: The server refuses it, or the streams do not exist.
        """
        delays = pauses(self._random)
        while True:
            dropped = self._room.dropped
            try:
                result = await send()
            except NoResponder:
                await self.check_absence()
            except Unanswered:
                self._absent_since = None
            else:
                self.record_seen()
                return result
            if await comes_within(dropped, next(delays)):
                delays = pauses(self._random)

    def record_seen(self) -> None:
        """Record that a stream of the workspace has responded."""
        self._is_seen, self._absent_since = True, None

    async def check_absence(self) -> None:
        """Find out whether the streams do not exist, once they have not responded for a while.

        A stream does not respond either while its servers elect a leader.

        Raises:
            BrokerFailed: They do not exist.
        """
        now = asyncio.get_running_loop().time()
        if self._absent_since is None:
            self._absent_since = now
        waited = now - self._absent_since
        if waited < _ABSENT_SECONDS or not self.link.is_connected:
            return
        if self._is_seen:
            self._absent_since = None
        if await self._may_exist(waited):
            return
        raise BrokerFailed(
            f"The NATS server {self.link.name} has no stream {self.stream}: start a relay of the "
            f"workspace {self._workspace!r}, which creates it, on a server with JetStream enabled"
        )

    async def _may_exist(self, waited: float) -> bool:
        try:
            return await self.jetstream.has_stream(self.stream)
        except NoResponder:  # of a server without JetStream, if it never had the stream
            return self._is_seen
        except Unanswered:  # an outage, which shows nothing of the stream
            return True
        except BrokerFailed:  # a reader is not permitted to find out
            return self._is_seen or waited < ELECTION_SECONDS


class NatsFollower(NatsFeed[StoredPage]):
    """Reads a log, and waits for more; a `LogFollower`.

    That there are no pages after the one that was read last does not show that the log is still the
    same; that page does, which is read again.
    """

    def __init__(self, broker: NatsBroker, run: str, place: PageChain) -> None:
        """Begin at a place.

        Args:
            broker: The broker.
            run: The run.
            place: The place after which to read.
        """
        super().__init__(broker, broker.live_subject(run))
        self._run = run
        self._place = place
        self._misses = 0

    async def read(self, *, is_unsure: bool) -> list[StoredPage]:
        """Read the log after the place, and the page there too while it is not sure."""
        place = self._place
        again = is_unsure and place.position > 0
        messages = await self.broker.read_messages(
            self._run, start=place.position + (not again), limit=BATCH
        )
        pages = [stored_page(message, self._run) for message in messages]
        if again:
            self._check_position(pages[0] if pages else None)
            pages = pages[1:]
        place.move(pages)
        self.is_behind |= bool(messages) and messages[-1].pending != 0
        return pages

    def take_live(self) -> list[StoredPage]:
        """Return the pages that follow."""
        place, found = self._place, list[StoredPage]()
        while self.live:
            stored = stored_page(self.live.popleft(), self._run)
            is_known = stored.page.page_id == place.page_id
            if stored.position < place.position or is_known:  # read in a batch meanwhile
                continue
            if stored.previous > place.position:  # pages between them are missing
                self.is_behind = True
                break
            if not place.precedes(stored):
                self.doubt()
                break
            place.move([stored])
            found.append(stored)
        return found

    def _check_position(self, found: StoredPage | None) -> None:
        """Check the page at the position, or that there is none."""
        if found is None:
            # It may be that of a replica that lags.
            self._misses += 1
            if self._misses < _MOST_MISSES:
                raise Unanswered(f"no page at {self._place.position}")
        self._place.check(found)
        self._misses = 0


_MOST_MISSES: Final = 3  # of the page at the place, until the log is lost
