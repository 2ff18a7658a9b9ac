"""Wait for many flow runs: until all of them are over.

A wait is a watch of many runs that emits neither log lines nor task runs, and does not drain.
"""

from collections.abc import Iterable
from contextlib import aclosing
from datetime import datetime, timedelta
from uuid import UUID

from rxflow._models.arguments import check_type
from rxflow._models.entities import Snapshot
from rxflow._protocol.queries import RunFilter
from rxflow._runtime.watched_runs import given_ids, watched_runs
from rxflow._watching.run_filters import Ids, Texts, run_filter_of
from rxflow._watching.spec_arguments import spec_of_wait
from rxflow.client import Client
from rxflow.errors import RunNotFound
from rxflow.events import AllClosed, Closed, FlowRunEvent
from rxflow.views import FlowRunView
from rxflow.watch_runs import FlowRunsStream

__all__ = ["await_for_flow_runs", "wait_for_flow_runs"]


def wait_for_flow_runs(
    flow_run_ids: Iterable[str | UUID] | None = None,
    timeout: timedelta | float | None = None,
    *,
    deployment: Ids | None = None,
    flow: Ids | None = None,
    tags: Iterable[str] | None = None,
    name: Texts | None = None,
    states: Texts | None = None,
    work_pool: Texts | None = None,
    started_after: datetime | None = None,
    parent: Ids | None = None,
    raise_final_state: bool = False,
    client: Client | None = None,
) -> list[FlowRunView]:
    """Wait until runs are over and a second read confirms it; return their final views.

    Args:
        flow_run_ids: The runs' ids, UUIDs; None for the runs that match filters.
        timeout: Maximum time to wait, in seconds if a number; None for no limit.
        deployment: Only runs of this deployment; this filter and the others are as in
            `list_flow_runs`. The runs that match are looked for once, at the beginning.
        flow: The same, by the flow.
        tags: The same, by tags, all of which a run must have.
        name: The same, by the run's name.
        states: The same, by the state that the run is in when it is looked for.
        work_pool: The same, by the work pool.
        started_after: The same, by the time of the start.
        parent: The same, by the flow run that the run is a subflow of.
        raise_final_state: Whether to raise `FlowRunFailed` unless all runs completed.
        client: The client of the server to read from; None finds the server from the environment
            and the active profile.

    Returns:
        A view of each run in its final state, in the order of the ids; of runs that match filters
        by descending expected start. An empty list if no run matches, also since no deployment,
        flow or work pool has the name that was given.

    Raises:
        InvalidRunId: An id is not a UUID.
        TypeError: An argument is of another type.
        ValueError: Neither ids nor filters are given, or both; a filter is none, as for
            `list_flow_runs`; or ``timeout`` is negative or not a number.
        WatchTimedOut: Some runs were not over within ``timeout``; the message names them.
        RunNotFound: The server does not have one of the runs, or it was deleted during the wait.
        FlowRunFailed: A run did not complete, and ``raise_final_state`` is set.
        RxflowError: As for `watch_flow_runs`.

    Example:
        >>> import rxflow
        >>> from rxflow.testing import FakePrefect3
        >>> server = FakePrefect3()
        >>> runs = [server.add_run(state=state) for state in ("COMPLETED", "FAILED")]
        >>> views = rxflow.wait_for_flow_runs(runs, timeout=600, client=server.client())
        >>> [view.state.name for view in views]
        ['Completed', 'Failed']
        >>> _ = server.add_run(name="nightly", tags=["prod"], state="COMPLETED")
        >>> views = rxflow.wait_for_flow_runs(tags=["prod"], client=server.client())
        >>> [view.name for view in views]
        ['nightly']
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
    stream, finals = _watch_to_end(flow_run_ids, where, timeout, raise_final_state, client)
    for event in stream:
        finals.receive(event)
    return finals.views()


async def await_for_flow_runs(
    flow_run_ids: Iterable[str | UUID] | None = None,
    timeout: timedelta | float | None = None,  # noqa: ASYNC109 - the same as in its blocking twin
    *,
    deployment: Ids | None = None,
    flow: Ids | None = None,
    tags: Iterable[str] | None = None,
    name: Texts | None = None,
    states: Texts | None = None,
    work_pool: Texts | None = None,
    started_after: datetime | None = None,
    parent: Ids | None = None,
    raise_final_state: bool = False,
    client: Client | None = None,
) -> list[FlowRunView]:
    """Async twin of `wait_for_flow_runs`, on the running event loop."""
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
    stream, finals = _watch_to_end(flow_run_ids, where, timeout, raise_final_state, client)
    async with aclosing(aiter(stream)) as events:
        async for event in events:
            finals.receive(event)
    return finals.views()


class _Finals:
    """The final views of the runs of a wait."""

    def __init__(self, ids: tuple[str, ...] | None, *, raises: bool, client: Client | None) -> None:
        self._ids = ids
        self._raises = raises
        self._client = client
        self._views: dict[str, FlowRunView] = {}

    def receive(self, event: FlowRunEvent) -> None:
        """Keep the view of a run that is closed."""
        match event:
            case AllClosed() if self._raises:
                event.raise_for_state()
            case Closed(flow_run_id=run_id, view=Snapshot() as view) if view.run.is_terminal:
                self._views[run_id] = FlowRunView.from_snapshot(view, client=self._client)
            case Closed(flow_run_id=run_id, view=None):
                raise RunNotFound(f"The server has no flow run {run_id}; check the id")
            case Closed(flow_run_id=run_id):
                raise RunNotFound(f"Flow run {run_id} was deleted before it was over")
            case _:
                pass

    def views(self) -> list[FlowRunView]:
        """Return the views in the order of the ids, else the newest first."""
        if self._ids is None:
            return sorted(self._views.values(), key=_expected_start, reverse=True)
        return [self._views[run_id] for run_id in self._ids]


def _expected_start(view: FlowRunView) -> datetime:
    run = view.snapshot.run
    return run.expected_start_time or run.created


def _watch_to_end(
    flow_run_ids: Iterable[str | UUID] | None,
    where: RunFilter,
    timeout: timedelta | float | None,
    raise_final_state: bool,
    client: Client | None,
) -> tuple[FlowRunsStream, _Finals]:
    check_type("raise_final_state", raise_final_state, bool, "True or False")
    ids = None if flow_run_ids is None else given_ids(flow_run_ids)
    stream = FlowRunsStream(watched_runs(ids, where), spec_of_wait("", timeout), client)
    return stream, _Finals(ids, raises=raise_final_state, client=client)
