"""The events that wait for `ack`: those that were handed on and not acknowledged.

Belongs here: their order, how many there may be, and which event is none of them. Does not belong
here: what follows from an acknowledgement (`acknowledged_events`).
"""

from collections import deque
from collections.abc import Callable, Iterable
from operator import eq, is_

from rxflow.events import FlowRunEvent

MOST_UNACKNOWLEDGED = 10_000
"""The number of events from which on a watch waits until some of them are acknowledged."""

_KEPT_PAST = 10_000  # hashes of acknowledged events, so that acknowledging one twice is no error


class UnacknowledgedEvents:
    """The events that were handed on and not acknowledged, in their order."""

    def __init__(self) -> None:
        """Start without an event."""
        self._events: deque[FlowRunEvent] = deque()
        self._past: deque[int] = deque(maxlen=_KEPT_PAST)

    def __len__(self) -> int:
        """Return how many events wait."""
        return len(self._events)

    def add(self, events: Iterable[FlowRunEvent]) -> None:
        """Add events that are handed on."""
        self._events += events

    def add_past(self, events: Iterable[FlowRunEvent]) -> None:
        """Add events that are handed on, and were acknowledged before."""
        self._past += map(hash, events)

    def take(self, last: FlowRunEvent) -> list[FlowRunEvent]:
        """Remove and return the events up to one of them, which is included.

        Args:
            last: The event, or one that is equal to it, such as a copy from another process.

        Returns:
            The events, in their order; none if it was acknowledged before.

        Raises:
            ValueError: It is none of the events that were handed on.
        """
        number = self._number_of(last, is_)
        if number is None:
            number = self._number_of(last, eq)
        if number is None:
            if hash(last) in self._past:
                return []
            raise ValueError(
                f"This stream has not handed on the event '{last}'; pass to ack() an event of a "
                "loop over this stream or a part of it, or of a subscription to it, the last one"
            )
        taken = [self._events.popleft() for _ in range(number + 1)]
        self.add_past(taken)
        return taken

    def _number_of(
        self, event: FlowRunEvent, is_same: Callable[[object, object], bool]
    ) -> int | None:
        same = (number for number, each in enumerate(self._events) if is_same(each, event))
        return next(same, None)
