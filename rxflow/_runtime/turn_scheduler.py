"""The turn scheduler: the actions of one subscription, one at a time, on a worker thread.

A watch or operator that was subscribed to without a scheduler has one of its own, so that a slow
observer delays its own subscription and no other. It has no thread: while an action is due it uses
one of the worker threads, and what is due later waits on the poll thread.
"""

import threading
from collections import deque
from typing import Any

from reactivex import abc, typing
from reactivex.disposable import CompositeDisposable, SingleAssignmentDisposable

from rxflow._forks import register
from rxflow._runtime.fetch_loop import fetch_loop
from rxflow._runtime.poll_scheduler import default_scheduler
from rxflow._runtime.thread_errors import report_thread_error
from rxflow._runtime.timer_queue import MonotonicScheduler, Timer
from rxflow._runtime.worker_threads import worker_threads

_THREAD_RETRY = 0.1  # seconds until a thread that the system refused is requested again


class TurnScheduler(MonotonicScheduler):
    """Runs actions in the order in which they became due, and never two at the same time.

    An action that raises is reported through loguru and `threading.excepthook`; the next ones run.
    """

    def __init__(self) -> None:
        """Create a scheduler without actions."""
        super().__init__()
        self._start_empty()
        register(self)

    def _start_empty(self) -> None:
        self._lock = threading.Lock()
        self._due: deque[Timer] = deque()
        self._has_thread = False  # or is waiting for one

    def reset_after_fork(self) -> None:
        """Drop all actions in a forked child: they are the parent's."""
        self._start_empty()

    def schedule(
        self, action: typing.ScheduledAction[Any], state: Any = None
    ) -> abc.DisposableBase:
        """Run an action as soon as those before it have returned."""
        timer = Timer(action, state)
        with self._lock:
            self._due.append(timer)
            must_start, self._has_thread = not self._has_thread, True
        if must_start:
            self._start()
        return timer

    def schedule_relative(
        self, duetime: typing.RelativeTime, action: typing.ScheduledAction[Any], state: Any = None
    ) -> abc.DisposableBase:
        """Run an action after a delay."""
        seconds = self.to_seconds(duetime)
        if seconds <= 0:
            return self.schedule(action, state)
        turn = SingleAssignmentDisposable()

        def run_when_due(_: abc.SchedulerBase, __: Any = None) -> None:
            turn.disposable = self.schedule(action, state)

        return CompositeDisposable(default_scheduler.schedule_relative(seconds, run_when_due), turn)

    def _start(self) -> None:
        """Run the due actions on a worker thread, as soon as the system has one.

        Raises:
            RuntimeError: The system has no thread, and rxflow none that could try again.
        """
        try:
            worker_threads.submit(self._run_due)
        except RuntimeError:
            self._start_later()

    def _start_later(self) -> None:
        try:
            fetch_loop.call_later(_THREAD_RETRY, self._start)
        except RuntimeError:  # it does not run
            try:
                default_scheduler.schedule_relative(_THREAD_RETRY, self._retry_start)
            except RuntimeError:
                self._start_empty()
                raise

    def _retry_start(self, _: abc.SchedulerBase, __: Any = None) -> None:
        self._start()

    def _run_due(self) -> None:
        while (timer := self._next()) is not None:
            try:
                timer.run(self)
            except BaseException as error:  # noqa: BLE001 - the next actions must run
                report_thread_error(error, "An action of a subscription failed")
            del timer  # free what the action holds before waiting for the next one

    def _next(self) -> Timer | None:
        with self._lock:
            if self._due:
                timer = self._due.popleft()
                timer.pending = False
                return timer
            self._has_thread = False
            return None
