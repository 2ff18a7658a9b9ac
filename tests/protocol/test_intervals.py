"""The poll interval: growth while idle, reset by activity, jitter."""

from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rxflow._protocol.intervals import PollInterval

SEEDS = range(200)


class NoJitter(Random):
    """A random generator that always draws the middle."""

    def uniform(self, a: float, b: float) -> float:
        """Return the middle of the range."""
        return (a + b) / 2


def delays(interval: PollInterval, *active: bool) -> list[float]:
    """The delays after some polls, each active or idle."""
    return [interval.next_delay(active=was_active) for was_active in active]


def test_the_delay_grows_with_each_idle_poll() -> None:
    """Each idle poll makes the delay half as long again, up to the longest."""
    grown = delays(PollInterval(NoJitter()), *[False] * 9)
    assert grown == pytest.approx([0.5 * 1.5**n for n in range(1, 6)] + [5.0] * 4)


def test_an_active_poll_resets_the_delay() -> None:
    """After an active poll the delay is the shortest, and grows from there."""
    interval = PollInterval(NoJitter())
    assert delays(interval, *[True] * 3) == pytest.approx([0.5] * 3)
    delays(interval, *[False] * 20)
    assert delays(interval, True, False) == pytest.approx([0.5, 0.75])


def test_shortest_longest_and_growth_are_arguments() -> None:
    """The interval keeps within its arguments."""
    interval = PollInterval(NoJitter(), shortest=2, longest=30, growth=3)
    assert delays(interval, False, False, False, False, True) == pytest.approx([6, 18, 30, 30, 2])


def test_a_poll_may_have_another_longest_delay() -> None:
    """The longest delay given for a poll holds for this poll alone."""
    interval = PollInterval(NoJitter())
    grown = [interval.next_delay(active=False, longest=30.0) for _ in range(10)]
    assert grown[-1] == pytest.approx(0.5 * 1.5**10)
    assert interval.next_delay(active=False) == pytest.approx(5.0)


@given(seed=st.integers(), active=st.lists(st.booleans(), max_size=30))
def test_jitter_is_at_most_a_tenth(seed: int, active: list[bool]) -> None:
    """Jitter is a tenth either way, so that delays are from 0.45 s to 5.5 s."""
    exact, drawn = (
        delays(PollInterval(NoJitter()), *active),
        delays(PollInterval(Random(seed)), *active),
    )
    for middle, delay in zip(exact, drawn, strict=True):
        assert 0.9 * middle <= delay <= 1.1 * middle


def test_jitter_does_not_accumulate() -> None:
    """The delays of many idle watches settle around the longest and fill the jitter's range."""
    settled = [delays(PollInterval(Random(seed)), *[False] * 30)[-1] for seed in SEEDS]
    assert 4.5 <= min(settled) < 4.6
    assert 5.4 < max(settled) <= 5.5


def test_watches_that_start_together_drift_apart() -> None:
    """Watches with random generators of their own do not poll at the same times."""
    ends = sorted(sum(delays(PollInterval(Random(seed)), *[False] * 30)) for seed in range(20))
    assert all(b > a for a, b in pairwise(ends))
