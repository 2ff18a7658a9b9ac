"""Watch a flow run: the merge of its sources, the streams derived from it, and waiting for the end.

Which queries are sent and which events are emitted is decided in `_watching`; when and in which
thread, in `_runtime`.
"""

import os
from contextlib import aclosing
from datetime import datetime, timedelta
from random import Random
from typing import Any, Literal, cast
from uuid import UUID

import msgspec
from reactivex import Observable, abc, merge
from reactivex import operators as ops
from reactivex.disposable import CompositeDisposable, Disposable

from rxflow._models.arguments import canonical_id, check_type
from rxflow._models.entities import Snapshot
from rxflow._runtime.checkpoint_use import checkpoint_use_of
from rxflow._runtime.engine import Engine, EngineSession
from rxflow._runtime.journal_use import journal_use_of
from rxflow._runtime.paged import PagedObservable
from rxflow._runtime.resumed_watch import FileUse, acks_of, check_has_no_acks, resumed_watch
from rxflow._runtime.run_events import events_of_run
from rxflow._runtime.scheduling import scheduler_for
from rxflow._runtime.shared_pages import SharedPages, pages_of_source
from rxflow._views.temporary_client import check_client
from rxflow._watching.event_order import EventPage
from rxflow._watching.fold import fold
from rxflow._watching.run_session import RunSession
from rxflow._watching.run_tree_session import RunTreeSession
from rxflow._watching.spec_arguments import spec_of_arguments, spec_of_wait
from rxflow._watching.watch_spec import EventSource, WatchSpec
from rxflow.client import Client
from rxflow.errors import RunNotFound
from rxflow.events import (
    Closed,
    FlowRunEvent,
    FlowRunLog,
    Notice,
    RunChanged,
    RunSeen,
    StateChange,
    TaskRunStateChange,
)
from rxflow.stream import Stream
from rxflow.views import FlowRunView

__all__ = ["FlowRunStream", "await_for_flow_run", "wait_for_flow_run", "watch_flow_run"]

_MAX_DURATION = timedelta(hours=12)
"""Default for how long to watch a run that does not end; the same as in Prefect 1."""


class FlowRunStream(PagedObservable[FlowRunEvent], Stream[FlowRunEvent]):
    """The events of one flow run; made by `watch_flow_run`.

    The stream is cold: each subscription and each loop reads the run from its beginning, with
    requests of its own. What `shared` returns, and a stream of `FlowRunsStream.by_run`, are not.
    """

    def __init__(
        self,
        spec: WatchSpec,
        given: Client | None,
        emitted: Observable[EventPage] | None = None,
        *,
        subflows: bool = False,
        file: FileUse | None = None,
    ) -> None:
        """Create a stream; the first request is sent on subscription.

        Args:
            spec: What to watch.
            given: The client of the server to read from; None finds the server from the environment
                and the active profile.
            emitted: The pages of a session that others read as well; None for a session of each
                subscription.
            subflows: Whether to watch the run's subflows, too.
            file: The journal or the checkpoint of each subscription; None for none.

        Raises:
            TypeError: ``given`` is not a `Client`.
        """
        check_client(given)
        # None is used only where others read the session, and no client is needed.
        self._client = cast("Client", given if emitted is not None else given or Client())
        self._spec = spec
        self._subflows = subflows
        self._given = given
        self._emitted = emitted
        self._file = file
        if file is not None:
            whole_pages = self._resumed(msgspec.structs.replace(file, keeps_pages=True))
            super().__init__(self._resumed(file), whole_pages)
        elif emitted is not None:
            super().__init__(emitted)
        else:
            super().__init__(_pages_of(spec, self._client, subflows=subflows))

    def __repr__(self) -> str:
        """Show which run is watched, once the stream is used."""
        if self._emitted is not None:
            return f"<FlowRunStream of {self.flow_run_id}, from a session that is shared>"
        return f"<FlowRunStream of {self.flow_run_id}, not subscribed to until it is used>"

    @property
    def flow_run_id(self) -> str:
        """The run's id."""
        return self._spec.flow_run_id

    @property
    def states(self) -> Stream[StateChange | RunChanged]:
        """The run's state changes, and its row after every other change."""
        return self._part(EventSource.STATES)

    @property
    def logs(self) -> Stream[FlowRunLog]:
        """The run's log lines."""
        return self._part(EventSource.LOGS)

    @property
    def tasks(self) -> Stream[TaskRunStateChange]:
        """The states of the run's task runs, as the polls find them."""
        return self._part(EventSource.TASKS)

    @property
    def notices(self) -> Stream[RunSeen | Notice | Closed]:
        """The events about the watch itself."""
        return self._part(EventSource.NOTICES)

    def shared(self, scheduler: abc.SchedulerBase | None = None) -> "FlowRunStream":
        """Share one session among all subscribers, whenever they come.

        The first subscription starts the session. Each subscriber, whenever it joins, receives
        every event from the first on, in the same order and once, at its own pace and on its own
        scheduler; no subscriber holds up the session or another subscriber. The last one that
        leaves stops the session. To a subscriber that comes later, the history of a session that
        has completed is replayed; after a stop or an error a new session starts.

        The session runs at its own pace, on threads of rxflow. Its events are kept as long as the
        stream is used: some thousands as they are, those before them packed, some 7 MB for 100,000
        log lines; what takes more than 16 MiB goes to a temporary file.

        The parts and views of the stream that is returned use the same session.

        Args:
            scheduler: The scheduler of the session, which subscribers in all threads must be able
                to use; None for turns on threads of rxflow, or for virtual time if the first
                subscriber is in virtual time.

        Returns:
            A stream of the same events.

        Raises:
            ValueError: The stream has a journal and leaves out the events in it, or a checkpoint.

        Example:
            >>> import rxflow
            >>> from rxflow.testing import FakePrefect3
            >>> server = FakePrefect3()
            >>> run_id = server.add_run(state="COMPLETED")
            >>> stream = rxflow.watch_flow_run(run_id, drain=0, client=server.client()).shared()
            >>> len(list(stream)), len(list(stream.states))
            (3, 1)
        """
        if self._file is not None:
            self._file.check_has_all_events("shared")
        emitted = SharedPages(self.whole_pages, scheduler)
        return FlowRunStream(self._spec, self._given, emitted, subflows=self._subflows)

    def views(self) -> Stream[FlowRunView]:
        """Snapshots of the run: the scan of its events, one after each event that changes it.

        The events in a journal are among them, whether they are replayed or not. There are no
        snapshots of its subflows; `FlowRunsStream.views` has those of all runs.
        """
        check_has_no_acks(self._file, "views")
        own = self._own_events(self._from_first_event())
        snapshots: Observable[Snapshot | None] = own.pipe(ops.scan(fold, None))
        views: Observable[FlowRunView] = snapshots.pipe(
            ops.distinct_until_changed(),
            ops.filter(lambda snapshot: snapshot is not None),
            ops.map(self._view),
        )
        return Stream.of(views)

    def ack(self, event: FlowRunEvent) -> None:
        """Acknowledge the events that the stream has handed on, up to one of them.

        For a stream with ``checkpoint=...`` and ``acknowledge="manual"``: an event is acknowledged
        when this is called for it, or for one that was handed on after it. So a program that hands
        events to something else, such as a queue or a batch of rows, calls this once those are
        safe there; what it has not acknowledged when it is killed comes again.

        May be called in any thread, and after the end of the stream or of the loop; each call then
        writes the checkpoint at once, some 10 ms. An event that is acknowledged already is no
        error. Events that a part of the stream or an operator leaves out are acknowledged with the
        next one that is. Up to 10,000 events wait to be acknowledged, and are kept in memory; then
        a `Notice` (`NoticeCode.UNACKNOWLEDGED`) says so, and the watch waits until some are.

        Args:
            event: The last of the events that are done with; of the events of this stream, of a
                part of it such as ``stream.logs``, or of a pipeline. A copy will do.

        Raises:
            TypeError: It is not an event.
            ValueError: The stream has no checkpoint with ``acknowledge="manual"``, or has not
                handed on the event in the subscription or loop that began last. A loop was handed
                an event when it was given it, and one over `pages` all events of the page.
            CheckpointFailed: The stream has ended, and the checkpoint cannot be written, or another
                watch has gone on from it meanwhile.

        Example:
            >>> import rxflow, tempfile
            >>> from rxflow.testing import FakePrefect3
            >>> server = FakePrefect3()
            >>> run_id = server.add_run(state="COMPLETED")
            >>> path = tempfile.mkdtemp() + "/run.ckpt"
            >>> def watch():
            ...     return rxflow.watch_flow_run(
            ...         run_id,
            ...         checkpoint=path,
            ...         acknowledge="manual",
            ...         drain=0,
            ...         client=server.client(),
            ...     )
            >>> stream = watch()
            >>> events = list(stream)
            >>> [event.kind for event in events]
            ['run-seen', 'state', 'closed']
            >>> stream.ack(events[1])
            >>> [event.kind for event in watch()]
            ['closed']
        """
        acks_of(self._file).ack(event)

    def _last_item(self) -> Observable[FlowRunEvent]:
        # Where a journal has all events of the run, or a checkpoint the last of them, that is the
        # result.
        return self._own_events(self._from_first_event()).pipe(ops.last())

    def _own_events(self, source: PagedObservable[FlowRunEvent]) -> Observable[FlowRunEvent]:
        """Select the run's own events, without those of its subflows."""
        return events_of_run(source, self.flow_run_id) if self._subflows else source

    def _from_first_event(self) -> PagedObservable[FlowRunEvent]:
        """Return the events from the run's first on, those in a journal included.

        Of those in a checkpoint, what they fold to.
        """
        if self._file is None:
            return self
        return PagedObservable(self._resumed(self._file.with_known_events()))

    def _resumed(self, use: FileUse) -> Observable[EventPage]:
        return _resumed_pages_of(self._spec, self._client, use, subflows=self._subflows)

    def _view(self, snapshot: Any) -> FlowRunView:
        return FlowRunView.from_snapshot(snapshot, client=self._given)

    def _part(self, source: EventSource) -> Stream[Any]:
        if self._emitted is not None or self._file is not None:
            pages, whole_pages = (
                pages_of_source(emitted, source, self._spec.sources)
                for emitted in (self.page_source, self.whole_pages)
            )
            return Stream.of(PagedObservable(pages, whole_pages))
        spec = msgspec.structs.replace(self._spec, sources=frozenset({source}))
        return Stream.of(PagedObservable(_pages_of(spec, self._client, subflows=self._subflows)))


def watch_flow_run(
    flow_run_id: str | UUID,
    stream_states: bool = True,
    stream_logs: bool = True,
    max_duration: timedelta | float | None = _MAX_DURATION,
    *,
    stream_tasks: bool = False,
    task_states: Literal["latest", "all"] = "latest",
    since: datetime | None = None,
    level: int | str = 0,
    drain: timedelta | float | None = None,
    requests_per_minute: int | None = None,
    subflows: bool = False,
    push: Literal["auto", False] = "auto",
    journal: str | os.PathLike[str] | None = None,
    replay: bool = False,
    on_full: Literal["error", "continue"] = "error",
    checkpoint: str | os.PathLike[str] | None = None,
    acknowledge: Literal["auto", "manual"] = "auto",
    client: Client | None = None,
) -> FlowRunStream:
    """Watch a flow run: every state change and every log line, each once, late ones included.

    The watch begins with the run's first state, however late it is subscribed to. The first request
    is sent when the stream is subscribed to or iterated.

    With ``subflows=True`` the runs that the run starts are watched as well, those that they start,
    and so on. Each event has the ``flow_run_id`` of its own run, and that of the watched run as
    ``root_flow_run_id``; each run begins with its `RunSeen`, which has its name, and ends with its
    `Closed`. The watched run ends last: its `Closed` waits for those of its subflows.

    With ``journal="run.jsonl"`` the watch goes on where an earlier one ended, however that was
    killed, and emits only what is new. Each event is appended to that file, as a line of JSON, just
    before it is handed on: the next one is not before the loop or the observer is done with it. A
    consumer that was killed while it handled an event does not get that one again, unless it
    replays the journal. ``stream.pages()`` appends and hands on a page as a whole. The first line
    of the file says what is watched. The file is created with mode 0600, in a directory that
    exists, and locked while it is in use; each subscription, loop, part or ``await`` opens it, so
    there is one of them at a time. A fork leaves it to the parent. It is forced to the disk when
    the watch ends; a power failure before that may take events from its end, which then come again.
    ``await stream`` and ``stream.run()`` return the last event, of the journal or a new one.
    With ``subflows=True`` the journal is a directory with a file for each run, as in
    `watch_flow_runs`.

    With ``checkpoint="run.ckpt"`` the watch goes on as well, without a file of all events: for a
    program that keeps them elsewhere, or not at all. An event that was not acknowledged when the
    watch was killed comes again. A loop acknowledges an event when it wants the next one, an
    observer when it returns, and ``stream.pages()`` a page as a whole; what operators such as
    ``buffer`` hold back is acknowledged. The file is written once a second, or after 1,000 events,
    and at the end, and replaced as a whole: after a kill, what was acknowledged since then comes
    again, too. It has 64 kB at most where some ten lines are logged a second, and the run's states
    and task runs. Beside it are ``run.ckpt.prev``, the checkpoint before it, which is used with a
    `Notice` if the newest is damaged, and ``run.ckpt.lock``. All have the mode 0600. If the file
    cannot be written, a `Notice` (`NoticeCode.CHECKPOINT_STALE`) says so, and the watch goes on.
    With ``acknowledge="manual"`` an event is acknowledged by `FlowRunStream.ack` alone, also after
    the end of the stream. With ``subflows=True`` the checkpoint is a directory with a file for each
    run, as in `watch_flow_runs`.

    Args:
        flow_run_id: The run's id, a UUID.
        stream_states: Whether to emit state changes.
        stream_logs: Whether to emit log lines.
        max_duration: Maximum time to watch a run that does not end, in seconds if a number; None
            for no limit. It breaks off a request under way. A run that is over is watched to its
            end, as long as the server replies.
        stream_tasks: Whether to emit the states of the run's task runs.
        task_states: Which of their states: ``"latest"`` are those in which the polls find them, so
            that a state shorter than the time between two polls is missed; ``"all"`` are all that
            the server has, for one more request per change of a task run, or per 200 of them on
            Prefect 1.
        since: Emit only log lines of this time and later, an aware datetime. States are always
            complete.
        level: Emit only log lines of this level and above, a number as in `logging` or a name such
            as ``"WARNING"``.
        drain: Quiet time without new rows before the watch of a run that is over is closed, in
            seconds if a number; None for 5 s on Prefect 3, or up to 30 s while the line is missing
            that its engine logs last, and 10 s on Prefect 1, whose log lines arrive later.
        requests_per_minute: The most requests to send in any minute; None for no limit. A sixth of
            them may be sent one right after another. Events come later, and none is lost.
        subflows: Whether to watch the run's subflows, too, to any depth. They are looked for every
            0.5 to 5 s. Prefect 1 does not know which runs are subflows; a `Notice` says so.
        push: ``"auto"`` to let a Prefect 3 server announce changes over a websocket, where it does
            and the package ``websockets`` is installed (the extra ``ws``), so that they are polled
            for at once; False to poll alone. The events are the same.
        journal: The path of the file to go on from and to append to, or with ``subflows`` that of
            the directory, which is created if there is none; None for no journal. It is for the
            same run, streams, task states, ``since`` and ``level``.
        replay: Whether the events that the journal has are emitted first, as they were.
        on_full: What to do when the journal cannot be written because the disk is full:
            ``"error"`` to end the stream with `JournalFailed`, or ``"continue"`` to emit a `Notice`
            (`NoticeCode.JOURNAL_FULL`) and go on without it.
        checkpoint: The path of the file to go on from, which is created if there is none, or with
            ``subflows`` that of the directory; None for no checkpoint. It is for the same run,
            streams, task states, ``since`` and ``level``, and the same API.
        acknowledge: ``"auto"`` if the consumer is done with an event when it takes the next one;
            ``"manual"`` to acknowledge events by `FlowRunStream.ack`, for one that hands them to
            something else.
        client: The client of the server to read from; None finds the server from the environment
            and the active profile.

    Returns:
        A stream of events. The first is `RunSeen`, or a `Notice` of an outage before it; the last
        is `Closed`. After a journal that ends with `Closed` there is none, unless the run went on
        or got more lines. The stream ends with an error instead:

        - `RunNotFound` if the server has no such run,
        - `WatchTimedOut` after ``max_duration``,
        - `AuthError`, `NotAPrefectApi`, `UnsupportedServer` or `Unreachable` if the watch cannot
          begin. Once it has begun, it continues through outages and emits a `Notice` of each,
        - `InvalidJournal` if the file is not a journal of this watch, or damaged; it is left as it
          is. `JournalFailed` if it cannot be opened or written, or another watch has it open,
        - `InvalidCheckpoint` and `CheckpointFailed`, likewise.

    Raises:
        InvalidRunId: The id is not a UUID.
        ConfigurationError: No server is configured.
        TypeError: An argument is of another type.
        ValueError: ``task_states`` is neither of the two, a duration is negative or not a number,
            ``since`` has no time zone, no level is named ``level``, ``requests_per_minute`` is
            less than 1, ``push``, ``on_full`` or ``acknowledge`` is another value, ``replay`` or
            ``on_full`` is passed without a journal, ``acknowledge`` without a checkpoint, or a
            checkpoint together with a journal.

    Example:
        >>> import rxflow
        >>> for event in rxflow.watch_flow_run(flow_run_id):  # doctest: +SKIP
        ...     print(event.timestamp, event.level, event.message)
    """
    spec = spec_of_arguments(
        canonical_id("flow_run_id", flow_run_id),
        stream_states=stream_states,
        stream_logs=stream_logs,
        stream_tasks=stream_tasks,
        task_states=task_states,
        max_duration=max_duration,
        since=since,
        level=level,
        drain=drain,
        requests_per_minute=requests_per_minute,
        push=push,
    )
    check_type("subflows", subflows, bool, "True or False")
    journal_use = journal_use_of(journal, replay=replay, on_full=on_full, is_directory=subflows)
    checkpoint_use = checkpoint_use_of(
        checkpoint,
        acknowledge=acknowledge,
        is_directory=subflows,
        has_journal=journal is not None,
    )
    return FlowRunStream(spec, client, subflows=subflows, file=journal_use or checkpoint_use)


def wait_for_flow_run(
    flow_run_id: str | UUID,
    timeout: timedelta | float | None = None,
    *,
    raise_final_state: bool = False,
    client: Client | None = None,
) -> FlowRunView:
    """Wait until a run is over and a second read confirms it; return the final view.

    Args:
        flow_run_id: The run's id, a UUID.
        timeout: Maximum time to wait, in seconds if a number; None for no limit.
        raise_final_state: Whether to raise `FlowRunFailed` unless the run completed.
        client: The client of the server to read from; None finds the server from the environment
            and the active profile.

    Returns:
        The run in its final state.

    Raises:
        TypeError: An argument is of another type.
        ValueError: ``timeout`` is negative or not a number.
        WatchTimedOut: The run was not over within ``timeout``.
        FlowRunFailed: The run did not complete, and ``raise_final_state`` is set.
        RunNotFound: The server has no such run, or it was deleted during the wait.
        RxflowError: As for `watch_flow_run`.

    Example:
        >>> import rxflow
        >>> from rxflow.testing import FakePrefect3
        >>> server = FakePrefect3()
        >>> run_id = server.add_run(state="COMPLETED")
        >>> view = rxflow.wait_for_flow_run(run_id, timeout=600, client=server.client())
        >>> view.state.is_completed()
        True
    """
    check_type("raise_final_state", raise_final_state, bool, "True or False")
    for event in _watch_to_end(flow_run_id, timeout, client):
        view = _final_view(event, client, raise_final_state=raise_final_state)
        if view is not None:
            return view
    raise _deleted(flow_run_id)


async def await_for_flow_run(
    flow_run_id: str | UUID,
    timeout: timedelta | float | None = None,  # noqa: ASYNC109 - the same as in its blocking twin
    *,
    raise_final_state: bool = False,
    client: Client | None = None,
) -> FlowRunView:
    """Wait as `wait_for_flow_run` does, on the running event loop.

    Args:
        flow_run_id: The run's id, a UUID.
        timeout: Maximum time to wait, in seconds if a number; None for no limit.
        raise_final_state: Whether to raise `FlowRunFailed` unless the run completed.
        client: The client of the server to read from; None finds the server from the environment
            and the active profile.

    Returns:
        The run in its final state.

    Raises:
        TypeError: An argument is of another type.
        ValueError: ``timeout`` is negative or not a number.
        WatchTimedOut: The run was not over within ``timeout``.
        FlowRunFailed: The run did not complete, and ``raise_final_state`` is set.
        RunNotFound: The server has no such run, or it was deleted during the wait.
        RxflowError: As for `watch_flow_run`.
    """
    check_type("raise_final_state", raise_final_state, bool, "True or False")
    stream = _watch_to_end(flow_run_id, timeout, client)
    async with aclosing(aiter(stream)) as events:
        async for event in events:
            view = _final_view(event, client, raise_final_state=raise_final_state)
            if view is not None:
                return view
    raise _deleted(flow_run_id)


def _watch_to_end(
    flow_run_id: str | UUID, timeout: timedelta | float | None, client: Client | None
) -> FlowRunStream:
    wanted = canonical_id("flow_run_id", flow_run_id)
    return FlowRunStream(spec_of_wait(wanted, timeout), client)


def _final_view(
    event: FlowRunEvent, client: Client | None, *, raise_final_state: bool
) -> FlowRunView | None:
    match event:
        case Closed(view=Snapshot() as view) if view.run.is_terminal:
            if raise_final_state:
                event.raise_for_state()
            return FlowRunView.from_snapshot(view, client=client)
        case _:
            return None


def _deleted(flow_run_id: str | UUID) -> RunNotFound:
    return RunNotFound(f"Flow run {flow_run_id} was deleted before it was over")


def _pages_of(spec: WatchSpec, client: Client, *, subflows: bool = False) -> Observable[EventPage]:
    """Return the watch as pages: for each subscription one session, its sources and their merge."""

    def subscribe(
        observer: abc.ObserverBase[EventPage], given: abc.SchedulerBase | None = None
    ) -> abc.DisposableBase:
        kind = RunTreeSession if subflows else RunSession
        session = kind(spec, Random())  # noqa: S311 - jitter, not a secret
        return _subscribe_to(session, spec, client, scheduler_for(given), observer)

    return Observable(subscribe)


def _resumed_pages_of(
    spec: WatchSpec, client: Client, use: FileUse, *, subflows: bool
) -> Observable[EventPage]:
    """Return the watch as pages, for each subscription a session that goes on from a file."""

    def subscribe(
        observer: abc.ObserverBase[EventPage], given: abc.SchedulerBase | None = None
    ) -> abc.DisposableBase:
        scheduler = scheduler_for(given)
        random = Random()  # noqa: S311 - jitter, not a secret
        session = (
            RunTreeSession(spec, random, goes_on=True) if subflows else RunSession(spec, random)
        )
        resumed, writer = resumed_watch(
            session, spec, use, scheduler, observer, api_url=client.api_url
        )
        subscription = _subscribe_to(resumed, spec, client, scheduler, writer)
        return CompositeDisposable(subscription, writer)

    return Observable(subscribe)


def _subscribe_to(
    session: EngineSession,
    spec: WatchSpec,
    client: Client,
    scheduler: abc.SchedulerBase,
    observer: abc.ObserverBase[EventPage],
) -> abc.DisposableBase:
    """Subscribe to the merge of a session's sources."""
    engine = Engine(session, client, scheduler, spec.sources)
    pages = merge(*(engine.source(source) for source in sorted(spec.sources)))
    subscription = pages.subscribe(observer, scheduler=scheduler)
    return CompositeDisposable(subscription, Disposable(engine.dispose))
