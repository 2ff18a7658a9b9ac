"""Watch the row of one run alone, for operators that read it by the way.

Its queries, retries and backoff are those of any watch. The watch of all sources, which is their
merge, is in `rxflow.watch`.
"""

from random import Random

from reactivex import Observable, abc
from reactivex.disposable import CompositeDisposable, Disposable

from rxflow._runtime.engine import Engine
from rxflow._runtime.paged import PagedObservable
from rxflow._runtime.query_channels import ChannelOpener
from rxflow._runtime.scheduling import scheduler_for
from rxflow._watching.event_order import EventPage
from rxflow._watching.run_session import RunSession
from rxflow._watching.watch_spec import EventSource, WatchSpec
from rxflow.events import FlowRunEvent


def watch_row(flow_run_id: str, opener: ChannelOpener) -> Observable[FlowRunEvent]:
    """Return a watch of a run without its states, log lines and task runs.

    Args:
        flow_run_id: The run.
        opener: Opens the channel to send queries on, for each subscription one.

    Returns:
        The events of the watch; `RunSeen` has the row, with its state.
    """
    source = EventSource.NOTICES
    spec = WatchSpec(flow_run_id=flow_run_id, sources=frozenset({source}))

    def subscribe(
        observer: abc.ObserverBase[EventPage], given: abc.SchedulerBase | None = None
    ) -> abc.DisposableBase:
        session = RunSession(spec, Random())  # noqa: S311 - jitter, not a secret
        engine = Engine(session, opener, scheduler_for(given), spec.sources)
        subscription = engine.source(source).subscribe(observer)
        return CompositeDisposable(subscription, Disposable(engine.dispose))

    return PagedObservable(Observable(subscribe))
