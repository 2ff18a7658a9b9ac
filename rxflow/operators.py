"""Operators for streams of events, to be used in `pipe`, or as methods of a stream.

Each subscription to an operator has a state of its own. Operators that wait do so on the scheduler
that a pipeline is subscribed with; without one, on rxflow's own thread.

Alert on each error of a run, with the twenty events up to it:

    for *before, error in rxflow.watch_flow_run(run_id).pipe(
        rxflow.operators.tail(20),
        ops.filter(lambda events: events[-1].level >= logging.ERROR),
    ):
        alert(error, before)

The same as methods, which are there for every stream: ``stream.tail(20).filter(...)``.

In the diagrams time goes to the right, one character a second. Items in parentheses arrive
together, at the second of the opening parenthesis; ``|`` is completion, and ``#`` an error.
"""

import re
from collections.abc import Callable, Hashable
from datetime import timedelta
from typing import Any, TypeVar, get_args, overload
from uuid import UUID

import reactivex
from reactivex import Observable, abc
from reactivex import operators as ops

from rxflow._models.arguments import canonical_id, check_callable, positive_count, seconds_of
from rxflow._models.times import Now
from rxflow._operators.holdback import HasTimestamp, Holdback
from rxflow._operators.predicates import (
    HasLevel,
    HasMessage,
    is_at_least,
    is_of_task,
    is_one_of,
    message_matches,
    of_kinds,
    of_level,
)
from rxflow._operators.queues import BoundedQueue, ConflatingQueue, OverflowPolicy
from rxflow._operators.rates import Rate, RateCounter
from rxflow._operators.run_ends import RunEnds
from rxflow._operators.silence import Quiet, SilenceDetector
from rxflow._operators.windows import sliding_window
from rxflow._runtime.paged import select
from rxflow._runtime.queued_subscription import ItemQueue, QueuedSubscription
from rxflow._runtime.row_watch import watch_row
from rxflow._runtime.silence_subscription import SilenceSubscription
from rxflow._runtime.timed_subscription import OperatorMachine, TimedSubscription
from rxflow._views.temporary_client import check_client
from rxflow.client import Client
from rxflow.events import FlowRunEvent, FlowRunLog, TaskRunStateChange

__all__ = [
    "bounded",
    "conflate",
    "for_task",
    "in_order",
    "level_at_least",
    "matching",
    "only",
    "quiet_for",
    "rate",
    "tail",
    "until_terminal",
]

T = TypeVar("T")
R = TypeVar("R")
A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
D = TypeVar("D", bound=HasTimestamp)
L = TypeVar("L", bound=HasLevel)
W = TypeVar("W", bound=HasMessage)

_ITEMS_PER_TURN = 64
"""The largest number of items that `bounded` emits in one turn. A page of a watch, which is emitted
at once as well, has more. A turn takes 5 to 10 us, so each of them has up to 0.2 us of it."""


# -- selecting events ---------------------------------------------------------------------------


@overload
def only(kind: type[A], /) -> Callable[[Observable[object]], Observable[A]]: ...
@overload
def only(kind: type[A], kind2: type[B], /) -> Callable[[Observable[object]], Observable[A | B]]: ...
@overload
def only(
    kind: type[A], kind2: type[B], kind3: type[C], /
) -> Callable[[Observable[object]], Observable[A | B | C]]: ...
@overload
def only(*kinds: type[Any]) -> Callable[[Observable[object]], Observable[Any]]: ...


def only(*kinds: type[Any]) -> Callable[[Observable[Any]], Observable[Any]]:
    """Emit only the events of some kinds.

        in:    --s--l--l--n--s--|
               only(FlowRunLog)               s: a state change, l: a log line, n: a notice
        out:   -----l--l--------|

    Args:
        kinds: Classes of events, one or more. With up to three, type checkers know the type of
            the result.

    Raises:
        TypeError: There are no kinds, or one of them is not a class.

    Example:
        >>> import reactivex, rxflow
        >>> list(rxflow.iterate(reactivex.of(1, "one", 2).pipe(only(int))))
        [1, 2]
    """
    predicate, select_page = is_one_of(kinds), of_kinds(kinds)
    return lambda source: select(source, predicate, select_page)


def level_at_least(level: int | str) -> Callable[[Observable[L]], Observable[L]]:
    """Emit only the events of a level and above.

        in:    --i--e--w--d--e--|
               level_at_least("WARNING")      d: DEBUG, i: INFO, w: WARNING, e: ERROR
        out:   -----e--w-----e--|

    States have levels too: ERROR for Failed and Crashed, WARNING for Cancelled, INFO for others.
    Events of the watch itself are DEBUG, except for a `Notice`.

    Args:
        level: A number as in `logging`, or a name such as ``"ERROR"``.

    Raises:
        TypeError: ``level`` is neither a whole number nor a name.
        ValueError: No level has this name.

    Example:
        >>> import rxflow
        >>> errors = rxflow.watch_flow_run(run_id).pipe(level_at_least("ERROR"))  # doctest: +SKIP
    """
    predicate = is_at_least(level)
    select_page: Callable[[tuple[Any, ...]], tuple[Any, ...]] = of_level(level)
    return lambda source: select(source, predicate, select_page)


def for_task(
    task_run_id: str | UUID,
) -> Callable[[Observable[object]], Observable[FlowRunLog | TaskRunStateChange]]:
    """Emit only the log lines and the states of one task run.

        in:    --a--b--s--r--a--|
               for_task(task_run_id)          a: a line of it, s: a state of it,
        out:   --a-----s-----a--|             b: a line of another, r: a state of the run

    Its states are emitted by ``watch_flow_run(..., stream_tasks=True)``.

    Args:
        task_run_id: The task run's id, a UUID.

    Raises:
        InvalidRunId: The id is not a UUID.

    Example:
        >>> import rxflow
        >>> stream = rxflow.watch_flow_run(run_id, stream_tasks=True)  # doctest: +SKIP
        >>> for event in stream.pipe(for_task(task_run_id)):  # doctest: +SKIP
        ...     print(event.message)
    """
    predicate: Callable[[Any], bool] = is_of_task(task_run_id)
    return lambda source: select(source, predicate)


def matching(pattern: str | re.Pattern[str]) -> Callable[[Observable[W]], Observable[W]]:
    r"""Emit only the events in whose message a pattern is found.

        in:    --a--b--c--|
               matching(r"row \d+")           a: "row 7", b: "no row", c: "bad row 9"
        out:   --a-----c--|

    Args:
        pattern: A regular expression, which may match anywhere in the message.

    Raises:
        TypeError: The pattern is not text.
        re.error: The pattern is not a regular expression.

    Example:
        >>> import rxflow
        >>> rows = rxflow.watch_flow_run(run_id).logs.pipe(matching(r"row \d+"))  # doctest: +SKIP
    """
    predicate = message_matches(pattern)
    return lambda source: select(source, predicate)


def until_terminal(*flow_run_ids: str | UUID) -> Callable[[Observable[T]], Observable[T]]:
    """Complete with the event that reports the run to be over.

        in:    --r--l--c--l--e|
               until_terminal()               r: Running, l: a log line, c: Completed
        out:   --r--l--(c,|)

    That is earlier than the watch itself completes: the drain, in which late log lines are awaited,
    is skipped. A merge of watches completes when all runs that have had an event are over. Since
    one run may be over before the first event of another, name the runs to wait for where that
    matters. A run that is opened again before the last run is over is awaited again; a run that is
    opened again later is not.

    Args:
        flow_run_ids: The runs to wait for; if none is given, those that have had an event.

    Raises:
        InvalidRunId: An id is not a UUID.

    Example:
        >>> import rxflow
        >>> events = list(rxflow.watch_flow_run(run_id).pipe(until_terminal()))  # doctest: +SKIP
    """
    expected = [canonical_id("flow_run_ids", run_id) for run_id in flow_run_ids]

    def operator(source: Observable[T]) -> Observable[T]:
        def take_until_over(_: abc.SchedulerBase) -> Observable[T]:
            return source.pipe(ops.take_while(RunEnds(expected).receive, inclusive=True))

        return reactivex.defer(take_until_over)

    return operator


# -- slow consumers -----------------------------------------------------------------------------


def conflate(
    key: Callable[[Any], Hashable] | None = None,
) -> Callable[[Observable[T]], Observable[T]]:
    """Hold the latest item of each key for a busy consumer.

        in:    --a--(b,c,a,B,b)--c--|
               conflate(str.lower)            items that arrive together find the consumer busy
        out:   --a--(b,c,a)------c--|

    Items are emitted on the scheduler, one in a turn. An item that arrives meanwhile replaces the
    held item of its key, so the last item of each key is always emitted, and no more items are held
    than there are keys. The source never waits. At completion, and before an error, the items held
    are emitted.

    In a blocking loop, the consumer is busy until it pulls the next item. A watch needs no
    conflation there to be bounded, since it reads no more from the server than is pulled.

    Args:
        key: Returns the key of an item; items of one key replace each other. If None, all items
            have the same key.

    Raises:
        TypeError: ``key`` cannot be called.

    Example:
        >>> import reactivex, rxflow
        >>> numbers = reactivex.of(*range(10)).pipe(conflate(lambda number: number % 2))
        >>> list(rxflow.iterate(numbers))
        [8, 9]
    """
    if key is not None:
        check_callable("key", key, "a function that returns the key of an item")

    def operator(source: Observable[T]) -> Observable[T]:
        return _queued(source, lambda: ConflatingQueue(key or _same_key), items_per_turn=1)

    return operator


def bounded(n: int, overflow: OverflowPolicy = "error") -> Callable[[Observable[T]], Observable[T]]:
    """Hold a limited number of items for a consumer that is slower than its source for a while.

        in:    --a--(b,c,d,e)--f--|
               bounded(2, "drop_oldest")      items that arrive together find the consumer busy
        out:   --a--(d,e)------f--|

    Items are emitted on the scheduler, in order: up to 64 in a turn, or one where a loop pulls
    them. The source never waits: there is no policy that blocks it, since it may hold a lock that
    the consumer needs, such as the lock of `merge`. At completion, and before an error, the items
    held are emitted.

    A watch needs no bound, since it reads no more from the server than is pulled. If it has one,
    note that the events of a page arrive together; there may be some hundred of them.

    Args:
        n: The largest number of items to hold.
        overflow: What to do with one more: ``"error"`` ends with an `Overflow` after the items
            held, ``"drop_oldest"`` drops the oldest item held, ``"drop_newest"`` the new item.

    Raises:
        TypeError: ``n`` is not a whole number.
        ValueError: ``n`` is less than 1, or ``overflow`` is not a known policy.

    Example:
        >>> import reactivex, rxflow
        >>> numbers = reactivex.of(*range(10)).pipe(bounded(3, "drop_oldest"))
        >>> list(rxflow.iterate(numbers))
        [7, 8, 9]
    """
    capacity = positive_count("n", n)
    _check_overflow(overflow)

    def operator(source: Observable[T]) -> Observable[T]:
        return _queued(
            source, lambda: BoundedQueue(capacity, overflow), items_per_turn=_ITEMS_PER_TURN
        )

    return operator


# -- order and time -----------------------------------------------------------------------------


def in_order(lateness: timedelta | float) -> Callable[[Observable[D]], Observable[D]]:
    """Emit the events of several sources in the order of their timestamps.

        in:    -1-3-2----4----9-8|
               in_order(lateness=4)           numbers: the seconds of the timestamps
        out:   -----1-(2,3)--4---(8,9,|)

    An event is held until another has arrived whose timestamp is ``lateness`` above its own, and
    for no longer than ``lateness`` after its arrival. Events with equal timestamps keep the order
    of their arrival. At completion, and before an error, the events held are emitted.

    An event that arrives after an event with a later time was emitted is emitted at once, flagged
    ``late``. State changes, log lines and task states are flagged for this reason alone, whatever
    their flag was before; other kinds are never flagged. `RunSeen` is never held, and a `Notice` or
    `Closed` is emitted after all events that arrived before it, since its timestamp is of another
    clock.

    Args:
        lateness: By how much time events may arrive out of order, in seconds if a number. With 0 no
            event is held, and ``late`` marks those out of order. The events of a run that is over
            arrive all together; to order those of several runs, the lateness must cover the time
            that the runs span.

    Raises:
        TypeError: ``lateness`` is neither a timedelta nor a number.
        ValueError: ``lateness`` is negative, infinite or NaN.

    Example:
        >>> import reactivex, rxflow
        >>> watches = reactivex.merge(
        ...     rxflow.watch_flow_run(a), rxflow.watch_flow_run(b)
        ... )  # doctest: +SKIP
        >>> for event in rxflow.iterate(watches.pipe(in_order(lateness=5))):  # doctest: +SKIP
        ...     print(event.timestamp, event.message)
    """
    seconds = seconds_of("lateness", lateness)

    def operator(source: Observable[D]) -> Observable[D]:
        return _timed(source, lambda _: Holdback(seconds))

    return operator


def tail(n: int) -> Callable[[Observable[T]], Observable[tuple[T, ...]]]:
    """Emit each item together with the items before it: the last ``n``, itself included.

        in:    --a--b--c--d--|
               tail(3)                        1: (a,), 2: (a, b), 3: (a, b, c), 4: (b, c, d)
        out:   --1--2--3--4--|

    Args:
        n: The number of items in each tuple; the first tuples are shorter.

    Raises:
        TypeError: ``n`` is not a whole number.
        ValueError: ``n`` is less than 1.

    Example:
        >>> import reactivex, rxflow
        >>> list(rxflow.iterate(reactivex.of(1, 2, 3).pipe(tail(2))))
        [(1,), (1, 2), (2, 3)]
    """
    size = positive_count("n", n)

    def operator(source: Observable[T]) -> Observable[tuple[T, ...]]:
        empty: tuple[T, ...] = ()
        append: Callable[[tuple[T, ...], T], tuple[T, ...]] = sliding_window(size)
        return source.pipe(ops.scan(append, empty))

    return operator


def rate(window: timedelta | float) -> Callable[[Observable[object]], Observable[Rate]]:
    """Count events by windows of time.

        in:    -a-b----------c-d|
               rate(5)                        numbers: the counts
        out:   -----2----0----1-(1,|)

    The first window begins with the subscription, and each further one where the last one ended;
    empty windows are emitted too. At completion, and before an error, the last window is emitted
    unless it is empty. Its length is that of a whole window, so that an event right at its
    beginning does not look like a burst.

    Args:
        window: The length of a window, in seconds if a number.

    Raises:
        TypeError: ``window`` is neither a timedelta nor a number.
        ValueError: ``window`` is not above zero, infinite or NaN.

    Example:
        >>> import rxflow
        >>> for measured in rxflow.watch_flow_run(run_id).logs.pipe(rate(60)):  # doctest: +SKIP
        ...     print(measured.since, measured.count, measured.per_second)
    """
    seconds = seconds_of("window", window, zero=False)

    def operator(source: Observable[object]) -> Observable[Rate]:
        return _timed(source, lambda now: RateCounter(seconds, now))

    return operator


# -- silence ------------------------------------------------------------------------------------


def quiet_for(
    seconds: timedelta | float, client: Client | None = None
) -> Callable[[Observable[FlowRunEvent]], Observable[Quiet]]:
    """Emit a `Quiet` for each run that has fallen silent.

        in:    --a--b---------c--|
               quiet_for(5)                   q: Quiet, once for each silence
        out:   ----------q-------|

    When a run has had no event for so long, its row is read. A `Quiet` is emitted if the run is not
    over and is in the last state that the stream has reported; if its state is another one, the
    time is counted anew. A silence is emitted once, and the next one only after another event.

    A `Notice` does not end a silence. From the notice of an outage to that of its end no time is
    counted, so do not filter out the notices. If the row cannot be read, retry after another full
    quiet period.

    Args:
        seconds: How long a run must be silent, in seconds if a number.
        client: The client to read the row with; if None, one of the server that the environment
            and the active profile name.

    Returns:
        An operator whose result completes with its source.

    Raises:
        ConfigurationError: No server is configured.
        RxflowError: From the pipeline: the server refuses the key, or its API is not supported.
        TypeError: ``seconds`` is neither a timedelta nor a number, or ``client`` is not a `Client`.
        ValueError: ``seconds`` is not above zero, infinite or NaN.

    Example:
        >>> import rxflow
        >>> for quiet in rxflow.watch_flow_run(run_id).pipe(quiet_for(600)):  # doctest: +SKIP
        ...     print(quiet.message)
    """
    limit = seconds_of("seconds", seconds, zero=False)
    check_client(client)
    used = client or Client()

    def watch_run(run_id: str) -> Observable[FlowRunEvent]:
        return watch_row(canonical_id("flow_run_id", run_id), used)

    def operator(source: Observable[FlowRunEvent]) -> Observable[Quiet]:
        def subscribe(
            observer: abc.ObserverBase[Quiet], scheduler: abc.SchedulerBase | None = None
        ) -> abc.DisposableBase:
            detector = SilenceDetector(limit)
            return SilenceSubscription(observer, scheduler, detector, watch_run).start(source)

        return Observable(subscribe)

    return operator


# -- subscriptions and arguments ---------------------------------------------------------------


def _queued(
    source: Observable[T], queue: Callable[[], ItemQueue[T]], *, items_per_turn: int
) -> Observable[T]:
    def subscribe(
        observer: abc.ObserverBase[T], scheduler: abc.SchedulerBase | None = None
    ) -> abc.DisposableBase:
        subscription = QueuedSubscription(
            observer, scheduler, queue(), items_per_turn=items_per_turn
        )
        return subscription.start(source)

    return Observable(subscribe)


def _timed(source: Observable[T], machine: Callable[[Now], OperatorMachine[T, R]]) -> Observable[R]:
    def subscribe(
        observer: abc.ObserverBase[R], scheduler: abc.SchedulerBase | None = None
    ) -> abc.DisposableBase:
        return TimedSubscription(observer, scheduler, machine).start(source)

    return Observable(subscribe)


def _same_key(_: object) -> Hashable:
    return None


def _check_overflow(overflow: str) -> None:
    if overflow not in get_args(OverflowPolicy):
        why = "; a blocked source may hold a lock that the consumer needs" * (overflow == "block")
        raise ValueError(f"overflow={overflow!r} is none of {get_args(OverflowPolicy)}{why}")
