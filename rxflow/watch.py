"""Watching: the sources, their merge, and what is derived from it."""

from collections.abc import AsyncGenerator, Generator
from contextlib import aclosing, closing
from datetime import datetime, timedelta
from random import Random
from typing import Any, TypeVar

import msgspec
from reactivex import Observable, abc, merge
from reactivex import operators as ops
from reactivex.disposable import CompositeDisposable, Disposable

from rxflow._models.arguments import canonical_id, seconds_of
from rxflow._models.entities import Snapshot
from rxflow._runtime.engine import Engine, EventPage
from rxflow._runtime.scheduling import scheduler_for
from rxflow._watching.fold import fold
from rxflow._watching.session import Session
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
from rxflow.stream import Stream, aiterate, iterate
from rxflow.views import FlowRunView

__all__ = ["FlowRunStream", "await_for_flow_run", "wait_for_flow_run", "watch_flow_run"]

_MAX_DURATION = timedelta(hours=12)
"""How long a run is watched that does not end, as in Prefect 1."""

T_co = TypeVar("T_co", covariant=True)


class _Paged(Stream[T_co]):
    """The events of each page, one by one; in a loop without a call into Rx for each of them."""

    def __init__(self, pages: Observable[tuple[T_co, ...]]) -> None:
        super().__init__(_flat(pages))
        self._pages = pages

    def __iter__(self) -> Generator[T_co]:
        with closing(iterate(self._pages)) as pages:
            for page in pages:
                yield from page

    async def __aiter__(self) -> AsyncGenerator[T_co]:
        async with aclosing(aiterate(self._pages)) as pages:
            async for page in pages:
                for event in page:
                    yield event


class FlowRunStream(_Paged[FlowRunEvent]):
    """The events of one flow run; made by `watch_flow_run`.

    It is cold: each subscription, and each loop over it, asks the server for itself, from the
    run's first moment on.
    """

    def __init__(self, spec: WatchSpec, given: Client | None) -> None:
        """Make a stream that has asked nothing yet.

        Args:
            spec: What to watch.
            given: The server to ask; found from the environment and the active profile if None.
        """
        self._client = given or Client()
        super().__init__(_merged(spec, self._client))
        self._spec = spec
        self._given = given

    @property
    def states(self) -> Stream[StateChange | RunChanged]:
        """The run's state changes, and its row whenever it changed otherwise."""
        return _Paged(self._part(EventSource.STATES))

    @property
    def logs(self) -> Stream[FlowRunLog]:
        """The run's log lines alone."""
        return _Paged(self._part(EventSource.LOGS))

    @property
    def tasks(self) -> Stream[TaskRunStateChange]:
        """The states that the run's task runs are found in."""
        return _Paged(self._part(EventSource.TASKS))

    @property
    def notices(self) -> Stream[RunSeen | Notice | Closed]:
        """What the watch itself has to say."""
        return _Paged(self._part(EventSource.NOTICES))

    def views(self) -> Stream[FlowRunView]:
        """Snapshots of the run: the scan of its events, whenever it says something new."""
        snapshots: Observable[Snapshot | None] = self.pipe(ops.scan(fold, None))
        views: Observable[FlowRunView] = snapshots.pipe(
            ops.distinct_until_changed(),
            ops.filter(lambda snapshot: snapshot is not None),
            ops.map(self._view),
        )
        return Stream.of(views)

    def _view(self, snapshot: Any) -> FlowRunView:
        return FlowRunView.from_snapshot(snapshot, client=self._given)

    def _part(self, source: EventSource) -> Observable[Any]:
        alone = msgspec.structs.replace(self._spec, sources=frozenset({source}))
        return _merged(alone, self._client)


def watch_flow_run(
    flow_run_id: str,
    stream_states: bool = True,
    stream_logs: bool = True,
    max_duration: timedelta | float | None = _MAX_DURATION,
    *,
    stream_tasks: bool = False,
    since: datetime | None = None,
    level: int = 0,
    drain: timedelta | float | None = None,
    client: Client | None = None,
) -> FlowRunStream:
    """Watch a flow run: every state change and every log line, each once, to the last late one.

    However late the watch begins, it tells the run's life from its first moment. Nothing is asked
    before the stream is subscribed to or iterated.

    Args:
        flow_run_id: The run's id, a UUID.
        stream_states: Whether to tell state changes.
        stream_logs: Whether to tell log lines.
        max_duration: For how long to watch a run that does not end, in seconds if a number; None
            is for ever. A run that is over is told to its end all the same.
        stream_tasks: Whether to tell the states of the run's task runs. A state that lasted
            shorter than the time between two polls is not seen.
        since: Only log lines of this time and later; states always come whole.
        level: Only log lines of this level and above, as in `logging`.
        drain: For how long nothing new must come before a run that is over is closed, in seconds
            if a number; None is 5 s on Prefect 3 and 10 s on Prefect 1, whose lines come later.
        client: The server to ask; found from the environment and the active profile if None.

    Returns:
        A stream of events. The first is `RunSeen`, unless a `Notice` of an outage comes before it;
        the last is `Closed`. It ends with an error instead:

        - `RunNotFound` if the server has no such run,
        - `WatchTimedOut` after ``max_duration``,
        - `AuthError`, `NotAPrefectApi`, `UnsupportedServer` or `Unreachable` if it cannot begin;
          once it has begun it outlasts outages, and says so by a `Notice`.

    Raises:
        InvalidRunId: The id is not a UUID.
        ConfigurationError: No server is configured.
        ValueError: A time is negative, not a number, or without a time zone.

    Example:
        >>> import rxflow
        >>> for event in rxflow.watch_flow_run(flow_run_id):  # doctest: +SKIP
        ...     print(event.timestamp, event.level, event.message)
    """
    run_id = canonical_id(flow_run_id)
    if since is not None and since.tzinfo is None:
        raise ValueError(f"since={since!r} has no time zone; pass an aware datetime")
    asked = {
        EventSource.STATES: stream_states,
        EventSource.LOGS: stream_logs,
        EventSource.TASKS: stream_tasks,
        EventSource.NOTICES: True,
    }
    spec = WatchSpec(
        flow_run_id=run_id,
        sources=frozenset(source for source, wanted in asked.items() if wanted),
        level=level,
        since=since,
        drain=None if drain is None else seconds_of("drain", drain),
        max_duration=None if max_duration is None else seconds_of("max_duration", max_duration),
    )
    return FlowRunStream(spec, client)


def wait_for_flow_run(
    flow_run_id: str,
    timeout: timedelta | float | None = None,
    *,
    client: Client | None = None,
) -> FlowRunView:
    """Wait until a run is over, confirmed by one further look, and return what it is then.

    Args:
        flow_run_id: The run's id, a UUID.
        timeout: For how long to wait, in seconds if a number; None is for ever.
        client: The server to ask; found from the environment and the active profile if None.

    Raises:
        ValueError: ``timeout`` is negative or not a number.
        WatchTimedOut: The run was not over by then.
        RunNotFound: The server has no such run, or it was deleted meanwhile.
        RxflowError: As for `watch_flow_run`.
    """
    for event in _until_over(flow_run_id, timeout, client):
        view = _over(event, client)
        if view is not None:
            return view
    raise _deleted(flow_run_id)


async def await_for_flow_run(
    flow_run_id: str,
    timeout: timedelta | float | None = None,  # noqa: ASYNC109 - as in its blocking twin
    *,
    client: Client | None = None,
) -> FlowRunView:
    """Wait as `wait_for_flow_run` does, on the running event loop.

    Args:
        flow_run_id: The run's id, a UUID.
        timeout: For how long to wait, in seconds if a number; None is for ever.
        client: The server to ask; found from the environment and the active profile if None.

    Raises:
        ValueError: ``timeout`` is negative or not a number.
        WatchTimedOut: The run was not over by then.
        RunNotFound: The server has no such run, or it was deleted meanwhile.
        RxflowError: As for `watch_flow_run`.
    """
    stream = _until_over(flow_run_id, timeout, client)
    async with aclosing(aiter(stream)) as events:
        async for event in events:
            view = _over(event, client)
            if view is not None:
                return view
    raise _deleted(flow_run_id)


def _until_over(
    flow_run_id: str, timeout: timedelta | float | None, client: Client | None
) -> FlowRunStream:
    limit = None if timeout is None else seconds_of("timeout", timeout)
    return watch_flow_run(
        flow_run_id, stream_logs=False, max_duration=limit, drain=0, client=client
    )


def _over(event: FlowRunEvent, client: Client | None) -> FlowRunView | None:
    match event:
        case Closed(view=Snapshot() as view) if view.run.is_terminal:
            return FlowRunView.from_snapshot(view, client=client)
        case _:
            return None


def _deleted(flow_run_id: str) -> RunNotFound:
    return RunNotFound(f"Flow run {flow_run_id} was deleted before it was over")


def _merged(spec: WatchSpec, client: Client) -> Observable[EventPage]:
    """A watch, once for each subscription: one session, its sources, and their merge."""

    def subscribe(
        observer: abc.ObserverBase[EventPage], given: abc.SchedulerBase | None = None
    ) -> abc.DisposableBase:
        scheduler = scheduler_for(given)
        session = Session(spec, Random())  # noqa: S311 - jitter, not a secret
        engine = Engine(session, client, scheduler, spec.sources)
        pages = merge(*(engine.source(source) for source in sorted(spec.sources)))
        subscription = pages.subscribe(observer, scheduler=scheduler)
        return CompositeDisposable(subscription, Disposable(engine.dispose))

    return Observable(subscribe)


def _flat(pages: Observable[tuple[T_co, ...]]) -> abc.Subscription[T_co]:
    """The events of each page, one by one."""

    def subscribe(
        observer: abc.ObserverBase[T_co], scheduler: abc.SchedulerBase | None = None
    ) -> abc.DisposableBase:
        tell = observer.on_next

        def on_next(page: tuple[T_co, ...]) -> None:
            for event in page:
                tell(event)

        return pages.subscribe(
            on_next, observer.on_error, observer.on_completed, scheduler=scheduler
        )

    return subscribe
