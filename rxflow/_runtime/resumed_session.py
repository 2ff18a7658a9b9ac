"""What a session is wrapped in that goes on from a file, be it a journal or a checkpoint.

Belongs here: what both do alike, which is to wait for the file, to cut pages, and to pass on what
is about push. Does not belong here: what the file has, and when it is written (`journaled_session`,
`checkpointed_session`).
"""

from collections import deque
from collections.abc import Iterable
from typing import Generic, TypeVar

from rxflow._models.times import Now
from rxflow._protocol.failures import Failure
from rxflow._protocol.push import Announcement, PushSubscription, PushTopic
from rxflow._runtime.engine import EngineSession
from rxflow._watching.event_order import EventPage, EventPages
from rxflow._watching.session import Wait
from rxflow._watching.watch_spec import EventSource
from rxflow.errors import RxflowError

_HANDOVER = 1.0  # seconds for which a watch that is just ending may have the file
_HANDOVER_PAUSE = 0.05  # seconds between two attempts to open it

S = TypeVar("S", bound=EngineSession)


class ResumedSession(Generic[S]):
    """Runs a session whose pages are cut, and taken one by one where a loop wants the next one."""

    def __init__(self, session: S, *, keeps_pages: bool, on_demand: bool) -> None:
        """Wrap a session.

        Args:
            session: The session; no command was taken from it.
            keeps_pages: Whether the events of a page are handed on together.
            on_demand: Whether a page is emitted only when the consumer wants the next one.
        """
        self._session = session
        self._keeps_pages = keeps_pages
        self._on_demand = on_demand
        self._pages: deque[tuple[EventSource, EventPage]] = deque()
        self._opens_until: float | None = None  # in monotonic seconds

    # -- the file -------------------------------------------------------------------------------

    def _await_file(self, in_use: RxflowError, now: Now) -> Wait:
        """Wait until a watch that is just ending has closed the file.

        Operators such as `take` complete first, and then dispose of the watch.

        Args:
            in_use: The error that another watch has it.
            now: The time.

        Raises:
            RxflowError: The other watch is not just ending.
        """
        if self._opens_until is None:
            self._opens_until = now.mono + _HANDOVER
        if now.mono >= self._opens_until:
            raise in_use
        return Wait(_HANDOVER_PAUSE)

    # -- pages ----------------------------------------------------------------------------------

    def _add(self, pages: EventPages) -> None:
        """Add pages that are to be emitted, of one event each unless pages are kept."""
        if self._keeps_pages:
            self._pages.extend(pages)
        else:
            self._pages.extend((source, (event,)) for source, page in pages for event in page)

    def _pop_pages(self) -> EventPages:
        """Return the next page to emit, or all of them."""
        if self._on_demand and self._pages:
            return (self._pages.popleft(),)
        pages = tuple(self._pages)
        self._pages.clear()
        return pages

    # -- push -----------------------------------------------------------------------------------

    def push_subscriptions(self, now: Now) -> tuple[PushSubscription, ...]:
        """Return what the server is to announce from now on."""
        return self._session.push_subscriptions(now)

    def has_run(self, flow_run_id: str) -> bool:
        """Whether a run is watched, and not over. Callable from any thread."""
        return self._session.has_run(flow_run_id)

    def receive_announcements(self, announcements: Iterable[Announcement], now: Now) -> None:
        """Make the polls due whose runs have changed."""
        self._session.receive_announcements(announcements, now)

    def receive_push_failure(
        self, topic: PushTopic, failure: Failure, now: Now, *, opened: bool
    ) -> None:
        """Receive that a connection for announcements ended, or could not be opened."""
        self._session.receive_push_failure(topic, failure, now, opened=opened)
