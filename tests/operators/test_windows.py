"""A sliding window holds the last items."""

from functools import reduce
from itertools import accumulate

from hypothesis import given
from hypothesis import strategies as st

from rxflow._operators.windows import sliding_window


@given(st.lists(st.integers()), st.integers(1, 5))
def test_a_window_holds_the_last_items(items: list[int], size: int) -> None:
    """After each item, the window holds the last of all items up to it."""
    empty: tuple[int, ...] = ()
    windows = list(accumulate(items, sliding_window(size), initial=empty))
    assert windows == [tuple(items[:end][-size:]) for end in range(len(items) + 1)]


@given(st.lists(st.integers()), st.integers(1, 5))
def test_a_window_has_a_size(items: list[int], size: int) -> None:
    """However many items arrived, the window holds no more than its size."""
    empty: tuple[int, ...] = ()
    assert len(reduce(sliding_window(size), items, empty)) == min(size, len(items))
