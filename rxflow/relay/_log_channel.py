"""Reads the log of a run on an event loop, for an engine in any thread.

    engine -- NEXT_PAGES --> channel -- LogReader.read --> follower of the broker
                                            |
                                            +-- want, every ten seconds

A broker's client needs an event loop that runs. An engine on a loop reads there; a loop that
blocks, and any other engine, on the loop in a thread of rxflow that all of them share.

Belongs here: what is sent to the broker for one log, and on which loop that is done. Does not
belong here: what the pages mean (`_log_session`).
"""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from typing import Any, Protocol, cast

import msgspec

from rxflow._own_log import log
from rxflow._protocol.failures import Reply
from rxflow._protocol.queries import Query
from rxflow._runtime.clocks import apause
from rxflow._runtime.fetch_loop import fetch_loop
from rxflow._runtime.query_channels import WhileWaiting
from rxflow.errors import BrokerFailed, RxflowError
from rxflow.relay._broker import WANT_SECONDS, Broker, LogFollower, StoredPage
from rxflow.relay._connections import BrokerAccess, connections
from rxflow.relay._position import LogPosition

LISTEN_SECONDS = 2.0
"""For how long a read waits for a page."""

_SLICE = 0.05  # seconds of a blocking read between two looks at what else is due


class _NextPages(msgspec.Struct, frozen=True):
    """The one query of a reader: the pages that come next."""


# The engine passes queries and replies on, whatever they are.
NEXT_PAGES = cast("Query", _NextPages())


class LogRead(msgspec.Struct, frozen=True):
    """What a read of a log found: the reply to `NEXT_PAGES`.

    Attributes:
        pages: The next pages; none if none came within `LISTEN_SECONDS`.
        is_relayed: Whether some relay is at work; None if that is not known.
        error: Why nothing more can be read.
    """

    pages: tuple[StoredPage, ...] = ()
    is_relayed: bool | None = None
    error: RxflowError | None = None

    def as_reply(self) -> Reply:
        """Return this as what an engine passes on."""
        return cast("Reply", self)


class LogSource(msgspec.Struct, frozen=True):
    """Which log is read, and how.

    Attributes:
        access: How the broker is reached.
        run_id: The run.
        after: After which event to read.
        wants: Whether to say that the run is wanted.
    """

    access: BrokerAccess
    run_id: str
    after: LogPosition
    wants: bool

    def open_channel(self) -> "BlockingLogChannel":
        """Open a channel for threads."""
        return BlockingLogChannel(LogReader(self))

    def open_async_channel(self) -> "AsyncLogChannel":
        """Open a channel for the running event loop, or the one that it is used on."""
        return AsyncLogChannel(LogReader(self))

    def open_push_channel(self) -> None:
        """Return that nothing announces changes."""


class PageReader(Protocol):
    """Reads on one event loop, by one task at a time."""

    async def read(self) -> LogRead:
        """Return what comes next; raises only `asyncio.CancelledError`."""
        ...

    async def aclose(self) -> None:
        """Release what the broker and its client hold."""
        ...


class LogReader:
    """Reads one log; a `PageReader`."""

    def __init__(self, source: LogSource) -> None:
        """Create a reader that is not connected yet.

        Args:
            source: What to read.
        """
        self._source = source
        self._broker: Broker | None = None
        self._follower: LogFollower | None = None
        self._wanting: asyncio.Task[None] | None = None

    async def read(self) -> LogRead:
        """Return what comes next; raises only `asyncio.CancelledError`."""
        try:
            follower = self._follower or await self._open()
            pages = await follower.pages(LISTEN_SECONDS)
            if pages:
                return LogRead(tuple(pages), is_relayed=True)
            return LogRead(is_relayed=await connections.is_relayed(self._source.access))
        except RxflowError as error:
            return LogRead(error=error)

    async def _open(self) -> LogFollower:
        source = self._source
        self._broker = await connections.acquire(source.access)
        after = source.after
        self._follower = self._broker.follow(
            source.run_id, after=after.position, page_id=after.page_id
        )
        if source.wants:
            self._wanting = asyncio.create_task(self._want(self._broker))
        return self._follower

    async def _want(self, broker: Broker) -> None:
        """Say that the run is wanted, for as long as it is read."""
        while True:
            try:
                await broker.want(self._source.run_id)
            except (
                RxflowError
            ) as error:  # the broker may let it read alone, or be set up only later
                log("WARNING", "The broker refuses that a run is wanted", error=error)
            await apause(WANT_SECONDS / 3)

    async def aclose(self) -> None:
        """Release what the broker and its client hold."""
        wanting, self._wanting = self._wanting, None
        if wanting is not None:
            wanting.cancel()
            await asyncio.wait([wanting])
        follower, self._follower = self._follower, None
        if follower is not None:
            await follower.aclose()
        broker, self._broker = self._broker, None
        if broker is not None:
            await connections.release(self._source.access)


class AsyncLogChannel:
    """An `AsyncQueryChannel` that reads a log."""

    def __init__(self, reader: PageReader) -> None:
        """Create a channel that is not connected yet.

        Args:
            reader: Reads what is to be read.
        """
        self._reader = reader

    async def send(self, query: Query) -> Reply:  # noqa: ARG002 - there is one query
        """Return what comes next."""
        return (await self._reader.read()).as_reply()

    async def aclose(self) -> None:
        """Close the connection, unless somebody else uses it."""
        await self._reader.aclose()


class BlockingLogChannel:
    """A `QueryChannel` that reads a log on the loop that all such channels share."""

    def __init__(self, reader: PageReader) -> None:
        """Create a channel that is not connected yet.

        Args:
            reader: Reads what is to be read.
        """
        self._reader = reader
        self._loop: asyncio.AbstractEventLoop | None = None
        self._reading: Future[LogRead] | None = None
        self._lock = threading.Lock()  # a stream may be ended by another thread than its reader's
        self._is_closed = False

    def send(
        self,
        query: Query,  # noqa: ARG002 - there is one query
        while_waiting: WhileWaiting | None = None,
    ) -> Reply:
        """Return what comes next; what was being read when it was broken off comes then."""
        try:
            reading = self._begun()
        except RuntimeError:  # at the end of the interpreter, or under a limit
            error = BrokerFailed("The system started no thread to read the broker on")
            return LogRead(error=error).as_reply()
        if reading is None:
            return LogRead().as_reply()
        try:
            while not reading.done():
                pause = _SLICE if while_waiting is None else while_waiting()
                if pause is None:
                    return LogRead().as_reply()  # it is dropped
                with suppress(TimeoutError):
                    reading.result(min(pause, _SLICE))
            self._reading = None
            return reading.result().as_reply()
        except CancelledError:  # closed by another thread, which has ended the stream
            return LogRead().as_reply()

    def _begun(self) -> "Future[LogRead] | None":
        """Return the read under way, or begin one; None once this is closed."""
        with self._lock:
            if self._is_closed:
                return None
            if self._loop is None:
                self._loop = fetch_loop.acquire()
            if self._reading is None:
                self._reading = asyncio.run_coroutine_threadsafe(self._reader.read(), self._loop)
            return self._reading

    def close(self) -> None:
        """Break off a read, and close the connection. Callable from any thread."""
        with self._lock:
            self._is_closed = True
            loop, self._loop = self._loop, None
            reading = self._reading
        if loop is None:
            return

        async def close() -> None:
            try:
                await self._reader.aclose()
            finally:
                fetch_loop.release()

        def begin() -> None:
            if reading is not None:
                reading.cancel()
            _keep(loop.create_task(close()))

        with suppress(RuntimeError):  # the interpreter is ending, and has closed the loop
            loop.call_soon_threadsafe(begin)


_closing: set["asyncio.Task[Any]"] = set()  # an event loop holds only weak references to its tasks


def _keep(task: "asyncio.Task[Any]", forget: Callable[[Any], None] = _closing.discard) -> None:
    _closing.add(task)
    task.add_done_callback(forget)
