"""Push: what a server announces about changes, and when to connect to it again.

An announcement says that rows of a run have changed, and not how: rows are read by queries alone.
So one that is missing costs time and nothing else. Belongs here: what is subscribed to and
announced, in terms of no server. How a server is subscribed to is in its backend, and which poll an
announcement makes due in the sessions.
"""

from enum import StrEnum
from random import Random

import msgspec

from rxflow._protocol.failures import Failure


class PushTopic(StrEnum):
    """What announcements are about; each topic has a connection of its own."""

    EVENTS = "events"
    """States of flow runs, and of their task runs."""
    LOGS = "logs"
    """Log lines."""


class PushSubscription(msgspec.Struct, frozen=True, kw_only=True):
    """Which changes a server is to announce.

    Attributes:
        topic: What they are about.
        flow_run_ids: Of which runs; an empty tuple is all runs of the server.
        task_runs: Whether those of task runs are among them.
        level: The lowest level of log lines.
    """

    topic: PushTopic
    flow_run_ids: tuple[str, ...] = ()
    task_runs: bool = False
    level: int = 0


class AnnouncedChange(StrEnum):
    """What has changed."""

    STATE = "state"
    """The state of the flow run."""
    TASK_RUN = "task-run"
    """The state of one of its task runs."""
    LOG_LINE = "log-line"
    """There is a new log line."""
    HEARTBEAT = "heartbeat"
    """Nothing: the run is alive, and events of it are announced."""

    @property
    def topic(self) -> PushTopic:
        """What is subscribed to for it."""
        return PushTopic.LOGS if self is AnnouncedChange.LOG_LINE else PushTopic.EVENTS


class Announcement(msgspec.Struct, frozen=True, kw_only=True):
    """A change of one run.

    Attributes:
        flow_run_id: The run.
        change: What has changed.
    """

    flow_run_id: str
    change: AnnouncedChange


class PushEnd(msgspec.Struct, frozen=True, kw_only=True):
    """How a connection for announcements ended.

    Attributes:
        failure: Why it ended, or could not be opened.
        lived: Seconds for which it was open; 0 if it was not opened.
    """

    failure: Failure
    lived: float = 0.0


class PushRetry:
    """Decides how long to wait before a connection is opened again."""

    def __init__(
        self,
        random: Random,
        *,
        shortest: float = 1.0,
        longest: float = 300.0,
        lasting: float = 60.0,
    ) -> None:
        """Start before the first attempt.

        Args:
            random: The source of jitter: a delay is drawn between half its bound and the bound.
            shortest: Seconds of the first bound, which doubles with each attempt.
            longest: Seconds of the longest bound.
            lasting: Seconds after which a connection was a success; the first bound is next then.
        """
        self._random = random
        self._shortest, self._longest, self._lasting = shortest, longest, lasting
        self._bound = shortest

    def next_delay(self, lived: float) -> float:
        """Return the seconds to the next attempt.

        Args:
            lived: The seconds for which the connection was open; 0 if it was not opened.
        """
        bound = self._shortest if lived >= self._lasting else self._bound
        self._bound = min(self._longest, 2 * bound)
        return bound * self._random.uniform(0.5, 1.0)
