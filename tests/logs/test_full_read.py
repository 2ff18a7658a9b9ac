"""The full read: all rows of a run at once."""

import pytest
from cursor_reader import at_once, seconds, write
from simulated_world import START, World

from rxflow import FlowRunLog
from rxflow._logs.full_read import read_all_logs
from rxflow._protocol.pages import Page
from rxflow._protocol.queries import LogsQuery


@pytest.mark.parametrize("page_limit", [2, 3])
def test_a_history_is_read_completely_however_many_pages_it_has(page_limit: int) -> None:
    """A history of more pages than a full read tries to prove it is read to its end."""
    world = World(page_limit=page_limit)
    run = world.server.add_run()
    lines = {world.server.log(run, timestamp=START - seconds(n)) for n in range(150)}
    world.wait(60)
    with world.server.client() as client:
        rows = client.read(lambda limit: read_all_logs(run, None, limit))
    assert [row.timestamp for row in rows] == sorted(row.timestamp for row in rows)
    assert sorted(row.id for row in rows) == sorted(lines)


def test_a_table_that_is_never_proven_is_read_all_the_same() -> None:
    """On a server whose offsets lead nowhere no count agrees, and the read ends with all rows."""
    world = World(page_limit=2)
    run = world.server.add_run()
    write(world, run, *range(7))
    world.wait(60)
    send = at_once(world)
    poll = read_all_logs(run, None, 2)
    rows: tuple[FlowRunLog, ...] = ()
    try:
        query = next(poll)
        while True:
            assert isinstance(query, LogsQuery)
            reply = send(query)
            assert isinstance(reply, Page)
            query = poll.send(Page(()) if query.offset else reply)
    except StopIteration as end:
        rows = end.value
    assert [row.timestamp for row in rows] == [START + seconds(n) for n in range(7)]
