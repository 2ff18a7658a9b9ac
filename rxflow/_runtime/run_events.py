"""The events of one run, selected from those of several."""

from reactivex import Observable
from reactivex import operators as ops

from rxflow._runtime.paged import PagedObservable, pages_of, select
from rxflow._watching.event_order import EventPage
from rxflow.events import Closed, FlowRunEvent


def events_of_run(
    source: PagedObservable[FlowRunEvent], flow_run_id: str
) -> Observable[FlowRunEvent]:
    """Select the events of one run."""
    return select(source, lambda event: event.flow_run_id == flow_run_id)


def events_to_closed(
    source: PagedObservable[FlowRunEvent], flow_run_id: str
) -> PagedObservable[FlowRunEvent]:
    """Select the events of one run, up to its `Closed`."""
    own = pages_of(events_of_run(source, flow_run_id))
    # The last event of a run ends a page.
    return PagedObservable(own.pipe(ops.take_while(_goes_on, inclusive=True)))


def _goes_on(page: EventPage) -> bool:
    return not isinstance(page[-1], Closed)
