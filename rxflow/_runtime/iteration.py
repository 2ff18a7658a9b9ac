"""Blocking and async iteration of any observable, driven by the demand of the consumer.

The observable is subscribed to with a scheduler that has no thread of its own. Its timers and polls
run in the consumer's thread, or on the consumer's event loop, and only while the consumer waits for
an item. A consumer that stops iterating stops the polling, and no more is buffered than one action
emits. Sources that emit from elsewhere are buffered up to `MAX_UNREQUESTED_ITEMS`.
"""

import asyncio
import math
import threading
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Iterator
from contextlib import aclosing, contextmanager, suppress
from typing import Any, TypeVar

from reactivex import Observable, abc

from rxflow._forks import inherited_watch
from rxflow._runtime.timer_queue import Timer, TimerQueue
from rxflow.errors import Overflow

T = TypeVar("T")

MAX_UNREQUESTED_ITEMS = 10_000
"""Maximum number of items buffered of sources that emit without the consumer's demand."""

_OVERFLOW = (
    f"A source that emits on its own is {MAX_UNREQUESTED_ITEMS} items ahead of the loop that reads "
    "it; read faster, or drop or combine items upstream, for instance with bounded() or conflate() "
    "of rxflow.operators"
)


def pull(observable: Observable[T]) -> Generator[T]:
    """Iterate an observable in the caller's own thread, driven by the caller's demand."""
    scheduler = PullScheduler()
    subscription = scheduler.subscribe_to(observable)
    try:
        yield from scheduler.items()
    finally:
        subscription.dispose()


async def apull(observable: Observable[T]) -> AsyncGenerator[T]:
    """Iterate an observable on the caller's event loop, driven by the caller's demand."""
    scheduler = AsyncPullScheduler()
    subscription = scheduler.subscribe_to(observable)
    try:
        async with aclosing(scheduler.items()) as items:
            async for item in items:
                yield item
    finally:
        subscription.dispose()
        await scheduler.join_tasks()


class _DemandScheduler(TimerQueue):
    """What both pull schedulers share: the timers and the buffer between source and consumer."""

    def __init__(self) -> None:
        super().__init__()
        self._items: deque[Any] = deque()
        self._end: tuple[Exception | None] | None = None
        self._consumer_thread = threading.get_ident()
        self._on_demand = False  # whether an action is running because the consumer waits

    def reset_after_fork(self) -> None:
        """End the iteration in a forked child with an error; the parent's goes on."""
        super().reset_after_fork()
        self._items.clear()
        self._end = (inherited_watch(),)

    def subscribe_to(self, observable: Observable[Any]) -> abc.DisposableBase:
        """Subscribe to the observable; items that it emits at once count as requested."""
        self._on_demand = True
        try:
            return observable.subscribe(self.put, self.end, self.end, scheduler=self)
        finally:
            self._on_demand = False

    def put(self, item: Any) -> None:
        """Buffer an item. Callable from any thread; never blocks.

        A blocking call would deadlock where a source emits under a lock that the consumer's actions
        need, such as the lock of `merge`.
        """
        if self._on_demand and threading.get_ident() == self._consumer_thread:
            if self._end is None:  # the consumer is running this very action: no one to wake
                self._items.append(item)
            return
        with self._changed:
            if self._end is not None:
                return
            if len(self._items) >= MAX_UNREQUESTED_ITEMS:
                self._end = (Overflow(_OVERFLOW),)
                return
            self._items.append(item)
            self._notify()

    def end(self, error: Exception | None = None) -> None:
        """End the iteration after the buffered items, with an error or without one."""
        with self._changed:
            self._end = self._end or (error,)
            self._notify()

    def _next_timer(self) -> Timer | float:
        """Return the timer to run now, or the seconds to wait; called with the lock held."""
        self._consumer_thread = threading.get_ident()
        if self._items or self._end:
            return 0.0
        due = self._next_due()
        pause = math.inf if due is None else due - time.monotonic()
        return self._pop() if pause <= 0 else min(pause, threading.TIMEOUT_MAX)

    def run_timer(self, timer: Timer) -> None:
        """Run the action of a timer; what it emits was requested."""
        outer, self._on_demand = self._on_demand, True
        try:
            super().run_timer(timer)
        finally:
            self._on_demand = outer


class PullScheduler(_DemandScheduler):
    """Runs due actions in the thread that iterates `items`.

    An action may block the thread while it waits for a reply. Until then it calls `run_due` now and
    then, so that what is due meanwhile happens: a limit, another timer of the pipeline. What may
    block itself waits until `is_blocked` is false again, by `call_unblocked`.
    """

    def __init__(self) -> None:
        """Create a scheduler without actions."""
        super().__init__()
        self._blocking = False
        self._unblocked: deque[Callable[[], None]] = deque()
        self._raised: BaseException | None = None

    @property
    def is_blocked(self) -> bool:
        """Whether an action is waiting for a reply."""
        return self._blocking

    @contextmanager
    def blocked(self) -> Generator[None]:
        """Mark the running action as one that waits for a reply."""
        self._blocking = True
        try:
            yield
        finally:
            self._blocking = False
            while self._unblocked:
                self._unblocked.popleft()()

    def call_unblocked(self, function: Callable[[], None]) -> None:
        """Call a function as soon as no action waits for a reply any more."""
        self._unblocked.append(function)

    def run_due(self) -> float | None:
        """Run the actions that are due, within an action that is waiting for a reply.

        What they raise is raised in the loop, as what other actions raise, and not through the
        action that waits: libraries in between could take it for an error of theirs.

        Returns:
            The seconds until the next action is due; None if the loop ends, so that there is
            nothing to wait for.
        """
        while True:
            with self._changed:
                if self._end is not None or self._raised is not None:
                    return None
                due = self._next_due()
                pause = math.inf if due is None else due - time.monotonic()
                if pause > 0:
                    return pause
                if len(self._items) >= MAX_UNREQUESTED_ITEMS:
                    return math.inf
                timer = self._pop()
            try:
                self.run_timer(timer)
            except BaseException as error:  # noqa: BLE001 - raised again by `_step`
                self._raised = error

    def items(self) -> Iterator[Any]:
        """Yield the items until the end; run due actions while none is buffered."""
        while True:
            end = self._end  # read first: all items put before the end are then in the buffer
            while self._items:
                yield self._items.popleft()
            if end is None:
                self._step()
            elif end[0] is None:
                return
            else:
                raise end[0]

    def _step(self) -> None:
        with self._changed:
            timer_or_pause = self._next_timer()
            if not isinstance(timer_or_pause, Timer):
                if timer_or_pause:
                    self._changed.wait(timer_or_pause)
                return
        self.run_timer(timer_or_pause)
        raised, self._raised = self._raised, None
        if raised is not None:
            raise raised


class AsyncPullScheduler(_DemandScheduler):
    """Runs due actions on the event loop it was created on, in the task that iterates `items`."""

    def __init__(self) -> None:
        super().__init__()
        self._loop = asyncio.get_running_loop()
        self._woken = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._inherited = False

    def reset_after_fork(self) -> None:
        """End the iteration in a forked child with an error, and leave the parent's tasks."""
        super().reset_after_fork()
        self._inherited = True

    async def items(self) -> AsyncGenerator[Any]:
        """Yield the items until the end; run due actions while none is buffered."""
        while True:
            end = self._end  # read first: all items put before the end are then in the buffer
            while self._items:
                yield self._items.popleft()
            if end is None:
                await self._step()
            elif end[0] is None:
                return
            else:
                raise end[0]

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Start a task that `join_tasks` waits for."""
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def join_tasks(self) -> None:
        """Wait until the tasks, which have been cancelled, have ended."""
        if self._tasks and not self._inherited:
            await asyncio.wait(self._tasks)

    async def _step(self) -> None:
        self._woken.clear()
        with self._changed:
            timer_or_pause = self._next_timer()
        if isinstance(timer_or_pause, Timer):
            self.run_timer(timer_or_pause)
            await asyncio.sleep(0)  # let other tasks run, even if more timers are due
        elif timer_or_pause:
            timeout = self._loop.call_later(timer_or_pause, self._woken.set)
            try:
                await self._woken.wait()
            finally:
                timeout.cancel()

    def _notify(self) -> None:
        if threading.get_ident() == self._consumer_thread:
            self._woken.set()
            return
        with suppress(RuntimeError):  # the loop is closed, so no task waits on it
            self._loop.call_soon_threadsafe(self._woken.set)
