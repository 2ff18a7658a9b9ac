"""A few daemon threads that send blocking queries for all watches of a process.

A watch uses them unless its scheduler may block (`scheduling.fetches_inline`) or runs on an event
loop. Replies go back to the scheduler of the watch; nothing is emitted on these threads, except by
schedulers that run actions in the thread that schedules them.
"""

import threading
from collections import deque
from collections.abc import Callable

from rxflow._forks import register
from rxflow._runtime.poll_scheduler import default_scheduler
from rxflow._runtime.thread_errors import report_thread_error

FETCH_WORKERS = 8
"""Maximum number of threads that wait for replies at the same time, over all watches."""

_START_PAUSE = 0.1  # seconds until a thread that could not be started is tried again


class FetchWorkers:
    """A pool of daemon threads that end as soon as no job is queued."""

    def __init__(self, max_threads: int = FETCH_WORKERS) -> None:
        """Create a pool without threads.

        Args:
            max_threads: Maximum number of threads at the same time.
        """
        self._max_threads = max_threads
        self._start_empty()
        register(self)

    def _start_empty(self) -> None:
        self._lock = threading.Lock()
        self._jobs: deque[Callable[[], None]] = deque()
        self._threads: set[threading.Thread] = set()

    def reset_after_fork(self) -> None:
        """Drop all jobs in a forked child, which has none of the threads."""
        self._start_empty()

    def submit(self, job: Callable[[], None]) -> None:
        """Run a job as soon as a thread is free. The job must not raise.

        While the system can start no thread, the job waits for one.
        """
        with self._lock:
            self._jobs.append(job)
        self._start_thread()

    def _start_thread(self) -> None:
        """Start a thread for the jobs, unless there are enough; without any, try again later."""
        with self._lock:
            if not self._jobs or len(self._threads) >= self._max_threads:
                return
            thread = threading.Thread(target=self._work, name="rxflow-fetch", daemon=True)
            self._threads.add(thread)
            try:
                thread.start()
            except RuntimeError:
                self._threads.discard(thread)
                if self._threads:  # they run the job
                    return
            else:
                return
        default_scheduler.schedule_relative(_START_PAUSE, lambda *_: self._start_thread())

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._jobs:
                    self._threads.discard(threading.current_thread())
                    return
                job = self._jobs.popleft()
            try:
                job()
            except BaseException as error:  # noqa: BLE001 - other watches need this thread
                report_thread_error(error, "A job failed")


fetch_workers = FetchWorkers()
"""The pool of this process."""
