"""The axis of a timeline."""

from datetime import datetime
from itertools import pairwise

import pytest
from sample_events import NOON, row, second

from rxflow._pictures.run_tree import RunNode, RunTree
from rxflow._pictures.time_axis import ticks_of, zero_of
from rxflow._pictures.time_bars import TimeSpan

AXES = {
    0.008: ["0", "2 ms", "4 ms", "6 ms", "8 ms"],
    7.9: ["0", "2 s", "4 s", "6 s"],
    100: ["0", "30 s", "1 min", "1 min 30 s"],
    3600 * 3: ["0", "1 h", "2 h", "3 h"],
    86400 * 4: ["0", "1 d", "2 d", "3 d", "4 d"],
    86400 * 5: ["0", "2 d", "4 d"],
    86400 * 8: ["0", "2 d", "4 d", "6 d", "8 d"],
    86400 * 9: ["0", "3 d", "6 d", "9 d"],
    86400 * 40: ["0", "10 d", "20 d", "30 d", "40 d"],
    3600 * 40: ["0", "12 h", "1 d", "1 d 12 h"],
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


@pytest.mark.parametrize("power", range(-2, 7))
def test_an_axis_has_enough_ticks(power: int) -> None:
    """As far apart each, and no more than it has room for."""
    for digit in (1, 1.5, 2, 3, 7):
        end = digit * 10**power
        ticks = ticks_of(TimeSpan(NOON, second(end)), NOON, 10)
        assert 4 < len(ticks) <= 11
        steps = [after.place - before.place for before, after in pairwise(ticks)]
        assert steps == pytest.approx([steps[0]] * len(steps), abs=0.001)
        assert 1 - steps[0] < ticks[-1].place + 0.001


def test_a_timeline_counts_from_the_start_of_its_run() -> None:
    """If that is in the picture; a run that has not started is counted from the first bar."""
    span = TimeSpan(second(5), second(20))

    def zero(start: datetime | None) -> datetime:
        root = RunNode(kind="flow run", id="a", name="a", created=NOON, start=start)
        return zero_of(RunTree(run=row(), root=root, now=second(30)), span)

    assert [zero(start) for start in (second(5), second(12), second(19))] == [
        *(second(5), second(12), second(19))
    ]
    assert {zero(start) for start in (None, second(4), second(20), second(21))} == {second(5)}
