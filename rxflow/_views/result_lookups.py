"""Read where the result of a task run is stored, or those of its mapped children, as polls.

Nothing here reads a result: `result_files` does, from the place that was found.
"""

from collections.abc import Mapping, Sequence

import msgspec
from msgspec.structs import replace

from rxflow._models.entities import BackendName, StoredResult, TaskRun
from rxflow._protocol.pages import Page, Poll, read_server
from rxflow._protocol.queries import ResultQuery, ResultsQuery
from rxflow._views.map_indexes import TaskRunRead
from rxflow._views.message_lists import listed
from rxflow._views.task_run_lookups import read_mapped_runs
from rxflow.errors import ResultUnavailable, TaskRunNotFound


class ResultRead(msgspec.Struct, frozen=True, kw_only=True):
    """Where the result of a task run is stored, as it was read.

    Attributes:
        backend: The kind of server that it was read from.
        children: For the parent of mapped task runs, those of its children by map index.
    """

    task_run_id: str
    backend: BackendName
    stored: StoredResult
    children: "tuple[ResultRead, ...] | None" = None


def read_result(row: TaskRun, limit: int) -> Poll[ResultRead]:
    """Read where the result of a finished task run is stored, or those of its children.

    Args:
        row: The task run.
        limit: The most rows the server returns at once.

    Raises:
        TaskRunNotFound: The server no longer has it.
        ResultUnavailable: A child is missing or is not finished.
    """
    server = yield from read_server()
    page: Page[StoredResult] = yield ResultQuery(row.id)
    if not page.rows:
        raise TaskRunNotFound(f"The server has no task run {row.id}")
    stored = page.rows[0]
    read = ResultRead(task_run_id=row.id, backend=server.backend, stored=stored)
    if stored.children is None:
        return read
    children = yield from _read_finished_children(row, stored.children, limit)
    results = yield from _read_stored_results([child.row.id for child in children], limit)
    return replace(
        read,
        children=tuple(
            ResultRead(task_run_id=task_run_id, backend=server.backend, stored=result)
            for task_run_id, result in results.items()
        ),
    )


def _read_finished_children(row: TaskRun, expected: int, limit: int) -> Poll[Sequence[TaskRunRead]]:
    """Read the children of a mapped task run, all of which must exist and be finished."""
    children = (yield from read_mapped_runs(row, limit)) or ()
    found = {child.map_index for child in children}
    count = max(expected, *(index + 1 for index in found), 0)
    if missing := sorted(set(range(count)) - found):
        raise ResultUnavailable(
            f"Task run {row.id} is the parent of {count} mapped task runs, of which {len(found)} "
            f"exist; those with map index {listed([*map(str, missing)])} do not"
        )
    for child in children:
        state = child.row.state
        if state is None or not state.is_finished:
            raise ResultUnavailable(
                f"Task run {row.id} has no result yet, since its child with map index "
                f"{child.map_index} ({child.row.id}) is not finished but in "
                f"{state.name if state else 'no state'}"
            )
    return children


def _read_stored_results(
    task_run_ids: Sequence[str], limit: int
) -> Poll[Mapping[str, StoredResult]]:
    """Read where results are stored, in the order of the ids.

    A server may return fewer rows than requested, so missing ids are queried again as long as each
    page brings some of them.
    """
    found: dict[str, StoredResult] = {}
    wanted: list[str] = list(task_run_ids)
    while wanted:
        page: Page[StoredResult] = yield ResultsQuery(tuple(wanted[:limit]))
        found.update((row.task_run_id, row) for row in page.rows if row.task_run_id)
        missing: list[str] = [task_run_id for task_run_id in wanted if task_run_id not in found]
        if len(missing) == len(wanted):
            raise TaskRunNotFound(f"The server has no task run {missing[0]}")
        wanted = missing
    return {task_run_id: found[task_run_id] for task_run_id in task_run_ids}
