"""Times: the later of two that may be missing."""

from datetime import UTC, datetime

import pytest

from rxflow._models.times import MICROSECOND, later

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
