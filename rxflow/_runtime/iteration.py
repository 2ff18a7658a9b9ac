"""The pump: a scheduler without a thread, on which whoever iterates runs what is due.

That is how any pipeline becomes an iterator: it is subscribed to on a pump, and its timers and
polls run in the consumer's own thread, or on its event loop, while an item is waited for. Whoever
stops asking stops the polling, and nothing is held beyond what one action emitted.
"""

import asyncio
import math
import threading
import time
from collections import deque
from collections.abc import AsyncGenerator, Coroutine, Generator, Iterator
from contextlib import aclosing, suppress
from typing import Any, TypeVar

from reactivex import Observable, abc

from rxflow._runtime.timer_queue import Timer, TimerQueue
from rxflow.errors import Overflow

T = TypeVar("T")

FOREIGN_ITEMS = 10_000
"""Items that an iterator holds of sources that emit without being asked."""


class _PullScheduler(TimerQueue):
    """What both pumps are: an agenda, and a queue between a pipeline and its consumer."""

    def __init__(self) -> None:
        super().__init__()
        self._items: deque[Any] = deque()
        self._end: tuple[Exception | None] | None = None
        self._owner = threading.get_ident()
        self._asked = False  # whether what is emitted now, in the owner's thread, was asked for

    def attach(self, observable: Observable[Any]) -> abc.DisposableBase:
        """Subscribe to the pipeline; what it emits at once was asked for."""
        self._asked = True
        try:
            return observable.subscribe(self.put, self.end, self.end, scheduler=self)
        finally:
            self._asked = False

    def put(self, item: Any) -> None:
        """Hand an item to the iterator; never blocks, from whichever thread it is called."""
        if self._asked and threading.get_ident() == self._owner:
            if self._end is None:  # nobody waits meanwhile who would have to be woken
                self._items.append(item)
            return
        with self._changed:
            if self._end is not None:
                return
            if len(self._items) >= FOREIGN_ITEMS:
                self._end = (Overflow(_OVERFLOW),)
                return
            self._items.append(item)
            self._wake()

    def end(self, error: Exception | None = None) -> None:
        """Tell the iterator that nothing more will come."""
        with self._changed:
            self._end = self._end or (error,)
            self._wake()

    def _look(self) -> Timer | float:
        """What is due, or the seconds until something may be; called with the lock held."""
        self._owner = threading.get_ident()
        if self._items or self._end:
            return 0.0
        due = self._next_due()
        pause = math.inf if due is None else due - time.monotonic()
        return self._take() if pause <= 0 else min(pause, threading.TIMEOUT_MAX)

    def _run(self, entry: Timer) -> None:
        self._asked = True
        try:
            super()._run(entry)
        finally:
            self._asked = False


class PullScheduler(_PullScheduler):
    """Runs what is due in the thread that drains it."""

    def drain(self) -> Iterator[Any]:
        """Yield items until the end, running what is due whenever there is none."""
        while True:
            end = self._end  # looked at first, so that what was put before it is there now
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
            found = self._look()
            if not isinstance(found, Timer):
                if found:
                    self._changed.wait(found)
                return
        self._run(found)


class AsyncPullScheduler(_PullScheduler):
    """Runs what is due on the event loop that it is made on, in the task that drains it."""

    def __init__(self) -> None:
        super().__init__()
        self._loop = asyncio.get_running_loop()
        self._woken = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    async def drain(self) -> AsyncGenerator[Any]:
        """Yield items until the end, running what is due whenever there is none."""
        while True:
            end = self._end
            while self._items:
                yield self._items.popleft()
            if end is None:
                await self._step()
            elif end[0] is None:
                return
            else:
                raise end[0]

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Start a task that `settle` waits for."""
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def settle(self) -> None:
        """Wait until the tasks, which were told to, have ended."""
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _step(self) -> None:
        self._woken.clear()
        with self._changed:
            found = self._look()
        if isinstance(found, Timer):
            self._run(found)
            await asyncio.sleep(0)  # a turn for other tasks, however much is due here
        elif found:
            alarm = self._loop.call_later(found, self._woken.set)
            try:
                await self._woken.wait()
            finally:
                alarm.cancel()

    def _wake(self) -> None:
        if threading.get_ident() == self._owner:
            self._woken.set()
            return
        with suppress(RuntimeError):  # the loop was closed, so nobody waits
            self._loop.call_soon_threadsafe(self._woken.set)


def pull(observable: Observable[T]) -> Generator[T]:
    """Iterate an observable in the caller's own thread, driven by the caller's demand."""
    scheduler = PullScheduler()
    subscription = scheduler.attach(observable)
    try:
        yield from scheduler.drain()
    finally:
        subscription.dispose()


async def apull(observable: Observable[T]) -> AsyncGenerator[T]:
    """Iterate an observable on the caller's event loop, driven by the caller's demand."""
    scheduler = AsyncPullScheduler()
    subscription = scheduler.attach(observable)
    try:
        async with aclosing(scheduler.drain()) as items:
            async for item in items:
                yield item
    finally:
        subscription.dispose()
        await scheduler.settle()


_OVERFLOW = (
    f"A source that does not wait to be asked emitted {FOREIGN_ITEMS} items that were not read "
    "yet; read faster, or drop or combine items upstream, with bounded() or conflate() of "
    "rxflow.operators for instance"
)
