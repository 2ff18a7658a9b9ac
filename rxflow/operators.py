"""Operators for streams of events, to be used in `pipe`; each wraps a function that knows no Rx.

What an operator remembers it remembers for each subscription by itself. Those that wait do so on
the scheduler that was subscribed with; without one, on rxflow's own thread.

Alert on each error of a run, with the twenty events up to it:

    for *before, error in rxflow.watch_flow_run(run_id).pipe(
        rxflow.operators.tail(20),
        ops.filter(lambda events: events[-1].level >= logging.ERROR),
    ):
        alert(error, before)

In the diagrams time goes to the right, a character a second. What stands in parentheses comes at
once, where the first one stands; ``|`` is completion, and ``#`` an error.
"""

import re
from collections.abc import Callable, Hashable
from datetime import timedelta
from typing import Any, TypeVar, get_args, overload

import reactivex
from reactivex import Observable, abc
from reactivex import operators as ops

from rxflow._models.arguments import canonical_id, positive_count, seconds_of
from rxflow._models.times import Now
from rxflow._operators.holdback import Dated, Holdback
from rxflow._operators.predicates import Leveled, Worded, is_at_least, is_of_task, is_one_of, says
from rxflow._operators.queues import BoundedQueue, ConflatingQueue, OverflowPolicy
from rxflow._operators.rates import Rate, RateCounter
from rxflow._operators.run_ends import RunEnds
from rxflow._operators.silence import Quiet, SilenceDetector
from rxflow._operators.windows import last
from rxflow._runtime.queued_subscription import ItemQueue, QueuedSubscription
from rxflow._runtime.silence_subscription import SilenceSubscription
from rxflow._runtime.timed_subscription import OperatorMachine, TimedSubscription
from rxflow.client import Client
from rxflow.events import FlowRunEvent, FlowRunLog, TaskRunStateChange
from rxflow.watch import watch_flow_run

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
D = TypeVar("D", bound=Dated)
L = TypeVar("L", bound=Leveled)
W = TypeVar("W", bound=Worded)


# -- which events -------------------------------------------------------------------------------


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
    """Let events of some kinds through.

        in:    --s--l--l--n--s--|
               only(FlowRunLog)               s: a state change, l: a log line, n: a notice
        out:   -----l--l--------|

    Args:
        kinds: Classes of events, one or more. With up to three, type checkers know what comes out.

    Raises:
        TypeError: There are none, or one of them is not a class.

    Example:
        >>> import reactivex, rxflow
        >>> list(rxflow.iterate(reactivex.of(1, "one", 2).pipe(only(int))))
        [1, 2]
    """
    return ops.filter(is_one_of(kinds))


def level_at_least(level: int | str) -> Callable[[Observable[L]], Observable[L]]:
    """Let events of a level and above through.

        in:    --i--e--w--d--e--|
               level_at_least("WARNING")      d: DEBUG, i: INFO, w: WARNING, e: ERROR
        out:   -----e--w-----e--|

    States have levels too: ERROR for Failed and Crashed, WARNING for Cancelled, else INFO. What a
    watch has to say itself is DEBUG, but for a `Notice`.

    Args:
        level: A number as in `logging`, or a name such as ``"ERROR"``.

    Raises:
        TypeError: It is neither.
        ValueError: No level has this name.

    Example:
        >>> import rxflow
        >>> errors = rxflow.watch_flow_run(run_id).pipe(level_at_least("ERROR"))  # doctest: +SKIP
    """
    predicate = is_at_least(level)

    def operator(source: Observable[L]) -> Observable[L]:
        return source.pipe(ops.filter(predicate))

    return operator


def for_task(
    task_run_id: str,
) -> Callable[[Observable[object]], Observable[FlowRunLog | TaskRunStateChange]]:
    """Let the log lines and the states of one task run through.

        in:    --a--b--s--r--a--|
               for_task(task_run_id)          a: a line of it, s: a state of it,
        out:   --a-----s-----a--|             b: a line of another, r: a state of the run

    Its states are told by ``watch_flow_run(..., stream_tasks=True)``.

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
    return ops.filter(predicate)


def matching(pattern: str | re.Pattern[str]) -> Callable[[Observable[W]], Observable[W]]:
    r"""Let events through in whose message a pattern is found.

        in:    --a--b--c--|
               matching(r"row \d+")           a: "row 7", b: "no row", c: "bad row 9"
        out:   --a-----c--|

    Args:
        pattern: A regular expression. It is searched for anywhere in the message.

    Raises:
        TypeError: It is not text.
        re.error: It is not a regular expression.

    Example:
        >>> import rxflow
        >>> rows = rxflow.watch_flow_run(run_id).logs.pipe(matching(r"row \d+"))  # doctest: +SKIP
    """
    predicate = says(pattern)

    def operator(source: Observable[W]) -> Observable[W]:
        return source.pipe(ops.filter(predicate))

    return operator


def until_terminal(*flow_run_ids: str) -> Callable[[Observable[T]], Observable[T]]:
    """End with the event that says that the run is over.

        in:    --r--l--c--l--e|
               until_terminal()               r: Running, l: a log line, c: Completed
        out:   --r--l--(c,|)

    That is earlier than the watch itself would end: late log lines are not waited for. A merge of
    watches ends when all runs are over that events came of so far. As one run may be over before
    the first event of another, say which runs to wait for where it matters. A run that is opened
    again before the last one is over is waited for again; one that is opened again later is not.

    Args:
        flow_run_ids: The runs to wait for; those that events came of if none is given.

    Raises:
        InvalidRunId: An id is not a UUID.

    Example:
        >>> import rxflow
        >>> events = list(rxflow.watch_flow_run(run_id).pipe(until_terminal()))  # doctest: +SKIP
    """
    expected = [canonical_id(run_id) for run_id in flow_run_ids]

    def operator(source: Observable[T]) -> Observable[T]:
        def ending(_: abc.SchedulerBase) -> Observable[T]:
            return source.pipe(ops.take_while(RunEnds(expected).goes_on, inclusive=True))

        return reactivex.defer(ending)

    return operator


# -- slow consumers -----------------------------------------------------------------------------


def conflate(
    key: Callable[[Any], Hashable] | None = None,
) -> Callable[[Observable[T]], Observable[T]]:
    """Hold the latest item of each key for a consumer that is busy.

        in:    --a--(b,c,a,B,b)--c--|
               conflate(str.lower)            what comes at once comes to a busy consumer
        out:   --a--(b,c,a)------c--|

    Items are handed over on the scheduler, one in a turn. What comes in between takes the place of
    what is held of the same key, so the last item of each key always comes through, and no more is
    held than there are keys. Whoever emits never waits. At completion, and before an error, what is
    held is handed over.

    In a blocking loop, the consumer is busy until it asks for the next item. A watch needs no
    conflation there to be bounded, since it asks the server for no more than is read.

    Args:
        key: Says which items take each other's place. None: each takes the place of any other.

    Example:
        >>> import reactivex, rxflow
        >>> numbers = reactivex.of(*range(10)).pipe(conflate(lambda number: number % 2))
        >>> list(rxflow.iterate(numbers))
        [8, 9]
    """

    def operator(source: Observable[T]) -> Observable[T]:
        return _queued(source, lambda: ConflatingQueue(key or _one_for_all))

    return operator


def _one_for_all(_: object) -> Hashable:
    return None


def bounded(n: int, overflow: OverflowPolicy = "error") -> Callable[[Observable[T]], Observable[T]]:
    """Hold up to a number of items for a consumer that is slower than its source for a while.

        in:    --a--(b,c,d,e)--f--|
               bounded(2, "drop_oldest")      what comes at once comes to a busy consumer
        out:   --a--(d,e)------f--|

    Items are handed over on the scheduler, one in a turn, in order. Whoever emits never waits: to
    block them is not offered, since they may hold a lock that the consumer needs, such as the one
    of `merge`. At completion, and before an error, what is held is handed over.

    A watch needs no bound, since it asks the server for no more than is read. Where it has one, the
    events of a whole page come at once, of which there may be some hundred.

    Args:
        n: How many items are held at the most.
        overflow: What happens to one more: ``"error"`` ends with an `Overflow` after the items that
            are held, ``"drop_oldest"`` drops the first of those, ``"drop_newest"`` the new one.

    Raises:
        TypeError: ``n`` is not a whole number.
        ValueError: ``n`` is less than 1, or there is no such way to overflow.

    Example:
        >>> import reactivex, rxflow
        >>> numbers = reactivex.of(*range(10)).pipe(bounded(3, "drop_oldest"))
        >>> list(rxflow.iterate(numbers))
        [7, 8, 9]
    """
    most = positive_count("n", n)
    _check_overflow(overflow)

    def operator(source: Observable[T]) -> Observable[T]:
        return _queued(source, lambda: BoundedQueue(most, overflow))

    return operator


def _check_overflow(overflow: str) -> None:
    if overflow not in get_args(OverflowPolicy):
        why = "; whoever blocks may hold a lock that the consumer needs" * (overflow == "block")
        raise ValueError(f"overflow={overflow!r} is none of {get_args(OverflowPolicy)}{why}")


def _queued(source: Observable[T], queue: Callable[[], ItemQueue[T]]) -> Observable[T]:
    def subscribe(
        observer: abc.ObserverBase[T], scheduler: abc.SchedulerBase | None = None
    ) -> abc.DisposableBase:
        return QueuedSubscription(observer, scheduler, queue()).start(source)

    return Observable(subscribe)


# -- order, and time ----------------------------------------------------------------------------


def in_order(lateness: timedelta | float) -> Callable[[Observable[D]], Observable[D]]:
    """Put the events of several sources in the order of their timestamps.

        in:    -1-3-2----4----9-8|
               in_order(lateness=4)           numbers: the seconds of the timestamps
        out:   -----1-(2,3)--4---(8,9,|)

    An event is held back until one has come whose timestamp is ``lateness`` above its own, and for
    no longer than ``lateness`` after it came. Equal timestamps go by arrival. At completion, and
    before an error, what is held comes out.

    What comes after an event of a later time came out is passed on at once, and flagged ``late``.
    Of state changes, log lines and task states that come out, ``late`` means just that, whatever it
    was before; other kinds are never flagged. `RunSeen` is never held back, and a `Notice` or
    `Closed` comes after whatever came before it, since their stamps are of other clocks.

    Args:
        lateness: By how much events may come late, in seconds if a number. With 0 nothing is held
            back, and ``late`` says what came out of order. Runs that are over come each as a whole,
            from beginning to end; to put those in order takes the time that they span.

    Raises:
        ValueError: ``lateness`` is negative or not a number.

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
    """Give each item with the ones before it: the last ``n``, itself included.

        in:    --a--b--c--d--|
               tail(3)                        1: (a,), 2: (a, b), 3: (a, b, c), 4: (b, c, d)
        out:   --1--2--3--4--|

    Args:
        n: How many items there are in what comes out, but for the first ones.

    Raises:
        TypeError: ``n`` is not a whole number.
        ValueError: ``n`` is less than 1.

    Example:
        >>> import reactivex, rxflow
        >>> list(rxflow.iterate(reactivex.of(1, 2, 3).pipe(tail(2))))
        [(1,), (1, 2), (2, 3)]
    """
    most = positive_count("n", n)

    def operator(source: Observable[T]) -> Observable[tuple[T, ...]]:
        none: tuple[T, ...] = ()
        with_item: Callable[[tuple[T, ...], T], tuple[T, ...]] = last(most)
        return source.pipe(ops.scan(with_item, none))

    return operator


def rate(window: timedelta | float) -> Callable[[Observable[object]], Observable[Rate]]:
    """Count events by windows of time.

        in:    -a-b----------c-d|
               rate(5)                        numbers: the counts
        out:   -----2----0----1-(1,|)

    The first window begins with the subscription, and each where the last one ended; empty ones are
    told too. At completion, and before an error, the last window is told if it is not empty. It
    counts as a whole one, so that an event right at its beginning is no burst.

    Args:
        window: How long a window is, in seconds if a number.

    Raises:
        ValueError: ``window`` is not above zero.

    Example:
        >>> import rxflow
        >>> for measured in rxflow.watch_flow_run(run_id).logs.pipe(rate(60)):  # doctest: +SKIP
        ...     print(measured.since, measured.count, measured.per_second)
    """
    seconds = seconds_of("window", window, zero=False)

    def operator(source: Observable[object]) -> Observable[Rate]:
        return _timed(source, lambda now: RateCounter(seconds, now))

    return operator


def _timed(source: Observable[T], machine: Callable[[Now], OperatorMachine[T, R]]) -> Observable[R]:
    def subscribe(
        observer: abc.ObserverBase[R], scheduler: abc.SchedulerBase | None = None
    ) -> abc.DisposableBase:
        return TimedSubscription(observer, scheduler, machine).start(source)

    return Observable(subscribe)


# -- silence ------------------------------------------------------------------------------------


def quiet_for(
    seconds: timedelta | float, client: Client | None = None
) -> Callable[[Observable[FlowRunEvent]], Observable[Quiet]]:
    """Tell of runs that have fallen silent.

        in:    --a--b---------c--|
               quiet_for(5)                   q: Quiet, once a silence
        out:   ----------q-------|

    When no event of a run came for so long, its row is read once more. `Quiet` is told if the run
    is not over, and in the state that was last heard of; if its state is news, the time is counted
    anew. It is told once, and again only after there was an event.

    A `Notice` is no sign of life. From the one of an outage to the one of its end no time is
    counted, so leave the notices in. If the row cannot be read, that is tried again after as long a
    time.

    Args:
        seconds: For how long a run has to be silent, in seconds if a number.
        client: The server to ask; found from the environment and the active profile if None.

    Returns:
        An operator whose result ends with its source, and with an error if the server refuses the
        key or cannot be spoken to.

    Raises:
        ConfigurationError: No server is configured.
        ValueError: ``seconds`` is not above zero.

    Example:
        >>> import rxflow
        >>> for quiet in rxflow.watch_flow_run(run_id).pipe(quiet_for(600)):  # doctest: +SKIP
        ...     print(quiet.message)
    """
    limit = seconds_of("seconds", seconds, zero=False)
    used = client or Client()

    def look(run_id: str) -> Observable[FlowRunEvent]:
        return watch_flow_run(run_id, stream_states=False, stream_logs=False, client=used)

    def operator(source: Observable[FlowRunEvent]) -> Observable[Quiet]:
        def subscribe(
            observer: abc.ObserverBase[Quiet], scheduler: abc.SchedulerBase | None = None
        ) -> abc.DisposableBase:
            return SilenceSubscription(observer, scheduler, SilenceDetector(limit), look).start(
                source
            )

        return Observable(subscribe)

    return operator
