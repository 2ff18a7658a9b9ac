"""`rxflow.relay.consume`: the pages of a workspace shared by several programs, as a stream."""

import os
import ssl
from datetime import timedelta
from uuid import UUID

from reactivex import Observable, abc
from reactivex.disposable import CompositeDisposable, Disposable

from rxflow._models.arguments import canonical_id, seconds_of
from rxflow._models.times import Now
from rxflow._runtime.engine import Engine
from rxflow._runtime.paged import PagedObservable
from rxflow._runtime.scheduling import scheduler_for
from rxflow._watching.event_order import EventPage
from rxflow._watching.watch_spec import EventSource
from rxflow.events import FlowRunEvent
from rxflow.relay._connections import broker_access
from rxflow.relay._group import GroupOptions
from rxflow.relay._group_channel import GroupSource
from rxflow.relay._log_channel import LogRead
from rxflow.relay._names import group_name
from rxflow.relay._reader_session import ReaderSession
from rxflow.relay._workspace_session import WorkspaceRead, events_of
from rxflow.stream import Stream

_ALL = "*"
_ONLY = frozenset({EventSource.NOTICES})


class GroupStream(PagedObservable[FlowRunEvent], Stream[FlowRunEvent]):
    """The events that one member of a group gets; made by `rxflow.relay.consume`.

    The stream is cold: each subscription and each loop is a member of the group.
    """

    def __init__(self, source: GroupSource) -> None:
        """Create a stream; the broker is connected to on subscription.

        Args:
            source: The group.
        """
        self._source = source
        super().__init__(Observable(self._join))

    def __repr__(self) -> str:
        """Show which group it is of."""
        return f"<GroupStream of {self.group!r}, not subscribed to until it is used>"

    @property
    def group(self) -> str:
        """The group's name."""
        return self._source.options.group

    def _join(
        self, observer: abc.ObserverBase[EventPage], given: abc.SchedulerBase | None = None
    ) -> abc.DisposableBase:
        scheduler = scheduler_for(given)
        session = _GroupSession(self._source.access.workspace)
        engine = Engine(session, self._source, scheduler, _ONLY)
        pages = engine.source(EventSource.NOTICES)
        subscription = pages.subscribe(observer, scheduler=scheduler)
        return CompositeDisposable(subscription, Disposable(engine.dispose))


class _GroupSession(ReaderSession[None]):
    """Hands on what one member gets."""

    def __init__(self, workspace: str) -> None:
        super().__init__("", workspace, lambda _: None)

    def take(self, read: LogRead, now: Now) -> None:  # noqa: ARG002
        for page in read.run_pages if isinstance(read, WorkspaceRead) else ():
            if events := events_of(page.stored.page):
                self.pages.append((None, events))


def consume(
    url: str,
    group: str,
    *,
    flow_run_id: str | UUID = _ALL,
    workspace: str = "default",
    redeliver_after: timedelta | float = 30.0,
    user: str | None = None,
    password: str | None = None,
    token: str | None = None,
    creds: str | os.PathLike[str] | None = None,
    tls: ssl.SSLContext | None = None,
) -> GroupStream:
    """Share the events of a workspace with other programs: each page of them is handled by one.

    All streams of one group, in one process or in many, on one machine or on several, share the
    pages of events that relays have stored: those that are there when the first member joins, and
    those that come. A page has up to 500 events of one run.

    A page is acknowledged once its events were handled: when the loop wants the next
    event after the last of the page, or ``on_next`` returns from it. A loop that is left, a
    subscription that is disposed of and an error give the page back, and another member gets it at
    once, with all of its events. A program that is killed gives none back: others get its page
    after ``redeliver_after``. A page that takes longer than that is not handed to others, as long
    as its program lives. So each event is handled at least once, and those of one page by each
    member may come again. Operators that hold events back, such as ``buffer``, or that hand them to
    another thread, acknowledge them too early.

    **The order of a run's events is lost**: two pages of a run may be handled by two members at the
    same time, and a page that was given back comes after later ones. For the order, read with
    `stream`. A group says of no run that it is wanted.

    Args:
        url: The URL of the broker, such as ``nats://localhost:4222``.
        group: The group's name: 1 to 64 letters, digits, ``-`` or ``_``. The broker keeps it, and
            which pages were acknowledged, until it is deleted there, or its logs are.
        flow_run_id: The id of the one run whose events are shared, on NATS; ``"*"`` for all runs.
        workspace: The name that relays and readers have agreed on.
        redeliver_after: After how long without a sign of life of a member others get its page, in
            seconds; the same for all members.
        user: A user of the broker, if it is not in the URL.
        password: Its password.
        token: A token of NATS.
        creds: The path of a file with NATS credentials.
        tls: How certificates are verified, and which one the broker is shown.

    Returns:
        A stream of events, which never ends by itself. It has each `Closed` of a run, and notices
        of its own as `stream` does. It ends with an error:

        - `BrokerFailed` if the broker cannot be reached when the stream begins, or refuses it, or
          the group is there with other arguments,
        - `ConfigurationError` for one run on Redis, whose groups share all runs,
        - `InvalidRelayLog` or `InvalidEvent` if a later version of rxflow has written a page; it is
          given back.

    Raises:
        ConfigurationError: The URL is of no broker, a package is missing, or the name of the group
            is malformed; some brokers say so as the stream's first error.
        InvalidRunId: The id is neither a UUID nor ``"*"``.
        TypeError: An argument is of another type.
        ValueError: ``redeliver_after`` is not above 0.

    Example:
        >>> import rxflow.relay
        >>> for event in rxflow.relay.consume("nats://localhost:4222", "alerts"):  # doctest: +SKIP
        ...     print(event)
    """
    access = broker_access(
        url, workspace, user=user, password=password, token=token, creds=creds, tls=tls
    )
    run_id = None if flow_run_id == _ALL else canonical_id("flow_run_id", flow_run_id)
    seconds = seconds_of("redeliver_after", redeliver_after, zero=False)
    group_options = GroupOptions(group_name(group), run_id, seconds)
    return GroupStream(GroupSource(access, group_options))
