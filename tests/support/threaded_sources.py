"""A source that emits from a thread of its own, as operators that wait must support."""

import threading
from collections.abc import Iterable
from typing import Any

from reactivex import Observable, abc
from reactivex.disposable import Disposable
from sample_events import line
from virtual_world import TEST_TIMEOUT

LINES = [line(number / 1e3, str(number), level=20 + number % 20) for number in range(300)]
"""300 log lines, a millisecond apart, with the messages "0" to "299"."""


class ThreadedSource(Observable[Any]):
    """Emits given items from a thread of its own and completes.

    Attributes:
        finished: Set when all items and the completion are emitted.
        disposed: Set when a subscription is disposed of.
    """

    def __init__(
        self, items: Iterable[Any], *, hold_after_first: threading.Event | None = None
    ) -> None:
        """Create a source whose thread starts on subscription.

        Args:
            items: What to emit.
            hold_after_first: Wait for this event between the first item and the second.
        """
        super().__init__()
        self._items = list(items)
        self._hold = hold_after_first
        self.finished = threading.Event()
        self.disposed = threading.Event()

    def _subscribe_core(
        self, observer: abc.ObserverBase[Any], _: abc.SchedulerBase | None = None
    ) -> abc.DisposableBase:
        def emit() -> None:
            for number, item in enumerate(self._items):
                observer.on_next(item)
                if number == 0 and self._hold is not None:
                    assert self._hold.wait(TEST_TIMEOUT)
            observer.on_completed()
            self.finished.set()

        threading.Thread(target=emit).start()
        return Disposable(self.disposed.set)
