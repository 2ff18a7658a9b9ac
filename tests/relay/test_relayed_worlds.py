"""Two relays of many runs, stopped and killed at any page, in hostile worlds."""

import pytest
from relayed_worlds import RelayedRuns

WORLDS = 12
LONG_WORLDS = 30
WORLDS_PER_CASE = 15


def test_two_relays_lose_and_repeat_nothing_in_hostile_worlds() -> None:
    """What both append is one stream of each run, wherever they are stopped or killed."""
    relays = [RelayedRuns(seed) for seed in range(WORLDS)]
    assert [result for each in relays if not (result := each.watch()).good] == []
    assert sum(each.kills for each in relays) > WORLDS
    assert sum(each.fenced for each in relays) > WORLDS


def test_without_the_fence_rows_are_repeated() -> None:
    """If the broker appends whatever follows what, the same faults repeat rows."""
    repeated = 0
    for seed in range(3):
        relays = RelayedRuns(seed)
        relays.store.fenced = False
        repeated += len(relays.watch().repeated)
    assert repeated > 0


@pytest.mark.long
@pytest.mark.parametrize("first", range(WORLDS, WORLDS + LONG_WORLDS, WORLDS_PER_CASE))
def test_two_relays_lose_and_repeat_nothing_in_more_worlds(first: int) -> None:
    """What both append is one stream of each run, wherever they are stopped or killed."""
    wrong = [
        result
        for seed in range(first, first + WORLDS_PER_CASE)
        if not (result := RelayedRuns(seed).watch()).good
    ]
    assert wrong == []
