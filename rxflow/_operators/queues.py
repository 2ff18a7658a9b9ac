"""Queues between a fast source and a slow consumer.

Each queue has a bound and its own policy for one item more. A queue takes no lock; where one is
needed, the subscription that owns the queue holds it.
"""

from collections import OrderedDict, deque
from collections.abc import Callable, Hashable
from typing import Generic, Literal, TypeVar, assert_never

from rxflow.errors import Overflow

T = TypeVar("T")

OverflowPolicy = Literal["error", "drop_oldest", "drop_newest"]
"""What a full queue does with one more item."""


class ConflatingQueue(Generic[T]):
    """Holds the latest item of each key, in the order in which the keys arrived."""

    def __init__(self, key: Callable[[T], Hashable]) -> None:
        """Create an empty queue.

        Args:
            key: Returns the key of an item; items of one key replace each other.
        """
        self._key = key
        self._held: OrderedDict[Hashable, T] = OrderedDict()

    def __len__(self) -> int:
        """Return the number of items held, at most one for each key."""
        return len(self._held)

    def put(self, item: T) -> None:
        """Add an item, or replace the item of its key."""
        self._held[self._key(item)] = item

    def take(self) -> T:
        """Remove and return the item whose key arrived first."""
        return self._held.popitem(last=False)[1]


class BoundedQueue(Generic[T]):
    """Holds a limited number of items, in order."""

    def __init__(self, capacity: int, overflow: OverflowPolicy) -> None:
        """Create an empty queue.

        Args:
            capacity: The largest number of items to hold.
            overflow: What to do with one more.
        """
        self._capacity = capacity
        self._overflow: OverflowPolicy = overflow
        self._held: deque[T] = deque()

    def __len__(self) -> int:
        """Return the number of items held."""
        return len(self._held)

    def put(self, item: T) -> None:
        """Add an item, by the overflow policy if the queue is full.

        Raises:
            Overflow: The queue is full, and no item may be dropped.
        """
        if len(self._held) >= self._capacity:
            match self._overflow:
                case "error":
                    raise Overflow(_overflow_message(self._capacity))
                case "drop_newest":
                    return
                case "drop_oldest":
                    self._held.popleft()
                case _:
                    assert_never(self._overflow)
        self._held.append(item)

    def take(self) -> T:
        """Remove and return the oldest item."""
        return self._held.popleft()


def _overflow_message(capacity: int) -> str:
    items = "1 item that was" if capacity == 1 else f"{capacity} items that were"
    return (
        f"bounded({capacity}) holds {items} not taken yet, and one more arrived; take them faster, "
        "hold more, drop items with overflow='drop_oldest' or 'drop_newest', or hold only the "
        "latest of each key with conflate()"
    )
