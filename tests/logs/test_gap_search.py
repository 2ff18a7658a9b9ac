"""The gap search: what polls cost, rows that arrive between requests, ties and lagging replicas."""

from collections.abc import Callable
from functools import partial
from random import Random

import pytest
from cursor_reader import PERIOD, CursorReader, Send, at_once, over_time, seconds, stored, write
from simulated_world import START, World

from rxflow._protocol.failures import Reply
from rxflow._protocol.queries import LogsQuery

REQUESTS_A_POLL = {
    # rows a second: with writers that send together, and with staggered ones
    0.0: (1.0, 1.0),
    1.0: (1.0, 1.0),
    10.0: (1.0, 1.0),
    100.0: (2.0, 2.0),
    # Staggered, 2,000 new rows lie among 1,000 known ones, which are 16 pages however one reads.
    1000.0: (11.0, 16.0),
}
"""Budgets of requests a poll."""

REQUESTS_A_POLL_OVER_TIME = {100.0: 2, 300.0: 5, 1000.0: 17}
"""The same where rows arrive between the requests, by rows a second."""

ROWS_MOVED_A_ROW = 8
"""Budget of how often a row is read."""


def follow_writers(
    *, rate: float, runs: int, length: float, staggered: bool, send: Callable[[World], Send]
) -> tuple[World, CursorReader, list[bool]]:
    """Follow runs that write in turn, each sending every two seconds, with a poll as often.

    Staggered writers send one after the other, and not all at the same instant.

    Returns:
        The world, the reader, and of each poll that was not a page of a backfill whether it was
        proven.
    """
    world = World()
    ids = [world.server.add_run() for _ in range(runs)]
    for number in range(int(rate * length)):
        written, writer = number / rate, number % runs
        phase = PERIOD * (37 * writer % runs) / runs if staggered else 0.0
        sent = ((written - phase) // PERIOD + 1) * PERIOD + phase
        world.at(sent + 0.1, partial(write, world, ids[writer], written))
    reader = CursorReader(send(world), *ids)
    proven: list[bool] = []
    while world.now < length:
        began = world.now
        read = reader.poll()
        if read.backfill_position is None:
            proven.append(read.proven)
            world.wait(began + PERIOD - world.now)
    return world, reader, proven


@pytest.mark.parametrize("staggered", [False, True], ids=["together", "staggered"])
@pytest.mark.parametrize("runs", [1, 10, 200], ids="{} runs".format)
@pytest.mark.parametrize("rate", REQUESTS_A_POLL, ids="{:g} rows/s".format)
def test_requests_of_a_poll(rate: float, runs: int, staggered: bool) -> None:
    """A poll takes one request when idle and at ten rows a second, and few more at a thousand."""
    world, reader, _ = follow_writers(
        rate=rate,
        runs=runs,
        length=60 if rate < 1000 else 20,
        staggered=staggered,
        send=at_once,
    )
    steady, budget = reader.requests[4:], REQUESTS_A_POLL[rate][staggered]
    assert sum(steady) / len(steady) <= budget
    assert max(steady) <= budget + (rate >= 100)
    reader.catch_up()
    assert sorted(reader.ids) == sorted(stored(world))
    assert reader.rows_moved <= ROWS_MOVED_A_ROW * len(reader.delivered) + len(reader.requests)


@pytest.mark.parametrize("rate", REQUESTS_A_POLL_OVER_TIME, ids="{:g} rows/s".format)
def test_a_poll_is_proven_while_rows_arrive_between_its_requests(rate: float) -> None:
    """Rows that arrive during a poll cost it a request or two, and it proves the earlier ones."""
    world, reader, proven = follow_writers(
        rate=rate, runs=200, length=24, staggered=True, send=over_time
    )
    steady = reader.requests[-6:]
    assert all(proven[-6:])
    assert sum(steady) / len(steady) <= REQUESTS_A_POLL_OVER_TIME[rate]
    there = stored(world)
    assert reader.poll().proven
    assert set(there) <= set(reader.ids)
    assert len(set(reader.ids)) == len(reader.ids)


@pytest.mark.long
@pytest.mark.parametrize("count", [199, 200, 201, 450, 10_000])
@pytest.mark.parametrize("when", ["before", "while", "late"])
def test_ties_are_delivered_once(count: int, when: str) -> None:
    """Rows of one timestamp are delivered once, however many, with pages in any order."""
    world = World(random=Random(count))
    run = world.server.add_run()
    reader = CursorReader(at_once(world), run)
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


def test_pages_of_different_replicas_are_not_combined() -> None:
    """A page that lacks a row of the page before it is from an earlier time, and is rejected."""
    world = World()
    run = world.server.add_run()
    reader = CursorReader(at_once(world), run)
    for second in range(5):
        write(world, run, *(second + number / 500 for number in range(500)))
        world.wait(1)
        reader.catch_up()
    lagging = list(world.server.logs)
    write(world, run, *(6 + number / 500 for number in range(500)))
    current, send = world.server.logs, reader.send
    for to_replica in range(3):  # the number of the request that the replica replies to
        requests = 0

        def send_to_either(query: LogsQuery, to_replica: int = to_replica) -> Reply:
            nonlocal requests
            world.server.logs = lagging if requests == to_replica else current
            requests += 1
            return send(query)

        reader.send = send_to_either
        read = reader.poll()
        assert read.table_shrank or not read.rows
    reader.send, world.server.logs = send, current
    reader.catch_up()
    assert reader.ids == stored(world)


def read_ten_rows_a_second() -> tuple[World, str, CursorReader]:
    """Return a world, a run that wrote ten rows a second for a minute, and a reader of all rows."""
    world = World(page_limit=20)
    run = world.server.add_run()
    for second in range(60):
        lines = (second + number / 10 for number in range(10))
        world.at(second + 0.5, partial(write, world, run, *lines))
    reader = CursorReader(at_once(world), run, limit=20)
    while world.now < 60:
        reader.poll()
        world.wait(PERIOD)
    reader.catch_up()
    return world, run, reader


@pytest.mark.parametrize("seconds_ago", [1.95, 2.95, 8.95], ids="{:g} s ago".format)
@pytest.mark.parametrize("current", range(1, 5), ids="{} current replies".format)
def test_a_late_row_that_a_replica_lacks_is_found_again(seconds_ago: float, current: int) -> None:
    """A late row that a poll's first pages show or count, and its last lack, is delivered once."""
    world, run, reader = read_ten_rows_a_second()
    lagging = list(world.server.logs)
    write(world, run, 60 - seconds_ago)
    logs, send = world.server.logs, reader.send
    replies = iter([logs] * current)

    def send_to_replicas(query: LogsQuery) -> Reply:
        world.server.logs = next(replies, lagging)
        return send(query)

    reader.send = send_to_replicas
    reader.poll()
    reader.send, world.server.logs = send, logs
    reader.catch_up()
    assert sorted(reader.ids) == sorted(stored(world))


@pytest.mark.parametrize("above", [0, 1], ids="{} s above the floor".format)
def test_a_late_tie_is_read_once(above: float) -> None:
    """More late rows of one timestamp than a page are read at once, also at the floor's instant."""
    world, run, reader = read_ten_rows_a_second()
    floor = reader.cursor.ledger.floor
    assert floor is not None
    time = floor + seconds(above)
    write(world, run, *[(time - START).total_seconds()] * 45)
    read = reader.poll()
    assert read.proven
    assert [row.timestamp for row in read.rows] == [time] * 45


def test_a_late_row_below_a_late_tie_is_found_with_it() -> None:
    """Below a tie of more than a page the search goes on down to the floor."""
    world, run, reader = read_ten_rows_a_second()
    floor = reader.cursor.ledger.floor
    assert floor is not None
    late = (floor - START).total_seconds() + 1
    write(world, run, late, *[late + 2] * 45)
    read = reader.poll()
    assert read.proven
    assert sorted(row.id for row in read.rows) == sorted(stored(world)[-46:])


def test_a_page_that_is_not_full_ends_the_reading_down() -> None:
    """Where as many rows are expected again and none come, a page and a count are enough."""
    world = World(page_limit=20)
    run = world.server.add_run()
    reader = CursorReader(at_once(world), run, limit=20)
    write(world, run, *range(20))
    world.wait(60)
    reader.catch_up()
    write(world, run, *[60.0] * 19)
    assert len(reader.poll().rows) == 19
    assert reader.poll().proven
    assert reader.requests[-1] == 2


def test_a_late_row_below_the_floor_is_found_before_many_new_rows() -> None:
    """A poll that leaves many new rows to a backfill delivers the late ones below the floor."""
    world, run, reader = read_ten_rows_a_second()
    floor = reader.cursor.ledger.floor
    write(world, run, 5.05, *(60 + number / 10 for number in range(2_000)))
    read = reader.poll()
    assert [row.timestamp for row in read.rows] == [START + seconds(5.05)]
    assert read.backfill_position == floor
    world.wait(200)
    reader.catch_up()
    assert sorted(reader.ids) == sorted(stored(world))
