"""The threads of rxflow's runtime, and of a scheduler of reactivex: wait until they have ended."""

import threading

from reactivex.scheduler import EventLoopScheduler
from virtual_world import TEST_TIMEOUT

from rxflow._runtime.poll_scheduler import default_scheduler

NAMES = frozenset({"rxflow-poll", "rxflow-fetch", "rxflow-worker"})
"""The names of all threads that rxflow starts."""


def join_runtime_threads() -> None:
    """Wait until no timer is left, and until the threads, which are then idle, have ended."""
    assert default_scheduler.join(TEST_TIMEOUT)
    _join(NAMES)


def join_worker_threads() -> None:
    """Wait until the worker threads, which are then idle, have ended."""
    _join(frozenset({"rxflow-worker"}))


class JoinedEventLoopScheduler(EventLoopScheduler):
    """reactivex's scheduler with one thread, whose `dispose` waits until that thread has ended."""

    def dispose(self) -> None:
        """End the thread, from another one."""
        super().dispose()
        # reactivex 6.1 checks for a disposal before it runs actions, not before it waits,
        # so a thread that is running one misses the notification.
        thread = self._thread
        while isinstance(thread, threading.Thread) and thread.is_alive():
            with self._condition:
                self._condition.notify()
            thread.join(0.01)


def _join(names: frozenset[str]) -> None:
    # The last job of one thread may start another thread, so the list is read again.
    while threads := [each for each in threading.enumerate() if each.name in names]:
        for thread in threads:
            thread.join(TEST_TIMEOUT)
            assert not thread.is_alive()
