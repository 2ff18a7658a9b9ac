"""The clock of a scheduler: virtual for virtual time, else real."""

from datetime import UTC, datetime

from freezegun import freeze_time
from reactivex.testing import TestScheduler

from rxflow._runtime.clocks import clock_of, real_now
from rxflow._runtime.iteration import PullScheduler


def test_virtual_time_has_a_virtual_clock() -> None:
    """The clock of virtual time is virtual in both its parts; every other one is the real clock."""
    virtual = TestScheduler(initial_clock=1_000.0)
    now = clock_of(virtual)
    virtual.advance_to(1_005.5)
    assert (now().mono, now().utc) == (1_005.5, datetime.fromtimestamp(1_005.5, UTC))
    assert clock_of(PullScheduler()) is real_now
    assert real_now().utc.tzinfo is UTC


def test_the_real_time_is_a_plain_datetime_under_freezegun() -> None:
    """Notices are stamped with it, and are encoded."""
    noon = datetime(2026, 11, 22, 12, tzinfo=UTC)
    with freeze_time(noon):
        utc = real_now().utc
    assert (utc, type(utc)) == (noon, type(noon))
