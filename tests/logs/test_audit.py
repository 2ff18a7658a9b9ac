"""The audit: rows that vanish, alone or while others arrive, and replicas that lag."""

from collections import Counter

import pytest
from cursor_reader import CursorReader, at_once, followed_run, stored, write
from simulated_world import World

GONE = {
    "the newest": [-1],
    "one above the floor": [-4],
    "all above the floor": list(range(-15, 0)),
    "the first": [0],
    "one below the floor": [70],
    "some everywhere": [3, 4, 50, 90, -30, -12, -2],
}
"""Indexes of rows that vanish."""

LAST_POLL_REQUESTS = {0: 1, 1: 1, 198: 1, 199: 3, 1000: 7, 2000: 12, 2001: 1}
"""Budgets of a last poll, by the number of rows; above 2,000 rows there is no audit."""


def assert_unflagged_once(reader: CursorReader) -> None:
    """Check that each row was delivered at most once without a flag."""
    once = Counter(row.id for row in reader.delivered if not row.replayed)
    assert max(once.values()) == 1


@pytest.mark.parametrize("new", [0, 3], ids="{} new".format)
@pytest.mark.parametrize("gone", GONE.values(), ids=GONE)
def test_vanished_rows_are_believed_after_three_polls(gone: list[int], new: int) -> None:
    """After three polls the table is read again, and rows delivered twice are flagged."""
    world, run, reader = followed_run()
    left = world.server.logs
    for row in [left[index] for index in gone]:
        left.remove(row)
    reads = [reader.poll() for _ in range(4)]
    assert [read.table_shrank for read in reads] == [True, True, True, False]
    assert [read.rewound for read in reads] == [False, False, False, True]
    write(world, run, *(world.now + number for number in range(new)))
    reader.catch_up()
    assert_unflagged_once(reader)
    assert set(stored(world)) <= {row.id for row in reader.delivered if not row.replayed}
    assert reader.cursor.ledger.total == len(left)


def test_each_row_is_read_once_where_rows_vanished() -> None:
    """What is read again is as many rows as the table has, and little more."""
    world, _, reader = followed_run(10)
    world.server.logs.pop(70)
    moved = 0
    while not reader.poll().rewound:
        moved = reader.rows_moved
    assert len(world.server.logs) <= reader.rows_moved - moved < 1.5 * len(world.server.logs)


def test_a_first_row_is_found_by_a_last_poll_without_offsets() -> None:
    """A server without offsets is read whole at the end, also where nothing was delivered yet."""
    world = World()
    run = world.server.add_run()
    reader = CursorReader(at_once(world), run)
    reader.poll()
    reader.cursor.refuse_offsets()
    write(world, run, 0)
    read = reader.poll(last=True)
    assert [row.id for row in read.rows] == stored(world)
    assert (read.proven, read.provable, read.rewound) == (False, False, False)


def test_a_row_that_vanished_is_missed_though_another_arrived() -> None:
    """A poll notices a delivered row that its page lacks, even if the count is right."""
    world, run, reader = followed_run()
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
def test_the_audit_finds_what_no_count_shows(minutes: float) -> None:
    """A row that vanished far below the end, while another arrived, is found by last polls."""
    world, run, reader = followed_run(minutes)
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
    assert_unflagged_once(reader)


def test_an_audit_of_a_lagging_replica_is_not_believed() -> None:
    """Rows that lack at one last poll and are there at the next are not delivered again."""
    world, _, reader = followed_run(0.2)
    logs, delivered = world.server.logs, len(reader.delivered)
    world.server.logs = logs[:-3]
    assert [reader.poll(last=True).audit_failed for _ in range(2)] == [True, True]
    world.server.logs = logs
    read = reader.poll(last=True)
    assert (read.proven, read.audit_failed, read.rewound) == (True, False, False)
    assert len(reader.delivered) == delivered


def test_requests_of_a_last_poll() -> None:
    """A history of less than a page is counted by its audit; a longer one takes both."""
    for rows, budget in LAST_POLL_REQUESTS.items():
        world = World()
        run = world.server.add_run()
        write(world, run, *(number / 10 for number in range(rows)))
        world.wait(1000)
        reader = CursorReader(at_once(world), run)
        reader.catch_up()
        read = reader.poll(last=True)
        assert (read.proven, read.audit_failed) == (True, False if rows <= 2000 else None)
        assert reader.requests[-1] <= budget


@pytest.mark.parametrize(("new", "proven"), [(0, True), (1, True), (2, False), (3, False)])
def test_an_audit_with_new_rows_proves_them_if_it_is_one_page(new: int, proven: bool) -> None:
    """Several pages show several states of the table, so rows that are new in them prove nothing.

    A page that is full may be followed by another one.
    """
    world = World(page_limit=20)
    run = world.server.add_run()
    write(world, run, *range(18))
    reader = CursorReader(at_once(world), run, limit=20)
    reader.catch_up()
    write(world, run, *range(18, 18 + new))
    read = reader.poll(last=True)
    assert (len(read.rows), read.proven, read.audit_failed) == (new, proven, False)
    assert reader.poll(last=True).proven


def test_a_late_row_beside_one_that_vanished_is_delivered_once() -> None:
    """A recently stored row of a bucket that was read again is known by id from then on."""
    world, run, reader = followed_run()
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


def test_a_lagging_replica_is_not_believed() -> None:
    """Fewer rows than were delivered, at two polls, change nothing."""
    world, _, reader = followed_run()
    logs, delivered = world.server.logs, len(reader.delivered)
    world.server.logs = logs[:-5]
    assert [reader.poll().table_shrank for _ in range(2)] == [True, True]
    world.server.logs = logs
    read = reader.poll()
    assert (read.proven, read.rewound, len(reader.delivered)) == (True, False, delivered)
