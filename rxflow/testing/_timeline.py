"""A fake server's time: its clock, the actions scheduled on it, and the times of its writes.

Scheduled actions are caught up with before each write and each read. Belongs here: what a server
that stores rows needs of time and randomness. Does not belong here: which rows those are.
"""

import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from random import Random

from rxflow._forks import register
from rxflow._models.arguments import check_callable, seconds_of, utc_time
from rxflow.testing._schedule import Schedule

_MICROSECOND = timedelta(microseconds=1)


class Timeline:
    """The time of a server, and a lock around its tables.

    Attributes:
        clock: The server's time.
    """

    def __init__(self, clock: Callable[[], datetime], random: Random | None) -> None:
        """Begin with no action scheduled.

        Args:
            clock: The server's time, aware.
            random: Draws the ids; None: unpredictable ids.
        """
        check_callable("clock", clock, "a function that returns the time, such as a VirtualTime()")
        self.clock = clock
        self._lock = threading.RLock()
        self._id_random = random or Random()  # noqa: S311 - ids, not secrets
        self._schedule = Schedule(clock)
        self._last_write: datetime | None = None
        register(self)

    def reset_after_fork(self) -> None:
        """Replace the lock in a forked child, which has a copy of the server."""
        self._lock = threading.RLock()

    def now(self) -> datetime:
        """Return the server's time; while a scheduled action runs, the time at which it was due."""
        return self._schedule.now()

    def at(self, when: float | timedelta | datetime, action: Callable[[], object]) -> None:
        """Schedule an action on the server's clock.

        It runs when that time has come and the server is next queried or written to; while it
        runs, the server's clock shows exactly that time.

        Args:
            when: Seconds or a timedelta from now, or the time itself, aware.
            action: What to do; usually a call of one of the server's methods.

        Example:
            >>> from rxflow.testing import FakePrefect3, VirtualTime
            >>> time = VirtualTime()
            >>> server = FakePrefect3(clock=time)
            >>> run_id = server.add_run()
            >>> server.at(5, lambda: server.set_state(run_id, "CRASHED"))
            >>> time.wait(60)
            >>> server.catch_up()
            >>> str(server.runs[run_id]["end_time"])
            '2026-01-01 00:00:05+00:00'
        """
        check_callable("action", action, "a function without arguments")
        with self._lock:
            if isinstance(when, datetime):
                time = utc_time("when", when)
            else:
                time = self.now() + timedelta(seconds=seconds_of("when", when))
            self._schedule.at(time, action)

    def catch_up(self) -> None:
        """Run every action that is due by now; call it before you read a table directly."""
        with self._lock:
            self._schedule.catch_up()

    def _write_time(self) -> datetime:
        """Return the time of a write: later than the last, since each is its own transaction."""
        self.catch_up()
        now = self.now()
        if self._last_write is not None and now <= self._last_write:
            now = self._last_write + _MICROSECOND
        self._last_write = now
        return now
