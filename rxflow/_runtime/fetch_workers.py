"""When things run, and on whose thread: the poll scheduler, the fetch workers, and the clocks."""

import os
import threading
from collections import deque
from collections.abc import Callable

from rxflow._runtime.thread_errors import report_thread_error

FETCH_WORKERS = 8
"""Threads that may wait for answers at the same time, over all watches of a process."""


class FetchWorkers:
    """Runs blocking calls on a few daemon threads, which go when there is nothing to do."""

    def __init__(self, most: int = FETCH_WORKERS) -> None:
        """Make workers without threads.

        Args:
            most: How many threads there may be at once.
        """
        self._most = most
        self._lock = threading.Lock()
        self._jobs: deque[Callable[[], None]] = deque()
        self._threads = 0

    def submit(self, job: Callable[[], None]) -> None:
        """Run a job as soon as a thread is free. The job must not raise."""
        with self._lock:
            if self._threads < self._most:
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
            except BaseException as error:  # noqa: BLE001 - the next watch needs this thread
                report_thread_error(error, "A job failed")


fetch_workers = FetchWorkers()

# A forked process inherits no threads, and locks in whatever state they were.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: FetchWorkers.__init__(fetch_workers))
