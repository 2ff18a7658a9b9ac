"""The count-probe cursor: each row once, at a known price, whatever the clocks and ties."""

from array import array
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from random import Random
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulation import START, Watched, World, exchange

from rxflow import FlowRunLog
from rxflow._cursor import CursorState, LogCursor, LogRead
from rxflow._polling import Failure, LogsQuery, Page, Poll, Query, Trouble
from rxflow._reader import WatchSpec
from rxflow._telling import Source

PERIOD = 2.0
"""Seconds between two polls, and between two uploads of a writer."""

Ask = Callable[[LogsQuery], Page[Any] | Failure]


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
    return world.ask


def stored(world: World) -> list[str]:
    """The ids of all rows that the server has."""
    return [row["id"] for row in world.server.logs]


def write(world: World, run: str, *times: float) -> None:
    """Store rows of these times now."""
    for time in times:
        world.server.log(run, timestamp=START + seconds(time))


# -- the price ----------------------------------------------------------------------------------


def live(*, rate: float, runs: int, length: float, staggered: bool) -> tuple[World, Reader]:
    """Follow some runs that write in turn, each sending every two seconds, with a poll as often.

    Staggered writers send one after the other, and not all at the same instant.
    """
    world = World()
    ids = [world.server.add_run() for _ in range(runs)]
    for number in range(int(rate * length)):
        written, mine = number / rate, number % runs
        phase = PERIOD * (37 * mine % runs) / runs if staggered else 0.0
        sent = ((written - phase) // PERIOD + 1) * PERIOD + phase
        world.at(sent + 0.1, partial(write, world, ids[mine], written))
    reader = Reader(at_once(world), *ids)
    while world.now < length:
        reader.poll()
        world.wait(PERIOD)
    return world, reader


PRICES = {
    # rows a second: requests a poll of writers that send together, and of staggered ones
    0.0: (1.0, 1.0),
    1.0: (1.0, 1.0),
    10.0: (1.0, 1.0),
    100.0: (2.0, 2.0),
    # Half of two seconds' rows lie below known ones, which is farther than a probe steps back.
    1000.0: (11.0, 17.0),
}


@pytest.mark.parametrize("staggered", [False, True], ids=["together", "staggered"])
@pytest.mark.parametrize("runs", [1, 10, 200], ids="{} runs".format)
@pytest.mark.parametrize("rate", PRICES, ids="{:g} rows/s".format)
def test_requests_of_a_poll(rate: float, runs: int, staggered: bool) -> None:
    """A poll takes one request when idle and at ten rows a second, and few more at a thousand."""
    world, reader = live(
        rate=rate, runs=runs, length=60 if rate < 1000 else 20, staggered=staggered
    )
    steady = reader.costs[4:]
    assert sum(steady) / len(steady) <= PRICES[rate][staggered]
    assert max(steady) <= PRICES[rate][staggered] + (rate >= 100)
    reader.catch_up()
    assert sorted(reader.ids) == sorted(stored(world))
    assert reader.moved <= 8 * len(reader.told) + len(reader.costs)


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
    for late in (1.0, 17.0, 1800.0, 3000.0, 3580.0):
        lines.write(late)
        read = reader.poll()
        assert read.proven
        assert [row.timestamp for row in read.rows] == [START + seconds(late)]
        assert reader.costs[-1] <= 16
        reader.poll()
        assert reader.costs[-1] == 1


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
        held = max(held, reader.cursor.ledger.held)
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
    assert [read.doubted for read in reads] == [True, True, True, False]
    assert [read.rewound for read in reads] == [False, False, False, True]
    write(world, run, *(world.now + number for number in range(new)))
    reader.catch_up()
    once = Counter(row.id for row in reader.told if not row.replayed)
    assert max(once.values()) == 1
    assert set(stored(world)) <= once.keys()
    assert reader.cursor.ledger.total == len(left)


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
    assert [read.doubted for read in reads] == [True, True, True, False, False]
    assert [not row.replayed for row in reads[3].rows].count(True) == 1
    assert (reads[4].proven, reads[4].rows) == (True, ())


def test_a_replica_that_lags_behind_is_not_believed() -> None:
    """Fewer rows than were told, for two polls, change nothing."""
    world, _, reader = lived()
    logs, told = world.server.logs, len(reader.told)
    world.server.logs = logs[:-5]
    assert [reader.poll().doubted for _ in range(2)] == [True, True]
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
            return Failure(trouble=Trouble.REJECTED, text="offset: not here")
        return None

    world.fault = fault
    watched = Watched(world, WatchSpec(flow_run_id=run, sources=frozenset(Source))).run()
    assert watched.error is None
    assert not watched.closed.verified
    told = [row.id for row in watched.of(FlowRunLog)]
    assert sorted(told) == sorted(stored(world))
    refused = [query for _, query in watched.asked if isinstance(query, LogsQuery) and query.offset]
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

    def ask(query: LogsQuery) -> Page[Any] | Failure:
        nonlocal asked
        asked += 1
        return Failure(trouble=Trouble.NETWORK, text="gone") if asked > fail_at else plain(query)

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


def play(life: list[Step], *, interrupted: bool) -> tuple[list[tuple[int, bool]], list[int]]:
    """What a cursor tells, and the rows that are left, of a life; rows go by their numbers."""
    world = World(page_limit=7)
    run = world.server.add_run()
    reader = Reader(at_once(world), run, limit=7)
    numbers: dict[str, int] = {}
    doubts = 0

    def store(time: float) -> None:
        numbers[world.server.log(run, timestamp=START + seconds(round(time, 1)))] = len(numbers)

    for step, number in [*life, *[("poll", 1.0)] * 12]:
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
                read = reader.poll(deep=bool(number))
                doubts = doubts + 1 if read.doubted else 0
                if interrupted and not doubts:  # doubts are not saved: they begin anew
                    reader.reload()
    told = [(numbers[row.id], row.replayed) for row in reader.told]
    return told, [numbers[row] for row in stored(world)]


@given(life=steps)
@settings(max_examples=50)
def test_a_cursor_that_is_saved_and_loaded_goes_on_as_if_nothing_were(life: list[Step]) -> None:
    """Stopped after every poll or never, a cursor tells the same rows in the same order."""
    told, left = play(life, interrupted=False)
    assert (told, left) == play(life, interrupted=True)
    once = Counter(row for row, replayed in told if not replayed)
    assert max(once.values(), default=0) <= 1
    if "gone" not in dict(life):  # what takes the place of a row that is gone may pass for it
        assert set(left) == once.keys()
