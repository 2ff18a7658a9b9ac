"""Read the snapshot that a `FlowRunView` shows, as a poll.

The snapshot is the fold of the events that the rows stand for, so a view that was read equals one
that was watched.
"""

from collections.abc import Iterable

from msgspec.structs import replace

from rxflow._models.entities import FlowRun, Snapshot, TaskRun
from rxflow._protocol.pages import Page, Poll, read_all_pages
from rxflow._protocol.queries import RunQuery, StatesQuery
from rxflow._views.map_indexes import UNMAPPED
from rxflow._views.task_run_lookups import by_creation, read_finished, read_task_runs
from rxflow._watching.fold import fold
from rxflow.events import FlowRunEvent, RunChanged, RunSeen, StateChange


def read_snapshot(
    flow_run_id: str, limit: int, *, with_task_runs: bool, known: Iterable[str] = ()
) -> Poll[Snapshot]:
    """Read a flow run, its states and some of its task runs.

    Args:
        flow_run_id: The flow run.
        limit: The most rows the server returns at once.
        with_task_runs: Whether to read the task runs, except the children of mapped ones.
        known: Ids of further task runs to read; those that are finished are included.
    """
    page: Page[FlowRun] = yield RunQuery(flow_run_id)
    run = page.rows[0]
    history = yield from read_all_pages(StatesQuery(flow_run_id, limit=limit))
    events: list[FlowRunEvent] = [
        RunSeen(flow_run_id=run.id, run=run),
        *(StateChange(flow_run_id=run.id, id=state.id, state=state) for state in history.rows),
        RunChanged(flow_run_id=run.id, run=run),
    ]
    snapshot = Snapshot(run=run)
    for event in events:
        snapshot = fold(snapshot, event) or snapshot
    rows: tuple[TaskRun, ...] = ()
    if with_task_runs:
        rows = yield from read_task_runs(flow_run_id, limit, map_index=UNMAPPED)
    included = {row.id for row in rows}
    others = [task_run_id for task_run_id in known if task_run_id not in included]
    finished = yield from read_finished(flow_run_id, others, limit)
    return replace(snapshot, task_runs=by_creation((*rows, *finished)))
