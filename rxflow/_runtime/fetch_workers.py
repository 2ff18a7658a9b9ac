"""A few daemon threads that send blocking queries for all watches of a process.

A watch uses them unless its scheduler may block (`scheduling.fetches_inline`) or runs on an event
loop. Replies go back to the scheduler of the watch; nothing is emitted on these threads, except by
schedulers that run actions in the thread that schedules them.
"""

import os
import threading
from collections import deque
from collections.abc import Callable

from rxflow._runtime.thread_errors import report_thread_error

FETCH_WORKERS = 8
"""Maximum number of threads that wait for replies at the same time, over all watches."""


class FetchWorkers:
    """A pool of daemon threads that end as soon as no job is queued."""

    def __init__(self, max_threads: int = FETCH_WORKERS) -> None:
        """Create a pool without threads.

        Args:
            max_threads: Maximum number of threads at the same time.
        """
        self._max_threads = max_threads
        self._lock = threading.Lock()
        self._jobs: deque[Callable[[], None]] = deque()
        self._threads = 0

    def submit(self, job: Callable[[], None]) -> None:
        """Run a job as soon as a thread is free. The job must not raise."""
        with self._lock:
            if self._threads < self._max_threads:
                threading.Thread(target=self._work, name="rxflow-fetch", daemon=True).start()
                self._threads += 1
            self._jobs.append(job)

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._jobs:
                    self._threads -= 1
                    return
                job = self._jobs.popleft()
            try:
                job()
            except BaseException as error:  # noqa: BLE001 - other watches need this thread
                report_thread_error(error, "A job failed")


fetch_workers = FetchWorkers()
"""The pool of this process."""

# A forked process inherits the locks in any state, and none of the threads.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: FetchWorkers.__init__(fetch_workers))
