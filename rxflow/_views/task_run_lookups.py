"""Read the task runs of a flow run, all of them or a selected one, as polls."""

from collections.abc import Callable, Iterable, Mapping, Sequence

from msgspec.structs import replace

from rxflow._models.entities import TaskRun, TaskRunState
from rxflow._protocol.pages import Page, Poll, read_all_pages
from rxflow._protocol.queries import TaskRunQuery, TaskRunsQuery, TaskRunStatesQuery
from rxflow._views.map_indexes import UNMAPPED, TaskRunRead, by_map_index, indexed
from rxflow._views.message_lists import listed
from rxflow._watching.task_run_reader import read_task_run_rows
from rxflow.errors import BadResponse, TaskRunNotFound

TaskNames = Callable[[str], tuple[str, ...]]
"""Maps a task key to the other names of the task on the server."""


def read_task_runs(
    flow_run_id: str, limit: int, *, task_key: str = "", map_index: int | None = None
) -> Poll[tuple[TaskRun, ...]]:
    """Read the task runs of a flow run, by creation.

    Args:
        flow_run_id: The flow run.
        limit: The most rows the server returns at once.
        task_key: Only runs of this task, if the server can filter by it.
        map_index: Only runs with this map index, if the server has map indexes.

    Raises:
        BadResponse: A row cannot be read.
    """
    rows, malformed = yield from read_task_run_rows(
        TaskRunsQuery(
            flow_run_ids=(flow_run_id,), task_key=task_key, map_index=map_index, limit=limit
        )
    )
    for row in malformed:
        raise BadResponse(f"Task run {row.id} cannot be read: {row.reason}")
    return by_creation(rows)


def read_task_run_ids(flow_run_id: str, limit: int) -> Poll[list[str]]:
    """Read the ids of all task runs of a flow run, by creation; malformed rows come last."""
    rows, malformed = yield from read_task_run_rows(
        TaskRunsQuery(flow_run_ids=(flow_run_id,), limit=limit)
    )
    return [row.id for row in by_creation(rows)] + [row.id for row in malformed]


def read_finished(
    flow_run_id: str, task_run_ids: Sequence[str], limit: int
) -> Poll[tuple[TaskRun, ...]]:
    """Read the given task runs of a flow run and return the finished ones, by creation."""
    rows: list[TaskRun] = []
    for first in range(0, len(task_run_ids), limit):
        page: Page[TaskRun] = yield TaskRunsQuery(
            flow_run_ids=(flow_run_id,),
            task_run_ids=tuple(task_run_ids[first : first + limit]),
            limit=limit,
        )
        rows += page.rows
    return by_creation(row for row in rows if row.is_terminal)


def read_mapped_runs(row: TaskRun, limit: int) -> Poll[tuple[TaskRunRead, ...] | None]:
    """Read the mapped runs of a task run's task, by map index.

    Returns:
        None if the task was not mapped, or if the server has parents and the task run is none.
    """
    if row.flow_run_id is None:
        return None
    rows = yield from read_task_runs(row.flow_run_id, limit, task_key=row.task_key)
    reads = [read for read in indexed(rows) if read.row.task_key == row.task_key]
    mapped = by_map_index(read for read in reads if read.map_index >= 0)
    if any(read.row.map_index is not None for read in reads):
        return mapped if row.state is not None and row.state.is_mapped else None
    return mapped or None


def read_task_run_by_id(
    flow_run_id: str | None,
    task_run_id: str,
    limit: int,
    *,
    slug: str | None = None,
    map_index: int | None = None,
    names: TaskNames,
    known: Mapping[str, str | None],
) -> Poll[TaskRunRead]:
    """Read a task run by its id.

    Args:
        flow_run_id: The flow run that it must belong to, if any.
        task_run_id: Its id.
        limit: The most rows the server returns at once.
        slug: The task that it must be a run of, if any.
        map_index: The map index that it must have, if any.
        names: The server's other names of a task.
        known: By task run id, the state ids of those whose states need not be read again.

    Raises:
        TaskRunNotFound: The server has no such task run, or it differs from what it must be.
    """
    page: Page[TaskRun] = yield TaskRunQuery(task_run_id)
    if not page.rows:
        raise TaskRunNotFound(f"The server has no task run {task_run_id}")
    row = page.rows[0]
    if flow_run_id is not None and row.flow_run_id != flow_run_id:
        raise TaskRunNotFound(
            f"Task run {task_run_id} belongs to flow run {row.flow_run_id}, not to {flow_run_id}"
        )
    read = yield from _with_map_index(row, limit)
    key = read.row.task_key
    if slug is not None and slug not in (key, *names(key)):
        raise TaskRunNotFound(f"Task run {task_run_id} is a run of {key!r}, not of {slug!r}")
    if map_index is not None and not read.has_map_index(map_index):
        raise TaskRunNotFound(
            f"Task run {task_run_id} has the map index {read.map_index}, not {map_index}"
        )
    return (yield from _with_states(read, known, limit))


def read_task_run_by_slug(
    flow_run_id: str,
    slug: str,
    map_index: int | None,
    limit: int,
    *,
    names: TaskNames,
    known: Mapping[str, str | None],
) -> Poll[TaskRunRead]:
    """Read a task run of a flow run by the slug of its task.

    Args:
        flow_run_id: The flow run.
        slug: The task's key, or another of its names.
        map_index: Which of the task's runs; -1 or None for the only one, or the parent of mapped
            ones.
        limit: The most rows the server returns at once.
        names: The server's other names of a task.
        known: By task run id, the state ids of those whose states need not be read again.

    Raises:
        TaskRunNotFound: No task run matches, or more than one does.
    """
    wanted = UNMAPPED if map_index is None else map_index
    rows = yield from read_task_runs(flow_run_id, limit, task_key=slug, map_index=wanted)
    of_task = _of_task(slug, rows, names)
    matches = [read for read in of_task if read.has_map_index(wanted)]
    if len(matches) == 1 and len({read.row.task_key for read in of_task}) == 1:
        return (yield from _with_states(matches[0], known, limit))
    # The message lists what there is, so without a run of the task all task runs are read.
    rows = rows if of_task else (yield from read_task_runs(flow_run_id, limit))
    raise TaskRunNotFound(_no_match(slug, flow_run_id, wanted, rows, _of_task(slug, rows, names)))


def by_creation(rows: Iterable[TaskRun]) -> tuple[TaskRun, ...]:
    """Sort task runs by their creation."""
    return tuple(sorted(rows, key=lambda row: (row.created, row.id)))


def _of_task(slug: str, rows: Sequence[TaskRun], names: TaskNames) -> tuple[TaskRunRead, ...]:
    """Return the runs of the task with that key or, if there are none, with that other name."""
    of_key = [read for read in indexed(rows) if read.row.task_key == slug]
    return by_map_index(
        of_key or [read for read in indexed(rows) if slug in names(read.row.task_key)]
    )


def _no_match(
    slug: str,
    flow_run_id: str,
    wanted: int,
    rows: Sequence[TaskRun],
    of_task: Sequence[TaskRunRead],
) -> str:
    """Say why no single task run matches, and list those that there are."""
    keys = sorted({read.row.task_key for read in of_task})
    if not keys:
        available = listed(sorted({row.task_key for row in rows}))
        return f"Flow run {flow_run_id} has no task run of {slug!r}; it has runs of: {available}"
    if len(keys) > 1:
        return (
            f"{slug!r} names several tasks of flow run {flow_run_id}; pass one of: {listed(keys)}"
        )
    available = listed([f"{read.map_index}: {read.row.name} ({read.row.id})" for read in of_task])
    return (
        f"Flow run {flow_run_id} has no single task run of {slug!r} with map index {wanted}; "
        f"by map index it has: {available}"
    )


def _with_map_index(row: TaskRun, limit: int) -> Poll[TaskRunRead]:
    """Take the server's map index or, if it has none, count the runs of the flow run."""
    if row.map_index is not None or row.flow_run_id is None:
        return TaskRunRead(row=row, map_index=UNMAPPED if row.map_index is None else row.map_index)
    rows = yield from read_task_runs(row.flow_run_id, limit)
    found = {read.row.id: read for read in indexed(rows)}
    return found.get(row.id) or TaskRunRead(row=row)


def _with_states(
    read: TaskRunRead, known: Mapping[str, str | None], limit: int
) -> Poll[TaskRunRead]:
    """Add the states of a task run, unless it is finished and they are known."""
    row = read.row
    if row.is_terminal and known.get(row.id) == row.state_id:
        return read
    page: Page[TaskRunState] = yield from read_all_pages(TaskRunStatesQuery((row.id,), limit=limit))
    states = {each.state.id: each.state for each in page.rows}
    if row.state is not None:  # a history may lag behind the row
        states.setdefault(row.state.id, row.state)
    return replace(read, states=tuple(sorted(states.values(), key=lambda state: state.order)))
