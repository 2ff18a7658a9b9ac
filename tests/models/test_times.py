"""Times: the later of two that may be missing, and times that msgspec encodes."""

from datetime import UTC, datetime

import msgspec
import pendulum
import pytest
from foreign_values import TIME, SubclassedTime
from freezegun import freeze_time

from rxflow._models.times import MICROSECOND, encode_time, later, plain_datetime, plain_utc

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
