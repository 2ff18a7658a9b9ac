"""Values of the real pandas and numpy as arguments; skipped where they are not installed."""

from datetime import UTC, datetime
from typing import Any

import pytest
from foreign_values import TIME

from rxflow._models.arguments import level_number, seconds_of, utc_time, whole_number

pandas: Any = pytest.importorskip("pandas", exc_type=ImportError)
numpy: Any = pytest.importorskip("numpy", exc_type=ImportError)


def test_a_timestamp_becomes_a_plain_datetime_in_utc() -> None:
    """The nanoseconds of a `pandas.Timestamp` are dropped."""
    time = pandas.Timestamp("2026-11-22T11:00:00.000000999+01:00")
    plain = utc_time("since", time)
    assert (plain, type(plain), plain.tzinfo) == (TIME, datetime, UTC)


def test_a_time_of_another_kind_is_rejected() -> None:
    """NaT, a naive Timestamp and a `numpy.datetime64` are no times."""
    with pytest.raises(ValueError, match="since=NaT is not a time"):
        utc_time("since", pandas.NaT)
    with pytest.raises(ValueError, match=r"since=Timestamp\(.*\) has no time zone"):
        utc_time("since", pandas.Timestamp("2026-11-22"))
    with pytest.raises(TypeError, match=r"since=.*datetime64.* is not a datetime"):
        utc_time("since", numpy.datetime64("2026-11-22"))


def test_a_duration_becomes_seconds() -> None:
    """Timedeltas of pandas and numbers of numpy are durations."""
    values = (pandas.Timedelta("2s"), numpy.float32(2), numpy.int64(2))
    assert [seconds_of("timeout", value) for value in values] == [2, 2, 2]


@pytest.mark.parametrize("unit", ["ns", "ms", "s"])
def test_a_numpy_duration_is_rejected(unit: str) -> None:
    """A `numpy.timedelta64` would pass as a number of units that are not seconds."""
    with pytest.raises(TypeError, match=r"timeout=.*timedelta64.* is not a duration"):
        seconds_of("timeout", numpy.timedelta64(5, unit))


def test_numpy_numbers_are_whole_numbers_and_levels() -> None:
    """They become ints, which JSON encoders take; booleans of numpy are no numbers."""
    assert type(whole_number("map_index", numpy.int16(3))) is int
    assert [level_number("level", number(20)) for number in (numpy.int64, numpy.float64)] == [
        20
    ] * 2
    with pytest.raises(TypeError, match="level="):
        level_number("level", numpy.True_)
