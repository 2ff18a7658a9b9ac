"""Read the tree of a flow run, level by level, as a poll.

Prefect 3 sends the states of one task run for each request, so histories are read only where a row
leaves something out: of task runs that ran more than once, or wait to run again.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from rxflow._models.entities import BackendName, Flow, FlowRun, TaskRun, TaskRunState
from rxflow._models.states import State
from rxflow._models.times import later
from rxflow._pictures.run_tree import RunRows, RunTree, tree_root
from rxflow._protocol.pages import Page, Poll, read_all_pages
from rxflow._protocol.queries import (
    FlowQuery,
    RunFilter,
    RunQuery,
    StatesQuery,
    TaskRunsQuery,
    TaskRunStatesQuery,
)
from rxflow._views.newest_runs import read_newest
from rxflow._watching.run_finder import MOST_PARENTS
from rxflow._watching.run_reader import read_supported_server
from rxflow._watching.task_run_reader import read_task_run_rows


def read_run_tree(flow_run_id: str, limit: int, *, subflows: bool = True) -> Poll[RunTree]:
    """Read a flow run, its task runs and its subflows, to any depth.

    Rows that cannot be read are left out and counted.

    Args:
        flow_run_id: The flow run.
        limit: The most rows the server returns at once.
        subflows: Whether to read subflows, where the server knows which runs are.
    """
    server = yield from read_supported_server()
    has_subflows = server.backend is BackendName.PREFECT_3
    page: Page[FlowRun] = yield RunQuery(flow_run_id)
    reader = _TreeReader(limit, page.server_time)
    level = page.rows
    while level:
        yield from reader.read_level(level)
        level = ()
        if subflows and has_subflows:
            level = yield from reader.find_subflows()
    histories = yield from reader.read_histories()
    return RunTree(
        run=page.rows[0],
        root=tree_root(reader.rows, histories),
        now=reader.now,
        unread=reader.unread,
        has_subflows=has_subflows,
    )


class _TreeReader:
    """What was read of a tree so far.

    Attributes:
        rows: Those of the runs, parents before their subflows.
        unread: How many rows could not be read.
    """

    def __init__(self, limit: int, server_time: datetime | None) -> None:
        self.rows: list[RunRows] = []
        self.unread = 0
        self._limit = limit
        self._server_time = server_time
        self._level: Sequence[str] = ()
        self._known: set[str] = set()
        self._flow_names: dict[str, str | None] = {}

    @property
    def now(self) -> datetime:
        """The server's time at the last reply; without one, when the newest row was written."""
        runs = (each.run.updated for each in self.rows)
        task_runs = (row.updated for each in self.rows for row in each.task_runs)
        return self._server_time or max((*runs, *task_runs))

    def read_level(self, runs: Sequence[FlowRun]) -> Poll[None]:
        """Read the flows, states and task runs of some runs."""
        self._level = [run.id for run in runs]
        self._known.update(self._level)
        task_runs = yield from self._read_task_runs()
        for run in runs:
            name = yield from self._read_flow_name(run.flow_id)
            page: Page[State] = yield from read_all_pages(StatesQuery(run.id, limit=self._limit))
            self._record(page)
            self.rows.append(
                RunRows(
                    run=run,
                    flow_name=name,
                    states=page.rows,
                    task_runs=tuple(task_runs.get(run.id, ())),
                )
            )

    def find_subflows(self) -> Poll[tuple[FlowRun, ...]]:
        """Find the subflows of the runs that were read last."""
        found: list[FlowRun] = []
        for parents in _chunks(self._level, MOST_PARENTS):
            page = yield from read_newest(RunFilter(parent_ids=parents), self._limit)
            self._record(page)
            found += (run for run in page.rows if run.id not in self._known)
        return tuple(found)

    def read_histories(self) -> Poll[Mapping[str, Sequence[State]]]:
        """Read the states of the task runs whose rows leave some out."""
        task_runs = (row for each in self.rows for row in each.task_runs)
        states: defaultdict[str, list[State]] = defaultdict(list)
        for ids in _chunks([row.id for row in task_runs if _has_more(row)], self._limit):
            query = TaskRunStatesQuery(ids, limit=self._limit)
            page: Page[TaskRunState] = yield from read_all_pages(query)
            self._record(page)
            for each in page.rows:
                states[each.task_run_id].append(each.state)
        return states

    def _read_task_runs(self) -> Poll[Mapping[str, Sequence[TaskRun]]]:
        by_run: defaultdict[str, list[TaskRun]] = defaultdict(list)
        for ids in _chunks(self._level, MOST_PARENTS):
            query = TaskRunsQuery(flow_run_ids=ids, limit=self._limit)
            rows, malformed = yield from read_task_run_rows(query)
            self.unread += len(malformed)
            for row in rows:
                by_run[row.flow_run_id or ids[0]].append(row)
        return by_run

    def _read_flow_name(self, flow_id: str | None) -> Poll[str | None]:
        if flow_id is None:
            return None
        if flow_id not in self._flow_names:
            page: Page[Flow] = yield FlowQuery(flow_id)
            self._record(page)
            self._flow_names[flow_id] = page.rows[0].name if page.rows else None
        return self._flow_names[flow_id]

    def _record(self, page: Page[Any]) -> None:
        self.unread += len(page.malformed)
        self._server_time = later(self._server_time, page.server_time)


def _has_more(row: TaskRun) -> bool:
    """Whether a task run had states that its row does not show; a server may count no runs."""
    if row.start_time is None:
        return False
    is_simple = row.state is None or row.state.is_terminal or row.state.type == "RUNNING"
    return row.run_count != 1 or not is_simple


def _chunks(ids: Sequence[str], most: int) -> Iterator[tuple[str, ...]]:
    for first in range(0, len(ids), most):
        yield tuple(ids[first : first + most])
