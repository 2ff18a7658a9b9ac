"""What a relay requires of a broker, on real brokers of each kind, which are killed and cut off."""

import asyncio
from contextlib import aclosing
from itertools import count
from random import Random

import pytest
from broker_logs import (
    append_all,
    append_somewhere,
    bodies,
    completed,
    fails,
    followed,
    is_chained,
    new_page,
    new_run,
    opened,
    read_all,
    until,
)
from broker_servers import BrokerServer
from connection_relay import ConnectionRelay

from rxflow.errors import RelayLogLost
from rxflow.relay._broker import Broker, LogEnd, Moved, Page, StoredPage

# -- a log ----------------------------------------------------------------------------------------


def test_pages_are_read_in_the_order_in_which_they_were_appended(
    server: BrokerServer, workspace: str
) -> None:
    """`read` and `last` return what was appended, with positions that grow and are chained."""
    run = new_run()
    appended = [new_page(number) for number in range(5)]

    async def scenario() -> None:
        async with opened(server, workspace) as broker:
            assert await broker.last(run) is None
            assert await broker.read(run, after=0) == []
            end = await append_all(broker, run, appended)
            pages = await read_all(broker, run)
            assert [stored.page for stored in pages] == appended
            assert is_chained(pages)
            assert await broker.last(run) == pages[-1]._replace(is_last=True)
            assert pages[-1].position == end
            assert await broker.read(run, after=end) == []
            two = await broker.read(run, after=pages[1].position, limit=2)
            assert [(each.position, each.previous, each.page) for each in two] == [
                (each.position, each.previous, each.page) for each in pages[2:4]
            ]
            assert not two[0].is_last
            assert not two[1].is_last

    completed(scenario)


def test_a_page_is_stored_byte_by_byte(server: BrokerServer, workspace: str) -> None:
    """Any bytes and all fields of a page come back as they were, up to the largest page."""
    run = new_run()
    large = Random(0).randbytes(256 << 10)
    appended = [
        new_page(0, body=b"\r\n\x00\xff \r\n\r\n"),
        new_page(1, body=large, part=1, parts=2),
        new_page(1, body=b"", part=2, parts=2, page_id="log-1b", previous_id="log-1"),
        new_page(2, count=500, is_end=True, previous_id="log-1b"),
    ]

    async def scenario() -> None:
        async with opened(server, workspace) as broker:
            await append_all(broker, run, appended)
            assert [stored.page for stored in await read_all(broker, run)] == appended

    completed(scenario)


def test_logs_are_independent(server: BrokerServer, workspace: str) -> None:
    """A log has the pages of one run in one workspace."""
    run, other = new_run(), new_run()

    async def scenario() -> None:
        async with (
            opened(server, workspace) as broker,
            opened(server, f"{workspace}-2") as elsewhere,
        ):
            await append_somewhere(broker, run, new_page(0))
            await append_somewhere(broker, other, new_page(1))
            await append_somewhere(elsewhere, run, new_page(2))
            await append_somewhere(broker, run, new_page(3))
            pages = await read_all(broker, run)
            assert is_chained(pages)
            assert bodies(pages) == bodies_of(0, 3)
            assert bodies(await read_all(elsewhere, run)) == bodies_of(2)

    completed(scenario)


def test_a_log_is_dropped_as_a_whole(server: BrokerServer, workspace: str) -> None:
    """A dropped log is empty, and another one may take its place; others stay."""
    run, other = new_run(), new_run()

    async def scenario() -> None:
        async with opened(server, workspace) as broker:
            await append_all(broker, run, [new_page(0), new_page(1)])
            kept = await broker.append(other, new_page(0), after=0)
            await broker.drop(run)
            assert await read_all(broker, run) == []
            assert await broker.last(run) is None
            assert [end.run_id for end in await ends(broker)] == [other]
            await append_somewhere(broker, run, new_page(7))
            assert bodies(await read_all(broker, run)) == bodies_of(7)
            last = await broker.last(other)
            assert last is not None
            assert last.position == kept

    completed(scenario)


def test_how_all_logs_end(server: BrokerServer, workspace: str) -> None:
    """`ends` has the last position of each log, when it was stored, and whether that is a close."""
    runs = [new_run() for _ in range(100)]

    async def scenario() -> None:
        async with opened(server, workspace) as broker:
            assert await ends(broker) == []
            positions = {
                run: await broker.append(run, new_page(0, is_end=number % 2 == 0), after=0)
                for number, run in enumerate(runs)
            }
            positions[runs[0]] = await broker.append(runs[0], new_page(1), after=positions[runs[0]])
            found = {end.run_id: end for end in await ends(broker)}
            assert {run: end.position for run, end in found.items()} == positions
            closed = {run for run, end in found.items() if end.is_closed}
            assert closed == set(runs[2::2])
            times = [found[run].stored_at for run in runs[1:]]
            assert times == sorted(times)
            assert times[0] > 1.7e9

    completed(scenario)


# -- writers that compete -------------------------------------------------------------------------


def test_a_stale_writer_is_refused(server: BrokerServer, workspace: str) -> None:
    """A page is stored only after the log's last one, whatever its writer has read before."""
    run = new_run()

    async def scenario() -> None:
        async with opened(server, workspace) as broker:
            first = await broker.append(run, new_page(0), after=0)
            second = await broker.append(run, new_page(1), after=first)
            for after in (0, first, second + 1):
                with pytest.raises(Moved):
                    await broker.append(run, new_page(9), after=after)
            await broker.drop(run)
            with pytest.raises(Moved):
                await broker.append(run, new_page(9), after=second)
            assert await read_all(broker, run) == []

    completed(scenario)


def test_competing_writers_make_one_log(server: BrokerServer, workspace: str) -> None:
    """Three writers that append as fast as they can lose no page, and store none twice."""
    run = new_run()

    async def scenario() -> None:
        async with (
            opened(server, workspace) as one,
            opened(server, workspace) as two,
            opened(server, workspace) as three,
        ):
            writers = (one, two, three)

            async def write(number: int) -> None:
                for turn in range(20):
                    await append_somewhere(writers[number], run, new_page(number * 20 + turn))

            follower = one.follow(run, after=0)
            await asyncio.gather(*map(write, range(3)))
            pages = await followed(follower, 60)
            await follower.aclose()
            assert is_chained(pages)
            numbers = [stored.page.first for stored in pages]
            assert sorted(numbers) == list(range(60))
            for number in range(3):
                own = [each for each in numbers if each // 20 == number]
                assert own == sorted(own)
            assert bodies(await read_all(two, run)) == bodies(pages)

    completed(scenario)


def test_an_append_whose_reply_is_lost_is_stored_once(server: BrokerServer, workspace: str) -> None:
    """A page that was stored before the connection broke is found, and not stored again."""
    run = new_run()
    relay = ConnectionRelay(server.port)

    async def scenario() -> None:
        async with (
            opened(server, workspace) as witness,
            opened(server, workspace, port=relay.port) as broker,
        ):
            first = await broker.append(run, new_page(0), after=0)
            relay.mute()
            append = asyncio.create_task(broker.append(run, new_page(1), after=first))
            stored = await last_after(witness, run, first)
            assert not append.done()
            relay.restore()
            assert await append == stored.position
            assert broker.failures > 0
            assert bodies(await read_all(broker, run)) == bodies_of(0, 1)

    try:
        completed(scenario)
    finally:
        relay.close()


def test_an_append_that_was_given_up_is_not_stored_later(
    server: BrokerServer, workspace: str
) -> None:
    """After an outage a page that nothing waits for any more cannot follow another writer's."""
    run = new_run()
    relay = ConnectionRelay(server.port)

    async def scenario() -> None:
        async with (
            opened(server, workspace) as other,
            opened(server, workspace, port=relay.port) as broker,
        ):
            relay.shut()
            append = asyncio.create_task(broker.append(run, new_page(0), after=0))
            await until(lambda: broker.failures > 0)
            append.cancel()
            await asyncio.wait([append])
            await append_somewhere(other, run, new_page(1))
            relay.restore()
            last = await broker.last(run)  # over the connection on which it would be sent
            assert last is not None
            with pytest.raises(Moved):
                await broker.append(run, new_page(2), after=0)
            assert bodies(await read_all(other, run)) == bodies_of(1)

    try:
        completed(scenario)
    finally:
        relay.close()


# -- outages --------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["kill", "end"])
def test_nothing_is_lost_or_stored_twice_when_the_broker_restarts(
    own_server: BrokerServer, workspace: str, how: str
) -> None:
    """A writer and a follower go on after the broker was killed, or ended, and came again."""
    run = new_run()
    written: list[Page] = []

    async def scenario() -> None:
        async with (
            opened(own_server, workspace) as broker,
            opened(own_server, workspace, is_reader=True) as reader,
        ):
            is_up_again = asyncio.Event()

            async def write() -> None:
                after = 0
                while not is_up_again.is_set():
                    written.append(new_page(len(written)))
                    after = await broker.append(run, written[-1], after=after)

            follower = reader.follow(run, after=0)
            writing = asyncio.create_task(write())
            pages = await followed(follower, 10)
            getattr(own_server, how)()
            await until(lambda: broker.failures > 0)
            own_server.start()
            is_up_again.set()
            await writing
            pages += await followed(follower, len(written) - len(pages))
            await follower.aclose()
            assert [stored.page for stored in pages] == written
            assert is_chained(pages)
            assert [stored.page for stored in await read_all(broker, run)] == written

    completed(scenario)


def test_a_broker_that_stands_still_is_waited_for(own_server: BrokerServer, workspace: str) -> None:
    """What is appended while a broker is stopped is stored once when it goes on."""
    run = new_run()

    async def scenario() -> None:
        async with opened(own_server, workspace) as broker:
            first = await broker.append(run, new_page(0), after=0)
            own_server.suspend()
            append = asyncio.create_task(broker.append(run, new_page(1), after=first))
            await until(lambda: broker.failures > 0)
            own_server.resume()
            await append
            assert bodies(await read_all(broker, run)) == bodies_of(0, 1)

    completed(scenario)


# -- followers ------------------------------------------------------------------------------------


def test_a_follower_reads_what_is_there_and_then_what_comes(
    server: BrokerServer, workspace: str
) -> None:
    """Each page comes once and in order, from the beginning or from a position."""
    run = new_run()

    async def scenario() -> None:
        async with (
            opened(server, workspace) as broker,
            opened(server, workspace, is_reader=True) as reader,
        ):
            end = await append_all(broker, run, [new_page(number) for number in range(150)])
            follower = reader.follow(run, after=0)
            pages = await followed(follower, 150)
            assert is_chained(pages)
            assert await follower.pages(0.0) == []
            later = reader.follow(run, after=pages[9].position)
            assert (await followed(later, 140))[0].page.first == 10
            following = asyncio.create_task(followed(follower, 20))
            await append_all(broker, run, [new_page(150 + n) for n in range(20)], after=end)
            pages += await following
            assert [stored.page.first for stored in pages] == list(range(170))
            assert is_chained(pages)
            assert bodies(await followed(later, 20)) == bodies(pages[150:])
            for each in (follower, later, later):
                await each.aclose()

    completed(scenario)


def test_a_follower_waits_for_a_log_that_begins_later(server: BrokerServer, workspace: str) -> None:
    """A run without a log has no pages yet, which is no error."""
    run = new_run()

    async def scenario() -> None:
        async with opened(server, workspace) as broker:
            follower = broker.follow(run, after=0)
            assert await follower.pages(0.0) == []
            following = asyncio.create_task(followed(follower, 1))
            await broker.append(run, new_page(0), after=0)
            assert bodies(await following) == bodies_of(0)
            await follower.aclose()

    completed(scenario)


def test_a_follower_reads_again_what_it_missed(server: BrokerServer, workspace: str) -> None:
    """Pages that were appended while its connection was broken come in order, and once."""
    run = new_run()
    relay = ConnectionRelay(server.port)

    async def scenario() -> None:
        async with (
            opened(server, workspace) as broker,
            opened(server, workspace, port=relay.port, is_reader=True) as reader,
        ):
            follower = reader.follow(run, after=0)
            end = await append_all(broker, run, [new_page(0), new_page(1)])
            pages = await followed(follower, 2)
            relay.shut()
            end = await append_all(broker, run, [new_page(n) for n in range(2, 8)], after=end)
            assert await follower.pages(0.0) == []
            relay.restore()
            pages += await followed(follower, 6)
            await broker.append(run, new_page(8), after=end)
            pages += await followed(follower, 1)
            assert [stored.page.first for stored in pages] == list(range(9))
            assert is_chained(pages)
            await follower.aclose()

    try:
        completed(scenario)
    finally:
        relay.close()


def test_a_slow_follower_misses_nothing(server: BrokerServer, workspace: str) -> None:
    """A consumer that does not read for a while gets each page once, however many they are."""
    run = new_run()

    async def scenario() -> None:
        async with opened(server, workspace) as broker:
            follower = broker.follow(run, after=0)
            assert await follower.pages(0.0) == []
            pages: list[StoredPage] = []
            end, number = 0, count()
            for amount in (1, 300, 1, 70):
                written = [new_page(next(number)) for _ in range(amount)]
                end = await append_all(broker, run, written, after=end)
                pages += await followed(follower, amount)
            assert [stored.page.first for stored in pages] == list(range(372))
            assert is_chained(pages)
            await follower.aclose()

    completed(scenario)


def test_many_followers_of_one_connection(server: BrokerServer, workspace: str) -> None:
    """A hundred followers of a run each have all its pages."""
    run = new_run()

    async def scenario() -> None:
        async with (
            opened(server, workspace) as broker,
            opened(server, workspace, is_reader=True) as reader,
        ):
            followers = [reader.follow(run, after=0) for _ in range(100)]
            following = asyncio.gather(*(followed(each, 10) for each in followers))
            written = [new_page(number) for number in range(10)]
            await append_all(broker, run, written)
            for pages in await following:
                assert [stored.page for stored in pages] == written
            await asyncio.gather(*(each.aclose() for each in followers))

    completed(scenario)


def test_a_follower_of_a_dropped_log_learns_that(server: BrokerServer, workspace: str) -> None:
    """A log that was read and is no longer there is an error; it names the run."""
    run = new_run()

    async def scenario() -> None:
        async with opened(server, workspace) as broker:
            end = await append_all(broker, run, [new_page(0), new_page(1)])
            follower, idle = broker.follow(run, after=0), broker.follow(run, after=end)
            await followed(follower, 2)
            assert await idle.pages(0.0) == []
            await broker.drop(run)
            both = [fails(RelayLogLost, run, followed(each, 1)) for each in (follower, idle)]
            await asyncio.gather(*both)
            await follower.aclose()
            await idle.aclose()

    completed(scenario)


@pytest.mark.parametrize("amount", [1, 5])
def test_a_follower_does_not_read_on_in_another_log(
    server: BrokerServer, workspace: str, amount: int
) -> None:
    """A log that was made anew is not taken for the one that was read, however long it is."""
    run = new_run()

    async def scenario() -> None:
        async with opened(server, workspace) as broker:
            await append_all(broker, run, [new_page(number) for number in range(3)])
            follower = broker.follow(run, after=0)
            read = await followed(follower, 3)
            await broker.drop(run)
            anew = [new_page(number, log_id="anew") for number in range(amount)]
            await append_all(broker, run, anew)
            resumed = broker.follow(run, after=read[1].position)
            for each in (follower, resumed):
                with pytest.raises(RelayLogLost, match="read the run from its beginning"):
                    await followed(each, 1)
                await each.aclose()

    completed(scenario)


def test_a_follower_learns_that_the_broker_lost_the_log(
    own_server: BrokerServer, workspace: str
) -> None:
    """A broker that comes again without what it had stored has no log to go on with."""
    run = new_run()

    async def scenario() -> None:
        async with opened(own_server, workspace) as broker:
            await append_all(broker, run, [new_page(number) for number in range(3)])
            follower = broker.follow(run, after=0)
            await followed(follower, 3)
            own_server.kill()
            own_server.wipe()
            own_server.start()
            await broker.setup()
            with pytest.raises(RelayLogLost):
                await followed(follower, 1)
            await follower.aclose()
            with pytest.raises(Moved):
                await broker.append(run, new_page(3), after=10)

    completed(scenario)


def test_a_follower_learns_that_the_end_of_its_log_is_another(
    own_server: BrokerServer, workspace: str
) -> None:
    """A broker lost the end of a log, and got another one, at the same positions where it can."""
    run = new_run()

    async def scenario() -> None:
        async with (
            opened(own_server, workspace) as broker,
            opened(own_server, workspace, is_reader=True) as reader,
        ):
            end = await append_all(broker, run, [new_page(number) for number in range(3)])
            own_server.end()
            own_server.save()
            own_server.start()
            await append_all(broker, run, [new_page(number) for number in range(3, 6)], after=end)
            follower = reader.follow(run, after=0)
            read = await followed(follower, 6)
            own_server.kill()
            own_server.restore()
            own_server.start()
            last = await broker.last(run)
            assert last is not None
            assert last.position == end
            other = [new_page(3, log_id="other", previous_id="log-2")]
            other += [new_page(number, log_id="other") for number in range(4, 8)]
            await append_all(broker, run, other, after=end)
            if own_server.scheme == "nats":
                positions = [each.position for each in await read_all(broker, run)]
                assert positions[:6] == [each.position for each in read]
            lost = [
                reader.follow(run, after=each.position, page_id=each.page.page_id)
                for each in read[3:]
            ]
            for each in (follower, *lost):
                await fails(RelayLogLost, f"{run}.*lost its end", followed(each, 1))
                await each.aclose()
            kept = reader.follow(run, after=end, page_id=read[2].page.page_id)
            assert [each.page for each in await followed(kept, 5)] == other
            await kept.aclose()

    completed(scenario)


# -- wants and leases -----------------------------------------------------------------------------


def test_runs_are_wanted_for_a_while(
    server: BrokerServer, workspace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A want is known to relays that run and to later ones, until it is not repeated."""
    monkeypatch.setattr(f"rxflow.relay._{server.scheme}.WANT_SECONDS", 1.5)
    one, two = new_run(), new_run()

    async def scenario() -> None:
        async with (
            opened(server, workspace) as broker,
            opened(server, workspace, is_reader=True) as reader,
        ):
            await reader.want(one)
            async with aclosing(broker.wanted()) as wanted:  # type: ignore[type-var]
                assert await anext(wanted) == (one, True)
                await reader.want(two)
                assert await anext(wanted) == (two, True)
                change = two, True
                while change == (two, True):
                    await reader.want(two)
                    change = await anext(wanted)
                assert change == (one, False)

    completed(scenario)


def test_each_time_that_a_run_is_wanted_is_known(server: BrokerServer, workspace: str) -> None:
    """A relay learns it again from the same reader and from others, one time after the other."""
    one, two = new_run(), new_run()

    async def scenario() -> None:
        async with (
            opened(server, workspace) as broker,
            opened(server, workspace, is_reader=True) as reader,
            opened(server, workspace, is_reader=True) as other,
            aclosing(broker.wanted()) as wanted,  # type: ignore[type-var]
        ):
            for sender, run in ((reader, one), (other, two), (reader, one), (other, one)):
                await sender.want(run)
                assert await anext(wanted) == (run, True)

    completed(scenario)


def test_a_released_lease_is_handed_over_at_once(server: BrokerServer, workspace: str) -> None:
    """The next holder need not wait until a lease that was released runs out."""

    async def scenario() -> None:
        async with opened(server, workspace) as broker, opened(server, workspace) as other:
            first = broker.lease("shard-0", "one", 600.0)
            second = other.lease("shard-0", "two", 600.0)
            third = broker.lease("shard-1", "one", 600.0)
            assert await broker.holders() == {}
            await first.acquire()
            await third.acquire()
            waiting = asyncio.create_task(second.acquire())
            holding = asyncio.create_task(first.hold())
            assert await other.holders() == {"shard-0": "one", "shard-1": "one"}
            await asyncio.wait([waiting], timeout=0.3)
            assert not waiting.done()
            holding.cancel()
            await asyncio.wait([holding])
            await first.release()
            await waiting
            assert await broker.holders() == {"shard-0": "two", "shard-1": "one"}
            await second.release()
            await third.release()
            assert await broker.holders() == {}

    completed(scenario)


def test_a_lease_runs_out_if_its_holder_stands_still(server: BrokerServer, workspace: str) -> None:
    """Another takes the lease of a holder that does not renew it, which learns that later."""

    async def scenario() -> None:
        async with opened(server, workspace) as broker, opened(server, workspace) as other:
            first, second = broker.lease("l", "one", 1.0), other.lease("l", "two", 1.0)
            await first.acquire()
            await second.acquire()  # as of a process that is stopped, the first is not renewed
            holding = asyncio.create_task(second.hold())
            await first.hold()
            await first.release()  # of another's lease does nothing
            assert await broker.holders() == {"l": "two"}
            assert not holding.done()
            holding.cancel()
            await asyncio.wait([holding])

    completed(scenario)


def test_a_lease_that_is_renewed_stays(own_server: BrokerServer, workspace: str) -> None:
    """A holder keeps its lease beyond its time, also over a restart of the broker."""

    async def scenario() -> None:
        async with opened(own_server, workspace) as broker, opened(own_server, workspace) as other:
            first, second = broker.lease("l", "one", 3.0), other.lease("l", "two", 3.0)
            await first.acquire()
            holding = asyncio.create_task(first.hold())
            waiting = asyncio.create_task(second.acquire())
            await asyncio.wait([waiting], timeout=1.5)
            own_server.kill()
            own_server.start()
            await asyncio.wait([waiting], timeout=3.5)
            assert not waiting.done()
            assert not holding.done()
            holding.cancel()
            await asyncio.wait([holding])
            await first.release()
            await waiting

    completed(scenario)


# -- what the scenarios have in common ------------------------------------------------------------


def bodies_of(*numbers: int) -> list[bytes]:
    """The bodies of the pages with these numbers."""
    return [new_page(number).body for number in numbers]


async def last_after(broker: Broker, run: str, position: int) -> StoredPage:
    """Wait until a log has grown beyond a position; return its last page."""
    while True:
        last = await broker.last(run)
        if last is not None and last.position > position:
            return last
        await asyncio.sleep(0.02)


async def ends(broker: Broker) -> list[LogEnd]:
    """How all logs end."""
    return [end async for end in broker.ends()]
