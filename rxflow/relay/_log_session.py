"""Reads a run's log without its I/O: which events are emitted, and when that ends.

The engine runs it as it runs a watch: its one query is for the next pages, and is sent only when
the events of those before were handed on. Each event is emitted by an action of its own, so that
the position is that of the event which the consumer handles.

Belongs here: what the pages of a log mean for a reader. Does not belong here: how they are read
(`_log_channel`).
"""

from collections import deque
from collections.abc import Callable, Iterable
from math import inf
from typing import cast

from rxflow._models.times import Now
from rxflow._protocol.failures import Failure, Reply
from rxflow._protocol.push import Announcement, PushSubscription, PushTopic
from rxflow._watching.event_order import EventPage, EventPages
from rxflow._watching.session import Command, Done, Fetch, Wait
from rxflow._watching.watch_spec import EventSource
from rxflow.errors import BrokerFailed, RxflowError
from rxflow.events import Closed, FlowRunEvent, Notice, NoticeCode
from rxflow.relay._log_channel import NEXT_PAGES, LogRead
from rxflow.relay._pages import Unpacked, Unpacker
from rxflow.relay._position import LogPosition

SILENT_SECONDS = 10.0
"""Seconds without an event and without a relay after which a reader says so."""

LOOK_SECONDS = 5.0
"""Seconds that a relay has to find that a run went on, for a reader that begins after its end."""


class LogSession:
    """Reads one log for one subscription."""

    def __init__(
        self,
        run_id: str,
        workspace: str,
        after: LogPosition,
        receive_position: Callable[[LogPosition], None],
        *,
        keeps_pages: bool,
    ) -> None:
        """Start with nothing read.

        Args:
            run_id: The run.
            workspace: The workspace, for notices.
            after: After which event to begin.
            receive_position: Receives the position of each page of events, before it is emitted.
            keeps_pages: Whether events that were stored together are emitted together.
        """
        self._run_id = run_id
        self._workspace = workspace
        self._is_over = after.is_closed  # unless the run has gone on since
        self._receive_position = receive_position
        self._keeps_pages = keeps_pages
        self._unpacker = Unpacker(
            run_id,
            position=after.position,
            page_id=after.page_id,
            number=after.number,
            begun_id=after.begun_id,
        )
        self._pages: deque[tuple[LogPosition | None, EventPage]] = deque()
        self._done: Done | None = None
        self._silent_since = self._read_since = inf  # in monotonic seconds
        self._is_degraded = False

    # -- called by the engine -------------------------------------------------------------------

    def next_command(self, now: Now) -> Command:
        """Return what to do next."""
        if self._pages:
            return Wait(0.0)
        if self._done is not None:
            return self._done
        if self._silent_since == inf:
            self._silent_since = now.mono
        return Fetch(NEXT_PAGES)

    def receive(self, reply: Reply, now: Now) -> EventPages:
        """Receive what was read, and return the first of the pages to emit."""
        if isinstance(reply, Failure):  # the system has started no thread to read on
            self._done = Done(BrokerFailed(reply.text))
            return ()
        read = cast("LogRead", reply)
        try:
            for number, stored in enumerate(read.pages, 1):
                is_last = number == len(read.pages) and stored.is_last is not False
                before = self._unpacker.position, self._unpacker.page_id
                self._add(self._unpacker.take(stored), before, is_last=is_last)
        except RxflowError as error:
            self._done = Done(error)
        if read.error is not None:
            self._done = Done(read.error)
        self._is_over &= not read.pages
        self._read_since = min(self._read_since, now.mono)
        if self._done is None and self._is_over and now.mono - self._read_since >= LOOK_SECONDS:
            self._done = Done()
        self._report_silence(read, now)
        return self._pop()

    def wake(self, now: Now) -> EventPages:  # noqa: ARG002
        """Return the next page to emit."""
        return self._pop()

    def due_in(self, now: Now) -> float | None:  # noqa: ARG002
        """Return that the next page is due at once; None without pages."""
        return 0.0 if self._pages else None

    @property
    def done(self) -> Done | None:
        """How the reading ended; None while it goes on, or has pages to emit."""
        return None if self._pages else self._done

    # -- events ---------------------------------------------------------------------------------

    def _add(self, unpacked: Unpacked, before: tuple[int, str], *, is_last: bool) -> None:
        """Add the events of a page; a `Closed` that others follow is of an earlier life."""
        count = len(unpacked.events)
        page: list[FlowRunEvent] = []
        for index, event in enumerate(unpacked.events, 1):
            is_closed = isinstance(event, Closed)
            is_end = is_closed and index == count and is_last
            if is_closed and not is_end:
                continue
            page.append(event)
            if self._keeps_pages and index < count:
                continue
            self._pages.append((self._after_event(unpacked, before, index, is_end), tuple(page)))
            page = []
            if is_end:
                self._done = Done()
        if page:
            self._pages.append((self._after_event(unpacked, before, count, False), tuple(page)))

    def _after_event(
        self, unpacked: Unpacked, before: tuple[int, str], index: int, is_closed: bool
    ) -> LogPosition:
        number = unpacked.number + index
        if index < len(unpacked.events):
            return LogPosition(number, *before, begun_id=unpacked.page_id)
        return LogPosition(number, unpacked.position, unpacked.page_id, is_closed=is_closed)

    def _pop(self) -> EventPages:
        if not self._pages:
            return ()
        position, page = self._pages.popleft()
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
                self._notify(NoticeCode.RECOVERED, text, now)
            return
        silent = now.mono - self._silent_since
        if silent >= SILENT_SECONDS and not self._is_degraded:
            self._is_degraded = True
            text = (
                f"For {silent:.0f} s no relay has been at work in workspace {self._workspace!r}, "
                "or the broker has not replied, so that no events come; check the broker, or start "
                "a relay with: rxflow relay BROKER"
            )
            self._notify(NoticeCode.NOT_RELAYED, text, now)

    def _notify(self, code: NoticeCode, text: str, now: Now) -> None:
        notice = Notice(flow_run_id=self._run_id, code=code, message=text, timestamp=now.utc)
        self._pages.append((None, (notice,)))

    # -- announcements of a server, of which there are none --------------------------------------

    def has_run(self, flow_run_id: str) -> bool:
        """Whether a run is watched, and not over."""
        return flow_run_id == self._run_id and self._done is None

    def push_subscriptions(self, now: Now) -> tuple[PushSubscription, ...]:  # noqa: ARG002
        """Return that nothing is to be announced."""
        return ()

    def receive_announcements(self, announcements: Iterable[Announcement], now: Now) -> None:
        """Do nothing."""

    def receive_push_failure(
        self, topic: PushTopic, failure: Failure, now: Now, *, opened: bool
    ) -> None:
        """Do nothing."""
