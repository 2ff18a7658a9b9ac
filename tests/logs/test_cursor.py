"""The cursor: polls that break off, saving and loading, runs that join and leave, memory."""

from collections import Counter
from collections.abc import Collection
from datetime import UTC, datetime
from functools import partial
from random import Random

import pytest
from cursor_reader import (
    PERIOD,
    CursorReader,
    LongTable,
    at_once,
    followed_run,
    seconds,
    stored,
    write,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from simulated_world import START, SimulatedWatch, World

from rxflow import FlowRunLog
from rxflow._logs.cursor_poll import CursorProgress
from rxflow._logs.ledger import Ledger
from rxflow._logs.log_read import LOG_ORDER, LogRead
from rxflow._protocol.failures import Failure, FailureKind, Reply
from rxflow._protocol.queries import LogsQuery, Query
from rxflow._watching.watch_spec import EventSource, WatchSpec

# -- ways to poll -------------------------------------------------------------------------------


def test_a_shallow_poll_delivers_rows_above_the_floor_and_proves_nothing() -> None:
    """Without a count from the first row on, a late row is left to the next deep poll."""
    world, run, reader = followed_run()
    write(world, run, world.now - 5, world.now - 1, 30.0)
    read = reader.poll(deep=False)
    assert (len(read.rows), read.proven) == (2, False)
    read = reader.poll()
    assert ([row.timestamp for row in read.rows], read.proven) == ([START + seconds(30)], True)


def test_a_server_that_refuses_offsets_is_read_by_time() -> None:
    """Without offsets a watch emits all rows, and says that it is not verified."""
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
    spec = WatchSpec(flow_run_id=run, sources=frozenset(EventSource))
    watched = SimulatedWatch(world, spec).run()
    assert watched.error is None
    assert not watched.closed.verified
    assert sorted(row.id for row in watched.of(FlowRunLog)) == sorted(stored(world))
    refused = [query for _, query in watched.sent if isinstance(query, LogsQuery) and query.offset]
    assert len(refused) == 3  # one rejection may be that of a proxy


def test_rows_that_cannot_be_read_are_delivered_once() -> None:
    """Unreadable rows are listed in the order of logs, count like all others, and come once."""
    world, run, reader = followed_run()
    write(world, run, 60.5, *(world.now + number / 10 for number in range(5)))
    bad = [world.server.logs[-6], *world.server.logs[-4:-2]]
    for row in bad:
        row["message"] = None
    read = reader.poll()
    assert (len(read.rows), read.proven) == (3, True)
    assert [row.id for row in read.malformed] == [row["id"] for row in bad]
    read = reader.poll(last=True)
    assert (read.rows, read.malformed, read.proven) == ((), (), True)


NEW_ROWS = {
    "none": [],
    "recent rows": [179.0, 180.0],
    "a page and more": [180.0 + number / 100 for number in range(90)],
    "late rows": [1.0, 90.5, 100.0],
    "rows between known ones": [171.5, 172.5, 176.5],
    "rows ahead": [4000.0, 4001.0],
    "ties": [179.0] * 50,
    "a long way behind": [180.0 + number / 100 for number in range(500)],
}
"""Times of rows that are stored before a poll."""


@pytest.mark.parametrize("times", NEW_ROWS.values(), ids=NEW_ROWS)
def test_a_poll_that_breaks_off_changes_nothing(times: list[float]) -> None:
    """Whichever request of a poll fails, the cursor is as before, and later polls deliver all."""
    world, run, reader = followed_run()
    write(world, run, *times)
    before = reader.saved()
    send, requests, failing_request = reader.send, 0, 0
    world.wait(PERIOD)

    def send_or_fail(query: LogsQuery) -> Reply:
        nonlocal requests
        requests += 1
        if requests > failing_request:
            return Failure(kind=FailureKind.NETWORK, text="gone")
        return send(query)

    reader.send = send_or_fail
    while reader.try_poll() is None:
        assert reader.saved() == before
        requests, failing_request = 0, failing_request + 1
    reader.send = send
    world.wait(30)
    reader.catch_up()
    assert sorted(reader.ids) == sorted(stored(world))


@pytest.mark.parametrize("dated", [True, False], ids=["dated", "undated"])
def test_a_history_is_delivered_in_order_whatever_its_pages_hold(dated: bool) -> None:
    """Pages in order, with ties, and ties of more than a page; with and without a server time."""
    world = World(page_limit=20)
    run = world.server.add_run()
    write(world, run, *range(50), *[30.0] * 3, *[42.0] * 45, *range(50, 90))
    world.wait(60)
    reader = CursorReader(at_once(world, dated=dated), run, limit=20)
    reader.catch_up()
    assert sorted(reader.ids) == sorted(stored(world))
    assert reader.delivered == sorted(reader.delivered, key=LOG_ORDER)


def test_a_row_that_a_history_leaves_to_later_polls_is_unread_until_it_is_delivered() -> None:
    """A row stored just before the first page is read may have earlier neighbours still to come."""
    world = World(page_limit=20)
    run = world.server.add_run()
    write(world, run, *range(90))
    world.wait(60)
    write(world, run, 3.5)
    (left,) = {row["id"] for row in world.server.logs[-1:]}
    reader = CursorReader(at_once(world), run, limit=20)
    unread: list[datetime | None] = []
    while left not in reader.ids:
        unread.append(reader.poll().unread_from)
    assert unread == [START + seconds(3.5)] * 5 + [None]
    assert sorted(reader.ids) == sorted(stored(world))


# -- saving and loading -------------------------------------------------------------------------

Step = tuple[str, float]
steps: st.SearchStrategy[list[Step]] = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["wait", "write", "write many"]), st.floats(0, 15)),
        st.tuples(st.just("write late"), st.floats(0, 200)),
        st.tuples(st.just("poll"), st.sampled_from([0.0, 1.0])),
        st.tuples(st.just("delete"), st.floats(0, 1)),
    ),
    max_size=40,
)


def play(
    life: list[Step], *, stops: Collection[int]
) -> tuple[list[tuple[int, bool]], list[int], list[int]]:
    """Play a life of a run that is read by a cursor, whose buckets are small and soon merged.

    Args:
        life: What happens.
        stops: The numbers of the polls after which the cursor is saved and loaded.

    Returns:
        The delivered rows by their numbers, each with whether it was flagged; how many requests
        each poll took; and the rows that are left.
    """
    world = World(page_limit=7)
    run = world.server.add_run()
    ledger = Ledger((run,), bucket_size=3, max_buckets=6)
    reader = CursorReader(at_once(world), run, limit=7, ledger=ledger)
    numbers: dict[str, int] = {}
    polls = 0

    def store(time: float) -> None:
        numbers[world.server.log(run, timestamp=START + seconds(round(time, 1)))] = len(numbers)

    for step, number in [*life, *[("poll", 1.0)] * 12, *[("last poll", 1.0)] * 4]:
        match step:
            case "wait":
                world.wait(number)
            case "write":
                store(world.now - number / 10)
            case "write many":
                for _ in range(int(number) + 1):
                    store(world.now)
            case "write late":
                store(world.now - number)
            case "delete":
                logs = world.server.logs
                del logs[int(number * len(logs)) : int(number * len(logs)) + 1]
            case _:
                reader.poll(deep=bool(number), last=step == "last poll")
                polls += 1
                if polls in stops:
                    reader.save_and_load()
    delivered = [(numbers[row.id], row.replayed) for row in reader.delivered]
    return delivered, reader.requests, [numbers[row] for row in stored(world)]


@given(life=steps, stops=st.one_of(st.sets(st.integers(1, 40)), st.just(range(1000))))
@settings(max_examples=100)
def test_a_loaded_cursor_continues_as_if_it_had_never_stopped(
    life: list[Step], stops: Collection[int]
) -> None:
    """Saved and loaded anywhere, a cursor sends and delivers the same, and misses nothing."""
    delivered, requests, left = play(life, stops=())
    assert (delivered, requests, left) == play(life, stops=stops)
    once = Counter(row for row, replayed in delivered if not replayed)
    assert max(once.values(), default=0) <= 1
    assert set(left) <= {row for row, _ in delivered}
    if "delete" not in dict(life):
        assert set(left) == once.keys()


# -- runs in one table --------------------------------------------------------------------------

RUNS = 3

group_steps: st.SearchStrategy[list[tuple[str, int, float]]] = st.lists(
    st.tuples(
        st.sampled_from(
            ["wait", "write", "write", "write many", "write late", "poll", "poll", "join", "leave"]
        ),
        st.integers(0, RUNS - 1),
        st.floats(0, 15),
    ),
    max_size=40,
)


class RunGroup:
    """Runs of which some are read as one table, and the others each alone."""

    def __init__(self) -> None:
        """Start with each run alone."""
        self.world = World(page_limit=7)
        self.runs = [self.world.server.add_run() for _ in range(RUNS)]
        self.readers = {run: self._reader(run) for run in self.runs}
        self.delivered: dict[str, list[str]] = {run: [] for run in self.runs}

    def poll(self) -> list[LogRead]:
        """Poll each table once."""
        reads = [reader.poll() for reader in self._tables()]
        for read in reads:
            for row in read.rows:
                self.delivered[row.flow_run_id].append(row.id)
        return reads

    def join(self, run: str) -> None:
        """Read a run together with the first one, once both have caught up."""
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
        """Read a run alone."""
        reader = self.readers[run]
        if len(reader.cursor.ledger.runs) > 1:
            self.readers[run] = self._reader(run)
            self.readers[run].cursor = reader.cursor.leave(run)

    def write(self, run: str, *times: float) -> None:
        """Store rows of a run."""
        write(self.world, run, *(round(time, 1) for time in times))

    def check(self) -> None:
        """Check that each run's rows were delivered once, and are counted."""
        for _ in range(100):
            if all(read.proven for read in self.poll()):
                break
        for run in self.runs:
            rows = [row["id"] for row in self.world.server.logs if row["flow_run_id"] == run]
            assert sorted(self.delivered[run]) == sorted(rows)
        tables = self._tables()
        assert sum(reader.cursor.ledger.total for reader in tables) == len(self.world.server.logs)
        assert sorted(run for reader in tables for run in reader.cursor.ledger.runs) == sorted(
            self.runs
        )

    def _reader(self, run: str) -> CursorReader:
        return CursorReader(at_once(self.world), run, limit=7)

    def _tables(self) -> list[CursorReader]:
        return list({id(reader): reader for reader in self.readers.values()}.values())


@given(life=group_steps)
@settings(max_examples=100)
def test_runs_that_join_and_leave_are_read_as_if_each_were_alone(
    life: list[tuple[str, int, float]],
) -> None:
    """However runs join a table and leave it, each row is delivered once, and each run counted."""
    group = RunGroup()
    world = group.world
    for step, index, number in life:
        run = group.runs[index]
        match step:
            case "wait":
                world.wait(number)
            case "write":
                group.write(run, world.now - number / 10)
            case "write many":
                group.write(run, *[world.now] * int(number + 1))
            case "write late":
                group.write(run, world.now - 10 * number)
            case "join":
                group.join(run)
            case "leave":
                group.leave(run)
            case _:
                group.poll()
    group.check()


def joined_group() -> RunGroup:
    """Return a group whose runs have 30 rows each, and are read as one table."""
    group = RunGroup()
    for run in group.runs:
        group.write(run, *range(30))
    group.world.wait(60)
    for run in group.runs:
        group.join(run)
    return group


def test_a_group_is_polled_with_one_request() -> None:
    """Runs that joined are one table: a poll takes one request, whichever of them writes."""
    group = joined_group()
    group.world.wait(10)
    group.write(group.runs[1], 69.0, 69.5)
    group.write(group.runs[2], 69.2)
    (read,) = group.poll()
    assert ([row.flow_run_id for row in read.rows], read.proven) == (
        [group.runs[1], group.runs[2], group.runs[1]],
        True,
    )
    assert group.readers[group.runs[0]].requests[-1] == 1
    group.check()


def test_a_group_is_proven_once_a_deleted_run_has_left() -> None:
    """When a run whose rows vanished has left, the count of the others is right again."""
    group = joined_group()
    logs, deleted = group.world.server.logs, group.runs[1]
    group.world.server.logs = [row for row in logs if row["flow_run_id"] != deleted]
    (read,) = group.poll()
    assert read.table_shrank
    group.leave(deleted)
    del group.readers[deleted]
    (read,) = group.poll()
    assert (read.proven, read.rows, read.rewound) == (True, (), False)


def test_failures_are_counted_anew_once_other_runs_are_read() -> None:
    """Two polls in a row of other runs say nothing about the first ones of these."""
    failing = CursorProgress(shrunk_polls=2, failed_audits=2)
    for progress in (failing.joined_with(failing), failing.with_failure_counts_reset()):
        assert (progress.shrunk_polls, progress.failed_audits) == (0, 0)


def test_a_burst_is_delivered_in_order_whatever_was_stored_meanwhile() -> None:
    """Lines of wrong clocks, far ahead and far behind, do not hide lines that are read later."""
    world = World(page_limit=3)
    run = world.server.add_run()
    reader = CursorReader(at_once(world), run, limit=3)
    world.server.log(run, "ahead", timestamp=START + seconds(3600))
    reader.catch_up()
    for number in range(300):
        world.at(10 + number / 10, partial(world.server.log, run, f"line {number}"))
    world.at(39.95, partial(world.server.log, run, "behind", timestamp=START - seconds(3600)))
    world.wait(41)
    reader.catch_up()
    lines = [row.message for row in reader.delivered if row.message.startswith("line")]
    assert lines == [f"line {number}" for number in range(300)]
    assert sorted(reader.ids) == sorted(stored(world))


@pytest.mark.parametrize("seed", range(5))
def test_a_burst_in_an_empty_run_is_left_to_a_backfill_whole(seed: int) -> None:
    """Of a tie that pages by offset show in random order, no row is delivered before the others."""
    world = World(page_limit=3, random=Random(seed))
    run = world.server.add_run()
    reader = CursorReader(at_once(world), run, limit=3)
    reader.catch_up()
    write(world, run, *[1.0] * 8, *(2 + number / 10 for number in range(60)))
    world.wait(60)
    read = reader.poll()
    assert (read.rows, read.backfill_position) == ((), START + seconds(1))
    reader.catch_up()
    assert sorted(reader.ids) == sorted(stored(world))
    assert reader.delivered == sorted(reader.delivered, key=LOG_ORDER)


def test_old_rows_of_a_run_that_joins_an_idle_one_are_not_new() -> None:
    """Rows that are only counted in one of two tables stay delivered when both are read as one."""
    world = World(page_limit=3)
    idle, busy = (world.server.add_run() for _ in range(2))
    group, joining = (CursorReader(at_once(world), run, limit=3) for run in (idle, busy))
    world.server.log(idle, "first")
    group.catch_up()
    for number in range(60):
        world.server.log(busy, f"line {number}", timestamp=START + seconds(number))
        world.wait(1)
        joining.poll()
    joining.catch_up()
    group.cursor.join(joining.cursor)
    for number in range(9):
        world.server.log(idle, f"new {number}")
    world.server.log(idle, "late", timestamp=START + seconds(30))
    world.wait(1)
    group.catch_up()
    assert Counter(group.ids + joining.ids) == Counter(stored(world))


def test_a_run_joins_only_once_it_has_caught_up() -> None:
    """A run whose history is still read page by page is read alone."""
    group = RunGroup()
    group.write(group.runs[1], *range(30))
    group.world.wait(60)
    group.poll()
    one, other = (group.readers[run].cursor for run in group.runs[:2])
    with pytest.raises(ValueError, match="caught up"):
        one.join(other)


# -- memory -------------------------------------------------------------------------------------

MAX_IDS, MAX_BUCKETS, ROWS_MOVED_A_ROW = 200, 4096, 2
"""Budgets of a day."""


@pytest.mark.long
@pytest.mark.timeout(300)
def test_a_day_is_read_in_bounded_memory(capsys: pytest.CaptureFixture[str]) -> None:
    """Of a day at ten rows a second, a late row each ten minutes, each row is delivered once."""
    table = LongTable()
    reader = CursorReader(table.send, table.run)
    delivered = bytearray(900_000)
    ids = buckets = 0
    for poll in range(24 * 1800):
        for tenth in range(20):
            table.write(table.now + tenth / 10)
        table.now += PERIOD
        if poll % 300 == 299:
            table.write(table.now - 30 - 7 * (poll % 4096))
        for row in reader.poll().rows:
            delivered[int(row.id)] += 1
        reader.delivered.clear()
        ids = max(ids, reader.cursor.ledger.kept_id_count)
        buckets = max(buckets, len(reader.cursor.ledger.buckets_of(table.run)))
    rows = len(table.created)
    assert rows == 24 * 36_000 + 144
    assert delivered == b"\x01" * rows + bytes(len(delivered) - rows)
    assert reader.cursor.ledger.total == rows
    with capsys.disabled():
        print(
            f"\na day: at most {ids} ids and {buckets} buckets, "
            f"{reader.rows_moved / rows:.3f} rows moved a row, "
            f"{sum(reader.requests) / len(reader.requests):.3f} requests a poll, "
            f"{len(reader.saved())} bytes saved"
        )
    assert ids <= MAX_IDS
    assert buckets <= MAX_BUCKETS
    assert reader.rows_moved <= ROWS_MOVED_A_ROW * rows


# -- far dates ----------------------------------------------------------------------------------


@pytest.mark.parametrize("before", [[], [[]]], ids=["listed", "arriving"])
@pytest.mark.parametrize("limit", [3, 200])
@pytest.mark.parametrize(
    "far",
    [datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)],
    ids=["first", "last"],
)
def test_rows_at_the_first_and_last_of_all_times_are_delivered_once(
    far: datetime, limit: int, before: list[list[datetime]]
) -> None:
    """A writer's clock may say anything: no arithmetic leaves the years 1 to 9999, or loops."""
    world = World()
    run = world.server.add_run()
    reader = CursorReader(at_once(world), run, limit=limit)
    for times in (*before, [far] * 10, [far], [far] * 9, [START] * 10, [far, START], []):
        for time in times:
            world.server.log(run, timestamp=time)
        world.wait(20)
        reader.catch_up()
    assert reader.poll(last=True).proven
    assert Counter(reader.ids) == Counter(stored(world))


@pytest.mark.parametrize("dated", [True, False], ids=["dated", "undated"])
@pytest.mark.parametrize("year", [1, 9999])
def test_a_row_stored_at_an_impossible_time_moves_no_clock(year: int, dated: bool) -> None:
    """`created` is the server's clock; one row with another one is delivered as any other."""
    world = World()
    run = world.server.add_run()
    reader = CursorReader(at_once(world, dated=dated), run)
    world.server.log(run, created=datetime(year, 6, 1, tzinfo=UTC))
    reader.catch_up()
    assert reader.cursor.newest_created is None
    for _ in range(3):
        world.server.log(run)
        world.wait(20)
        reader.catch_up()
    assert reader.poll(last=True).proven
    assert Counter(reader.ids) == Counter(stored(world))
    assert reader.cursor.newest_created == world.clock() - seconds(20)
