"""Relays over a broker in memory: they share the runs, take over, and outlive outages."""

import threading
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from random import Random
from typing import Any

import httpx
import pytest
from relays import Relays, relays, wait_until

from rxflow import Closed, FlowRunLog, StateChange
from rxflow._protocol.queries import RunFilter
from rxflow.errors import BrokerFailed, InvalidRelayLog, UnsupportedServer
from rxflow.relay import stream
from rxflow.relay._broker import Page
from rxflow.relay._memory import MemoryBroker, MemoryFaults
from rxflow.relay._service import RelayOptions
from rxflow.relay._shares import fair_share, shard_of
from rxflow.testing import FakePrefect3, Faults


@pytest.fixture
def server() -> FakePrefect3:
    """Create a server of Prefect in real time."""
    return FakePrefect3()


@pytest.fixture
def running(server: FakePrefect3) -> Iterator[Relays]:
    """Start a broker without relays."""
    with relays(server) as started:
        yield started


def rows_of(server: FakePrefect3, run_id: str) -> set[str]:
    """Return the ids of a run's states and log lines on the server."""
    lines = {row["id"] for row in server.logs if row["flow_run_id"] == run_id}
    return lines | {state["id"] for state in server.states[run_id]}


def assert_once(running: Relays, run_id: str) -> None:
    """Check that a log has each row of the run once, and its Closed last."""
    events = running.events_of(run_id)
    ids = [event.id for event in events if isinstance(event, StateChange | FlowRunLog)]
    assert Counter(ids) == Counter(rows_of(running.server, run_id))
    assert isinstance(events[-1], Closed)


def add_finished_run(server: FakePrefect3, lines: int = 3, **fields: Any) -> str:
    """Add a run that is over."""
    run_id = server.add_run(state="RUNNING", **fields)
    for number in range(lines):
        server.log(run_id, f"line {number}")
    server.set_state(run_id, "COMPLETED")
    return run_id


# -- sharing --------------------------------------------------------------------------------------


@pytest.mark.parametrize("slots", [{0}, {1, 5}, {0, 3, 7}, set(range(8))])
def test_each_shard_is_of_one_relay(slots: set[int]) -> None:
    """The shares are disjoint, have all shards, and differ by one at most."""
    shares = [fair_share(slot, slots - {slot}, 8) for slot in slots]
    assert sorted(shard for share in shares for shard in share) == [*range(8)]
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_the_shard_of_a_run_is_the_same_for_ever() -> None:
    """Relays of different versions agree on it."""
    assert shard_of("9e6caafc-4ea1-4493-b0a9-122efba9eaaa", 8) == 3
    assert shard_of("1b671a64-40d5-491e-99b0-da01ff1f3341", 8) == 2


def test_relays_share_the_shards_and_take_over(running: Relays) -> None:
    """Each has its fair share; what one of them leaves or loses is watched by the others."""
    one = running.start()
    wait_until(lambda: len(one.held) == 8)
    two = running.start()
    wait_until(lambda: len(one.held) == len(two.held) == 4 and not one.held & two.held)
    three = running.start()
    wait_until(lambda: sorted(map(len, (one.held, two.held, three.held))) == [2, 3, 3])
    three.end()
    wait_until(lambda: (len(one.held), len(two.held)) == (4, 4))
    two.pause()
    wait_until(lambda: len(one.held) == 8)
    two.resume()
    wait_until(lambda: (len(one.held), len(two.held)) == (4, 4))


def test_leases_of_relays_that_were_killed_are_taken_over(running: Relays) -> None:
    """A relay that comes later watches everything, though all leases have had a holder."""
    for slot in range(8):
        running.store.leases["default", f"relay-{slot}"] = "killed", 0.0
    relay = running.start()
    wait_until(lambda: len(relay.held) == 8)


def test_a_relay_says_when_it_cannot_work(running: Relays, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once, and once more when it can again."""
    monkeypatch.setattr("rxflow.relay._service._HEALTH_INTERVAL", 0.01)
    relay = running.start()
    wait_until(lambda: len(relay.held) == 8)
    relay.broker.is_full = True
    wait_until(lambda: "cannot work: the broker is full" in relay.reports)
    relay.broker.is_full = False
    wait_until(lambda: "works again" in relay.reports)
    assert relay.reports.count("cannot work: the broker is full") == 1


def test_a_share_is_whole_after_a_refusal(running: Relays, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lease that is held then is that of the shards that are watched."""
    monkeypatch.setattr("rxflow.relay._service._BROKER_PAUSE", 0.01)
    holders = MemoryBroker.holders
    refusals = ["stream not found"] * 12

    async def refuse(broker: MemoryBroker) -> dict[str, str]:
        if relay.held and refusals:
            running.store.leases.clear()
            raise BrokerFailed(refusals.pop())
        return await holders(broker)

    relay = running.start()
    monkeypatch.setattr(MemoryBroker, "holders", refuse)
    wait_until(lambda: not refusals)
    wait_until(lambda: not refusals)
    wait_until(lambda: len(running.store.leases) == 1 and len(relay.held) == 8)


def test_what_was_wanted_before_an_outage_is_not_wanted_for_ever(
    running: Relays, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Readers say it again."""
    monkeypatch.setattr("rxflow.relay._service._BROKER_PAUSE", 0.01)
    wants = [{"9e6caafc-4ea1-4493-b0a9-122efba9eaaa"}]

    async def refuse(_: MemoryBroker) -> AsyncIterator[tuple[str, bool]]:
        for run_id in wants.pop() if wants else ():
            yield run_id, True
        raise BrokerFailed("no such stream")

    monkeypatch.setattr(MemoryBroker, "wanted", refuse)
    relay = running.start()
    wait_until(lambda: not wants and not relay.relay._wanted)


def test_a_broker_that_was_restored_is_set_up_again(
    running: Relays, server: FakePrefect3, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relay makes anew what the broker has lost, as it was, and learns which runs are wanted."""
    monkeypatch.setattr("rxflow.relay._service._BROKER_PAUSE", 0.01)
    run_id = add_finished_run(server)
    lost = [True]
    wanted = MemoryBroker.wanted

    async def refuse(broker: MemoryBroker) -> AsyncIterator[tuple[str, bool]]:
        if lost:
            raise BrokerFailed("no such stream")
        async for change in wanted(broker):
            yield change

    async def set_up(_: MemoryBroker, **given: Any) -> None:
        assert given == {"replicas": 3, "max_bytes": 10**9}
        lost.clear()

    monkeypatch.setattr(MemoryBroker, "wanted", refuse)
    monkeypatch.setattr(MemoryBroker, "setup", set_up)
    relay = running.start(replicas=3, max_bytes=10**9)
    assert stream(running.url, run_id).run().kind == "closed"
    assert any("waits for its broker: no such stream" in text for text in relay.reports)


def test_a_refusal_of_the_broker_is_reported_once(
    running: Relays, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever work is refused, and however often; it is again after the broker accepted all."""
    for name, seconds in (("_BROKER_PAUSE", 0.01), ("_HEALTH_INTERVAL", 0.01)):
        monkeypatch.setattr(f"rxflow.relay._service.{name}", seconds)
    monkeypatch.setattr("rxflow.relay._service._REFUSAL_SECONDS", 0.2)
    refused = [0]
    is_refusing = [True]
    holders, wanted = MemoryBroker.holders, MemoryBroker.wanted

    def refuse() -> None:
        if is_refusing[0]:
            refused[0] += 1
            raise BrokerFailed("not permitted")

    async def refuse_holders(broker: MemoryBroker) -> dict[str, str]:
        refuse()
        return await holders(broker)

    async def refuse_wanted(broker: MemoryBroker) -> AsyncIterator[tuple[str, bool]]:
        refuse()
        async for change in wanted(broker):
            yield change

    monkeypatch.setattr(MemoryBroker, "holders", refuse_holders)
    monkeypatch.setattr(MemoryBroker, "wanted", refuse_wanted)
    relay = running.start(lease_seconds=0.3)

    def said() -> list[str]:
        return [text for text in relay.reports if "broker" in text]

    wait_until(lambda: refused[0] > 10)
    assert said() == ["waits for its broker: not permitted"]
    is_refusing[0] = False
    wait_until(lambda: said()[1:] == ["works with its broker again"])
    is_refusing[0] = True
    wait_until(lambda: said()[2:] == ["waits for its broker: not permitted"])


def test_relays_with_other_numbers_of_shards_say_so(
    running: Relays, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both do, until one has gone: they watch the same runs, and refuse each other's pages."""
    monkeypatch.setattr("rxflow.relay._service._HEALTH_INTERVAL", 0.01)
    one, two = running.start(shards=4), running.start(shards=8)
    text = "cannot work: another relay of the workspace has --shards"
    wait_until(lambda: any(f"{text} 8; start all" in report for report in one.reports))
    wait_until(lambda: any(f"{text} 4; start all" in report for report in two.reports))
    two.end()
    wait_until(lambda: "works again" in one.reports)


def test_more_relays_than_shards_stand_by(running: Relays) -> None:
    """A relay without a share takes one once another has ended."""
    one = running.start(shards=1)
    wait_until(lambda: one.held)
    two = running.start(shards=1)
    one.end()
    wait_until(lambda: two.held)


# -- runs -----------------------------------------------------------------------------------------


def test_a_run_that_is_wanted_is_relayed(running: Relays, server: FakePrefect3) -> None:
    """Its log has each row once, in one page or few, and no run has one that is not wanted."""
    wanted, other = add_finished_run(server), add_finished_run(server)
    running.start()
    assert len([*stream(running.url, wanted)]) == 7
    assert_once(running, wanted)
    assert len(running.store.pages(wanted)) <= 3
    assert running.store.pages(other) == []


def test_runs_that_match_a_filter_are_relayed(running: Relays, server: FakePrefect3) -> None:
    """They are found by both relays, and each is relayed once, with no reader."""
    where = RunFilter(tags=("nightly",))
    running.start(where=where)
    running.start(where=where)
    runs = [server.add_run(state="RUNNING", tags=["nightly"]) for _ in range(12)]
    other = server.add_run(state="COMPLETED", tags=["daily"])
    for run_id in runs:
        server.log(run_id, "a line")
        server.set_state(run_id, "COMPLETED")

    def is_closed(run_id: str) -> bool:
        return any(page.is_end for page in running.store.pages(run_id)[-1:])

    wait_until(lambda: all(map(is_closed, runs)))
    for run_id in runs:
        assert_once(running, run_id)
    assert running.store.pages(other) == []


def test_an_unclosed_log_is_taken_up_where_runs_are_looked_for(
    running: Relays, server: FakePrefect3
) -> None:
    """A run that does not match any more is relayed to its end by the next relay."""
    where = RunFilter(state_types=("RUNNING",))
    run_id = server.add_run(state="RUNNING")
    first = running.start(where=where)
    wait_until(lambda: running.store.pages(run_id))
    first.end()
    server.set_state(run_id, "COMPLETED")
    running.start(where=where)
    wait_until(lambda: running.store.pages(run_id)[-1].is_end)
    assert_once(running, run_id)


def test_a_run_that_is_over_is_read_again_without_a_page(
    running: Relays, server: FakePrefect3
) -> None:
    """A relay that reads a log which ends with Closed looks once, and appends nothing."""
    run_id = add_finished_run(server)
    first = running.start()
    stream(running.url, run_id).run()
    first.end()
    pages = running.store.pages(run_id)
    looks: list[str] = []
    server.intercept = lambda request: looks.append(request.url.path)
    second = running.start()
    wait_until(lambda: second.relay.figures.polled_at > 0 and len(looks) > 3)
    wait_until(lambda: second.relay.figures.runs == 0)
    assert running.store.pages(run_id) == pages


def test_a_run_that_goes_on_after_its_end_is_relayed_further(
    running: Relays, server: FakePrefect3
) -> None:
    """Who reads on gets what is new; who reads anew gets all, and one Closed."""
    running.store.want_seconds = 0.2
    run_id = add_finished_run(server)
    relay = running.start()
    first = stream(running.url, run_id)
    events = [*first]
    wait_until(lambda: run_id not in relay.relay._wanted)
    server.set_state(run_id, "RUNNING")
    server.log(run_id, "again")
    server.set_state(run_id, "COMPLETED")
    news = [*stream(running.url, run_id, after=first.position)]
    anew = [*stream(running.url, run_id)]
    assert news
    assert anew == [*events[:-1], *news]
    assert [event.kind for event in anew].count("closed") == 1
    ids = [event.id for event in anew if isinstance(event, StateChange | FlowRunLog)]
    assert Counter(ids) == Counter(rows_of(server, run_id))


def test_a_run_that_goes_on_while_it_is_wanted_is_relayed_further(
    running: Relays, server: FakePrefect3, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader that comes soon after the end has the run looked at again."""
    monkeypatch.setattr("rxflow.relay._log_session.LOOK_SECONDS", 30.0)
    run_id = add_finished_run(server)
    relay = running.start()
    first = stream(running.url, run_id)
    first.run()
    wait_until(lambda: relay.relay.figures.runs == 0)
    server.set_state(run_id, "RUNNING")
    server.log(run_id, "again")
    server.set_state(run_id, "COMPLETED")
    news = [*stream(running.url, run_id, after=first.position)]
    assert "again" in [event.message for event in news]
    assert [*stream(running.url, run_id)][-len(news) :] == news


def test_a_run_that_is_not_wanted_any_more_is_left(
    running: Relays, server: FakePrefect3, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is sent for it, its log stays, and a reader that comes back misses nothing."""
    monkeypatch.setattr("rxflow.relay._departures.LEAVE_SECONDS", 0.1)
    running.store.want_seconds = 0.2
    run_id, other = server.add_run(state="RUNNING"), server.add_run(state="RUNNING")
    server.log(run_id, "before")
    relay = running.start()
    reading, kept = stream(running.url, run_id), stream(running.url, other)
    with closing(iter(kept)) as others:
        next(others)
        events = [*reading.take_while(lambda event: event.message != "before", inclusive=True)]
        figures = relay.relay.figures
        wait_until(lambda: _keep_wanted(running, other) and figures.runs == 1)
        pages = running.store.pages(run_id)
        sent: list[str] = []
        server.intercept = lambda request: sent.append(f"{request.url} {request.content!r}")
        server.log(run_id, "meanwhile")
        server.log(other, "another")
        wait_until(lambda: any(event.message == "another" for event in running.events_of(other)))
        wait_until(lambda: _keep_wanted(running, other) and len(sent) > 6)
        assert not any(run_id in request for request in sent)
        assert running.store.pages(run_id) == pages
        assert not pages[-1].is_end
        server.set_state(run_id, "COMPLETED")
        rest = [*stream(running.url, run_id, after=reading.position)]
    assert [*events, *rest] == running.events_of(run_id)
    assert_once(running, run_id)


def _keep_wanted(running: Relays, run_id: str) -> bool:
    """Say that a run is wanted, as a reader does every ten seconds."""
    running.wait_for(running.store.connect().want(run_id))
    return True


def test_a_run_that_a_filter_may_have_found_is_not_left(
    running: Relays, server: FakePrefect3, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relay that looks for runs watches all of them to their ends."""
    monkeypatch.setattr("rxflow.relay._departures.LEAVE_SECONDS", 0.1)
    running.store.want_seconds = 0.2
    run_id = server.add_run(state="RUNNING", tags=["daily"])
    relay = running.start(where=RunFilter(tags=("nightly",)))
    with closing(iter(stream(running.url, run_id))) as events:
        next(events)
    wait_until(lambda: run_id not in relay.relay._wanted)
    server.log(run_id, "later")
    wait_until(lambda: any(event.message == "later" for event in running.events_of(run_id)))


# -- faults ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(2))
def test_relays_that_are_stopped_lose_and_repeat_nothing(
    running: Relays, server: FakePrefect3, seed: int
) -> None:
    """Three readers get the same events while relays are stopped and the broker fails."""
    random = Random(seed)
    runs = [server.add_run(state="RUNNING") for _ in range(4)]
    started = [running.start() for _ in range(2)]
    running.store.random = Random(seed)
    running.store.faults = MemoryFaults(delay=0.02, lost_requests=0.1, lost_replies=0.1)
    read: dict[str, list[object]] = {}
    threads = [
        *(threading.Thread(target=_read_on, args=(running.url, run, read)) for run in runs),
        threading.Thread(target=lambda: read.update(early=[*stream(running.url, runs[0])])),
    ]
    for thread in threads:
        thread.start()
    pause = threading.Event()
    for number in range(40):
        for run_id in runs:
            server.log(run_id, f"line {number}")
        if number % 8 == 3:
            random.choice(started).pause()
        if number % 8 == 7:
            for relay in started:
                relay.resume()
        is_down = number in {20, 21, 22}
        faults = running.store.faults
        running.store.faults = MemoryFaults(
            delay=faults.delay, lost_requests=0.1, lost_replies=0.1, is_down=is_down
        )
        server.faults = Faults(refused=0.5 if 10 < number < 16 else 0)
        pause.wait(0.08)
    for run_id in runs:
        server.set_state(run_id, "COMPLETED")
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    for run_id in runs:
        assert_once(running, run_id)
        assert read[run_id] == running.events_of(run_id) == [*stream(running.url, run_id)]
    assert read["early"] == read[runs[0]]


def _read_on(url: str, run_id: str, read: dict[str, list[object]]) -> None:
    """Read a run, but leave the loop after every fifth event, and go on from its position."""
    events: list[object] = []
    after: str | None = None
    while not events or not isinstance(events[-1], Closed):
        reading = stream(url, run_id, after=after)
        for event in reading:
            events.append(event)
            after = reading.position
            if len(events) % 5 == 0:
                break
    read[run_id] = events


def test_a_log_that_was_lost_is_written_anew(running: Relays, server: FakePrefect3) -> None:
    """The relay reads that its log is gone, and relays the run from its beginning."""
    run_id = server.add_run(state="RUNNING")
    running.start()
    events = iter(stream(running.url, run_id))
    next(events)
    page_id = running.store.pages(run_id)[0].page_id
    running.store.logs.clear()
    server.log(run_id, "a line")
    wait_until(lambda: running.store.pages(run_id))
    assert running.store.pages(run_id)[0].page_id != page_id
    server.set_state(run_id, "COMPLETED")
    stream(running.url, run_id).run()
    assert_once(running, run_id)


def test_a_log_without_its_beginning_is_written_anew(running: Relays, server: FakePrefect3) -> None:
    """What is left of it cannot be gone on from, so it is dropped."""
    run_id = add_finished_run(server)
    first = running.start()
    stream(running.url, run_id).run()
    first.end()
    del running.store.logs["default", run_id].pages[:1]
    assert running.store.pages(run_id)[0].first > 0
    second = running.start()
    wait_until(lambda: [page.first for page in running.store.pages(run_id)][:1] == [0])
    stream(running.url, run_id).run()
    assert_once(running, run_id)
    assert sum(f"makes the log of flow run {run_id} anew" in text for text in second.reports) == 1


LATER_EVENT = b'{"kind":"of-a-later-version"}'


@pytest.mark.parametrize("where", [None, RunFilter(tags=("nightly",))], ids=["wanted", "filters"])
def test_a_log_that_cannot_be_read_stops_no_other_run(
    running: Relays, server: FakePrefect3, where: RunFilter | None
) -> None:
    """Its run is left alone, which the relay says once; other runs are relayed on."""
    refused, first, second = (add_finished_run(server, tags=["nightly"]) for _ in range(3))
    running.store.append(("default", refused), Page("a", "", 0, 1, LATER_EVENT), 0)
    running.wait_for(running.store.connect().want(refused))
    relay = running.start(where=where)
    wait_until(
        lambda: any(f"cannot read the log of flow run {refused}" in t for t in relay.reports)
    )
    for run_id in (first, second):
        assert stream(running.url, run_id).run().kind == "closed"
        running.wait_for(running.store.connect().want(refused))
    assert [page.body for page in running.store.pages(refused)] == [LATER_EVENT]
    assert sum(refused in text for text in relay.reports) == 1
    assert not any("starts its watch again" in text for text in relay.reports)


@pytest.mark.parametrize("method", ["read", "last"])
def test_a_log_with_something_else_is_left_alone(
    running: Relays, server: FakePrefect3, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """What the broker's client cannot read is refused as an event that cannot be."""
    refused, other = add_finished_run(server), add_finished_run(server)
    request = getattr(MemoryBroker, method)

    async def refuse(broker: MemoryBroker, run_id: str, **arguments: int) -> object:
        if run_id == refused:
            raise InvalidRelayLog("a page of version 2")
        return await request(broker, run_id, **arguments)

    monkeypatch.setattr(MemoryBroker, method, refuse)
    running.wait_for(running.store.connect().want(refused))
    relay = running.start()
    assert stream(running.url, other).run().kind == "closed"
    said = f"cannot read the log of flow run {refused}"
    wait_until(lambda: [text for text in relay.reports if said in text])
    assert any("a page of version 2" in text for text in relay.reports)
    assert running.store.pages(refused) == []


def test_an_outage_of_the_server_ends_no_relay(running: Relays, server: FakePrefect3) -> None:
    """A server that refuses the first requests is tried again; the reports say why."""
    run_id = add_finished_run(server)
    server.intercept = lambda _: httpx.Response(401, text="no key")
    relay = running.start()
    events = iter(stream(running.url, run_id))
    thread = threading.Thread(target=next, args=(events,))
    thread.start()
    wait_until(lambda: any("starts its watch again" in text for text in relay.reports))
    server.intercept = None
    thread.join(60)
    assert [event.kind for event in events][-1] == "closed"


def test_a_server_that_is_not_supported_ends_a_relay(running: Relays, server: FakePrefect3) -> None:
    """Waiting does not help there."""
    server.intercept = lambda request: (
        httpx.Response(200, json="2.20.0") if request.url.path.endswith("version") else None
    )
    relay = running.start()
    running.wait_for(running.store.connect().want(server.add_run()))
    with pytest.raises(UnsupportedServer):
        running.wait_for(relay._join())


def test_options_are_those_of_a_relay_for_readers_by_default() -> None:
    """Without filters a relay looks for no run."""
    assert RelayOptions().selection().where is None
