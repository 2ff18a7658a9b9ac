"""`PushChannel`: a websocket that is reached as the server is, and whose end is a failure."""

import asyncio
import json
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from certificates import Authority
from thread_limits import no_more_threads

pytest.importorskip("websockets")

from push_server import (
    Behaviour,
    PushServer,
    announce,
    refuse_filter,
    refuse_key,
    reset,
    sending,
    stay_silent,
)

from rxflow._config.settings import Settings, load_settings
from rxflow._net.connector import Connector
from rxflow._protocol.failures import FailureKind
from rxflow._protocol.push import (
    AnnouncedChange,
    Announcement,
    PushEnd,
    PushSubscription,
    PushTopic,
)

RUN = "5b39667f-7012-42be-a0e5-d0934354fa9b"
EVENTS = PushSubscription(topic=PushTopic.EVENTS, flow_run_ids=(RUN,))
NOW = datetime(2026, 11, 28, tzinfo=UTC)
FRAME = json.dumps(
    {
        "type": "event",
        "event": {
            "event": "prefect.flow-run.Running",
            "resource": {"prefect.resource.id": f"prefect.flow-run.{RUN}"},
        },
    }
)
STATE = Announcement(flow_run_id=RUN, change=AnnouncedChange.STATE)
SECRET = "open-sesame"

pytestmark = pytest.mark.usefixtures("_no_proxies")


def settings_for(url: str, **options: Any) -> Settings:
    """Return the settings of a server, without those of the environment."""
    return load_settings(api_url=url, environ={}, **options)


def read(settings: Settings, receive: Callable[[Announcement], None] = lambda _: None) -> PushEnd:
    """Read until the connection ends."""

    async def run() -> PushEnd:
        channel = Connector(settings, None).open_push_channel()
        assert channel is not None
        return await channel.read(EVENTS, NOW, receive)

    return asyncio.run(run())


def test_a_name_that_no_thread_can_resolve_is_a_failure() -> None:
    """It is tried again later: a loop resolves names in threads."""

    async def run() -> PushEnd:
        channel = Connector(settings_for("http://localhost:9/api"), None).open_push_channel()
        assert channel is not None
        with no_more_threads():
            return await channel.read(EVENTS, NOW, lambda _: None)

    end = asyncio.run(run())
    assert end.failure.kind is FailureKind.NETWORK
    assert "thread" in end.failure.text


def test_announcements_are_received_until_the_server_closes() -> None:
    """Whatever else comes is dropped: other frames, garbage, bytes."""
    received: list[Announcement] = []
    with PushServer(sending(FRAME, "garbage", b"\x00\xff", "[1]", '{"type":"x"}', FRAME)) as server:
        end = read(settings_for(server.url, api_key=SECRET), received.append)
    assert received == [STATE, STATE]
    assert end.lived > 0
    assert "it closed with 1000" in end.failure.text
    assert server.paths == ["/api/events/out"]
    auth, wanted = server.messages
    assert auth == {"type": "auth", "token": SECRET}
    assert wanted["filter"]["any_resource"] == {"id": [f"prefect.flow-run.{RUN}"]}


def test_the_channel_says_when_it_is_open() -> None:
    """Before the first announcement, and not where the key is refused."""
    happened: list[object] = []

    async def run(server: PushServer) -> PushEnd:
        channel = Connector(settings_for(server.url), None).open_push_channel()
        assert channel is not None
        return await channel.read(EVENTS, NOW, happened.append, lambda: happened.append("open"))

    with PushServer(sending(FRAME)) as server:
        asyncio.run(run(server))
    assert happened == ["open", STATE]
    with PushServer(sending(FRAME), status=403) as server:
        asyncio.run(run(server))
    assert happened == ["open", STATE]


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        (refuse_key, "it closed with 1008 'Invalid token'"),
        (sending("x" * 2_000_000), "the connection broke"),
        (reset, "the connection broke"),
    ],
    ids=["key", "huge frame", "reset"],
)
def test_a_connection_that_ends_badly_is_a_failure(behaviour: Behaviour, reason: str) -> None:
    """Its text says how it ended."""
    with PushServer(behaviour) as server:
        end = read(settings_for(server.url))
    assert reason in end.failure.text
    assert f"The websocket of {server.url}" in end.failure.text


def test_a_filter_that_is_refused_is_a_failure() -> None:
    """The server closes with 1002."""
    with PushServer(refuse_filter) as server:
        end = read(settings_for(server.url))
    assert "it closed with 1002 'Invalid filter'" in end.failure.text


@pytest.mark.parametrize("status", [403, 404, 502])
def test_a_refused_websocket_is_a_failure(status: int) -> None:
    """A server without this websocket, or a proxy that takes none, replies with a status."""
    with PushServer(announce, status=status) as server:
        end = read(settings_for(server.url))
    assert f"its status was {status}" in end.failure.text
    assert end.lived == 0


def test_silence_is_a_failure() -> None:
    """A server that accepts the websocket and no key is given up."""
    with PushServer(stay_silent) as server:
        end = read(settings_for(server.url, read_timeout=0.1))
    assert (end.lived, end.failure.text.startswith("No response")) == (0, True)


def test_a_server_that_is_gone_is_a_failure() -> None:
    """Nothing listens at its port any more."""
    with PushServer(announce) as server:
        pass
    assert "No process listens" in read(settings_for(server.url)).failure.text


def test_no_secret_is_in_a_failure() -> None:
    """A server may repeat the key in its reason."""

    async def repeat_key(server: PushServer, connection: Any) -> None:
        message = await server.receive(connection)
        await connection.close(1008, f"bad {message['token']}")

    with PushServer(repeat_key) as server:
        end = read(settings_for(server.url, api_key=SECRET))
    assert "bad ***" in end.failure.text
    assert SECRET not in end.failure.text


def test_no_secret_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """The library would log each frame, the one with the key too."""
    caplog.set_level(logging.DEBUG)
    with PushServer(sending(FRAME)) as server:
        read(settings_for(server.url, api_key=SECRET))
    records = [record for record in caplog.records if "server" not in record.name]
    assert SECRET not in "".join(record.getMessage() for record in records)


def test_headers_and_keys_are_those_of_requests() -> None:
    """An auth string has precedence over a key, and custom headers are sent."""
    with PushServer(sending()) as server:
        read(
            settings_for(
                server.url,
                api_key="other",
                auth_string=f"admin:{SECRET}",
                headers={"X-Team": "data", "Host": "elsewhere", "Upgrade": "h2c"},
            )
        )
    assert server.messages[0]["token"] == f"admin:{SECRET}"
    (headers,) = server.headers
    assert (headers["x-team"], headers["user-agent"]) == ("data", "rxflow")
    assert headers["authorization"].startswith("Basic ")
    assert (headers["upgrade"], headers["host"]) == ("websocket", server.url.split("/")[2])


def test_the_server_is_verified_as_for_requests(authority: Authority) -> None:
    """By the file of certificates that is set; without it the certificate is not accepted."""
    with PushServer(sending(FRAME), ssl=authority.server_context()) as server:
        received: list[Announcement] = []
        read(settings_for(server.url, ssl_cert_file=authority.file), received.append)
        assert received == [STATE]
        assert "cannot be verified" in read(settings_for(server.url)).failure.text
        read(settings_for(server.url, verify=False), received.append)
        assert received == [STATE, STATE]


def test_the_proxy_is_that_of_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment names one; a server on this machine has none."""
    monkeypatch.setenv("HTTP_PROXY", f"http://user:{SECRET}@127.0.0.1:1")
    end = read(settings_for("http://prefect.invalid/api"))
    assert "127.0.0.1:1" in end.failure.text
    assert SECRET not in end.failure.text
    with PushServer(sending(FRAME)) as server:
        received: list[Announcement] = []
        read(settings_for(server.url), received.append)
    assert received == [STATE]


def test_redirects_are_not_followed() -> None:
    """The key is sent to the server that is set, and to no other one."""
    with PushServer(announce, status=307) as server:
        end = read(settings_for(server.url, api_key=SECRET))
    assert "its status was 307" in end.failure.text
    assert server.messages == []


def test_cancelling_closes_the_connection() -> None:
    """At once, and no task is left."""

    async def run(server: PushServer) -> set[Any]:
        channel = Connector(settings_for(server.url), None).open_push_channel()
        assert channel is not None
        received = asyncio.Event()
        reading = asyncio.create_task(channel.read(EVENTS, NOW, lambda _: received.set()))
        await asyncio.to_thread(server.wait_for, lambda: len(server.messages) == 2)
        server.send(FRAME)
        await received.wait()
        reading.cancel()
        await asyncio.wait([reading])
        assert reading.cancelled()
        await asyncio.sleep(0)
        return asyncio.all_tasks() - {asyncio.current_task()}

    with PushServer(announce) as server:
        assert asyncio.run(run(server)) == set()
        server.wait_for(lambda: server.open_count == 0)
