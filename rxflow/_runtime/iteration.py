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
from contextlib import suppress
from itertools import chain
from operator import length_hint
from threading import get_ident
from typing import Any, NoReturn, TypeVar, cast

from reactivex import Observable, abc

from rxflow._forks import inherited_watch
from rxflow._runtime.paged import Page, PagedObservable
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
    batches = _batches(observable)
    items = cast("_Items[T]", _Items[T].from_iterable(batches))
    items.batches = batches
    return items


def _batches(observable: Observable[T]) -> Generator[Iterator[T]]:
    scheduler = PullScheduler()
    subscription = scheduler.subscribe_to(observable)
    try:
        while (batch := scheduler.next_batch()) is not None:
            yield batch
    finally:
        subscription.dispose()


class _Items(chain[T], Generator[T]):
    """The items of batches: a generator, at the speed of `chain`.

    A generator with ``yield from`` would be resumed for each item, which takes 0.03 us.
    """

    batches: Generator[Iterator[T]]

    def send(self, _: None) -> T:
        """Return the next item."""
        return next(self)

    def close(self) -> None:
        """Dispose of the subscription, and drop what is left of a batch."""
        self.batches.close()
        deque(self, maxlen=0)

    def throw(self, error: Any, value: Any = None, _: Any = None) -> NoReturn:
        """Close, and raise an error."""
        self.close()
        raise error if value is None else value


async def apull(observable: Observable[T]) -> AsyncGenerator[T]:
    """Iterate an observable on the caller's event loop, driven by the caller's demand."""
    scheduler = AsyncPullScheduler()
    subscription = scheduler.subscribe_to(observable)
    try:
        while (batch := await scheduler.next_batch()) is not None:
            for item in batch:
                yield item
    finally:
        subscription.dispose()
        await scheduler.join_tasks()


class _DemandScheduler(TimerQueue):
    """What both pull schedulers share: the timers and the buffer between source and consumer."""

    def __init__(self) -> None:
        super().__init__()
        self._items: list[Any] = []
        self._batch: list[Any] = []  # the items that the consumer reads now
        self._unread: Iterator[Any] = iter(self._batch)
        self._end: tuple[Exception | None] | None = None
        self._consumer_thread = get_ident()
        # The consumer's thread, while an action runs there because the consumer waits and the end
        # is not reached; else 0. One attribute, since `put` looks at it for each item.
        self._demand_thread = 0

    def reset_after_fork(self) -> None:
        """End the iteration in a forked child with an error; the parent's goes on."""
        super().reset_after_fork()
        self._items.clear()
        self._batch.clear()  # which ends its iterator, so that a fork need not be looked for
        self._set_end(inherited_watch())

    def subscribe_to(self, observable: Observable[Any]) -> abc.DisposableBase:
        """Subscribe to the observable; items that it emits at once count as requested."""
        self._demand_thread = get_ident()
        try:
            if isinstance(observable, PagedObservable):
                pages = observable.page_source
                return pages.subscribe(self.put_page, self.end, self.end, scheduler=self)
            return observable.subscribe(self.put, self.end, self.end, scheduler=self)
        finally:
            self._demand_thread = 0

    def put(self, item: Any) -> None:
        """Buffer an item. Callable from any thread; never blocks.

        A blocking call would deadlock where a source emits under a lock that the consumer's actions
        need, such as the lock of `merge`.
        """
        if get_ident() == self._demand_thread:  # the consumer runs this very action: none to wake
            self._items.append(item)
        else:
            self._put_unrequested((item,))

    def put_page(self, page: Page[Any]) -> None:
        """Buffer the items of a page; otherwise as `put`."""
        if get_ident() == self._demand_thread:
            self._items.extend(page)
        else:
            self._put_unrequested(page)

    @property
    def has_items(self) -> bool:
        """Whether items wait that the consumer has not begun to read."""
        return bool(self._items)

    def _put_unrequested(self, page: Page[Any]) -> None:
        with self._lock:
            if self._end is not None:
                return
            if self._is_full():
                self._set_end(Overflow(_OVERFLOW))
                return
            self._items.extend(page)
            self._notify()

    def _is_full(self) -> bool:
        return len(self._items) + length_hint(self._unread) >= MAX_UNREQUESTED_ITEMS

    def _next_items(self) -> Iterator[Any] | None:
        """Return the items put since the last call; None at the end, whose error is raised."""
        with self._lock:
            end = self._end
            self._batch, self._items = self._items, []
            self._unread = iter(self._batch)
        if self._batch or end is None:
            return self._unread
        if end[0] is not None:
            raise end[0]
        return None

    def end(self, error: Exception | None = None) -> None:
        """End the iteration after the buffered items, with an error or without one."""
        with self._lock:
            if self._end is None:
                self._set_end(error)
                self._notify()

    def _set_end(self, error: Exception | None) -> None:
        self._end = (error,)
        self._demand_thread = 0  # whatever is emitted from now on is dropped

    def _next_timer(self) -> tuple[Timer | None, float]:
        """Return the timer to run now, or the seconds to wait; called with `_lock` held."""
        self._consumer_thread = get_ident()
        if self._items or self._end:
            return None, 0.0
        due = self._next_due()
        pause = math.inf if due is None else due - time.monotonic()
        if pause > 0:
            return None, min(pause, threading.TIMEOUT_MAX)
        self._demand_thread = self._consumer_thread
        return self._pop(), 0.0

    def _run_timer(self, timer: Timer) -> None:
        """Run the action of the next timer; what it emits was requested."""
        try:
            timer.run(self)
        finally:
            self._demand_thread = 0


class PullScheduler(_DemandScheduler):
    """Runs due actions in the thread that takes the batches.

    An action may block the thread while it waits for a reply. Until then it calls `run_due` now and
    then, so that what is due meanwhile happens: a limit, another timer of the pipeline. What may
    block itself waits until `is_blocked` is false again, by `call_unblocked`.
    """

    def __init__(self) -> None:
        """Create a scheduler without actions."""
        super().__init__()
        self._waiting = False
        self._blocking = False
        self._unblocked: deque[Callable[[], None]] = deque()
        self._raised: BaseException | None = None

    @property
    def is_blocked(self) -> bool:
        """Whether an action is waiting for a reply."""
        return self._blocking

    def block_for(self, call: Callable[[], T]) -> T:
        """Make a call, within the running action, that waits for a reply."""
        self._blocking = True
        try:
            return call()
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
            with self._lock:
                if self._end is not None or self._raised is not None:
                    return None
                due = self._next_due()
                pause = math.inf if due is None else due - time.monotonic()
                if pause > 0:
                    return pause
                if self._is_full():
                    return math.inf
                timer = self._pop()
            try:
                timer.run(self)
            except BaseException as error:  # noqa: BLE001 - raised again by `_step`
                self._raised = error

    def next_batch(self) -> Iterator[Any] | None:
        """Run due actions until an item is buffered; return all that are, or None at the end."""
        while not (self._items or self._end):
            self._step()
        return self._next_items()

    def _step(self) -> None:
        with self._lock:
            timer, pause = self._next_timer()
            if pause:
                self._wait(pause)
        if timer is None:
            return
        self._run_timer(timer)
        raised, self._raised = self._raised, None
        if raised is not None:
            raise raised

    def _wait(self, seconds: float) -> None:
        self._waiting = True
        try:
            self._changed.wait(seconds)
        finally:
            self._waiting = False

    def _notify(self) -> None:
        if self._waiting:  # nearly never: the thread that waits runs the actions as well
            super()._notify()


class AsyncPullScheduler(_DemandScheduler):
    """Runs due actions on the event loop it was created on, in the task that takes the batches."""

    def __init__(self) -> None:
        super().__init__()
        self._loop = asyncio.get_running_loop()
        self._woken = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._acted = True  # since other tasks could run last; the subscription is an action too
        self._inherited = False

    def reset_after_fork(self) -> None:
        """End the iteration in a forked child with an error, and leave the parent's tasks."""
        super().reset_after_fork()
        self._inherited = True

    async def next_batch(self) -> Iterator[Any] | None:
        """Run due actions until an item is buffered; return all that are, or None at the end."""
        while not (self._items or self._end):
            await self._step()
        return self._next_items()

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
        if self._acted:
            self._acted = False
            await asyncio.sleep(0)  # let other tasks run, even if more timers are due
        self._woken.clear()
        with self._lock:
            timer, pause = self._next_timer()
        if timer is not None:
            self._acted = True
            self._run_timer(timer)
        elif pause:
            timeout = self._loop.call_later(pause, self._woken.set)
            try:
                await self._woken.wait()
            finally:
                timeout.cancel()

    def _notify(self) -> None:
        if get_ident() == self._consumer_thread:
            self._woken.set()
            return
        with suppress(RuntimeError):  # the loop is closed, so no task waits on it
            self._loop.call_soon_threadsafe(self._woken.set)
