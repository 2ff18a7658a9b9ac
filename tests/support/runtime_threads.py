"""The threads of rxflow's runtime: wait until they have ended."""

import threading

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


def _join(names: frozenset[str]) -> None:
    for thread in threading.enumerate():
        if thread.name in names:
            thread.join(TEST_TIMEOUT)
            assert not thread.is_alive()
