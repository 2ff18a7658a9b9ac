"""`list_flow_runs`: views of the flow runs that match filters, the newest first.

Pages are bounded by the expected start of the last run that was read, and not by an offset: runs
that appear or disappear meanwhile move no other run to another page. Runs of one expected start are
in no order; where they fill a page, they are read in the order that has no ties.
"""

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta

from msgspec.structs import replace

from rxflow._models.arguments import positive_count
from rxflow._models.entities import FlowRun, Snapshot
from rxflow._own_log import log
from rxflow._protocol.pages import MalformedRow, Page, Poll
from rxflow._protocol.queries import RunFilter, RunsQuery
from rxflow._views.flow_run_view import FlowRunView
from rxflow._views.temporary_client import agiven_or_temporary, given_or_temporary
from rxflow._watching.run_filters import Ids, Texts, run_filter_of
from rxflow.client import Client

_RESOLUTION = timedelta(microseconds=1)  # of the servers' times


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


def read_newest(
    where: RunFilter, rows: int, most: int | None = None, *, before: datetime | None = None
) -> Poll[Page[FlowRun]]:
    """Read the runs that match a filter, in descending order of their expected start.

    Args:
        where: The filter.
        rows: The most rows the server returns at once.
        most: The most runs to read; None for all of them.
        before: Only runs whose expected start is at this time or earlier; None for all of them.
    """
    found = _Found(most)
    limit = min(rows, most or rows)
    query = RunsQuery(where=where, before=before, newest_first=True, limit=limit)
    while not found.is_full:
        page: Page[FlowRun] = yield query
        found.add(page)
        if page.count < query.limit:
            break
        last = page.rows[-1].expected_start_time if page.rows else None
        if last is None:
            query = replace(query, offset=query.offset + page.count)
        elif page.rows[0].expected_start_time != last:
            query = replace(query, before=last, offset=0)
        else:
            yield from _read_tied(replace(query, after=last, before=last), found)
            query = replace(query, before=last - _RESOLUTION, offset=0)
    return found.page


def _read_tied(query: RunsQuery, found: "_Found") -> Poll[None]:
    """Read all runs of one expected start."""
    query = replace(query, newest_first=False, offset=0)
    while not found.is_full:
        page: Page[FlowRun] = yield query
        found.add(page)
        if page.count < query.limit:
            return
        query = replace(query, offset=query.offset + page.count)


class _Found:
    """The runs that were read, each once."""

    def __init__(self, most: int | None) -> None:
        self._most = most
        self._rows: dict[str, FlowRun] = {}
        self._malformed: dict[str, MalformedRow] = {}

    def add(self, page: Page[FlowRun]) -> None:
        """Add the runs of a page that were not read before."""
        for row in page.rows:
            self._rows.setdefault(row.id, row)
        self._malformed |= {row.id: row for row in page.malformed}

    @property
    def is_full(self) -> bool:
        """Whether enough runs were read."""
        return self._most is not None and len(self._rows) >= self._most

    @property
    def page(self) -> Page[FlowRun]:
        """The runs as one page."""
        malformed = tuple(self._malformed.values())
        return Page(tuple(self._rows.values())[: self._most], malformed=malformed)
