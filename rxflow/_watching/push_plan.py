"""What a watch wants announced, how far it relies on that, and when a failure is worth a notice.

A server that announces nothing looks like one where nothing happens: announcements may be switched
off, or made by another of several processes. So a watch polls less often only while what it found
last had been announced. When a poll is due is decided in `run_polling` and the sessions.
"""

import math
from collections.abc import Collection

from rxflow._models.entities import BackendName, Server
from rxflow._models.times import Now
from rxflow._protocol.failures import Failure
from rxflow._protocol.push import AnnouncedChange, PushSubscription, PushTopic
from rxflow._watching.watch_spec import EventSource, WatchSpec

MOST_IDS = 200
"""The most runs whose ids are sent to the server, which compares each event with each of them. Of
more runs all events of the server are read here, and no log lines."""

LONGEST_PAUSE = 30.0
"""Seconds between two polls of runs that are at work, while their changes are announced."""

_RENEWAL_PAUSE = 5.0  # seconds between two subscriptions: more runs may be added one by one


class PushPlan:
    """The announcements that one watch wants and gets."""

    def __init__(self, spec: WatchSpec) -> None:
        """Start without a subscription.

        Args:
            spec: What is watched.
        """
        self._spec = spec
        self._topics = {PushTopic.EVENTS}
        if EventSource.LOGS in spec.sources:
            self._topics.add(PushTopic.LOGS)
        self._ids: frozenset[str] | None = frozenset()  # None for all runs
        self._subscriptions: tuple[PushSubscription, ...] = ()
        self._renewed = -math.inf
        self._reliable: set[PushTopic] = set()
        self._failure: Failure | None = None
        self._reported = False

    # -- what to subscribe to -------------------------------------------------------------------

    def subscriptions(
        self, flow_run_ids: Collection[str], server: Server | None, now: Now
    ) -> tuple[PushSubscription, ...]:
        """Return what to subscribe to, from now on.

        Args:
            flow_run_ids: The runs that are watched and not over.
            server: The server's kind and version, once it is known.
            now: The time.
        """
        if not self._spec.push or server is None or server.backend is not BackendName.PREFECT_3:
            return ()
        covered = self._ids is None or self._ids.issuperset(flow_run_ids)
        if not covered and now.mono >= self._renewed + _RENEWAL_PAUSE:
            self._renewed = now.mono
            self._ids = frozenset(flow_run_ids) if len(flow_run_ids) <= MOST_IDS else None
            self._subscriptions = self._subscriptions_to(self._ids)
        return self._subscriptions

    def _subscriptions_to(self, ids: frozenset[str] | None) -> tuple[PushSubscription, ...]:
        events = PushSubscription(
            topic=PushTopic.EVENTS,
            flow_run_ids=tuple(sorted(ids or ())),
            task_runs=EventSource.TASKS in self._spec.sources,
        )
        if ids is None or PushTopic.LOGS not in self._topics:
            return (events,)
        logs = PushSubscription(
            topic=PushTopic.LOGS, flow_run_ids=events.flow_run_ids, level=self._spec.level
        )
        return (events, logs)

    # -- how far to rely on it ------------------------------------------------------------------

    @property
    def longest_pause(self) -> float | None:
        """The longest pause between two polls of runs at work; None for the usual one."""
        return LONGEST_PAUSE if self._reliable >= self._topics else None

    @property
    def announces_lines(self) -> bool:
        """Whether there are no new log lines of a run if none were announced."""
        return PushTopic.LOGS in self._reliable

    def receive_announced(self, change: AnnouncedChange) -> None:
        """Receive that a change was announced."""
        self._reliable.add(change.topic)

    def receive_unannounced(self, *, states: bool, logs: bool) -> None:
        """Receive what a poll found that had not been announced.

        Args:
            states: Whether there were states of flow runs.
            logs: Whether there were log lines.
        """
        if states:
            self._reliable.discard(PushTopic.EVENTS)
        if logs:
            self._reliable.discard(PushTopic.LOGS)

    # -- failures -------------------------------------------------------------------------------

    def receive_failure(self, topic: PushTopic, failure: Failure, *, opened: bool) -> None:
        """Receive that a connection ended, or could not be opened.

        Args:
            topic: What it was for.
            failure: Why.
            opened: Whether it had been opened. The loss of one is no news: it is opened again.
        """
        self._reliable.discard(topic)
        # Most servers announce no log lines, and those before version 3.4 cannot.
        if topic is PushTopic.EVENTS and not opened:
            self._failure = failure

    def take_failure(self) -> Failure | None:
        """Return the last failure if it was not reported; None for none, and after the first."""
        failure, self._failure = self._failure, None
        return None if self._reported else failure

    def mark_reported(self) -> None:
        """Record that a failure was reported: once in a watch is enough."""
        self._reported = True
