"""A subscription that reads the row of each run that has fallen silent and emits what is found.

A *row check* reads the row. It subscribes to a watch of the run, on the same scheduler, and takes
its first row; so queries, retries and backoff are those of any watch.
"""

from collections.abc import Callable
from functools import partial
from typing import Protocol, TypeVar

from reactivex import Observable, abc
from reactivex.disposable import CompositeDisposable, SingleAssignmentDisposable

from rxflow._models.entities import FlowRun
from rxflow._models.times import Now
from rxflow._runtime.operator_subscription import SerializedSubscription
from rxflow.errors import BadResponse, NotAPrefectApi, RunNotFound, Unreachable
from rxflow.events import FlowRunEvent, RunSeen

Q = TypeVar("Q")
Q_co = TypeVar("Q_co", covariant=True)


class SilentRunDetector(Protocol[Q_co]):
    """Decides which runs are silent.

    `rxflow._operators.silence.SilenceDetector` is the one; `_runtime` may not import it.
    """

    def receive(self, event: FlowRunEvent, now: Now, /) -> None:
        """Record an event."""
        ...

    def due_in(self, now: Now, /) -> float | None:
        """Return the seconds until `next_row_checks` returns runs; None if no time is counted."""
        ...

    def next_row_checks(self, now: Now, /) -> tuple[str, ...]:
        """Return the ids of the runs whose rows are to be read."""
        ...

    def receive_row(self, row: FlowRun, now: Now, /) -> Q_co | None:
        """Return what to emit for a run whose row was read; None for nothing."""
        ...

    def receive_failure(self, run_id: str, now: Now, /) -> None:
        """Read a run's row again after another full quiet period."""
        ...

    def forget(self, run_id: str, /) -> None:
        """Drop a run that was deleted."""
        ...


class SilenceSubscription(SerializedSubscription[FlowRunEvent, Q]):
    """Checks the row of each silent run and emits what the detector makes of it."""

    def __init__(
        self,
        observer: abc.ObserverBase[Q],
        given: abc.SchedulerBase | None,
        detector: SilentRunDetector[Q],
        watch_run: Callable[[str], Observable[FlowRunEvent]],
    ) -> None:
        """Create a subscription whose source is not subscribed to yet.

        Args:
            observer: The observer to emit to.
            given: The scheduler passed to `subscribe`, if any.
            detector: Decides which runs are silent.
            watch_run: Returns a watch of a run, given its id.
        """
        super().__init__(observer, given)
        self._detector = detector
        self._watch_run = watch_run
        self._row_checks = CompositeDisposable()
        self._row_check_of: dict[str, abc.DisposableBase] = {}

    def receive(self, item: FlowRunEvent) -> tuple[Q, ...]:
        """Record an event, after which nothing is to be emitted at once."""
        self._detector.receive(item, self.clock())
        return ()

    def due_in(self) -> float | None:
        """Return the seconds until a run counts as silent; None if no time is counted."""
        return self._detector.due_in(self.clock())

    def wake(self) -> None:
        """Check the rows of the runs that count as silent."""
        for run_id in self._detector.next_row_checks(self.clock()):
            self._check_row(run_id)

    def flush(self) -> None:
        """Emit nothing: the source's end does not wait for row checks in progress."""

    def tear_down(self) -> None:
        """Dispose of the source's subscription, the next turn and the row checks in progress."""
        super().tear_down()
        self._row_checks.dispose()

    def _check_row(self, run_id: str) -> None:
        check = SingleAssignmentDisposable()
        self._row_checks.add(check)
        # A check still in progress began before the last event, so its row may be out of date.
        self._drop_check(run_id, self._row_check_of.get(run_id))
        self._row_check_of[run_id] = check

        def finish_with(action: Callable[[], None]) -> None:
            self.run(partial(self._finish_check, run_id, check, action))
            self.schedule_turn()

        def on_next(event: FlowRunEvent) -> None:
            if isinstance(event, RunSeen):  # a notice of an outage may come first
                finish_with(partial(self._receive_row, event.run))

        def on_error(error: Exception) -> None:
            finish_with(partial(self._receive_failure, run_id, error))

        watch = self._watch_run(run_id)
        check.disposable = watch.subscribe(on_next, on_error, scheduler=self.scheduler)

    def _finish_check(
        self, run_id: str, check: abc.DisposableBase, action: Callable[[], None]
    ) -> None:
        if self._row_check_of.get(run_id) is check:  # else a later check has replaced it
            self._drop_check(run_id, check)
            action()

    def _drop_check(self, run_id: str, check: abc.DisposableBase | None) -> None:
        if check is not None:
            del self._row_check_of[run_id]
            self._row_checks.remove(check)

    def _receive_row(self, row: FlowRun) -> None:
        item = self._detector.receive_row(row, self.clock())
        if item is not None:
            self.observer.on_next(item)

    def _receive_failure(self, run_id: str, error: Exception) -> None:
        match error:
            case RunNotFound():
                self._detector.forget(run_id)
            case Unreachable() | BadResponse() | NotAPrefectApi():
                self._detector.receive_failure(run_id, self.clock())
            case _:
                self.finish(error)
