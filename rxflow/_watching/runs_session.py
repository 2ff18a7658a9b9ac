"""A watch over many runs without its I/O: which of them is read next, alone or in a group.

A run is first read by itself, page by page if its history is long. Once it has caught up it joins a
group, which reads all its runs by the same two queries. It leaves the group to be closed, since a
run's proof is its own, and when a page lacks it. So that a long history does not delay the others'
news, groups, single runs and the looks for more runs take turns. Whether there are more runs is
found out in `run_finder`. What is common to all watches is in `session`. A clock, a thread or a
socket does not belong here.
"""

import math
from collections.abc import Collection, Iterable
from datetime import datetime
from enum import Enum, auto
from heapq import heappop, heappush
from itertools import count
from random import Random
from typing import Any

from msgspec.structs import replace

from rxflow._models.entities import BackendName, Server
from rxflow._models.times import Now, later
from rxflow._protocol.failures import Failure, FailureKind, Reply
from rxflow._protocol.intervals import LONGEST_INTERVAL, PollInterval
from rxflow._protocol.pages import MalformedRow, Poll
from rxflow._protocol.push import AnnouncedChange
from rxflow._protocol.queries import Query, StatesQuery
from rxflow._protocol.retry import Outage
from rxflow._watching.event_order import EventPages
from rxflow._watching.late_starts import REASON_QUERIES
from rxflow._watching.limit_text import runs_limit_text
from rxflow._watching.log_reader import RowLimit
from rxflow._watching.outage_tracker import DEGRADED_AFTER
from rxflow._watching.poll_wakes import PollWakes
from rxflow._watching.run_finder import PROMPT, Found, MatchFinder, RunFinder, SubflowFinder
from rxflow._watching.run_group import MAX_RUNS, GroupTick, RunGroup
from rxflow._watching.run_notices import RunNotices
from rxflow._watching.run_polling import HTTP_DATE_STEP, RunPolling
from rxflow._watching.run_roots import RunRoots
from rxflow._watching.run_watch import RunWatch
from rxflow._watching.session import Done, Session
from rxflow._watching.watch_spec import GIVEN_RUNS, EventSource, RunSelection, WatchSpec
from rxflow.events import AllClosed, Closed, Notice, RunOutcome

_LONGEST_PAUSE = 10.0  # seconds between two ticks of a full group without news
_SHARE = 4
"""Times the duration of its last tick that a group pauses at least; and times the duration of a
query about one run that got no reply, until that run is polled again."""


class _GroupPolling:
    """The ticks of one group.

    A tick of many runs costs the server more than one of a few: 0.1 s for 200 runs. So the more
    runs there are, the longer a group without news pauses, and at most a fifth of the time is spent
    on its ticks.
    """

    def __init__(self, group: RunGroup, random: Random, due: float) -> None:
        self.group = group
        self.due = due
        self.wakes = PollWakes()
        self._announced: set[str] = set()  # runs that are said to have entered a state
        self._interval = PollInterval(random)
        self._duration = 0.0

    def start(self, now: Now, server_time: datetime | None) -> Poll[GroupTick]:
        """Return the tick that is due."""
        self._duration = 0.0
        self.wakes.begin_poll(now)
        announced, self._announced = self._announced, set()
        return self.group.tick(now, server_time, announced)

    def record_duration(self, query: Query, seconds: float) -> None:
        """Record how long a reply took."""
        self._duration += seconds
        self.group.record_duration(query, seconds)

    def wake(self, flow_run_id: str, change: AnnouncedChange, now: Now) -> None:
        """Make the next tick due, since a change of a run was announced."""
        if change is AnnouncedChange.STATE:
            self._announced.add(flow_run_id)
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


_MAY_BE_OF_ONE_RUN = frozenset({FailureKind.UNREADABLE, FailureKind.NOT_AN_API, FailureKind.SERVER})
"""Failures that a row of one run may be the cause of."""

_RunsPolling = RunPolling | _GroupPolling
_Polling = _RunsPolling | RunFinder


class _Turn(Enum):
    """What takes turns where several polls are due."""

    GROUP = auto()
    RUN = auto()
    FINDER = auto()


class RunsSession(Session):
    """One watch over many runs."""

    def __init__(
        self, spec: WatchSpec, random: Random, selection: RunSelection = GIVEN_RUNS
    ) -> None:
        """Make a watch without runs.

        Args:
            spec: What to watch of each run; its run is not used.
            random: The source of jitter.
            selection: Which runs to look for.
        """
        super().__init__(spec, random)
        self._random = random
        self._limit = RowLimit()
        self._notices = RunNotices("")
        self._server: Server | None = None
        self._runs: dict[str, RunWatch] = {}  # those that are not closed
        self._unread: set[str] = set()  # those of them of which no row was read yet
        self._known: set[str] = set()  # those that are or were watched
        self._closed: list[RunOutcome] = []  # those that the last event names, if there will be one
        self._closed_count = 0
        self._last_closed: datetime | None = None
        self._groups: list[_GroupPolling] = []
        self._pollings: dict[str, _RunsPolling] = {}  # of each run, alone or with others
        # Heaps of when each run that is read alone, and each group, is due; the one of which a poll
        # is under way is in neither. A polling that was put in again leaves an entry of before.
        self._queues: dict[_Turn, list[Any]] = {_Turn.RUN: [], _Turn.GROUP: []}
        self._entries: dict[_RunsPolling, int] = {}  # the number of the entry that counts
        self._number = count()
        self._turns = [*_Turn]  # the next comes first
        self._current: _Polling | None = None
        self._forever = selection.forever
        self._roots = RunRoots()
        self._matches: MatchFinder | None = None
        self._subflows: SubflowFinder | None = None
        if selection.where is not None:
            self._matches = MatchFinder(
                selection.where,
                *(self._limit, random, self._runs, self._is_known),
                again=selection.discover,
                subflows=selection.subflows,
            )
        if selection.subflows:
            self._subflows = SubflowFinder(self._limit, random, self._runs, self._is_known)
        self._last_success = -math.inf
        self._all_given = False

    def wake(self, now: Now) -> EventPages:
        """Return the events that are due because time has passed, or runs are complete."""
        return (*super().wake(now), *self._end_if_all_closed(now))

    def receive(self, reply: Reply, now: Now) -> EventPages:
        """Receive the reply to the query sent last, and return the events to emit."""
        return self._roots.rooted(super().receive(reply, now))

    # -- runs -----------------------------------------------------------------------------------

    def add(self, flow_run_ids: Iterable[str]) -> None:
        """Watch more runs; those that are or were watched already are left as they are."""
        for run_id in flow_run_ids:
            if not self._is_known(run_id):
                spec = replace(self._spec, flow_run_id=run_id)
                run = RunWatch(spec, self._limit, self._must_hold)
                run.reader.server = self._server
                self._runs[run_id] = run
                self._known.add(run_id)
                self._unread.add(run_id)
                self._enqueue(RunPolling(run, self._random))

    def complete(self) -> None:
        """End the watch once all runs are closed, since no more will be added."""
        self._all_given = True

    def _is_known(self, flow_run_id: str) -> bool:
        return flow_run_id in self._known

    def _must_hold(self, run: RunWatch) -> bool:
        """Whether a run must not be closed, since not all its subflows may have been found."""
        return self._subflows is not None and self._subflows.awaits(run)

    def _poll_alone(self, run: RunWatch, now: Now, *, close_check: bool = False) -> None:
        polling = RunPolling(run, self._random, due=now.mono)
        if close_check:
            polling.schedule_close_check(now)
        self._enqueue(polling)

    def _enqueue(self, polling: _RunsPolling) -> None:
        if isinstance(polling, RunPolling):
            self._pollings[polling.run.spec.flow_run_id] = polling
        turn = _Turn.GROUP if isinstance(polling, _GroupPolling) else _Turn.RUN
        number = self._entries[polling] = next(self._number)
        heappush(self._queues[turn], (polling.due, number, polling))

    def _drop_old_entries(self) -> None:
        for queue in self._queues.values():
            while queue and self._entries.get(queue[0][2]) != queue[0][1]:
                heappop(queue)

    def _join_group(self, run: RunWatch, server: Server, now: Now) -> None:
        for polling in self._groups:
            if polling.group.has_room:
                self._pollings[run.spec.flow_run_id] = polling
                return polling.group.join(run)
        group = RunGroup(server, self._limit)
        group.join(run)
        polling = _GroupPolling(group, self._random, now.mono)
        polling.schedule(None, now, None, active=True, again=False)
        self._groups.append(polling)
        self._pollings[run.spec.flow_run_id] = polling
        return self._enqueue(polling)

    # -- polls ----------------------------------------------------------------------------------

    def _next_poll(self) -> float:
        self._drop_old_entries()
        return min(map(self._due, _Turn))

    def _start_poll(self, now: Now) -> Poll[Any]:
        polling = self._current = self._take_due(now)
        if isinstance(polling, _GroupPolling):
            return polling.start(now, self._server_time)
        if isinstance(polling, RunFinder):
            polling.server = self._server
            return polling.tick(now)
        polling.run.reader.server = self._server
        return polling.start(self._server_time, now)

    def _due(self, turn: "_Turn") -> float:
        """Return when the first poll of a kind is due."""
        if turn is _Turn.FINDER:
            return min((finder.due for finder in self._finders), default=math.inf)
        queue = self._queues[turn]
        due: float = queue[0][0] if queue else math.inf
        return due

    def _take_due(self, now: Now) -> _Polling:
        """Take groups, single runs and finders in turn where some are due, else the first due."""
        due = (turn for turn in self._turns if self._due(turn) <= now.mono)
        turn = next(due, None) or min(self._turns, key=self._due)
        self._turns.remove(turn)
        self._turns.append(turn)
        if turn is _Turn.FINDER:
            return min(self._finders, key=lambda finder: finder.due)
        polling: _RunsPolling = heappop(self._queues[turn])[2]
        del self._entries[polling]
        return polling

    @property
    def _finders(self) -> list[RunFinder]:
        return [finder for finder in (self._matches, self._subflows) if finder is not None]

    def _receive_result(self, result: Any, now: Now) -> EventPages:
        polling, self._current = self._current, None
        pages: EventPages = ()
        if isinstance(polling, _GroupPolling):
            pages = self._receive_group(polling, result, now)
        elif isinstance(polling, RunFinder):
            pages = self._receive_found(polling, result, now)
        elif polling is not None:  # pragma: no branch - a result is that of the poll under way
            pages = self._receive_run(polling, result, now)
        return (*pages, *self._end_if_all_closed(now))

    def _receive_found(self, finder: RunFinder, found: Found, now: Now) -> EventPages:
        """Watch the runs that a finder found; close those that had to wait for a look."""
        degraded = finder.outages.degraded_for(now)
        finder.receive(found, now)
        self._server = self._server or found.server
        ids = [row.id for row in found.rows]
        self._roots.add(found.parents, lambda run_id: run_id in ids or self._is_known(run_id))
        self.add(ids)
        self._close_drained(now)
        notices = self._notices.malformed(found.page.malformed, now)
        if degraded is not None:
            notices.append(self._notices.recovered(degraded, now))
        return self._page_of(*notices)

    def _receive_run(self, polling: RunPolling, result: Any, now: Now) -> EventPages:
        run = polling.run
        is_first = run.row is None
        pages = polling.receive(result, self._server_time, now, self._push.longest_pause)
        self._server = server = self._server or run.reader.server
        run.receive_found()
        self._unread.discard(run.spec.flow_run_id)
        pages = (*pages, *self._look_for_subflows([run], now, at_first=is_first))
        drains = run.drained_in(self._server_time, now) is not None
        if run.closed is not None:
            self._record_closed(run, run.closed)
        elif run.reader.has_caught_up and server is not None and not drains:
            self._join_group(run, server, now)
        else:
            self._enqueue(polling)
        return pages

    def _receive_group(self, polling: _GroupPolling, tick: GroupTick, now: Now) -> EventPages:
        group = polling.group
        polling.wakes.end_poll(now)
        if tick.rows is not None and tick.rows.missing:
            for run_id in tick.rows.missing:
                self._poll_alone(group.leave(run_id), now)
            self._reschedule(polling, now, active=False, again=True)
            return ()
        self._push.receive_found(
            polling.wakes.announced,
            states=any(found.states for found in tick.ticks.values()),
            logs=bool(tick.logs.rows),
        )
        pages, active = group.receive_tick(tick, now)
        self._look_for_subflows(group.runs, now)
        again = tick.logs.backfill_position is not None
        if not again:
            self._leave_drained(group, now)
        self._reschedule(polling, now, active=active, again=again)
        return pages

    def _look_for_subflows(
        self, runs: Iterable[RunWatch], now: Now, *, at_first: bool = False
    ) -> EventPages:
        """Look for subflows soon if some runs are new, or are over, so that no more can come.

        Returns:
            A notice if the server does not know which runs are subflows.
        """
        if self._subflows is None or self._server is None:
            return ()
        if self._server.backend is BackendName.PREFECT_1:
            self._subflows = None
            return self._page_of(self._notices.no_subflows(now))
        if at_first or any(map(self._subflows.awaits, runs)):
            self._subflows.hurry(now, PROMPT)
        return ()

    def _leave_drained(self, group: RunGroup, now: Now) -> None:
        for run in [*group.runs]:
            if run.drained_in(self._server_time, now) == 0:
                group.leave(run.spec.flow_run_id)
                self._poll_alone(run, now, close_check=True)

    def _close_drained(self, now: Now) -> None:
        """Close what has drained since its group was read, and was held until now."""
        for polling in self._groups:
            if polling.group.has_caught_up:
                self._leave_drained(polling.group, now)
        for polling in [polling for polling in self._groups if not polling.group.runs]:
            self._groups.remove(polling)
            del self._entries[polling]

    def _reschedule(self, polling: _GroupPolling, now: Now, *, active: bool, again: bool) -> None:
        if not polling.group.runs:
            return self._groups.remove(polling)
        drains = (run.drained_in(self._server_time, now) for run in polling.group.runs)
        first = min((seconds for seconds in drains if seconds is not None), default=None)
        polling.schedule(first, now, self._push.longest_pause, active=active, again=again)
        return self._enqueue(polling)

    def _record_duration(self, query: Query, seconds: float) -> None:
        if isinstance(self._current, _GroupPolling):
            self._current.record_duration(query, seconds)
        elif isinstance(self._current, RunPolling):
            self._current.run.reader.record_duration(query, seconds)

    # -- announcements of the server ------------------------------------------------------------

    def has_run(self, flow_run_id: str) -> bool:
        return flow_run_id in self._runs

    @property
    def _runs_at_work(self) -> Collection[str]:
        at_work = any(run.row is not None and not run.is_terminal for run in self._runs.values())
        return self._runs.keys() if at_work else ()

    @property
    def _known_server(self) -> Server | None:
        return self._server

    def _wake_run(self, flow_run_id: str, change: AnnouncedChange, now: Now) -> None:
        polling = self._pollings[flow_run_id]
        due = polling.due
        if isinstance(polling, _GroupPolling):
            polling.wake(flow_run_id, change, now)
        else:
            polling.wake(change, now)
        self._move(polling, due)

    def _shorten_pauses(self, now: Now) -> None:
        for polling in {*self._pollings.values()}:
            due = polling.due
            polling.shorten_pause(now)
            self._move(polling, due)

    def _move(self, polling: _RunsPolling, due: float) -> None:
        """Put a polling in anew if it was due at another time, unless its poll is under way."""
        if polling.due != due and polling is not self._current:
            self._enqueue(polling)

    # -- the end --------------------------------------------------------------------------------

    def _record_closed(self, run: RunWatch, closed: Closed) -> None:
        run_id = closed.flow_run_id
        del self._runs[run_id], self._pollings[run_id]
        self._unread.discard(run_id)
        if self._subflows is not None:
            self._subflows.forget(run_id)
        self._closed_count += 1
        self._last_closed = later(self._last_closed, closed.timestamp)
        if self._forever:
            return
        outcome = RunOutcome(
            flow_run_id=run_id,
            root_flow_run_id=self._roots.root_of(run_id),
            parent_flow_run_id=self._roots.parent_of(run_id),
            name=run.row.name if run.row is not None else None,
            state=closed.state,
            verified=closed.verified,
            log_count=closed.log_count,
            malformed=closed.malformed,
            unsettled=closed.unsettled,
            ended_by=run.ended_by,
        )
        self._closed.append(outcome)

    def _end_if_all_closed(self, now: Now) -> EventPages:
        if not self._all_given or self._runs or self._done is not None:
            return ()
        if self._forever:
            return ()
        if self._matches is not None and not self._matches.is_settled:
            self._matches.hurry(now)
            return ()
        self._done = Done()
        return self._end_pages(now)

    def _end_pages(self, now: Now, /) -> EventPages:
        """Return the last events of the watch."""
        event = AllClosed(
            flow_run_id="",
            timestamp=self._last_closed or now.utc,
            runs=tuple(self._closed),
        )
        return self._page_of(event)

    # -- the limit ------------------------------------------------------------------------------

    @property
    def _is_first_look(self) -> bool:
        has_failed = self._outages.last_failure is not None
        return not has_failed and bool(self._unread or not self._has_looked)

    @property
    def _is_terminal(self) -> bool:
        ends = self._all_given and not self._forever and self._has_looked
        return ends and all(run.is_terminal for run in self._runs.values())

    @property
    def _has_looked(self) -> bool:
        return self._matches is None or self._matches.has_looked

    @property
    def _unfinished(self) -> tuple[str, ...]:
        return tuple(run_id for run_id, run in self._runs.items() if not run.is_terminal)

    def _limit_text(self, failure: Failure | None, unanswered: float | None) -> str:
        rows = {run_id: run.row for run_id, run in self._runs.items()}
        text = runs_limit_text(
            self._spec,
            rows,
            failure,
            unanswered,
            has_looked=self._has_looked,
            closed_count=self._closed_count,
        )
        if self._forever:
            return (
                f"{text} (it looks for more runs until then; until='done' ends when all are over)"
            )
        return text if self._all_given else f"{text} (the observable of ids has not completed)"

    # -- failures -------------------------------------------------------------------------------

    def _adapt_to(self, query: Query | None, failure: Failure, now: Now) -> EventPages | None:
        polling, self._current = self._current, None
        if polling is None:
            return None
        if isinstance(polling, _GroupPolling):
            adapted = polling.group.adapt_to(query, failure, now)
            if isinstance(query, StatesQuery) and failure.kind in _MAY_BE_OF_ONE_RUN:
                self._poll_alone(polling.group.leave(query.flow_run_id), now)
            if polling.group.runs:
                self._enqueue(polling)
            else:
                self._groups.remove(polling)
            return self._go_on(failure, now) if adapted else None
        if isinstance(polling, RunFinder):
            if polling.adapt_to(query, failure):
                return self._go_on(failure, now)
            return self._receive_failed_look(polling, failure, now)
        run = polling.run
        if failure.kind is FailureKind.RUN_NOT_FOUND:
            return self._receive_not_found(polling, now)
        if failure.kind in _MAY_BE_OF_ONE_RUN and not isinstance(query, REASON_QUERIES):
            return self._receive_unreadable(polling, failure, now)
        if failure.kind is FailureKind.NETWORK:
            self._postpone_unanswered(polling, now)
        self._enqueue(polling)
        skipped = run.reader.skip_optional(query, failure, now)
        adapted = skipped or run.reader.adapt_to(query, failure)
        return self._go_on(failure, now) if adapted else None

    def _postpone_unanswered(self, polling: RunPolling, now: Now) -> None:
        """Let a run whose queries get no reply take a share of the time, while others' get one."""
        is_alone = self._is_alone(polling)
        polling.failed_at = now.mono
        if is_alone:
            polling.due = now.mono + _SHARE * (now.mono - self._query_sent)

    def _receive_failed_look(
        self, finder: RunFinder, failure: Failure, now: Now
    ) -> EventPages | None:
        """Look again later if only looks fail, so that they delay no other poll."""
        is_alone = self._is_alone(finder)
        finder.failed_at = now.mono
        if not is_alone:
            self._poll_next(now)
            return None
        error = finder.receive_failure(failure, now, least=_SHARE * (now.mono - self._query_sent))
        if error is not None:
            self._done = Done(error)
            return ()
        if finder.outages.degraded_in(now) != 0:
            return self._go_on(failure, now)
        finder.outages.mark_degraded()
        what = "No look for more runs has succeeded"
        notice = self._notices.degraded(DEGRADED_AFTER, failure, now, what=what)
        return (*self._go_on(failure, now), *self._page_of(notice))

    def _poll_next(self, now: Now) -> None:
        """Make the next poll of runs due now, which shows whether only looks fail."""
        self._drop_old_entries()
        heads: list[_RunsPolling] = [queue[0][2] for queue in self._queues.values() if queue]
        if heads:
            first = min(heads, key=lambda polling: polling.due)
            due, first.due = first.due, min(first.due, now.mono)
            self._move(first, due)

    def _is_alone(self, polling: RunPolling | RunFinder) -> bool:
        """Whether another poll succeeded since one of this run, or a look, failed."""
        return polling.failed_at is not None and self._last_success >= polling.failed_at

    def _receive_unreadable(
        self, polling: RunPolling, failure: Failure, now: Now
    ) -> EventPages | None:
        """Read the other runs meanwhile if only replies about one of them cannot be read.

        A server that fails may do so for any run now and then, which is no news for a while.
        """
        is_alone = self._is_alone(polling)
        polling.postpone(now)
        self._enqueue(polling)
        if not is_alone:
            return None
        if failure.kind is FailureKind.SERVER and polling.failing_for(now) < DEGRADED_AFTER:
            return ()
        run = polling.run
        row = MalformedRow(run.spec.flow_run_id, failure.text)
        if run.row is None:  # the first event of a run is its RunSeen
            return self._page_of(*self._notices.malformed([row], now))
        return run.notify(*run.notices.malformed([row], now))

    def _go_on(self, failure: Failure, now: Now) -> EventPages:
        """Send the next query as soon as the server takes one."""
        self._retry_at = now.mono + failure.retry_in(now)
        return ()

    def _receive_not_found(self, polling: RunPolling, now: Now) -> EventPages | None:
        recovered = self._end_outage(now)  # the server has replied well, about that run
        found = polling.run.receive_not_found(self._server_time, now)
        if isinstance(found, int | float):
            polling.due = now.mono + found
            self._enqueue(polling)
            return recovered
        if polling.run.closed is not None:  # pragma: no branch - its last events close it
            self._record_closed(polling.run, polling.run.closed)
        return (*recovered, *found, *self._end_if_all_closed(now))

    def _report_push_failure(self, failure: Failure, now: Now) -> EventPages:
        return self._page_of(self._notices.push_unavailable(failure, now))

    def _report_degraded(self, failure: Failure | None, now: Now) -> EventPages:
        return self._page_of(self._notices.degraded(DEGRADED_AFTER, failure, now))

    def _report_rate_limit(self, failure: Failure, now: Now) -> EventPages:
        return self._page_of(self._notices.rate_limited(failure, now))

    def _report_success(
        self, degraded: float | None, outage: Outage | None, now: Now
    ) -> EventPages:
        self._last_success = now.mono
        if outage is not None:
            for run in self._runs.values():
                run.apply_outage(outage)
        if degraded is None:
            return ()
        return self._page_of(self._notices.recovered(degraded, now))

    def _page_of(self, *events: Notice | AllClosed) -> EventPages:
        """Return events about the watch as a page, unless such events are not emitted."""
        if EventSource.NOTICES not in self._spec.sources or not events:
            return ()
        return ((EventSource.NOTICES, events),)
