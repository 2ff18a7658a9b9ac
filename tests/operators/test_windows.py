"""Windows: the last items, and counts that leave no item and no second out."""

from datetime import timedelta
from functools import reduce
from itertools import accumulate

from hypothesis import given
from hypothesis import strategies as st
from sample_events import at, second

from rxflow import Rate
from rxflow._operators.rates import RateCounter
from rxflow._operators.windows import last

# Quarters of a second are exact, so that it is certain in which window an instant lies.
QUARTERS = st.integers(0, 40).map(lambda quarters: quarters / 4)


@given(st.lists(st.integers()), st.integers(1, 5))
def test_the_last_items_are_those_of_the_prefix(items: list[int], most: int) -> None:
    """After each item, the last ones are the last of all up to it."""
    nothing: tuple[int, ...] = ()
    windows = list(accumulate(items, last(most), initial=nothing))
    assert windows == [tuple(items[:end][-most:]) for end in range(len(items) + 1)]


@given(st.lists(st.integers()), st.integers(1, 5))
def test_the_last_items_are_few(items: list[int], most: int) -> None:
    """However many items came, no more than asked for are kept."""
    nothing: tuple[int, ...] = ()
    assert len(reduce(last(most), items, nothing)) == min(most, len(items))


def counted(seconds: float, pauses: list[float], *, wakes: bool) -> tuple[list[Rate], float]:
    """The windows of items with pauses before them, and the second of the end."""
    tally, now, rates = RateCounter(seconds, at(0)), 0.0, list[Rate]()
    for pause in pauses:
        while wakes and (due := tally.due_in(at(now)) or 0) < pause:
            now, pause = now + due, pause - due  # noqa: PLW2901 - the rest of it
            rates += tally.wake(at(now))
        now += pause
        rates += tally.receive("item", at(now))
    return [*rates, *tally.flush(at(now))], now


@given(QUARTERS.filter(bool), st.lists(QUARTERS))
def test_each_item_is_counted_once(seconds: float, pauses: list[float]) -> None:
    """The counts of all windows sum to the number of items."""
    rates, _ = counted(seconds, pauses, wakes=True)
    assert sum(rate.count for rate in rates) == len(pauses)


@given(QUARTERS.filter(bool), st.lists(QUARTERS))
def test_each_window_begins_where_the_last_one_ended(seconds: float, pauses: list[float]) -> None:
    """Windows follow each other without a gap, from the beginning to the end, empty ones too."""
    rates, end = counted(seconds, pauses, wakes=True)
    assert [rate.since for rate in rates] == [second(n * seconds) for n in range(len(rates))]
    assert {rate.seconds for rate in rates} <= {seconds}
    assert len(rates) in {int(end // seconds), int(end // seconds) + 1}


@given(QUARTERS.filter(bool), st.lists(QUARTERS))
def test_an_item_counts_where_it_came(seconds: float, pauses: list[float]) -> None:
    """Each window counts the items of its time, its beginning included and its end not."""
    rates, _ = counted(seconds, pauses, wakes=True)
    arrivals = [second(moment) for moment in accumulate(pauses)]
    for rate in rates:
        end = rate.since + timedelta(seconds=seconds)
        assert rate.count == sum(rate.since <= arrival < end for arrival in arrivals)


@given(QUARTERS.filter(bool), st.lists(QUARTERS))
def test_who_wakes_late_counts_the_same(seconds: float, pauses: list[float]) -> None:
    """Windows come out alike whether anybody woke up at their ends or only at the next item."""
    assert counted(seconds, pauses, wakes=True) == counted(seconds, pauses, wakes=False)


def test_a_rate_is_by_the_second() -> None:
    """The rate is the count over the whole window."""
    assert Rate(since=second(0), seconds=60, count=90).per_second == 1.5
