"""When a group of runs is polled: its ticks, more seldom the more runs it has and the less is new.

What a tick reads and means is decided in `run_group`, and what a failure means in `runs_session`.
"""

from collections.abc import Set as AbstractSet
from datetime import datetime
from random import Random

from rxflow._models.times import Now
from rxflow._protocol.intervals import LONGEST_INTERVAL, PollInterval
from rxflow._protocol.pages import Poll
from rxflow._protocol.push import AnnouncedChange
from rxflow._protocol.queries import Query
from rxflow._watching.poll_wakes import PollWakes
from rxflow._watching.run_group import MAX_RUNS, GroupTick, RunGroup
from rxflow._watching.run_polling import HTTP_DATE_STEP

_LONGEST_PAUSE = 10.0  # seconds between two ticks of a full group without news
_SHARE = 4  # times the duration of its last tick that a group pauses at least


class GroupPolling:
    """The ticks of one group.

    A tick of many runs costs the server more than one of a few: 0.1 s for 200 runs. So the more
    runs there are, the longer a group without news pauses, and at most a fifth of the time is spent
    on its ticks.

    Attributes:
        group: The group.
        due: When the next tick is due, in monotonic seconds.
        wakes: The announcements that make it due.
        announced: The runs that were said to have entered a state before the tick that began last;
            also those of the tick before, since a second look follows.
    """

    def __init__(self, group: RunGroup, random: Random, due: float) -> None:
        """Begin with a tick.

        Args:
            group: The group.
            random: The source of jitter.
            due: When the first tick is due, in monotonic seconds.
        """
        self.group = group
        self.due = due
        self.wakes = PollWakes()
        self.announced: AbstractSet[str] = frozenset()
        self._newly_announced: set[str] = set()
        self._announced_before: set[str] = set()
        self._interval = PollInterval(random)
        self._duration = 0.0

    def start(self, now: Now, server_time: datetime | None) -> Poll[GroupTick]:
        """Return the tick that is due."""
        self._duration = 0.0
        self.wakes.begin_poll(now)
        new, before = self._newly_announced, self._announced_before
        self.announced, self._announced_before, self._newly_announced = new | before, new, set()
        return self.group.tick(now, server_time, new)

    def record_duration(self, query: Query, seconds: float) -> None:
        """Record how long a reply took."""
        self._duration += seconds
        self.group.record_duration(query, seconds)

    def wake(self, flow_run_id: str, change: AnnouncedChange, now: Now) -> None:
        """Make the next tick due, since a change of a run was announced."""
        if change is AnnouncedChange.STATE:
            self._newly_announced.add(flow_run_id)
        self.wakes.wake(change)
        self.due = self.wakes.next_due(self.due, now)

    def shorten_pause(self, now: Now) -> None:
        """Poll after the usual pause at the latest."""
        self.due = min(self.due, now.mono + self._longest_pause)

    @property
    def _longest_pause(self) -> float:
        """Seconds of the usual longest pause, by the number of runs."""
        share = len(self.group.runs) / MAX_RUNS
        return LONGEST_INTERVAL + share * (_LONGEST_PAUSE - LONGEST_INTERVAL)

    def schedule(
        self,
        drained_in: float | None,
        now: Now,
        longest_pause: float | None,
        *,
        active: bool,
        again: bool,
    ) -> None:
        """Decide when the next tick is due.

        Args:
            drained_in: The seconds until the first of its runs has drained; None if none drains.
            now: The time.
            longest_pause: The longest pause while all runs are at work; None for the usual one.
            active: Whether the last tick showed that a run is at work.
            again: Whether the last tick left something to be read at once.
        """
        is_rare = longest_pause is not None and all(run.is_at_work for run in self.group.runs)
        pause = self._interval.next_delay(
            active=active or bool(self.wakes.announced),
            longest=longest_pause if is_rare else self._longest_pause,
        )
        pause = max(pause, _SHARE * self._duration)
        if drained_in is not None:
            pause = min(pause, max(drained_in, HTTP_DATE_STEP / 4))
        self.due = now.mono if again else self.wakes.next_due(now.mono + pause, now)
