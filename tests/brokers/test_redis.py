"""Redis and Valkey as a relay's broker: what users may do, what it refuses, and its memory."""

import asyncio
import ssl
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from broker_logs import (
    append_all,
    completed,
    fails,
    followed,
    new_page,
    new_run,
    opened,
    pauses_while_full,
    read_all,
    until,
)
from broker_servers import PASSWORD, BrokerServer, RedisServer
from certificates import Authority
from sample_events import RUN, closed, line

from rxflow.errors import (
    BrokerFailed,
    ConfigurationError,
    InvalidRelayLog,
    RelayLogLost,
    RelayLogTrimmed,
)
from rxflow.relay import _redis, stream
from rxflow.relay._broker import Page
from rxflow.relay._connect import open_broker
from rxflow.relay._figures import Figures
from rxflow.relay._pages import pages_of
from rxflow.relay._redis import RedisBroker
from rxflow.relay._retention import Retention

_LARGE = bytes(200 << 10)


@pytest.fixture(scope="module")
def redis_server() -> Iterator[BrokerServer]:
    """A server that other tests use as well."""
    with RedisServer() as started:
        yield started


# -- logs -----------------------------------------------------------------------------------------


def test_full_memory_is_waited_for(workspace: str) -> None:
    """A page that finds no room is stored once a log was dropped; none is deleted for it."""
    old, run = new_run(), new_run()

    async def scenario(server: BrokerServer) -> None:
        async with opened(server, workspace) as broker:
            assert isinstance(broker, RedisBroker)
            await append_all(broker, old, [new_page(n, body=_LARGE) for n in range(20)])
            first = await broker.append(run, new_page(0), after=0)
            await limit_memory(broker, 2 * len(_LARGE))
            append = asyncio.create_task(broker.append(run, new_page(1), after=first))
            await until(lambda: broker.is_full)
            assert not append.done()
            assert len(await read_all(broker, old)) == 20
            await broker.drop(old)
            await append
            assert not broker.is_full
            assert len(await read_all(broker, run)) == 2

    with RedisServer() as server:
        completed(lambda: scenario(server))


def test_a_drop_wakes_a_page_that_waits(workspace: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page is tried again at each drop; the broker is full again only once that was refused."""
    small, large, run = new_run(), new_run(), new_run()

    async def scenario(server: BrokerServer) -> None:
        async with opened(server, workspace) as broker:
            assert isinstance(broker, RedisBroker)
            await append_all(broker, small, [new_page(0)])
            await append_all(broker, large, [new_page(n, body=_LARGE) for n in range(10)])
            await limit_memory(broker, 2 * len(_LARGE))
            monkeypatch.setattr(_redis, "pauses", pauses_while_full(broker))
            append = asyncio.create_task(broker.append(run, new_page(0), after=0))
            await until(lambda: broker.is_full)
            await broker.drop(small)
            assert not broker.is_full
            await until(lambda: broker.is_full)
            await broker.drop(large)
            await append
            assert not broker.is_full

    with RedisServer() as server:
        completed(lambda: scenario(server))


def test_no_more_logs_are_dropped_than_needed(
    workspace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relay drops one log, and the page that waits for room is tried before the next."""
    old, run = [new_run() for _ in range(4)], new_run()

    async def scenario(server: BrokerServer) -> None:
        async with opened(server, workspace) as broker:
            assert isinstance(broker, RedisBroker)
            for each in old:
                await append_all(
                    broker, each, [new_page(n, body=_LARGE, is_end=n == 9) for n in range(10)]
                )
            await limit_memory(broker, 2 * len(_LARGE))
            monkeypatch.setattr(_redis, "pauses", pauses_while_full(broker))
            append = asyncio.create_task(broker.append(run, new_page(0), after=0))
            await until(lambda: broker.is_full)
            retention = Retention(broker, 1e12, Figures(), lambda _: True, lambda _: True)
            keeping = asyncio.create_task(retention.keep())
            await append
            keeping.cancel()
            assert {end.run_id async for end in broker.ends()} == {*old[1:], run}

    with RedisServer() as server:
        completed(lambda: scenario(server))


def test_a_dropped_log_makes_room_at_once(workspace: str) -> None:
    """A long log is freed before the page that waits is tried again, or one more would go."""
    old = new_run()

    async def scenario(server: BrokerServer) -> None:
        async with opened(server, workspace) as broker:
            assert isinstance(broker, RedisBroker)
            body = bytes(8 << 10)
            await append_all(broker, old, [new_page(n, body=body) for n in range(300)])
            await broker.drop(old)
            memory = str(await broker.link.command("INFO", "memory"))
            assert "lazyfree_pending_objects:0" in memory
            assert "lazyfreed_objects:0" in memory

    with RedisServer() as server:
        completed(lambda: scenario(server))


def test_leases_are_kept_while_the_memory_is_full(workspace: str) -> None:
    """A lease is renewed and taken on a server that has no room, so that shares are kept."""

    async def scenario(server: BrokerServer) -> None:
        async with opened(server, workspace) as broker:
            assert isinstance(broker, RedisBroker)
            key = f"rxflow:{workspace}:leases"
            await broker.lease("relay-0", "a", 60.0).acquire()
            before = await broker.link.command("HGET", key, "relay-0")
            await broker.link.command("CONFIG", "SET", "maxmemory", 1)
            await broker.lease("relay-0", "a", 600.0).acquire()
            assert await broker.link.command("HGET", key, "relay-0") > before
            await broker.lease("relay-1", "b", 60.0).acquire()
            assert await broker.holders() == {"relay-0": "a", "relay-1": "b"}

    with RedisServer() as server:
        completed(lambda: scenario(server))


def test_entries_that_no_relay_wrote(redis_server: BrokerServer, workspace: str) -> None:
    """A log with a foreign entry is an error that names the run, and what to do."""
    run, unchained = new_run(), new_run()
    fields = ("Rx-V", "1", "Rx-Page", "a", "Rx-First", "0", "Rx-Count", "1")

    async def scenario() -> None:
        async with opened(redis_server, workspace) as broker:
            assert isinstance(broker, RedisBroker)
            await broker.link.command("XADD", broker.log_key(run), "*", "name", b"\xff")
            await broker.link.command("XADD", broker.log_key(unchained), "*", *fields)
            for each, reason in ((run, "Rx-V"), (unchained, "does not name the one before it")):
                error = f"{each}.*{reason}"
                await fails(InvalidRelayLog, error, broker.last(each))
                await fails(InvalidRelayLog, error, broker.read(each, after=0))
                await fails(InvalidRelayLog, error, broker.follow(each, after=0).pages(1.0))

    completed(scenario)


def test_ends_of_logs_that_cannot_be_read(redis_server: BrokerServer, workspace: str) -> None:
    """A log that a later version goes on with hides no other log, and can be dropped."""
    run, other = new_run(), new_run()

    async def scenario() -> None:
        async with opened(redis_server, workspace) as broker:
            assert isinstance(broker, RedisBroker)
            for each in (run, other):
                await append_all(broker, each, [new_page(0)])
            await broker.link.command("XADD", broker.log_key(run), "*", "Rx-V", "2", "Rx-End", "1")
            ends = {end.run_id: end async for end in broker.ends()}
            assert {each: end.is_closed for each, end in ends.items()} == {run: True, other: False}
            assert ends[run].position >= ends[other].position > 0
            assert all(end.stored_at == end.position / 1000 for end in ends.values())
            await broker.drop(run)
            assert [end.run_id async for end in broker.ends()] == [other]

    completed(scenario)


def test_a_log_without_its_beginning(redis_server: BrokerServer, workspace: str) -> None:
    """A log of which something else deleted the beginning is not read as if it began later."""
    run = new_run()

    async def scenario() -> None:
        async with opened(redis_server, workspace) as broker:
            assert isinstance(broker, RedisBroker)
            await append_all(broker, run, [new_page(0), new_page(1), new_page(2)])
            await broker.link.command("XTRIM", broker.log_key(run), "MAXLEN", 2)
            await fails(RelayLogTrimmed, run, broker.read(run, after=0))
            await fails(RelayLogTrimmed, run, broker.follow(run, after=0).pages(1.0))

    completed(scenario)


def test_another_end_at_the_same_ids(redis_server: BrokerServer, workspace: str) -> None:
    """As of a server whose clock was set back after it had lost the end of a log."""
    run = new_run()

    async def scenario() -> None:
        async with opened(redis_server, workspace) as broker:
            assert isinstance(broker, RedisBroker)
            await append_all(broker, run, [new_page(number) for number in range(4)])
            following, idle = broker.follow(run, after=0), broker.follow(run, after=0)
            read = await followed(following, 4)
            await followed(idle, 4)
            resumed = [
                broker.follow(run, after=each.position, page_id=each.page.page_id)
                for each in read[2:]
            ]
            key = broker.log_key(run)
            entries = await broker.link.command("XRANGE", key, "-", "+")
            await broker.link.command("DEL", key)
            for number, (identity, fields) in enumerate(entries):
                names = (
                    fields
                    if number < 2
                    else [
                        field.replace(b"log-2", b"other-2").replace(b"log-3", b"other-3")
                        for field in fields
                    ]
                )
                await broker.link.command("XADD", key, identity, *names)
            for each in resumed:
                await fails(RelayLogLost, run, each.pages(1.0))
            await broker.append(run, new_page(4, log_id="other"), after=read[-1].position)
            for each in (following, idle):
                await fails(RelayLogLost, run, followed(each, 1))

    completed(scenario)


def test_a_key_of_another_kind(redis_server: BrokerServer, workspace: str) -> None:
    """A key that something else uses is an error that names the command."""
    run = new_run()

    async def scenario() -> None:
        async with opened(redis_server, workspace) as broker:
            assert isinstance(broker, RedisBroker)
            await broker.link.command("SET", broker.log_key(run), "text")
            await fails(BrokerFailed, "refuses XRANGE: WRONGTYPE", broker.read(run, after=0))

    completed(scenario)


def test_settings_of_nats_are_refused(redis_server: BrokerServer, workspace: str) -> None:
    """A Redis server has its size and its replicas by its own settings."""

    async def scenario() -> None:
        async with opened(redis_server, workspace) as broker:
            await fails(ConfigurationError, "maxmemory", broker.setup(replicas=3))
            await fails(ConfigurationError, "maxmemory", broker.setup(max_bytes=1))

    completed(scenario)


@pytest.mark.parametrize("count", [16, 17, 33])
def test_the_last_page_is_known(redis_server: BrokerServer, workspace: str, count: int) -> None:
    """Only a log's last page is said to be the last, also where a batch is full."""
    run = new_run()

    async def scenario() -> None:
        async with opened(redis_server, workspace) as broker:
            end = await append_all(broker, run, [new_page(number) for number in range(count)])
            are_last = [False] * (count - 1) + [True]
            follower = broker.follow(run, after=0)
            assert [each.is_last for each in await followed(follower, count)] == are_last
            assert [each.is_last for each in await read_all(broker, run)] == are_last
            await broker.append(run, new_page(count), after=end)
            assert [each.is_last for each in await followed(follower, 1)] == [True]

    completed(scenario)


def test_a_closed_at_the_end_of_a_batch(redis_server: BrokerServer, workspace: str) -> None:
    """A reader goes on after a `Closed` that is the last of 16 pages, if one more follows."""
    events: list[Any] = [*map(line, range(15)), closed(15), closed(16)]

    async def scenario() -> None:
        pages = list[Page]()
        for number, event in enumerate(events):
            previous_id = pages[-1].page_id if pages else ""
            pages += pages_of([event], first=number, previous_id=previous_id)
        async with opened(redis_server, workspace) as broker:
            await append_all(broker, RUN, pages)

    completed(scenario)
    found = list(stream(redis_server.url(), RUN, workspace=workspace))
    assert found == [*events[:15], events[16]]


def test_a_server_that_evicts_logs(workspace: str) -> None:
    """The sentence of `setup` names the setting; with the right one there is none."""

    async def scenario(server: BrokerServer) -> None:
        async with opened(server, workspace) as broker:
            assert isinstance(broker, RedisBroker)
            await broker.link.command("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
            (text,) = await broker.setup()
            assert "may lose logs" in text
            assert "maxmemory-policy to noeviction" in text
            assert PASSWORD not in text
            await broker.link.command("CONFIG", "SET", "maxmemory-policy", "noeviction")
            assert await broker.setup() == []

    with RedisServer() as server:
        completed(lambda: scenario(server))


# -- users ----------------------------------------------------------------------------------------


def test_what_is_not_permitted_is_named(redis_server: BrokerServer) -> None:
    """The error of a reader that writes to a log or a lease names the command; it sees relays."""
    run, workspace = new_run(), "shown"

    async def scenario() -> None:
        async with (
            opened(redis_server, workspace) as broker,
            opened(redis_server, workspace, user="reader", is_reader=True) as reader,
        ):
            assert isinstance(reader, RedisBroker)
            for key in (reader.log_key(run), "rxflow:shown:leases"):
                adding = reader.link.command("XADD", key, "*", "name", "value")
                await fails(BrokerFailed, "refuses XADD: .*permission", adding)
            await broker.lease("relay-0", "a relay", 60.0).acquire()
            assert await reader.holders() == {"relay-0": "a relay"}

    completed(scenario)


def test_a_database_that_is_not_permitted_is_named(redis_server: BrokerServer) -> None:
    """The error names the command that chooses it, and what permits that."""

    async def scenario() -> None:
        for user, url in (("reader", "/3"), ("relay", "/3"), ("reader", "")):
            opening = open_broker(redis_server.url(user) + url, "shown", timeout=60)
            if (user, url) == ("reader", "/3"):
                await fails(BrokerFailed, r"refuses SELECT: .*permit it by \+select", opening)
            else:
                await (await opening).aclose()

    completed(scenario)


# -- connecting -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (b"", r"did not accept a connection for 0\.5 s"),
        (b"*4\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$5\r\n6.0.9\r\n", r"6\.0\.9; a"),
        (b"-ERR unknown command 'HELLO'\r\n", r"is too old; a relay needs 6\.2 or newer"),
    ],
    ids=["silent", "6.0", "5.0"],
)
def test_a_server_that_is_too_old(workspace: str, reply: bytes, reason: str) -> None:
    """A server is refused by its version, or because it does not know of versions."""

    async def scenario() -> None:
        async with replying(reply) as port:
            timeout = 60 if reply else 0.5
            opening = open_broker(f"redis://127.0.0.1:{port}", workspace, timeout=timeout)
            await fails(BrokerFailed, reason, opening)

    completed(scenario)


def test_a_password_is_not_sent_without_tls(redis_server: BrokerServer, workspace: str) -> None:
    """With rediss:// a server without TLS is shown nothing."""
    received: list[bytes] = []

    async def scenario() -> None:
        async with replying(b"-ERR unknown command\r\n", received) as port:
            for at in (port, redis_server.port):
                url = f"rediss://relay:{PASSWORD}@127.0.0.1:{at}"
                for tls in (None, ssl.create_default_context()):
                    opening = open_broker(url, workspace, timeout=0.5, tls=tls)
                    await fails(BrokerFailed, "did not accept", opening)

    completed(scenario)
    assert PASSWORD.encode() not in b"".join(received)


def test_tls(tmp_path: Path, workspace: str) -> None:
    """A broker is reached over TLS, and its certificate is verified at once."""
    authority = Authority(tmp_path)
    greeting = b"*2\r\n$7\r\nversion\r\n$5\r\n7.2.0\r\n"

    async def scenario() -> None:
        async with replying(greeting, tls=authority.server_context()) as port:
            url = f"rediss://relay:{PASSWORD}@127.0.0.1:{port}"
            broker = await open_broker(url, workspace, timeout=60, tls=authority.client_context())
            await broker.aclose()
            untrusted = open_broker(url, workspace, timeout=600)
            await fails(BrokerFailed, "certificate is not trusted", untrusted)

    completed(scenario)


# -- what the scenarios have in common ------------------------------------------------------------


async def limit_memory(broker: RedisBroker, missing: int) -> None:
    """Let a server's memory be full by some bytes."""
    used = str(await broker.link.command("INFO", "memory")).partition("used_memory:")[2]
    limit = int(used.partition("\\r")[0]) - missing
    await broker.link.command("CONFIG", "SET", "maxmemory", limit)


@asynccontextmanager
async def replying(
    reply: bytes, received: list[bytes] | None = None, tls: ssl.SSLContext | None = None
) -> AsyncGenerator[int]:
    """A server with one reply to HELLO, and OK to the rest; received has what clients send."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                if received is not None:
                    received.append(data)
                # A client may send several commands at once, each an array.
                for command in data.split(b"*")[1:]:
                    writer.write(reply if b"HELLO" in command else b"+OK\r\n")
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls) as server:
        yield server.sockets[0].getsockname()[1]
