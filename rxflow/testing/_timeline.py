"""A server's time: what its clock says, what is to happen on it, and when it stores something.

What is to happen later is on the agenda; it is caught up with before each write and each answer.
"""

import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from random import Random

from rxflow.testing._schedule import Schedule

_MICROSECOND = timedelta(microseconds=1)


class Timeline:
    """What a server that holds rows needs of time and chance, whatever rows they are.

    Attributes:
        clock: The server's time.
    """

    def __init__(self, clock: Callable[[], datetime], random: Random | None) -> None:
        """Begin, with nothing to happen.

        Args:
            clock: The server's time, aware.
            random: Draws the ids; None: nobody knows which.
        """
        self.clock = clock
        self._lock = threading.RLock()
        self._ids = random or Random()  # noqa: S311 - ids, not secrets
        self._agenda = Schedule(clock)
        self._written: datetime | None = None

    def now(self) -> datetime:
        """The server's time; while a scheduled action happens, the time it was scheduled for."""
        return self._agenda.now()

    def at(self, when: float | datetime, action: Callable[[], object]) -> None:
        """Have something happen on the server at a time.

        It happens when that time has come and the server is next asked or written to, and finds
        the server's clock at that very time.

        Args:
            when: Seconds from now, or the time itself.
            action: What to do; most likely a call of one of these methods.

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
        with self._lock:
            if not isinstance(when, datetime):
                when = self.now() + timedelta(seconds=when)
            self._agenda.at(when, action)

    def catch_up(self) -> None:
        """Have everything happen that is due by now; needed before you look at a table yourself."""
        with self._lock:
            self._agenda.catch_up()

    def _write(self) -> datetime:
        """The time of a write: later than that of the one before, as in one transaction each."""
        self.catch_up()
        now = self.now()
        if self._written is not None and now <= self._written:
            now = self._written + _MICROSECOND
        self._written = now
        return now
