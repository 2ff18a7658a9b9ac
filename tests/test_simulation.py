"""Watch some hundred hostile worlds; ``tox -e simulate`` watches any number of them."""

import pytest
from budgeted_watches import BudgetedManyRunWatch, BudgetedPrefect1Watch, BudgetedWatch
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
from large_worlds import large_world
from many_run_worlds import ManyRunWatch
from shared_worlds import SharedRunsWatch, SharedWatch

WORLDS = 120
KILLED_WORLDS = 30
WORLDS_PER_CASE = 30
VARIANT_WORLDS = 8

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
Budgeted = type[BudgetedWatch | BudgetedPrefect1Watch | BudgetedManyRunWatch]
BUDGETED: dict[str, Budgeted] = {
    "prefect3": BudgetedWatch,
    "prefect1": BudgetedPrefect1Watch,
    "many runs": BudgetedManyRunWatch,
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


@pytest.mark.long
def test_nothing_of_a_run_with_many_lines_is_lost_or_repeated() -> None:
    """Worlds with thousands of lines keep the same promises, in pages of 200."""
    results = [HostileWatch(seed, large_world(seed, 2000)).watch() for seed in range(6)]
    assert [result for result in results if not result.good] == []
    assert sum(result.rows for result in results) > 10_000


@pytest.mark.long
@pytest.mark.parametrize("budgeted", BUDGETED.values(), ids=BUDGETED)
def test_a_budget_of_requests_is_kept_in_a_hostile_world(budgeted: Budgeted) -> None:
    """No minute has more requests, and nothing is lost or repeated for it."""
    results = [budgeted(seed).watch() for seed in range(VARIANT_WORLDS)]
    assert [result for result in results if not result.good] == []


@pytest.mark.long
@pytest.mark.parametrize("shared", [SharedWatch, SharedRunsWatch], ids=["one run", "by run"])
def test_subscribers_of_a_shared_watch_each_get_what_is_promised(shared: type[SharedWatch]) -> None:
    """They join and leave at any time, or raise, and none of them is disturbed by another."""
    results = [shared(seed).watch() for seed in range(VARIANT_WORLDS)]
    assert [result for result in results if not result.good] == []


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
