"""The turn scheduler: one action at a time, apart from all others; errors, cancelling, threads."""

import threading
from datetime import timedelta
from functools import partial
from queue import Queue

import pytest
from reactivex import abc
from runtime_threads import join_runtime_threads
from thread_limits import no_more_threads
from timer_queues import FAR, calling
from virtual_world import TEST_TIMEOUT

from rxflow._runtime.fetch_loop import fetch_loop
from rxflow._runtime.turn_scheduler import TurnScheduler

pytestmark = pytest.mark.timeout(60)


def test_actions_run_in_order_and_never_at_the_same_time() -> None:
    """Actions of many threads run one after the other, those of one thread in their order."""
    scheduler = TurnScheduler()
    busy = threading.Lock()
    ran: list[tuple[int, int]] = []
    done = threading.Semaphore(0)

    def schedule(thread: int) -> None:
        for number in range(50):
            scheduler.schedule(calling(partial(act, (thread, number))))

    def act(key: tuple[int, int]) -> None:
        assert busy.acquire(blocking=False)
        ran.append(key)
        busy.release()
        done.release()

    threads = [threading.Thread(target=schedule, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(200):
        assert done.acquire(timeout=TEST_TIMEOUT)
    for thread in threads:
        thread.join(TEST_TIMEOUT)
    for number in range(4):
        assert [key for key in ran if key[0] == number] == [(number, i) for i in range(50)]


def test_an_action_that_blocks_delays_no_other_scheduler() -> None:
    """While an action of one scheduler blocks, due and delayed actions of others run."""
    blocked, release = threading.Event(), threading.Event()
    ran: Queue[str] = Queue()

    def block() -> None:
        blocked.set()
        assert release.wait(TEST_TIMEOUT)

    slow, other = TurnScheduler(), TurnScheduler()
    slow.schedule(calling(block))
    assert blocked.wait(TEST_TIMEOUT)
    slow.schedule(calling(lambda: ran.put("slow")))
    other.schedule(calling(lambda: ran.put("now")))
    assert ran.get(timeout=TEST_TIMEOUT) == "now"
    other.schedule_relative(0.01, calling(lambda: ran.put("relative")))
    assert ran.get(timeout=TEST_TIMEOUT) == "relative"
    soon = other.now + timedelta(milliseconds=10)
    other.schedule_absolute(soon, calling(lambda: ran.put("absolute")))
    assert ran.get(timeout=TEST_TIMEOUT) == "absolute"
    ticks = other.schedule_periodic(0.01, lambda _: ran.put("tick"))
    assert {ran.get(timeout=TEST_TIMEOUT) for _ in range(3)} == {"tick"}
    ticks.dispose()
    release.set()
    while ran.get(timeout=TEST_TIMEOUT) != "slow":
        pass
    join_runtime_threads()


def test_a_cancelled_action_does_not_run() -> None:
    """An action that is cancelled before its turn, or before it is due, does not run."""
    scheduler = TurnScheduler()
    ran: list[str] = []
    done = threading.Event()

    def act(scheduler: abc.SchedulerBase, _: object = None) -> None:
        scheduler.schedule(calling(lambda: ran.append("due"))).dispose()
        scheduler.schedule_relative(0.01, calling(lambda: ran.append("later"))).dispose()
        scheduler.schedule(calling(done.set))

    scheduler.schedule_relative(FAR, calling(lambda: ran.append("far"))).dispose()
    scheduler.schedule(act)
    assert done.wait(TEST_TIMEOUT)
    join_runtime_threads()
    assert ran == []


def test_an_action_that_raises_ends_only_itself(
    reported: list[BaseException | None], logged: list[str]
) -> None:
    """An error in an action goes to the hook and the log, and the next action runs."""
    scheduler = TurnScheduler()
    error = ValueError("oops")
    done = threading.Event()

    def fail() -> None:
        raise error

    scheduler.schedule(calling(fail))
    scheduler.schedule(calling(done.set))
    assert done.wait(TEST_TIMEOUT)
    assert reported == [error]
    assert any("An action of a subscription failed" in line for line in logged)


def test_a_refused_thread_is_requested_again_by_the_poll_thread() -> None:
    """An action runs later if the system starts no thread for it now."""
    scheduler, keep = TurnScheduler(), TurnScheduler()
    far = keep.schedule_relative(FAR, calling(lambda: None))
    ran = threading.Event()
    with no_more_threads():
        scheduler.schedule(calling(ran.set))
    assert ran.wait(TEST_TIMEOUT)
    far.dispose()


def test_a_refused_thread_is_requested_again_by_the_fetch_loop() -> None:
    """The fetch loop requests the thread again if there is no poll thread."""
    scheduler = TurnScheduler()
    ran = threading.Event()
    join_runtime_threads()
    loop = fetch_loop.acquire()
    with no_more_threads():
        scheduler.schedule(calling(ran.set))
    assert ran.wait(TEST_TIMEOUT)
    loop.call_soon_threadsafe(fetch_loop.release)
    join_runtime_threads()
