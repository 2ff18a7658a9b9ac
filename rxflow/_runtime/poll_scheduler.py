"""The poll scheduler: one daemon thread that runs the actions of watches without a scheduler."""

import sys
import threading
import time
from typing import Any

from reactivex import abc, typing

from rxflow._runtime.thread_errors import report_thread_error
from rxflow._runtime.timer_queue import Timer, TimerQueue

_START_PAUSE = 0.05  # seconds until a thread that could not be started is tried again


class PollScheduler(TimerQueue):
    """A timer queue with a daemon thread, which ends when no timer is left.

    An action that raises is reported through loguru and `threading.excepthook`; other actions are
    not affected. While the system can start no thread, `schedule` waits for one, so that a watch
    under way is not lost; after some seconds it raises what the system says, a `RuntimeError`.
    """

    def __init__(self, *, start_timeout: float = 10.0) -> None:
        """Create a scheduler without a thread; the first action starts it.

        Args:
            start_timeout: Seconds to wait for a thread that cannot be started.
        """
        super().__init__()
        self._start_timeout = start_timeout
        self._thread: threading.Thread | None = None

    def reset_after_fork(self) -> None:
        """Drop all timers in a forked child, and the thread, which it does not have."""
        super().reset_after_fork()
        self._thread = None

    def join(self, timeout: float | None = None) -> bool:
        """Wait until no timer is left.

        Args:
            timeout: Maximum wait in seconds; None for no limit.

        Returns:
            Whether the thread has ended.
        """
        thread = self._thread
        if thread is None or thread is threading.current_thread():
            return thread is None
        thread.join(timeout)
        return not thread.is_alive()

    def _add(
        self, due: float, action: typing.ScheduledAction[Any], state: Any
    ) -> abc.DisposableBase:
        with self._lock:
            self._ensure_thread()
            return super()._add(due, action, state)

    def _ensure_thread(self) -> None:
        give_up = time.monotonic() + self._start_timeout
        while self._thread is None:  # another caller may start it during the pause
            try:
                self._thread = self._start_thread()
            except RuntimeError:
                if time.monotonic() >= give_up or sys.is_finalizing():
                    raise
                self._changed.wait(_START_PAUSE)

    def _start_thread(self) -> threading.Thread:
        thread = threading.Thread(target=self._work, name="rxflow-poll", daemon=True)
        thread.start()
        return thread

    def _work(self) -> None:
        while (timer := self._wait_for_timer()) is not None:
            try:
                timer.run(self)
            except BaseException as error:  # noqa: BLE001 - the actions of other watches must run
                report_thread_error(error, "An action on the poll scheduler failed")
            del timer  # free what the action holds before waiting for the next one

    def _wait_for_timer(self) -> Timer | None:
        with self._changed:
            if self._thread is not threading.current_thread():
                return None  # an action has forked, and this is the child
            while (due := self._next_due()) is not None:
                pause = due - time.monotonic()
                if pause <= 0:
                    return self._pop()
                self._changed.wait(min(pause, threading.TIMEOUT_MAX))
            self._thread = None
            return None


default_scheduler = PollScheduler()
"""The scheduler of watches that were subscribed to without one."""
