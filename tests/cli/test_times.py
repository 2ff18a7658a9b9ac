"""Times and durations as they are written on a command line."""

from datetime import UTC, datetime, timedelta

import click
import pytest
from freezegun import freeze_time
from hypothesis import given
from hypothesis import strategies as st

from rxflow.cli._times import read_duration, read_time

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)

DURATIONS = {
    "90": timedelta(seconds=90),
    "1.5": timedelta(seconds=1.5),
    "30s": timedelta(seconds=30),
    "10m": timedelta(minutes=10),
    "1h30m": timedelta(minutes=90),
    " 2D ": timedelta(days=2),
    "1w": timedelta(weeks=1),
    "250ms": timedelta(milliseconds=250),
    "10 min": timedelta(minutes=10),
    "1 hour 30 minutes": timedelta(minutes=90),
    "2days": timedelta(days=2),
    "0.5h": timedelta(minutes=30),
}


@pytest.mark.parametrize(("text", "duration"), DURATIONS.items(), ids=DURATIONS)
def test_a_duration_has_units(text: str, duration: timedelta) -> None:
    """A number alone is seconds, several parts are added."""
    assert read_duration(text) == duration


@pytest.mark.parametrize(
    "text", ["", "m", "-10m", "10 minutes ago", "1 month", "10y", "1e3", "9" * 30 + "w", "noon"]
)
def test_another_text_is_no_duration(text: str) -> None:
    """The error shows durations."""
    with pytest.raises(click.BadParameter, match="such as 30s, 10m"):
        read_duration(text)


@freeze_time(NOON)
@pytest.mark.parametrize("text", ["10 minutes ago", "-10m", "10min ago"])
def test_a_time_may_say_that_it_is_past(text: str) -> None:
    """As other tools take it."""
    assert read_time(text) == NOON - timedelta(minutes=10)


@freeze_time(NOON)
def test_days_have_names() -> None:
    """They begin at midnight, by the local clock."""
    assert read_time("now") == NOON
    midnight = datetime(2026, 11, 22).astimezone()
    assert (read_time("today"), read_time("Yesterday")) == (midnight, midnight - timedelta(days=1))


@freeze_time(NOON)
def test_a_duration_is_a_time_before_now() -> None:
    """The time is aware."""
    assert read_time("10m") == NOON - timedelta(minutes=10)


@pytest.mark.parametrize("text", ["2026-11-22T12:00", "2026-11-22 12:00:00", "2026-11-22T12"])
def test_a_time_without_an_offset_is_local(text: str) -> None:
    """As the times that are shown."""
    assert read_time(text) == datetime(2026, 11, 22, 12).astimezone()
    assert read_time("2026-11-22") == datetime(2026, 11, 22).astimezone()


@pytest.mark.parametrize("text", ["2026-11-22T12:00Z", "2026-11-22T14:00+02:00"])
def test_a_time_may_have_an_offset(text: str) -> None:
    """Its own then counts."""
    assert read_time(text) == NOON


@pytest.mark.parametrize("text", ["1795348800", "1795348800.0", "1795348800000"])
def test_a_unix_time_is_no_duration(text: str) -> None:
    """In seconds or in milliseconds."""
    assert read_time(text) == NOON


@freeze_time(NOON)
def test_a_time_of_the_day_is_the_last_one() -> None:
    """As lines begin with it: of today, or of yesterday if it is still to come today."""
    local = NOON.astimezone()
    assert read_time(f"{local:%H:%M}") == NOON
    before, after = local - timedelta(milliseconds=1), local + timedelta(minutes=1)
    assert read_time(before.strftime("%H:%M:%S.999")) == NOON - timedelta(milliseconds=1)
    assert read_time(f"{after:%H:%M}") == NOON + timedelta(minutes=1) - timedelta(days=1)


@given(st.text() | st.text("0123456789-:T.Zwdhms", max_size=30))
def test_any_text_is_an_aware_time_or_refused(text: str) -> None:
    """No text leads to another error."""
    try:
        time = read_time(text)
    except click.BadParameter as error:
        assert "neither a duration before now" in error.message  # noqa: PT017 - of some texts alone
    else:
        assert time.utcoffset() is not None
