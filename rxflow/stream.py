"""A stream: an observable that is an iterable too, blocking or async, and stays so through `pipe`.

A plain `reactivex.Observable` has ``__getitem__`` and no ``__iter__``, so Python would loop over it
for ever; what ``reactivex.merge`` and its like return is plain, and `iterate` and `aiterate` are
there for it.
"""

from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import aclosing, closing
from typing import TYPE_CHECKING, Any, TypeVar, overload

from reactivex import Observable, abc
from reactivex import operators as ops
from reactivex.pipe import pipe

from rxflow._runtime.iteration import apull, pull

if TYPE_CHECKING:
    from rxflow._fluent import Fluent
else:
    Fluent = Observable

__all__ = ["Stream", "aiterate", "iterate"]

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
D = TypeVar("D")
E = TypeVar("E")
F = TypeVar("F")
G = TypeVar("G")


def iterate(observable: Observable[T]) -> Generator[T]:
    """Iterate any observable, blocking, in the caller's own thread.

    The observable is subscribed to when the first item is asked for. Sources that honour the
    scheduler they are subscribed with run in this thread too, and only while an item is waited
    for: whoever stops asking stops the polling. Ctrl-C, ``break`` and ``close()`` dispose of the
    subscription.

    Args:
        observable: Any observable, hot or cold.

    Yields:
        Its items, in order.

    Raises:
        Overflow: A source that does not wait to be asked was 10,000 items ahead of the reader.
        Exception: Whatever the observable ends with.

    Example:
        >>> import reactivex
        >>> list(iterate(reactivex.of(1, 2, 3)))
        [1, 2, 3]
    """
    return pull(observable)


def aiterate(observable: Observable[T]) -> AsyncGenerator[T]:
    """Iterate any observable on the running event loop.

    As `iterate` does, but waiting leaves the loop free, and watches ask in a task on this loop:
    rxflow starts no thread. Cancelling the task that iterates breaks off a request that is under
    way, and ends the iteration. Python finalises an async generator that was left half-way only
    when it gets round to it; `contextlib.aclosing` does it at once.

    Args:
        observable: Any observable, hot or cold.

    Yields:
        Its items, in order.

    Raises:
        Overflow: A source that does not wait to be asked was 10,000 items ahead of the reader.
        Exception: Whatever the observable ends with.

    Example:
        >>> import asyncio, reactivex
        >>> async def main():
        ...     return [item async for item in aiterate(reactivex.of(1, 2, 3))]
        >>> asyncio.run(main())
        [1, 2, 3]
    """
    return apull(observable)


class Stream(Fluent[T_co]):
    """An observable that is an iterable too, in a ``for`` loop and in an ``async for`` loop.

    Each loop is a subscription of its own. ``await stream`` and ``stream.run()`` give the last
    item.
    """

    @staticmethod
    def of(observable: Observable[T]) -> "Stream[T]":
        """Make a stream of an observable: the same subscription, with no hop in between."""
        return _Piped(observable)

    def __iter__(self) -> Generator[T_co]:
        """Subscribe, and yield the items as `iterate` does."""
        return iterate(self)

    def __aiter__(self) -> AsyncGenerator[T_co]:
        """Subscribe, and yield the items as `aiterate` does."""
        return aiterate(self)

    def __await__(self) -> Generator[Any, None, T_co]:
        """Wait, on the running event loop, for the last item.

        Raises:
            SequenceContainsNoElementsError: It completed without an item.
            Exception: Whatever it ended with.
        """
        return _alast(self).__await__()

    def run(self, scheduler: abc.SchedulerBase | None = None) -> T_co:
        """Wait for the last item, in this thread, and give it.

        Args:
            scheduler: Where to subscribe; without one everything happens in this thread.

        Raises:
            SequenceContainsNoElementsError: It completed without an item.
            Exception: Whatever it ended with.
        """
        with closing(iterate(_last(self, scheduler))) as items:
            return next(items)

    def __add__(self, other: Observable[T_co]) -> "Stream[T_co]":
        """This stream, and when it has completed, the other."""
        return Stream.of(super().__add__(other))

    __iadd__ = __add__

    def __getitem__(self, key: slice | int) -> "Stream[T_co]":
        """Some of the items, by their numbers; see `reactivex.operators.slice`."""
        return Stream.of(super().__getitem__(key))

    # What an operator makes of an observable is a Stream here, which the base class cannot promise.
    @overload  # type: ignore[override]
    def pipe(self, __op1: Callable[[Observable[T_co]], Observable[A]], /) -> "Stream[A]": ...
    @overload
    def pipe(
        self, __op1: Callable[[Observable[T_co]], A], __op2: Callable[[A], Observable[B]], /
    ) -> "Stream[B]": ...
    @overload
    def pipe(
        self,
        __op1: Callable[[Observable[T_co]], A],
        __op2: Callable[[A], B],
        __op3: Callable[[B], Observable[C]],
        /,
    ) -> "Stream[C]": ...
    @overload
    def pipe(
        self,
        __op1: Callable[[Observable[T_co]], A],
        __op2: Callable[[A], B],
        __op3: Callable[[B], C],
        __op4: Callable[[C], Observable[D]],
        /,
    ) -> "Stream[D]": ...
    @overload
    def pipe(
        self,
        __op1: Callable[[Observable[T_co]], A],
        __op2: Callable[[A], B],
        __op3: Callable[[B], C],
        __op4: Callable[[C], D],
        __op5: Callable[[D], Observable[E]],
        /,
    ) -> "Stream[E]": ...
    @overload
    def pipe(
        self,
        __op1: Callable[[Observable[T_co]], A],
        __op2: Callable[[A], B],
        __op3: Callable[[B], C],
        __op4: Callable[[C], D],
        __op5: Callable[[D], E],
        __op6: Callable[[E], Observable[F]],
        /,
    ) -> "Stream[F]": ...
    @overload
    def pipe(self, *operators: Callable[[Any], Any]) -> Any: ...

    def pipe(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, *operators: Callable[[Any], Any]
    ) -> Any:
        """Compose operators from left to right; an observable that results is a stream.

        Args:
            operators: Operators of `reactivex.operators`, or any functions.

        Returns:
            What the last operator returns; a plain observable as a `Stream`. Connectable and
            grouped observables are left as they are.
        """
        result: Any = pipe(self, *operators)
        return Stream.of(result) if _is_plain(result) else result


async def _alast(observable: Observable[T]) -> T:
    async with aclosing(aiterate(_last(observable, None))) as items:
        return await anext(items)


def _last(observable: Observable[T], scheduler: abc.SchedulerBase | None) -> Observable[T]:
    last = observable.pipe(ops.last())
    if scheduler is None:
        return last

    def subscribe(
        observer: abc.ObserverBase[T], _: abc.SchedulerBase | None = None
    ) -> abc.DisposableBase:
        return last.subscribe(observer, scheduler=scheduler)

    return Observable(subscribe)


def _is_plain(result: object) -> bool:
    return type(result) is Observable


class _Piped(Stream[T]):
    def __init__(self, source: Observable[T]) -> None:
        super().__init__()
        self._source = source

    def _subscribe_core(
        self, observer: abc.ObserverBase[T], scheduler: abc.SchedulerBase | None = None
    ) -> abc.DisposableBase:
        return self._source._subscribe_core(observer, scheduler)  # noqa: SLF001 - of its own kind
