"""A reader without its I/O: hands on what was read, event by event, and says when no relay works.

The engine runs it as it runs a watch: its one query is for the next pages, and is sent only when
the events of those before were handed on. Each event is emitted by an action of its own, so that
the position is that of the event which the consumer handles.

Belongs here: when something is read, and silence. Does not belong here: what the pages of a log
mean (`_log_session`, `_workspace_session`), or how they are read (`_log_channel`).
"""

from collections import deque
from collections.abc import Callable, Iterable
from math import inf
from typing import Generic, TypeVar, cast

from rxflow._models.times import Now
from rxflow._protocol.failures import Failure, Reply
from rxflow._protocol.push import Announcement, PushSubscription, PushTopic
from rxflow._watching.event_order import EventPage, EventPages
from rxflow._watching.session import Command, Done, Fetch, Wait
from rxflow._watching.watch_spec import EventSource
from rxflow.errors import BrokerFailed, RxflowError
from rxflow.events import Notice, NoticeCode
from rxflow.relay._log_channel import NEXT_PAGES, LogRead

P = TypeVar("P")

SILENT_SECONDS = 10.0
"""Seconds without an event and without a relay after which a reader says so."""


class ReaderSession(Generic[P]):
    """Reads for one subscription.

    Attributes:
        pages: The pages of events that are not emitted yet, each with the position after it; a
            notice has none.
        end: How the reading ends once they are; None if it goes on.
    """

    def __init__(self, run_id: str, workspace: str, receive_position: Callable[[P], None]) -> None:
        """Start with nothing read.

        Args:
            run_id: The run that is read; "" for all.
            workspace: The workspace, for notices.
            receive_position: Receives the position of each page of events, before it is emitted.
        """
        self.pages: deque[tuple[P | None, EventPage]] = deque()
        self.end: Done | None = None
        self._run_id = run_id
        self._workspace = workspace
        self._receive_position = receive_position
        self._silent_since = inf  # in monotonic seconds
        self._is_degraded = False

    def take(self, read: LogRead, now: Now) -> None:
        """Add to `pages` what was read, and set `end` if nothing comes after it.

        Raises:
            RxflowError: The reading ends with this, after the pages that were added.
        """
        raise NotImplementedError

    # -- called by the engine -------------------------------------------------------------------

    def next_command(self, now: Now) -> Command:
        """Return what to do next."""
        if self.pages:
            return Wait(0.0)
        if self.end is not None:
            return self.end
        if self._silent_since == inf:
            self._silent_since = now.mono
        return Fetch(NEXT_PAGES, resumes=True)

    def receive(self, reply: Reply, now: Now) -> EventPages:
        """Receive what was read, and return the first of the pages to emit."""
        if isinstance(reply, Failure):  # the system has started no thread to read on
            self.end = Done(BrokerFailed(reply.text))
            return ()
        read = cast("LogRead", reply)
        try:
            self.take(read, now)
        except RxflowError as error:
            self.end = Done(error)
        if read.error is not None:
            self.end = Done(read.error)
        self._report_silence(read, now)
        return self._pop()

    def wake(self, now: Now) -> EventPages:  # noqa: ARG002
        """Return the next page to emit."""
        return self._pop()

    def due_in(self, now: Now) -> float | None:  # noqa: ARG002
        """Return that the next page is due at once; None without pages."""
        return 0.0 if self.pages else None

    @property
    def done(self) -> Done | None:
        """How the reading ended; None while it goes on, or has pages to emit."""
        return None if self.pages else self.end

    def _pop(self) -> EventPages:
        if not self.pages:
            return ()
        position, page = self.pages.popleft()
        if position is not None:
            self._receive_position(position)
        return ((EventSource.NOTICES, page),)

    # -- silence --------------------------------------------------------------------------------

    def _report_silence(self, read: LogRead, now: Now) -> None:
        """Say that no relay is at work, once it has been so for some time, and when one is."""
        if read.is_relayed is not False:
            self._silent_since = now.mono
            if self._is_degraded:
                self._is_degraded = False
                text = f"A relay is at work again in workspace {self._workspace!r}"
                self.notify(NoticeCode.RECOVERED, text, now)
            return
        silent = now.mono - self._silent_since
        if silent >= SILENT_SECONDS and not self._is_degraded:
            self._is_degraded = True
            text = (
                f"For {silent:.0f} s no relay has been at work in workspace {self._workspace!r}, "
                "or the broker has not replied, so that no events come; check the broker, or start "
                "a relay with: rxflow relay BROKER"
            )
            self.notify(NoticeCode.NOT_RELAYED, text, now)

    def notify(self, code: NoticeCode, text: str, now: Now, run_id: str | None = None) -> None:
        """Add a notice, of the run that is read or of another one."""
        run_id = self._run_id if run_id is None else run_id
        notice = Notice(flow_run_id=run_id, code=code, message=text, timestamp=now.utc)
        self.pages.append((None, (notice,)))

    # -- announcements of a server, of which there are none --------------------------------------

    def has_run(self, flow_run_id: str) -> bool:
        """Whether a run is watched, and not over."""
        return flow_run_id == self._run_id and self.end is None

    def push_subscriptions(self, now: Now) -> tuple[PushSubscription, ...]:  # noqa: ARG002
        """Return that nothing is to be announced."""
        return ()

    def receive_announcements(self, announcements: Iterable[Announcement], now: Now) -> None:
        """Do nothing."""

    def receive_push_failure(
        self, topic: PushTopic, failure: Failure, now: Now, *, opened: bool
    ) -> None:
        """Do nothing."""
