"""`Stream`: an observable that can be iterated, blocking or async, also after `pipe`.

Functions such as ``reactivex.merge`` return plain observables; iterate those with `iterate` and
`aiterate`. A plain `reactivex.Observable` has ``__getitem__`` and no ``__iter__``, so a ``for``
loop over it would never end.
"""

import os
import re
from collections.abc import AsyncGenerator, Callable, Generator, Hashable
from contextlib import aclosing, closing
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar, overload
from uuid import UUID

from reactivex import Observable, abc
from reactivex import operators as ops
from reactivex.pipe import pipe

from rxflow import operators
from rxflow._markup import element
from rxflow._models.arguments import check_type, path_of, whole_number
from rxflow._operators.holdback import HasTimestamp
from rxflow._operators.predicates import HasLevel, HasMessage
from rxflow._operators.queues import OverflowPolicy
from rxflow._operators.rates import Rate
from rxflow._operators.silence import Quiet
from rxflow._runtime.futures import future_of, is_to_future
from rxflow._runtime.iteration import apull, pull
from rxflow._runtime.paged import PagedObservable, pages_of
from rxflow._runtime.recording import recorded
from rxflow._runtime.scheduling import running_loop
from rxflow._runtime.sink_output import SinkOutput
from rxflow.client import Client
from rxflow.events import FlowRunEvent, FlowRunLog, TaskRunStateChange

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
S = TypeVar("S", bound=HasTimestamp)
L = TypeVar("L", bound=HasLevel)
V = TypeVar("V", bound=FlowRunEvent)
W = TypeVar("W", bound=HasMessage)


def iterate(observable: Observable[T]) -> Generator[T]:
    """Iterate any observable, blocking, in the caller's own thread.

    The first ``next`` subscribes to the observable. Sources that use the scheduler they are
    subscribed with run in this thread, and only while the loop waits for an item: a loop that stops
    reading stops the polling. Ctrl-C, ``break`` and ``close()`` dispose of the subscription.

    Args:
        observable: Any observable, hot or cold.

    Yields:
        The items of the observable, in order.

    Raises:
        TypeError: ``observable`` is not an observable, such as a list.
        Overflow: A source that emits on its own is 10,000 items ahead of the loop.
        Exception: The error that the observable ends with.

    Example:
        >>> import reactivex
        >>> list(iterate(reactivex.of(1, 2, 3)))
        [1, 2, 3]
    """
    _check_observable(observable)
    return pull(observable)


def aiterate(observable: Observable[T]) -> AsyncGenerator[T]:
    """Iterate any observable on the running event loop.

    Works as `iterate`, without blocking the event loop. Watches send their queries in a task on
    this loop; rxflow starts no thread. Cancelling the iterating task aborts the request in flight
    and ends the iteration. Python finalises an async generator that was left early at some later
    time; use `contextlib.aclosing` to close it at once.

    Args:
        observable: Any observable, hot or cold.

    Yields:
        The items of the observable, in order.

    Raises:
        TypeError: ``observable`` is not an observable, such as a list.
        Overflow: A source that emits on its own is 10,000 items ahead of the loop.
        Exception: The error that the observable ends with.

    Example:
        >>> import asyncio, reactivex
        >>> async def main():
        ...     return [item async for item in aiterate(reactivex.of(1, 2, 3))]
        >>> asyncio.run(main())
        [1, 2, 3]
    """
    _check_observable(observable)
    return apull(observable)


class Stream(Fluent[T_co]):
    """An observable that can be iterated with ``for`` and with ``async for``.

    Each loop is a subscription of its own. ``await stream`` and ``stream.run()`` return the last
    item. The operators of reactivex and of `rxflow.operators` are its methods, and return streams.
    """

    @staticmethod
    def of(observable: Observable[T]) -> "Stream[T]":
        """Make a stream of an observable, without a hop between the two."""
        if isinstance(observable, PagedObservable):
            return _PagedStream(observable.page_source, observable.whole_pages)
        return _StreamOf(observable)

    def _repr_html_(self) -> str:
        """Say for notebooks what the stream is, and how its items are shown; nothing is sent."""
        use = "for item in stream: display(item)"
        uses = [element("code", {}, text) for text in (repr(self), use, f"async {use}")]
        return element("div", {}, uses[0], " Use it: ", uses[1], ", or ", uses[2])

    def pages(self) -> "Stream[tuple[T_co, ...]]":
        """Emit the items in pages, for consumers that handle many events at a time.

        A page is a tuple of items that arrived together, in order; none is empty. The pages of a
        watch come from one reply of the server each, or from a part of it, and have up to 200
        events. One after another the pages have the items of the stream, each once.

        `only`, `level_at_least`, `for_task` and `matching` keep the pages. Other operators take
        items one by one, so each page after them has one item; apply them to the pages instead.

        Returns:
            A stream of tuples; subscribe to it, or iterate it with ``for`` or ``async for``.

        Example:
            >>> import reactivex, rxflow
            >>> for page in rxflow.watch_flow_run(run_id).logs.pages():  # doctest: +SKIP
            ...     table.insert([(line.timestamp, line.message) for line in page])
            >>> list(Stream.of(reactivex.of(1, 2)).pages())
            [(1,), (2,)]
        """
        return Stream.of(pages_of(self))

    def __iter__(self) -> Generator[T_co]:
        """Subscribe and yield the items, as `iterate` does."""
        return iterate(self)

    def __aiter__(self) -> AsyncGenerator[T_co]:
        """Subscribe and yield the items, as `aiterate` does."""
        return aiterate(self)

    def __await__(self) -> Generator[Any, None, T_co]:
        """Wait on the running event loop for the last item.

        A pipeline that ends in a sink and had nothing to write gives None.

        Raises:
            SequenceContainsNoElementsError: The stream completed without an item.
            Exception: The error that the stream ends with.
        """
        return _await_only_item(self._last_item()).__await__()

    def run(self, scheduler: abc.SchedulerBase | None = None) -> T_co:
        """Block this thread until the stream completes; return the last item.

        A pipeline that ends in a sink and had nothing to write gives None. To run any pipeline to
        its end, whether or not it has items, use `run_to_end`.

        Args:
            scheduler: The scheduler to subscribe with; None runs everything in this thread.

        Raises:
            SequenceContainsNoElementsError: The stream completed without an item.
            Exception: The error that the stream ends with.
        """
        return _only_item(self._last_item(), scheduler)

    def run_to_end(self, scheduler: abc.SchedulerBase | None = None) -> int:
        """Block this thread until the stream completes; return the number of items.

        Args:
            scheduler: The scheduler to subscribe with; None runs everything in this thread.

        Returns:
            How many items the stream had; 0 is no error.

        Raises:
            Exception: The error that the stream ends with.

        Example:
            >>> import reactivex
            >>> Stream.of(reactivex.of("a", "b")).run_to_end()
            2
            >>> Stream.of(reactivex.empty()).run_to_end()
            0
        """
        return _only_item(self.pipe(ops.count()), scheduler)

    async def arun_to_end(self) -> int:
        """Async twin of `run_to_end`, on the running event loop."""
        return await _await_only_item(self.pipe(ops.count()))

    def _last_item(self) -> Observable[T_co]:
        return self.pipe(ops.last())

    def __add__(self, other: Observable[T_co]) -> "Stream[T_co]":
        """Concatenate: the items of this stream, then those of the other."""
        return Stream.of(super().__add__(other))

    __iadd__ = __add__

    def __getitem__(self, key: slice | int) -> "Stream[T_co]":
        """Select items by their positions, as of a list; negative ones count from the end.

        Returns:
            A stream of the selected items; of one position that is one item, or none.

        Raises:
            TypeError: The key is neither a position nor a slice, or the step is negative.
            ValueError: The step is 0.

        Example:
            >>> import reactivex
            >>> letters = Stream.of(reactivex.of("a", "b", "c"))
            >>> letters[-1].run(), letters[0].run(), list(letters[1:])
            ('c', 'a', ['b', 'c'])
        """
        return Stream.of(super().__getitem__(_slice_of(key)))

    # -- operators of rxflow, as methods --------------------------------------------------------

    @overload
    def only(self, kind: type[A], /) -> "Stream[A]": ...
    @overload
    def only(self, kind: type[A], kind2: type[B], /) -> "Stream[A | B]": ...
    @overload
    def only(self, kind: type[A], kind2: type[B], kind3: type[C], /) -> "Stream[A | B | C]": ...
    @overload
    def only(self, *kinds: type[Any]) -> "Stream[Any]": ...

    def only(self, *kinds: type[Any]) -> "Stream[Any]":
        """Emit only the events of some kinds; see `rxflow.operators.only`."""
        selected: Stream[Any] = self.pipe(operators.only(*kinds))
        return selected

    def level_at_least(self: "Stream[L]", level: int | str) -> "Stream[L]":
        """Emit only events of a level and above; see `rxflow.operators.level_at_least`."""
        return self.pipe(operators.level_at_least(level))

    def for_task(self, task_run_id: str | UUID) -> "Stream[FlowRunLog | TaskRunStateChange]":
        """Emit only the events of one task run; see `rxflow.operators.for_task`."""
        return self.pipe(operators.for_task(task_run_id))

    def matching(self: "Stream[W]", pattern: str | re.Pattern[str]) -> "Stream[W]":
        """Emit only events whose message has a pattern; see `rxflow.operators.matching`."""
        return self.pipe(operators.matching(pattern))

    def until_terminal(self, *flow_run_ids: str | UUID) -> "Stream[T_co]":
        """Complete when the run is over; see `rxflow.operators.until_terminal`."""
        return self.pipe(operators.until_terminal(*flow_run_ids))

    def conflate(self, key: Callable[[T_co], Hashable] | None = None) -> "Stream[T_co]":
        """Hold the latest item of each key; see `rxflow.operators.conflate`."""
        return self.pipe(operators.conflate(key))

    def bounded(self, n: int, overflow: OverflowPolicy = "error") -> "Stream[T_co]":
        """Hold a limited number of items; see `rxflow.operators.bounded`."""
        return self.pipe(operators.bounded(n, overflow))

    def in_order(self: "Stream[S]", lateness: timedelta | float) -> "Stream[S]":
        """Emit events in the order of their timestamps; see `rxflow.operators.in_order`."""
        return self.pipe(operators.in_order(lateness))

    def tail(self, n: int) -> "Stream[tuple[T_co, ...]]":
        """Emit each item together with those before it; see `rxflow.operators.tail`."""
        return self.pipe(operators.tail(n))

    def rate(self, window: timedelta | float) -> "Stream[Rate]":
        """Count events by windows of time; see `rxflow.operators.rate`."""
        return self.pipe(operators.rate(window))

    def quiet_for(
        self: "Stream[FlowRunEvent]", seconds: timedelta | float, client: Client | None = None
    ) -> "Stream[Quiet]":
        """Emit a `Quiet` for each run that has fallen silent; see `rxflow.operators.quiet_for`."""
        return self.pipe(operators.quiet_for(seconds, client))

    def record(
        self: "Stream[V]", path: str | os.PathLike[str], *, overwrite: bool = False
    ) -> "Stream[V]":
        """Write each event, with the time at which it came, to a file; see `rxflow.record`."""
        name = path_of("path", path, "night.jsonl")
        check_type("overwrite", overwrite, bool, "True or False")
        return Stream.of(recorded(self, name, overwrite=overwrite))

    # -- pipe -----------------------------------------------------------------------------------

    # The overloads differ from those of the base class in one point: they return a Stream.
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
        """Apply operators from left to right; make the resulting observable a stream.

        Args:
            operators: Operators of `reactivex.operators`, or any functions.

        Returns:
            The result of the last operator; a plain observable as a `Stream`. Connectable and
            grouped observables are returned unchanged. On an event loop, reactivex's ``to_future``
            gives a future of this loop, on which the pipeline then runs; ``await stream`` needs no
            operator.
        """
        loop = running_loop()
        if loop is not None and operators and is_to_future(operators[-1]):
            return future_of(pipe(self, *operators[:-1]), loop)
        result: Any = pipe(self, *operators)
        return Stream.of(result) if _is_plain(result) else result


async def _await_only_item(observable: Observable[T]) -> T:
    async with aclosing(aiterate(observable)) as items:
        return await anext(items)


def _only_item(observable: Observable[T], scheduler: abc.SchedulerBase | None) -> T:
    with closing(iterate(_subscribed_with(observable, scheduler))) as items:
        return next(items)


def _subscribed_with(
    observable: Observable[T], scheduler: abc.SchedulerBase | None
) -> Observable[T]:
    """Return the observable, subscribed to with the scheduler if one is given."""
    if scheduler is None:
        return observable

    def subscribe(
        observer: abc.ObserverBase[T], _: abc.SchedulerBase | None = None
    ) -> abc.DisposableBase:
        return observable.subscribe(observer, scheduler=scheduler)

    return Observable(subscribe)


def _slice_of(key: "slice[Any, Any, Any] | int") -> "slice[Any, Any, Any]":
    """Return what selects the same items; reactivex takes position -1 for no item at all."""
    if not isinstance(key, slice):
        position = whole_number("position", key)
        return slice(position, position + 1 or None)
    if key.step == 0:
        raise ValueError(f"{key} has the step 0; pass a step of 1 or more")
    return key


def _is_plain(result: object) -> bool:
    # A function of its own: inline, the check would narrow the type to one with unknown items.
    return type(result) in {Observable, PagedObservable, SinkOutput}


class _StreamOf(Stream[T]):
    def __init__(self, source: Observable[T]) -> None:
        super().__init__()
        self._source = source

    def _subscribe_core(
        self, observer: abc.ObserverBase[T], scheduler: abc.SchedulerBase | None = None
    ) -> abc.DisposableBase:
        return self._source._subscribe_core(observer, scheduler)  # noqa: SLF001 - another observable

    def _last_item(self) -> Observable[T]:
        if isinstance(self._source, SinkOutput):  # its work is the writing, not the last item
            last: Observable[Any] = self.pipe(ops.last_or_default(None))
            return last
        return super()._last_item()


class _PagedStream(PagedObservable[T], Stream[T]):
    """A stream of the items of pages."""

    def __repr__(self) -> str:
        """Say that it is a stream; of what, its source does not say."""
        return "<Stream, not subscribed to until it is used>"


def _check_observable(value: object) -> None:
    advice = "a stream such as of rxflow.watch_flow_run, or reactivex.from_iterable(...) of items"
    check_type("observable", value, abc.ObservableBase, advice)
