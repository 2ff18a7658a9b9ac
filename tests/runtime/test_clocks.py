"""The clock of a scheduler: virtual for virtual time, else real."""

from datetime import UTC, datetime, timedelta

from freezegun import freeze_time
from reactivex.scheduler import HistoricalScheduler
from reactivex.testing import TestScheduler

from rxflow._runtime.clocks import clock_of, monotonic_clock_of, real_now
from rxflow._runtime.iteration import PullScheduler


def test_virtual_time_has_a_virtual_clock() -> None:
    """The clock of virtual time is virtual in both its parts; every other one is the real clock."""
    virtual = TestScheduler(initial_clock=1_000.0)
    now = clock_of(virtual)
    virtual.advance_to(1_005.5)
    assert (now().mono, now().utc) == (1_005.5, datetime.fromtimestamp(1_005.5, UTC))
    assert clock_of(PullScheduler()) is real_now
    assert real_now().utc.tzinfo is UTC


def test_virtual_time_may_be_a_datetime() -> None:
    """The clock of a scheduler that counts in datetimes gives the same two parts."""
    noon = datetime(2026, 11, 22, 12, tzinfo=UTC)
    historical = HistoricalScheduler(noon)
    now, seconds = clock_of(historical), monotonic_clock_of(historical)
    historical.advance_to(noon + timedelta(seconds=5.5))
    assert (now().mono, now().utc) == (noon.timestamp() + 5.5, noon + timedelta(seconds=5.5))
    assert seconds() == now().mono


def test_the_monotonic_part_can_be_read_alone() -> None:
    """It is the first part of what the clock of the scheduler gives."""
    virtual = TestScheduler(initial_clock=1_000.0)
    virtual.advance_to(1_005.5)
    assert monotonic_clock_of(virtual)() == 1_005.5
    before = real_now().mono
    assert before <= monotonic_clock_of(PullScheduler())() <= real_now().mono


def test_the_real_time_is_a_plain_datetime_under_freezegun() -> None:
    """Notices are stamped with it, and are encoded."""
    noon = datetime(2026, 11, 22, 12, tzinfo=UTC)
    with freeze_time(noon):
        utc = real_now().utc
    assert (utc, type(utc)) == (noon, type(noon))
