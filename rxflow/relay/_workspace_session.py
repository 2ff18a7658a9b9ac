"""What the pages of all logs of a workspace mean for a reader of them: all events, run by run.

No log ends the reading, and none fails it: a log that was dropped has no more pages, one that was
made anew begins with the run's first event again, and of one that lost pages a notice says so.
"""

from collections import OrderedDict
from collections.abc import Callable

from rxflow._models.times import Now
from rxflow.events import FlowRunEvent, NoticeCode, decode_event
from rxflow.relay._broker import Page, RunPage, StoredPage
from rxflow.relay._log_channel import LogRead
from rxflow.relay._reader_session import ReaderSession
from rxflow.relay._workspace_position import WorkspacePosition

_MOST_ENDS = 10_000  # of logs that are compared with what follows


class WorkspaceRead(LogRead, frozen=True):
    """What a read of all logs found.

    Attributes:
        run_pages: The next pages; the last part of an event has the whole event. `pages` is empty.
    """

    run_pages: tuple[RunPage, ...] = ()


class WorkspaceSession(ReaderSession[WorkspacePosition]):
    """Reads all logs for one subscription."""

    def __init__(
        self,
        workspace: str,
        after: WorkspacePosition,
        receive_position: Callable[[WorkspacePosition], None],
        *,
        keeps_pages: bool,
    ) -> None:
        """Start with nothing read.

        Args:
            workspace: The workspace, for notices.
            after: After which event to begin.
            receive_position: Receives the position of each page of events, before it is emitted.
            keeps_pages: Whether events that were stored together are emitted together.
        """
        super().__init__("", workspace, receive_position)
        self._begun = after
        self._before = WorkspacePosition(after.position, after.mark)
        self._keeps_pages = keeps_pages
        self._ends = LogEnds(after.position)

    def take(self, read: LogRead, now: Now) -> None:
        """Add the events of the next pages."""
        for run_page in read.run_pages if isinstance(read, WorkspaceRead) else ():
            self._add(run_page, now)

    def _add(self, run_page: RunPage, now: Now) -> None:
        run_id, stored, mark = run_page
        events = events_of(stored.page)
        if not self._ends.follows(run_id, stored):
            text = (
                f"The broker lost a part of the log of flow run {run_id}; some of its events are "
                "missing, or come again: read the run on Prefect's server to be sure"
            )
            self.notify(NoticeCode.LOG_LOST, text, now, run_id)
        before, page_id = self._before, stored.page.page_id
        begun = self._begun.count if self._begun.page_id == page_id else 0
        after = WorkspacePosition(stored.position, mark)
        if self._keeps_pages:
            if events[begun:]:
                self.pages.append((after, events[begun:]))
        else:
            for count, event in enumerate(events[begun:], begun + 1):
                position = WorkspacePosition(before.position, before.mark, page_id, count)
                self.pages.append((after if count == len(events) else position, (event,)))
        self._before = after


def events_of(page: Page) -> tuple[FlowRunEvent, ...]:
    """Return the events of a page; none of a part of an event.

    Raises:
        InvalidEvent: A later version has written it.
    """
    return () if page.parts > 1 else tuple(map(decode_event, page.body.split(b"\n")))


class LogEnds:
    """How far the logs were read, to find that a page does not follow the one before it."""

    def __init__(self, after: int) -> None:
        """Begin after a position, to which all logs were read."""
        self._after = after
        self._ends: OrderedDict[str, int] = OrderedDict()

    def follows(self, run_id: str, stored: StoredPage) -> bool:
        """Record a page as read; return False if its log lost pages before it.

        A log that is made anew, whose first page follows none, has lost none.
        """
        end = self._ends.pop(run_id, None)
        self._ends[run_id] = stored.position
        if len(self._ends) > _MOST_ENDS:
            _, forgotten = self._ends.popitem(last=False)
            self._after = max(self._after, forgotten)
        if end is None:
            return stored.previous <= self._after
        return stored.previous in {0, end}
