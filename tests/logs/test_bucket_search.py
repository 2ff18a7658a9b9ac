"""The bucket search: late rows below the floor, at a known cost."""

from cursor_reader import CursorReader, LongTable, followed_run, seconds, write
from simulated_world import START

MAX_REQUESTS = {1.0: 12, 17.0: 12, 1800.0: 12, 3000.0: 12, 3530.0: 9, 3580.0: 9}
"""Budgets of the poll that finds one late row in an hour of ten rows a second, by its second."""


def test_a_late_row_costs_some_requests_once() -> None:
    """A late row is found by bisection, and the next poll takes one request again."""
    table = LongTable()
    reader = CursorReader(table.send, table.run)
    for number in range(36_000):
        table.now = number / 10
        table.write(table.now)
        if number % 20 == 19:
            reader.poll()
    assert max(reader.requests) == 1
    for late, budget in MAX_REQUESTS.items():
        table.write(late)
        read = reader.poll()
        assert read.proven
        assert [row.timestamp for row in read.rows] == [START + seconds(late)]
        assert reader.requests[-1] <= budget
        reader.poll()
        assert reader.requests[-1] == 1


def test_a_bucket_that_lacks_a_delivered_row_is_not_believed() -> None:
    """More rows than were delivered in a bucket do not hide that one of those vanished."""
    world, run, reader = followed_run()
    logs = list(world.server.logs)
    world.server.logs.pop(70)
    write(world, run, 70.1, 70.2)
    late = world.server.logs[-2:]
    assert reader.poll().table_shrank
    world.server.logs[:] = [*logs, *late]
    read = reader.poll()
    assert (read.proven, [row.id for row in read.rows]) == (True, [row["id"] for row in late])
