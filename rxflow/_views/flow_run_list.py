"""`list_flow_runs`: views of the flow runs that match filters, the newest first."""

from collections.abc import Callable, Iterable
from datetime import datetime

from rxflow._models.arguments import positive_count
from rxflow._models.entities import FlowRun, Snapshot
from rxflow._own_log import log
from rxflow._protocol.pages import Page, Poll
from rxflow._protocol.queries import RunFilter
from rxflow._views.flow_run_view import FlowRunView
from rxflow._views.newest_runs import read_newest
from rxflow._views.temporary_client import agiven_or_temporary, given_or_temporary
from rxflow._watching.run_filters import Ids, Texts, run_filter_of
from rxflow.client import Client


def list_flow_runs(
    *,
    deployment: Ids | None = None,
    flow: Ids | None = None,
    tags: Iterable[str] | None = None,
    name: Texts | None = None,
    states: Texts | None = None,
    work_pool: Texts | None = None,
    started_after: datetime | None = None,
    parent: Ids | None = None,
    limit: int | None = None,
    client: Client | None = None,
) -> list[FlowRunView]:
    """List the flow runs that match all filters, the newest first.

    They are in descending order of their expected start. A request reads up to 200 runs; the list
    has each run once, although others appear meanwhile. A filter takes one value or several, any of
    which a run may match. On Prefect 1 there is no filter by deployment, work pool or parent.

    Args:
        deployment: Only runs of the deployment with this id, or with this name after that of its
            flow, such as ``"report/nightly"``.
        flow: Only runs of the flow with this name or id. On Prefect 1 the versions of a flow have
            an id each.
        tags: Only runs that have all these tags; on Prefect 1 labels.
        name: Only the runs of this name.
        states: Only runs in a state of this type, as a `StateType` or its name in upper or lower
            case, or of this name, such as ``"Late"``.
        work_pool: Only runs in the work pool of this name.
        started_after: Only runs that started at this time or later, or have not started and are due
            then; an aware datetime.
        parent: Only the subflows that the flow run with this id has started itself.
        limit: The most runs to return; None for all of them.
        client: The client of the server to read from; None finds the server from the environment
            and the active profile.

    Returns:
        A view of each run. Of its states it has the current one; `FlowRunView.get_latest` reads all
        of them. Runs that cannot be read are left out, and a warning in rxflow's log counts them.

    Raises:
        InvalidRunId: ``parent`` is not a UUID.
        ConfigurationError: No server is configured.
        UnsupportedFilter: The server cannot filter by one of the arguments.
        ServerError: The server's responses were errors for 30 s, or one that no retry mends.
        Unreachable: The server did not respond for 30 s.
        TypeError: An argument is of another type, such as one tag in place of several.
        ValueError: An argument has no values, or one that is empty, a deployment is neither an id
            nor ``flow/name``, a state is misspelt, ``started_after`` has no time zone, or ``limit``
            is less than 1.

    Example:
        >>> import rxflow
        >>> from rxflow.testing import FakePrefect3
        >>> server = FakePrefect3()
        >>> _ = server.add_run(name="monday", flow="report", state="FAILED", tags=["prod"])
        >>> _ = server.add_run(name="tuesday", flow="report", state="RUNNING", tags=["prod"])
        >>> runs = rxflow.list_flow_runs(flow="report", tags=["prod"], client=server.client())
        >>> [(run.name, run.state.name) for run in runs]
        [('tuesday', 'Running'), ('monday', 'Failed')]
        >>> failed = rxflow.list_flow_runs(states=["FAILED", "CRASHED"], client=server.client())
        >>> [run.name for run in failed]
        ['monday']
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
    poll = _poll_of(where, limit)
    with given_or_temporary(client) as used:
        return _views(used.read(poll), client)


async def alist_flow_runs(
    *,
    deployment: Ids | None = None,
    flow: Ids | None = None,
    tags: Iterable[str] | None = None,
    name: Texts | None = None,
    states: Texts | None = None,
    work_pool: Texts | None = None,
    started_after: datetime | None = None,
    parent: Ids | None = None,
    limit: int | None = None,
    client: Client | None = None,
) -> list[FlowRunView]:
    """Async twin of `list_flow_runs`, on the running event loop."""
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
    poll = _poll_of(where, limit)
    async with agiven_or_temporary(client) as used:
        return _views(await used.aread(poll), client)


def _poll_of(where: RunFilter, limit: int | None) -> Callable[[int], Poll[Page[FlowRun]]]:
    most = None if limit is None else positive_count("limit", limit)
    return lambda rows: read_newest(where, rows, most)


def _views(read: Page[FlowRun], client: Client | None) -> list[FlowRunView]:
    if read.malformed:
        text = "{} flow runs cannot be read and are left out of a list; the first: {}"
        log("WARNING", text, len(read.malformed), read.malformed[0].reason)
    return [
        FlowRunView.from_snapshot(
            Snapshot(run=run, states=(run.state,) if run.state else ()), client=client
        )
        for run in read.rows
    ]
