"""When things run, and on whose thread: the poll scheduler, the fetch workers, and the clocks."""

import os
import threading
import time

from rxflow._runtime.thread_errors import report_thread_error
from rxflow._runtime.timer_queue import Timer, TimerQueue


class PollScheduler(TimerQueue):
    """One daemon thread that runs what is due, and goes when nothing is left to wait for.

    An action that raises is reported, through loguru and `threading.excepthook`, and ends nothing
    but itself.
    """

    def __init__(self) -> None:
        """Make a scheduler without a thread; the first action starts it."""
        super().__init__()
        self._thread: threading.Thread | None = None

    def join(self, timeout: float | None = None) -> bool:
        """Wait until nothing is left to run.

        Args:
            timeout: Seconds; None is for ever.

        Returns:
            Whether the thread has ended.
        """
        thread = self._thread
        if thread is None or thread is threading.current_thread():
            return thread is None
        thread.join(timeout)
        return not thread.is_alive()

    def _adding(self) -> None:
        if self._thread is None:
            thread = threading.Thread(target=self._work, name="rxflow-poll", daemon=True)
            thread.start()
            self._thread = thread

    def _work(self) -> None:
        while (entry := self._wait()) is not None:
            try:
                self._run(entry)
            except BaseException as error:  # noqa: BLE001 - whatever it raises, the next one runs
                report_thread_error(error, "An action on the poll scheduler failed")
            del entry  # what it holds need not live until the next one is due

    def _wait(self) -> Timer | None:
        with self._changed:
            while (due := self._next_due()) is not None:
                pause = due - time.monotonic()
                if pause <= 0:
                    return self._take()
                self._changed.wait(min(pause, threading.TIMEOUT_MAX))
            self._thread = None
            return None


default_scheduler = PollScheduler()
"""Where watches run that were given no scheduler."""

# A forked process inherits no threads, and locks in whatever state they were.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: PollScheduler.__init__(default_scheduler))
