"""Windows onto a stream: its last items, and how many came in each stretch of time."""

from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def last(most: int) -> Callable[[tuple[T, ...], T], tuple[T, ...]]:
    """Make the function that adds an item to the last ones, and leaves out what is too old.

    Args:
        most: How many items it keeps.
    """

    def with_item(items: tuple[T, ...], item: T) -> tuple[T, ...]:
        return (*items, item)[-most:]

    return with_item
