"""A watch without its I/O: which query comes next, and which events to emit.

The engine takes a command from `Session.next_command`, carries it out, and passes the reply to
`Session.receive`; each method returns at once. Here is decided what all watches have in common:
one query is in flight at a time, a failure drops the poll under way and delays the next query, and
a limit or an error ends the watch. Which poll comes next, and what its result means, is decided in
`run_session` for a watch of one run, in `runs_session` for one of many, and in `run_tree_session`
for one of a run and its subflows. A clock, a thread or a socket does not belong here.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable
from datetime import datetime
from random import Random
from typing import Any

import msgspec

from rxflow._models.entities import Server
from rxflow._models.times import Now
from rxflow._protocol.failures import Failure, FailureKind, Reply
from rxflow._protocol.pages import Poll
from rxflow._protocol.push import AnnouncedChange, Announcement, PushSubscription, PushTopic
from rxflow._protocol.queries import Query
from rxflow._protocol.request_rate import RequestRate
from rxflow._protocol.retry import Outage
from rxflow._watching.event_order import EventPages
from rxflow._watching.outage_tracker import OutageTracker
from rxflow._watching.push_plan import PushPlan
from rxflow._watching.watch_spec import WatchSpec
from rxflow.errors import RxflowError, WatchTimedOut

_INSTANT = 1e-6  # the finest step of a clock that counts in datetimes: a shorter wait may be none
_FIRST_REPLY_GRACE = 1.0  # seconds for a first look, however short the limit: 0 is one look
_LONGEST_WAIT = 3600.0  # seconds, where nothing is to be polled yet
_ADAPTED_REPLIES = {FailureKind.PAGE_LIMIT, FailureKind.REJECTED}
_LAST_LOOK = 1.0  # seconds before the limit at which a poll is sent in any case


class Fetch(msgspec.Struct, frozen=True):
    """Send a query, then call `Session.receive` with the reply.

    Attributes:
        query: The query.
        resumes: Whether a query that is broken off goes on, and is replied to when it is sent
            again, so that it may be broken off at any time and for any number of times.
    """

    query: Query
    resumes: bool = False


class Wait(msgspec.Struct, frozen=True):
    """Do nothing for some seconds."""

    seconds: float


class Done(msgspec.Struct, frozen=True):
    """The watch is over, normally or with an error."""

    error: RxflowError | None = None


Command = Fetch | Wait | Done


class Session(ABC):
    """One watch."""

    def __init__(self, spec: WatchSpec, random: Random) -> None:
        """Make a watch that has sent no query yet.

        Args:
            spec: What to watch, and for how long.
            random: The source of jitter.
        """
        self._spec = spec
        self._push = PushPlan(spec)
        self._rate = RequestRate(spec.requests_per_minute)
        self._outages = OutageTracker(random)
        self._server_time: datetime | None = None
        # The poll under way and its query; a failure drops both.
        self._poll: Poll[Any] | None = None
        self._query: Query | None = None
        self._query_sent = 0.0
        self._in_flight = False
        self._poll_began = -math.inf
        self._retry_at = -math.inf
        self._started: float | None = None
        self._deadline = math.inf
        self._done: Done | None = None

    # -- called by the engine -------------------------------------------------------------------

    def next_command(self, now: Now) -> Command:
        """Return what to do next: while a query is in flight, to send the same query again."""
        if self._started is None:
            self._started = now.mono
            if self._spec.max_duration is not None:
                self._deadline = now.mono + self._spec.max_duration
        self._check_limit(now)
        if self._done is not None:
            return self._done
        if self._query is None:
            pause = max(self._poll_due() - now.mono, self._rate.delay(now))
            if pause > _INSTANT:
                return self._wait(pause, now)
            self._poll_began = now.mono
            self._poll = self._start_poll(now)
            self._query = next(self._poll)
        if not self._in_flight:
            pause = self._rate.delay(now)
            if pause > _INSTANT:
                return self._wait(pause, now)
            self._in_flight = True
            self._rate.record_sent(now)
            self._outages.record_sent(now)
            self._query_sent = now.mono
        return Fetch(self._query)

    def _wait(self, seconds: float, now: Now) -> Wait:
        due = self.due_in(now)
        return Wait(min(seconds, _LONGEST_WAIT, math.inf if due is None else due))

    def receive(self, reply: Reply, now: Now) -> EventPages:
        """Receive the reply to the query sent last, and return the events to emit."""
        self._in_flight = False
        is_limited = self._rate.record_reply(reply)
        if isinstance(reply, Failure):
            notices = self._report_rate_limit(reply, now) if is_limited else ()
            return (*notices, *self._receive_failure(reply, now))
        self._outages.record_page()
        self._server_time = reply.server_time or self._server_time
        if self._poll is None or self._query is None:  # no poll waits for this reply any more
            return ()
        self._record_duration(self._query, now.mono - self._query_sent)
        try:
            self._query = self._poll.send(reply)
        except StopIteration as end:
            self._poll = self._query = None
            ended = self._end_outage(now)
            pages = (*ended, *self._receive_result(end.value, now), *self._report_push(now))
            self._check_limit(now)
            return pages
        except RxflowError as error:
            self._done = Done(error)
        return ()

    def due_in(self, now: Now) -> float | None:
        """Return the seconds until `wake` has something to do if no reply comes; None for never."""
        due = (self._outages.degraded_in(now), self._limit_in(now))
        return min((seconds for seconds in due if seconds is not None), default=None)

    def wake(self, now: Now) -> EventPages:
        """Return the events that are due because time has passed, and end a watch at its limit."""
        pages: EventPages = ()
        if self._outages.degraded_in(now) == 0:
            self._outages.mark_degraded()
            pages = self._report_degraded(self._outages.last_failure, now)
        self._check_limit(now)
        return pages

    @property
    def done(self) -> Done | None:
        """How the watch ended; None while it goes on. A query in flight is then of no use."""
        return self._done

    # -- announcements of the server ------------------------------------------------------------

    def push_subscriptions(self, now: Now) -> tuple[PushSubscription, ...]:
        """Return what the server is to announce from now on."""
        return self._push.subscriptions(self._runs_at_work, self._known_server, now)

    def receive_announcements(self, announcements: Iterable[Announcement], now: Now) -> None:
        """Make the polls due whose runs have changed; those of other runs are dropped."""
        for announcement in announcements:
            if self.has_run(announcement.flow_run_id):
                self._push.receive_announced(announcement.change)
                if announcement.change is not AnnouncedChange.HEARTBEAT:
                    self._wake_run(announcement.flow_run_id, announcement.change, now)

    def receive_push_failure(
        self, topic: PushTopic, failure: Failure, now: Now, *, opened: bool
    ) -> None:
        """Receive that a connection for announcements ended, or could not be opened.

        Args:
            topic: What it was for.
            failure: Why.
            now: The time.
            opened: Whether it had been opened.
        """
        self._push.receive_failure(topic, failure, opened=opened)
        self._shorten_pauses(now)

    @abstractmethod
    def has_run(self, flow_run_id: str) -> bool:
        """Whether a run is watched, and not over. Callable from any thread."""

    # -- decided by the kind of watch -----------------------------------------------------------

    @property
    @abstractmethod
    def _runs_at_work(self) -> Collection[str]:
        """The runs that are not over, once one of them was read; none before that."""

    @property
    @abstractmethod
    def _known_server(self) -> Server | None:
        """The server's kind and version, once it is known."""

    @abstractmethod
    def _wake_run(self, flow_run_id: str, change: AnnouncedChange, now: Now) -> None:
        """Make the next poll of a run due."""

    @abstractmethod
    def _shorten_pauses(self, now: Now) -> None:
        """Poll after the usual pauses at the latest, since changes are not announced any more."""

    @abstractmethod
    def _report_push_failure(self, failure: Failure, now: Now) -> EventPages:
        """Return the notice that changes are not announced."""

    @abstractmethod
    def _next_poll(self) -> float:
        """Return when the next poll is due, in monotonic seconds, if no failure delays it."""

    @abstractmethod
    def _start_poll(self, now: Now) -> Poll[Any]:
        """Return the poll that is due."""

    @abstractmethod
    def _receive_result(self, result: Any, now: Now) -> EventPages:
        """Receive the result of the poll under way, and return the events to emit."""

    @abstractmethod
    def _adapt_to(self, query: Query | None, failure: Failure, now: Now) -> EventPages | None:
        """Receive a failure; return None if it is to be retried as one of the connection."""

    @abstractmethod
    def _record_duration(self, query: Query, seconds: float) -> None:
        """Receive how long a reply took."""

    @abstractmethod
    def _report_degraded(self, failure: Failure | None, now: Now) -> EventPages:
        """Return the notice that there has been no good reply for some time."""

    @abstractmethod
    def _report_rate_limit(self, failure: Failure, now: Now) -> EventPages:
        """Return the notice that queries are further apart, since the server limits their rate."""

    @abstractmethod
    def _report_success(
        self, degraded: float | None, outage: Outage | None, now: Now
    ) -> EventPages:
        """Receive that a poll succeeded; return the notice of that if the watch was degraded.

        Args:
            degraded: The seconds since the last good reply if the watch was degraded.
            outage: The outage that this ends, if there was one.
            now: The time.
        """

    @property
    @abstractmethod
    def _is_first_look(self) -> bool:
        """Whether what is watched is still being read for the first time, without a failure."""

    @property
    @abstractmethod
    def _is_terminal(self) -> bool:
        """Whether all that is watched is over, so that only its end is still to be read."""

    @property
    @abstractmethod
    def _unfinished(self) -> tuple[str, ...]:
        """The runs that were not read in a terminal state, for the error at the limit."""

    @abstractmethod
    def _limit_text(self, failure: Failure | None, unanswered: float | None) -> str:
        """Return the text of the error at the limit.

        Args:
            failure: The last failure, unless a poll has succeeded since.
            unanswered: Seconds since the query in flight was sent; None if there is none.
        """

    # -- polls ----------------------------------------------------------------------------------

    def _poll_due(self) -> float:
        """Return when the next poll is to be sent, in monotonic seconds."""
        due = max(self._next_poll(), self._retry_at)
        last_look = self._deadline - _LAST_LOOK
        if due == math.inf or self._is_terminal or self._poll_began >= last_look:
            return due
        return min(due, last_look)

    # -- the limit ------------------------------------------------------------------------------

    def _limit_in(self, now: Now) -> float | None:
        """Return the seconds until the limit ends the watch if no reply comes; None for never.

        What is over is watched to its end, as long as the server replies.
        """
        if self._done is not None or self._started is None or self._deadline == math.inf:
            return None
        end = self._deadline
        if self._is_terminal:
            if not self._in_flight:
                return None
            end = max(end, self._query_sent + self._spec.end_grace)
        elif end < (one_look := self._started + _FIRST_REPLY_GRACE) and self._is_first_look:
            end = one_look
        return max(0.0, end - now.mono)

    def _check_limit(self, now: Now) -> None:
        if self._limit_in(now) == 0:
            self._done = self._timed_out(now)

    def _timed_out(self, now: Now) -> Done:
        failure = self._outages.last_failure
        unanswered = now.mono - self._query_sent if self._in_flight and failure is None else None
        text = self._limit_text(failure, unanswered)
        return Done(WatchTimedOut(text, flow_run_ids=self._unfinished))

    # -- failures -------------------------------------------------------------------------------

    def _report_push(self, now: Now) -> EventPages:
        """Report after a poll that succeeded why changes are not announced, once.

        Where polls fail as well, the server is down, which is reported as such.
        """
        failure = self._push.take_failure()
        if failure is None:
            return ()
        self._push.mark_reported()
        return self._report_push_failure(failure, now)

    def _end_outage(self, now: Now) -> EventPages:
        """Record that a poll succeeded, and report the end of an outage that was reported."""
        degraded = self._outages.degraded_for(now)
        outage = self._outages.record_success(now)
        return self._report_success(degraded, outage, now)

    def _receive_failure(self, failure: Failure, now: Now) -> EventPages:
        query, self._poll, self._query = self._query, None, None
        self._outages.last_failure = failure
        self._push.take_failure()
        self._retry_at = now.mono
        pages = self._adapt_to(query, failure, now)
        if pages is not None:
            if failure.kind in _ADAPTED_REPLIES:
                # The server is up, even if the budget delays the next query for long.
                self._outages.record_page()
            return pages
        delay = self._outages.record_failure(failure, now)
        if isinstance(delay, RxflowError):
            self._done = Done(delay)
            return ()
        self._retry_at = now.mono + delay
        if self._is_terminal and now.mono >= self._deadline:
            self._done = self._timed_out(now)
        return self.wake(now)
