"""Emit a recording again: each page at the time at which it came, or as soon as it is read.

Belongs here: when a page is emitted. Does not belong here: what is in a file (`recording_reader`).
"""

from reactivex import Observable, abc

from rxflow._runtime.clocks import monotonic_clock_of
from rxflow._runtime.recording_reader import RecordedEnd, RecordedPage, RecordingReader
from rxflow._runtime.turn_subscription import TurnSubscription
from rxflow._watching.event_order import EventPage

_LONGEST_PAUSE = 3600.0  # seconds of one timer; longer pauses take several


def replayed(path: str, speed: float | None) -> Observable[EventPage]:
    """Return the pages of a recording; each subscription reads the file.

    Args:
        path: The path of the file.
        speed: How many recorded seconds pass in one second; None for all at once.
    """

    def subscribe(
        observer: abc.ObserverBase[EventPage], given: abc.SchedulerBase | None = None
    ) -> abc.DisposableBase:
        return _Replay(observer, given, RecordingReader(path), speed).begin()

    return Observable(subscribe)


class _Replay(TurnSubscription[EventPage]):
    """Reads a page and emits it when it is due, one page a turn."""

    def __init__(
        self,
        observer: abc.ObserverBase[EventPage],
        given: abc.SchedulerBase | None,
        reader: RecordingReader,
        speed: float | None,
    ) -> None:
        super().__init__(observer, given)
        self._reader = reader
        self._speed = speed
        self._mono = monotonic_clock_of(self.scheduler)
        self._began = self._mono()
        self._next: RecordedPage | RecordedEnd | None = None

    def tear_down(self) -> None:
        """Close the file as well."""
        super().tear_down()
        self._reader.close()

    def due_in(self) -> float:
        """Return the seconds until the next page is due, or is to be read."""
        if self._next is None or self._speed is None:
            return 0.0
        due = self._began + self._next.at / self._speed
        return min(max(0.0, due - self._mono()), _LONGEST_PAUSE)

    def wake(self) -> None:
        """Read the next page, and emit it if it is due."""
        if self._next is None:
            self._next = self._reader.next_page(by_time=self._speed is not None)
        if self._next is None or self.due_in() > 0:
            return
        due, self._next = self._next, None
        if isinstance(due, RecordedEnd):
            self.finish(due.error)
        else:
            self.observer.on_next(due.events)
