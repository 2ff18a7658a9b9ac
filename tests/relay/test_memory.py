"""The broker in memory keeps what is required of a broker, under faults too."""

import asyncio
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any

import pytest
from sample_events import OTHER, RUN, closed, line

from rxflow import RelayLogLost
from rxflow.relay._broker import Broker, Moved
from rxflow.relay._memory import MemoryBroker, MemoryFaults, MemoryStore
from rxflow.relay._pages import pages_of

EVENTS: list[Any] = [line(0), line(1), closed(2)]
(PAGE,) = pages_of(EVENTS[:1], first=0)
SECOND, END = (
    pages_of([event], first=first, previous_id=PAGE.page_id)[0]
    for first, event in enumerate(EVENTS[1:], 1)
)


def run(work: Callable[[MemoryStore], Awaitable[Any]], store: MemoryStore | None = None) -> None:
    """Run a test with a store on an event loop."""

    async def bounded() -> None:
        async with asyncio.timeout(60):
            await work(store or MemoryStore(random=Random(0), want_seconds=0.2))

    asyncio.run(bounded())


async def until(condition: Callable[[], object]) -> None:
    """Wait until a condition holds."""
    while not condition():  # noqa: ASYNC110 - nothing says when
        await asyncio.sleep(0.01)


def test_it_is_a_broker() -> None:
    """It has the methods of the protocol."""
    broker: Broker = MemoryStore().connect()
    assert isinstance(broker, MemoryBroker)


def test_a_page_is_appended_after_the_last_one_alone() -> None:
    """A writer that has not read the log to its end is refused."""

    async def work(store: MemoryStore) -> None:
        one, two = store.connect(), store.connect()
        end = await one.append(RUN, PAGE, after=0)
        with pytest.raises(Moved):
            await two.append(RUN, SECOND, after=0)
        assert await two.append(RUN, SECOND, after=end) > end
        assert store.pages(RUN) == [PAGE, SECOND]
        assert store.pages(OTHER) == []

    run(work)


@pytest.mark.parametrize("lost", ["requests", "replies"])
def test_a_page_is_stored_once_whatever_is_lost(lost: str) -> None:
    """A writer whose reply was lost learns that its page is stored, by its id."""

    async def work(store: MemoryStore) -> None:
        broker, end = store.connect(), 0
        store.faults = (
            MemoryFaults(lost_requests=0.5)
            if lost == "requests"
            else MemoryFaults(lost_replies=0.5)
        )
        pages = [page for n in range(20) for page in pages_of([line(n)], first=n)]
        for page in pages:
            end = await broker.append(RUN, page, after=end)
        assert store.pages(RUN) == pages
        assert broker.failures > 0
        last = await broker.last(RUN)
        assert last is not None
        assert (last.position, last.page, last.is_last) == (end, pages[-1], True)

    run(work)


def test_a_stopped_writer_is_refused_when_it_goes_on() -> None:
    """What it was sending when it was stopped arrives after another has appended."""

    async def work(store: MemoryStore) -> None:
        one, two = store.connect(), store.connect()
        one.pause()
        sending = asyncio.create_task(one.append(RUN, PAGE, after=0))
        await two.append(RUN, SECOND, after=0)
        assert not sending.done()
        one.resume()
        with pytest.raises(Moved):
            await sending

    run(work)


def test_a_follower_returns_each_page_once_and_waits_for_more() -> None:
    """It begins after a position, and knows that of the page before each."""

    async def work(store: MemoryStore) -> None:
        broker = store.connect()
        first = await broker.append(RUN, PAGE, after=0)
        follower = broker.follow(RUN, after=0)
        assert [stored.page for stored in await follower.pages(1)] == [PAGE]
        waiting = asyncio.create_task(follower.pages(30))
        second = await store.connect().append(RUN, SECOND, after=first)
        (stored,) = await waiting
        assert (stored.position, stored.previous, stored.page) == (second, first, SECOND)
        assert await follower.pages(0) == []
        assert [each.page for each in await broker.follow(RUN, after=first).pages(1)] == [SECOND]

    run(work)


def test_a_log_that_is_shorter_than_what_was_read_is_lost() -> None:
    """It was dropped, whether or not there is another in its place."""

    async def work(store: MemoryStore) -> None:
        broker = store.connect()
        await broker.append(RUN, PAGE, after=0)
        follower, other = (broker.follow(RUN, after=0) for _ in range(2))
        await follower.pages(1)
        await other.pages(1)
        await broker.drop(RUN)
        with pytest.raises(RelayLogLost, match="without after="):
            await follower.pages(0)
        await broker.append(RUN, SECOND, after=0)
        with pytest.raises(RelayLogLost):
            await other.pages(0)

    run(work)


def test_the_ends_of_logs_say_which_runs_are_over() -> None:
    """Of each run of the workspace: whether its log is closed, and when that ended."""

    async def work(store: MemoryStore) -> None:
        broker = store.connect()
        await broker.append(RUN, PAGE, after=0)
        await broker.append(OTHER, END, after=0)
        await store.connect("another").append(RUN, END, after=0)
        ends = {end.run_id: end async for end in broker.ends()}
        assert {run_id: end.is_closed for run_id, end in ends.items()} == {RUN: False, OTHER: True}
        assert ends[RUN].stored_at <= ends[OTHER].stored_at

    run(work)


def test_a_full_broker_says_so_until_there_is_room() -> None:
    """The append waits, and goes on once a log was dropped."""

    async def work(store: MemoryStore) -> None:
        broker = store.connect()
        await broker.append(OTHER, END, after=0)
        await broker.setup(max_bytes=len(END.body) + 10)
        waiting = asyncio.create_task(broker.append(RUN, PAGE, after=0))
        await until(lambda: broker.is_full)
        assert not waiting.done()
        await store.connect().setup(max_bytes=len(PAGE.body))
        await store.connect().drop(OTHER)
        await waiting
        assert not broker.is_full

    run(work)


def test_a_run_is_wanted_until_some_time_after_the_last_want() -> None:
    """Wants of before are known to a relay that begins later."""

    async def work(store: MemoryStore) -> None:
        await store.connect().want(RUN)
        await store.connect("another").want(OTHER)
        changes = store.connect().wanted()
        assert await anext(changes) == (RUN, True)
        assert await anext(changes) == (RUN, False)
        await store.connect().want(RUN)
        assert await anext(changes) == (RUN, True)
        await changes.aclose()  # type: ignore[attr-defined]

    run(work)


def test_each_time_that_a_run_is_wanted_is_known() -> None:
    """A relay learns it again, one time after the other."""

    async def work(store: MemoryStore) -> None:
        store.want_seconds = 600.0
        changes = store.connect().wanted()
        for run_id in (RUN, OTHER, RUN, RUN):
            await store.connect().want(run_id)
            assert await anext(changes) == (run_id, True)
        await changes.aclose()  # type: ignore[attr-defined]

    run(work)


def test_a_lease_has_one_holder() -> None:
    """Another gets it once it was released by its holder."""

    async def work(store: MemoryStore) -> None:
        broker = store.connect()
        one, two = (broker.lease("relay-0", name, 60) for name in "ab")
        await one.acquire()
        assert await broker.holders() == {"relay-0": "a"}
        assert not await broker.take("relay-0", "b", 60, instead_of=None)
        await two.release()
        assert await broker.holders() == {"relay-0": "a"}
        await one.release()
        assert await broker.holders() == {}
        await two.acquire()
        assert await store.connect("another").holders() == {}
        assert await broker.holders() == {"relay-0": "b"}

    run(work)


def test_a_lease_that_is_not_renewed_runs_out() -> None:
    """Who waits for it gets it, and the one before learns that when it goes on."""

    async def work(store: MemoryStore) -> None:
        stopped, other = store.connect(), store.connect()
        one, two = stopped.lease("relay-0", "a", 0.05), other.lease("relay-0", "b", 0.05)
        await one.acquire()
        stopped.pause()
        holding = asyncio.create_task(one.hold())
        await two.acquire()
        assert store.leases["default", "relay-0"][0] == "b"
        stopped.resume()
        await holding

    run(work)


def test_a_lease_is_renewed_while_it_is_held() -> None:
    """It then ends later than before."""

    async def work(store: MemoryStore) -> None:
        lease = store.connect().lease("relay-0", "a", 0.3)
        await lease.acquire()
        before = store.leases["default", "relay-0"]
        holding = asyncio.create_task(lease.hold())
        await until(lambda: store.leases["default", "relay-0"] != before)
        holding.cancel()

    run(work)


def test_an_outage_ends() -> None:
    """Requests wait until the broker is there again."""

    async def work(store: MemoryStore) -> None:
        broker = store.connect()
        store.faults = MemoryFaults(is_down=True)
        appending = asyncio.create_task(broker.append(RUN, PAGE, after=0))
        await until(lambda: broker.failures > 2)
        assert store.pages(RUN) == []
        store.faults = MemoryFaults()
        await appending
        assert store.pages(RUN) == [PAGE]

    run(work)
