"""The full read: all rows of a run at once."""

import pytest
from cursor_reader import seconds
from simulated_world import START, World

from rxflow._logs.full_read import read_all_logs


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
