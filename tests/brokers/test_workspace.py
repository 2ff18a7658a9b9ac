"""All logs of a workspace are read as one, on real brokers of each kind, which are killed."""

import asyncio
from collections import defaultdict
from contextlib import closing
from itertools import islice
from random import Random

import pytest
from broker_logs import (
    append_all,
    append_somewhere,
    completed,
    fails,
    is_chained,
    new_page,
    new_run,
    opened,
    until,
)
from broker_servers import BrokerServer
from connection_relay import ConnectionRelay
from msgspec.structs import replace
from sample_events import line

from rxflow.errors import InvalidRelayLog, RelayLogLost
from rxflow.relay import _nats, stream
from rxflow.relay._broker import Broker, RunPage, StoredPage, WorkspaceFollower
from rxflow.relay._jetstream import Message
from rxflow.relay._nats import NatsBroker
from rxflow.relay._nats_workspace import NatsWorkspaceFollower
from rxflow.relay._pages import MOST_BYTES, pages_of
from rxflow.relay._redis import RedisBroker


async def followed_all(follower: WorkspaceFollower, count: int) -> list[RunPage]:
    """Return the next pages of a follower, as many as are said."""
    pages: list[RunPage] = []
    while len(pages) < count:
        pages += await follower.pages(5.0)
    return pages


def by_run(pages: list[RunPage]) -> dict[str, list[StoredPage]]:
    """Return the pages of each run, in order."""
    found: dict[str, list[StoredPage]] = defaultdict(list)
    for run_id, stored, _ in pages:
        found[run_id].append(stored)
    return dict(found)


def test_all_logs_are_read_and_then_followed(server: BrokerServer, workspace: str) -> None:
    """Those that are there, and those that begin later; each in order, each page once."""
    runs = [new_run() for _ in range(10)]

    async def scenario() -> None:
        async with (
            opened(server, workspace) as broker,
            opened(server, workspace, is_reader=True) as reader,
            opened(server, f"{workspace}-2") as elsewhere,
        ):
            await elsewhere.append(runs[0], new_page(0), after=0)
            for run in runs[:5]:
                await append_all(broker, run, [new_page(number) for number in range(20)])
            follower = reader.follow_all(after=0, mark="")
            pages = await followed_all(follower, 60)
            random, numbers = Random(0), dict.fromkeys(runs, 20) | dict.fromkeys(runs[5:], 0)
            for _ in range(200):
                run = random.choice(runs)
                await append_somewhere(broker, run, new_page(numbers[run]))
                numbers[run] += 1
            pages += await followed_all(follower, sum(numbers.values()) - len(pages))
            assert await follower.pages(0.01) == []
            await follower.aclose()
            for run, log in by_run(pages).items():
                assert is_chained(log)
                assert [stored.page.first for stored in log] == [*range(numbers[run])]
            positions = [page.stored.position for page in pages]
            assert positions == sorted(set(positions))
            for number in (1, 37, 150, len(pages) - 1):
                _, stored, mark = pages[number - 1]
                resumed = reader.follow_all(after=stored.position, mark=mark)
                rest = await followed_all(resumed, len(pages) - number)
                await resumed.aclose()
                assert [each.stored.page for each in rest] == [
                    each.stored.page for each in pages[number:]
                ]

    completed(scenario)


def test_what_a_follower_missed_is_read_again(server: BrokerServer, workspace: str) -> None:
    """While it is cut off, logs grow; it gets each page once."""
    runs = [new_run() for _ in range(3)]
    relay = ConnectionRelay(server.port)

    async def scenario() -> None:
        async with (
            opened(server, workspace) as broker,
            opened(server, workspace, port=relay.port, is_reader=True) as reader,
        ):
            follower = reader.follow_all(after=0, mark="")
            pages: list[RunPage] = []
            for number in range(4):
                for run in runs:
                    await append_somewhere(broker, run, new_page(2 * number))
                pages += await followed_all(follower, 3)
                relay.cut()
                for run in runs:
                    await append_somewhere(broker, run, new_page(2 * number + 1))
                pages += await followed_all(follower, 3)
            await follower.aclose()
            for log in by_run(pages).values():
                assert [stored.page.first for stored in log] == [*range(8)]

    try:
        completed(scenario)
    finally:
        relay.close()


def test_a_copy_that_was_lost_is_read_again(nats_server: BrokerServer, workspace: str) -> None:
    """A republished page whose sequence is not the next one shows it, also if another log's is."""
    runs = [new_run() for _ in range(3)]

    async def scenario() -> None:
        async with opened(nats_server, workspace) as broker:
            follower = broker.follow_all(after=0, mark="")
            assert isinstance(follower, NatsWorkspaceFollower)
            await broker.append(runs[0], new_page(0), after=0)
            first = await followed_all(follower, 1)
            for run in runs[1:]:
                await broker.append(run, new_page(0), after=0)
            await until(lambda: len(follower.live) == 2)
            del follower.live[0]
            pages = first + await followed_all(follower, 2)
            await follower.aclose()
            assert [page.run_id for page in pages] == runs

    completed(scenario)


def test_nothing_is_lost_or_repeated_when_the_broker_is_killed(
    own_server: BrokerServer, workspace: str
) -> None:
    """Writers and the reader wait for it, and go on."""
    runs = [new_run() for _ in range(4)]

    async def scenario() -> None:
        async with (
            opened(own_server, workspace) as broker,
            opened(own_server, workspace, is_reader=True) as reader,
        ):

            async def write(run: str) -> None:
                for number in range(60):
                    await append_somewhere(broker, run, new_page(number))
                    await asyncio.sleep(0)

            follower = reader.follow_all(after=0, mark="")
            writing = asyncio.gather(*map(write, runs))
            pages = await followed_all(follower, 40)
            await asyncio.to_thread(own_server.kill)
            await asyncio.to_thread(own_server.start)
            pages += await followed_all(follower, 240 - len(pages))
            await writing
            await follower.aclose()
            for log in by_run(pages).values():
                assert [stored.page.first for stored in log] == [*range(60)]

    completed(scenario)


def test_a_log_that_is_dropped_or_made_anew(server: BrokerServer, workspace: str) -> None:
    """A dropped log is left out, and one made anew is read from its beginning; no error."""
    run, other = new_run(), new_run()

    async def scenario() -> None:
        async with opened(server, workspace) as broker:
            end = await append_all(broker, other, [new_page(0)])
            await append_all(broker, run, [new_page(0), new_page(1)])
            follower = broker.follow_all(after=0, mark="")
            pages = await followed_all(follower, 3)
            _, last, mark = pages[-1]
            await append_somewhere(broker, run, new_page(2))
            await broker.drop(run)
            end = await broker.append(other, new_page(1), after=end)
            await append_all(broker, run, [new_page(0, log_id="anew")])
            expected = [(other, "log-1"), (run, "anew-0")]
            resumed = broker.follow_all(after=last.position, mark=mark)
            for each in (follower, resumed):
                found = await followed_all(each, 2)
                await each.aclose()
                # The page that was dropped may have been read before.
                assert [(page.run_id, page.stored.page.page_id) for page in found][-2:] == expected
            await broker.drop(run)
            await broker.drop(other)
            fresh = broker.follow_all(after=0, mark="")
            assert await fresh.pages(0.05) == []
            await append_all(broker, run, [new_page(0, log_id="third")])
            assert (await followed_all(fresh, 1))[0].stored.page.page_id == "third-0"
            await fresh.aclose()

    completed(scenario)


def test_a_page_at_a_position(server: BrokerServer, workspace: str) -> None:
    """It is the page there, and none where that is gone, or of another log."""
    run, other = new_run(), new_run()

    async def scenario() -> None:
        async with opened(server, workspace) as broker:
            first = await broker.append(run, new_page(0), after=0)
            await broker.append(other, new_page(5), after=0)
            second = await broker.append(run, new_page(1), after=first)
            for position, number in ((first, 0), (second, 1)):
                found = await broker.page_at(run, position)
                assert found is not None
                assert (found.position, found.page) == (position, new_page(number))
            assert await broker.page_at(other, first) is None
            await append_somewhere(broker, other, new_page(6))
            await broker.drop(run)
            assert await broker.page_at(run, second) is None

    completed(scenario)


def test_a_page_that_a_replica_lacks_on_nats(
    nats_server: BrokerServer, workspace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is requested again, so that a replica which lags loses no event for a reader."""
    monkeypatch.setattr(_nats, "_LOOK_PAUSE", 0.0)
    run = new_run()

    async def scenario() -> None:
        async with opened(nats_server, workspace) as broker:
            assert isinstance(broker, NatsBroker)
            read, missing = broker.read_messages, [*range(10)]

            async def read_with_lag(run: str, *, start: int, limit: int) -> list[Message]:
                if missing:
                    missing.pop()
                    return []
                return await read(run, start=start, limit=limit)

            monkeypatch.setattr(broker, "read_messages", read_with_lag)
            position = await broker.append(run, new_page(0), after=0)
            found = await broker.page_at(run, position)
            assert found is not None
            assert found.page == new_page(0)
            await broker.drop(run)
            assert await broker.page_at(run, position) is None  # nothing shows whether it lags

    completed(scenario)


def test_an_entry_that_no_relay_wrote(server: BrokerServer, workspace: str) -> None:
    """The pages before it are read, and then there is an error."""
    run, other = new_run(), new_run()

    async def scenario() -> None:
        async with opened(server, workspace) as broker:
            await append_all(broker, run, [new_page(0), new_page(1)])
            await append_all(broker, other, [new_page(0)])
            await write_foreign(broker, other)
            await append_somewhere_after(broker, run)
            follower = broker.follow_all(after=0, mark="")
            assert len(await followed_all(follower, 3)) == 3
            for _ in range(2):
                await fails(InvalidRelayLog, other, followed_all(follower, 1))
            await follower.aclose()

    completed(scenario)


async def write_foreign(broker: Broker, run: str) -> None:
    """Append a message that is no page to a log."""
    if isinstance(broker, NatsBroker):
        await broker.link.request(broker.log_subject(run), b"no page")
    else:
        assert isinstance(broker, RedisBroker)
        last = await broker.last(run)
        assert last is not None
        identity = f"{last.position + 1}-0"
        await broker.link.command("XADD", broker.log_key(run), identity, "name", "value")
        await broker.link.command("XADD", broker.pages_key, identity, "run", run)


async def append_somewhere_after(broker: Broker, run: str) -> None:
    """Append a page after the last one, in a later millisecond than a foreign one's."""
    await asyncio.sleep(0.01)
    await append_somewhere(broker, run, new_page(2))


def test_a_stream_on_nats_that_was_made_anew(nats_server: BrokerServer, workspace: str) -> None:
    """Its sequences begin again: a reader that goes on after one of the old ones learns that."""
    run = new_run()

    async def scenario() -> None:
        async with opened(nats_server, workspace) as broker:
            assert isinstance(broker, NatsBroker)
            await append_all(broker, run, [new_page(number) for number in range(5)])
            follower = broker.follow_all(after=0, mark="")
            pages = await followed_all(follower, 5)
            marks = {number: (page.stored.position, page.mark) for number, page in enumerate(pages)}
            await broker.link.request(f"$JS.API.STREAM.DELETE.{broker.stream}")
            await broker.setup()
            await append_all(broker, run, [new_page(number) for number in range(3)])
            await fails(RelayLogLost, "read all runs again", followed_all(follower, 1))
            await follower.aclose()
            for position, mark in (marks[1], marks[4]):  # a page is there, or only ones before it
                resumed = broker.follow_all(after=position, mark=mark)
                await fails(RelayLogLost, "read all runs again", followed_all(resumed, 1))
                await resumed.aclose()

    completed(scenario)


def test_a_stream_on_nats_that_was_made_anew_is_longer(
    nats_server: BrokerServer, workspace: str
) -> None:
    """A reader that was too slow for the new pages does not read on behind the first of them."""
    run = new_run()

    async def scenario() -> None:
        async with opened(nats_server, workspace) as broker:
            assert isinstance(broker, NatsBroker)
            await append_all(broker, run, [new_page(number) for number in range(5)])
            follower = broker.follow_all(after=0, mark="")
            await followed_all(follower, 5)
            await broker.link.request(f"$JS.API.STREAM.DELETE.{broker.stream}")
            await broker.setup()
            await append_all(broker, run, [new_page(number) for number in range(70)])
            await fails(RelayLogLost, "read all runs again", followed_all(follower, 1))
            await follower.aclose()

    completed(scenario)


def test_a_clock_that_was_set_back_on_nats(
    nats_server: BrokerServer, workspace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pages that come twice are not those of another stream, though they seem to be later."""
    run = new_run()

    async def scenario() -> None:
        async with opened(nats_server, workspace) as broker:
            assert isinstance(broker, NatsBroker)
            await append_all(broker, run, [new_page(number) for number in range(2)])
            read = broker.read_messages

            async def read_from_earlier(run: str, *, start: int, limit: int) -> list[Message]:
                messages = await read(run, start=start, limit=limit)
                return [
                    replace(message, stored_at=message.stored_at - 9.0 * (message.sequence > 1))
                    for message in messages
                ]

            monkeypatch.setattr(broker, "read_messages", read_from_earlier)
            follower = broker.follow_all(after=0, mark="")
            pages = await followed_all(follower, 2)
            follower.live.extend(await read("*", start=1, limit=1))
            assert await follower.pages(0.0) == []
            await follower.aclose()
            _, last, mark = pages[-1]
            resumed = broker.follow_all(after=last.position, mark=mark)
            assert await resumed.pages(0.0) == []
            await resumed.aclose()

    completed(scenario)


def test_the_stream_of_all_runs(server: BrokerServer) -> None:
    """A user with few permissions reads it, as events; large ones are whole."""
    workspace, run, other = "shown", new_run(), new_run()
    events = [line(number, run=run) for number in range(3)]
    large = line(3, "x" * (MOST_BYTES + 9), run=other)

    async def write() -> str:
        async with opened(server, workspace) as broker:
            before = broker.follow_all(after=0, mark="")
            found = await before.pages(0.2)
            await before.aclose()
            await append_all(broker, run, pages_of(events[:2], first=0))
            await append_all(broker, other, pages_of([large], first=0))
            return f"all.{found[-1].stored.position}.{found[-1].mark}" if found else ""

    position = completed(write)
    reading = stream(server.url("reader"), "*", workspace=workspace, after=position or None)
    with closing(iter(reading)) as items:
        assert [*islice(items, 3)] == [*events[:2], large]
        position = str(reading.position)
    assert position.startswith("all.")

    async def write_more() -> None:
        async with opened(server, workspace) as broker:
            last = await broker.last(run)
            assert last is not None
            more = pages_of(events[2:], first=2, previous_id=last.page.page_id)
            await append_all(broker, run, more, after=last.position)

    completed(write_more)
    resumed = stream(server.url("reader"), "*", workspace=workspace, after=position)
    with closing(iter(resumed)) as items:
        assert next(items) == events[2]
