"""The worker threads of fetching: their maximum, their end and new start, and errors of jobs."""

import threading
from queue import Queue

from thread_limits import no_more_threads
from timer_queues import FAR, calling
from virtual_world import TEST_TIMEOUT

from rxflow._runtime.fetch_workers import FetchWorkers
from rxflow._runtime.poll_scheduler import default_scheduler


def test_workers_never_exceed_their_maximum() -> None:
    """All jobs run, on at most the maximum number of threads, and the threads then end."""
    workers = FetchWorkers(3)
    three_at_once = threading.Barrier(3)  # passed by jobs that run at the same time
    lock, done = threading.Lock(), threading.Semaphore(0)
    running: set[threading.Thread] = set()
    counts: list[int] = []
    seen: set[threading.Thread] = set()

    def job() -> None:
        with lock:
            running.add(threading.current_thread())
            seen.add(threading.current_thread())
            counts.append(len(running))
        three_at_once.wait(TEST_TIMEOUT)
        with lock:
            running.remove(threading.current_thread())
        done.release()

    for _ in range(12):
        workers.submit(job)
    for _ in range(12):
        assert done.acquire(timeout=TEST_TIMEOUT)
    assert max(counts) == 3
    assert all(thread.daemon for thread in seen)
    for thread in seen:
        thread.join(TEST_TIMEOUT)
    assert not any(thread.is_alive() for thread in seen)


def test_a_job_starts_a_thread_if_all_have_ended() -> None:
    """A job that is submitted after all threads have ended starts a new one."""
    workers = FetchWorkers(1)
    threads: Queue[threading.Thread] = Queue()
    seen: set[threading.Thread] = set()
    for _ in range(3):
        workers.submit(lambda: threads.put(threading.current_thread()))
        thread = threads.get(timeout=TEST_TIMEOUT)
        thread.join(TEST_TIMEOUT)
        seen.add(thread)
    assert len(seen) == 3


def test_a_job_that_raises_does_not_end_its_thread(
    reported: list[BaseException | None], logged: list[str]
) -> None:
    """A job that raises, against its contract, is reported, and its thread runs the next one."""
    workers = FetchWorkers(1)
    error, done = ValueError("a defect"), threading.Event()

    def fail() -> None:
        raise error

    workers.submit(fail)
    workers.submit(done.set)
    assert done.wait(TEST_TIMEOUT)
    assert reported == [error]
    assert logged


def test_starting_a_thread_is_retried() -> None:
    """If the system refuses a thread for a moment, the job waits for one, and is not lost."""
    workers = FetchWorkers(1)
    ran: list[str] = []
    done = threading.Event()
    running = default_scheduler.schedule_relative(FAR, calling(lambda: None))
    with no_more_threads():
        workers.submit(lambda: ran.append("refused"))
        workers.submit(done.set)
        assert ran == []
    assert done.wait(TEST_TIMEOUT)
    assert ran == ["refused"]
    running.dispose()


def test_a_job_is_left_to_the_threads_that_run() -> None:
    """If the system refuses one more thread, those that there are run the job."""
    workers = FetchWorkers(2)
    busy, free, done = (threading.Event() for _ in range(3))

    def occupy() -> None:
        busy.set()
        free.wait(TEST_TIMEOUT)

    workers.submit(occupy)
    assert busy.wait(TEST_TIMEOUT)
    with no_more_threads():
        workers.submit(done.set)
        free.set()
        assert done.wait(TEST_TIMEOUT)
