"""The axis of a timeline."""

import pytest
from sample_events import NOON, second

from rxflow._pictures.time_axis import ticks_of
from rxflow._pictures.time_bars import TimeSpan

AXES = {
    0.008: ["0", "2 ms", "4 ms", "6 ms", "8 ms"],
    7.9: ["0", "2 s", "4 s", "6 s"],
    100: ["0", "30 s", "1 min", "1 min 30 s"],
    3600 * 3: ["0", "1 h", "2 h", "3 h"],
    86400 * 9: ["0", "3 d", "6 d", "9 d"],
}


@pytest.mark.parametrize(("seconds", "labels"), AXES.items(), ids=str)
def test_ticks_are_at_round_times(seconds: float, labels: list[str]) -> None:
    """There are up to four beside the first, a round step apart."""
    ticks = ticks_of(TimeSpan(NOON, second(seconds)), NOON, 4)
    assert [tick.label for tick in ticks] == labels
    assert ticks[0].place == 0
    assert all(0 <= tick.place <= 1 for tick in ticks)


def test_an_axis_counts_from_a_time_within() -> None:
    """What lies before it has no ticks."""
    ticks = ticks_of(TimeSpan(NOON, second(10)), second(5), 5)
    assert [(tick.label, tick.place) for tick in ticks][:2] == [("0", 0.5), ("1 s", 0.6)]
