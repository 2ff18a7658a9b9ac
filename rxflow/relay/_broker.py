"""What a relay requires of a broker: a log of pages for each run, wants, and leases.

    relay --append--> log of a run --read, follow--> reader
      ^                                                |
      +------------ wanted <-------- want -------------+

A log only grows, by pages, and each page names the one that it follows. `Broker.append` stores a
page only if the log still ends where the writer has read it to; so a log is right with two writers
or none, and a lease merely saves the second one its work. A relay that takes over reads the log,
and goes on after the events in it.

Belongs here: the protocol, in terms that every broker can meet. Does not belong here: a broker's
client (`_nats`, `_redis`, `_memory`), or what is in a page (`_pages`).
"""

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, NamedTuple, Protocol

import msgspec

if TYPE_CHECKING:
    from rxflow.relay._group import GroupMember, GroupOptions

WANT_SECONDS = 30.0
"""For how long a run is wanted after the last reader said so."""


class Page(msgspec.Struct, frozen=True):
    """Some events of a run that follow each other in its log, or a part of one that is too large.

    Attributes:
        page_id: Of this page alone. A writer compares it, if it does not know whether a page was
            stored.
        previous_id: The `page_id` of the page before it in the log; "" for the first. A broker
            that lost the end of a log may have another page at the same position.
        first: The number of its first event among those of the log, from 0.
        count: How many events it has; of each part of an event, 1.
        body: The events as lines of JSON, or a part of the one event.
        part: Which part of an event it is, from 1.
        parts: How many parts the event has; 1 if the page is whole.
        is_end: Whether its last event is the run's `Closed`.
    """

    page_id: str
    previous_id: str
    first: int
    count: int
    body: bytes
    part: int = 1
    parts: int = 1
    is_end: bool = False


class StoredPage(NamedTuple):
    """A page in a log.

    Attributes:
        position: Where the broker has it, above 0. Positions of a workspace grow with each page
            that is stored, whatever its log, and mean nothing else.
        previous: The position of the page before it in the log; 0 for none.
        page: The page.
        is_last: Whether nothing followed it when it was read; None if that is not known.
    """

    position: int
    previous: int
    page: Page
    is_last: bool | None


class RunPage(NamedTuple):
    """A page in the log of some run of the workspace.

    Attributes:
        run_id: The run.
        stored: The page; whether nothing follows it is not known.
        mark: What the broker needs, beside the position, to go on after it: lower-case letters and
            digits.
    """

    run_id: str
    stored: StoredPage
    mark: str


class LogEnd(NamedTuple):
    """How the log of a run ends now.

    Attributes:
        run_id: The run.
        position: The position of its last page.
        stored_at: When that page was stored, by the broker's clock, in seconds since 1970.
        is_closed: Whether it ends with the run's `Closed`.
    """

    run_id: str
    position: int
    stored_at: float
    is_closed: bool


class Moved(Exception):
    """Another writer appended to a log: read what, before going on. It never leaves the relay."""


class LogFollower(Protocol):
    """Reads the pages of a log, in order and each once, and then waits for more."""

    async def pages(
        self,
        timeout: float,  # noqa: ASYNC109 - that nothing came is no error
    ) -> list[StoredPage]:
        """Return the next pages; none if there is none within some seconds.

        Raises:
            RelayLogLost: The log is not the one that was read before, or is shorter now.
            RelayLogTrimmed: The beginning of the log is gone.
            InvalidRelayLog: The log has something else than pages of a relay.
            BrokerFailed: The broker refuses it.
        """
        ...

    async def aclose(self) -> None:
        """Release what the broker and its client hold for it. May be called twice."""
        ...


class WorkspaceFollower(Protocol):
    """Reads the pages of all logs of a workspace, in the order of their positions, each once.

    A log that is dropped before it was read is left out. One that is made anew has pages that were
    not read yet.
    """

    async def pages(
        self,
        timeout: float,  # noqa: ASYNC109 - that nothing came is no error
    ) -> list[RunPage]:
        """Return the next pages; none if there is none within some seconds.

        Raises:
            RelayLogLost: The broker lost pages that were read, so that positions mean others now.
            InvalidRelayLog: A log has something else than pages of a relay.
            BrokerFailed: The broker refuses it.
        """
        ...

    async def aclose(self) -> None:
        """Release what the broker and its client hold for it. May be called twice."""
        ...


class Lease(Protocol):
    """The right to do some work, which one holder has at a time, as far as the broker knows.

    It is for economy alone: what must not happen twice is refused by `Broker.append`.
    """

    async def acquire(self) -> None:
        """Wait until the lease is free, and take it."""
        ...

    async def hold(self) -> None:
        """Renew the lease; return once another has it."""
        ...

    async def release(self) -> None:
        """Hand the lease over, so that another need not wait until it has run out."""
        ...


class Broker(Protocol):
    """A connection to a broker, in one workspace.

    All methods run on the event loop that it was opened on. While the broker is not there they
    wait, as `append` must; a caller bounds them by a cancellation. Those of a `LogFollower` do not.
    """

    @property
    def failures(self) -> int:
        """How many requests have failed and were sent again."""
        ...

    @property
    def is_full(self) -> bool:
        """Whether a page waits to be appended because the broker has no room for it.

        After a `drop` it is False until a page was refused again.
        """
        ...

    @property
    def refusal(self) -> str | None:
        """Why the broker stores nothing at all, as of a disk that fails; None if it does.

        It replies to what is read meanwhile. No log is dropped for that, since it makes no room.
        """
        ...

    async def setup(
        self, *, replicas: int | None = None, max_bytes: int | None = None
    ) -> list[str]:
        """Create or change on the broker what a relay needs; a reader need not.

        Args:
            replicas: How many servers of a cluster keep each log; None leaves that as it is.
            max_bytes: How large all logs together may become; None leaves that as it is.

        Returns:
            Sentences for people about settings of the broker by which logs may be lost.

        Raises:
            BrokerFailed: The broker refuses it.
            ConfigurationError: It is not set in this way for such a broker.
        """
        ...

    async def append(self, run_id: str, page: Page, *, after: int) -> int:
        """Append a page to the log of a run, and return its position once it is stored.

        Repeats it until the broker says whether the page is stored, so it may take as long as an
        outage, or as the log is full.

        Args:
            run_id: The run.
            page: The page.
            after: The position of the log's last page, 0 if it is empty.

        Raises:
            Moved: The log does not end there; what was appended is not this page.
            BrokerFailed: The broker refuses it, which waiting does not change.
        """
        ...

    async def last(self, run_id: str) -> StoredPage | None:
        """Return the last page of a run's log, as the writer's replica has it; None for none."""
        ...

    async def read(self, run_id: str, *, after: int, limit: int = 64) -> list[StoredPage]:
        """Return the next pages of a log, at most some of them; none after the last one.

        A replica that lags may have fewer than `last`.

        Raises:
            RelayLogTrimmed: The beginning of the log is gone.
            RelayLogLost: A page does not follow the one before it, or the position.
            InvalidRelayLog: The log has something else than pages of a relay.
            BrokerFailed: The broker refuses it.
        """
        ...

    def follow(self, run_id: str, *, after: int, page_id: str = "") -> LogFollower:
        """Return what reads the log from a position on, and goes on as it grows.

        Args:
            run_id: The run.
            after: The position of the last page that was read, 0 for the beginning.
            page_id: The id of that page; "" for any page at that position.
        """
        ...

    async def page_at(self, run_id: str, position: int) -> StoredPage | None:
        """Return the page of a log at a position, at which there was one; None if it is gone.

        Raises:
            InvalidRelayLog: It is not a page of a relay.
            BrokerFailed: The broker refuses it.
        """
        ...

    def follow_all(self, *, after: int, mark: str) -> WorkspaceFollower:
        """Return what reads all logs from a position on, those too that begin later.

        Args:
            after: The position of the last page that was read, 0 for the beginning. No two pages of
                the workspace have the same.
            mark: The mark of that page, "" for the beginning.
        """
        ...

    def member(self, options: "GroupOptions") -> "GroupMember":
        """Return what takes pages as a member of a group.

        Raises:
            ConfigurationError: The broker has no such groups.
        """
        ...

    def ends(self) -> AsyncIterator[LogEnd]:
        """Return how the logs of all runs end, in no order."""
        ...

    async def want(self, run_id: str) -> None:
        """Say that a run is wanted, for the next `WANT_SECONDS`."""
        ...

    def wanted(self) -> AsyncIterator[tuple[str, bool]]:
        """Return which runs are wanted (True), once for each time that it is said, or cease to be.

        What is said several times at once may come as one.
        """
        ...

    def lease(self, name: str, holder: str, seconds: float) -> Lease:
        """Return a lease that runs out unless it is renewed within some seconds.

        Args:
            name: Of the work, the same for all that compete for it.
            holder: Of the process; no two have the same.
            seconds: When it runs out.
        """
        ...

    async def holders(self) -> dict[str, str]:
        """Return who holds which lease: those that were renewed within their time.

        A backend that has to see a lease stand still may count one as held for as long.
        """
        ...

    async def drop(self, run_id: str) -> None:
        """Delete the whole log of a run."""
        ...

    async def aclose(self) -> None:
        """Close the connection. May be called twice."""
        ...
