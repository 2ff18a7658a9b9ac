"""Virtual time: a scheduler for the watch and a clock for the server.

Virtual time passes at once: no thread waits, and an hour of a watch takes only as long as its
requests take to be processed.
"""

import math
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from reactivex import Observable
from reactivex.scheduler import VirtualTimeScheduler
from reactivex.typing import AbsoluteTime

from rxflow._models.arguments import seconds_of, utc_time

T = TypeVar("T")

BEGINNING = datetime(2026, 1, 1, tzinfo=UTC)

_SECOND = timedelta(seconds=1)
_MICROSECONDS = 1_000_000


class VirtualTime(VirtualTimeScheduler):
    """Time that passes only when it is advanced, and then at once.

    It is both the clock of a fake server and the scheduler of what watches that server.

    Example:
        >>> import rxflow
        >>> from rxflow.testing import FakePrefect3, VirtualTime
        >>> time = VirtualTime()
        >>> server = FakePrefect3(clock=time)
        >>> run_id = server.add_run(state="RUNNING")
        >>> server.at(3600, lambda: server.set_state(run_id, "COMPLETED"))
        >>> with server.client() as client:
        ...     events = time.collect(rxflow.watch_flow_run(run_id, client=client))
        >>> type(events[-1]).__name__, 3600 < time.seconds < 3700
        ('Closed', True)
    """

    def __init__(self, beginning: datetime = BEGINNING) -> None:
        """Start at a time, and stand still there.

        Args:
            beginning: That time, aware.
        """
        self.beginning = utc_time("beginning", beginning)
        super().__init__(self.beginning.timestamp())
        self._reached = self.beginning

    def __call__(self) -> datetime:
        """Return the time."""
        return self.now

    @property
    def seconds(self) -> float:
        """The seconds that have passed since the beginning."""
        return (self.now - self.beginning).total_seconds()

    def wait(self, seconds: timedelta | float) -> None:
        """Let time pass inside an action of the scheduler; later actions are delayed by it.

        Args:
            seconds: How long, in seconds if a number; rounded up to whole microseconds, so that
                waiting until a moment always reaches it.
        """
        seconds = seconds_of("seconds", seconds)
        self.sleep(timedelta(microseconds=math.ceil(seconds * _MICROSECONDS)))
        self._reached = self.now

    def advance_to(self, time: AbsoluteTime) -> None:
        """Let time pass up to a moment, and run the actions scheduled until then."""
        try:
            super().advance_to(time)
        finally:
            self.stop()  # after an action that raised, the scheduler would not run again
        if self.now < self._reached:  # the last action waited beyond `time`
            self.sleep(self._reached - self.now)

    def collect(self, stream: Observable[T], *, seconds: timedelta | float = 86_400.0) -> list[T]:
        """Subscribe to a stream, and let time pass until it ends.

        Args:
            stream: Any observable, such as a watch.
            seconds: How long to stay subscribed at most, in seconds if a number; time stops there,
                or within a second of the stream's end.

        Returns:
            The items that the stream emitted.

        Raises:
            Exception: The error that the stream ended with.
        """
        values: list[T] = []
        errors: list[Exception] = []
        ended: list[bool] = []
        until = self.now + timedelta(seconds=seconds_of("seconds", seconds))
        subscription = stream.subscribe(
            values.append, errors.append, lambda: ended.append(True), scheduler=self
        )
        try:
            while not (ended or errors) and self.now < until:
                self.advance_to(min(until, self.now + _SECOND))
        finally:
            subscription.dispose()
        if errors:
            raise errors[0]
        return values
