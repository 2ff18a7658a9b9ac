"""A subscription that emits what a machine returns for the items and the time it is given."""

from collections.abc import Callable
from typing import Protocol, TypeVar

from reactivex import abc

from rxflow._models.times import Now
from rxflow._runtime.clocks import monotonic_clock_of
from rxflow._runtime.operator_subscription import SerializedSubscription

T = TypeVar("T")
R = TypeVar("R")
T_contra = TypeVar("T_contra", contravariant=True)
R_co = TypeVar("R_co", covariant=True)


class OperatorMachine(Protocol[T_contra, R_co]):
    """Decides what an operator emits, from the items it receives and the time that passes.

    Time is seconds of a clock that never steps. The machines are in `rxflow._operators`, which
    `_runtime` may not import.
    """

    def receive(self, item: T_contra, mono: float, /) -> tuple[R_co, ...]:
        """Receive an item; return what to emit now."""
        ...

    def due_in(self, mono: float, /) -> float | None:
        """Return the seconds until `wake` is due; None if that depends on further items.

        An item must not make `wake` due earlier than it was before: a scheduled turn stays.
        """
        ...

    def wake(self, mono: float, /) -> tuple[R_co, ...]:
        """Return what to emit because time has passed."""
        ...

    def flush(self, mono: float, /) -> tuple[R_co, ...]:
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
        self._monotonic_clock = monotonic_clock_of(self.scheduler)
        self._machine = machine(self.clock())

    def receive(self, item: T) -> tuple[R, ...]:
        """Return what the machine returns for an item."""
        return self._machine.receive(item, self._monotonic_clock())

    def due_in(self) -> float | None:
        """Return the seconds until the machine is due; None if that depends on further items."""
        return self._machine.due_in(self._monotonic_clock())

    def wake(self) -> None:
        """Emit what the machine returns for the time that has passed."""
        self.emit(self._machine.wake(self._monotonic_clock()))

    def flush(self) -> None:
        """Emit what the machine has left."""
        self.emit(self._machine.flush(self._monotonic_clock()))
