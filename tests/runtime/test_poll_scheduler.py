"""The poll scheduler: one thread, which ends and starts again, survives errors and forks."""

import subprocess
import sys
import threading
import weakref
from collections import Counter
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count, pairwise
from typing import Any

import pytest
from reactivex import abc
from thread_limits import no_more_threads
from timer_queues import FAR, WaitingPollScheduler, blocked, calling
from virtual_world import TEST_TIMEOUT

from rxflow._runtime.poll_scheduler import PollScheduler


class BackwardsClockScheduler(PollScheduler):
    """A poll scheduler whose wall clock goes back an hour at each reading."""

    hours = 0

    @property
    def now(self) -> datetime:
        """Return a time an hour before the last one."""
        self.hours += 1
        return datetime(2026, 1, 1, tzinfo=UTC) - timedelta(hours=self.hours)


def test_cancelled_actions_do_not_keep_the_thread() -> None:
    """The thread ends when only cancelled timers are left, without waiting for their times."""
    scheduler = PollScheduler()
    far = [scheduler.schedule_relative(FAR, calling(lambda: None)) for _ in range(5)]
    for scheduled in far:
        scheduled.dispose()
    assert scheduler.join(TEST_TIMEOUT)


def test_an_earlier_action_interrupts_the_wait() -> None:
    """An action runs on time while the thread is waiting for a later one."""
    scheduler = PollScheduler()
    later = scheduler.schedule_relative(FAR, calling(lambda: None))
    scheduler.schedule(calling(later.dispose))
    assert scheduler.join(TEST_TIMEOUT)


def test_an_action_is_freed_after_its_run() -> None:
    """What an action holds is freed after its run, while the thread waits for another timer."""

    class Referent:
        pass

    scheduler = WaitingPollScheduler()
    referent = Referent()
    reference = weakref.ref(referent)
    with blocked(scheduler):
        far = scheduler.schedule_relative(2 * FAR, calling(lambda: None))
        scheduler.schedule(calling(partial(id, referent)))
        scheduler.waits.clear()
        del referent
    assert scheduler.waits.wait(TEST_TIMEOUT)
    assert reference() is None
    far.dispose()
    assert scheduler.join(TEST_TIMEOUT)


def test_the_thread_ends_and_starts_again() -> None:
    """The daemon thread ends when no timer is left; the next action starts another."""
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
    """An action that joins its own scheduler gets False at once: the thread has not ended."""
    scheduler = PollScheduler()
    ended: list[bool] = []
    scheduler.schedule(calling(lambda: ended.append(scheduler.join())))
    assert scheduler.join(TEST_TIMEOUT)
    assert ended == [False]


@pytest.mark.parametrize("error", [ValueError("oops"), SystemExit(3), KeyboardInterrupt()])
def test_an_action_that_raises_ends_only_itself(
    error: BaseException, reported: list[BaseException | None], logged: list[str]
) -> None:
    """An error in an action goes to the hook and the log, and the next action runs."""
    scheduler = PollScheduler()
    ran: list[str] = []

    def fail() -> None:
        raise error

    with blocked(scheduler):
        scheduler.schedule(calling(fail))
        scheduler.schedule(calling(lambda: ran.append("next")))
    assert scheduler.join(TEST_TIMEOUT)
    assert ran == ["next"]
    assert len(reported) == 1
    assert error in {reported[0], getattr(reported[0], "__cause__", None)}
    assert [line for line in logged if "An action on the poll scheduler failed" in line]


def test_a_hook_that_raises_ends_nothing() -> None:
    """The next action runs even if `threading.excepthook` itself raises."""
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
    """All actions of many threads run, one at a time, each thread's in its order."""
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
    """A wall clock that goes back delays no action, neither a relative nor a periodic one."""
    scheduler = BackwardsClockScheduler()
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


class LateThreadScheduler(PollScheduler):
    """A poll scheduler whose thread can be started at the third attempt only."""

    attempts = 0

    def _start_thread(self) -> threading.Thread:
        self.attempts += 1
        if self.attempts < 3:
            raise RuntimeError("can't start new thread")
        return super()._start_thread()


def test_an_action_waits_for_a_thread_that_can_be_started() -> None:
    """A moment in which the system refuses a thread loses no action."""
    scheduler = LateThreadScheduler()
    ran: list[str] = []
    scheduler.schedule(calling(lambda: ran.append("late")))
    assert scheduler.join(TEST_TIMEOUT)
    assert (scheduler.attempts, ran) == (3, ["late"])


def test_starting_the_thread_is_retried() -> None:
    """If the system goes on refusing, `schedule` raises, and a later action still runs."""
    scheduler = PollScheduler(start_timeout=0)
    ran: list[str] = []
    with no_more_threads(), pytest.raises(RuntimeError):
        scheduler.schedule(calling(lambda: ran.append("refused")))
    scheduler.schedule(calling(lambda: ran.append("later")))
    assert scheduler.join(TEST_TIMEOUT)
    assert ran == ["later"]


FORK = """
import os, sys, threading
from rxflow._runtime.worker_threads import worker_threads
from rxflow._runtime.poll_scheduler import default_scheduler

busy, hold = threading.Event(), threading.Event()

def occupy(*_):
    busy.set()
    hold.wait()

default_scheduler.schedule(occupy)
for _ in range(20):
    worker_threads.submit(hold.wait)
default_scheduler.schedule(lambda *_: print("parent's"))
assert busy.wait(30)
child = os.fork()
if child == 0:
    scheduled, submitted = threading.Event(), threading.Event()
    default_scheduler.schedule(lambda *_: scheduled.set())
    worker_threads.submit(submitted.set)
    os._exit(0 if scheduled.wait(30) and submitted.wait(30) else 1)
_, status = os.waitpid(child, 0)
hold.set()
assert default_scheduler.join(30)
sys.exit(os.waitstatus_to_exitcode(status))
"""


def test_a_forked_child_starts_empty() -> None:
    """In a forked process scheduler and workers run new jobs and none that were inherited."""
    done = subprocess.run(
        [sys.executable, "-P", "-W", "ignore", "-c", FORK],
        capture_output=True,
        text=True,
        timeout=TEST_TIMEOUT * 2,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "parent's\n", "")
