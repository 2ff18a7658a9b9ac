"""Holding items back: two queues between a fast source and a slow consumer, and a sorter.

Each queue has a bound, and its own answer to what happens when that is reached. The sorter is told
the time; a lock, where one is needed, is its owner's business.
"""

from collections import OrderedDict, deque
from collections.abc import Callable, Hashable
from typing import Generic, Literal, TypeVar

from rxflow.errors import Overflow

T = TypeVar("T")

OverflowPolicy = Literal["error", "drop_oldest", "drop_newest"]
"""What a full queue does with one more item."""


class ConflatingQueue(Generic[T]):
    """Holds the latest item of each key, in the order in which the keys came."""

    def __init__(self, key: Callable[[T], Hashable]) -> None:
        """Hold nothing.

        Args:
            key: Says which items take each other's place.
        """
        self._key = key
        self._held: OrderedDict[Hashable, T] = OrderedDict()

    def __len__(self) -> int:
        """How many items are held: one a key."""
        return len(self._held)

    def put(self, item: T) -> None:
        """Take an item in, in the place of the one with its key."""
        self._held[self._key(item)] = item

    def take(self) -> T:
        """Give an item out, and hold it no longer."""
        return self._held.popitem(last=False)[1]


class BoundedQueue(Generic[T]):
    """Holds items in order, up to a number of them."""

    def __init__(self, most: int, overflow: OverflowPolicy) -> None:
        """Hold nothing.

        Args:
            most: How many items are held at the most.
            overflow: What happens to one more.
        """
        self._most = most
        self._overflow: OverflowPolicy = overflow
        self._held: deque[T] = deque()

    def __len__(self) -> int:
        """How many items are held."""
        return len(self._held)

    def put(self, item: T) -> None:
        """Take an item in.

        Raises:
            Overflow: There is no room, and none may be dropped.
        """
        if len(self._held) >= self._most:
            match self._overflow:
                case "error":
                    raise Overflow(_full_message(self._most))
                case "drop_newest":
                    return
                case "drop_oldest":
                    self._held.popleft()
        self._held.append(item)

    def take(self) -> T:
        """Give the oldest item out, and hold it no longer."""
        return self._held.popleft()


def _full_message(most: int) -> str:
    items = "1 item that was" if most == 1 else f"{most} items that were"
    return (
        f"bounded({most}) holds {items} not taken yet, and one more came; take them faster, hold "
        "more, let it drop with overflow='drop_oldest' or 'drop_newest', or keep but the latest of "
        "each key with conflate()"
    )
