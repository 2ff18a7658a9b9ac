"""The notices of one run: their texts, and which of them were already made.

A notice about one row or one reason is made once. When a notice is due is decided in
`run_watch` and, where it is about the server, in the sessions.
"""

import logging
from collections.abc import Iterable

import msgspec

from rxflow._models.entities import FlowRun
from rxflow._models.states import State
from rxflow._models.times import Now
from rxflow._protocol.failures import Failure
from rxflow._protocol.pages import MalformedRow
from rxflow.events import Notice, NoticeCode

_IS_LATE = " is late: "  # between the run's name and the reason


class NoticesState(msgspec.Struct, frozen=True, kw_only=True):
    """What the notices of a run were about, to save and load.

    Attributes:
        late_reason: What the run waited for, if it was late.
        malformed: The ids of rows that could not be read.
        unread: Those of them that were not read since.
        no_subflows: Whether the server does not know which runs are subflows.
    """

    late_reason: str | None = None
    malformed: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()
    no_subflows: bool = False


class RunNotices:
    """Makes the notices of one run.

    Attributes:
        has_no_subflows: Whether an earlier watch reported that the server knows no subflows.
    """

    def __init__(self, flow_run_id: str) -> None:
        """Start with no notice made."""
        self.has_no_subflows = False
        self._flow_run_id = flow_run_id
        self._late_reason: str | None = None
        self._malformed_ids: set[str] = set()
        self._unread_ids: set[str] = set()

    @property
    def unread_count(self) -> int:
        """How many rows were reported as malformed, and not read since."""
        return len(self._unread_ids)

    def receive_read(self, ids: Iterable[str]) -> None:
        """Receive the ids of rows that were read, which may have been malformed before."""
        if self._unread_ids:
            self._unread_ids.difference_update(ids)

    def record_emitted(self, notice: Notice) -> None:
        """Record a notice that an earlier watch emitted, so that it is not made again."""
        if notice.code is NoticeCode.MALFORMED and notice.row_id is not None:
            self._malformed_ids.add(notice.row_id)
            self._unread_ids.add(notice.row_id)
        elif notice.code is NoticeCode.LATE_START:
            self._late_reason = notice.message.partition(_IS_LATE)[2]
        elif notice.code is NoticeCode.UNSUPPORTED:
            self.has_no_subflows = True

    def save_emitted(self) -> NoticesState:
        """Return what the notices were about."""
        return NoticesState(
            late_reason=self._late_reason,
            malformed=tuple(sorted(self._malformed_ids)),
            unread=tuple(sorted(self._unread_ids)),
            no_subflows=self.has_no_subflows,
        )

    def load_emitted(self, state: NoticesState) -> None:
        """Go on after notices that were about this."""
        self._late_reason = state.late_reason
        self._malformed_ids, self._unread_ids = set(state.malformed), set(state.unread)
        self.has_no_subflows = state.no_subflows

    def malformed(self, rows: Iterable[MalformedRow], now: Now) -> list[Notice]:
        """Report rows that cannot be read, each row once."""
        found = tuple(rows)
        new = [row for row in found if row.id not in self._malformed_ids]
        self._malformed_ids.update(row.id for row in new)
        self._unread_ids.update(row.id for row in found)
        return [
            self._notice(
                NoticeCode.MALFORMED, f"A row cannot be read: {row.reason}", now, row_id=row.id
            )
            for row in new
        ]

    def late_start(self, run: FlowRun, reason: str | None, now: Now) -> list[Notice]:
        """Report what a late run waits for, each time that this changes.

        Args:
            run: The run's row.
            reason: What it waits for, or None if it is not late.
            now: The time.
        """
        known, self._late_reason = self._late_reason, reason
        if reason is None or reason == known:
            return []
        text = f"Flow run {run.name!r}{_IS_LATE}{reason}"
        return [self._notice(NoticeCode.LATE_START, text, now)]

    def reopened(self, states: Iterable[State], now: Now) -> list[Notice]:
        """Report that a terminal run entered states that are not terminal."""
        return [
            self._notice(
                NoticeCode.REOPENED, f"The run was over and entered state {state.name}", now
            )
            for state in states
        ]

    def rewound(self, now: Now) -> Notice:
        """Report that delivered log rows are gone from the server."""
        text = (
            "Log rows that were delivered are gone from the server; those that may be new are "
            "delivered again, and flagged replayed"
        )
        return self._notice(NoticeCode.SOURCE_REWOUND, text, now)

    def deleted(self, now: Now) -> Notice:
        """Report that the run was deleted."""
        return self._notice(NoticeCode.RUN_DELETED, "The flow run was deleted from the server", now)

    def not_found(self, now: Now) -> Notice:
        """Report that the run does not exist, and was never read."""
        text = "The server has no such flow run; check the id, and which server it is from"
        return self._notice(NoticeCode.RUN_NOT_FOUND, text, now)

    def no_subflows(self, now: Now) -> Notice:
        """Report that the server does not know which runs are subflows of others."""
        text = "Prefect 1 does not know subflows; the watch goes on without them"
        return self._notice(NoticeCode.UNSUPPORTED, text, now)

    def degraded(
        self, seconds: float, failure: Failure | None, now: Now, *, what: str = "No good reply"
    ) -> Notice:
        """Report that there was no good reply for some seconds, with the last failure."""
        why = f": {failure.text}" if failure else ""
        end = "" if why.endswith((".", "?")) else "."
        text = f"{what} for {seconds:.0f} s{why}{end} The watch keeps retrying"
        return self._notice(NoticeCode.DEGRADED, text, now)

    def rate_limited(self, failure: Failure, now: Now) -> Notice:
        """Report that the server limits the rate of requests, with its reply."""
        text = f"{failure.text}. Requests are sent further apart; nothing is lost by it"
        return self._notice(NoticeCode.RATE_LIMITED, text, now)

    def recovered(self, seconds: float, now: Now) -> Notice:
        """Report that the server replies well again, after some seconds."""
        text = f"The server replies again after {seconds:.0f} s; the watch continues where it was"
        return self._notice(NoticeCode.RECOVERED, text, now)

    def push_unavailable(self, failure: Failure, now: Now) -> Notice:
        """Report that the server announces no changes; nothing is lost by that."""
        text = f"Changes are polled for, since the server does not announce them: {failure.text}"
        return self._notice(NoticeCode.PUSH_UNAVAILABLE, text, now, level=logging.INFO)

    def journal_full(self, reason: str, now: Now) -> Notice:
        """Report that the journal cannot take more events, with the reason."""
        text = (
            f"{reason}. The watch goes on without its journal; a later one that reads it emits the "
            "events from here on again"
        )
        return self._notice(NoticeCode.JOURNAL_FULL, text, now)

    def checkpoint_stale(self, text: str, now: Now) -> Notice:
        """Report that a checkpoint is older than it should be."""
        return self._notice(NoticeCode.CHECKPOINT_STALE, text, now)

    def unacknowledged(self, count: int, now: Now) -> Notice:
        """Report that the watch waits, since so many events were handed on without `ack`."""
        text = (
            f"{count:,} events are not acknowledged; the watch goes on once ack() was called for "
            "some of them"
        )
        return self._notice(NoticeCode.UNACKNOWLEDGED, text, now)

    def _notice(
        self,
        code: NoticeCode,
        message: str,
        now: Now,
        *,
        row_id: str | None = None,
        level: int = logging.WARNING,
    ) -> Notice:
        return Notice(
            flow_run_id=self._flow_run_id,
            code=code,
            message=message,
            timestamp=now.utc,
            level=level,
            row_id=row_id,
        )
