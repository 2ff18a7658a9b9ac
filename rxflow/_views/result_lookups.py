"""What views ask about task runs: polls that find one of many, and where its result is."""

from collections.abc import Mapping, Sequence

import msgspec
from msgspec.structs import replace

from rxflow._models.entities import BackendName, StoredResult, TaskRun
from rxflow._protocol.pages import Page, Poll, read_server
from rxflow._protocol.queries import ResultQuery, ResultsQuery
from rxflow._views.task_run_lookups import TaskRunRead, listed, mapped_runs
from rxflow.errors import ResultUnavailable, TaskRunNotFound


class ResultRead(msgspec.Struct, frozen=True, kw_only=True):
    """Where a result is, as it was read.

    Attributes:
        backend: What the server is.
        children: Of the parent of mapped task runs: theirs, by map index.
    """

    task_run_id: str
    backend: BackendName
    stored: StoredResult
    children: "tuple[ResultRead, ...] | None" = None


def read_result(row: TaskRun, limit: int) -> Poll[ResultRead]:
    """Read where the result of a task run is, or those of its children.

    Args:
        row: The task run, which is finished.
        limit: The most rows the server gives at once.

    Raises:
        TaskRunNotFound: The server knows it no more.
        ResultUnavailable: One of its children is not there, or not finished.
    """
    server = yield from read_server()
    page: Page[StoredResult] = yield ResultQuery(row.id)
    if not page.rows:
        raise TaskRunNotFound(f"The server knows no task run {row.id}")
    stored = page.rows[0]
    read = ResultRead(task_run_id=row.id, backend=server.backend, stored=stored)
    if stored.children is None:
        return read
    children = yield from _children(row, stored.children, limit)
    results = yield from _results([child.row.id for child in children], limit)
    return replace(
        read,
        children=tuple(
            ResultRead(task_run_id=task_run_id, backend=server.backend, stored=result)
            for task_run_id, result in results.items()
        ),
    )


def _children(row: TaskRun, expected: int, limit: int) -> Poll[Sequence[TaskRunRead]]:
    children = (yield from mapped_runs(row, limit)) or ()
    there = {child.map_index for child in children}
    number = max(expected, *(index + 1 for index in there), 0)
    if missing := sorted(set(range(number)) - there):
        raise ResultUnavailable(
            f"Task run {row.id} is the parent of {number} mapped task runs, of which {len(there)} "
            f"are there; those with map index {listed([*map(str, missing)])} are not"
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


def _results(task_run_ids: Sequence[str], limit: int) -> Poll[Mapping[str, StoredResult]]:
    """Read where results are, in the order of the ids; what an answer lacks is asked for again."""
    found: dict[str, StoredResult] = {}
    wanted: list[str] = list(task_run_ids)
    while wanted:
        page: Page[StoredResult] = yield ResultsQuery(tuple(wanted[:limit]))
        found.update((row.task_run_id, row) for row in page.rows if row.task_run_id)
        left: list[str] = [task_run_id for task_run_id in wanted if task_run_id not in found]
        if len(left) == len(wanted):
            raise TaskRunNotFound(f"The server knows no task run {left[0]}")
        wanted = left
    return {task_run_id: found[task_run_id] for task_run_id in task_run_ids}
