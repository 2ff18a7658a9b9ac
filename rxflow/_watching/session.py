"""A watch over one run without its I/O: which query comes next, and which events to emit.

The engine takes a command from `Session.next_command`, carries it out, and passes the reply to
`Session.receive`; each method returns at once. The session connects the parts that decide one thing
each: `RunReader` what to read, `run_changes` and `RunNotices` which events to make, `EventOrder`
their order, `Lifecycle` when the run is over, `OutageTracker` when to retry. Here they are put
together: which of their results are emitted, and that a limit, an error, a deletion or the run's
close ends the watch. A clock, a thread or a socket does not belong here.
"""

import math
from datetime import datetime
from random import Random

import msgspec

from rxflow._logs.log_read import LogRead
from rxflow._models.times import Now, later
from rxflow._protocol.failures import Failure, FailureKind, Reply
from rxflow._protocol.intervals import PollInterval
from rxflow._protocol.pages import Poll
from rxflow._protocol.queries import Query
from rxflow._watching.event_order import DatedEvent, EventOrder, EventPages
from rxflow._watching.lifecycle import Lifecycle, Phase
from rxflow._watching.limit_text import limit_text
from rxflow._watching.outage_tracker import DEGRADED_AFTER, OutageTracker
from rxflow._watching.reopenings import ReopeningDetector
from rxflow._watching.run_changes import first_row, is_heartbeat, state_and_row_events
from rxflow._watching.run_notices import RunNotices
from rxflow._watching.run_reader import CloseCheck, RunReader, Tick
from rxflow._watching.watch_spec import WatchSpec
from rxflow.errors import RxflowError, WatchTimedOut
from rxflow.events import Closed, Notice, RunChanged, RunSeen, TaskRunStateChange

_INSTANT = 1e-6  # the finest step of a clock that counts in datetimes: a shorter wait may be none
_HTTP_DATE_STEP = 1.0  # a Date header counts whole seconds
_FIRST_REPLY_GRACE = 1.0  # seconds for the first poll, however short the limit: 0 is one look
_LAST_LOOK = 1.0  # seconds before the limit at which a poll is sent in any case


class Fetch(msgspec.Struct, frozen=True):
    """Send a query, then call `Session.receive` with the reply."""

    query: Query


class Wait(msgspec.Struct, frozen=True):
    """Do nothing for some seconds."""

    seconds: float


class Done(msgspec.Struct, frozen=True):
    """The watch is over, normally or with an error."""

    error: RxflowError | None = None


Command = Fetch | Wait | Done


class Session:
    """One watch over one run."""

    def __init__(self, spec: WatchSpec, random: Random) -> None:
        """Make a watch that has sent no query yet.

        Args:
            spec: What to watch.
            random: The source of jitter.
        """
        self._spec = spec
        self._interval = PollInterval(random)
        self._outages = OutageTracker(random)
        self._reader = RunReader(spec)
        self._lifecycle = Lifecycle(drain=spec.drain)
        self._notices = RunNotices(spec.flow_run_id)
        self._reopenings = ReopeningDetector()
        self._order = EventOrder(spec.sources)
        self._server_time: datetime | None = None
        # The poll under way and its query; a failure drops both.
        self._poll: Poll[Tick] | Poll[CloseCheck] | None = None
        self._query: Query | None = None
        self._query_sent = 0.0
        self._in_flight = False
        self._poll_began = -math.inf
        self._next_poll = -math.inf
        self._close_check_due = False
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
            pause = self._poll_due() - now.mono
            if pause > _INSTANT:
                due = self.due_in(now)
                return Wait(pause if due is None else min(pause, due))
            self._query = self._start_poll(now)
        if not self._in_flight:
            self._in_flight = True
            self._outages.record_sent(now)
            self._query_sent = now.mono
        return Fetch(self._query)

    def receive(self, reply: Reply, now: Now) -> EventPages:
        """Receive the reply to the query sent last, and return the events to emit."""
        self._in_flight = False
        if isinstance(reply, Failure):
            return self._receive_failure(reply, now)
        self._server_time = reply.server_time or self._server_time
        self._reader.record_duration(self._query, now.mono - self._query_sent)
        if self._poll is None:  # no poll waits for this reply any more
            return ()
        try:
            self._query = self._poll.send(reply)
        except StopIteration as end:
            self._poll = self._query = None
            return (*self._end_outage(now), *self._receive_result(end.value, now))
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
            failure = self._outages.last_failure
            pages = self._order.notify(self._notices.degraded(DEGRADED_AFTER, failure, now))
        self._check_limit(now)
        return pages

    @property
    def done(self) -> Done | None:
        """How the watch ended; None while it goes on. A query in flight is then of no use."""
        return self._done

    # -- polls ----------------------------------------------------------------------------------

    def _poll_due(self) -> float:
        """Return when the next poll is due, in monotonic seconds."""
        last_look = self._deadline - _LAST_LOOK
        if self._is_terminal() or self._poll_began >= last_look:
            return self._next_poll
        return min(self._next_poll, last_look)

    def _start_poll(self, now: Now) -> Query:
        self._poll_began = now.mono
        if self._close_check_due:
            self._poll = self._reader.close_check()
        else:
            self._poll = self._reader.tick(now, self._server_time)
        return next(self._poll)

    def _receive_result(self, result: Tick | CloseCheck, now: Now) -> EventPages:
        if isinstance(result, CloseCheck):
            return self._receive_close_check(result, now)
        return self._receive_tick(result, now)

    def _receive_tick(self, tick: Tick, now: Now) -> EventPages:
        first: list[RunSeen] = []
        dated: list[DatedEvent] = []
        last = [*self._log_notices(tick.logs, now), *self._notices.malformed(tick.malformed, now)]
        known, run = self._reader.row, tick.run
        if tick.server is not None:
            self._lifecycle.set_backend(tick.server.backend)
        if run is not None:
            start = first_row(run, self._spec.sources)
            if known is None:
                first.append(RunSeen(flow_run_id=run.id, run=start))
            dated += state_and_row_events(known or start, run, tick.states)
            last += self._notices.late_start(run, tick.late_reason, now)
            last += self._notices.reopened(self._reopenings.receive(tick.states, run.state), now)
            self._notices.receive_read(state.id for state in tick.states)
            self._notices.receive_read(row.id for row in tick.tasks.rows)
        dated += (
            TaskRunStateChange(
                flow_run_id=self._spec.flow_run_id, id=state.id, task_run=task_run, state=state
            )
            for task_run, state in tick.tasks.changed
        )
        self._reader.commit(tick, now)
        self._observe_run(now)
        pages = self._order.arrange(
            first=first,
            dated=dated,
            logs=tick.logs.rows,
            last=last,
            position=self._reader.position,
        )
        heartbeat = known is not None and run is not None and is_heartbeat(known, run)
        events = (event for _, page in pages for event in page)
        active = any(not (heartbeat and isinstance(event, RunChanged)) for event in events)
        self._schedule_poll(active=active, now=now)
        self._check_limit(now)
        return pages

    def _log_notices(self, read: LogRead, now: Now) -> list[Notice]:
        notices = self._notices.malformed(read.malformed, now)
        return [*notices, self._notices.rewound(now)] if read.rewound else notices

    def _observe_run(self, now: Now) -> None:
        """Pass what was read to the lifecycle."""
        row = self._reader.row
        if row is not None:  # pragma: no branch - a first tick reads the row before all else
            self._lifecycle.observe(
                row,
                self._reader.cursor.newest_created,
                caught_up=self._reader.position is None,
                now=now,
            )

    def _schedule_poll(self, *, active: bool, now: Now) -> None:
        pause = self._interval.next_delay(active=active)
        if self._reader.position is not None:
            pause = 0.0
        elif self._lifecycle.phase is Phase.DRAINING:
            left = max(
                self._lifecycle.drained_in(self._server_time, now),
                self._reader.task_runs.settled_in(self._server_time, now),
            )
            self._close_check_due = left == 0
            # The server's time is in whole seconds, so an earlier poll could not see the end.
            pause = 0.0 if self._close_check_due else min(pause, max(left, _HTTP_DATE_STEP / 4))
        self._next_poll = now.mono + pause

    # -- the end --------------------------------------------------------------------------------

    def _is_terminal(self) -> bool:
        row = self._reader.row
        return row is not None and row.is_terminal

    def _limit_in(self, now: Now) -> float | None:
        """Return the seconds until the limit ends the watch if no reply comes; None for never.

        A run that is over is watched to its end, as long as the server replies.
        """
        if self._done is not None or self._started is None or self._deadline == math.inf:
            return None
        end = self._deadline
        if self._is_terminal():
            if not self._in_flight:
                return None
            end = max(end, self._query_sent + self._spec.end_grace)
        elif self._reader.row is None and (self._poll is not None or self._poll_began == -math.inf):
            end = max(end, self._started + _FIRST_REPLY_GRACE)
        return max(0.0, end - now.mono)

    def _check_limit(self, now: Now) -> None:
        if self._limit_in(now) == 0:
            self._done = self._timed_out(now)

    def _timed_out(self, now: Now) -> Done:
        failure = self._outages.last_failure
        unanswered = now.mono - self._query_sent if self._in_flight and failure is None else None
        text = limit_text(self._spec, self._reader.row, failure, unanswered)
        return Done(WatchTimedOut(text))

    def _receive_close_check(self, check: CloseCheck, now: Now) -> EventPages:
        self._close_check_due = False
        self._next_poll = now.mono
        run, logs = check.run, check.logs
        if run != self._reader.row:
            return ()
        dated = state_and_row_events(run, run, check.states) if check.states else []
        self._reader.commit_close_check(check, now)
        pages = self._order.arrange(
            dated=dated,
            logs=logs.rows,
            last=[*self._log_notices(logs, now), *self._notices.malformed(check.malformed, now)],
            position=logs.backfill_position,
        )
        if pages or logs.backfill_position is not None:
            return pages
        if not self._lifecycle.receive_proof(proven=logs.proven, provable=logs.provable):
            self._next_poll += self._interval.next_delay(active=False)
            return ()
        return self._close(verified=logs.proven, now=now)

    def _close(self, *, verified: bool, now: Now) -> EventPages:
        self._done = Done()
        row, malformed = self._reader.row, self._notices.unread_count
        closed = Closed(
            flow_run_id=self._spec.flow_run_id,
            # The server's time is in whole seconds, and writers have clocks of their own.
            timestamp=later(self._server_time or now.utc, self._order.newest) or now.utc,
            state=row.state if row else None,
            verified=verified and not malformed,
            log_count=self._order.log_count,
            malformed=malformed,
            unsettled=self._reader.task_runs.unsettled,
            view=self._order.view,
        )
        return self._order.arrange(last=[closed])

    # -- failures -------------------------------------------------------------------------------

    def _end_outage(self, now: Now) -> EventPages:
        """Record that a poll succeeded, and report the end of an outage that was reported."""
        self._lifecycle.receive_found()
        degraded = self._outages.degraded_for(now)
        outage = self._outages.record_success(now)
        if outage is not None:
            self._lifecycle.apply_outage(outage)
        if degraded is None:
            return ()
        return self._order.notify(self._notices.recovered(degraded, now))

    def _receive_failure(self, failure: Failure, now: Now) -> EventPages:
        query, self._poll, self._query = self._query, None, None
        self._outages.last_failure = failure
        self._next_poll = now.mono
        if self._reader.skip_optional(query, failure, now):
            self._next_poll += failure.retry_in(now)
            return ()
        if self._reader.adapt_to(query, failure):
            return ()
        if failure.kind is FailureKind.RUN_NOT_FOUND and self._reader.row is not None:
            return self._receive_not_found(now)
        delay = self._outages.record_failure(failure, now)
        if isinstance(delay, RxflowError):
            self._done = Done(delay)
            return ()
        self._next_poll += delay
        if self._is_terminal() and now.mono >= self._deadline:
            self._done = self._timed_out(now)
        return self.wake(now)

    def _receive_not_found(self, now: Now) -> EventPages:
        delay = self._lifecycle.receive_not_found(now)
        if delay is not None:
            self._next_poll += delay
            return ()
        pages = self._order.arrange(last=[self._notices.deleted(now)])
        return (*pages, *self._close(verified=False, now=now))
