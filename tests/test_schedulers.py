"""The poll scheduler, the pump and the workers: what runs, where, in what order, and what ends."""

import math
import subprocess
import sys
import threading
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count, pairwise
from typing import Any

import pytest
import reactivex
from reactivex import Observable, abc
from reactivex import operators as ops
from reactivex.disposable import Disposable
from reactivex.scheduler import (
    CurrentThreadScheduler,
    EventLoopScheduler,
    HistoricalScheduler,
    ImmediateScheduler,
    TrampolineScheduler,
)
from reactivex.subject import Subject
from reactivex.testing import TestScheduler
from virtual import PATIENCE

from rxflow import Overflow, iterate
from rxflow._pump import FOREIGN_ITEMS, Pump
from rxflow._schedulers import (
    PollScheduler,
    Workers,
    clock_of,
    default_scheduler,
    fetches_inline,
    real_now,
    scheduler_for,
)

Agenda = PollScheduler | Pump

FAR = 1_000_000_000.0


def calling(action: Callable[[], object]) -> abc.ScheduledAction[Any]:
    """An action that does what it does without a look at scheduler and state."""

    def act(_: abc.SchedulerBase, __: Any = None) -> None:
        action()

    return act


def work_off(scheduler: Agenda) -> None:
    """Have everything on an agenda run."""
    if isinstance(scheduler, PollScheduler):
        assert scheduler.join(PATIENCE)
    else:
        while scheduler._next_due() is not None:
            scheduler._step()


@contextmanager
def at_rest(scheduler: Agenda) -> Iterator[None]:
    """Keep a scheduler from running anything in between."""
    reached, release = threading.Event(), threading.Event()

    def stop() -> None:
        reached.set()
        assert release.wait(PATIENCE)

    if isinstance(scheduler, PollScheduler):
        scheduler.schedule(calling(stop))
        assert reached.wait(PATIENCE)
    yield
    release.set()


@contextmanager
def no_more_threads() -> Iterator[None]:
    """Have the system refuse to start a thread, for want of memory for its stack."""
    usual = threading.stack_size(1 << 46)
    try:
        yield
    finally:
        threading.stack_size(usual)


class Waits:
    """Tells when a scheduler is about to wait for long; with its lock held, which waiting lets go.

    Attributes:
        waits: Set when it is.
    """

    def __init__(self) -> None:
        super().__init__()
        self.waits = threading.Event()

    def _next_due(self) -> float | None:
        due: float | None = super()._next_due()  # type: ignore[misc]
        if due is not None and due > FAR:
            self.waits.set()
        return due


class WaitingPollScheduler(Waits, PollScheduler):
    """A poll scheduler that tells when it waits."""


class WaitingPump(Waits, Pump):
    """A pump that tells when it waits."""


class Backwards(PollScheduler):
    """A poll scheduler whose wall clock goes back an hour whenever it is looked at."""

    hours = 0

    @property
    def now(self) -> datetime:
        """The time by that clock."""
        self.hours += 1
        return datetime(2026, 1, 1, tzinfo=UTC) - timedelta(hours=self.hours)


@pytest.fixture(params=[PollScheduler, Pump])
def scheduler(request: pytest.FixtureRequest) -> Agenda:
    """Make one of the two schedulers."""
    made: Agenda = request.param()
    return made


# -- both ---------------------------------------------------------------------------------------


def test_actions_run_by_the_time_they_are_due(scheduler: Agenda) -> None:
    """Actions run in the order in which they are due, not in which they were scheduled."""
    ran: list[int] = []
    with at_rest(scheduler):
        for due in (-5, -9, -7, -8, -6):
            scheduler._add(due, calling(partial(ran.append, due)), None)
    work_off(scheduler)
    assert ran == [-9, -8, -7, -6, -5]


def test_ties_run_as_scheduled(scheduler: Agenda) -> None:
    """Actions that are due at the same time run in the order in which they were scheduled."""
    ran: list[int] = []
    with at_rest(scheduler):
        for number in range(20):
            scheduler._add(-1.0, calling(partial(ran.append, number)), None)
    work_off(scheduler)
    assert ran == list(range(20))


def test_state_reaches_the_action(scheduler: Agenda) -> None:
    """An action is called with the scheduler and the state that it was scheduled with."""
    got: list[object] = []
    scheduler.schedule(lambda *given: got.extend(given), "state")
    work_off(scheduler)
    assert got == [scheduler, "state"]


def test_what_an_action_returns_is_disposed_with_it(scheduler: Agenda) -> None:
    """Disposing of a scheduled action disposes of what it returned, before and after it ran."""
    gone: list[str] = []

    def returning(name: str) -> abc.ScheduledAction[Any]:
        return lambda *_: Disposable(lambda: gone.append(name))

    with at_rest(scheduler):
        ran = scheduler.schedule(returning("after"))
        holder: list[abc.DisposableBase] = []

        def disposes_of_itself(*_: object) -> abc.DisposableBase:
            holder[0].dispose()
            return Disposable(lambda: gone.append("within"))

        holder.append(scheduler.schedule(disposes_of_itself))
    work_off(scheduler)
    assert gone == ["within"]
    ran.dispose()
    ran.dispose()
    assert gone == ["within", "after"]


def test_an_action_may_return_anything(scheduler: Agenda) -> None:
    """What an action returns is of no concern unless it can be disposed of."""
    scheduled = scheduler.schedule(lambda *_: 5)  # type: ignore[arg-type]
    work_off(scheduler)
    scheduled.dispose()


def test_cancelled_actions_do_not_run(scheduler: Agenda) -> None:
    """An action that is disposed of before it is due never runs, even when already due."""
    ran: list[str] = []
    with at_rest(scheduler):
        cancelled = scheduler.schedule(calling(lambda: ran.append("cancelled")))
        scheduler.schedule(calling(lambda: ran.append("kept")))
        cancelled.dispose()
    work_off(scheduler)
    assert ran == ["kept"]


def test_cancelled_actions_are_let_go(scheduler: Agenda) -> None:
    """What a cancelled action and its state hold is free at once, however far its time is."""

    class Held:
        pass

    action, state = Held(), Held()
    alive = [weakref.ref(action), weakref.ref(state)]
    others = [scheduler.schedule_relative(FAR, calling(lambda: None)) for _ in range(5)]
    cancelled = scheduler.schedule_relative(FAR, calling(partial(id, action)), state)
    cancelled.dispose()
    del action, state
    assert [held() for held in alive] == [None, None]
    for other in others:
        other.dispose()
    work_off(scheduler)


def test_cancelled_actions_do_not_pile_up(scheduler: Agenda) -> None:
    """Of actions that are scheduled and cancelled again and again few are left, others or not."""
    kept = [scheduler.schedule_relative(FAR, calling(lambda: None)) for _ in range(10)]
    for _ in range(1000):
        scheduler.schedule_relative(FAR, calling(lambda: None)).dispose()
        scheduler._next_due()
    assert 10 <= len(scheduler._entries) <= 21
    for scheduled in kept:
        scheduled.dispose()
    work_off(scheduler)


def test_an_action_may_be_cancelled_at_the_last_moment(scheduler: Agenda) -> None:
    """An action that is cancelled when it was taken to be run does not run."""
    ran: list[str] = []
    with at_rest(scheduler):
        scheduled = scheduler.schedule(calling(lambda: ran.append("cancelled")))
        entry = scheduler._take()
        scheduled.dispose()
        scheduler._run(entry)
    work_off(scheduler)
    assert ran == []


def test_a_date_in_the_past_is_now(scheduler: Agenda) -> None:
    """An action scheduled for a time that has passed runs at once, and one for later does not."""
    ran: list[str] = []
    scheduler.schedule_absolute(
        scheduler.now - timedelta(days=1), calling(lambda: ran.append("past"))
    )
    scheduler.schedule_relative(-1.0, calling(lambda: ran.append("negative")))
    later = scheduler.schedule_absolute(
        scheduler.now + timedelta(days=1), calling(lambda: ran.append("future"))
    )
    scheduler.schedule_absolute(scheduler.now + timedelta(milliseconds=5), calling(later.dispose))
    work_off(scheduler)
    assert sorted(ran) == ["negative", "past"]


def test_periodic_actions_hand_on_their_state(scheduler: Agenda) -> None:
    """A periodic action gets what it returned the time before, until it is disposed of."""
    states: list[int | None] = []

    def tick(state: int | None) -> int:
        states.append(state)
        if len(states) == 4:
            periodic.dispose()
        return (state or 0) + 1

    with at_rest(scheduler):
        periodic = scheduler.schedule_periodic(0.001, tick, 0)
    work_off(scheduler)
    assert states == [0, 1, 2, 3]


@pytest.mark.parametrize("waiting", [WaitingPollScheduler, WaitingPump])
def test_a_wait_may_be_endless(waiting: type[WaitingPollScheduler | WaitingPump]) -> None:
    """A scheduler waits for longer than a thread can wait at a time, and can still be woken."""
    scheduler = waiting()
    endless = scheduler.schedule_relative(math.inf, calling(lambda: None))

    def cancel() -> None:
        assert scheduler.waits.wait(PATIENCE)
        endless.dispose()

    canceller = threading.Thread(target=cancel)
    canceller.start()
    work_off(scheduler)
    canceller.join(PATIENCE)
    assert scheduler._next_due() is None


# -- the poll scheduler -------------------------------------------------------------------------


def test_only_cancelled_actions_do_not_keep_the_thread() -> None:
    """The thread ends when everything left is cancelled, without waiting for when it was due."""
    scheduler = PollScheduler()
    far = [scheduler.schedule_relative(FAR, calling(lambda: None)) for _ in range(5)]
    for scheduled in far:
        scheduled.dispose()
    assert scheduler.join(PATIENCE)


def test_an_earlier_action_is_not_kept_waiting() -> None:
    """An action runs on time though the thread waits for a later one."""
    scheduler = PollScheduler()
    later = scheduler.schedule_relative(FAR, calling(lambda: None))
    scheduler.schedule(calling(later.dispose))
    assert scheduler.join(PATIENCE)


def test_what_ran_is_let_go() -> None:
    """What an action held is free when it has run, though the thread waits for another."""

    class Held:
        pass

    scheduler = WaitingPollScheduler()
    held = Held()
    alive = weakref.ref(held)
    with at_rest(scheduler):
        far = scheduler.schedule_relative(2 * FAR, calling(lambda: None))
        scheduler.schedule(calling(partial(id, held)))
        scheduler.waits.clear()
        del held
    assert scheduler.waits.wait(PATIENCE)
    assert alive() is None
    far.dispose()
    assert scheduler.join(PATIENCE)


def test_the_thread_goes_and_comes_back() -> None:
    """The thread is a daemon, ends when nothing is left to run, and the next action starts one."""
    scheduler = PollScheduler()
    threads: list[threading.Thread] = []
    for _ in range(2):
        scheduler.schedule(calling(lambda: threads.append(threading.current_thread())))
        assert scheduler.join(PATIENCE)
    first, second = threads
    assert first is not second
    assert first.daemon
    assert second.daemon


def test_join_from_its_own_thread_does_not_hang() -> None:
    """An action that joins its own scheduler is told at once that the thread has not ended."""
    scheduler = PollScheduler()
    ended: list[bool] = []
    scheduler.schedule(calling(lambda: ended.append(scheduler.join())))
    assert scheduler.join(PATIENCE)
    assert ended == [False]


@pytest.mark.parametrize("error", [ValueError("oops"), SystemExit(3), KeyboardInterrupt()])
def test_an_action_that_raises_ends_only_itself(
    error: BaseException, reported: list[BaseException | None], logged: list[str]
) -> None:
    """An error in an action is reported by hook and by log, and the next action runs."""
    scheduler = PollScheduler()
    ran: list[str] = []

    def fail() -> None:
        raise error

    with at_rest(scheduler):
        scheduler.schedule(calling(fail))
        scheduler.schedule(calling(lambda: ran.append("next")))
    assert scheduler.join(PATIENCE)
    assert ran == ["next"]
    assert reported == [error]
    assert [line for line in logged if "An action on the poll scheduler failed" in line]


def test_a_hook_that_raises_ends_nothing() -> None:
    """Actions go on to run though `threading.excepthook` itself fails."""
    scheduler = PollScheduler()
    ran: list[str] = []

    def hook(_: object) -> None:
        raise ZeroDivisionError

    def fail() -> None:
        raise ValueError

    usual, threading.excepthook = threading.excepthook, hook
    with at_rest(scheduler):
        scheduler.schedule(calling(fail))
        scheduler.schedule(calling(lambda: ran.append("next")))
    joined = scheduler.join(PATIENCE)
    threading.excepthook = usual
    assert joined
    assert ran == ["next"]


def test_many_threads_schedule_at_once() -> None:
    """Of what many threads schedule all runs, one at a time, each thread's in its order."""
    scheduler = PollScheduler()
    ran: list[tuple[int, int]] = []
    running, together = 0, 0
    start = threading.Barrier(8)

    def act(_: abc.SchedulerBase, state: Any = None) -> None:
        nonlocal running, together
        running += 1
        together = max(together, running)
        ran.append(state)
        running -= 1

    def flood(thread: int) -> None:
        start.wait(PATIENCE)
        for number in range(200):
            scheduler.schedule(act, (thread, number))

    threads = [threading.Thread(target=flood, args=(thread,)) for thread in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert scheduler.join(PATIENCE)
    assert together == 1
    assert Counter(ran) == Counter((thread, number) for thread in range(8) for number in range(200))
    assert all(a < b for mine in range(8) for a, b in pairwise(x for x in ran if x[0] == mine))


def test_the_wall_clock_is_irrelevant() -> None:
    """A wall clock that goes back delays nothing that is due now, after a while, or repeatedly."""
    scheduler = Backwards()
    ran: list[str] = []
    ticks = count(1)

    def tick(_: object) -> None:
        if next(ticks) == 3:
            periodic.dispose()
            ran.append("periodic")

    with at_rest(scheduler):
        scheduler.schedule(calling(lambda: ran.append("now")))
        scheduler.schedule_relative(0.001, calling(lambda: ran.append("soon")))
        periodic = scheduler.schedule_periodic(0.001, tick)
    assert scheduler.join(PATIENCE)
    assert sorted(ran) == ["now", "periodic", "soon"]


def test_a_thread_that_cannot_start_is_tried_again() -> None:
    """Where the system has no thread to give, that action is refused and a later one still runs."""
    scheduler = PollScheduler()
    ran: list[str] = []
    with no_more_threads(), pytest.raises(RuntimeError):
        scheduler.schedule(calling(lambda: ran.append("refused")))
    scheduler.schedule(calling(lambda: ran.append("later")))
    assert scheduler.join(PATIENCE)
    assert ran == ["later"]


FORK = """
import os, sys, threading
from rxflow._schedulers import default_scheduler, workers

busy, hold = threading.Event(), threading.Event()

def occupy(*_):
    busy.set()
    hold.wait()

default_scheduler.schedule(occupy)
for _ in range(20):
    workers.submit(hold.wait)
default_scheduler.schedule(lambda *_: print("parent's"))
assert busy.wait(30)
child = os.fork()
if child == 0:
    scheduled, submitted = threading.Event(), threading.Event()
    default_scheduler.schedule(lambda *_: scheduled.set())
    workers.submit(submitted.set)
    os._exit(0 if scheduled.wait(30) and submitted.wait(30) else 1)
_, status = os.waitpid(child, 0)
hold.set()
assert default_scheduler.join(30)
sys.exit(os.waitstatus_to_exitcode(status))
"""


def test_a_forked_child_begins_anew() -> None:
    """In a forked process the scheduler and the workers run what is new, and nothing inherited."""
    done = subprocess.run(
        [sys.executable, "-P", "-W", "ignore", "-c", FORK],
        capture_output=True,
        text=True,
        timeout=PATIENCE * 2,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "parent's\n", "")


# -- the pump -----------------------------------------------------------------------------------


def counting(ran: list[int]) -> Observable[int]:
    """1, 2, 3 and so on, each emitted by an action that notes its thread and schedules the next."""

    def subscribe(
        observer: abc.ObserverBase[int], scheduler: abc.SchedulerBase | None = None
    ) -> abc.DisposableBase:
        assert scheduler is not None

        def emit(scheduler: abc.SchedulerBase, _: Any = None) -> abc.DisposableBase:
            ran.append(threading.get_ident())
            observer.on_next(len(ran))
            return scheduler.schedule(emit)

        return scheduler.schedule(emit)

    return Observable(subscribe)


def flooding(number: int) -> tuple[Observable[int], threading.Thread]:
    """A source that emits from a thread of its own, and that thread, not started yet."""
    source: Subject[int] = Subject()

    def flood() -> None:
        for item in range(number):
            source.on_next(item)
        source.on_completed()

    return source, threading.Thread(target=flood, daemon=True)


def test_the_pump_runs_on_demand_in_the_thread_that_asks() -> None:
    """An item that is asked for costs one action, in the consumer's thread; else nothing runs."""
    ran: list[int] = []
    items = iterate(counting(ran))
    assert ran == []
    for number in range(1, 4):
        assert next(items) == number
        assert ran == [threading.get_ident()] * number
    items.close()
    assert len(ran) == 3


def test_the_pump_follows_its_consumer_to_another_thread() -> None:
    """An iterator that is read on by another thread runs there."""
    ran: list[int] = []
    items = iterate(counting(ran))
    next(items)
    thread = threading.Thread(target=lambda: next(items))
    thread.start()
    ident = thread.ident
    thread.join(PATIENCE)
    assert ran == [threading.get_ident(), ident]
    items.close()


def test_a_page_may_be_longer_than_the_bound_in_any_thread() -> None:
    """The bound is for threads that the reader does not drive, whichever thread reads."""
    page = [*range(FOREIGN_ITEMS * 2)]
    pages = reactivex.of([-1], page).pipe(ops.delay(0.001), ops.flat_map(reactivex.from_iterable))
    items = iterate(pages)
    found: list[int] = []
    thread = threading.Thread(target=lambda: found.extend(items))
    assert next(items) == -1
    thread.start()
    thread.join(PATIENCE)
    assert found == page


def test_an_item_of_another_thread_wakes_the_pump() -> None:
    """An item that a thread of its own emits reaches a consumer that waits for it."""
    source: Subject[str] = Subject()
    read = threading.Event()

    def emit() -> None:
        source.on_next("item")
        assert read.wait(PATIENCE)
        source.on_completed()

    thread = threading.Thread(target=emit)
    begun = reactivex.of("begun").pipe(ops.do_action(lambda _: thread.start()))
    for item in iterate(reactivex.merge(source, begun)):
        if item == "item":
            read.set()
    thread.join(PATIENCE)
    assert read.is_set()


def test_another_thread_may_schedule() -> None:
    """What another thread's items make an operator schedule runs in a consumer that waits."""
    source, thread = flooding(5)
    begun = reactivex.of(-1).pipe(ops.do_action(lambda _: thread.start()))
    late = source.pipe(ops.delay(0.001))
    assert list(iterate(reactivex.merge(late, begun))) == [-1, *range(5)]
    thread.join(PATIENCE)


def test_too_many_items_from_another_thread_are_an_overflow() -> None:
    """A flood from another thread is never blocked; the reader gets what fits, then `Overflow`."""
    source, thread = flooding(FOREIGN_ITEMS + 100)
    items = iterate(reactivex.merge(source, reactivex.of(-1)))
    assert next(items) == -1
    thread.start()
    thread.join(PATIENCE)
    assert not thread.is_alive()
    found = [next(items) for _ in range(FOREIGN_ITEMS)]
    assert found == list(range(FOREIGN_ITEMS))
    with pytest.raises(Overflow, match="read faster"):
        next(items)


def test_nothing_comes_after_an_overflow() -> None:
    """What a thread emits after an overflow is not delivered, even when there is room again."""
    source: Subject[int] = Subject()
    items = iterate(reactivex.merge(source, reactivex.of(-1)))
    next(items)

    def emit(numbers: range) -> None:
        def run() -> None:
            for number in numbers:
                source.on_next(number)

        thread = threading.Thread(target=run)
        thread.start()
        thread.join(PATIENCE)

    emit(range(FOREIGN_ITEMS + 1))
    found = [next(items) for _ in range(FOREIGN_ITEMS // 2)]
    emit(range(FOREIGN_ITEMS + 1, FOREIGN_ITEMS + 10))
    with pytest.raises(Overflow):
        found.extend(items)
    assert found == list(range(FOREIGN_ITEMS))


def test_the_lock_of_merge_cannot_be_held_against_the_reader() -> None:
    """A thread that floods one side of a merge ends though nobody reads, and so does the merge."""
    source, thread = flooding(FOREIGN_ITEMS - 10)
    pair = reactivex.merge(source, reactivex.interval(0.001).pipe(ops.take(5)))
    items = iterate(pair)
    found = [next(items)]
    thread.start()
    thread.join(PATIENCE)
    assert not thread.is_alive()
    found.extend(items)
    assert len(found) == FOREIGN_ITEMS - 5


def test_an_error_comes_after_the_items_before_it() -> None:
    """The reader gets every item, and then the very error that the observable ended with."""
    error = ValueError("at the end")
    items = iterate(reactivex.concat(reactivex.of(1, 2), reactivex.throw(error)))
    assert [next(items), next(items)] == [1, 2]
    with pytest.raises(ValueError, match="at the end") as caught:
        next(items)
    assert caught.value is error
    assert list(items) == []


def test_an_error_in_an_action_reaches_the_reader() -> None:
    """An action that raises does so in the reader's loop, and the subscription is disposed of."""
    disposed: list[str] = []

    def subscribe(
        _: abc.ObserverBase[int], scheduler: abc.SchedulerBase | None = None
    ) -> abc.DisposableBase:
        assert scheduler is not None
        scheduler.schedule(calling(partial(int, "no number")))
        return Disposable(lambda: disposed.append("once"))

    with pytest.raises(ValueError, match="no number"):
        next(iterate(Observable(subscribe)))
    assert disposed == ["once"]


def test_an_error_while_subscribing_reaches_the_reader() -> None:
    """A source whose subscribe function raises fails in the loop, not before."""

    def subscribe(*_: object) -> abc.DisposableBase:
        raise LookupError("no such source")

    items: Iterator[int] = iterate(Observable(subscribe))
    with pytest.raises(LookupError, match="no such source"):
        next(items)


# -- who runs a watch ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "given", [None, ImmediateScheduler(), CurrentThreadScheduler(), TrampolineScheduler()]
)
def test_schedulers_that_cannot_wait_are_replaced(given: abc.SchedulerBase | None) -> None:
    """No scheduler, or one that blocks its caller while it waits, means the poll scheduler."""
    assert scheduler_for(given) is default_scheduler


@pytest.mark.parametrize(
    ("given", "inline"),
    [
        (Pump(), True),
        (TestScheduler(), True),
        (HistoricalScheduler(), True),
        (PollScheduler(), False),
        (EventLoopScheduler(), False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_given_scheduler_is_kept(given: abc.SchedulerBase, inline: bool) -> None:
    """Any other scheduler is used, and only the pump and virtual time wait for answers inline."""
    assert scheduler_for(given) is given
    assert fetches_inline(given) is inline


def test_virtual_time_has_its_own_clock() -> None:
    """A virtual scheduler has a virtual clock in both its halves, and any other the real one."""
    virtual = TestScheduler(initial_clock=1_000.0)
    now = clock_of(virtual)
    virtual.advance_to(1_005.5)
    assert (now().mono, now().utc) == (1_005.5, datetime.fromtimestamp(1_005.5, UTC))
    assert clock_of(Pump()) is real_now
    assert real_now().utc.tzinfo is UTC


# -- the workers --------------------------------------------------------------------------------


def test_workers_are_never_more_than_allowed() -> None:
    """All jobs run, as many at once as there may be threads, never more, and the threads go."""
    workers = Workers(3)
    three = threading.Barrier(3)  # passed by three jobs that run at the same time
    lock, done = threading.Lock(), threading.Semaphore(0)
    running: set[threading.Thread] = set()
    most: list[int] = []
    seen: set[threading.Thread] = set()

    def job() -> None:
        with lock:
            running.add(threading.current_thread())
            seen.add(threading.current_thread())
            most.append(len(running))
        three.wait(PATIENCE)
        with lock:
            running.remove(threading.current_thread())
        done.release()

    for _ in range(12):
        workers.submit(job)
    for _ in range(12):
        assert done.acquire(timeout=PATIENCE)
    assert max(most) == 3
    assert all(thread.daemon for thread in seen)
    for thread in seen:
        thread.join(PATIENCE)
    assert not any(thread.is_alive() for thread in seen)


def test_workers_start_again() -> None:
    """A job that comes when all threads have gone gets a new one."""
    workers = Workers(1)
    threads: list[threading.Thread] = []
    for number in range(1, 4):
        workers.submit(lambda: threads.append(threading.current_thread()))
        while len(threads) < number:
            threading.Event().wait(0.001)
        threads[-1].join(PATIENCE)
    assert len(threads) == 3


def test_a_job_that_raises_takes_no_worker_along(
    reported: list[BaseException | None], logged: list[str]
) -> None:
    """A job that raises, though it must not, is reported, and its thread does the next one."""
    workers = Workers(1)
    error, done = ValueError("a defect"), threading.Event()

    def fail() -> None:
        raise error

    workers.submit(fail)
    workers.submit(done.set)
    assert done.wait(PATIENCE)
    assert reported == [error]
    assert logged


def test_a_worker_that_cannot_start_is_tried_again() -> None:
    """Where the system has no thread to give, that job is refused and a later one still runs."""
    workers = Workers(1)
    ran: list[str] = []
    done = threading.Event()
    with no_more_threads(), pytest.raises(RuntimeError):
        workers.submit(lambda: ran.append("refused"))
    workers.submit(done.set)
    assert done.wait(PATIENCE)
    assert ran == []
