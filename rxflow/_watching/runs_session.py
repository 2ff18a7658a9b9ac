"""A watch over many runs without its I/O: which of them is read next, alone or in a group.

A run is first read by itself, page by page if its history is long. Once it has caught up it joins a
group, which reads all its runs by the same two queries. It leaves the group to be closed, since a
run's proof is its own, and when a page lacks it. So that a long history does not delay the others'
news, groups, single runs and the looks for more runs take turns (`poll_queue`). Whether there are
more runs is found out in `run_finder`. What is common to all watches is in `session`. A clock, a
thread or a socket does not belong here.
"""

import math
from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import datetime
from random import Random
from typing import Any

from msgspec.structs import replace

from rxflow._models.entities import BackendName, Server
from rxflow._models.times import Now, later
from rxflow._protocol.failures import Failure, FailureKind, Reply
from rxflow._protocol.pages import MalformedRow, Poll
from rxflow._protocol.push import AnnouncedChange
from rxflow._protocol.queries import Query, RunQuery, StatesQuery
from rxflow._protocol.retry import Outage
from rxflow._watching.emitted_state import EmittedState
from rxflow._watching.event_order import EventPages
from rxflow._watching.group_polling import GroupPolling
from rxflow._watching.limit_text import runs_limit_text
from rxflow._watching.log_reader import RowLimit
from rxflow._watching.outage_tracker import DEGRADED_AFTER
from rxflow._watching.poll_queue import Polling, PollQueue, RunsPolling
from rxflow._watching.run_finder import PROMPT, Found, MatchFinder, RunFinder, SubflowFinder
from rxflow._watching.run_group import GroupTick, RunGroup
from rxflow._watching.run_notices import RunNotices
from rxflow._watching.run_polling import RunPolling
from rxflow._watching.run_roots import RunRoots, root_of_events, without_roots
from rxflow._watching.run_watch import RunWatch
from rxflow._watching.session import Command, Done, Session
from rxflow._watching.watch_spec import GIVEN_RUNS, EventSource, RunSelection, WatchSpec
from rxflow.events import AllClosed, Closed, FlowRunEvent, Notice, RunOutcome

_SHARE = 4  # times the duration of a query without a reply until that run is polled again

_OF_ONE_RUN = {FailureKind.UNREADABLE, FailureKind.NOT_AN_API, FailureKind.SERVER}


def _may_be_of_one_run(query: Query | None, failure: Failure) -> bool:
    """Whether a row of one run may be the cause of a failure; of offsets a server refuses all."""
    is_rejected = failure.kind is FailureKind.REJECTED and isinstance(query, RunQuery | StatesQuery)
    return is_rejected or failure.kind in _OF_ONE_RUN


class RunsSession(Session):
    """One watch over many runs."""

    def __init__(
        self,
        spec: WatchSpec,
        random: Random,
        selection: RunSelection = GIVEN_RUNS,
        *,
        goes_on: bool = False,
        accepts: Callable[[str], bool] = lambda _: True,
    ) -> None:
        """Make a watch without runs.

        Args:
            spec: What to watch of each run; its run is not used.
            random: The source of jitter.
            selection: Which runs to look for.
            goes_on: Whether it goes on after the events of an earlier watch (`next_joined`).
            accepts: Whether a run, by its id, is one to watch; others are left to another watch.
        """
        super().__init__(spec, random)
        self._random = random
        self._limit = RowLimit()
        self._notices = RunNotices("")
        self._server: Server | None = None
        self._runs: dict[str, RunWatch] = {}  # those that are not closed
        self._unread: set[str] = set()  # those of them of which no row was read yet
        self._known: set[str] = set()  # those that are or were watched
        self._goes_on = goes_on
        self._accepts = accepts
        self._joined: deque[str] = deque()  # those of which nothing was recorded yet
        self._leaving: set[str] = set()  # those to leave once no poll is under way
        self._closed: list[RunOutcome] = []  # those that the last event names, if there will be one
        self._closed_count = 0
        self._last_closed: datetime | None = None
        self._groups: list[GroupPolling] = []
        self._pollings: dict[str, RunsPolling] = {}  # of each run, alone or with others
        self._current: Polling | None = None  # that of the poll under way
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
        finders = (self._matches, self._subflows)
        self._queue = PollQueue(finder for finder in finders if finder is not None)
        self._last_success = -math.inf
        self._all_given = False

    def next_command(self, now: Now) -> Command:
        """Return what to do next, about the runs that are not to be left."""
        if self._leaving and self._current is None:
            self._leave_runs()
        return super().next_command(now)

    def wake(self, now: Now) -> EventPages:
        """Return the events that are due because time has passed, or runs are complete."""
        return (*super().wake(now), *self._end_if_all_closed(now))

    def receive(self, reply: Reply, now: Now) -> EventPages:
        """Receive the reply to the query sent last, and return the events to emit."""
        return self._roots.rooted(super().receive(reply, now))

    # -- runs -----------------------------------------------------------------------------------

    @property
    def run_count(self) -> int:
        """How many runs are watched, and not closed."""
        return len(self._runs)

    def add(self, flow_run_ids: Iterable[str], *, again: bool = False) -> None:
        """Watch more runs; those that are or were watched already are left as they are.

        Args:
            flow_run_ids: The runs.
            again: Whether those that were closed are watched once more.
        """
        for run_id in flow_run_ids:
            self._leaving.discard(run_id)
            if again and run_id not in self._runs:
                self._known.discard(run_id)
            if not self._is_known(run_id):
                spec = replace(self._spec, flow_run_id=run_id)
                run = RunWatch(spec, self._limit, self._must_hold)
                run.reader.server = self._server
                self._runs[run_id] = run
                self._known.add(run_id)
                self._unread.add(run_id)
                if self._goes_on:
                    self._joined.append(run_id)
                self._enqueue(RunPolling(run, self._random))

    def leave(self, flow_run_ids: Iterable[str]) -> None:
        """Watch runs no longer, from the next poll on; they may be added again."""
        self._leaving.update(flow_run_ids)

    def _leave_runs(self) -> None:
        for run_id in self._leaving & self._runs.keys():
            polling = self._pollings.pop(run_id)
            if isinstance(polling, RunPolling):
                self._queue.remove(polling)
            else:
                polling.group.leave(run_id)
                self._remove_if_empty(polling)
            del self._runs[run_id]
            self._known.discard(run_id)
            self._unread.discard(run_id)
            if self._subflows is not None:
                self._subflows.forget(run_id)
        self._leaving.clear()

    def complete(self) -> None:
        """End the watch once all runs are closed, since no more will be added."""
        self._all_given = True

    def next_joined(self) -> str | None:
        """Return a run that was added, once; None if there is no other.

        If the watch goes on after an earlier one, what that has emitted of the run is to be
        recorded then, before the next command is taken.
        """
        return self._joined.popleft() if self._joined else None

    def record_emitted(self, events: Sequence[FlowRunEvent]) -> None:
        """Go on with a run after events of an earlier watch, as `RunSession.record_emitted` does.

        To be called for one part of the events after another, before the first command that is
        taken after the run was added.

        Args:
            events: The next of the events of one run, in their order, none left out; at least one.
        """
        run_id = events[0].flow_run_id
        self._roots.record_emitted(run_id, root_of_events(events))
        self._runs[run_id].record_emitted(without_roots(events))

    def load_emitted(self, state: EmittedState, flow_run_id: str) -> None:
        """Go on with a run after events of which this is known; otherwise as `record_emitted`."""
        self._roots.record_emitted(flow_run_id, state.root)
        self._runs[flow_run_id].load_emitted(state)

    def report_journal_full(self, reason: str, now: Now) -> EventPages:
        """Return the notice that the watch goes on without its journals."""
        return self._page_of(self._notices.journal_full(reason, now))

    def report_checkpoint_stale(self, text: str, now: Now) -> EventPages:
        """Return the notice that a checkpoint is older than it should be."""
        return self._page_of(self._notices.checkpoint_stale(text, now))

    def report_unacknowledged(self, count: int, now: Now) -> EventPages:
        """Return the notice that the watch waits until events are acknowledged."""
        return self._page_of(self._notices.unacknowledged(count, now))

    def _is_known(self, flow_run_id: str) -> bool:
        return flow_run_id in self._known or not self._accepts(flow_run_id)

    def _must_hold(self, run: RunWatch) -> bool:
        """Whether a run must not be closed, since not all its subflows may have been found."""
        return self._subflows is not None and self._subflows.awaits(run)

    def _poll_alone(self, run: RunWatch, now: Now, *, close_check: bool = False) -> None:
        polling = RunPolling(run, self._random, due=now.mono)
        if close_check:
            polling.schedule_close_check(now)
        self._enqueue(polling)

    def _enqueue(self, polling: RunsPolling) -> None:
        if isinstance(polling, RunPolling):
            self._pollings[polling.run.spec.flow_run_id] = polling
        self._queue.put(polling)

    def _join_group(self, run: RunWatch, server: Server, now: Now) -> None:
        for polling in self._groups:
            if polling.group.has_room:
                self._pollings[run.spec.flow_run_id] = polling
                return polling.group.join(run)
        group = RunGroup(server, self._limit)
        group.join(run)
        polling = GroupPolling(group, self._random, now.mono)
        polling.schedule(None, now, None, active=True, again=False)
        self._groups.append(polling)
        self._pollings[run.spec.flow_run_id] = polling
        return self._enqueue(polling)

    # -- polls ----------------------------------------------------------------------------------

    def _next_poll(self) -> float:
        return self._queue.next_due()

    def _start_poll(self, now: Now) -> Poll[Any]:
        polling = self._current = self._queue.take(now)
        if isinstance(polling, GroupPolling):
            return polling.start(now, self._server_time)
        if isinstance(polling, RunFinder):
            polling.server = self._server
            return polling.tick(now)
        polling.run.reader.server = self._server
        return polling.start(self._server_time, now)

    def _receive_result(self, result: Any, now: Now) -> EventPages:
        polling, self._current = self._current, None
        pages: EventPages = ()
        if isinstance(polling, GroupPolling):
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
        parents = {run: parent for run, parent in found.parents.items() if run in ids}
        self._roots.add(parents, lambda run_id: run_id in ids or self._is_known(run_id))
        self.add(ids)
        self._close_drained(now)
        notices = self._notices.malformed(found.page.malformed, now)
        if degraded is not None:
            notices.append(self._notices.recovered(degraded, now))
        return self._page_of(*notices)

    def _receive_run(self, polling: RunPolling, result: Any, now: Now) -> EventPages:
        run = polling.run
        is_first = run.spec.flow_run_id in self._unread
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

    def _receive_group(self, polling: GroupPolling, tick: GroupTick, now: Now) -> EventPages:
        group = polling.group
        polling.wakes.end_poll(now)
        if tick.rows is not None and tick.rows.missing:
            for run_id in tick.rows.missing:
                self._poll_alone(group.leave(run_id), now)
            self._reschedule(polling, now, active=False, again=True)
            return ()
        self._push.receive_unannounced(
            states=any(
                found.states and run_id not in polling.announced
                for run_id, found in tick.ticks.items()
            ),
            logs=bool(tick.logs.rows) and AnnouncedChange.LOG_LINE not in polling.wakes.announced,
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
            self._queue.finders.remove(self._subflows)
            self._subflows = None
            # That of an earlier watch is among a run's events if it names one.
            if any(run.notices.has_no_subflows for run in self._runs.values()):
                return ()
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
        for polling in [*self._groups]:
            self._remove_if_empty(polling)

    def _remove_if_empty(self, polling: GroupPolling) -> None:
        """Remove a group without runs, of which no poll is under way."""
        if not polling.group.runs:
            self._groups.remove(polling)
            self._queue.remove(polling)

    def _reschedule(self, polling: GroupPolling, now: Now, *, active: bool, again: bool) -> None:
        if not polling.group.runs:
            return self._groups.remove(polling)
        drains = (run.drained_in(self._server_time, now) for run in polling.group.runs)
        first = min((seconds for seconds in drains if seconds is not None), default=None)
        polling.schedule(first, now, self._push.longest_pause, active=active, again=again)
        return self._enqueue(polling)

    def _record_duration(self, query: Query, seconds: float) -> None:
        if isinstance(self._current, GroupPolling):
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
        if isinstance(polling, GroupPolling):
            polling.wake(flow_run_id, change, now)
        else:
            polling.wake(change, now)
        self._queue.move(polling, due)

    def _shorten_pauses(self, now: Now) -> None:
        for polling in {*self._pollings.values()}:
            due = polling.due
            polling.shorten_pause(now)
            self._queue.move(polling, due)

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
        if isinstance(polling, GroupPolling):
            return self._receive_failed_tick(polling, query, failure, now)
        if isinstance(polling, RunFinder):
            if polling.adapt_to(query, failure):
                return self._go_on(failure, now)
            return self._receive_failed_look(polling, failure, now)
        if failure.kind is FailureKind.RUN_NOT_FOUND:
            return self._receive_not_found(polling, now)
        reader = polling.run.reader
        if reader.skip_optional(query, failure, now) or reader.adapt_to(query, failure):
            self._enqueue(polling)
            return self._go_on(failure, now)
        if _may_be_of_one_run(query, failure):
            return self._receive_unreadable(polling, failure, now)
        if failure.kind is FailureKind.NETWORK:
            self._postpone_unanswered(polling, now)
        self._enqueue(polling)
        return None

    def _receive_failed_tick(
        self, polling: GroupPolling, query: Query | None, failure: Failure, now: Now
    ) -> EventPages | None:
        """Read a run alone whose states cannot be read, so that the others' news still comes."""
        adapted = polling.group.adapt_to(query, failure, now)
        if isinstance(query, StatesQuery) and _may_be_of_one_run(query, failure):
            self._poll_alone(polling.group.leave(query.flow_run_id), now)
        if polling.group.runs:
            self._enqueue(polling)
        else:
            self._groups.remove(polling)
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
            self._queue.hurry_first(now)  # its poll shows whether only looks fail
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
