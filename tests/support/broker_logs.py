"""Logs on a broker: pages to append, and what a reader of them finds."""

import asyncio
import uuid
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from typing import TypeVar

import msgspec
import pytest
from broker_servers import BrokerServer

from rxflow.relay._broker import Broker, LogFollower, Moved, Page, StoredPage
from rxflow.relay._connect import open_broker

T = TypeVar("T")

LIMIT = 60.0
"""Seconds after which a scenario hangs; no machine is as slow."""


def completed(scenario: Callable[[], Coroutine[None, None, T]]) -> T:
    """Run a scenario on an event loop of its own, to its end."""

    async def bounded() -> T:
        async with asyncio.timeout(LIMIT):
            return await scenario()

    return asyncio.run(bounded())


async def until(is_so: Callable[[], bool]) -> None:
    """Wait until something is so."""
    while not is_so():  # noqa: ASYNC110 - what changes it has no event
        await asyncio.sleep(0.02)


def pauses_while_full(broker: Broker) -> Callable[[object], Iterator[float]]:
    """Return pauses between attempts that only a drop of a log can end while there is no room.

    A reply that is late, as on a busy machine, is no reason to wait so long.
    """

    def pauses(_: object) -> Iterator[float]:
        while True:
            yield 3600.0 if broker.is_full else 0.05

    return pauses


def set_up(url: str, workspace: str, *, replicas: int | None = None) -> None:
    """Create what a relay creates, so that readers may come before a relay has started."""

    async def scenario() -> None:
        broker = await open_broker(url, workspace, timeout=LIMIT)
        try:
            await broker.setup(replicas=replicas)
        finally:
            await broker.aclose()

    completed(scenario)


def new_run() -> str:
    """Return the id of a run that has no log."""
    return str(uuid.uuid4())


def new_page(
    number: int, *, log_id: str = "log", body: bytes | None = None, **more: object
) -> Page:
    """Return a page of one event, which follows that of the number before.

    Args:
        number: The event's number, of which the id and the body are made.
        log_id: Of the log, of which the ids of its pages are made.
        body: A body of another kind.
        more: Other fields of the page.
    """
    text = f'{{"number":{number}}}'.encode()
    previous_id = f"{log_id}-{number - 1}" if number else ""
    fields = {"page_id": f"{log_id}-{number}", "previous_id": previous_id, "count": 1, **more}
    return Page(first=number, body=text if body is None else body, **fields)  # type: ignore[arg-type]


@asynccontextmanager
async def opened(
    server: BrokerServer,
    workspace: str,
    *,
    user: str = "relay",
    port: int | None = None,
    is_reader: bool = False,
) -> AsyncGenerator[Broker]:
    """Connect to a broker, and set it up.

    Args:
        server: The server.
        workspace: The workspace.
        user: The user.
        port: The port of a relay of connections.
        is_reader: Whether not to set it up.
    """
    broker = await open_broker(server.url(user, port=port), workspace, timeout=LIMIT)
    try:
        if not is_reader:
            await broker.setup()
        yield broker
    finally:
        await broker.aclose()


async def append_all(broker: Broker, run: str, pages: list[Page], *, after: int = 0) -> int:
    """Append pages, each after the one before; return the last position."""
    for page in pages:
        after = await broker.append(run, page, after=after)
    return after


async def append_somewhere(broker: Broker, run: str, page: Page) -> int:
    """Append a page at the end of a log, wherever others have moved that; it names the last one."""
    while True:
        last = await broker.last(run)
        previous_id = last.page.page_id if last else ""
        page = msgspec.structs.replace(page, previous_id=previous_id)
        try:
            return await broker.append(run, page, after=last.position if last else 0)
        except Moved:
            continue


async def fails(
    error: type[Exception], reason: str, request: Coroutine[None, None, object]
) -> None:
    """Check that a request fails."""
    with pytest.raises(error, match=reason):
        await request


async def read_all(broker: Broker, run: str) -> list[StoredPage]:
    """Read a log from its beginning."""
    pages: list[StoredPage] = []
    while found := await broker.read(run, after=pages[-1].position if pages else 0):
        pages += found
    return pages


async def followed(follower: LogFollower, count: int) -> list[StoredPage]:
    """Return the next pages of a follower, as many as are said."""
    pages: list[StoredPage] = []
    while len(pages) < count:
        pages += await follower.pages(5.0)
    return pages


def bodies(pages: list[StoredPage]) -> list[bytes]:
    """Return what is in pages."""
    return [stored.page.body for stored in pages]


def is_chained(pages: list[StoredPage]) -> bool:
    """Return whether each page names the position of the one before it, the first none."""
    positions = [0, *(stored.position for stored in pages)]
    return [stored.previous for stored in pages] == positions[:-1] and positions == sorted(
        set(positions)
    )
