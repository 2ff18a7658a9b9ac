"""What views ask about task runs: polls that find one of many, and where its result is."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import msgspec
from msgspec.structs import replace

from rxflow._models.entities import TaskRun
from rxflow._models.states import State
from rxflow._protocol.pages import Page, Poll
from rxflow._protocol.queries import (
    TaskRunQuery,
    TaskRunsQuery,
    TaskRunStatesQuery,
)
from rxflow._watching.task_run_reader import read_task_run_rows
from rxflow.errors import BadResponse, TaskRunNotFound

UNMAPPED = -1
"""The map index of a task run that is the only one of its task, or the parent of mapped ones."""

_LISTED = 20  # things that a message lists at the most

TaskNames = Callable[[str], tuple[str, ...]]
"""Gives what a task goes by beside its key."""


class TaskRunRead(msgspec.Struct, frozen=True, kw_only=True):
    """A task run as it was read.

    Attributes:
        map_index: Which of the runs of its task it is: as the server numbers them, or else by
            creation; -1 for the only one, and for the parent of mapped ones.
        states: All states that it was in, by time; None if they were not asked for.
    """

    row: TaskRun
    map_index: int = UNMAPPED
    states: tuple[State, ...] | None = None


def read_task_runs(
    flow_run_id: str, limit: int, *, task_key: str = "", map_index: int | None = None
) -> Poll[tuple[TaskRun, ...]]:
    """Read the task runs of a run, in the order of their creation.

    Args:
        flow_run_id: The run.
        limit: The most rows the server gives at once.
        task_key: Only those of this task, where the server can tell.
        map_index: Only those with this map index, where the server numbers them.

    Raises:
        BadResponse: One of them cannot be read.
    """
    rows, malformed = yield from read_task_run_rows(
        TaskRunsQuery(flow_run_id=flow_run_id, task_key=task_key, map_index=map_index, limit=limit)
    )
    for row in malformed:
        raise BadResponse(f"Task run {row.id} cannot be read: {row.reason}")
    return by_creation(rows)


def read_task_run_ids(flow_run_id: str, limit: int) -> Poll[list[str]]:
    """Read the ids of all task runs of a run, in the order of their creation."""
    rows, malformed = yield from read_task_run_rows(
        TaskRunsQuery(flow_run_id=flow_run_id, limit=limit)
    )
    return [row.id for row in by_creation(rows)] + [row.id for row in malformed]


def read_finished(
    flow_run_id: str, task_run_ids: Sequence[str], limit: int
) -> Poll[tuple[TaskRun, ...]]:
    """Read some task runs of a run, and of these give the finished ones by creation."""
    rows: list[TaskRun] = []
    for some in _parts(task_run_ids, limit):
        page: Page[TaskRun] = yield TaskRunsQuery(
            flow_run_id=flow_run_id, task_run_ids=some, limit=limit
        )
        rows += page.rows
    return by_creation(row for row in rows if row.is_terminal)


def indexed(rows: Iterable[TaskRun]) -> Iterator[TaskRunRead]:
    """Take the server's map indexes; where it has none, count the runs of each task.

    Args:
        rows: Task runs of a flow run, in the order of their creation; of a task all or none.
    """
    rows = tuple(rows)
    number: dict[str, int] = {}
    for row in rows:
        number[row.task_key] = number.get(row.task_key, 0) + 1
    counted: dict[str, int] = {}
    for row in rows:
        index = counted[row.task_key] = counted.get(row.task_key, -1) + 1
        if row.map_index is not None:
            index = row.map_index
        elif number[row.task_key] == 1:
            index = UNMAPPED
        yield TaskRunRead(row=row, map_index=index)


def mapped_runs(row: TaskRun, limit: int) -> Poll[tuple[TaskRunRead, ...] | None]:
    """Read the runs that the task of a task run was mapped to, by map index.

    Returns:
        None if it was not mapped, or if those have a parent and it is another.
    """
    if row.flow_run_id is None:
        return None
    rows = yield from read_task_runs(row.flow_run_id, limit, task_key=row.task_key)
    reads = [read for read in indexed(rows) if read.row.task_key == row.task_key]
    mapped = tuple(sorted((read for read in reads if read.map_index >= 0), key=_by_map_index))
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
    row = page.rows[0]
    if flow_run_id is not None and row.flow_run_id != flow_run_id:
        raise TaskRunNotFound(
            f"Task run {task_run_id} belongs to flow run {row.flow_run_id}, not to {flow_run_id}"
        )
    read = yield from _numbered(row, limit)
    key = read.row.task_key
    if slug is not None and slug not in (key, *names(key)):
        raise TaskRunNotFound(f"Task run {task_run_id} is a run of {key!r}, not of {slug!r}")
    if map_index is not None and not _fits(read, map_index):
        raise TaskRunNotFound(
            f"Task run {task_run_id} has the map index {read.map_index}, not {map_index}"
        )
    return (yield from _with_states(read, known))


def read_task_run_by_slug(
    flow_run_id: str,
    slug: str,
    map_index: int | None,
    limit: int,
    *,
    names: TaskNames,
    known: Mapping[str, str | None],
) -> Poll[TaskRunRead]:
    """Read the task run of a task.

    Args:
        flow_run_id: The flow run.
        slug: What the task goes by.
        map_index: Which of its runs; -1 or None for the only one, or the parent of mapped ones.
        limit: The most rows the server gives at once.
        names: What a task goes by beside its key.
        known: The state ids of task runs whose states need not be read again.

    Raises:
        TaskRunNotFound: None fits, or more than one.
    """
    wanted = UNMAPPED if map_index is None else map_index
    rows = yield from read_task_runs(flow_run_id, limit, task_key=slug, map_index=wanted)
    fitting = _of_task(slug, rows, names)
    chosen = [read for read in fitting if _fits(read, wanted)]
    if len(chosen) == 1 and len({read.row.task_key for read in fitting}) == 1:
        return (yield from _with_states(chosen[0], known))
    rows = rows if fitting else (yield from read_task_runs(flow_run_id, limit))
    raise TaskRunNotFound(_none_of(slug, flow_run_id, wanted, rows, _of_task(slug, rows, names)))


def _of_task(slug: str, rows: Sequence[TaskRun], names: TaskNames) -> list[TaskRunRead]:
    """Those that are runs of a task: of that very key, or else of one that goes by it too."""
    of_key = [read for read in indexed(rows) if read.row.task_key == slug]
    return of_key or [read for read in indexed(rows) if slug in names(read.row.task_key)]


def _none_of(
    slug: str, flow_run_id: str, wanted: int, rows: Sequence[TaskRun], fitting: list[TaskRunRead]
) -> str:
    """Why no one task run is meant, and which there are."""
    keys = sorted({read.row.task_key for read in fitting})
    if not keys:
        there = listed(sorted({row.task_key for row in rows}))
        return f"Flow run {flow_run_id} has no task run of {slug!r}; it has runs of: {there}"
    if len(keys) > 1:
        return (
            f"{slug!r} goes for several tasks of flow run {flow_run_id}; name one of: "
            f"{listed(keys)}"
        )
    fitting.sort(key=_by_map_index)
    there = listed([f"{read.map_index}: {read.row.name} ({read.row.id})" for read in fitting])
    return (
        f"Flow run {flow_run_id} has no one task run of {slug!r} with map index {wanted}; "
        f"by map index it has: {there}"
    )


def _numbered(row: TaskRun, limit: int) -> Poll[TaskRunRead]:
    """Find the map index of a task run, among all of its flow run if the server has none."""
    if row.map_index is not None or row.flow_run_id is None:
        return TaskRunRead(row=row, map_index=UNMAPPED if row.map_index is None else row.map_index)
    rows = yield from read_task_runs(row.flow_run_id, limit)
    found = {read.row.id: read for read in indexed(rows)}
    return found.get(row.id) or TaskRunRead(row=row)


def _fits(read: TaskRunRead, map_index: int) -> bool:
    if read.row.map_index is not None:
        return read.map_index == map_index
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
    return replace(read, states=tuple(sorted(states.values(), key=lambda state: state.order)))


def by_creation(rows: Iterable[TaskRun]) -> tuple[TaskRun, ...]:
    """Sort task runs by their creation."""
    return tuple(sorted(rows, key=lambda row: (row.created, row.id)))


def _by_map_index(read: TaskRunRead) -> int:
    return read.map_index


def _parts(task_run_ids: Sequence[str], limit: int) -> Iterator[tuple[str, ...]]:
    for first in range(0, len(task_run_ids), limit):
        yield tuple(task_run_ids[first : first + limit])


def listed(words: Sequence[str]) -> str:
    """Name things in a message, but not too many."""
    more = f" and {len(words) - _LISTED} more" if len(words) > _LISTED else ""
    return (", ".join(words[:_LISTED]) or "none") + more
