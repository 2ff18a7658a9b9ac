"""Watch some hundred runs with mutated replies; ``tests/tools/fuzz.py`` watches any number."""

import pytest
from mutated_watches import MutatedWatch

WATCHES = 300
WATCHES_PER_CASE = 50


@pytest.mark.long
@pytest.mark.parametrize("first", range(0, WATCHES, WATCHES_PER_CASE))
def test_no_reply_brings_an_exception_into_a_watch(first: int) -> None:
    """Whatever a reply holds, a watch ends well or with an `RxflowError`, and it ends."""
    results = [MutatedWatch(seed).watch() for seed in range(first, first + WATCHES_PER_CASE)]
    assert [result for result in results if not result.is_good] == []
    assert sum(result.mutations for result in results) > WATCHES_PER_CASE


@pytest.mark.parametrize("seed", [4, 9, 11, 28])
def test_a_seed_determines_a_watch_and_its_mutations(seed: int) -> None:
    """The same seed gives the same watch, so that a failure can be replayed."""
    once, again = MutatedWatch(seed).watch(), MutatedWatch(seed).watch()
    assert (once.mutations, once.events) == (again.mutations, again.events)
    assert repr(once.error) == repr(again.error)
    assert once.mutations > 0
