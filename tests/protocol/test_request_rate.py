"""The request rate: a budget in any minute, and the spacing that a server demands."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rxflow._models.times import Now
from rxflow._protocol.failures import Failure, FailureKind, Reply
from rxflow._protocol.pages import Page
from rxflow._protocol.request_rate import RequestRate

PAGE: Reply = Page(rows=())
LIMITED = Failure(kind=FailureKind.RATE_LIMITED, text="too many")
OTHERS = [
    Failure(kind=kind, text="no") for kind in FailureKind if kind is not FailureKind.RATE_LIMITED
]


def at(seconds: float) -> Now:
    """The time."""
    return Now(seconds, datetime(2026, 11, 22, tzinfo=UTC))


def send_all(rate: RequestRate, pauses: list[float]) -> list[float]:
    """Send a query after each pause, as soon as it may be sent; return when each was."""
    time, sent = 0.0, []
    for pause in pauses:
        time += pause
        time += rate.delay(at(time))
        assert rate.delay(at(time)) == pytest.approx(0, abs=1e-6)
        rate.record_sent(at(time))
        sent.append(time)
    return sent


@given(
    per_minute=st.integers(1, 400),
    pauses=st.lists(st.floats(0, 40) | st.just(0.0), min_size=1, max_size=300),
)
def test_no_minute_has_more_queries_than_the_budget(per_minute: int, pauses: list[float]) -> None:
    """Whatever the pauses between polls, any window of a minute keeps within the budget."""
    sent = send_all(RequestRate(per_minute), pauses)
    for first, last in zip(sent, sent[per_minute:], strict=False):
        assert last - first >= 60 - 1e-6


@pytest.mark.parametrize("per_minute", [1, 6, 60, 600])
def test_a_sixth_of_the_budget_may_be_sent_at_once(per_minute: int) -> None:
    """A burst of a seventh to a sixth, and at least one query, is not delayed."""
    sent = send_all(RequestRate(per_minute), [0.0] * (per_minute + 2))
    burst = sent.count(0.0)
    assert max(1, per_minute // 7) <= burst <= max(1, per_minute / 6)


@pytest.mark.parametrize("per_minute", [1, 7, 60])
def test_the_budget_can_be_used(per_minute: int) -> None:
    """In the long run at least six sevenths of the budget are sent."""
    sent = send_all(RequestRate(per_minute), [0.0] * (per_minute * 30))
    assert len(sent) / (sent[-1] / 60) >= per_minute * 6 / 7


def test_without_a_budget_nothing_is_delayed() -> None:
    """Without a budget queries follow one another at once."""
    assert send_all(RequestRate(), [0.0] * 1000) == [0.0] * 1000


def test_each_refusal_doubles_the_spacing() -> None:
    """The spacing begins with a quarter of a second and doubles to ten seconds."""
    rate = RequestRate()
    spacings = []
    for _ in range(8):
        rate.record_sent(at(0))
        rate.record_reply(LIMITED)
        spacings.append(rate.delay(at(0)))
    assert spacings == [0.25, 0.5, 1, 2, 4, 8, 10, 10]


def test_the_spacing_counts_from_the_query_sent_last() -> None:
    """A query that comes later than the spacing is not delayed."""
    rate = RequestRate()
    rate.record_sent(at(0))
    rate.record_reply(LIMITED)
    assert rate.delay(at(0.2)) == pytest.approx(0.05)
    assert rate.delay(at(0.3)) == 0


def test_pages_take_the_spacing_back() -> None:
    """Each page makes the spacing shorter, until there is none."""
    rate = RequestRate()
    rate.record_reply(LIMITED)
    spacings = [0.25]
    while spacings[-1]:
        rate.record_sent(at(0))
        rate.record_reply(PAGE)
        spacings.append(rate.delay(at(0)))
    assert spacings == sorted(spacings, reverse=True)
    assert 20 < len(spacings) < 100


def test_the_third_refusal_is_reported_once() -> None:
    """It is reported again only after the spacing was gone in between."""
    rate = RequestRate()
    assert [rate.record_reply(LIMITED) for _ in range(5)] == [False, False, True, False, False]
    assert not any(rate.record_reply(PAGE) for _ in range(5))
    assert not rate.record_reply(LIMITED)
    for _ in range(300):
        rate.record_reply(PAGE)
    assert [rate.record_reply(LIMITED) for _ in range(3)] == [False, False, True]


@pytest.mark.parametrize("failure", OTHERS, ids=lambda failure: failure.kind.value)
def test_other_failures_change_no_spacing(failure: Failure) -> None:
    """Only a refusal for the rate spaces queries; the retry policy has the delays of the others."""
    rate = RequestRate()
    for _ in range(5):
        rate.record_sent(at(0))
        assert not rate.record_reply(failure)
        assert rate.delay(at(0)) == 0
