"""Terminal text: messages stay in their column, and every time can be shown."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rxflow._escapes import safe_text
from rxflow._models.terminal_text import in_column, local_time


@pytest.fixture(params=["UTC", "America/New_York", "Asia/Tokyo"])
def zone(request: pytest.FixtureRequest) -> Iterator[str]:
    """Set the local time zone for one test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", request.param)
        time.tzset()
        yield request.param
    time.tzset()


FIRST = datetime(1, 1, 1, tzinfo=UTC)
LAST = datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)


@pytest.mark.parametrize("moment", [FIRST, LAST], ids=["first", "last"])
def test_a_time_that_no_local_time_expresses_is_unchanged(zone: str, moment: datetime) -> None:
    """The first and the last representable time can be shown in every zone."""
    del zone
    assert local_time(moment) == moment


@given(st.datetimes(timezones=st.just(UTC)))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_local_time_is_the_same_moment(zone: str, moment: datetime) -> None:
    """The moment is the same in any zone, whether or not local time can express it."""
    del zone
    assert local_time(moment) == moment


def test_local_time_has_the_offset_of_the_local_zone(zone: str) -> None:
    """Noon in Greenwich is seven in New York and nine in the evening in Tokyo."""
    noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
    hours = {"UTC": 0, "America/New_York": -5, "Asia/Tokyo": 9}
    assert local_time(noon).utcoffset() == timedelta(hours=hours[zone])


@given(st.text("ab \t\x1b\r\n|"), st.text("0: |"))
def test_a_message_stays_in_its_column(text: str, head: str) -> None:
    """Each line has the bar in its place and the message behind it, without a final newline."""
    first, *more = in_column(head, text).split("\n")
    assert first.startswith(f"{head}| ")
    assert all(line.startswith(" " * len(head) + "| ") for line in more)
    shown = "\n".join(line[len(head) + 2 :] for line in (first, *more))
    assert shown == safe_text(text.replace("\r\n", "\n").rstrip("\n"))
