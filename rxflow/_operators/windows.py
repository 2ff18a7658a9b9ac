"""A sliding window: each item of a stream together with the items before it."""

from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def sliding_window(size: int) -> Callable[[tuple[T, ...], T], tuple[T, ...]]:
    """Return an accumulator that appends an item to a window and drops the oldest beyond its size.

    Args:
        size: The largest number of items in the window.
    """

    def append(window: tuple[T, ...], item: T) -> tuple[T, ...]:
        return (*window, item)[-size:]

    return append
