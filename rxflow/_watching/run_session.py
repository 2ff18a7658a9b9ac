"""A watch over one run without its I/O.

What is common to all watches is in `session`, when the run is polled in `run_polling`, which events
it has in `run_watch`. Here they are put together. A clock, a thread or a socket does not belong
here.
"""

import math
from collections.abc import Collection, Sequence
from random import Random

from rxflow._models.entities import Server
from rxflow._models.times import Now
from rxflow._protocol.failures import Failure, FailureKind
from rxflow._protocol.pages import Poll
from rxflow._protocol.push import AnnouncedChange
from rxflow._protocol.queries import Query
from rxflow._protocol.retry import Outage
from rxflow._watching.emitted_state import EmittedState
from rxflow._watching.event_order import EventPages
from rxflow._watching.limit_text import limit_text
from rxflow._watching.log_reader import RowLimit
from rxflow._watching.outage_tracker import DEGRADED_AFTER
from rxflow._watching.run_polling import RunPolling
from rxflow._watching.run_reader import CloseCheck, Tick
from rxflow._watching.run_watch import RunWatch
from rxflow._watching.session import Done, Session
from rxflow._watching.watch_spec import WatchSpec
from rxflow.events import FlowRunEvent


class RunSession(Session):
    """One watch over one run."""

    def __init__(self, spec: WatchSpec, random: Random) -> None:
        """Make a watch that has sent no query yet.

        Args:
            spec: What to watch.
            random: The source of jitter.
        """
        super().__init__(spec, random)
        self._run = RunWatch(spec, RowLimit())
        self._joined: str | None = spec.flow_run_id
        self._polling = RunPolling(self._run, random)

    def next_joined(self) -> str | None:
        """Return the run at the first call, so that what an earlier watch emitted is recorded."""
        joined, self._joined = self._joined, None
        return joined

    def record_emitted(self, events: Sequence[FlowRunEvent]) -> None:
        """Go on after events of an earlier watch of the run, maybe one of another process.

        The promises are the same as if the earlier one had gone on: no row is emitted again, none
        is left out, and what comes late is flagged so. After `Closed` the watch looks once more,
        and ends without an event if nothing has changed.

        To be called before the first command is taken, for one part of the events after another. A
        part is not needed after the call.

        Args:
            events: The next of the events that the earlier watch emitted, in their order, none left
                out. Its specification was the same.
        """
        self._run.record_emitted(events)

    def load_emitted(self, state: EmittedState, _: str = "") -> None:
        """Go on after events of which this is known; otherwise as `record_emitted`."""
        self._run.load_emitted(state)

    def report_journal_full(self, reason: str, now: Now) -> EventPages:
        """Return the notice that the watch goes on without its journal."""
        return self._run.notify(self._run.notices.journal_full(reason, now))

    def report_checkpoint_stale(self, text: str, now: Now) -> EventPages:
        """Return the notice that the checkpoint is older than it should be."""
        return self._run.notify(self._run.notices.checkpoint_stale(text, now))

    def report_unacknowledged(self, count: int, now: Now) -> EventPages:
        """Return the notice that the watch waits until events are acknowledged."""
        return self._run.notify(self._run.notices.unacknowledged(count, now))

    # -- polls ----------------------------------------------------------------------------------

    def _next_poll(self) -> float:
        return self._polling.due

    def _start_poll(self, now: Now) -> Poll[Tick] | Poll[CloseCheck]:
        return self._polling.start(
            self._server_time, now, announces_lines=self._push.announces_lines
        )

    def _receive_result(self, result: Tick | CloseCheck, now: Now) -> EventPages:
        announced = self._polling.wakes.announced
        self._push.receive_unannounced(
            states=bool(result.states) and AnnouncedChange.STATE not in announced,
            logs=bool(result.logs.rows) and AnnouncedChange.LOG_LINE not in announced,
        )
        pages = self._polling.receive(result, self._server_time, now, self._push.longest_pause)
        if self._run.closed is not None:
            self._done = Done()
        return pages

    def _record_duration(self, query: Query, seconds: float) -> None:
        self._run.reader.record_duration(query, seconds)

    # -- announcements of the server ------------------------------------------------------------

    def has_run(self, flow_run_id: str) -> bool:
        return flow_run_id == self._run.spec.flow_run_id

    @property
    def _runs_at_work(self) -> Collection[str]:
        row = self._run.row
        return () if row is None or row.is_terminal else (row.id,)

    @property
    def _known_server(self) -> Server | None:
        return self._run.reader.server

    def _wake_run(self, flow_run_id: str, change: AnnouncedChange, now: Now) -> None:  # noqa: ARG002
        self._polling.wake(change, now)

    def _shorten_pauses(self, now: Now) -> None:
        self._polling.shorten_pause(now)

    # -- the limit ------------------------------------------------------------------------------

    @property
    def _is_first_look(self) -> bool:
        has_failed = self._poll is None and self._poll_began > -math.inf
        return self._run.row is None and not has_failed

    @property
    def _is_terminal(self) -> bool:
        return self._run.is_terminal

    @property
    def _unfinished(self) -> tuple[str, ...]:
        return () if self._run.is_terminal else (self._run.spec.flow_run_id,)

    def _limit_text(self, failure: Failure | None, unanswered: float | None) -> str:
        return limit_text(self._run.spec, self._run.row, failure, unanswered)

    # -- failures -------------------------------------------------------------------------------

    def _adapt_to(self, query: Query | None, failure: Failure, now: Now) -> EventPages | None:
        reader = self._run.reader
        if reader.skip_optional(query, failure, now):
            self._retry_at = now.mono + failure.retry_in(now)
            return ()
        if reader.adapt_to(query, failure):
            return ()
        if failure.kind is FailureKind.RUN_NOT_FOUND and self._run.row is not None:
            return self._receive_not_found(now)
        return None

    def _receive_not_found(self, now: Now) -> EventPages:
        found = self._run.receive_not_found(self._server_time, now)
        if isinstance(found, int | float):
            self._retry_at = now.mono + found
            return ()
        self._done = Done()
        return found

    def _report_push_failure(self, failure: Failure, now: Now) -> EventPages:
        return self._run.notify(self._run.notices.push_unavailable(failure, now))

    def _report_degraded(self, failure: Failure | None, now: Now) -> EventPages:
        return self._run.notify(self._run.notices.degraded(DEGRADED_AFTER, failure, now))

    def _report_rate_limit(self, failure: Failure, now: Now) -> EventPages:
        return self._run.notify(self._run.notices.rate_limited(failure, now))

    def _report_success(
        self, degraded: float | None, outage: Outage | None, now: Now
    ) -> EventPages:
        self._run.receive_found()
        if outage is not None:
            self._run.apply_outage(outage)
        if degraded is None:
            return ()
        return self._run.notify(self._run.notices.recovered(degraded, now))
