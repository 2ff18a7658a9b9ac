"""A subscription that emits what a machine returns for the items and the time it is given."""

from collections.abc import Callable
from typing import Protocol, TypeVar

from reactivex import abc

from rxflow._models.times import Now
from rxflow._runtime.operator_subscription import SerializedSubscription

T = TypeVar("T")
R = TypeVar("R")
T_contra = TypeVar("T_contra", contravariant=True)
R_co = TypeVar("R_co", covariant=True)


class OperatorMachine(Protocol[T_contra, R_co]):
    """Decides what an operator emits, from the items it receives and the time that passes.

    The machines are in `rxflow._operators`, which `_runtime` may not import.
    """

    def receive(self, item: T_contra, now: Now, /) -> tuple[R_co, ...]:
        """Receive an item; return what to emit now."""
        ...

    def due_in(self, now: Now, /) -> float | None:
        """Return the seconds until `wake` is due; None if that depends on further items.

        An item must not make `wake` due earlier than it was before: a scheduled turn stays.
        """
        ...

    def wake(self, now: Now, /) -> tuple[R_co, ...]:
        """Return what to emit because time has passed."""
        ...

    def flush(self, now: Now, /) -> tuple[R_co, ...]:
        """Return what to emit because the source has ended."""
        ...


class TimedSubscription(SerializedSubscription[T, R]):
    """Passes items and time to a machine and emits what it returns."""

    def __init__(
        self,
        observer: abc.ObserverBase[R],
        given: abc.SchedulerBase | None,
        machine: Callable[[Now], OperatorMachine[T, R]],
    ) -> None:
        """Create a subscription whose source is not subscribed to yet.

        Args:
            observer: The observer to emit to.
            given: The scheduler passed to `subscribe`, if any.
            machine: Creates the machine, given the time of the subscription.
        """
        super().__init__(observer, given)
        self._machine = machine(self.clock())

    def receive(self, item: T) -> None:
        """Emit what the machine returns for an item."""
        self._emit(self._machine.receive(item, self.clock()))

    def due_in(self) -> float | None:
        """Return the seconds until the machine is due; None if that depends on further items."""
        return self._machine.due_in(self.clock())

    def wake(self) -> None:
        """Emit what the machine returns for the time that has passed."""
        self._emit(self._machine.wake(self.clock()))

    def flush(self) -> None:
        """Emit what the machine has left."""
        self._emit(self._machine.flush(self.clock()))

    def _emit(self, items: tuple[R, ...]) -> None:
        for item in items:
            if self.stopped:
                return
            self.observer.on_next(item)
