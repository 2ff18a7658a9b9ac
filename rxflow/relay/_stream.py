"""`rxflow.relay.stream`: a run's log on a broker, or all logs, as a stream with all faces."""

import os
import ssl
from collections.abc import Callable
from typing import Any
from uuid import UUID

from reactivex import Observable, abc
from reactivex.disposable import CompositeDisposable, Disposable

from rxflow._models.arguments import canonical_id, check_type
from rxflow._runtime.engine import Engine, EngineSession
from rxflow._runtime.paged import PagedObservable
from rxflow._runtime.scheduling import scheduler_for
from rxflow._watching.event_order import EventPage
from rxflow._watching.watch_spec import EventSource
from rxflow.events import FlowRunEvent
from rxflow.relay._connections import broker_access
from rxflow.relay._log_channel import LogSource
from rxflow.relay._log_session import LogSession
from rxflow.relay._position import LogPosition
from rxflow.relay._workspace_channel import WorkspaceSource
from rxflow.relay._workspace_position import WorkspacePosition
from rxflow.relay._workspace_session import WorkspaceSession
from rxflow.stream import Stream

ALL = "*"
"""Stands for all runs, in place of an id."""

_ONLY = frozenset({EventSource.NOTICES})


class RelayedStream(PagedObservable[FlowRunEvent], Stream[FlowRunEvent]):
    """The events of one flow run, or of all, from a relay's logs; made by `rxflow.relay.stream`.

    The stream is cold: each subscription and each loop reads from where it begins.
    """

    def __init__(
        self, source: LogSource | WorkspaceSource, after: LogPosition | WorkspacePosition
    ) -> None:
        """Create a stream; the broker is connected to on subscription.

        Args:
            source: What is read.
            after: After which event to begin.
        """
        self._source = source
        self._position = after
        super().__init__(self._pages(keeps_pages=False), self._pages(keeps_pages=True))

    def __repr__(self) -> str:
        """Show what is read, once the stream is used."""
        runs = "all runs" if self.flow_run_id == ALL else self.flow_run_id
        return f"<RelayedStream of {runs}, not subscribed to until it is used>"

    @property
    def flow_run_id(self) -> str:
        """The run's id; ``"*"`` for all runs."""
        return ALL if isinstance(self._source, WorkspaceSource) else self._source.run_id

    @property
    def position(self) -> str | None:
        """After which event a stream goes on if this is passed as ``after``; None for the first.

        It is that of the event handed on last: in a loop the one that its body handles, in
        ``on_next`` the one passed to it; with ``pages()``, the last of the page. Keep it once you
        are done with the event, best together with what you made of it: then a reader that is
        killed goes on without a loss and without a repeat. Of several subscriptions to one stream,
        it is that of the one that was handed an event last. Operators that hold events back, such
        as ``buffer``, are behind it.
        """
        return None if self._position.is_start else str(self._position)

    def _pages(self, *, keeps_pages: bool) -> Observable[EventPage]:
        def receive_position(position: LogPosition | WorkspacePosition) -> None:
            self._position = position

        after = self._position

        def subscribe(
            observer: abc.ObserverBase[EventPage], given: abc.SchedulerBase | None = None
        ) -> abc.DisposableBase:
            scheduler = scheduler_for(given)
            source = self._source
            session = _session_of(source, after, receive_position, keeps_pages=keeps_pages)
            engine = Engine(session, source, scheduler, _ONLY)
            pages = engine.source(EventSource.NOTICES)
            subscription = pages.subscribe(observer, scheduler=scheduler)
            return CompositeDisposable(subscription, Disposable(engine.dispose))

        return Observable(subscribe)


def _session_of(
    source: LogSource | WorkspaceSource,
    after: Any,  # of the source's kind
    receive_position: Callable[[LogPosition | WorkspacePosition], None],
    *,
    keeps_pages: bool,
) -> EngineSession:
    workspace = source.access.workspace
    if isinstance(source, WorkspaceSource):
        return WorkspaceSession(workspace, after, receive_position, keeps_pages=keeps_pages)
    return LogSession(source.run_id, workspace, after, receive_position, keeps_pages=keeps_pages)


def stream(
    url: str,
    flow_run_id: str | UUID,
    *,
    workspace: str = "default",
    after: str | None = None,
    wants: bool = True,
    user: str | None = None,
    password: str | None = None,
    token: str | None = None,
    creds: str | os.PathLike[str] | None = None,
    tls: ssl.SSLContext | None = None,
) -> RelayedStream:
    """Read the events that relays have appended to logs on a broker: of one flow run, or of all.

    The stream begins with the run's first event, however late it is subscribed to, and goes on as
    the run does, to its `Closed`. Any number of programs may read a run; each gets the same events
    in the same order, whichever relay has found them. A run that went on after its `Closed` is
    read to the `Closed` that nothing follows.

    While it is read, the run is said to be wanted, so that a relay of the workspace watches it.
    Faults of the broker delay events, and none is lost or repeated. If no relay is at work for ten
    seconds, a `Notice` (`NoticeCode.NOT_RELAYED`) says so, and another (`NoticeCode.RECOVERED`)
    when one is. These two are the reader's own; the notices of the relay's watch that name no run,
    such as that Prefect's server does not reply, are in no log.

    With ``"*"`` in place of an id, the stream has the events of all runs of the workspace: those of
    each log from its first event on, then of all as they grow, those that begin later included. The
    events of a run are in order; those of several are mixed, as the logs have grown; each event has
    its ``flow_run_id``. Such a stream never ends by itself, and says of no run that it is wanted.
    It has each `Closed` of a run, which may go on after it. A log that is dropped before it was
    read is left out, and one that is made anew is read from its first event, `RunSeen`, on. If the
    broker lost pages of one log, a `Notice` (`NoticeCode.LOG_LOST`) says so.

    A loop that blocks reads on a thread of rxflow, which all such streams share; an async one on
    its own event loop. Streams of one loop, URL and workspace share a connection.

    Args:
        url: The URL of the broker, such as ``nats://localhost:4222``; of a NATS cluster several,
            joined by commas.
        flow_run_id: The run's id, a UUID; or ``"*"`` for all runs.
        workspace: The name that relays and readers have agreed on.
        after: The `position` of an earlier stream of the same run, or of all runs, to go on after
            the event that it was handed last; None for the first event. After the run's `Closed`, a
            stream ends without an event unless the run went on; a relay has five seconds to find
            that.
        wants: Whether to say that the run is wanted; False reads only what relays find that look
            for runs by themselves, and needs no right to write to the broker. Of no effect for all
            runs.
        user: A user of the broker, if it is not in the URL.
        password: Its password.
        token: A token of NATS.
        creds: The path of a file with NATS credentials.
        tls: How certificates are verified, and which one the broker is shown.

    Returns:
        A stream of events. The last one of a run is `Closed`. It ends with an error instead:

        - `BrokerFailed` if the broker cannot be reached when the stream begins, or refuses it,
        - `RelayLogLost` if the broker lost events that were read, or the log was made anew: read
          the run again, without ``after``,
        - `RelayLogTrimmed` if the broker no longer has the run's first events,
        - `InvalidRelayLog` or `InvalidEvent` if a later version of rxflow has written the log.

    Raises:
        ConfigurationError: The URL is of no broker, or a package is missing; some brokers say so
            as the stream's first error.
        InvalidRunId: The id is neither a UUID nor ``"*"``.
        TypeError: An argument is of another type.
        ValueError: ``after`` is not a position.

    Example:
        >>> import rxflow.relay
        >>> for event in rxflow.relay.stream("nats://localhost:4222", run_id):  # doctest: +SKIP
        ...     print(event)
    """
    check_type("wants", wants, bool, "True or False")
    access = broker_access(
        url, workspace, user=user, password=password, token=token, creds=creds, tls=tls
    )
    if flow_run_id == ALL:
        place = WorkspacePosition.parse("after", after)
        return RelayedStream(WorkspaceSource(access, place), place)
    position = LogPosition.parse("after", after)
    run_id = canonical_id("flow_run_id", flow_run_id)
    return RelayedStream(LogSource(access, run_id, position, wants), position)
