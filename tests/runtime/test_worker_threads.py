"""The worker threads: no job waits for another, threads are used again and end, errors of jobs."""

import threading
from queue import Queue

import pytest
from thread_limits import no_more_threads
from virtual_world import TEST_TIMEOUT

from rxflow._runtime.worker_threads import WorkerThreads


def test_no_job_waits_for_another() -> None:
    """Jobs that block run at the same time, however many, on daemon threads that then end."""
    workers = WorkerThreads()
    all_at_once = threading.Barrier(41)
    threads: Queue[threading.Thread] = Queue()

    def job() -> None:
        threads.put(threading.current_thread())
        all_at_once.wait(TEST_TIMEOUT)

    for _ in range(40):
        workers.submit(job)
    all_at_once.wait(TEST_TIMEOUT)
    seen = {threads.get(timeout=TEST_TIMEOUT) for _ in range(40)}
    assert len(seen) == 40
    assert all(thread.daemon for thread in seen)
    for thread in seen:
        thread.join(TEST_TIMEOUT)
        assert not thread.is_alive()


def test_an_idle_thread_runs_the_next_job() -> None:
    """A job that is submitted by the one before it runs on the same thread once that is idle."""
    workers = WorkerThreads()
    threads: Queue[threading.Thread] = Queue()
    with workers._changed:  # a thread that has done its job is not idle before this is left
        workers.submit(lambda: threads.put(threading.current_thread()))
        first = threads.get(timeout=TEST_TIMEOUT)
    while first.is_alive():
        with workers._changed:
            if workers._idle:
                workers.submit(lambda: threads.put(threading.current_thread()))
                break
    assert threads.get(timeout=TEST_TIMEOUT) is first


def test_a_job_starts_a_thread_if_all_have_ended() -> None:
    """A job that is submitted after all threads have ended starts a new one."""
    workers = WorkerThreads()
    threads: Queue[threading.Thread] = Queue()
    seen: set[threading.Thread] = set()
    for _ in range(2):
        workers.submit(lambda: threads.put(threading.current_thread()))
        thread = threads.get(timeout=TEST_TIMEOUT)
        thread.join(TEST_TIMEOUT)
        seen.add(thread)
    assert len(seen) == 2


def test_a_job_that_raises_is_reported(
    reported: list[BaseException | None], logged: list[str]
) -> None:
    """A job that raises, against its contract, is reported, and its thread ends as any other."""
    workers = WorkerThreads()
    threads: Queue[threading.Thread] = Queue()
    error = ValueError("a defect")

    def fail() -> None:
        threads.put(threading.current_thread())
        raise error

    workers.submit(fail)
    threads.get(timeout=TEST_TIMEOUT).join(TEST_TIMEOUT)
    assert reported == [error]
    assert logged


def test_a_thread_that_the_system_refuses_is_an_error() -> None:
    """If the system refuses a thread, `submit` raises, and a later job still runs."""
    workers = WorkerThreads()
    ran: list[str] = []
    done = threading.Event()
    with no_more_threads(), pytest.raises(RuntimeError):
        workers.submit(lambda: ran.append("refused"))
    workers.submit(done.set)
    assert done.wait(TEST_TIMEOUT)
    assert ran == []
