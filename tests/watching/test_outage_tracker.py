"""`OutageTracker`: when a watch without a good reply is degraded, and for how long."""

from datetime import UTC, datetime
from random import Random

from rxflow._models.times import Now
from rxflow._protocol.failures import Failure, FailureKind
from rxflow._watching.outage_tracker import DEGRADED_AFTER, OutageTracker

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
REFUSED = Failure(kind=FailureKind.REFUSED, text="Connection refused")


def at(seconds: float) -> Now:
    """Return the time, by a monotonic clock that started at another moment."""
    return Now(seconds - 1e3, NOON)


def test_watch_without_open_query_is_never_degraded() -> None:
    """Before the first query, and after a successful poll, nothing is due."""
    outages = OutageTracker(Random(0))
    assert outages.degraded_in(at(0)) is None
    outages.record_sent(at(0))
    outages.record_success(at(1))
    assert outages.degraded_in(at(50)) is None


def test_watch_is_degraded_10_s_after_query() -> None:
    """The 10 s count from the query, whether it is open or failed."""
    outages = OutageTracker(Random(0))
    outages.record_sent(at(100))
    assert outages.degraded_in(at(101)) == DEGRADED_AFTER - 1
    outages.record_failure(REFUSED, at(102))
    outages.record_sent(at(103))
    assert outages.degraded_in(at(104)) == DEGRADED_AFTER - 4
    assert outages.degraded_in(at(200)) == 0


def test_degraded_watch_is_reported_once() -> None:
    """Once the watch is marked as degraded, nothing is due until a poll succeeds."""
    outages = OutageTracker(Random(0))
    outages.record_sent(at(0))
    assert outages.degraded_for(at(11)) is None
    outages.mark_degraded()
    assert (outages.degraded_in(at(12)), outages.degraded_for(at(12))) == (None, 12)
    outages.record_success(at(13))
    assert outages.degraded_for(at(13)) is None
    outages.record_sent(at(20))
    assert outages.degraded_in(at(20)) == DEGRADED_AFTER


def test_success_returns_outage_and_forgets_last_failure() -> None:
    """The outage lasts from the first failed query to the success."""
    outages = OutageTracker(Random(0))
    outages.record_sent(at(0))
    outages.last_failure = REFUSED
    assert isinstance(outages.record_failure(REFUSED, at(1)), float)
    outages.record_sent(at(2))
    outage = outages.record_success(at(5))
    assert outage is not None
    assert outage.ended - outage.began == 5
    assert outages.last_failure is None
