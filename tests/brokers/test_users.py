"""What users of a broker may do, and how one is refused: the same on brokers of each kind."""

import asyncio

import pytest
from broker_logs import (
    append_all,
    completed,
    fails,
    followed,
    new_page,
    new_run,
    opened,
    read_all,
)
from broker_servers import PASSWORD, SERVERS, BrokerServer, free_port

from rxflow.errors import BrokerFailed
from rxflow.relay._connect import open_broker

NOT_PERMITTED = "not permit this user|refuses [A-Z]+: .*permission"


def test_a_reader_needs_few_permissions(server: BrokerServer) -> None:
    """A user with those of the docs reads, follows and wants; it writes and drops no log."""
    run, workspace = new_run(), "shown"

    async def scenario() -> None:
        async with (
            opened(server, workspace) as broker,
            opened(server, workspace, user="reader", is_reader=True) as reader,
        ):
            end = await append_all(broker, run, [new_page(number) for number in range(5)])
            assert len(await read_all(reader, run)) == 5
            follower = reader.follow(run, after=0)
            await followed(follower, 5)
            following = asyncio.create_task(followed(follower, 1))
            end = await broker.append(run, new_page(5), after=end)
            await following
            await reader.want(run)
            await fails(BrokerFailed, NOT_PERMITTED, reader.append(run, new_page(6), after=end))
            await fails(BrokerFailed, NOT_PERMITTED, reader.drop(run))
            assert (await followed(follower, 0)) == []
            await follower.aclose()
            assert len(await read_all(reader, run)) == 6
            await broker.drop(run)  # others read all of the workspace, and these are no events

    completed(scenario)


def test_a_user_without_permissions(server: BrokerServer, workspace: str) -> None:
    """What a user may not do is an error, and not a silence."""
    run = new_run()

    async def scenario() -> None:
        async with (
            opened(server, workspace),
            opened(server, workspace, user="outsider", is_reader=True) as outsider,
        ):
            follower = outsider.follow(run, after=0)
            await fails(BrokerFailed, NOT_PERMITTED, outsider.read(run, after=0))
            await fails(BrokerFailed, NOT_PERMITTED, follower.pages(5.0))
            await fails(BrokerFailed, NOT_PERMITTED, outsider.want(run))
            await follower.aclose()

    completed(scenario)


@pytest.mark.parametrize("user", ["relay", "unknown"])
def test_a_wrong_password_is_refused_at_once(server: BrokerServer, user: str) -> None:
    """A password that the server refuses is not tried again; no text shows it."""

    async def scenario() -> None:
        with pytest.raises(BrokerFailed, match="refuses the credentials") as caught:
            await open_broker(server.url(user, password="wr0ng-one"), timeout=600)
        assert "wr0ng-one" not in f"{caught.value!r} {caught.value.__cause__!r}"
        anonymous = f"{server.scheme}://127.0.0.1:{server.port}"
        await fails(BrokerFailed, "refuses the credentials", open_broker(anonymous, timeout=600))

    completed(scenario)


@pytest.mark.parametrize("scheme", SERVERS)
def test_no_server(workspace: str, scheme: str) -> None:
    """A server that is not there is an error after the time-out, which names it and the reason."""
    url = f"{scheme}://relay:{PASSWORD}@127.0.0.1:{free_port()}"

    async def scenario() -> None:
        with pytest.raises(BrokerFailed, match=rf"{scheme}://127.0.0.1:\d+ did .*onnect") as caught:
            await open_broker(url, workspace, timeout=0.5)
        assert PASSWORD not in str(caught.value)

    completed(scenario)
