"""The poll scheduler and the workers: what runs, on whose thread, in what order, and what ends."""

import asyncio
import subprocess
import sys
import threading
import weakref
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count, pairwise
from typing import Any

import pytest
from reactivex import abc
from reactivex.scheduler import (
    CurrentThreadScheduler,
    EventLoopScheduler,
    HistoricalScheduler,
    ImmediateScheduler,
    TrampolineScheduler,
)
from reactivex.testing import TestScheduler
from timer_queues import FAR, WaitingPollScheduler, blocked, calling
from virtual_world import TEST_TIMEOUT

from rxflow._runtime.clocks import clock_of, real_now
from rxflow._runtime.fetch_workers import FetchWorkers
from rxflow._runtime.iteration import AsyncPullScheduler, PullScheduler
from rxflow._runtime.poll_scheduler import PollScheduler, default_scheduler
from rxflow._runtime.scheduling import fetches_inline, scheduler_for


@contextmanager
def no_more_threads() -> Iterator[None]:
    """Have the system refuse to start a thread, for want of memory for its stack."""
    usual = threading.stack_size(1 << 46)
    try:
        yield
    finally:
        threading.stack_size(usual)


class Backwards(PollScheduler):
    """A poll scheduler whose wall clock goes back an hour whenever it is looked at."""

    hours = 0

    @property
    def now(self) -> datetime:
        """The time by that clock."""
        self.hours += 1
        return datetime(2026, 1, 1, tzinfo=UTC) - timedelta(hours=self.hours)


# -- the poll scheduler -------------------------------------------------------------------------


def test_only_cancelled_actions_do_not_keep_the_thread() -> None:
    """The thread ends when everything left is cancelled, without waiting for when it was due."""
    scheduler = PollScheduler()
    far = [scheduler.schedule_relative(FAR, calling(lambda: None)) for _ in range(5)]
    for scheduled in far:
        scheduled.dispose()
    assert scheduler.join(TEST_TIMEOUT)


def test_an_earlier_action_is_not_kept_waiting() -> None:
    """An action runs on time though the thread waits for a later one."""
    scheduler = PollScheduler()
    later = scheduler.schedule_relative(FAR, calling(lambda: None))
    scheduler.schedule(calling(later.dispose))
    assert scheduler.join(TEST_TIMEOUT)


def test_what_ran_is_let_go() -> None:
    """What an action held is free when it has run, though the thread waits for another."""

    class Held:
        pass

    scheduler = WaitingPollScheduler()
    held = Held()
    alive = weakref.ref(held)
    with blocked(scheduler):
        far = scheduler.schedule_relative(2 * FAR, calling(lambda: None))
        scheduler.schedule(calling(partial(id, held)))
        scheduler.waits.clear()
        del held
    assert scheduler.waits.wait(TEST_TIMEOUT)
    assert alive() is None
    far.dispose()
    assert scheduler.join(TEST_TIMEOUT)


def test_the_thread_goes_and_comes_back() -> None:
    """The thread is a daemon, ends when nothing is left to run, and the next action starts one."""
    scheduler = PollScheduler()
    threads: list[threading.Thread] = []
    for _ in range(2):
        scheduler.schedule(calling(lambda: threads.append(threading.current_thread())))
        assert scheduler.join(TEST_TIMEOUT)
    first, second = threads
    assert first is not second
    assert first.daemon
    assert second.daemon


def test_join_from_its_own_thread_does_not_hang() -> None:
    """An action that joins its own scheduler is told at once that the thread has not ended."""
    scheduler = PollScheduler()
    ended: list[bool] = []
    scheduler.schedule(calling(lambda: ended.append(scheduler.join())))
    assert scheduler.join(TEST_TIMEOUT)
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

    with blocked(scheduler):
        scheduler.schedule(calling(fail))
        scheduler.schedule(calling(lambda: ran.append("next")))
    assert scheduler.join(TEST_TIMEOUT)
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
    with blocked(scheduler):
        scheduler.schedule(calling(fail))
        scheduler.schedule(calling(lambda: ran.append("next")))
    joined = scheduler.join(TEST_TIMEOUT)
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
        start.wait(TEST_TIMEOUT)
        for number in range(200):
            scheduler.schedule(act, (thread, number))

    threads = [threading.Thread(target=flood, args=(thread,)) for thread in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TEST_TIMEOUT)
    assert scheduler.join(TEST_TIMEOUT)
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

    with blocked(scheduler):
        scheduler.schedule(calling(lambda: ran.append("now")))
        scheduler.schedule_relative(0.001, calling(lambda: ran.append("soon")))
        periodic = scheduler.schedule_periodic(0.001, tick)
    assert scheduler.join(TEST_TIMEOUT)
    assert sorted(ran) == ["now", "periodic", "soon"]


def test_a_thread_that_cannot_start_is_tried_again() -> None:
    """Where the system has no thread to give, that action is refused and a later one still runs."""
    scheduler = PollScheduler()
    ran: list[str] = []
    with no_more_threads(), pytest.raises(RuntimeError):
        scheduler.schedule(calling(lambda: ran.append("refused")))
    scheduler.schedule(calling(lambda: ran.append("later")))
    assert scheduler.join(TEST_TIMEOUT)
    assert ran == ["later"]


FORK = """
import os, sys, threading
from rxflow._runtime.fetch_workers import fetch_workers
from rxflow._runtime.poll_scheduler import default_scheduler

busy, hold = threading.Event(), threading.Event()

def occupy(*_):
    busy.set()
    hold.wait()

default_scheduler.schedule(occupy)
for _ in range(20):
    fetch_workers.submit(hold.wait)
default_scheduler.schedule(lambda *_: print("parent's"))
assert busy.wait(30)
child = os.fork()
if child == 0:
    scheduled, submitted = threading.Event(), threading.Event()
    default_scheduler.schedule(lambda *_: scheduled.set())
    fetch_workers.submit(submitted.set)
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
        timeout=TEST_TIMEOUT * 2,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "parent's\n", "")


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
        (PullScheduler(), True),
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


def test_an_event_loop_waits_for_no_answer_inline() -> None:
    """On the pump of an event loop, which must not block, a task asks."""

    async def look() -> None:
        given = AsyncPullScheduler()
        assert scheduler_for(given) is given
        assert not fetches_inline(given)

    asyncio.run(look())


def test_virtual_time_has_its_own_clock() -> None:
    """A virtual scheduler has a virtual clock in both its halves, and any other the real one."""
    virtual = TestScheduler(initial_clock=1_000.0)
    now = clock_of(virtual)
    virtual.advance_to(1_005.5)
    assert (now().mono, now().utc) == (1_005.5, datetime.fromtimestamp(1_005.5, UTC))
    assert clock_of(PullScheduler()) is real_now
    assert real_now().utc.tzinfo is UTC


# -- the workers --------------------------------------------------------------------------------


def test_workers_are_never_more_than_allowed() -> None:
    """All jobs run, as many at once as there may be threads, never more, and the threads go."""
    workers = FetchWorkers(3)
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
        three.wait(TEST_TIMEOUT)
        with lock:
            running.remove(threading.current_thread())
        done.release()

    for _ in range(12):
        workers.submit(job)
    for _ in range(12):
        assert done.acquire(timeout=TEST_TIMEOUT)
    assert max(most) == 3
    assert all(thread.daemon for thread in seen)
    for thread in seen:
        thread.join(TEST_TIMEOUT)
    assert not any(thread.is_alive() for thread in seen)


def test_workers_start_again() -> None:
    """A job that comes when all threads have gone gets a new one."""
    workers = FetchWorkers(1)
    threads: list[threading.Thread] = []
    for number in range(1, 4):
        workers.submit(lambda: threads.append(threading.current_thread()))
        while len(threads) < number:
            threading.Event().wait(0.001)
        threads[-1].join(TEST_TIMEOUT)
    assert len(threads) == 3


def test_a_job_that_raises_takes_no_worker_along(
    reported: list[BaseException | None], logged: list[str]
) -> None:
    """A job that raises, though it must not, is reported, and its thread does the next one."""
    workers = FetchWorkers(1)
    error, done = ValueError("a defect"), threading.Event()

    def fail() -> None:
        raise error

    workers.submit(fail)
    workers.submit(done.set)
    assert done.wait(TEST_TIMEOUT)
    assert reported == [error]
    assert logged


def test_a_worker_that_cannot_start_is_tried_again() -> None:
    """Where the system has no thread to give, that job is refused and a later one still runs."""
    workers = FetchWorkers(1)
    ran: list[str] = []
    done = threading.Event()
    with no_more_threads(), pytest.raises(RuntimeError):
        workers.submit(lambda: ran.append("refused"))
    workers.submit(done.set)
    assert done.wait(TEST_TIMEOUT)
    assert ran == []
