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
from rxflow._protocol.push import AnnouncedChange
from rxflow._watching.event_order import EventPages
from rxflow._watching.poll_wakes import PollWakes
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
        wakes: The announcements that make it due.
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
        self._failing_since: float | None = None
        self.wakes = PollWakes()
        self._interval = PollInterval(random)
        self._close_check_due = False

    def wake(self, change: AnnouncedChange, now: Now) -> None:
        """Make the next poll due, since a change was announced."""
        self.wakes.wake(change)
        self.due = self.wakes.next_due(self.due, now)

    def shorten_pause(self, now: Now) -> None:
        """Poll after the usual pause at the latest."""
        self.due = min(self.due, now.mono + self._interval.longest)

    def start(
        self, server_time: datetime | None, now: Now, *, announces_lines: bool = False
    ) -> Poll[Tick] | Poll[CloseCheck]:
        """Return the poll that is due.

        Args:
            server_time: The server's time, as far as it is known.
            now: The time.
            announces_lines: Whether there are no new log lines if none were announced.
        """
        self.wakes.begin_poll(now)
        reader = self.run.reader
        if self._close_check_due and not self.run.is_held:
            return reader.close_check()
        if self.wakes.new - {AnnouncedChange.LOG_LINE} != {AnnouncedChange.STATE}:
            return reader.tick(now, server_time)
        has_lines = not announces_lines or AnnouncedChange.LOG_LINE in self.wakes.announced
        return reader.tick_of_state(now, server_time, has_lines=has_lines)

    def receive(
        self,
        result: Tick | CloseCheck,
        server_time: datetime | None,
        now: Now,
        longest_pause: float | None = None,
    ) -> EventPages:
        """Receive the result of a poll, and return its events.

        Args:
            result: What the poll found.
            server_time: The server's time, as far as it is known.
            now: The time.
            longest_pause: The longest pause while the run is at work; None for the usual one.
        """
        self.failed_at = self._failing_since = None
        self.wakes.end_poll(now)
        if isinstance(result, CloseCheck):
            return self._receive_close_check(result, server_time, now)
        pages, active = self.run.receive_tick(result, now)
        drained_in = None if result.awaits_row else self.run.drained_in(server_time, now)
        self._schedule_poll(drained_in, now, longest_pause, active=active)
        return pages

    def postpone(self, now: Now) -> None:
        """Let other polls go first."""
        self.failed_at = now.mono
        if self._failing_since is None:
            self._failing_since = now.mono
        self.due = now.mono + self._interval.next_delay(active=False)

    def failing_for(self, now: Now) -> float:
        """Return the seconds since the first failure for which the poll was postponed."""
        return 0.0 if self._failing_since is None else now.mono - self._failing_since

    def schedule_close_check(self, now: Now) -> None:
        """Check at once whether the run can be closed."""
        self.due, self._close_check_due = now.mono, True

    def _schedule_poll(
        self,
        drained_in: float | None,
        now: Now,
        longest_pause: float | None,
        *,
        active: bool,
    ) -> None:
        pause = self._interval.next_delay(
            active=active or bool(self.wakes.announced),
            longest=longest_pause if self.run.is_at_work else None,
        )
        self._close_check_due = self.run.reader.position is None and drained_in == 0
        if self.run.reader.position is not None:
            pause = 0.0
        elif drained_in is not None:
            # The server's time is in whole seconds, so an earlier poll could not see the end.
            pause = (
                0.0 if self._close_check_due else min(pause, max(drained_in, HTTP_DATE_STEP / 4))
            )
        self.due = self.wakes.next_due(now.mono + pause, now)

    def _receive_close_check(
        self, check: CloseCheck, server_time: datetime | None, now: Now
    ) -> EventPages:
        self._close_check_due = False
        self.due = now.mono
        pages, unproven = self.run.receive_close_check(check, server_time, now)
        if unproven:
            self.due += self._interval.next_delay(active=False)
        return pages
