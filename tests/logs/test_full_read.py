"""The full read: all rows of a run at once."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from cursor_reader import at_once, seconds, write
from msgspec.structs import replace
from simulated_world import START, World

from rxflow._logs.full_read import FullRead, read_all_logs
from rxflow._logs.log_read import LOG_ORDER
from rxflow._protocol.failures import Reply
from rxflow._protocol.pages import Page, Poll
from rxflow._protocol.queries import LogsQuery


def table_of(*times: float, page_limit: int = 2) -> tuple[World, str]:
    """A world with a run that logged a line at each of some seconds, a minute ago."""
    world = World(page_limit=page_limit)
    run = world.server.add_run()
    write(world, run, *times)
    world.wait(60)
    return world, run


def read_to_end(poll: Poll[FullRead], send: Callable[[LogsQuery], Reply]) -> FullRead:
    """Carry out a full read."""
    query = next(poll)
    while True:
        assert isinstance(query, LogsQuery)
        reply = send(query)
        assert isinstance(reply, Page)
        try:
            query = poll.send(reply)
        except StopIteration as end:
            read: FullRead = end.value
            return read


def times_of(read: FullRead) -> list[float]:
    """Return the seconds at which the rows were written."""
    return [(row.timestamp - START).total_seconds() for row in read.rows]


@pytest.mark.parametrize("page_limit", [2, 3])
def test_a_history_is_read_completely_however_many_pages_it_has(page_limit: int) -> None:
    """A history of more pages than a full read tries to prove it is read to its end."""
    world, run = table_of(*range(150), page_limit=page_limit)
    with world.server.client() as client:
        read = client.read(lambda limit: read_all_logs(run, None, limit))
    assert times_of(read) == [*range(150)]
    assert (read.proven, read.malformed) == (True, [])


@pytest.mark.parametrize(("rows", "requests"), [(0, 1), (199, 1), (200, 3), (398, 3), (399, 4)])
def test_a_quiet_table_is_counted_once(rows: int, requests: int) -> None:
    """A table of one page takes one request, a longer one its pages and one count."""
    world, run = table_of(*range(rows), page_limit=200)
    send, sent = at_once(world), list[LogsQuery]()

    def record(query: LogsQuery) -> Reply:
        sent.append(query)
        return send(query)

    read = read_to_end(read_all_logs(run, None, 200), record)
    assert (times_of(read), read.proven, len(sent)) == ([*range(rows)], True, requests)


def test_rows_that_arrive_during_the_read_are_found() -> None:
    """Rows that land below what was read are found by the count, above and far below the floor."""
    world, run = table_of(*range(0, 120, 2))
    send, late = at_once(world), [7.5, 111.5, 118.5]

    def write_late_rows(query: LogsQuery) -> Reply:
        if late and query.offset:  # all pages were read, and are being counted
            write(world, run, *late)
            late.clear()
        return send(query)

    read = read_to_end(read_all_logs(run, None, 2), write_late_rows)
    assert times_of(read) == sorted([*range(0, 120, 2), 7.5, 111.5, 118.5])
    assert read.proven


def test_a_row_that_two_pages_have_is_read_once() -> None:
    """A server may round the time from which on a page is read."""
    world, run = table_of(*range(20), page_limit=4)
    send = at_once(world)

    def round_down(query: LogsQuery) -> Reply:
        if query.after is not None and not query.offset:
            query = replace(query, after=query.after - timedelta(seconds=1))
        return send(query)

    read = read_to_end(read_all_logs(run, None, 4), round_down)
    assert (times_of(read), read.proven) == ([*range(20)], True)


def test_rows_that_vanish_during_the_read_end_no_read() -> None:
    """Where fewer rows are counted than were read, the table is read anew and proven."""
    world, run = table_of(*range(30))
    send = at_once(world)

    def delete_a_row(query: LogsQuery) -> Reply:
        if query.offset and len(world.server.logs) == 30:
            del world.server.logs[3]
        return send(query)

    read = read_to_end(read_all_logs(run, None, 2), delete_a_row)
    assert read.proven
    assert {*range(30)} - {*times_of(read)} <= {3}


def test_a_row_that_cannot_be_read_is_counted_and_listed() -> None:
    """Unreadable rows are listed once each, also where the count disagrees at first."""
    world, run = table_of(*range(9))
    for row in world.server.logs[2:5]:
        row["message"] = None
    bad = [row["id"] for row in world.server.logs[2:5]]
    read = read_to_end(read_all_logs(run, None, 2), at_once(world))
    assert (times_of(read), read.proven) == ([0, 1, 5, 6, 7, 8], True)
    assert [row.id for row in read.malformed] == bad

    send = at_once(world)

    def write_a_late_row(query: LogsQuery) -> Reply:
        if query.offset and len(world.server.logs) == 9:
            write(world, run, 6.5)
        return send(query)

    read = read_to_end(read_all_logs(run, None, 2), write_a_late_row)
    assert (times_of(read), read.proven) == ([0, 1, 5, 6, 6.5, 7, 8], True)
    assert [row.id for row in read.malformed] == bad


@pytest.mark.parametrize("page_limit", [3, 200])
def test_a_full_read_is_in_the_order_of_logs(page_limit: int) -> None:
    """Rows of one timestamp are in the order in which they were stored, unreadable ones as well."""
    world, run = table_of(*range(5), 4, 4, page_limit=page_limit)
    for row, stored in zip(world.server.logs[-3:], [9, 8, 7], strict=True):
        row["created"] = START + seconds(stored)
    world.server.logs[1]["message"] = None
    read = read_to_end(read_all_logs(run, None, page_limit), at_once(world))
    assert (times_of(read), len(read.malformed), read.proven) == ([0, 2, 3, 4, 4, 4], 1, True)
    assert read.rows == sorted(read.rows, key=LOG_ORDER)


def test_a_table_that_is_never_proven_is_read_all_the_same() -> None:
    """On a server whose offsets lead nowhere no count agrees, and the read ends with all rows."""
    world, run = table_of(*range(7))
    send = at_once(world)
    read = read_to_end(
        read_all_logs(run, None, 2), lambda query: Page(()) if query.offset else send(query)
    )
    assert (times_of(read), read.proven) == ([*range(7)], False)
