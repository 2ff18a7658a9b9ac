"""Watch some hundred hostile worlds; ``tox -e simulate`` watches any number of them."""

import pytest
from hostile_worlds import HostileWatch
from hostile_worlds_prefect1 import Prefect1HostileWatch
from killed_watches import (
    CheckpointedManyRunWatch,
    CheckpointedPrefect1Watch,
    CheckpointedWatch,
    KilledManyRunWatch,
    KilledPrefect1Watch,
    KilledWatch,
)
from many_run_worlds import ManyRunWatch

WORLDS = 120
KILLED_WORLDS = 30
WORLDS_PER_CASE = 30

Killed = type[
    KilledWatch
    | KilledPrefect1Watch
    | CheckpointedWatch
    | CheckpointedPrefect1Watch
    | KilledManyRunWatch
    | CheckpointedManyRunWatch
]
KILLED: dict[str, Killed] = {
    "events of prefect3": KilledWatch,
    "events of prefect1": KilledPrefect1Watch,
    "checkpoint of prefect3": CheckpointedWatch,
    "checkpoint of prefect1": CheckpointedPrefect1Watch,
    "events of many runs": KilledManyRunWatch,
    "checkpoints of many runs": CheckpointedManyRunWatch,
}
EACH_BACKEND = pytest.mark.parametrize(
    "hostile", [HostileWatch, Prefect1HostileWatch], ids=["prefect3", "prefect1"]
)


@pytest.mark.long
@pytest.mark.parametrize("first", range(0, WORLDS, WORLDS_PER_CASE))
@EACH_BACKEND
def test_nothing_is_lost_or_repeated_in_a_hostile_world(
    hostile: type[HostileWatch], first: int
) -> None:
    """Each row is emitted once, in its writer's order, the count is right, and the watch ends."""
    wrong = [
        result
        for seed in range(first, first + WORLDS_PER_CASE)
        if not (result := hostile(seed).watch()).good
    ]
    assert wrong == []


@pytest.mark.long
@pytest.mark.parametrize("first", range(0, WORLDS, WORLDS_PER_CASE))
def test_nothing_of_many_runs_is_lost_or_repeated_in_a_hostile_world(first: int) -> None:
    """Each of many runs has the whole stream that a watch of it alone has, whatever the others."""
    wrong = [
        result
        for seed in range(first, first + WORLDS_PER_CASE)
        if not (result := ManyRunWatch(seed).watch()).good
    ]
    assert wrong == []


@pytest.mark.long
@pytest.mark.parametrize("first", range(0, KILLED_WORLDS, WORLDS_PER_CASE))
@pytest.mark.parametrize("killed", KILLED.values(), ids=KILLED)
def test_watches_that_go_on_after_kills_are_one_watch(killed: Killed, first: int) -> None:
    """All of them together emit each row once and in order, flag what is late, and close once."""
    results = [killed(seed).watch() for seed in range(first, first + WORLDS_PER_CASE)]
    assert [result for result in results if not result.good] == []
    assert sum(result.kills for result in results) > WORLDS_PER_CASE


@pytest.mark.parametrize(
    "hostile",
    [HostileWatch, Prefect1HostileWatch, ManyRunWatch],
    ids=["prefect3", "prefect1", "many runs"],
)
def test_a_seed_determines_a_world_and_its_run(
    hostile: type[HostileWatch] | type[ManyRunWatch],
) -> None:
    """The same seed gives the same world and run, so that a failure can be replayed."""
    once, again = hostile(11).watch(), hostile(11).watch()
    assert (once.rows, once.requests, once.kind) == (again.rows, again.requests, again.kind)
    assert once.rows > 0
