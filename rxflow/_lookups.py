"""What views ask: polls that read a run, its task runs, a flow, log lines, and find one of many."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime

import msgspec

from rxflow._cursor import read_all
from rxflow._fold import fold
from rxflow._model import Deployment, Flow, FlowRun, Snapshot, State, StoredResult, TaskRun
from rxflow._polling import (
    DeploymentQuery,
    FlowQuery,
    FlowsQuery,
    Page,
    Poll,
    ResultQuery,
    RunQuery,
    StatesQuery,
    TaskRunQuery,
    TaskRunsQuery,
    TaskRunStatesQuery,
    whole,
)
from rxflow._tasks import TaskRunReader
from rxflow.errors import BadResponse, FlowNotFound, TaskRunNotFound
from rxflow.events import FlowRunEvent, FlowRunLog, RunChanged, RunSeen, StateChange

UNMAPPED = -1
"""The map index of a task run that is the only one of its task."""

_LISTED = 20  # things that a message lists at the most

Names = Callable[[str], tuple[str, ...]]
"""Gives what a task goes by beside its key."""


class TaskRunRead(msgspec.Struct, frozen=True, kw_only=True):
    """A task run as it was read.

    Attributes:
        map_index: Which of the runs of its task it is, by creation; -1 for the only one.
        states: All states that it was in, by time; None if they were not asked for.
    """

    row: TaskRun
    map_index: int = UNMAPPED
    states: tuple[State, ...] | None = None


class FlowRead(msgspec.Struct, frozen=True, kw_only=True):
    """A flow as it was read.

    Attributes:
        deployment: The deployment of the run that was asked about, if it has one.
        version: The flow's version in that run.
    """

    flow: Flow
    deployment: Deployment | None = None
    version: str | None = None


# -- flow runs ----------------------------------------------------------------------------------


def read_snapshot(
    flow_run_id: str, limit: int, *, tasks: bool, known: Iterable[str] = ()
) -> Poll[Snapshot]:
    """Read a run, and of its task runs all, or those that are known.

    Args:
        flow_run_id: The run.
        limit: The most rows the server gives at once.
        tasks: Whether to read all task runs.
        known: Ids of task runs to read otherwise; of these the finished ones are taken.
    """
    page: Page[FlowRun] = yield RunQuery(flow_run_id)
    run = page.rows[0]
    history: Page[State] = yield from whole(StatesQuery(flow_run_id))
    events: list[FlowRunEvent] = [
        RunSeen(flow_run_id=run.id, run=run),
        *(StateChange(flow_run_id=run.id, id=state.id, state=state) for state in history.rows),
        RunChanged(flow_run_id=run.id, run=run),
    ]
    snapshot = Snapshot(run=run)
    for event in events:
        snapshot = fold(snapshot, event) or snapshot
    if tasks:
        rows = yield from read_task_runs(flow_run_id, limit)
    else:
        rows = yield from _read_finished(flow_run_id, tuple(known), limit)
    return msgspec.structs.replace(snapshot, task_runs=rows)


def read_task_runs(flow_run_id: str, limit: int) -> Poll[tuple[TaskRun, ...]]:
    """Read all task runs of a run, in the order of their creation.

    Raises:
        BadResponse: One of them cannot be read.
    """
    read = yield from TaskRunReader(flow_run_id).poll(limit)
    for row in read.malformed:
        raise BadResponse(f"Task run {row.id} cannot be read: {row.reason}")
    return tuple(sorted(read.rows, key=_by_creation))


def read_task_run_ids(flow_run_id: str, limit: int) -> Poll[list[str]]:
    """Read the ids of all task runs of a run, in the order of their creation."""
    read = yield from TaskRunReader(flow_run_id).poll(limit)
    in_order = [row.id for row in sorted(read.rows, key=_by_creation)]
    return in_order + [row.id for row in read.malformed]


def _read_finished(
    flow_run_id: str, task_run_ids: tuple[str, ...], limit: int
) -> Poll[tuple[TaskRun, ...]]:
    rows: list[TaskRun] = []
    for first in range(0, len(task_run_ids), limit):
        some = task_run_ids[first : first + limit]
        page: Page[TaskRun] = yield TaskRunsQuery(
            flow_run_id=flow_run_id, task_run_ids=some, limit=limit
        )
        rows += page.rows
    return tuple(sorted((row for row in rows if row.is_terminal), key=_by_creation))


def _by_creation(row: TaskRun) -> tuple[datetime, str]:
    return row.created, row.id


# -- task runs ----------------------------------------------------------------------------------


def indexed(rows: Iterable[TaskRun]) -> Iterator[TaskRunRead]:
    """Count the runs of each task.

    Args:
        rows: All task runs of a flow run, in the order of their creation.
    """
    rows = tuple(rows)
    number: dict[str, int] = {}
    for row in rows:
        number[row.task_key] = number.get(row.task_key, 0) + 1
    counted: dict[str, int] = {}
    for row in rows:
        index = counted[row.task_key] = counted.get(row.task_key, -1) + 1
        yield TaskRunRead(row=row, map_index=UNMAPPED if number[row.task_key] == 1 else index)


def by_id(
    flow_run_id: str | None,
    task_run_id: str,
    limit: int,
    *,
    slug: str | None = None,
    map_index: int | None = None,
    names: Names,
    known: Mapping[str, str | None],
) -> Poll[TaskRunRead]:
    """Read one task run.

    Args:
        flow_run_id: The flow run that it must belong to, if any.
        task_run_id: Its id.
        limit: The most rows the server gives at once.
        slug: The task that it must be a run of, if any.
        map_index: The map index that it must have, if any.
        names: What a task goes by beside its key.
        known: The state ids of task runs whose states need not be read again.

    Raises:
        TaskRunNotFound: There is none, or it is another's.
    """
    page: Page[TaskRun] = yield TaskRunQuery(task_run_id)
    if not page.rows:
        raise TaskRunNotFound(f"The server knows no task run {task_run_id}")
    owner = page.rows[0].flow_run_id
    if flow_run_id is not None and owner != flow_run_id:
        raise TaskRunNotFound(
            f"Task run {task_run_id} belongs to flow run {owner}, not to {flow_run_id}"
        )
    rows = page.rows if owner is None else (yield from read_task_runs(owner, limit))
    found = {read.row.id: read for read in indexed(rows)}
    read = found.get(task_run_id) or TaskRunRead(row=page.rows[0])
    key = read.row.task_key
    if slug is not None and slug not in (key, *names(key)):
        raise TaskRunNotFound(f"Task run {task_run_id} is a run of {key!r}, not of {slug!r}")
    if map_index is not None and not _fits(read, map_index):
        raise TaskRunNotFound(
            f"Task run {task_run_id} has the map index {read.map_index}, not {map_index}"
        )
    return (yield from _with_states(read, known))


def by_slug(
    flow_run_id: str,
    slug: str,
    map_index: int | None,
    limit: int,
    *,
    names: Names,
    known: Mapping[str, str | None],
) -> Poll[TaskRunRead]:
    """Read the task run of a task.

    Args:
        flow_run_id: The flow run.
        slug: What the task goes by.
        map_index: Which of its runs; -1 or None for the only one.
        limit: The most rows the server gives at once.
        names: What a task goes by beside its key.
        known: The state ids of task runs whose states need not be read again.

    Raises:
        TaskRunNotFound: None fits, or more than one.
    """
    reads = tuple(indexed((yield from read_task_runs(flow_run_id, limit))))
    fitting = [read for read in reads if read.row.task_key == slug]
    fitting = fitting or [read for read in reads if slug in names(read.row.task_key)]
    keys = sorted({read.row.task_key for read in fitting})
    if not keys:
        there = _listed(sorted({read.row.task_key for read in reads}))
        raise TaskRunNotFound(
            f"Flow run {flow_run_id} has no task run of {slug!r}; it has runs of: {there}"
        )
    if len(keys) > 1:
        raise TaskRunNotFound(
            f"{slug!r} goes for several tasks of flow run {flow_run_id}; name one of: "
            f"{_listed(keys)}"
        )
    wanted = UNMAPPED if map_index is None else map_index
    chosen = [read for read in fitting if _fits(read, wanted)]
    if len(chosen) != 1:
        there = _listed([f"{read.map_index}: {read.row.name} ({read.row.id})" for read in fitting])
        raise TaskRunNotFound(
            f"Flow run {flow_run_id} has no one task run of {slug!r} with map index {wanted}; "
            f"by map index it has: {there}"
        )
    return (yield from _with_states(chosen[0], known))


def of_same_task(row: TaskRun, limit: int) -> Poll[tuple[TaskRunRead, ...]]:
    """Read all runs of the task that a task run is a run of, in order; none if it is alone."""
    if row.flow_run_id is None:
        return ()
    rows = yield from read_task_runs(row.flow_run_id, limit)
    reads = [read for read in indexed(rows) if read.row.task_key == row.task_key]
    mapped = sorted((read for read in reads if read.map_index >= 0), key=lambda r: r.map_index)
    return tuple(mapped)


def read_result(task_run_id: str) -> Poll[StoredResult]:
    """Read where the result of a task run is."""
    page: Page[StoredResult] = yield ResultQuery(task_run_id)
    if not page.rows:
        raise TaskRunNotFound(f"The server knows no task run {task_run_id}")
    return page.rows[0]


def _fits(read: TaskRunRead, map_index: int) -> bool:
    # The only run of a task may be that of a task mapped over one item.
    return read.map_index == map_index or (read.map_index == UNMAPPED and map_index == 0)


def _with_states(read: TaskRunRead, known: Mapping[str, str | None]) -> Poll[TaskRunRead]:
    row = read.row
    if row.is_terminal and known.get(row.id) == row.state_id:
        return read
    page: Page[State] = yield TaskRunStatesQuery(row.id)
    states = {state.id: state for state in page.rows}
    if row.state is not None:  # a history may lag behind the row
        states.setdefault(row.state.id, row.state)
    in_order = sorted(states.values(), key=lambda state: state.order)
    return msgspec.structs.replace(read, states=tuple(in_order))


def _listed(words: Sequence[str]) -> str:
    more = f" and {len(words) - _LISTED} more" if len(words) > _LISTED else ""
    return (", ".join(words[:_LISTED]) or "none") + more


# -- flows --------------------------------------------------------------------------------------


def read_flow(flow_id: str, deployment_id: str | None, version: str | None) -> Poll[FlowRead]:
    """Read a flow, and the deployment of one of its runs.

    Raises:
        FlowNotFound: The server knows no such flow.
    """
    page: Page[Flow] = yield FlowQuery(flow_id)
    if not page.rows:
        raise FlowNotFound(f"The server knows no flow {flow_id}")
    deployments: tuple[Deployment, ...] = ()
    if deployment_id is not None:
        deployed: Page[Deployment] = yield DeploymentQuery(deployment_id)
        deployments = deployed.rows
    deployment = deployments[0] if deployments else None
    return FlowRead(flow=page.rows[0], deployment=deployment, version=version)


def read_flow_of_name(name: str, *, last_updated: bool) -> Poll[FlowRead]:
    """Read the flow of a name.

    Raises:
        FlowNotFound: There is none, or more than one and not the last updated is wanted.
    """
    page: Page[Flow] = yield FlowsQuery(name)
    if not page.rows:
        raise FlowNotFound(f"The server knows no flow named {name!r}")
    if len(page.rows) > 1 and not last_updated:
        ids = _listed([flow.id for flow in page.rows])
        raise FlowNotFound(
            f"The server knows several flows named {name!r}: {ids}; pass last_updated=True for "
            "the one that was updated last"
        )
    return FlowRead(flow=max(page.rows, key=lambda flow: flow.updated))


# -- log lines ----------------------------------------------------------------------------------


class Lines:
    """The log lines of a time, of a flow run or of one of its task runs."""

    def __init__(
        self,
        flow_run_id: str,
        start: datetime | None,
        end: datetime | None,
        task_run_id: str | None = None,
    ) -> None:
        """Ask nothing yet.

        Args:
            flow_run_id: The run.
            start: Only lines after this time.
            end: Only lines up to this time.
            task_run_id: Only lines of this task run.

        Raises:
            ValueError: A time has no offset from UTC.
        """
        for time in (start, end):
            if time is not None and time.tzinfo is None:
                raise ValueError(f"{time!r} has no time zone; pass an aware datetime")
        self._flow_run_id = flow_run_id
        self._start = start
        self._end = end
        self._task_run_id = task_run_id

    def poll(self, limit: int) -> Poll[Sequence[FlowRunLog]]:
        """Read the lines, and more."""
        return read_all(self._flow_run_id, self._start, limit)

    def within(self, rows: Iterable[FlowRunLog]) -> list[FlowRunLog]:
        """Those of the rows that were asked for."""
        start, end, task = self._start, self._end, self._task_run_id
        return [
            row
            for row in rows
            if (start is None or row.timestamp > start)
            and (end is None or row.timestamp <= end)
            and (task is None or row.task_run_id == task)
        ]
