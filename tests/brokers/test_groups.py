"""Groups share pages on real brokers of each kind, while their members are killed."""

import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, closing
from itertools import islice
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
import relay_worker
from broker_logs import append_all, completed, fails, new_page, new_run, opened, read_all
from broker_servers import BrokerServer, RedisServer
from command_line import LIMIT, environment
from nats.aio.msg import Msg
from runtime_threads import join_runtime_threads
from sample_events import line

from rxflow.errors import BrokerFailed, ConfigurationError
from rxflow.relay import _nats, consume
from rxflow.relay._broker import Broker
from rxflow.relay._group import GroupOptions
from rxflow.relay._nats import NatsBroker
from rxflow.relay._nats_link import NoResponder
from rxflow.relay._pages import MOST_BYTES, pages_of
from rxflow.relay._redis import RedisBroker
from rxflow.relay._retries import Unanswered

PAGES = 300
SIZE = 4  # events in a page


async def append_lines(broker: Broker, runs: list[str], first: int, last: int) -> None:
    """Append pages of lines to the logs of runs by turns, each line with a number of its own."""
    ends: dict[str, tuple[int, int, str]] = {}
    for run in runs:
        stored = await broker.last(run)
        if stored is not None:
            number = stored.page.first + stored.page.count
            ends[run] = stored.position, number, stored.page.page_id
    for number in range(first, last):
        run = runs[number % len(runs)]
        end, count, page_id = ends.get(run, (0, 0, ""))
        lines = [line(index, f"{number}.{index}", run=run) for index in range(SIZE)]
        (page,) = pages_of(lines, first=count, previous_id=page_id)
        end = await broker.append(run, page, after=end)
        ends[run] = end, count + SIZE, page.page_id


def messages(first: int, last: int) -> list[str]:
    """Return the messages of pages."""
    return [f"{number}.{index}" for number in range(first, last) for index in range(SIZE)]


def test_killed_workers_lose_nothing(server: BrokerServer, workspace: str, tmp_path: Path) -> None:
    """All events are handled, and only the pages that killed workers had are handled again."""
    runs = [new_run() for _ in range(5)]
    paths = [tmp_path / f"worker-{number}" for number in range(5)]
    stops = (42, 61)  # events after which the first two stand still, within a page

    def start(stack: ExitStack, number: int) -> "subprocess.Popen[bytes]":
        stop = stops[number] if number < len(stops) else 0
        arguments = (server.url(), workspace, "alerts", "1.5", str(paths[number]), str(stop))
        command = [sys.executable, relay_worker.__file__, *arguments]
        process = stack.enter_context(
            subprocess.Popen(command, env=environment(), stdin=subprocess.PIPE)
        )
        stack.callback(process.kill)
        return process

    async def append(first: int, last: int) -> None:
        async with opened(server, workspace) as broker:
            await append_lines(broker, runs, first, last)

    def counts() -> Counter[str]:
        return Counter(each for path in paths for each in relay_worker.handled(path))

    with ExitStack() as stack:
        workers = [start(stack, number) for number in range(2)]
        completed(lambda: append(0, PAGES // 2))
        wait_until(lambda: all(len(relay_worker.handled(paths[n])) == stops[n] for n in (0, 1)))
        workers += [start(stack, number) for number in (2, 3)]
        wait_until(lambda: len(counts()) == SIZE * (PAGES // 2) - 5)
        for worker in workers[:2]:
            worker.kill()
            worker.wait()
        workers.append(start(stack, 4))
        completed(lambda: append(PAGES // 2, PAGES))
        wait_until(lambda: len(counts()) == SIZE * PAGES)
    killed = [relay_worker.handled(path) for path in paths[:2]]
    begun = {each for events in killed for each in events[-(len(events) % SIZE) :]}
    assert counts() == Counter(messages(0, PAGES)) + Counter(begun)


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait until something is so."""
    pause, end = threading.Event(), monotonic() + LIMIT
    while not condition():
        assert monotonic() < end
        pause.wait(0.05)


def test_a_page_of_a_killed_worker_is_handled_by_another(
    server: BrokerServer, workspace: str
) -> None:
    """A member that vanished has its page until its time is over, and then another one gets it."""
    run = new_run()
    options = GroupOptions("alerts", None, 1.0)

    async def scenario() -> None:
        async with (
            opened(server, workspace) as broker,
            opened(server, workspace, is_reader=True) as other,
        ):
            await append_all(broker, run, [new_page(number) for number in range(3)])
            gone, alive = broker.member(options), other.member(options)
            lost = await gone.next_page(5.0)
            assert lost is not None
            second = await alive.next_page(5.0)
            assert second is not None
            assert second.stored.page.page_id == "log-1"
            await alive.ack(second)
            third = await alive.next_page(5.0)
            assert third is not None
            assert third.stored.page.page_id == "log-2"
            kept, again = third, None
            while again is None:
                await alive.keep(kept)
                again = await alive.next_page(0.3)
            assert again.stored.page == lost.stored.page  # and not the one that is kept
            await alive.ack(again)
            await alive.give_back(kept)
            back = await alive.next_page(5.0)
            assert back is not None
            assert back.stored.page == kept.stored.page
            await alive.ack(back)
            assert await alive.next_page(1.5) is None

    completed(scenario)


def test_groups_are_independent(server: BrokerServer, workspace: str) -> None:
    """Each gets all pages, also one that begins later; dropped logs are left out."""
    runs = [new_run() for _ in range(3)]

    async def write() -> None:
        async with opened(server, workspace) as broker:
            await append_lines(broker, runs, 0, 9)

    async def drop() -> None:
        async with opened(server, workspace) as broker:
            await broker.drop(runs[0])

    completed(write)
    for group in ("one", "two"):
        assert taken(consume(server.url(), group, workspace=workspace), 36) == messages(0, 9)
    completed(drop)
    kept = [text for text in messages(0, 9) if int(text.partition(".")[0]) % 3]
    assert taken(consume(server.url(), "three", workspace=workspace), 24) == kept


def taken(source: Any, number: int) -> list[str]:
    """Take the messages of some events, and then let all threads end."""
    with closing(iter(source)) as items:
        found = [event.message for event in islice(items, number)]
    join_runtime_threads()
    return found


def test_a_broker_that_is_killed_is_waited_for(own_server: BrokerServer, workspace: str) -> None:
    """Acknowledgements and pages go on, and no event is lost."""
    runs = [new_run() for _ in range(2)]

    async def write(first: int, last: int) -> None:
        async with opened(own_server, workspace) as broker:
            await append_lines(broker, runs, first, last)

    completed(lambda: write(0, 10))
    with closing(iter(consume(own_server.url(), "alerts", workspace=workspace))) as items:
        found = [event.message for event in islice(items, 10)]
        own_server.kill()
        own_server.start()
        completed(lambda: write(10, 20))
        while not set(messages(0, 20)) <= set(found):
            found.append(next(items).message)


def test_one_run_on_nats(nats_server: BrokerServer, workspace: str) -> None:
    """A group of one run has its pages alone; members with other settings are refused."""
    runs = [new_run() for _ in range(2)]

    async def write() -> None:
        async with opened(nats_server, workspace) as broker:
            await append_lines(broker, runs, 0, 6)

    completed(write)
    url = nats_server.url()
    own = [text for text in messages(0, 6) if int(text.partition(".")[0]) % 2]
    assert taken(consume(url, "one", workspace=workspace, flow_run_id=runs[1]), 12) == own
    with pytest.raises(BrokerFailed, match="with other settings; pass the same to all"):
        taken(consume(url, "one", workspace=workspace), 1)


@pytest.mark.parametrize("user", ["worker", "bound"])
def test_an_election_on_nats_is_waited_for(
    nats_server: BrokerServer, monkeypatch: pytest.MonkeyPatch, user: str
) -> None:
    """A member that may not look for the stream, nor create its group, goes on after it."""
    monkeypatch.setattr(_nats, "_ABSENT_SECONDS", 0.0)
    monkeypatch.setattr(_nats, "ELECTION_SECONDS", 0.0)  # of the stream
    run, workspace = new_run(), "shown"
    elections: list[int] = []

    async def scenario() -> None:
        async with (
            opened(nats_server, workspace) as broker,
            opened(nats_server, workspace, user=user, is_reader=True) as reader,
        ):
            assert isinstance(reader, NatsBroker)
            await append_all(broker, run, [new_page(0), new_page(1)])
            options = GroupOptions("alerts", None, 30.0)
            creator = broker.member(options)
            first = await creator.next_page(30.0)
            assert first is not None
            await creator.give_back(first)
            member, request = reader.member(options), reader.link.request_message

            async def request_message(subject: str, body: bytes, *, seconds: float) -> Msg:
                if elections:
                    elections.pop()
                    raise NoResponder(subject)
                return await request(subject, body, seconds=seconds)

            monkeypatch.setattr(reader.link, "request_message", request_message)
            for _ in range(2):
                page = await member.next_page(30.0)
                assert page is not None
                await member.ack(page)
                elections.extend([1, 2])
            await broker.drop(run)  # others read all of the workspace, and these are no events

    completed(scenario)


def test_a_foreign_message_on_nats(
    nats_server: BrokerServer, workspace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of no run is left out, also where the reply to its acknowledgement is lost."""

    async def scenario() -> None:
        async with opened(nats_server, workspace) as broker:
            assert isinstance(broker, NatsBroker)
            await broker.link.request(broker.log_subject("foreign"), b"no page")
            await append_all(broker, new_run(), [new_page(0)])
            request = broker.link.request

            async def request_in_vain(subject: str, *rest: Any, **more: Any) -> Any:
                if subject.startswith("$JS.ACK."):
                    raise Unanswered
                return await request(subject, *rest, **more)

            monkeypatch.setattr(broker.link, "request", request_in_vain)
            page = await broker.member(GroupOptions("alerts", None, 30.0)).next_page(30.0)
            assert page is not None
            assert page.stored.page == new_page(0)

    completed(scenario)


def test_one_run_on_redis(workspace: str, server: BrokerServer) -> None:
    """Its groups are of all runs; the error says so."""
    member = consume(server.url(), "alerts", workspace=workspace, flow_run_id=new_run())
    if server.scheme == "redis":
        with pytest.raises(ConfigurationError, match="On Redis a group shares all runs"):
            taken(member, 1)


def test_members_that_are_gone_are_deleted_on_redis(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server does not keep one for each loop that there ever was."""
    monkeypatch.setattr("rxflow.relay._redis_group._GONE_SECONDS", 0.0)
    run, workspace, group = new_run(), "shown", f"g-{new_run()}"

    async def write() -> None:
        async with opened(server, workspace) as broker:
            await append_lines(broker, [run], 0, 1)

    async def members() -> int:
        async with opened(server, workspace) as broker:
            assert isinstance(broker, RedisBroker)
            return len(await broker.link.command("XINFO", "CONSUMERS", broker.pages_key, group))

    with RedisServer() as server:
        completed(write)
        for _ in range(5):
            taken(consume(server.url("worker"), group, workspace=workspace), 1)
        count = completed(members)
    assert count <= 2  # the last one has given its page back; the one before had it


# -- users ----------------------------------------------------------------------------------------


def test_a_member_needs_few_permissions(server: BrokerServer) -> None:
    """With those of the documentation it takes pages, and can neither write nor drop a log."""
    run, other, workspace = new_run(), new_run(), "shown"
    large = line(0, "x" * (MOST_BYTES + 9), run=other)

    async def write() -> None:
        async with opened(server, workspace) as broker:
            await append_all(broker, other, pages_of([large], first=0))
            await append_lines(broker, [run], 0, 3)

    completed(write)
    expected = {*messages(0, 3), large.message}
    found: set[str] = set()
    with closing(iter(consume(server.url("worker"), "alerts", workspace=workspace))) as items:
        while not expected <= found:
            found.add(next(items).message)

    async def scenario() -> None:
        async with opened(server, workspace, user="worker", is_reader=True) as worker:
            for request in (
                worker.append(run, new_page(9), after=0),
                worker.drop(run),
                worker.want(run),
                worker.setup() if isinstance(worker, NatsBroker) else worker.drop(other),
            ):
                await fails(BrokerFailed, "permi", request)
            if isinstance(worker, RedisBroker):
                for key in (worker.log_key(run), worker.pages_key):
                    adding = worker.link.command("XADD", key, "*", "name", "value")
                    await fails(BrokerFailed, "refuses XADD: .*permission", adding)
            elsewhere = worker.member(GroupOptions("others", None, 30.0))
            if isinstance(worker, NatsBroker):  # an access rule of Redis does not see the group
                await fails(BrokerFailed, "not permit this user", elsewhere.next_page(2.0))
        async with opened(server, workspace) as broker:
            assert len(await read_all(broker, run)) == 3

    completed(scenario)


def test_a_member_that_may_not_create_its_group(nats_server: BrokerServer) -> None:
    """Once another user has created the group it takes pages; before, it says what is missing."""
    run, workspace, group = new_run(), "shown", f"g-{new_run()}"

    async def write() -> None:
        async with opened(nats_server, workspace) as broker:
            await append_lines(broker, [run], 0, 1)

    completed(write)
    with pytest.raises(BrokerFailed, match=r"permit .* publish to '\$JS.API.CONSUMER.CREATE"):
        taken(consume(nats_server.url("bound"), group, workspace=workspace), 1)
    taken(consume(nats_server.url(), group, workspace=workspace), 1)
    with closing(iter(consume(nats_server.url("bound"), group, workspace=workspace))) as items:
        while next(items).flow_run_id != run:
            pass
