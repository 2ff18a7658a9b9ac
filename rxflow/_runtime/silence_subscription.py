"""Listening for silence: a stage that looks at the runs that no event came of.

A look is the beginning of one more watch, on the same scheduler: its first row is all it is for.
"""

from collections.abc import Callable
from functools import partial
from typing import Protocol, TypeVar

from reactivex import Observable, abc
from reactivex.disposable import CompositeDisposable, SingleAssignmentDisposable

from rxflow._models.entities import FlowRun
from rxflow._models.times import Now
from rxflow._runtime.operator_subscriptions import PromptSubscription
from rxflow.errors import BadResponse, NotAPrefectApi, RunNotFound, Unreachable
from rxflow.events import FlowRunEvent, RunSeen

Q = TypeVar("Q")
Q_co = TypeVar("Q_co", covariant=True)


class Detector(Protocol[Q_co]):
    """Detects silent runs; `rxflow._operators.silence.SilenceDetector` is the one."""

    def receive(self, event: FlowRunEvent, now: Now, /) -> None:
        """Record an event."""
        ...

    def due_in(self, now: Now, /) -> float | None:
        """Seconds until `take_due` returns runs; None if that depends on further events."""
        ...

    def take_due(self, now: Now, /) -> tuple[str, ...]:
        """Return the ids of the runs whose rows are to be read."""
        ...

    def judge(self, row: FlowRun, now: Now, /) -> Q_co | None:
        """Return what to emit now that a run's row was read."""
        ...

    def retry(self, run_id: str, now: Now, /) -> None:
        """Read a run's row again after another full quiet period."""
        ...

    def forget(self, run_id: str, /) -> None:
        """Drop a run that was deleted."""
        ...


class SilenceSubscription(PromptSubscription[FlowRunEvent, Q]):
    """A stage that looks at runs which have fallen silent; a look is the beginning of a watch."""

    def __init__(
        self,
        observer: abc.ObserverBase[Q],
        given: abc.SchedulerBase | None,
        silence: Detector[Q],
        look: Callable[[str], Observable[FlowRunEvent]],
    ) -> None:
        """Make a stage that nothing comes into yet.

        Args:
            observer: Who is told.
            given: The scheduler that was subscribed with, if any.
            silence: What was heard of the runs.
            look: Begins to watch a run, given its id.
        """
        super().__init__(observer, given)
        self._silence = silence
        self._begin = look
        self._looks = CompositeDisposable()
        self._latest: dict[str, abc.DisposableBase] = {}

    def receive(self, item: FlowRunEvent) -> None:
        """Take an event in."""
        self._silence.receive(item, self.clock())

    def due_in(self) -> float | None:
        """Seconds until a run has been silent for long enough."""
        return self._silence.due_in(self.clock())

    def wake(self) -> None:
        """Look at the runs that were silent for long enough."""
        for run_id in self._silence.take_due(self.clock()):
            self._look(run_id)

    def flush(self) -> None:
        """Nobody waits for looks that are under way."""

    def tear_down(self) -> None:
        """Let go of the source, of the scheduler, and of the looks that are under way."""
        super().tear_down()
        self._looks.dispose()

    def _look(self, run_id: str) -> None:
        look = SingleAssignmentDisposable()
        self._looks.add(look)
        # One that is still under way was begun before the last event, so it counts no more.
        self._end_look(run_id, self._latest.get(run_id))
        self._latest[run_id] = look

        def take(action: Callable[[], None]) -> None:
            self.act(partial(self._take, run_id, look, action))
            self.kick()

        def on_next(event: FlowRunEvent) -> None:
            if isinstance(event, RunSeen):  # and not a notice of an outage
                take(partial(self._judge, event))

        def on_error(error: Exception) -> None:
            take(partial(self._fail, run_id, error))

        begun = self._begin(run_id)
        look.disposable = begun.subscribe(on_next, on_error, scheduler=self.scheduler)

    def _take(self, run_id: str, look: abc.DisposableBase, action: Callable[[], None]) -> None:
        if self._latest.get(run_id) is look:
            self._end_look(run_id, look)
            action()

    def _end_look(self, run_id: str, look: abc.DisposableBase | None) -> None:
        if look is not None:
            del self._latest[run_id]
            self._looks.remove(look)

    def _judge(self, seen: RunSeen) -> None:
        quiet = self._silence.judge(seen.run, self.clock())
        if quiet is not None:
            self.observer.on_next(quiet)

    def _fail(self, run_id: str, error: Exception) -> None:
        match error:
            case RunNotFound():
                self._silence.forget(run_id)
            case Unreachable() | BadResponse() | NotAPrefectApi():
                self._silence.retry(run_id, self.clock())
            case _:
                self.finish(error)
