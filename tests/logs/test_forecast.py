"""The forecast: rows dated ahead of the server's clock are a part of their own, and cost little."""

from functools import partial

import pytest
from cursor_reader import PERIOD, CursorReader, at_once, stored, write
from simulated_world import World

MAX_REQUESTS_A_POLL = 2
"""Budget of a poll while a writer's clock is ahead."""

MAX_ROWS_MOVED_A_ROW = {3.0: 3, 30.0: 9, 200.0: 9, 3600.0: 3}
"""Budgets of how often a row is read, by the seconds that its writer's clock is ahead."""


@pytest.mark.parametrize("dated", [True, False], ids=["dated", "undated"])
@pytest.mark.parametrize("ahead", MAX_ROWS_MOVED_A_ROW, ids="{:g} s ahead".format)
def test_a_writer_that_is_ahead_costs_a_request(ahead: float, dated: bool) -> None:
    """Rows dated ahead cost a poll one request more, and are not read at each poll again.

    Where replies have no time, the server's clock is known from when it stored the newest row.
    """
    world = World()
    run = world.server.add_run()
    for second in range(1, 600):
        world.at(second + 0.1, partial(write, world, run, float(second), second + ahead))
    reader = CursorReader(at_once(world, dated=dated), run)
    while world.now < 600:
        reader.poll()
        world.wait(PERIOD)
    reader.poll()
    assert max(reader.requests) <= MAX_REQUESTS_A_POLL + (not dated)
    assert sorted(reader.ids) == sorted(stored(world))
    assert reader.rows_moved <= MAX_ROWS_MOVED_A_ROW[ahead] * len(reader.delivered)


@pytest.mark.parametrize("ahead", MAX_ROWS_MOVED_A_ROW, ids="{:g} s ahead".format)
def test_two_writers_that_are_ahead_cost_no_more_than_one(ahead: float) -> None:
    """Rows dated ahead that arrive between known ones are read at once, like all others."""
    world = World()
    run = world.server.add_run()
    for second in range(1, 300):
        sent = second + 0.1 + second % 2  # each other row arrives after the one that follows it
        world.at(sent, partial(write, world, run, float(second), second + ahead))
    reader = CursorReader(at_once(world), run)
    while world.now < 300:
        reader.poll()
        world.wait(PERIOD)
    assert max(reader.requests[20:]) <= MAX_REQUESTS_A_POLL
    reader.catch_up()
    assert sorted(reader.ids) == sorted(stored(world))
