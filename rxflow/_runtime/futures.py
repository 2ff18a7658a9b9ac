"""A future of the last item of an observable, on the event loop that runs.

reactivex's `to_future` subscribes without a scheduler, so its future may be set by a thread of the
source. That does not wake the loop, and the future's `await` never ends.
"""

import asyncio
from typing import Any, TypeVar

from reactivex import Observable
from reactivex import operators as ops
from reactivex.scheduler.eventloop import AsyncIOScheduler

T = TypeVar("T")

_TO_FUTURE = ops.to_future().__code__  # shared by all operators that `to_future` returns


def is_to_future(operator: object) -> bool:
    """Whether an operator is one that `reactivex.operators.to_future` returned."""
    return getattr(operator, "__code__", None) is _TO_FUTURE


def future_of(observable: Observable[T], loop: asyncio.AbstractEventLoop) -> asyncio.Future[T]:
    """Subscribe on an event loop that runs in this thread; return a future of the last item.

    The future fails with the observable's error, and if there is no item. Cancelling it disposes of
    the subscription.
    """
    future: asyncio.Future[T] = loop.create_future()

    def settle(settled: Any, value: Any) -> None:
        if not future.done():
            settled(value)

    def on_next(item: T) -> None:
        loop.call_soon_threadsafe(settle, future.set_result, item)

    def on_error(error: Exception) -> None:
        loop.call_soon_threadsafe(settle, future.set_exception, error)

    last = observable.pipe(ops.last())
    subscription = last.subscribe(on_next, on_error, scheduler=AsyncIOScheduler(loop))
    future.add_done_callback(lambda _: subscription.dispose())
    return future
