"""When one run is polled by itself: ticks while it goes on, a close check once it has drained.

What a poll means for the run is decided in `run_watch`, and what a failure means for the watch in
`session`.
"""

import math
from datetime import datetime
from random import Random

from rxflow._models.times import Now
from rxflow._protocol.intervals import PollInterval
from rxflow._protocol.pages import Poll
from rxflow._watching.event_order import EventPages
from rxflow._watching.run_reader import CloseCheck, Tick
from rxflow._watching.run_watch import RunWatch

HTTP_DATE_STEP = 1.0
"""Seconds: a Date header counts whole ones."""


class RunPolling:
    """The polls of one run.

    Attributes:
        run: The run.
        due: When the next poll is due, in monotonic seconds.
        failed_at: When a reply about this run was missing or could not be read; None if the last
            one could.
    """

    def __init__(self, run: RunWatch, random: Random, *, due: float = -math.inf) -> None:
        """Begin with a tick.

        Args:
            run: The run.
            random: The source of jitter.
            due: When the first poll is due, in monotonic seconds.
        """
        self.run = run
        self.due = due
        self.failed_at: float | None = None
        self._interval = PollInterval(random)
        self._close_check_due = False

    def start(self, server_time: datetime | None, now: Now) -> Poll[Tick] | Poll[CloseCheck]:
        """Return the poll that is due."""
        if self._close_check_due and not self.run.is_held:
            return self.run.reader.close_check()
        return self.run.reader.tick(now, server_time)

    def receive(
        self, result: Tick | CloseCheck, server_time: datetime | None, now: Now
    ) -> EventPages:
        """Receive the result of a poll, and return its events.

        Args:
            result: What the poll found.
            server_time: The server's time, as far as it is known.
            now: The time.
        """
        self.failed_at = None
        if isinstance(result, CloseCheck):
            return self._receive_close_check(result, server_time, now)
        pages, active = self.run.receive_tick(result, now)
        self._schedule_poll(server_time, now, active=active)
        return pages

    def postpone(self, now: Now) -> None:
        """Let other polls go first."""
        self.failed_at = now.mono
        self.due = now.mono + self._interval.next_delay(active=False)

    def schedule_close_check(self, now: Now) -> None:
        """Check at once whether the run can be closed."""
        self.due, self._close_check_due = now.mono, True

    def _schedule_poll(self, server_time: datetime | None, now: Now, *, active: bool) -> None:
        pause = self._interval.next_delay(active=active)
        drained_in = self.run.drained_in(server_time, now)
        self._close_check_due = self.run.reader.position is None and drained_in == 0
        if self.run.reader.position is not None:
            pause = 0.0
        elif drained_in is not None:
            # The server's time is in whole seconds, so an earlier poll could not see the end.
            pause = (
                0.0 if self._close_check_due else min(pause, max(drained_in, HTTP_DATE_STEP / 4))
            )
        self.due = now.mono + pause

    def _receive_close_check(
        self, check: CloseCheck, server_time: datetime | None, now: Now
    ) -> EventPages:
        self._close_check_due = False
        self.due = now.mono
        pages, unproven = self.run.receive_close_check(check, server_time, now)
        if unproven:
            self.due += self._interval.next_delay(active=False)
        return pages
