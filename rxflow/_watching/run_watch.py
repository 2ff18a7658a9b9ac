"""One run of a watch: which events follow from what was read of it, and when it is over.

Here the parts that decide one thing each are put together: `RunReader` what to read, `run_changes`
and `RunNotices` which events to make, `EventOrder` their order, `Lifecycle` when the run is over.
When a poll is sent does not belong here: a session decides that, for one run or for many.
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import NamedTuple

from msgspec.structs import replace

from rxflow._logs.cursor import LogCursor
from rxflow._logs.log_read import LogRead
from rxflow._models.entities import FlowRun
from rxflow._models.states import StateType
from rxflow._models.times import Now, later
from rxflow._protocol.retry import Outage
from rxflow._watching.emitted_state import EmittedState
from rxflow._watching.event_order import DatedEvent, EventOrder, EventPages
from rxflow._watching.last_line import LastLine
from rxflow._watching.lifecycle import Lifecycle, Phase
from rxflow._watching.log_reader import RowLimit
from rxflow._watching.past_outage import PastOutage, outage_after
from rxflow._watching.reopenings import ReopeningDetector
from rxflow._watching.run_changes import first_row, is_heartbeat, state_and_row_events
from rxflow._watching.run_notices import RunNotices
from rxflow._watching.run_reader import CloseCheck, RunReader, Tick
from rxflow._watching.task_run_ledger import TaskRunsRead
from rxflow._watching.watch_spec import WatchSpec
from rxflow.events import (
    Closed,
    FlowRunEvent,
    FlowRunLog,
    Notice,
    NoticeCode,
    RunChanged,
    RunSeen,
    StateChange,
    TaskRunStateChange,
)


class TickEvents(NamedTuple):
    """The events of a tick.

    Attributes:
        pages: The events to emit.
        active: Whether any of them shows that the run is at work, and not only alive.
    """

    pages: EventPages
    active: bool


class CheckEvents(NamedTuple):
    """The events of a close check.

    Attributes:
        pages: The events to emit; `Closed` is the last of them if the run is over.
        unproven: Whether nothing was new, and yet the rows could not be shown to be complete.
    """

    pages: EventPages = ()
    unproven: bool = False


def _gone_by(event: FlowRunEvent) -> NoticeCode | None:
    """Return by which notice an event says that the run is gone; None if it does not."""
    gone = {NoticeCode.RUN_DELETED, NoticeCode.RUN_NOT_FOUND}
    return event.code if isinstance(event, Notice) and event.code in gone else None


class RunWatch:
    """One run of a watch.

    Attributes:
        spec: What is watched.
        reader: Reads the run, and records what was delivered.
        notices: Makes the run's notices.
        closed: The run's last event, once it was returned; None before that.
        ended_by: The notice that the run was deleted or never found, if that closed it.
    """

    def __init__(
        self,
        spec: WatchSpec,
        limit: RowLimit,
        holds: Callable[["RunWatch"], bool] = lambda _: False,
    ) -> None:
        """Start with nothing read.

        Args:
            spec: What to watch.
            limit: The most rows to query at once.
            holds: Whether the run must not be closed now, though it is over.
        """
        self._holds = holds
        self.spec = spec
        self.reader = RunReader(spec, limit)
        self._lifecycle = Lifecycle(drain=spec.drain)
        self.notices = RunNotices(spec.flow_run_id)
        self._reopenings = ReopeningDetector()
        self._order = EventOrder(spec.sources)
        self._last_line = LastLine(spec)
        self._past_outage: PastOutage | None = None
        self._closed_before: Closed | None = None
        self._gone_before: NoticeCode | None = None  # if an earlier watch said so last
        self.closed: Closed | None = None
        self.ended_by: NoticeCode | None = None

    @property
    def row(self) -> FlowRun | None:
        """The run's row as read last; None if it was never read."""
        return self.reader.row

    @property
    def is_terminal(self) -> bool:
        """Whether the run was in a terminal state when it was read last."""
        row = self.reader.row
        return row is not None and row.is_terminal

    @property
    def is_held(self) -> bool:
        """Whether the run must not be closed now, though it is over."""
        return self._holds(self)

    @property
    def is_at_work(self) -> bool:
        """Whether the run had started and was not over when it was read last.

        Of a run that has not started it is found by the time alone that it is late.
        """
        row = self.reader.row
        if row is None or row.state is None or row.is_terminal:
            return False
        return row.state.type not in {StateType.SCHEDULED, StateType.PENDING}

    def drained_in(self, server_time: datetime | None, now: Now) -> float | None:
        """Return the seconds until a close check is due if no news comes; None if none is."""
        row = self.reader.row
        if row is None or self._lifecycle.phase is not Phase.DRAINING or self.is_held:
            return None
        awaited = self._last_line.is_awaited(row)
        return max(
            self._lifecycle.drained_in(server_time, now, awaits_last_line=awaited),
            self.reader.task_runs.settled_in(server_time, now),
        )

    # -- what an earlier watch emitted ----------------------------------------------------------

    def record_emitted(self, events: Sequence[FlowRunEvent]) -> None:
        """Go on after events that an earlier watch of the run emitted.

        To be called before anything is read, once or for one part after another of the events.

        Args:
            events: The events, in the order in which they were emitted, none left out.
        """
        lines = [event for event in events if isinstance(event, FlowRunLog)]
        states = [event.state for event in events if isinstance(event, StateChange)]
        self._order.record_emitted(events)
        view = self._order.view
        self.reader.record_emitted(None if view is None else view.run, states, lines)
        self._last_line.record_emitted(lines)
        for event in events:
            match event:
                case StateChange(state=state):
                    self._reopenings.receive((state,), None)
                    self.notices.receive_read([state.id])
                case TaskRunStateChange(task_run=task_run, state=state):
                    self.reader.task_runs.record_emitted(task_run, state)
                    self.notices.receive_read([task_run.id, state.id])
                case Notice():
                    self.notices.record_emitted(event)
                    self._past_outage = outage_after(self._past_outage, event)
                case _:
                    pass
            if not isinstance(event, Closed):
                self._gone_before = _gone_by(event)
        if events:
            self._closed_before = events[-1] if isinstance(events[-1], Closed) else None

    def save_emitted(self) -> EmittedState:
        """Return what is known of the events that were recorded as emitted, and of nothing else.

        To be called before anything is read.
        """
        return EmittedState(
            order=self._order.save_emitted(),
            logs=self.reader.save_logs(),
            last_lines=self._last_line.emitted,
            last_state=self._reopenings.latest,
            notices=self.notices.save_emitted(),
            task_runs=self.reader.task_runs.save_emitted(),
            outage=self._past_outage,
            closed=self._closed_before,
            gone=self._gone_before,
        )

    def load_emitted(self, state: EmittedState) -> None:
        """Go on after events of which this is known, as after `record_emitted` of them all.

        To be called before anything is read or recorded.
        """
        self._order.load_emitted(state.order)
        view = state.order.view
        if view is not None:
            self.reader.record_emitted(view.run, view.states, ())
        self.reader.resume_logs(LogCursor.load(state.logs), of_earlier_watch=True)
        self._last_line.record_emitted(state.last_lines)
        self._reopenings.load(view.states if view else (), state.last_state)
        self.notices.load_emitted(state.notices)
        self.reader.task_runs.load_emitted(state.task_runs)
        self._past_outage = state.outage
        self._closed_before = state.closed
        self._gone_before = state.gone

    # -- what was read --------------------------------------------------------------------------

    def receive_tick(self, tick: Tick, now: Now) -> TickEvents:
        """Record as delivered what a tick found, and return its events."""
        first: list[RunSeen] = []
        dated: list[DatedEvent] = []
        tasks = tick.tasks or TaskRunsRead()
        malformed = (*tick.malformed, *tasks.malformed, *tasks.malformed_states)
        last = [*self._log_notices(tick.logs, now), *self.notices.malformed(malformed, now)]
        known, run = self.reader.row, tick.run
        if tick.server is not None:
            self._lifecycle.set_backend(tick.server.backend)
        if run is not None:
            start = first_row(run, self.spec.sources)
            if known is None:
                first.append(RunSeen(flow_run_id=run.id, run=start))
            dated += state_and_row_events(known or start, run, tick.states)
            last += self.notices.late_start(run, tick.late_reason, now)
            last += self.notices.reopened(self._reopenings.receive(tick.states, run.state), now)
            self.notices.receive_read((run.id, *(state.id for state in tick.states)))
        self.notices.receive_read(row.id for row in tick.logs.rows)
        self.notices.receive_read(row.id for row in tasks.rows)
        self.notices.receive_read(state.id for _, state in tasks.changed)
        dated += self._task_run_events(tasks)
        self.reader.commit(tick, now)
        self._last_line.receive(self.reader.row, tick.logs.rows)
        self._observe_run(now)
        pages = self._order.arrange(
            first=first,
            dated=dated,
            logs=tick.logs.rows,
            last=last,
            position=self.reader.unread_from,
        )
        heartbeat = known is not None and run is not None and is_heartbeat(known, run)
        events = (event for _, page in pages for event in page)
        active = self.reader.task_runs.has_more or any(
            not (heartbeat and isinstance(event, RunChanged)) for event in events
        )
        return TickEvents(pages, active)

    def receive_close_check(
        self, check: CloseCheck, server_time: datetime | None, now: Now
    ) -> CheckEvents:
        """Record as delivered what a close check found; close the run if it found nothing new.

        Args:
            check: What was read.
            server_time: The server's time, as far as it is known.
            now: The time.
        """
        run, logs = check.run, check.logs
        if run != self.reader.row:
            return CheckEvents()
        self.notices.receive_read([run.id])
        tasks = check.tasks or TaskRunsRead()
        dated: list[DatedEvent] = [
            *state_and_row_events(run, run, check.states),
            *self._task_run_events(tasks),
        ]
        malformed = (*check.malformed, *tasks.malformed, *tasks.malformed_states)
        self.reader.commit_close_check(check, now)
        self._last_line.receive(run, logs.rows)
        pages = self._order.arrange(
            dated=dated,
            logs=logs.rows,
            last=[*self._log_notices(logs, now), *self.notices.malformed(malformed, now)],
            position=logs.unread_from,
        )
        unsettled = self.reader.task_runs.settled_in(server_time, now) > 0
        if pages or unsettled or logs.backfill_position is not None:
            return CheckEvents(pages)
        if not self._lifecycle.receive_proof(proven=logs.proven, provable=logs.provable):
            return CheckEvents(unproven=True)
        return CheckEvents(self._close(verified=logs.proven, server_time=server_time, now=now))

    def receive_not_found(self, server_time: datetime | None, now: Now) -> float | EventPages:
        """Receive a reply that the run does not exist.

        Returns:
            Seconds until the next query for the run, or its last events if that is believed.
        """
        delay = self._lifecycle.receive_not_found(now)
        if delay is not None:
            return delay
        found = self.reader.row is not None
        notice = self.notices.deleted(now) if found else self.notices.not_found(now)
        self.ended_by = notice.code
        is_known = notice.code is self._gone_before
        pages = self._order.arrange(last=[] if is_known else [notice])
        return (*pages, *self._close(verified=False, server_time=server_time, now=now))

    # -- replies as such ------------------------------------------------------------------------

    def receive_found(self) -> None:
        """Receive that a whole poll of the run succeeded, so that it is not deleted."""
        self._lifecycle.receive_found()

    def apply_outage(self, outage: Outage) -> None:
        """Give writers time to send what they could not send during an outage that has ended."""
        if self.spec.awaits_retries:
            self._lifecycle.apply_outage(outage)

    def notify(self, *notices: FlowRunEvent) -> EventPages:
        """Emit notices now, and release nothing that is held back."""
        return self._order.notify(*notices)

    # -- parts ----------------------------------------------------------------------------------

    def _task_run_events(self, read: TaskRunsRead) -> Iterator[TaskRunStateChange]:
        return (
            TaskRunStateChange(
                flow_run_id=self.spec.flow_run_id, id=state.id, task_run=task_run, state=state
            )
            for task_run, state in read.changed
        )

    def _log_notices(self, read: LogRead, now: Now) -> list[Notice]:
        notices = self.notices.malformed(read.malformed, now)
        return [*notices, self.notices.rewound(now)] if read.rewound else notices

    def _observe_run(self, now: Now) -> None:
        """Pass what was read to the lifecycle."""
        row = self.reader.row
        if self._past_outage is not None:
            self.apply_outage(self._past_outage.seen_at(now))
            self._past_outage = None
        if row is not None:  # pragma: no branch - a first tick reads the row before all else
            self._lifecycle.observe(
                row,
                self.reader.newest_stored,
                caught_up=self.reader.position is None,
                now=now,
            )

    def _close(self, *, verified: bool, server_time: datetime | None, now: Now) -> EventPages:
        row, malformed = self.reader.row, self.notices.unread_count
        before = self._closed_before
        self.closed = Closed(
            flow_run_id=self.spec.flow_run_id,
            # The server's time is in whole seconds, and writers have clocks of their own.
            timestamp=later(server_time or now.utc, self._order.newest) or now.utc,
            state=row.state if row else None,
            verified=verified and not malformed,
            log_count=self._order.log_count,
            malformed=malformed,
            unsettled=self.reader.task_runs.unsettled,
            view=self._order.view,
        )
        if before is not None and not self._order.has_emitted:
            again = replace(self.closed, timestamp=before.timestamp)
            if again == before:  # an earlier watch has emitted it, and nothing has changed since
                self.closed = again
                return ()
        return self._order.arrange(last=[self.closed])
