"""Worlds that are drawn from a seed."""

from datetime import timedelta
from typing import Any, get_args

import msgspec
import pytest

import rxflow
from rxflow import StateType
from rxflow.testing import Faults, History, World
from rxflow.testing._world import WorldKind

KINDS: tuple[WorldKind, ...] = get_args(WorldKind)
KINDS_THAT_LOSE_ROWS = {"deleted", "restored"}


def tables(world: World) -> bytes:
    """Encode the tables of a world's server."""
    server = world.server
    rows: list[Any] = [server.runs, server.states, server.logs]
    return msgspec.json.encode(rows)


@pytest.mark.parametrize("kind", [*KINDS, None])
def test_a_seed_repeats_a_world(kind: WorldKind | None) -> None:
    """With one seed the same happens at the same times, row ids included."""
    once, again, other = (World(seed, kind=kind) for seed in (5, 5, 6))
    for world in (once, again, other):
        world.time.wait(600)
        world.server.catch_up()
    assert (once.kind, once.history) == (again.kind, again.history)
    assert tables(once) == tables(again) != tables(other)


@pytest.mark.parametrize("kind", sorted(set(KINDS) - KINDS_THAT_LOSE_ROWS - {"faulty"}))
def test_a_watch_delivers_every_row_that_landed(kind: WorldKind) -> None:
    """Through Rx and an httpx client each row is delivered once."""
    world = World(3, kind=kind)
    stream = rxflow.watch_flow_run(world.run_id, client=world.server.client())
    events = world.time.collect(stream)
    delivered = [event.id for event in events if isinstance(event, rxflow.FlowRunLog)]
    assert sorted(delivered) == sorted(row["id"] for row in world.played.landed)


def test_all_kinds_are_drawn() -> None:
    """Without a given kind, seeds draw each of them."""
    assert {World(seed).kind for seed in range(100)} == set(KINDS)


def test_given_parts_replace_drawn_ones() -> None:
    """The other parts are drawn as they are without the given ones."""
    history = History(states=((1.0, StateType.COMPLETED),))
    drawn, given = World(9, kind="calm"), World(9, kind="calm", history=history, page_limit=5)
    assert given.history == history
    assert World(9, kind="calm", page_limit=5).history == drawn.history
    assert World(9, kind="calm", faults=Faults(errors=0.5)).server.faults == Faults(errors=0.5)


def test_faults_end_some_time_after_the_run() -> None:
    """From `healed` on, requests have only latency and ties."""
    world = World(2, kind="faulty")
    world.time.wait(world.healed - 0.001)
    world.server.catch_up()
    assert world.server.faults.lost > 0
    world.time.wait(0.001)
    world.server.catch_up()
    assert world.server.faults == Faults(latency=0.01, ties=True)
    assert timedelta(seconds=world.healed) > timedelta(seconds=world.played.end)
