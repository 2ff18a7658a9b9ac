"""A stage: one subscription to an operator that waits, with its turns on a scheduler and its end.

What an operator knows is a machine's business. A stage hands it the items and the time, has the
scheduler come back when the machine says that something is due, and sees to it that whoever listens
is told one thing at a time.
"""

import asyncio
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

from loguru import logger
from reactivex import Observable, abc
from reactivex.disposable import Disposable, SerialDisposable, SingleAssignmentDisposable

from rxflow._models.times import Now
from rxflow._runtime.clocks import clock_of
from rxflow._runtime.scheduling import fetches_inline, running_loop, schedule_next, scheduler_for

T = TypeVar("T")
R = TypeVar("R")
T_contra = TypeVar("T_contra", contravariant=True)
R_co = TypeVar("R_co", covariant=True)


class Machine(Protocol[T_contra, R_co]):
    """Makes items of items, and of time that passes."""

    def receive(self, item: T_contra, now: Now, /) -> tuple[R_co, ...]:
        """Take an item in; what is to be told now."""
        ...

    def due_in(self, now: Now, /) -> float | None:
        """Seconds until `wake` has something to tell; None if it depends on what comes.

        What an item makes due is never due sooner than what was due before it.
        """
        ...

    def wake(self, now: Now, /) -> tuple[R_co, ...]:
        """What is to be told since time passed."""
        ...

    def flush(self, now: Now, /) -> tuple[R_co, ...]:
        """What is to be told since nothing comes any more."""
        ...


class Queue(Protocol[T]):
    """Holds items until they are taken."""

    def __len__(self) -> int:
        """How many items are held."""
        ...

    def put(self, item: T, /) -> None:
        """Take an item in; raises if it cannot."""
        ...

    def take(self) -> T:
        """Give an item out."""
        ...


class OperatorSubscription(ABC, Generic[T, R]):
    """One subscription: items come in from any thread, and turns on the scheduler when due."""

    def __init__(self, observer: abc.ObserverBase[R], given: abc.SchedulerBase | None) -> None:
        """Make a stage that nothing comes into yet.

        Args:
            observer: Who is told.
            given: The scheduler that was subscribed with, if any.
        """
        self.observer = observer
        self.scheduler = scheduler_for(given)
        self.clock = clock_of(self.scheduler)
        self._given = given
        self._lock = threading.RLock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._scheduled = True  # the first turn, which `start` schedules and which finds the loop
        self._next = SerialDisposable()
        self._source = SingleAssignmentDisposable()
        self._teardown = Disposable(self.tear_down)

    def start(self, source: Observable[T]) -> abc.DisposableBase:
        """Subscribe to the source; what is returned ends it all."""
        self._schedule(0.0)
        try:
            self._source.disposable = source.subscribe(
                self.on_next, self.on_error, self.on_completed, scheduler=self._given
            )
        except BaseException:  # such as Ctrl-C, where the source emits at once
            self._teardown.dispose()
            raise
        return self._teardown

    @property
    def stopped(self) -> bool:
        """Whether nothing is told any more."""
        return self._teardown.is_disposed

    def finish(self, error: Exception | None = None) -> None:
        """Tell the end, and stop."""
        self._teardown.dispose()
        if error is None:
            self.observer.on_completed()
        else:
            self.observer.on_error(error)

    def tear_down(self) -> None:
        """Let go of the source and of the scheduler."""
        self._source.dispose()
        self._next.dispose()

    # -- what a kind of stage decides -----------------------------------------------------------

    @abstractmethod
    def on_next(self, item: T) -> None:
        """Take an item in."""

    @abstractmethod
    def on_error(self, error: Exception) -> None:
        """Take in that the source failed."""

    @abstractmethod
    def on_completed(self) -> None:
        """Take in that the source completed."""

    @abstractmethod
    def due_in(self) -> float | None:
        """Seconds until `wake` has something to do; None if it depends on what comes."""

    @abstractmethod
    def wake(self) -> None:
        """Do what is due."""

    # -- turns ----------------------------------------------------------------------------------

    def kick(self) -> None:
        """Have a turn scheduled for when one is due, if there is none yet."""
        with self._lock:
            due = None if self.stopped or self._scheduled else self.due_in()
            if due is None:
                return
            self._scheduled = True
        try:
            if self._loop is None or self._loop is running_loop():
                self._schedule(due)
            else:  # whose schedulers are not to be called from other threads
                self._loop.call_soon_threadsafe(self._schedule, due)
        except Exception as error:  # noqa: BLE001 - as many kinds as there are schedulers
            logger.opt(exception=error).debug("The scheduler of an operator was closed, so it ends")
            self._teardown.dispose()

    def _schedule(self, seconds: float) -> None:
        schedule_next(self.scheduler, seconds, self._turn, place=self._next)

    def _turn(self, _: abc.SchedulerBase, __: Any = None) -> None:
        # A pump may well be drained by a loop's thread, and has to be woken all the same.
        self._loop = None if fetches_inline(self.scheduler) else running_loop()
        self.act(self.wake)
        with self._lock:
            self._scheduled = False
        self.kick()

    def act(self, action: Callable[[], None]) -> None:
        """Do something; what it raises is told."""
        if self.stopped:
            return
        try:
            action()
        except Exception as error:  # a function that was given, or the observer's own
            if self.stopped:  # nobody is left to be told
                raise
            self.finish(error)
        except BaseException:
            self._teardown.dispose()
            raise


class PromptSubscription(OperatorSubscription[T, R]):
    """A stage that may tell something whenever an item comes in, and in its turns.

    A lock is held meanwhile, as `merge` does it, so that one follows the other.
    """

    @abstractmethod
    def receive(self, item: T) -> None:
        """Take an item in."""

    @abstractmethod
    def flush(self) -> None:
        """Tell what is left, since nothing comes any more."""

    def on_next(self, item: T) -> None:
        """Take an item in, and see whether something is due."""
        self.act(partial(self.receive, item))
        self.kick()

    def on_error(self, error: Exception) -> None:
        """Tell what is left, and the error."""
        self.act(partial(self._end, error))

    def on_completed(self) -> None:
        """Tell what is left, and that it was all."""
        self.act(partial(self._end, None))

    def _end(self, error: Exception | None) -> None:
        self.flush()
        if not self.stopped:
            self.finish(error)

    def act(self, action: Callable[[], None]) -> None:
        """Do something, one thing at a time; what it raises is told."""
        with self._lock:
            super().act(action)


class TimedSubscription(PromptSubscription[T, R]):
    """A stage that tells what its machine makes of items and of time."""

    def __init__(
        self,
        observer: abc.ObserverBase[R],
        given: abc.SchedulerBase | None,
        machine: Callable[[Now], Machine[T, R]],
    ) -> None:
        """Make a stage that nothing comes into yet.

        Args:
            observer: Who is told.
            given: The scheduler that was subscribed with, if any.
            machine: Makes the machine, as of now.
        """
        super().__init__(observer, given)
        self._machine = machine(self.clock())

    def receive(self, item: T) -> None:
        """Tell what an item makes the machine tell."""
        self._tell(self._machine.receive(item, self.clock()))

    def due_in(self) -> float | None:
        """Seconds until time makes the machine tell something."""
        return self._machine.due_in(self.clock())

    def wake(self) -> None:
        """Tell what time makes the machine tell."""
        self._tell(self._machine.wake(self.clock()))

    def flush(self) -> None:
        """Tell what the machine has left."""
        self._tell(self._machine.flush(self.clock()))

    def _tell(self, values: tuple[R, ...]) -> None:
        for value in values:
            if self.stopped:
                return
            self.observer.on_next(value)


class QueuedSubscription(OperatorSubscription[T, T]):
    """A stage that tells nothing but in its turns, and one item of its queue in each.

    No lock is held meanwhile, so whoever puts items in never waits for whoever takes them.
    """

    def __init__(
        self,
        observer: abc.ObserverBase[T],
        given: abc.SchedulerBase | None,
        queue: Queue[T],
    ) -> None:
        """Make a stage that nothing comes into yet.

        Args:
            observer: Who is told.
            given: The scheduler that was subscribed with, if any.
            queue: Holds what was not told yet.
        """
        super().__init__(observer, given)
        self._queue = queue
        self._ended: tuple[Exception | None] | None = None

    def on_next(self, item: T) -> None:
        """Put an item into the queue."""
        try:
            with self._lock:
                if self._ended is None and not self.stopped:
                    self._queue.put(item)
        except Exception as error:  # noqa: BLE001 - the key's, or there is no room
            self._source.dispose()
            self._end(error)
        else:
            self.kick()

    def on_error(self, error: Exception) -> None:
        """Have the error told when the queue is empty."""
        self._end(error)

    def on_completed(self) -> None:
        """Have the end told when the queue is empty."""
        self._end(None)

    def _end(self, error: Exception | None) -> None:
        with self._lock:
            self._ended = self._ended or (error,)
        self.kick()

    def due_in(self) -> float | None:
        """At once, if there is something to tell."""
        return 0.0 if self._queue or self._ended is not None else None

    def wake(self) -> None:
        """Tell one item, or the end."""
        with self._lock:
            item = (self._queue.take(),) if self._queue else None
            ended = self._ended
        if item is not None:
            self.observer.on_next(item[0])
        elif ended is not None:
            self.finish(ended[0])
