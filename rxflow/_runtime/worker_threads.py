"""Daemon threads that run jobs at once, for all watches of a process.

A job may block for long: it delivers to an observer, looks a name up, or sends a query over a
transport that only blocks. So no job waits for another, and there are as many threads as jobs that
run at the same time. What bounds the number of jobs belongs to those who submit them.
"""

import threading
from collections import deque
from collections.abc import Callable

from rxflow._forks import register
from rxflow._runtime.thread_errors import report_thread_error

_LINGER = 0.1  # seconds that an idle thread waits for a job: a poll has several, one after another


class WorkerThreads:
    """A pool of daemon threads without a maximum, which end soon after their last job."""

    def __init__(self) -> None:
        """Create a pool without threads."""
        self._start_empty()
        register(self)

    def _start_empty(self) -> None:
        self._changed = threading.Condition()
        self._jobs: deque[Callable[[], None]] = deque()  # at most one for each idle thread
        self._threads: set[threading.Thread] = set()
        self._idle = 0

    def reset_after_fork(self) -> None:
        """Drop all jobs in a forked child, which has none of the threads."""
        self._start_empty()

    def submit(self, job: Callable[[], None]) -> None:
        """Run a job at once, on an idle thread or a new one. The job must not raise.

        Raises:
            RuntimeError: The system starts no further thread; the job will not run.
        """
        with self._changed:
            if self._idle > len(self._jobs):
                self._jobs.append(job)
                self._changed.notify()
                return
            thread = threading.Thread(
                target=self._work, args=(job,), name="rxflow-worker", daemon=True
            )
            thread.start()
            self._threads.add(thread)

    def _work(self, first_job: Callable[[], None]) -> None:
        job: Callable[[], None] | None = first_job
        del first_job
        while job is not None:
            try:
                job()
            except BaseException as error:  # noqa: BLE001 - later jobs need this thread
                report_thread_error(error, "A job failed")
            job = None  # free what the job holds before waiting for the next one
            job = self._next_job()

    def _next_job(self) -> Callable[[], None] | None:
        with self._changed:
            if threading.current_thread() not in self._threads:
                return None  # the job has forked, and this is the child
            if not self._jobs:
                self._idle += 1
                self._changed.wait(_LINGER)
                self._idle -= 1
            if self._jobs:
                return self._jobs.popleft()
            self._threads.discard(threading.current_thread())
            return None


worker_threads = WorkerThreads()
"""The pool of this process."""
