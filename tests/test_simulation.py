"""Hostile worlds, a few hundred of them; ``tox -e simulate`` watches as many as one likes."""

import pytest
from hostile_worlds import Hostile
from hostile_worlds_prefect1 import Hostile1

WORLDS = 300
AT_ONCE = 30

AROUND = pytest.mark.parametrize("hostile", [Hostile, Hostile1], ids=["prefect3", "prefect1"])


@pytest.mark.long
@pytest.mark.parametrize("first", range(0, WORLDS, AT_ONCE))
@AROUND
def test_nothing_is_lost_or_repeated_in_a_hostile_world(hostile: type[Hostile], first: int) -> None:
    """Each row is told once and in its writer's order, the count is right, and the watch ends."""
    wrong = [
        result
        for seed in range(first, first + AT_ONCE)
        if not (result := hostile(seed).watch()).good
    ]
    assert wrong == []


@AROUND
def test_a_seed_is_a_world_is_a_run(hostile: type[Hostile]) -> None:
    """A seed gives the same world and the same run of it, so that a failure can be replayed."""
    once, again = hostile(11).watch(), hostile(11).watch()
    assert (once.rows, once.requests, once.kind) == (again.rows, again.requests, again.kind)
    assert once.rows > 0
