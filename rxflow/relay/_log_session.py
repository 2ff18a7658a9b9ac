"""What the pages of a run's log mean for a reader of it: which events are emitted, and its end."""

from collections.abc import Callable
from math import inf

from rxflow._models.times import Now
from rxflow._watching.session import Done
from rxflow.events import Closed, FlowRunEvent
from rxflow.relay._log_channel import LogRead
from rxflow.relay._pages import Unpacked, Unpacker
from rxflow.relay._position import LogPosition
from rxflow.relay._reader_session import ReaderSession

LOOK_SECONDS = 5.0
"""Seconds that a relay has to find that a run went on, for a reader that begins after its end."""


class LogSession(ReaderSession[LogPosition]):
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
        super().__init__(run_id, workspace, receive_position)
        self._is_over = after.is_closed  # unless the run has gone on since
        self._keeps_pages = keeps_pages
        self._unpacker = Unpacker(
            run_id,
            position=after.position,
            page_id=after.page_id,
            number=after.number,
            begun_id=after.begun_id,
        )
        self._read_since = inf  # in monotonic seconds

    def take(self, read: LogRead, now: Now) -> None:
        """Add the events of the next pages; the last `Closed` is the end."""
        self._is_over &= not read.pages
        for number, stored in enumerate(read.pages, 1):
            is_last = number == len(read.pages) and stored.is_last is not False
            before = self._unpacker.position, self._unpacker.page_id
            self._add(self._unpacker.take(stored), before, is_last=is_last)
        self._read_since = min(self._read_since, now.mono)
        if self.end is None and self._is_over and now.mono - self._read_since >= LOOK_SECONDS:
            self.end = Done()

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
            self.pages.append((self._after_event(unpacked, before, index, is_end), tuple(page)))
            page = []
            if is_end:
                self.end = Done()
        if page:
            self.pages.append((self._after_event(unpacked, before, count, False), tuple(page)))

    def _after_event(
        self, unpacked: Unpacked, before: tuple[int, str], index: int, is_closed: bool
    ) -> LogPosition:
        number = unpacked.number + index
        if index < len(unpacked.events):
            return LogPosition(number, *before, begun_id=unpacked.page_id)
        return LogPosition(number, unpacked.position, unpacked.page_id, is_closed=is_closed)
