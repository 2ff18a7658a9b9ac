"""NATS JetStream as a relay's broker: its streams, what users may do, and what it refuses."""

import asyncio
import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from broker_logs import (
    append_all,
    bodies,
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
from broker_servers import PASSWORD, BrokerServer, NatsServer
from certificates import Authority

from rxflow.errors import BrokerFailed, InvalidRelayLog, RelayLogLost, RelayLogTrimmed
from rxflow.relay import _nats, _nats_feed
from rxflow.relay._connect import open_broker
from rxflow.relay._nats import NatsBroker
from rxflow.relay._nats_link import NoResponder
from rxflow.relay._retries import Unanswered

# -- streams --------------------------------------------------------------------------------------


def test_a_broker_is_set_up_again(nats_server: BrokerServer, workspace: str) -> None:
    """Setting up creates the streams once, and changes only what differs."""
    run = new_run()

    async def scenario() -> None:
        async with opened(nats_server, workspace) as broker:
            await broker.append(run, new_page(0), after=0)
            await broker.setup()
            await broker.setup(max_bytes=1 << 20)
            await asyncio.gather(broker.setup(), broker.setup(replicas=1))
            config = await stream_config(broker)
            assert (config["max_bytes"], config["num_replicas"]) == (1 << 20, 1)
            assert bodies(await read_all(broker, run)) == [new_page(0).body]
            with pytest.raises(BrokerFailed, match=r"insufficient storage.*smaller max_bytes"):
                await broker.setup(max_bytes=1 << 50)

    completed(scenario)


def test_two_relays_set_a_broker_up_at_once(nats_server: BrokerServer, workspace: str) -> None:
    """Neither fails because the other created a stream in between."""

    async def scenario() -> None:
        async with (
            opened(nats_server, workspace, is_reader=True) as one,
            opened(nats_server, workspace, is_reader=True) as two,
        ):
            warnings = await asyncio.gather(*(each.setup() for each in (one, two) * 5))
            assert warnings == [[]] * 10
            run = new_run()
            assert await one.append(run, new_page(0), after=0) > 0
            assert bodies(await read_all(two, run)) == [new_page(0).body]

    completed(scenario)


def test_a_full_stream_is_waited_for(nats_server: BrokerServer, workspace: str) -> None:
    """A page that finds no room is stored once a log was dropped; none is deleted for it."""
    old, run = new_run(), new_run()
    large = bytes(200 << 10)

    async def scenario() -> None:
        async with opened(nats_server, workspace) as broker:
            await broker.setup(max_bytes=1 << 20)
            await append_all(broker, old, [new_page(n, body=large) for n in range(4)])
            first = await broker.append(run, new_page(0, body=large), after=0)
            assert not broker.is_full
            append = asyncio.create_task(broker.append(run, new_page(1, body=large), after=first))
            await until(lambda: broker.is_full)
            assert not append.done()
            assert len(await read_all(broker, old)) == 4
            await broker.drop(old)
            await append
            assert not broker.is_full
            assert len(await read_all(broker, run)) == 2

    completed(scenario)


def test_a_drop_wakes_a_page_that_waits(
    nats_server: BrokerServer, workspace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page is tried again at each drop; the broker is full again only once that was refused."""
    small, large, run = new_run(), new_run(), new_run()
    body = bytes(200 << 10)

    async def scenario() -> None:
        async with opened(nats_server, workspace) as broker:
            await broker.setup(max_bytes=1 << 20)
            await append_all(broker, small, [new_page(0)])
            await append_all(broker, large, [new_page(n, body=body) for n in range(5)])
            monkeypatch.setattr(_nats, "pauses", pauses_while_full(broker))
            append = asyncio.create_task(broker.append(run, new_page(0, body=body), after=0))
            await until(lambda: broker.is_full)
            await broker.drop(small)
            assert not broker.is_full
            await until(lambda: broker.is_full)
            await broker.drop(large)
            await append
            assert not broker.is_full

    completed(scenario)


def test_a_stream_that_nothing_created(
    nats_server: BrokerServer, workspace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader learns that no relay has created the stream, a relay that its stream is gone."""
    monkeypatch.setattr("rxflow.relay._nats._ABSENT_SECONDS", 0.2)
    monkeypatch.setattr("rxflow.relay._nats.ELECTION_SECONDS", 0.5)
    run = new_run()

    async def scenario() -> None:
        async with opened(nats_server, "absent", user="reader", is_reader=True) as reader:
            follower = reader.follow(run, after=0)
            await fails(BrokerFailed, "no stream RXFLOW_absent: start", reader.read(run, after=0))
            await fails(BrokerFailed, "no stream RXFLOW_absent: start", followed(follower, 1))
            await fails(BrokerFailed, "no stream RXFLOW_absent: start", reader.want(run))
            await follower.aclose()
        async with opened(nats_server, workspace) as broker:
            end = await broker.append(run, new_page(0), after=0)
            await delete_stream(broker)
            with pytest.raises(BrokerFailed, match=f"no stream RXFLOW_{workspace}"):
                await broker.append(run, new_page(1), after=end)

    completed(scenario)


@pytest.mark.parametrize("is_new", [False, True], ids=["seen", "new"])
def test_an_outage_is_not_taken_for_an_absent_stream(
    nats_server: BrokerServer, workspace: str, monkeypatch: pytest.MonkeyPatch, *, is_new: bool
) -> None:
    """A cluster without a leader replies neither for a stream nor about it; that is waited for."""
    monkeypatch.setattr("rxflow.relay._nats._ABSENT_SECONDS", 0.2)
    looks = 0

    async def scenario() -> None:
        async with opened(nats_server, workspace, is_reader=is_new) as broker:
            assert isinstance(broker, NatsBroker)

            async def unanswered(_: str) -> bool:
                nonlocal looks
                looks += 1
                raise Unanswered("no leader")

            async def no_leader() -> str:
                if looks < 2:
                    raise NoResponder("no leader")
                return "a leader was elected"

            monkeypatch.setattr(broker.jetstream, "has_stream", unanswered)
            assert await broker.answered(no_leader) == "a leader was elected"

    completed(scenario)


def test_messages_that_no_relay_wrote(nats_server: BrokerServer, workspace: str) -> None:
    """A log with a foreign message is an error that names the run, and what to do."""
    run, unchained = new_run(), new_run()

    async def scenario() -> None:
        async with opened(nats_server, workspace) as broker:
            assert isinstance(broker, NatsBroker)
            subject = broker.log_subject(run)
            await broker.jetstream.put(subject, b"{}", {}, after=0)
            headers = {"Rx-V": "1", "Rx-Page": "a", "Rx-First": "0", "Rx-Count": "1"}
            await broker.jetstream.put(broker.log_subject(unchained), b"{}", headers)
            for each, reason in ((run, "Rx-V"), (unchained, "does not name the one before it")):
                error = f"{each}.*{reason}"
                await fails(InvalidRelayLog, error, broker.last(each))
                await fails(InvalidRelayLog, error, broker.read(each, after=0))
                await fails(InvalidRelayLog, error, broker.follow(each, after=0).pages(1.0))

    completed(scenario)


def test_a_log_without_its_beginning(nats_server: BrokerServer, workspace: str) -> None:
    """A log of which something else deleted the beginning is not read as if it began later."""
    run = new_run()

    async def scenario() -> None:
        async with opened(nats_server, workspace) as broker:
            await append_all(broker, run, [new_page(0), new_page(1), new_page(2)])
            assert isinstance(broker, NatsBroker)
            request = f"$JS.API.STREAM.PURGE.{broker.stream}"
            body = f'{{"filter":"{broker.log_subject(run)}","keep":2}}'
            await broker.link.request(request, body.encode())
            await fails(RelayLogTrimmed, run, broker.read(run, after=0))
            await fails(RelayLogTrimmed, run, broker.follow(run, after=0).pages(1.0))

    completed(scenario)


def test_a_log_that_was_dropped_without_a_word(
    nats_server: BrokerServer, workspace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A follower looks for it after a while, since the message about a drop may be lost."""
    monkeypatch.setattr(_nats_feed, "_SURE_SECONDS", 0.2)
    run = new_run()

    async def scenario() -> None:
        async with opened(nats_server, workspace) as broker:
            assert isinstance(broker, NatsBroker)
            await broker.append(run, new_page(0), after=0)
            follower = broker.follow(run, after=0)
            await followed(follower, 1)
            await broker.jetstream.purge(broker.stream, broker.log_subject(run))

            async def follow() -> None:
                while not await follower.pages(0.05):
                    pass

            await fails(RelayLogLost, "no longer has the log", follow())
            await follower.aclose()

    completed(scenario)


# -- users ----------------------------------------------------------------------------------------


def test_what_is_not_permitted_is_named(nats_server: BrokerServer) -> None:
    """The error of a reader that writes, sets up or reads by the leader names the subject."""
    run, workspace = new_run(), "shown"

    async def scenario() -> None:
        async with (
            opened(nats_server, workspace) as broker,
            opened(nats_server, workspace, user="reader", is_reader=True) as reader,
        ):
            end = await broker.append(run, new_page(0), after=0)
            for request, subject in (
                (reader.append(run, new_page(1), after=end), f"rxflow.{workspace}.run.{run}"),
                (reader.setup(), "$JS.API.STREAM.INFO.RXFLOW_shown"),
                (reader.drop(run), "$JS.API.STREAM.PURGE.RXFLOW_shown"),
                (reader.last(run), "$JS.API.STREAM.MSG.GET.RXFLOW_shown"),
            ):
                error = re.escape(f"not permit this user to publish to '{subject}'")
                await fails(BrokerFailed, error, request)
            await broker.drop(run)  # others read all of the workspace, and this is no event

    completed(scenario)


# -- connecting -----------------------------------------------------------------------------------


def test_a_password_may_have_any_characters(nats_server: BrokerServer) -> None:
    """A percent-encoded password is decoded; user= and password= come before those of a URL."""

    async def scenario() -> None:
        encoded = "".join(f"%{byte:02x}" for byte in PASSWORD.encode())
        for url, more in (
            (nats_server.url(password=encoded), {}),
            (nats_server.url(password="other"), {"user": "relay", "password": PASSWORD}),
        ):
            broker = await open_broker(url, timeout=60, **more)  # type: ignore[arg-type]
            await broker.setup()
            assert await broker.holders() == {}
            await broker.aclose()
            await broker.aclose()

    completed(scenario)


def test_a_server_that_says_nothing(workspace: str) -> None:
    """A server that accepts connections and is no NATS server is an error after the time-out."""

    async def scenario() -> None:
        async with greeting(b"") as port:
            with pytest.raises(BrokerFailed, match=r"did not accept a connection for 0\.5 s"):
                await open_broker(f"nats://127.0.0.1:{port}", workspace, timeout=0.5)

    completed(scenario)


def test_a_server_that_is_too_old(workspace: str) -> None:
    """A server without batches is refused by its version."""
    greeted = b'INFO {"version":"2.9.10","headers":true,"max_payload":1048576}\r\n'

    async def scenario() -> None:
        async with greeting(greeted) as port:
            with pytest.raises(BrokerFailed, match=r"2\.9\.10; a relay needs 2\.11 or newer"):
                await open_broker(f"nats://127.0.0.1:{port}", workspace, timeout=60)

    completed(scenario)


def test_a_password_is_not_sent_without_tls(nats_server: BrokerServer, workspace: str) -> None:
    """With tls:// a server that does not offer TLS is refused, before it is shown anything."""
    greeted = b'INFO {"version":"2.12.0","max_payload":1048576}\r\n'
    received: list[bytes] = []

    async def scenario() -> None:
        async with greeting(greeted, received) as port:
            for at in (port, nats_server.port):
                url = f"tls://relay:{PASSWORD}@127.0.0.1:{at}"
                with pytest.raises(BrokerFailed, match="secure connection not available"):
                    await open_broker(url, workspace, timeout=60)

    completed(scenario)
    assert received == []


def test_tls(tmp_path: Path, workspace: str) -> None:
    """A broker is reached over TLS, and its certificate is verified at once."""
    authority = Authority(tmp_path)
    with NatsServer(certificate=authority.server_files(tmp_path)) as server:

        async def scenario() -> None:
            for url in (server.url(), server.url().replace("nats://", "tls://")):
                broker = await open_broker(
                    url, workspace, timeout=60, tls=authority.client_context()
                )
                await broker.setup()
                assert await broker.holders() == {}
                await broker.aclose()
                untrusted = open_broker(url, workspace, timeout=600)
                await fails(BrokerFailed, "certificate is not trusted", untrusted)

        completed(scenario)


def test_a_connection_with_tls_ends_quietly(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither the end of a connection nor that of a refused one is a warning of asyncio's."""
    authority = Authority(tmp_path)
    with NatsServer(certificate=authority.server_files(tmp_path)) as server:

        async def scenario() -> None:
            tls = authority.client_context()
            broker = await open_broker(server.url(), timeout=60, tls=tls)
            await broker.aclose()
            refused = open_broker(server.url(password="wr0ng"), timeout=60, tls=tls)
            await fails(BrokerFailed, "refuses the credentials", refused)

        completed(scenario)
    assert [each.getMessage() for each in caplog.records if each.name == "asyncio"] == []


def test_a_page_that_is_too_large(workspace: str) -> None:
    """A page that the server's limit forbids is an error that names the limit."""
    with NatsServer(max_payload=64 << 10) as server:

        async def scenario() -> None:
            async with opened(server, workspace) as broker:
                for size in (64 << 10, (64 << 10) - 50, 256 << 10):
                    with pytest.raises(BrokerFailed, match=r"65,536 bytes.*raise its max_payload"):
                        await broker.append(new_run(), new_page(0, body=bytes(size)), after=0)
                await broker.append(new_run(), new_page(0, body=bytes(60 << 10)), after=0)

        completed(scenario)


def test_a_server_without_jetstream(workspace: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that stores nothing is an error of the set-up, not a silence."""
    monkeypatch.setattr("rxflow.relay._nats._ABSENT_SECONDS", 0.2)
    with NatsServer(jetstream=False) as server:

        async def scenario() -> None:
            async with opened(server, workspace, is_reader=True) as broker:
                with pytest.raises(BrokerFailed, match="with JetStream enabled"):
                    await broker.setup()

        completed(scenario)


# -- what the scenarios have in common ------------------------------------------------------------


async def stream_config(broker: object) -> dict[str, object]:
    """The settings of a broker's stream of logs."""
    assert isinstance(broker, NatsBroker)
    reply = await broker.jetstream._reply(f"STREAM.INFO.{broker.stream}", {})
    return reply.config


async def delete_stream(broker: object) -> None:
    """Delete a broker's stream of logs, as an operator does."""
    assert isinstance(broker, NatsBroker)
    await broker.link.request(f"$JS.API.STREAM.DELETE.{broker.stream}")


@asynccontextmanager
async def greeting(greeted: bytes, received: list[bytes] | None = None) -> AsyncGenerator[int]:
    """A server that greets each client and replies to a ping; received has what clients send."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            writer.write(greeted)
            while data := await reader.read(65536):
                if received is not None:
                    received.append(data)
                if greeted and b"PING" in data:
                    writer.write(b"PONG\r\n")
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]
