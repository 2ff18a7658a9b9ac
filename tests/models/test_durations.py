"""Durations as people read them."""

from datetime import timedelta

import pytest

from rxflow._models.durations import short_duration

CASES = {
    -1.0: "0 ms",
    0.0: "0 ms",
    0.0004: "0 ms",
    0.0356: "36 ms",
    0.9994: "999 ms",
    0.9995: "1.0 s",
    0.9996: "1.0 s",
    8.36: "8.4 s",
    59.94: "59.9 s",
    59.95: "1 min 00 s",
    59.96: "1 min 00 s",
    125.4: "2 min 05 s",
    3599.4: "59 min 59 s",
    3599.5: "1 h 00 min",
    3599.6: "1 h 00 min",
    7620.0: "2 h 07 min",
    86369.0: "23 h 59 min",
    86370.0: "1 d 00 h",
    86399.0: "1 d 00 h",
    273600.0: "3 d 04 h",
}


@pytest.mark.parametrize(("seconds", "text"), CASES.items(), ids=map(str, CASES))
def test_a_duration_is_short(seconds: float, text: str) -> None:
    """A duration has the units that count, and none is ever full."""
    assert short_duration(timedelta(seconds=seconds)) == text
