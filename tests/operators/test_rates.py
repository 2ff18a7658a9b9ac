"""Windows of time count each item once and leave no gap."""

from datetime import timedelta
from itertools import accumulate

from hypothesis import given
from hypothesis import strategies as st
from sample_events import second

from rxflow import Rate
from rxflow._models.times import Now
from rxflow._operators.rates import RateCounter

# Quarters of a second are exact, so that it is certain in which window an instant lies.
QUARTERS = st.integers(0, 40).map(lambda quarters: quarters / 4)


def count_items(
    seconds: float, pauses: list[float], *, wake_at_ends: bool
) -> tuple[list[Rate], float]:
    """Return the windows of items with pauses before them, and the second of the end."""
    counter, now, rates = RateCounter(seconds, Now(0.0, second(0))), 0.0, list[Rate]()
    for pause in pauses:
        while wake_at_ends and (due := counter.due_in(now) or 0) < pause:
            now, pause = now + due, pause - due  # noqa: PLW2901 - the rest of it
            rates += counter.wake(now)
        now += pause
        rates += counter.receive("item", now)
    return [*rates, *counter.flush(now)], now


@given(QUARTERS.filter(bool), st.lists(QUARTERS))
def test_each_item_is_counted_once(seconds: float, pauses: list[float]) -> None:
    """The counts of all windows sum to the number of items."""
    rates, _ = count_items(seconds, pauses, wake_at_ends=True)
    assert sum(rate.count for rate in rates) == len(pauses)


@given(QUARTERS.filter(bool), st.lists(QUARTERS))
def test_each_window_begins_where_the_last_one_ended(seconds: float, pauses: list[float]) -> None:
    """Windows follow each other without a gap from the beginning to the end, empty ones too."""
    rates, end = count_items(seconds, pauses, wake_at_ends=True)
    assert [rate.since for rate in rates] == [second(n * seconds) for n in range(len(rates))]
    assert {rate.seconds for rate in rates} <= {seconds}
    assert len(rates) in {int(end // seconds), int(end // seconds) + 1}


@given(QUARTERS.filter(bool), st.lists(QUARTERS))
def test_an_item_is_counted_in_the_window_of_its_arrival(
    seconds: float, pauses: list[float]
) -> None:
    """A window counts the items that arrive in it, at its beginning but not at its end."""
    rates, _ = count_items(seconds, pauses, wake_at_ends=True)
    arrivals = [second(moment) for moment in accumulate(pauses)]
    for rate in rates:
        end = rate.since + timedelta(seconds=seconds)
        assert rate.count == sum(rate.since <= arrival < end for arrival in arrivals)


@given(QUARTERS.filter(bool), st.lists(QUARTERS))
def test_waking_late_does_not_change_the_counts(seconds: float, pauses: list[float]) -> None:
    """The windows are the same whether the counter is woken at their ends or by the next item."""
    assert count_items(seconds, pauses, wake_at_ends=True) == count_items(
        seconds, pauses, wake_at_ends=False
    )


def test_a_rate_is_per_second() -> None:
    """The rate is the count over the length of the whole window."""
    assert Rate(since=second(0), seconds=60, count=90).per_second == 1.5
