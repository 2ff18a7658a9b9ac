"""A Redis server that stores nothing: the relay says so, and all goes on once it stores again."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager

import pytest
from broker_logs import append_all, completed, new_page, new_run, opened, read_all, until
from broker_servers import RedisServer
from connection_relay import ConnectionRelay

from rxflow import FlowRunEvent, Notice, NoticeCode
from rxflow._watching.watch_spec import WatchSpec
from rxflow.relay import stream
from rxflow.relay._figures import Figures
from rxflow.relay._health import Health
from rxflow.relay._redis import RedisBroker
from rxflow.relay._retention import Retention
from rxflow.relay._service import Relay, RelayOptions
from rxflow.testing import FakePrefect3

SPEC = WatchSpec(flow_run_id="", drain=0)


@asynccontextmanager
async def opened_redis(server: RedisServer, workspace: str) -> AsyncGenerator[RedisBroker]:
    """Connect as a relay does."""
    async with opened(server, workspace) as broker:
        assert isinstance(broker, RedisBroker)
        yield broker


async def snapshot(broker: RedisBroker, status: str) -> None:
    """Let the server write a snapshot, until its last one has a status."""
    shown = f"rdb_last_bgsave_status:{status}"
    await broker.link.command("CONFIG", "SET", "save", "3600 1000000")
    while True:
        persistence = str(await broker.link.command("INFO", "persistence"))
        if "rdb_bgsave_in_progress:0" in persistence:
            if shown in persistence:
                return
            await broker.link.command("BGSAVE")
        await asyncio.sleep(0.02)


async def begin_refusing(server: RedisServer, broker: RedisBroker) -> None:
    """Let the server refuse all that is to be stored, since it can write no snapshot."""
    (server.data / "dump.rdb").mkdir()
    await snapshot(broker, "err")


async def end_refusing(server: RedisServer, broker: RedisBroker) -> None:
    """Let the server store again."""
    (server.data / "dump.rdb").rmdir()
    await snapshot(broker, "ok")


def test_nothing_is_dropped_for_a_server_that_stores_nothing(workspace: str) -> None:
    """A page waits, the health has the reason, and no log goes; later the page is stored."""
    old, run = new_run(), new_run()

    async def scenario(server: RedisServer) -> None:
        async with opened_redis(server, workspace) as broker:
            await append_all(broker, old, [new_page(0, is_end=True)])
            retention = Retention(broker, 1e12, Figures(), lambda _: True, lambda _: False)
            keeping = asyncio.create_task(retention.keep())
            await begin_refusing(server, broker)
            append = asyncio.create_task(broker.append(run, new_page(0), after=0))
            await until(lambda: broker.refusal is not None)
            wrong = Health(Figures(), broker).wrong()
            assert wrong is not None
            assert wrong.startswith("the broker stores nothing: MISCONF ")
            assert not broker.is_full
            assert not append.done()
            await end_refusing(server, broker)
            await append
            assert (broker.refusal, Health(Figures(), broker).wrong()) == (None, None)
            assert {end.run_id async for end in broker.ends()} == {old, run}
            assert not keeping.done()
            keeping.cancel()

    with RedisServer() as server:
        completed(lambda: scenario(server))


@pytest.mark.parametrize("setting", ["min-replicas-to-write", "maxmemory", "snapshots"])
def test_a_want_reaches_relays_though_nothing_is_stored(workspace: str, setting: str) -> None:
    """Relays that are at work hear of it: on a full server too, and without replicas."""
    one, two = new_run(), new_run()

    async def scenario(server: RedisServer) -> None:
        async with (
            opened_redis(server, workspace) as broker,
            opened(server, workspace, is_reader=True) as reader,
            aclosing(broker.wanted()) as wanted,  # type: ignore[type-var]
        ):
            await reader.want(one)
            assert await anext(wanted) == (one, True)
            if setting == "snapshots":
                await begin_refusing(server, broker)
            else:
                await broker.link.command("CONFIG", "SET", setting, 1)
            for run in (two, one):
                await reader.want(run)
                assert await anext(wanted) == (run, True)

    with RedisServer() as server:
        completed(lambda: scenario(server))


def test_wants_are_heard_after_a_silence(workspace: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relay whose connection passes nothing on notices that, and reads what it missed."""
    monkeypatch.setattr("rxflow.relay._redis_link._PING_SECONDS", 0.1)
    monkeypatch.setattr("rxflow.relay._redis_link._REPLY_SECONDS", 0.5)
    one, two = new_run(), new_run()

    async def scenario(server: RedisServer, relay: ConnectionRelay) -> None:
        async with (
            opened(server, workspace, port=relay.port) as broker,
            opened(server, workspace, is_reader=True) as reader,
            aclosing(broker.wanted()) as wanted,  # type: ignore[type-var]
        ):
            await reader.want(one)
            assert await anext(wanted) == (one, True)
            relay.mute()
            hearing = asyncio.ensure_future(anext(wanted))
            await reader.want(two)
            await until(lambda: broker.failures > 0)
            relay.restore()
            heard = {await hearing}
            while (two, True) not in heard:
                heard.add(await anext(wanted))
            assert heard <= {(one, True), (two, True)}

    with RedisServer() as server:
        relay = ConnectionRelay(server.port)
        try:
            completed(lambda: scenario(server, relay))
        finally:
            relay.close()


def test_a_relay_that_stands_by_hears_that_the_server_stores_again(workspace: str) -> None:
    """It stores nothing itself; the lease that another relay has taken shows it."""

    async def scenario(server: RedisServer) -> None:
        async with opened_redis(server, workspace) as broker, opened_redis(server, workspace) as by:
            await begin_refusing(server, by)
            acquiring = asyncio.create_task(broker.lease("relay-0", "late", 30.0).acquire())
            await until(lambda: broker.refusal is not None)
            acquiring.cancel()
            assert await broker.holders() == {}
            assert broker.refusal is not None
            await end_refusing(server, by)
            await by.lease("relay-0", "quick", 30.0).acquire()
            assert await broker.holders() == {"relay-0": "quick"}
            assert broker.refusal is None

    with RedisServer() as server:
        completed(lambda: scenario(server))


def test_a_relay_on_a_server_that_stores_nothing_for_a_while(
    workspace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says why it cannot work, readers that nothing is relayed; later all events come once."""
    monkeypatch.setattr("rxflow.relay._service._HEALTH_INTERVAL", 0.05)
    monkeypatch.setattr("rxflow.relay._reader_session.SILENT_SECONDS", 0.5)
    monkeypatch.setattr("rxflow.relay._log_channel.LISTEN_SECONDS", 0.2)
    prefect = FakePrefect3()
    run_id = prefect.add_run(state="RUNNING")
    reports: list[str] = []
    events: list[FlowRunEvent] = []

    def codes() -> list[NoticeCode]:
        return [event.code for event in events if isinstance(event, Notice)]

    async def read(server: RedisServer) -> None:
        await stream(server.url(), run_id, workspace=workspace).do_action(events.append)

    async def scenario(server: RedisServer) -> None:
        async with opened_redis(server, workspace) as broker, opened_redis(server, workspace) as by:
            stop = asyncio.Event()
            options = RelayOptions(spec=SPEC, lease_seconds=1.0)
            relay = Relay(broker, prefect.client(), options, reports.append)
            running = asyncio.create_task(relay.run(stop))
            reading = asyncio.create_task(read(server))
            await until(lambda: any(event.kind == "run-seen" for event in events))
            await begin_refusing(server, by)
            prefect.log(run_id, "meanwhile")
            await until(lambda: any("stores nothing: MISCONF" in text for text in reports))
            await until(lambda: codes()[-1:] == [NoticeCode.NOT_RELAYED])
            assert await by.holders() == {}
            await end_refusing(server, by)
            await until(lambda: reports[-1] == "works again")
            await until(lambda: codes()[-1:] == [NoticeCode.RECOVERED])
            prefect.set_state(run_id, "COMPLETED")
            await reading
            stop.set()
            await running
            kept = sum(stored.page.count for stored in await read_all(by, run_id))
            assert kept == len([event for event in events if not isinstance(event, Notice)])

    with RedisServer() as server:
        completed(lambda: scenario(server))
    assert [event.message for event in events].count("meanwhile") == 1
    assert events[-1].kind == "closed"
