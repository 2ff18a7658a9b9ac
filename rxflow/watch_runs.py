"""Watch many flow runs as one stream.

One subscription is one session over all runs: it reads the rows of up to 200 runs by one query, and
their log rows by another. What that means is decided in `rxflow._watching`; when and in which
thread, in `rxflow._runtime`.
"""

import os
from collections.abc import Iterable
from datetime import datetime, timedelta
from random import Random
from typing import Any, Literal, cast
from uuid import UUID

import msgspec
import reactivex
from reactivex import Observable, abc, merge
from reactivex import operators as ops
from reactivex.disposable import CompositeDisposable, Disposable

from rxflow._models.arguments import canonical_id
from rxflow._models.entities import Snapshot
from rxflow._runtime.checkpoint_use import checkpoint_use_of
from rxflow._runtime.engine import Engine, EngineSession
from rxflow._runtime.journal_use import journal_use_of
from rxflow._runtime.paged import PagedObservable
from rxflow._runtime.resumed_watch import FileUse, acks_of, check_has_no_acks, resumed_watch
from rxflow._runtime.run_events import events_of_run, events_to_closed
from rxflow._runtime.run_pages import streams_by_run
from rxflow._runtime.scheduling import scheduler_for
from rxflow._runtime.shared_pages import SharedPages, pages_of_source
from rxflow._runtime.watched_runs import WatchedRuns, watched_runs
from rxflow._views.temporary_client import check_client
from rxflow._watching.event_order import EventPage
from rxflow._watching.fold import fold
from rxflow._watching.run_filters import Ids, Texts, run_filter_of
from rxflow._watching.runs_session import RunsSession
from rxflow._watching.spec_arguments import spec_of_arguments
from rxflow._watching.watch_spec import EventSource, WatchSpec
from rxflow.client import Client
from rxflow.events import (
    AllClosed,
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
from rxflow.watch import FlowRunStream

__all__ = [
    "FlowRunsStream",
    "watch_flow_runs",
]

_MAX_DURATION = timedelta(hours=12)


class FlowRunsStream(PagedObservable[FlowRunEvent], Stream[FlowRunEvent]):
    """The events of many flow runs; made by `watch_flow_runs`.

    The stream is cold: each subscription and each loop reads all runs from their beginning, with
    requests of its own. What `shared` returns is not.
    """

    def __init__(
        self,
        runs: WatchedRuns,
        spec: WatchSpec,
        given: Client | None,
        emitted: Observable[EventPage] | None = None,
        *,
        file: FileUse | None = None,
    ) -> None:
        """Create a stream; the first request is sent on subscription.

        Args:
            runs: The runs.
            spec: What to watch of each run.
            given: The client of the server to read from; None finds the server from the environment
                and the active profile.
            emitted: The pages of a session that others read as well; None for a session of each
                subscription.
            file: The journals or the checkpoints of each subscription; None for none.

        Raises:
            TypeError: ``given`` is not a `Client`.
        """
        check_client(given)
        # None is used only where others read the session, and no client is needed.
        self._client = cast("Client", given if emitted is not None else given or Client())
        self._runs = runs
        self._spec = spec
        self._given = given
        self._emitted = emitted
        self._file = file
        if file is not None:
            whole_pages = self._resumed(msgspec.structs.replace(file, keeps_pages=True))
            super().__init__(self._resumed(file), whole_pages)
        else:
            super().__init__(_pages_of(runs, spec, self._client) if emitted is None else emitted)

    def __repr__(self) -> str:
        """Show how many runs are watched, if that is known, once the stream is used."""
        if self._emitted is not None:
            return f"<FlowRunsStream of {self._runs}, from a session that is shared>"
        return f"<FlowRunsStream of {self._runs}, not subscribed to until it is used>"

    @property
    def states(self) -> Stream[StateChange | RunChanged]:
        """The runs' state changes, and their rows after every other change."""
        return self._part(EventSource.STATES)

    @property
    def logs(self) -> Stream[FlowRunLog]:
        """The runs' log lines."""
        return self._part(EventSource.LOGS)

    @property
    def tasks(self) -> Stream[TaskRunStateChange]:
        """The states of the runs' task runs, as the polls find them."""
        return self._part(EventSource.TASKS)

    @property
    def notices(self) -> Stream[RunSeen | Notice | Closed | AllClosed]:
        """The events about the watch itself."""
        return self._part(EventSource.NOTICES)

    def for_run(self, flow_run_id: str | UUID) -> FlowRunStream:
        """Select the events of one run; the stream ends with its `Closed`.

        Each subscription reads all runs; to read one alone, use `watch_flow_run`. With a journal
        the stream ends when the watch does, since there is no `Closed` if nothing is new, and more
        than one if the run went on after it.

        Args:
            flow_run_id: The run's id, a UUID.

        Raises:
            InvalidRunId: The id is not a UUID.
            ValueError: The run is not one of those that are watched.
        """
        wanted = canonical_id("flow_run_id", flow_run_id)
        if not self._runs.may_have(wanted):
            raise ValueError(f"Flow run {wanted} is not among those that this stream watches")
        if self._file is None:
            return self._run_stream(wanted, events_to_closed(self, wanted).page_source)
        own: Any = events_of_run(self, wanted)
        return self._run_stream(wanted, own.page_source)

    def by_run(self) -> Stream[FlowRunStream]:
        """Divide the events by runs: at each run's first event, emit a stream of its events.

        Each subscription is one session, which runs at its own pace on threads of rxflow, or in
        virtual time if the subscriber does. So a loop over the streams may itself loop over each
        of them, one run after the other, or subscribe to them, all at the same time; no run waits
        for the reader of another.

        The stream of a run has every event of the run, from `RunSeen` to `Closed`, for one
        subscriber: events are kept until it comes, packed as `shared` does, and released once they
        are read. A stream that is dropped without having been subscribed to keeps nothing. A
        second subscription ends with `EventsNotKept`; for several subscribers, share the stream.
        The session stops when the streams are not subscribed to any more, and no run that goes on
        is: neither subscribed to, nor to be subscribed to, since its stream is still held.

        Events that name no run are left out: notices about the server, and `AllClosed`. They are
        in `notices`, of the same session if the watch is shared first.

        Returns:
            A stream of streams, each with its ``flow_run_id``. With a journal, a run that went on
            after its `Closed` has another one from there on.

        Raises:
            ValueError: The stream has a journal and leaves out the events in it.

        Example:
            >>> import rxflow
            >>> from rxflow.testing import FakePrefect3
            >>> server = FakePrefect3()
            >>> runs = [server.add_run(state="COMPLETED") for _ in range(2)]
            >>> stream = rxflow.watch_flow_runs(runs, drain=0, client=server.client())
            >>> for run in stream.by_run():
            ...     print(run.flow_run_id in runs, [event.kind for event in run])
            True ['run-seen', 'state', 'closed']
            True ['run-seen', 'state', 'closed']
        """
        if self._file is not None:
            self._file.check_has_all_events("by_run")
        return Stream.of(PagedObservable(streams_by_run(self.whole_pages, self._run_stream)))

    def _run_stream(self, flow_run_id: str, emitted: Observable[EventPage]) -> FlowRunStream:
        spec = msgspec.structs.replace(self._spec, flow_run_id=flow_run_id)
        return FlowRunStream(spec, self._client, emitted)

    def shared(self, scheduler: abc.SchedulerBase | None = None) -> "FlowRunsStream":
        """Share one session among all subscribers, as `FlowRunStream.shared` does.

        Each receives every event from the first on, whenever it joins. The parts and views of the
        stream that is returned use the same session.

        Args:
            scheduler: The scheduler of the session, which subscribers in all threads must be able
                to use; None for turns on threads of rxflow, or for virtual time if the first
                subscriber is in virtual time.

        Returns:
            A stream of the same events.

        Raises:
            ValueError: The stream has a journal and leaves out the events in it.

        Example:
            >>> import rxflow
            >>> from rxflow.testing import FakePrefect3
            >>> server = FakePrefect3()
            >>> run_id = server.add_run(state="COMPLETED")
            >>> stream = rxflow.watch_flow_runs([run_id], drain=0, client=server.client()).shared()
            >>> len(list(stream)), len(list(stream.states))
            (4, 1)
        """
        if self._file is not None:
            self._file.check_has_all_events("shared")
        emitted = SharedPages(self.whole_pages, scheduler)
        return FlowRunsStream(self._runs, self._spec, self._given, emitted)

    def views(self) -> Stream[FlowRunView]:
        """Snapshots of the runs: after each event that changes a run, the view of that run.

        The events in journals are among them, whether they are replayed or not.
        """
        events: Stream[FlowRunEvent] = self
        check_has_no_acks(self._file, "views")
        if self._file is not None:
            events = Stream.of(PagedObservable(self._resumed(self._file.with_known_events())))

        def changed_views(_: abc.SchedulerBase) -> Observable[FlowRunView]:
            folds = _Folds()
            changed: Observable[Snapshot | None] = events.pipe(ops.map(folds.changed))
            return changed.pipe(
                ops.filter(lambda snapshot: snapshot is not None), ops.map(self._view)
            )

        return Stream.of(reactivex.defer(changed_views))

    def ack(self, event: FlowRunEvent) -> None:
        """Acknowledge the events that the stream has handed on, up to one of them.

        For a stream with ``checkpoint=...`` and ``acknowledge="manual"``, as `FlowRunStream.ack`.
        The events are those of all runs, in the order in which they were handed on.

        Args:
            event: The last of the events that are done with.

        Raises:
            TypeError: It is not an event.
            ValueError: The stream has no checkpoint with ``acknowledge="manual"``, or has not
                handed on the event in the subscription or loop that began last. A loop was handed
                an event when it was given it, and one over `pages` all events of the page.
            CheckpointFailed: The stream has ended, and a checkpoint cannot be written, or another
                watch has gone on from it meanwhile.

        Example:
            >>> import rxflow, tempfile
            >>> from rxflow.testing import FakePrefect3
            >>> server = FakePrefect3()
            >>> runs = [server.add_run(state="COMPLETED") for _ in range(2)]
            >>> path = tempfile.mkdtemp()
            >>> def watch():
            ...     return rxflow.watch_flow_runs(
            ...         runs,
            ...         checkpoint=path,
            ...         acknowledge="manual",
            ...         drain=0,
            ...         client=server.client(),
            ...     )
            >>> stream = watch()
            >>> events = list(stream)
            >>> stream.ack(events[-2])
            >>> [event.kind for event in watch()]
            ['all-closed']
        """
        acks_of(self._file).ack(event)

    def _resumed(self, use: FileUse) -> Observable[EventPage]:
        return _pages_of(self._runs, self._spec, self._client, use)

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
        return Stream.of(PagedObservable(_pages_of(self._runs, spec, self._client)))


def watch_flow_runs(
    flow_run_ids: Iterable[str | UUID] | Observable[str | UUID] | None = None,
    stream_states: bool = True,
    stream_logs: bool = True,
    max_duration: timedelta | float | None = _MAX_DURATION,
    *,
    deployment: Ids | None = None,
    flow: Ids | None = None,
    tags: Iterable[str] | None = None,
    name: Texts | None = None,
    states: Texts | None = None,
    work_pool: Texts | None = None,
    started_after: datetime | None = None,
    parent: Ids | None = None,
    discover: bool = False,
    until: Literal["done", "forever"] | None = None,
    subflows: bool = False,
    stream_tasks: bool = False,
    task_states: Literal["latest", "all"] = "latest",
    since: datetime | None = None,
    level: int | str = 0,
    drain: timedelta | float | None = None,
    requests_per_minute: int | None = None,
    push: Literal["auto", False] = "auto",
    journal: str | os.PathLike[str] | None = None,
    replay: bool = False,
    on_full: Literal["error", "continue"] = "error",
    checkpoint: str | os.PathLike[str] | None = None,
    acknowledge: Literal["auto", "manual"] = "auto",
    client: Client | None = None,
) -> FlowRunsStream:
    """Watch many flow runs as one stream: of each run what `watch_flow_run` emits of it.

    Every event has the ``flow_run_id`` of its run. The events of a run begin with its `RunSeen` and
    end with its `Closed`; ``late`` compares them with each other, and not with those of other runs.
    A run that the server does not have for five seconds has only a `Notice` and its `Closed`, and
    does not end the watch of the others. A `Notice` about the server, or about a run that was never
    read, has an empty ``flow_run_id``. Events of one poll are in order of their timestamps across
    runs.

    However many the runs, one request is sent at a time; while nothing happens, two for every 200
    runs. A run that has just been added is first read by itself, in at least three requests between
    those, and two more close it.

    With ``journal="nightly/"`` the watch goes on where an earlier one ended, as that of one run
    does. The journal is a directory with a file ``<flow_run_id>.jsonl`` for each run, which is read
    when the run joins the watch; of a run that has one, only what is new is emitted. A watch of the
    runs that match filters also goes on with those in the directory that are not closed, whether
    they match or not. Events that name no run, `AllClosed` among them, are in no file. The
    directory is created with mode 0700 if there is none, and locked while it is in use.

    With ``checkpoint="nightly/"`` the watch goes on without files of all events, as that of one run
    does: what was not acknowledged when the watch was killed comes again, of each run in the same
    order. The checkpoint is a directory with a file ``<flow_run_id>.ckpt`` for each run, of 64 kB
    at most as for one run and some 2 kB for a short one, and the one before it; otherwise all is as
    with a journal. Events that name no run are in no file: `AllClosed` comes at the end of each
    watch, and notices do not come again. The files of up to 32 runs that have news are written
    once a second, or after 1,000 events, those first whose news wait longest; those of all runs at
    the end.

    Args:
        flow_run_ids: The runs' ids, UUIDs; an id that comes twice is one run. Or an observable of
            ids, whose runs are watched from when they come; the watch ends once it has completed
            and all its runs are over. None for the runs that match filters.
        stream_states: Whether to emit state changes.
        stream_logs: Whether to emit log lines.
        max_duration: Maximum time to watch runs that do not end, in seconds if a number; None for
            no limit. It breaks off a request under way. If all runs are over, they are watched to
            their end, as long as the server replies. A watch until "forever" has no limit unless
            one is given.
        deployment: Only runs of this deployment; this filter and the others are as in
            `list_flow_runs`. The runs that match are looked for once, at the beginning, unless
            ``discover`` is set.
        flow: The same, by the flow.
        tags: The same, by tags, all of which a run must have.
        name: The same, by the run's name.
        states: The same, by the state that the run is in when it is looked for.
        work_pool: The same, by the work pool.
        started_after: The same, by the time of the start.
        parent: The same, by the flow run that the run is a subflow of.
        discover: Whether to look for runs that match the filters again and again, every 0.5 to 5 s,
            and to watch those that come while others are watched, or that begin to match. A run
            that is found is watched to its end, whether it still matches or not.
        until: When the watch ends. ``"done"``: when all runs are closed and, with ``discover``, a
            look after that has found no more. ``"forever"``: at ``max_duration`` only, with
            `WatchTimedOut`. None is "forever" with ``discover``, else "done".
        subflows: Whether to watch the subflows of all runs, too, to any depth, as in
            `watch_flow_run`. Here a run does not wait for its subflows to be closed.
        stream_tasks: Whether to emit the states of the runs' task runs, for one or two more
            requests per poll of 200 runs.
        task_states: Which of their states, as in `watch_flow_run`.
        since: Emit only log lines of this time and later, an aware datetime. States are always
            complete.
        level: Emit only log lines of this level and above, a number as in `logging` or a name such
            as ``"WARNING"``.
        drain: Quiet time without new rows before the watch of a run that is over is closed, in
            seconds if a number; None for the default of `watch_flow_run`.
        requests_per_minute: The most requests to send in any minute; None for no limit. A sixth of
            them may be sent one right after another. Events come later, and none is lost.
        push: ``"auto"`` to let a Prefect 3 server announce changes over a websocket, where it does
            and the package ``websockets`` is installed (the extra ``ws``), so that they are polled
            for at once; False to poll alone. The events are the same.
        journal: The path of the directory of files to go on from and to append to; None for no
            journal. The files are for the same streams, task states, ``since`` and ``level``.
        replay: Whether the events that the journal has of a run are emitted when it joins the
            watch, as they were, those of one run after those of another.
        on_full: What to do when a journal cannot be written because the disk is full: ``"error"``
            to end the stream with `JournalFailed`, or ``"continue"`` to emit a `Notice`
            (`NoticeCode.JOURNAL_FULL`) and go on without journals.
        checkpoint: The path of the directory to go on from, which is created if there is none; None
            for no checkpoint. The files are for the same streams, task states, ``since`` and
            ``level``, and the same API.
        acknowledge: ``"auto"`` if the consumer is done with an event when it takes the next one;
            ``"manual"`` to acknowledge events by `FlowRunsStream.ack`.
        client: The client of the server to read from; None finds the server from the environment
            and the active profile.

    Returns:
        A stream of events. The last is `AllClosed`, with the outcome of each run. The stream ends
        with an error instead:

        - `WatchTimedOut` after ``max_duration``, with the runs that are not over,
        - `AuthError`, `NotAPrefectApi`, `UnsupportedServer` or `Unreachable` if the watch cannot
          begin. Once it has begun, it continues through outages and emits a `Notice` of each.
        - `UnsupportedFilter` if the server cannot filter by one of the arguments,
        - the error of an observable of ids, or `InvalidRunId` for an item that is not a UUID,
        - `InvalidJournal` if the file of a run is not its journal, or damaged; it is left as it is.
          `JournalFailed` if a file or the directory cannot be opened or written, or another watch
          has it open.
        - `InvalidCheckpoint` and `CheckpointFailed`, likewise.

    Raises:
        InvalidRunId: An id is not a UUID.
        ConfigurationError: No server is configured.
        TypeError: An argument is of another type, such as one id in place of several.
        ValueError: Neither ids nor filters are given, or both; a filter is none, as for
            `list_flow_runs`; ``discover`` is set without filters, or ``until="forever"`` without
            ``discover``; a duration is negative or not a number, ``since`` has no time zone, no
            level is named ``level``, ``requests_per_minute`` is less than 1, ``push``, ``on_full``
            or ``acknowledge`` is another value, ``replay`` or ``on_full`` is passed without a
            journal, ``acknowledge`` without a checkpoint, or a checkpoint together with a journal.

    Example:
        >>> import rxflow
        >>> from rxflow.testing import FakePrefect3
        >>> server = FakePrefect3()
        >>> runs = [server.add_run(state="COMPLETED") for _ in range(3)]
        >>> last = rxflow.watch_flow_runs(runs, drain=0, client=server.client()).run()
        >>> last.message
        '3 flow runs closed: 3 Completed; all verified'
        >>> _ = server.add_run(flow="report", state="FAILED")
        >>> stream = rxflow.watch_flow_runs(flow="report", drain=0, client=server.client())
        >>> stream.run().message
        '1 flow run closed: 1 Failed; all verified'
    """
    where = run_filter_of(
        deployment=deployment,
        flow=flow,
        tags=tags,
        name=name,
        states=states,
        work_pool=work_pool,
        started_after=started_after,
        parent=parent,
    )
    runs = watched_runs(flow_run_ids, where, discover=discover, until=until, subflows=subflows)
    if runs.selection.forever and max_duration is _MAX_DURATION:  # it was not given
        max_duration = None
    spec = spec_of_arguments(
        "",
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
    journal_use = journal_use_of(journal, replay=replay, on_full=on_full, is_directory=True)
    checkpoint_use = checkpoint_use_of(
        checkpoint, acknowledge=acknowledge, is_directory=True, has_journal=journal is not None
    )
    return FlowRunsStream(runs, spec, client, file=journal_use or checkpoint_use)


class _Folds:
    """The snapshot of each run that is not closed yet."""

    def __init__(self) -> None:
        self._snapshots: dict[str, Snapshot | None] = {}

    def changed(self, event: FlowRunEvent) -> Snapshot | None:
        """Fold an event; return the run's snapshot if it changed."""
        known = self._snapshots.get(event.flow_run_id)
        snapshot = fold(known, event)
        if isinstance(event, Closed):
            self._snapshots.pop(event.flow_run_id, None)
        elif snapshot is not None:
            self._snapshots[event.flow_run_id] = snapshot
        return None if snapshot == known else snapshot


def _pages_of(
    runs: WatchedRuns, spec: WatchSpec, client: Client, use: FileUse | None = None
) -> Observable[EventPage]:
    """Return the watch as pages: for each subscription one session over all runs."""

    def subscribe(
        observer: abc.ObserverBase[EventPage], given: abc.SchedulerBase | None = None
    ) -> abc.DisposableBase:
        scheduler = scheduler_for(given)
        random = Random()  # noqa: S311 - jitter, not a secret
        session = RunsSession(spec, random, runs.selection, goes_on=use is not None)
        engine_session: EngineSession = session
        held: list[abc.DisposableBase] = []
        if use is not None:
            # A run that was found is watched to its end, whether it still matches or not.
            take_up = None if runs.selection.where is None else session.add
            engine_session, writer = resumed_watch(
                session, spec, use, scheduler, observer, api_url=client.api_url, take_up=take_up
            )
            observer = writer
            held.append(writer)
        engine = Engine(engine_session, client, scheduler, spec.sources)
        held.append(Disposable(engine.dispose))
        pages = merge(*(engine.source(source) for source in sorted(spec.sources)))
        ids = runs.ids
        if not isinstance(ids, Observable):
            session.add(ids)
            session.complete()
            watch = pages.subscribe(observer, scheduler=scheduler)
            return CompositeDisposable(watch, *held)

        def add(run_id: str | UUID) -> None:
            wanted = canonical_id("flow_run_ids", run_id)
            engine.call(lambda: session.add([wanted]))

        watch = pages.subscribe(observer, scheduler=scheduler)
        given_ids = ids.pipe(ops.do_action(add)).subscribe(
            on_error=engine.fail,
            on_completed=lambda: engine.call(session.complete),
            scheduler=scheduler,
        )
        return CompositeDisposable(given_ids, watch, *held)

    return Observable(subscribe)
