"""The count-probe cursor: each row once, at a known price, whatever the clocks and ties."""

from array import array
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Collection
from datetime import datetime, timedelta
from functools import partial
from random import Random
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulated_world import START, SimulatedWatch, World, exchange

from rxflow import FlowRunLog
from rxflow._logs.cursor import CursorState, LogCursor
from rxflow._logs.full_read import read_all_logs
from rxflow._logs.ledger import Ledger
from rxflow._logs.log_read import LogRead
from rxflow._protocol.failures import Failure, FailureKind, Reply
from rxflow._protocol.pages import Page, Poll
from rxflow._protocol.queries import LogsQuery, Query
from rxflow._watching.watch_spec import EventSource, WatchSpec

PERIOD = 2.0
"""Seconds between two polls, and between two uploads of a writer."""

Ask = Callable[[LogsQuery], Reply]


def seconds(number: float) -> timedelta:
    """A duration."""
    return timedelta(seconds=number)


class Reader:
    """A cursor with what it told, and what it asked."""

    def __init__(self, ask: Ask, *runs: str, limit: int = 200, **options: Any) -> None:
        """Begin at the first row of some runs; `options` are those of the cursor."""
        self.ask = ask
        self.limit = limit
        self.cursor = LogCursor(*runs, **options)
        self.told: list[FlowRunLog] = []
        self.costs: list[int] = []
        """How many requests each poll took."""
        self.moved = 0

    def poll(self, *, deep: bool = True, last: bool = False) -> LogRead:
        """Carry out a poll that must not fail, and commit it."""
        read = self.attempt(deep=deep, last=last)
        assert read is not None
        return read

    def attempt(self, *, deep: bool = True, last: bool = False) -> LogRead | None:
        """Carry out a poll and commit it; None if a request of it failed."""
        read = self._carry_out(self.cursor.poll(self.limit, deep=deep, last=last))
        if read is not None:
            self.cursor.commit(read)
            self.told += read.rows
        return read

    def _carry_out(self, poll: Poll[LogRead]) -> LogRead | None:
        self.costs.append(0)
        try:
            query = next(poll)
            while True:
                assert isinstance(query, LogsQuery)
                self.costs[-1] += 1
                answer = self.ask(query)
                if isinstance(answer, Failure):
                    poll.close()
                    return None
                self.moved += answer.count
                query = poll.send(answer)
        except StopIteration as end:
            read: LogRead = end.value
            return read

    def catch_up(self) -> LogRead:
        """Poll until everything is proven."""
        for _ in range(1000):
            read = self.poll()
            if read.proven:
                return read
        raise AssertionError("A thousand polls proved nothing")

    def reload(self) -> None:
        """Save the cursor, and go on with one that was loaded."""
        self.cursor = LogCursor.load(msgspec.json.decode(self.saved(), type=CursorState))

    def saved(self) -> bytes:
        """All of the cursor, as text."""
        return msgspec.json.encode(self.cursor.save())

    @property
    def ids(self) -> list[str]:
        """Which rows were told, in order."""
        return [row.id for row in self.told]


def at_once(world: World) -> Ask:
    """Ask the server of a world while its time stands still."""
    return partial(exchange, world.server)


def over_time(world: World) -> Ask:
    """Ask the server of a world in which a request takes time, and may fail."""
    return world.send


def stored(world: World) -> list[str]:
    """The ids of all rows that the server has."""
    return [row["id"] for row in world.server.logs]


def write(world: World, run: str, *times: float) -> None:
    """Store rows of these times now."""
    for time in times:
        world.server.log(run, timestamp=START + seconds(time))


# -- the price ----------------------------------------------------------------------------------


def live(
    *, rate: float, runs: int, length: float, staggered: bool, ask: Callable[[World], Ask]
) -> tuple[World, Reader, list[bool]]:
    """Follow some runs that write in turn, each sending every two seconds, with a poll as often.

    Staggered writers send one after the other, and not all at the same instant. Besides the world
    and the reader, it gives whether each poll that was not a page of a list proved anything.
    """
    world = World()
    ids = [world.server.add_run() for _ in range(runs)]
    for number in range(int(rate * length)):
        written, mine = number / rate, number % runs
        phase = PERIOD * (37 * mine % runs) / runs if staggered else 0.0
        sent = ((written - phase) // PERIOD + 1) * PERIOD + phase
        world.at(sent + 0.1, partial(write, world, ids[mine], written))
    reader = Reader(ask(world), *ids)
    proven: list[bool] = []
    while world.now < length:
        begun = world.now
        read = reader.poll()
        if read.backfill_position is None:
            proven.append(read.proven)
            world.wait(begun + PERIOD - world.now)
    return world, reader, proven


PRICES = {
    # rows a second: requests a poll of writers that send together, and of staggered ones
    0.0: (1.0, 1.0),
    1.0: (1.0, 1.0),
    10.0: (1.0, 1.0),
    100.0: (2.0, 2.0),
    # Staggered, 2,000 new rows lie among 1,000 known ones, which are 16 pages however one reads.
    1000.0: (11.0, 16.0),
}


@pytest.mark.parametrize("staggered", [False, True], ids=["together", "staggered"])
@pytest.mark.parametrize("runs", [1, 10, 200], ids="{} runs".format)
@pytest.mark.parametrize("rate", PRICES, ids="{:g} rows/s".format)
def test_requests_of_a_poll(rate: float, runs: int, staggered: bool) -> None:
    """A poll takes one request when idle and at ten rows a second, and few more at a thousand."""
    length = 60 if rate < 1000 else 20
    world, reader, _ = live(rate=rate, runs=runs, length=length, staggered=staggered, ask=at_once)
    steady = reader.costs[4:]
    assert sum(steady) / len(steady) <= PRICES[rate][staggered]
    assert max(steady) <= PRICES[rate][staggered] + (rate >= 100)
    reader.catch_up()
    assert sorted(reader.ids) == sorted(stored(world))
    assert reader.moved <= 8 * len(reader.told) + len(reader.costs)


@pytest.mark.parametrize("rate", [100.0, 300.0, 1000.0], ids="{:g} rows/s".format)
def test_a_poll_is_proven_while_rows_land_between_its_requests(rate: float) -> None:
    """Time that passes during a poll costs a request or two, and proves what was there before."""
    world, reader, proven = live(rate=rate, runs=200, length=24, staggered=True, ask=over_time)
    steady = reader.costs[-6:]
    assert all(proven[-6:])
    assert sum(steady) / len(steady) <= {100.0: 2, 300.0: 5, 1000.0: 17}[rate]
    there = stored(world)
    assert reader.poll().proven
    assert set(there) <= set(reader.ids)
    assert len(set(reader.ids)) == len(reader.ids)


AHEAD = {3.0: 3, 30.0: 9, 200.0: 9, 3600.0: 3}
"""Seconds that a writer's clock is ahead, and how often its rows are read at the most."""


@pytest.mark.parametrize("ahead", AHEAD, ids="{:g} s ahead".format)
def test_an_ahead_writer_costs_a_request(ahead: float) -> None:
    """Rows dated ahead cost a poll one request more, and are not read again and again."""
    world = World()
    run = world.server.add_run()
    for second in range(1, 600):
        world.at(second + 0.1, partial(write, world, run, float(second), second + ahead))
    reader = Reader(at_once(world), run)
    while world.now < 600:
        reader.poll()
        world.wait(PERIOD)
    reader.poll()
    assert max(reader.costs) <= 2
    assert sorted(reader.ids) == sorted(stored(world))
    assert reader.moved <= AHEAD[ahead] * len(reader.told)


@pytest.mark.parametrize("ahead", AHEAD, ids="{:g} s ahead".format)
def test_two_writers_ahead_cost_no_more_than_one(ahead: float) -> None:
    """Rows dated ahead that lie between known ones are read at once, like all others."""
    world = World()
    run = world.server.add_run()
    for second in range(1, 300):
        sent = second + 0.1 + second % 2  # each other row comes after the one that follows it
        world.at(sent, partial(write, world, run, float(second), second + ahead))
    reader = Reader(at_once(world), run)
    while world.now < 300:
        reader.poll()
        world.wait(PERIOD)
    assert max(reader.costs[20:]) <= 2
    reader.catch_up()
    assert sorted(reader.ids) == sorted(stored(world))


class Lines:
    """A server's table for long histories: a run's rows by time, two numbers a row."""

    run = "3d1c0f2a-7f0b-4a39-a7d4-2d6a4a9b5c11"

    def __init__(self) -> None:
        """Begin at second 0 without rows."""
        self.now = 0.0
        self.created = array("q")
        """When each row was stored, in microseconds, by the row's number."""
        self._times = array("q")
        self._numbers = array("q")

    def write(self, time: float) -> None:
        """Store a row of a time now."""
        micro = round(time * 1e6)
        rank = bisect_right(self._times, micro)
        self._times.insert(rank, micro)
        self._numbers.insert(rank, len(self.created))
        self.created.append(round(self.now * 1e6) + len(self.created) % 1000)

    def answer(self, query: LogsQuery) -> Page[Any]:
        """Give a page."""
        first = 0 if query.after is None else bisect_left(self._times, _micro(query.after))
        end = len(self._times)
        if query.before is not None:
            end = bisect_right(self._times, _micro(query.before))
        if query.descending:
            start = end - query.offset
            ranks = range(start - 1, max(first, start - query.limit) - 1, -1)
        else:
            start = first + query.offset
            ranks = range(start, min(end, start + query.limit))
        date = START + seconds(int(self.now))
        return Page(tuple(self._row(rank) for rank in ranks), date)

    def _row(self, rank: int) -> FlowRunLog:
        number = self._numbers[rank]
        return FlowRunLog(
            flow_run_id=self.run,
            id=str(number),
            timestamp=START + timedelta(microseconds=self._times[rank]),
            created=START + timedelta(microseconds=self.created[number]),
            level=20,
            name="prefect.flow_runs",
            message="a line",
        )


def _micro(time: datetime) -> int:
    return (time - START) // timedelta(microseconds=1)


def test_a_late_row_costs_some_requests_once() -> None:
    """Below the floor a row is found by bisection, and then the price is one request again."""
    lines = Lines()
    reader = Reader(lines.answer, lines.run)
    for number in range(36_000):
        lines.now = number / 10
        lines.write(lines.now)
        if number % 20 == 19:
            reader.poll()
    assert max(reader.costs) == 1
    most = {1.0: 12, 17.0: 12, 1800.0: 12, 3000.0: 12, 3530.0: 9, 3580.0: 9}
    for late, requests in most.items():
        lines.write(late)
        read = reader.poll()
        assert read.proven
        assert [row.timestamp for row in read.rows] == [START + seconds(late)]
        assert reader.costs[-1] <= requests
        reader.poll()
        assert reader.costs[-1] == 1


@pytest.mark.long
@pytest.mark.timeout(300)
def test_a_day(capsys: pytest.CaptureFixture[str]) -> None:
    """A day at ten rows a second, a row late each ten minutes: all once, in bounded memory."""
    lines = Lines()
    reader = Reader(lines.answer, lines.run)
    told = bytearray(900_000)
    held = buckets = 0
    for poll in range(24 * 1800):
        for tenth in range(20):
            lines.write(lines.now + tenth / 10)
        lines.now += PERIOD
        if poll % 300 == 299:
            lines.write(lines.now - 30 - 7 * (poll % 4096))
        for row in reader.poll().rows:
            told[int(row.id)] += 1
        reader.told.clear()
        held = max(held, reader.cursor.ledger.kept_id_count)
        buckets = max(buckets, len(reader.cursor.ledger.buckets_of(lines.run)))
    rows = len(lines.created)
    assert rows == 24 * 36_000 + 144
    assert told == b"\x01" * rows + bytes(len(told) - rows)
    assert reader.cursor.ledger.total == rows
    with capsys.disabled():
        print(
            f"\na day: at most {held} ids and {buckets} buckets, "
            f"{reader.moved / rows:.3f} rows moved a row, "
            f"{sum(reader.costs) / len(reader.costs):.3f} requests a poll, "
            f"{len(reader.saved())} bytes saved"
        )
    assert held <= 200
    assert buckets <= 4096
    assert reader.moved <= 2 * rows


# -- ties ---------------------------------------------------------------------------------------


@pytest.mark.long
@pytest.mark.parametrize("count", [199, 200, 201, 450, 10_000])
@pytest.mark.parametrize("when", ["before", "while", "late"])
def test_ties(count: int, when: str) -> None:
    """Rows of one timestamp are told once, however many, in whatever order pages give them."""
    world = World(random=Random(count))
    run = world.server.add_run()
    reader = Reader(at_once(world), run)
    world.wait(60)
    if when != "before":
        write(world, run, *range(50))
        reader.catch_up()
    write(world, run, *[20.0 if when == "late" else 60.0] * count)
    world.wait(60)
    reader.catch_up()
    write(world, run, 119.0)
    reader.catch_up()
    assert sorted(reader.ids) == sorted(stored(world))


# -- rows that are gone -------------------------------------------------------------------------


def lived(minutes: float = 3) -> tuple[World, str, Reader]:
    """A run that wrote a row a second, followed to now."""
    world = World(page_limit=20)
    run = world.server.add_run()
    for second in range(int(minutes * 60)):
        world.at(second + 0.5, partial(write, world, run, float(second)))
    reader = Reader(at_once(world), run, limit=20)
    while world.now < minutes * 60:
        reader.poll()
        world.wait(PERIOD)
    reader.catch_up()
    assert sorted(reader.ids) == sorted(stored(world))
    return world, run, reader


GONE = {
    "the newest": [-1],
    "one in the window": [-4],
    "all in the window": list(range(-15, 0)),
    "the first": [0],
    "one below the floor": [70],
    "some everywhere": [3, 4, 50, 90, -30, -12, -2],
}


@pytest.mark.parametrize("new", [0, 3], ids="{} new".format)
@pytest.mark.parametrize("gone", GONE.values(), ids=GONE)
def test_rows_that_vanish_are_doubted_then_believed(gone: list[int], new: int) -> None:
    """Three polls doubt it; then all is read again, and only what is flagged is told twice."""
    world, run, reader = lived()
    left = world.server.logs
    for row in [left[index] for index in gone]:
        left.remove(row)
    reads = [reader.poll() for _ in range(4)]
    assert [read.table_shrank for read in reads] == [True, True, True, False]
    assert [read.rewound for read in reads] == [False, False, False, True]
    write(world, run, *(world.now + number for number in range(new)))
    reader.catch_up()
    once = Counter(row.id for row in reader.told if not row.replayed)
    assert max(once.values()) == 1
    assert set(stored(world)) <= once.keys()
    assert reader.cursor.ledger.total == len(left)


def test_what_counts_alike_is_not_taken_for_what_was_told() -> None:
    """A row that is gone from where a poll reads is missed, though another made up for it."""
    world, run, reader = lived()
    for burst in range(3):  # below known rows, so that later polls step back as far
        write(world, run, *(world.now - 3 + burst + number / 5 for number in range(5)))
        reader.catch_up()
    world.server.logs.remove(max(world.server.logs, key=lambda row: row["timestamp"]))
    write(world, run, 3.0)
    reads = [reader.poll() for _ in range(5)]
    assert [read.table_shrank for read in reads] == [True, True, True, False, False]
    assert (reads[3].rewound, reads[4].proven) == (True, True)
    assert set(stored(world)) <= set(reader.ids)


@pytest.mark.parametrize("minutes", [0.2, 3.0, 20.0], ids="{:g} minutes".format)
def test_the_last_look_sees_what_no_count_can(minutes: float) -> None:
    """Where a row came for one that vanished, far below the end, the last looks find it out."""
    world, run, reader = lived(minutes)
    world.wait(30)
    world.server.logs.pop(5)
    write(world, run, 2.25)
    for _ in range(5):
        read = reader.poll()
        assert (read.proven, read.rows) == (True, ())
    reads = [reader.poll(last=True) for _ in range(4)]
    assert [read.audit_failed for read in reads] == [True, True, False, False]
    assert [read.proven for read in reads] == [False, False, False, True]
    assert [read.rewound for read in reads] == [False, False, True, False]
    assert set(stored(world)) <= set(reader.ids)
    once = Counter(row.id for row in reader.told if not row.replayed)
    assert max(once.values()) == 1


def test_a_last_look_of_a_replica_that_lags_behind_is_not_believed() -> None:
    """Rows that are not there at one last look and are at the next are not told again."""
    world, _, reader = lived(0.2)
    logs, told = world.server.logs, len(reader.told)
    world.server.logs = logs[:-3]
    assert [reader.poll(last=True).audit_failed for _ in range(2)] == [True, True]
    world.server.logs = logs
    read = reader.poll(last=True)
    assert (read.proven, read.audit_failed, read.rewound) == (True, False, False)
    assert len(reader.told) == told


def test_a_last_look_is_one_request_for_a_page_and_few_for_ten() -> None:
    """A history of less than a page is counted and compared by reading it; a longer one twice."""
    for rows, most in {0: 1, 1: 1, 198: 1, 199: 3, 1000: 7, 2000: 12, 2001: 1}.items():
        world = World()
        run = world.server.add_run()
        write(world, run, *(number / 10 for number in range(rows)))
        world.wait(1000)
        reader = Reader(at_once(world), run)
        reader.catch_up()
        read = reader.poll(last=True)
        assert (read.proven, read.audit_failed) == (True, False if rows <= 2000 else None)
        assert reader.costs[-1] <= most


def test_pages_of_different_replicas_are_not_put_together() -> None:
    """A page that lacks what the page before it had is of an earlier time, and is not believed."""
    world = World()
    run = world.server.add_run()
    reader = Reader(at_once(world), run)
    for second in range(5):
        write(world, run, *(second + number / 500 for number in range(500)))
        world.wait(1)
        reader.catch_up()
    before = list(world.server.logs)
    write(world, run, *(6 + number / 500 for number in range(500)))
    now, plain = world.server.logs, reader.ask
    for behind in range(3):  # the request that goes to the replica
        asked = 0

        def ask(query: LogsQuery, behind: int = behind) -> Reply:
            nonlocal asked
            world.server.logs = before if asked == behind else now
            asked += 1
            return plain(query)

        reader.ask = ask
        read = reader.poll()
        assert read.table_shrank or not read.rows
    reader.ask, world.server.logs = plain, now
    reader.catch_up()
    assert reader.ids == stored(world)


def test_a_late_row_beside_one_that_vanished_is_told_once() -> None:
    """A young row of a bucket that was read again is known from then on, and not new for ever."""
    world, run, reader = lived()
    for burst in range(3):  # below known rows, so that later polls step back as far
        write(world, run, *(world.now - 8 - burst + number / 100 for number in range(100)))
        reader.catch_up()
    world.wait(20)
    write(world, run, world.now)
    reader.catch_up()
    by_time = sorted(world.server.logs, key=lambda row: row["timestamp"])
    for row in by_time[-40:-38]:
        world.server.logs.remove(row)
    world.server.log(run, timestamp=by_time[-40]["timestamp"])
    reads = [reader.poll() for _ in range(5)]
    assert [read.table_shrank for read in reads] == [True, True, True, False, False]
    assert [not row.replayed for row in reads[3].rows].count(True) == 1
    assert (reads[4].proven, reads[4].rows) == (True, ())


def test_a_replica_that_lags_behind_is_not_believed() -> None:
    """Fewer rows than were told, for two polls, change nothing."""
    world, _, reader = lived()
    logs, told = world.server.logs, len(reader.told)
    world.server.logs = logs[:-5]
    assert [reader.poll().table_shrank for _ in range(2)] == [True, True]
    world.server.logs = logs
    read = reader.poll()
    assert (read.proven, read.rewound, len(reader.told)) == (True, False, told)


# -- servers that refuse offsets ----------------------------------------------------------------


def test_a_server_that_refuses_offsets_is_read_by_time() -> None:
    """Without offsets a watch ends with all rows and says that it is not verified."""
    world = World(page_limit=20)
    run = world.server.add_run()
    for second in range(100):
        world.at(second + 0.5, partial(write, world, run, float(second)))
    world.at(70, partial(write, world, run, 12.3))  # late, and found at the end
    world.at(101, partial(world.server.set_state, run, "COMPLETED"))

    def fault(query: Query) -> Failure | None:
        if isinstance(query, LogsQuery) and query.offset:
            return Failure(kind=FailureKind.REJECTED, text="offset: not here")
        return None

    world.fault = fault
    watched = SimulatedWatch(
        world, WatchSpec(flow_run_id=run, sources=frozenset(EventSource))
    ).run()
    assert watched.error is None
    assert not watched.closed.verified
    told = [row.id for row in watched.of(FlowRunLog)]
    assert sorted(told) == sorted(stored(world))
    refused = [query for _, query in watched.sent if isinstance(query, LogsQuery) and query.offset]
    assert len(refused) == 1


# -- polls that are not whole -------------------------------------------------------------------


def test_a_shallow_poll_tells_the_window_and_proves_nothing() -> None:
    """Without counting from the first row, what is new above the floor is told and no more."""
    world, run, reader = lived()
    write(world, run, world.now - 5, world.now - 1, 30.0)
    read = reader.poll(deep=False)
    assert (len(read.rows), read.proven) == (2, False)
    read = reader.poll()
    assert ([row.timestamp for row in read.rows], read.proven) == ([START + seconds(30)], True)


LATER = {
    "nothing": [],
    "young rows": [179.0, 180.0],
    "a page and more": [180.0 + number / 100 for number in range(90)],
    "late rows": [1.0, 90.5, 100.0],
    "rows between known ones": [171.5, 172.5, 176.5],
    "rows ahead": [4000.0, 4001.0],
    "ties": [179.0] * 50,
    "a long way behind": [180.0 + number / 100 for number in range(500)],
}


@pytest.mark.parametrize("times", LATER.values(), ids=LATER)
def test_a_dropped_poll_changes_nothing(times: list[float]) -> None:
    """Whichever request of a poll fails, the cursor is what it was, and tells the same later."""
    world, run, reader = lived()
    write(world, run, *times)
    before = reader.saved()
    plain, asked, fail_at = reader.ask, 0, 0
    world.wait(PERIOD)

    def ask(query: LogsQuery) -> Reply:
        nonlocal asked
        asked += 1
        return Failure(kind=FailureKind.NETWORK, text="gone") if asked > fail_at else plain(query)

    reader.ask = ask
    while reader.attempt() is None:
        assert reader.saved() == before
        asked, fail_at = 0, fail_at + 1
    reader.ask = plain
    world.wait(30)
    reader.catch_up()
    assert sorted(reader.ids) == sorted(stored(world))


# -- saving -------------------------------------------------------------------------------------

Step = tuple[str, float]
steps: st.SearchStrategy[list[Step]] = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["wait", "write", "many"]), st.floats(0, 15)),
        st.tuples(st.just("late"), st.floats(0, 200)),
        st.tuples(st.just("poll"), st.sampled_from([0.0, 1.0])),
        st.tuples(st.just("gone"), st.floats(0, 1)),
    ),
    max_size=40,
)


def play(
    life: list[Step], *, stops: Collection[int]
) -> tuple[list[tuple[int, bool]], list[int], list[int]]:
    """What a cursor tells, what its polls cost, and the rows that are left, of a life.

    Rows go by their numbers; the cursor is saved and loaded after the polls whose numbers are
    among the stops. Its buckets are small and soon joined.
    """
    world = World(page_limit=7)
    run = world.server.add_run()
    reader = Reader(
        at_once(world), run, limit=7, ledger=Ledger((run,), bucket_size=3, max_buckets=6)
    )
    numbers: dict[str, int] = {}
    polls = 0

    def store(time: float) -> None:
        numbers[world.server.log(run, timestamp=START + seconds(round(time, 1)))] = len(numbers)

    for step, number in [*life, *[("poll", 1.0)] * 12, *[("last", 1.0)] * 4]:
        match step:
            case "wait":
                world.wait(number)
            case "write":
                store(world.now - number / 10)
            case "many":
                for _ in range(int(number) + 1):
                    store(world.now)
            case "late":
                store(world.now - number)
            case "gone":
                logs = world.server.logs
                del logs[int(number * len(logs)) : int(number * len(logs)) + 1]
            case _:
                reader.poll(deep=bool(number), last=step == "last")
                polls += 1
                if polls in stops:
                    reader.reload()
    told = [(numbers[row.id], row.replayed) for row in reader.told]
    return told, reader.costs, [numbers[row] for row in stored(world)]


@given(life=steps, stops=st.one_of(st.sets(st.integers(1, 40)), st.just(range(1000))))
@settings(max_examples=100)
def test_a_cursor_that_is_saved_and_loaded_goes_on_as_if_nothing_were(
    life: list[Step], stops: Collection[int]
) -> None:
    """Stopped anywhere or never, a cursor asks and tells the same, and misses nothing."""
    told, costs, left = play(life, stops=())
    assert (told, costs, left) == play(life, stops=stops)
    once = Counter(row for row, replayed in told if not replayed)
    assert max(once.values(), default=0) <= 1
    assert set(left) <= {row for row, _ in told}
    if "gone" not in dict(life):
        assert set(left) == once.keys()


# -- runs in one table --------------------------------------------------------------------------

RUNS = 3

group_steps: st.SearchStrategy[list[tuple[str, int, float]]] = st.lists(
    st.tuples(
        st.sampled_from(
            ["wait", "write", "write", "many", "late", "poll", "poll", "join", "leave"]
        ),
        st.integers(0, RUNS - 1),
        st.floats(0, 15),
    ),
    max_size=40,
)


class Group:
    """Runs of which some are read in one table, and the others each alone."""

    def __init__(self) -> None:
        """Begin with each alone."""
        self.world = World(page_limit=7)
        self.runs = [self.world.server.add_run() for _ in range(RUNS)]
        self.readers = {run: Reader(at_once(self.world), run, limit=7) for run in self.runs}
        self.told: dict[str, list[str]] = {run: [] for run in self.runs}

    def poll(self) -> list[LogRead]:
        """Poll each table once."""
        reads = [reader.poll() for reader in self._tables()]
        for read in reads:
            for row in read.rows:
                self.told[row.flow_run_id].append(row.id)
        return reads

    def join(self, run: str) -> None:
        """Have a run that has caught up read together with the first that has."""
        first = self.readers[self.runs[0]]
        reader = self.readers[run]
        if reader is first:
            return
        for _ in range(100):
            if all(read.backfill_position is None and read.proven for read in self.poll()):
                break
        first.cursor.join(reader.cursor)
        self.readers |= {other: first for other, its in self.readers.items() if its is reader}

    def leave(self, run: str) -> None:
        """Have a run read alone."""
        reader = self.readers[run]
        if len(reader.cursor.ledger.runs) > 1:
            alone = Reader(at_once(self.world), run, limit=7)
            alone.cursor = reader.cursor.leave(run)
            self.readers[run] = alone

    def write(self, run: str, *times: float) -> None:
        """Store rows of a run."""
        write(self.world, run, *(round(time, 1) for time in times))

    def check(self) -> None:
        """See that each run's rows were told once, and are counted."""
        for _ in range(100):
            if all(read.proven for read in self.poll()):
                break
        for run in self.runs:
            mine = [row["id"] for row in self.world.server.logs if row["flow_run_id"] == run]
            assert sorted(self.told[run]) == sorted(mine)
        tables = self._tables()
        assert sum(reader.cursor.ledger.total for reader in tables) == len(self.world.server.logs)
        assert sorted(run for reader in tables for run in reader.cursor.ledger.runs) == sorted(
            self.runs
        )

    def _tables(self) -> list[Reader]:
        return list({id(reader): reader for reader in self.readers.values()}.values())


@given(life=group_steps)
@settings(max_examples=100)
def test_runs_that_join_and_leave_are_told_as_if_each_were_read_alone(
    life: list[tuple[str, int, float]],
) -> None:
    """However runs come into one table and go, each row is told once, and each run is counted."""
    group = Group()
    world = group.world
    for step, index, number in life:
        run = group.runs[index]
        match step:
            case "wait":
                world.wait(number)
            case "write":
                group.write(run, world.now - number / 10)
            case "many":
                group.write(run, *[world.now] * int(number + 1))
            case "late":
                group.write(run, world.now - 10 * number)
            case "join":
                group.join(run)
            case "leave":
                group.leave(run)
            case _:
                group.poll()
    group.check()


def test_a_group_polls_in_one_request() -> None:
    """What joined is one table: a request a poll, whichever of its runs writes."""
    group = Group()
    for run in group.runs:
        group.write(run, *range(30))
    group.world.wait(60)
    for run in group.runs:
        group.join(run)
    group.world.wait(10)
    group.write(group.runs[1], 69.0, 69.5)
    group.write(group.runs[2], 69.2)
    (read,) = group.poll()
    assert ([row.flow_run_id for row in read.rows], read.proven) == (
        [group.runs[1], group.runs[2], group.runs[1]],
        True,
    )
    assert group.readers[group.runs[0]].costs[-1] == 1
    group.check()


def test_a_run_that_vanishes_leaves_its_group_whole() -> None:
    """Once a run that is gone has left, the count of the others is right again."""
    group = Group()
    for run in group.runs:
        group.write(run, *range(30))
    group.world.wait(60)
    for run in group.runs:
        group.join(run)
    logs, gone = group.world.server.logs, group.runs[1]
    group.world.server.logs = [row for row in logs if row["flow_run_id"] != gone]
    (read,) = group.poll()
    assert read.table_shrank
    group.leave(gone)
    del group.readers[gone]
    (read,) = group.poll()
    assert (read.proven, read.rows, read.rewound) == (True, (), False)


def test_a_run_that_is_still_listed_does_not_join() -> None:
    """Only what has caught up is one table: a run is read to its end by itself."""
    group = Group()
    group.write(group.runs[1], *range(30))
    group.world.wait(60)
    group.poll()
    one, other = (group.readers[run].cursor for run in group.runs[:2])
    with pytest.raises(ValueError, match="caught up"):
        one.join(other)


# -- all rows at once ----------------------------------------------------------------------------


@pytest.mark.parametrize("page_limit", [2, 3])
def test_a_history_is_read_whole_however_many_pages_it_has(page_limit: int) -> None:
    """What is read at once is all there is: a page of a long list is no try at a proof."""
    world = World(page_limit=page_limit)
    run = world.server.add_run()
    lines = {world.server.log(run, timestamp=START - seconds(n)) for n in range(150)}
    world.wait(60)
    with world.server.client() as client:
        rows = client.read(lambda limit: read_all_logs(run, None, limit))
    assert [row.timestamp for row in rows] == sorted(row.timestamp for row in rows)
    assert sorted(row.id for row in rows) == sorted(lines)
