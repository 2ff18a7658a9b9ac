"""One subscription that takes turns on a scheduler: when they are due, its end, its errors, forks.

A *turn* is one action on the scheduler, in which the subscription does what is due. Where its items
come from, and what it emits, is decided by the classes that derive from it.
"""

import asyncio
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from reactivex import abc
from reactivex.disposable import Disposable

from rxflow._forks import inherited_watch, register
from rxflow._own_log import log
from rxflow._runtime.clocks import clock_of
from rxflow._runtime.scheduling import (
    NextAction,
    fetches_inline,
    is_exit_on_thread,
    running_loop,
    scheduler_for,
)
from rxflow._runtime.thread_errors import exit_on_thread

R = TypeVar("R")


class TurnSubscription(ABC, Generic[R]):
    """Takes a turn on the scheduler when one is due."""

    def __init__(self, observer: abc.ObserverBase[R], given: abc.SchedulerBase | None) -> None:
        """Create a subscription that takes no turn yet.

        Args:
            observer: The observer to emit to.
            given: The scheduler passed to `subscribe`, if any.
        """
        self.observer = observer
        self.scheduler = scheduler_for(given)
        self.clock = clock_of(self.scheduler)
        self.active = True  # until `tear_down` or a fork; then nothing may be emitted any more
        self._given = given
        self._inherited = False  # whether this is a forked child of the process that subscribed
        self._lock = threading.RLock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._scheduled = True  # `begin` schedules the first turn, which finds out the loop
        self._next_turn = NextAction(self.scheduler)
        self._teardown = Disposable(self.tear_down)
        register(self)

    def reset_after_fork(self) -> None:
        """Stop in a forked child; the next turn there, if any, ends it with an error."""
        self._lock = threading.RLock()
        self._next_turn = NextAction(self.scheduler)
        self._inherited, self.active = not self.stopped, False
        self._scheduled, self._loop = False, None

    def begin(self) -> abc.DisposableBase:
        """Schedule the first turn; return what disposes of the subscription."""
        self._schedule(0.0)
        return self._teardown

    @property
    def stopped(self) -> bool:
        """Whether the subscription has ended or was disposed of."""
        return self._teardown.is_disposed

    def finish(self, error: Exception | None = None) -> None:
        """Dispose of everything, then end the observer, with an error or without one."""
        self._teardown.dispose()
        if error is None:
            self.observer.on_completed()
        else:
            self.observer.on_error(error)

    def tear_down(self) -> None:
        """Dispose of the next turn."""
        self.active = False
        self._next_turn.dispose()

    # -- what each kind of subscription decides -------------------------------------------------

    @abstractmethod
    def due_in(self) -> float | None:
        """Return the seconds until `wake` is due; None if that depends on something else."""

    @abstractmethod
    def wake(self) -> None:
        """Do what is due."""

    # -- turns ----------------------------------------------------------------------------------

    def schedule_turn(self) -> None:
        """Schedule the next turn if something is due, now or later, and none is scheduled."""
        with self._lock:
            due_in = None if self.stopped or self._scheduled else self.due_in()
            if due_in is None:
                return
            self._scheduled = True
        try:
            if self._loop is None or self._loop is running_loop():
                self._schedule(due_in)
            else:  # asyncio schedulers must not be called from other threads
                self._loop.call_soon_threadsafe(self._schedule, due_in)
        except Exception as error:  # noqa: BLE001 - each kind of scheduler has its own
            log("DEBUG", "A subscription ends because its scheduler was closed", error=error)
            self._teardown.dispose()

    def _schedule(self, seconds: float) -> None:
        self._next_turn.schedule(seconds, self._take_turn)

    def _take_turn(self, _: abc.SchedulerBase, __: Any = None) -> None:
        # A pull scheduler may be iterated in a loop's thread: the blocked loop runs no callback.
        self._loop = None if fetches_inline(self.scheduler) else running_loop()
        self.run(self.wake)
        with self._lock:
            self._scheduled = False
        self.schedule_turn()

    def run(self, action: Callable[[], None]) -> None:
        """Run an action; what it raises ends the observer."""
        if not self.active:
            self.end_if_inherited()
            return
        try:
            action()
        except BaseException as error:
            if not self.ends_with(error):
                raise

    def end_if_inherited(self) -> None:
        """End the observer in a forked child."""
        if self._inherited and not self.stopped:
            self.finish(inherited_watch())

    def ends_with(self, error: BaseException) -> bool:
        """End the observer with what an action raised, unless it is to be raised to the caller."""
        if isinstance(error, Exception):  # raised by a user's function or by the observer
            if self.stopped:  # the observer has had its end: leave it to the caller
                return False
            self.finish(error)
            return True
        if self.stopped or not is_exit_on_thread(error, self.scheduler):
            self._teardown.dispose()
            return False
        self.finish(exit_on_thread(error))
        return True
