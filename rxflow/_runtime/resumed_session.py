"""What a session is wrapped in that goes on from a file, be it a journal or a checkpoint.

Belongs here: what both do alike, which is to wait for the file, to cut pages, and to pass on what
is about push. Does not belong here: what the file has, and when it is written (`journaled_session`,
`checkpointed_session`).
"""

from collections import deque
from collections.abc import Callable, Iterable
from typing import Generic, Protocol, TypeVar

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

TakeUp = Callable[[list[str]], None]
"""Adds runs to a session that an earlier watch was not done with."""


class JoiningSession(EngineSession, Protocol):
    """A session of which runs are to be known before they are read."""

    def next_joined(self) -> str | None:
        """Return a run of which the events of before are to be recorded; None if there is none."""
        ...


class ResumedFile(Protocol):
    """What a watch goes on from; a file, or a directory of files."""

    def open(self) -> RxflowError | None:
        """Open it; return an error while another watch has it open."""
        ...

    def unclosed(self) -> list[str]:
        """Return the runs that an earlier watch was not done with."""
        ...


S = TypeVar("S", bound=JoiningSession)


class ResumedSession(Generic[S]):
    """Runs a session whose pages are cut, and taken one by one where a loop wants the next one."""

    def __init__(
        self,
        session: S,
        file: ResumedFile,
        *,
        keeps_pages: bool,
        on_demand: bool,
        take_up: TakeUp | None = None,
    ) -> None:
        """Wrap a session.

        Args:
            session: The session; no command was taken from it.
            file: What it goes on from, which was not opened.
            keeps_pages: Whether the events of a page are handed on together.
            on_demand: Whether a page is emitted only when the consumer wants the next one.
            take_up: Adds the runs to the session that an earlier watch was not done with; None to
                watch only those that join by themselves.
        """
        self._session = session
        self._opened_file = file
        self._take_up = take_up
        self._is_opened = False
        self._keeps_pages = keeps_pages
        self._on_demand = on_demand
        self._pages: deque[tuple[EventSource, EventPage]] = deque()
        self._opens_until: float | None = None  # in monotonic seconds

    # -- the file -------------------------------------------------------------------------------

    def _open(self, now: Now) -> Wait:
        """Open the file, and take up what an earlier watch was not done with."""
        in_use = self._opened_file.open()
        if in_use is not None:
            return self._await_file(in_use, now)
        self._is_opened = True
        if self._take_up is not None:
            self._take_up(self._opened_file.unclosed())
        return Wait(0.0)

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
