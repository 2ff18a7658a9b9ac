"""A subscription that puts items into a queue and emits them in turns on the scheduler."""

from typing import Protocol, TypeVar

from reactivex import abc

from rxflow._runtime.operator_subscription import OperatorSubscription
from rxflow._runtime.scheduling import buffers_items

T = TypeVar("T")


class ItemQueue(Protocol[T]):
    """Holds items until they are emitted.

    The queues are in `rxflow._operators.queues`, which `_runtime` may not import.
    """

    def __len__(self) -> int:
        """Return the number of items held."""
        ...

    def put(self, item: T, /) -> None:
        """Add an item; raises if that is impossible."""
        ...

    def take(self) -> T:
        """Remove and return the next item."""
        ...


class QueuedSubscription(OperatorSubscription[T, T]):
    """Emits in its turns only, up to a number of items of the queue in each.

    Items are taken one by one, so that what arrives during a turn meets the queue as it is. No lock
    is held while an item is emitted, so the source never waits for the observer.
    """

    def __init__(
        self,
        observer: abc.ObserverBase[T],
        given: abc.SchedulerBase | None,
        queue: ItemQueue[T],
        *,
        items_per_turn: int,
    ) -> None:
        """Create a subscription whose source is not subscribed to yet.

        Args:
            observer: The observer to emit to.
            given: The scheduler passed to `subscribe`, if any.
            queue: Holds the items that were not emitted yet.
            items_per_turn: The largest number of items to emit in one turn; where a loop buffers
                what is emitted, it is 1, since the queue's policy would not reach that buffer.
        """
        super().__init__(observer, given)
        self._queue = queue
        self._items_per_turn = 1 if buffers_items(self.scheduler) else items_per_turn
        self._ended: tuple[Exception | None] | None = None

    def on_next(self, item: T) -> None:
        """Put an item into the queue; what the queue raises ends the source."""
        try:
            with self._lock:
                if self._ended is None and not self.stopped:
                    self._queue.put(item)
        except Exception as error:  # noqa: BLE001 - the user's key function, or an overflow
            self._source.dispose()
            self._end(error)
        else:
            if not self._scheduled:  # else the scheduled turn emits the item, or schedules the next
                self.schedule_turn()

    def on_error(self, error: Exception) -> None:
        """Emit the error once the queue is empty."""
        self._end(error)

    def on_completed(self) -> None:
        """Complete once the queue is empty."""
        self._end(None)

    def due_in(self) -> float | None:
        """Return 0 if an item or the end is to be emitted, else None."""
        return 0.0 if self._queue or self._ended is not None else None

    def wake(self) -> None:
        """Emit the items of a turn, and the end if the queue is empty before that."""
        for _ in range(self._items_per_turn):
            with self._lock:
                item = (self._queue.take(),) if self._queue else None
                ended = self._ended
            if item is None:
                if ended is not None:
                    self.finish(ended[0])
                return
            self.observer.on_next(item[0])
            if not self.active:  # the observer has disposed, or this is a child it has forked
                return

    def _end(self, error: Exception | None) -> None:
        with self._lock:
            self._ended = self._ended or (error,)
        self.schedule_turn()
