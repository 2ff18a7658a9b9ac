"""Times: the later of two, those that msgspec encodes, and those at a distance."""

from datetime import UTC, datetime, timedelta, timezone, tzinfo

import msgspec
import pendulum
import pytest
from foreign_values import TIME, SubclassedTime
from freezegun import freeze_time

from rxflow._models.times import (
    MICROSECOND,
    earlier,
    encode_time,
    in_any_zone,
    later,
    plain_datetime,
    plain_utc,
    shifted,
)

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        (NOON, NOON + MICROSECOND, NOON + MICROSECOND),
        (NOON, NOON - MICROSECOND, NOON),
        (NOON, None, NOON),
        (None, NOON, NOON),
        (None, None, None),
    ],
)
def test_later_ignores_a_missing_time(
    a: datetime | None, b: datetime | None, expected: datetime | None
) -> None:
    """None is earlier than any time."""
    assert later(a, b) == expected


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        (NOON, NOON + MICROSECOND, NOON),
        (NOON, NOON - MICROSECOND, NOON - MICROSECOND),
        (NOON, None, NOON),
        (None, NOON, NOON),
        (None, None, None),
    ],
)
def test_earlier_ignores_a_missing_time(
    a: datetime | None, b: datetime | None, expected: datetime | None
) -> None:
    """None is later than any time."""
    assert earlier(a, b) == expected


def test_the_plain_class_is_found_under_freezegun() -> None:
    """The class that msgspec encodes is found, whatever the name `datetime` means now."""
    assert plain_datetime() is datetime
    with freeze_time(TIME):
        frozen = datetime
        found = plain_datetime()
    assert (found is type(TIME), frozen is type(TIME)) == (True, False)


def test_a_time_without_a_zone_has_no_plain_form() -> None:
    """A time from a user is checked before."""
    with pytest.raises(ValueError, match="has no time zone"):
        plain_utc(datetime(2026, 1, 1))  # noqa: DTZ001


def test_times_of_other_classes_are_encoded() -> None:
    """As an ``enc_hook`` it encodes every aware datetime, and no other value."""
    encode = msgspec.json.Encoder(enc_hook=encode_time).encode
    others = (SubclassedTime(2026, 11, 22, 10, tzinfo=UTC), pendulum.datetime(2026, 11, 22, 10))
    assert {encode(time) for time in others} == {encode(TIME)}
    with pytest.raises(TypeError, match="Encoding objects of type object is unsupported"):
        encode(object())


FIRST, LAST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("time", "distance", "expected"),
    [
        (NOON, MICROSECOND, NOON + MICROSECOND),
        (FIRST, -MICROSECOND, FIRST),
        (LAST, MICROSECOND, LAST),
        (LAST, timedelta.max, LAST),
        (NOON, timedelta.min, FIRST),
        (FIRST, MICROSECOND, FIRST + MICROSECOND),
    ],
)
def test_a_shifted_time_stays_within_all_times(
    time: datetime, distance: timedelta, expected: datetime
) -> None:
    """Beyond the years 1 and 9999 lies the first or the last of all times."""
    assert shifted(time, distance) == expected


@pytest.mark.parametrize(
    "zone", [UTC, timezone(timedelta(hours=14)), timezone(-timedelta(hours=12))]
)
@pytest.mark.parametrize("time", [FIRST, LAST])
def test_each_zone_can_express_a_time_within_a_day_of_all_times(
    time: datetime, zone: tzinfo
) -> None:
    """The first and the last of all times are moved by a day, and other times are kept."""
    moved = in_any_zone(time.replace(tzinfo=zone))
    for other in (timezone(timedelta(hours=23)), timezone(-timedelta(hours=23))):
        assert moved.astimezone(other) == moved
    assert in_any_zone(NOON) is NOON
