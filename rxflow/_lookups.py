"""What views ask about a run, its flow and its log lines: polls."""

from collections.abc import Iterable, Sequence
from datetime import datetime

import msgspec
from msgspec.structs import replace

from rxflow._cursor import read_all
from rxflow._fold import fold
from rxflow._model import BackendName, Deployment, Flow, FlowRun, Snapshot, TaskRun
from rxflow._polling import (
    DeploymentQuery,
    FlowQuery,
    FlowsQuery,
    Page,
    Poll,
    RunQuery,
    StatesQuery,
    who_answers,
    whole,
)
from rxflow._task_lookups import UNMAPPED, in_order, listed, read_finished, read_task_runs
from rxflow.errors import FlowNotFound
from rxflow.events import FlowRunEvent, FlowRunLog, RunChanged, RunSeen, StateChange


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
    """Read a run, and some of its task runs.

    Args:
        flow_run_id: The run.
        limit: The most rows the server gives at once.
        tasks: Whether to read the task runs, but for the children of mapped ones.
        known: Ids of task runs to read too; of these the finished ones are taken.
    """
    page: Page[FlowRun] = yield RunQuery(flow_run_id)
    run = page.rows[0]
    history = yield from whole(StatesQuery(flow_run_id, limit=limit))
    events: list[FlowRunEvent] = [
        RunSeen(flow_run_id=run.id, run=run),
        *(StateChange(flow_run_id=run.id, id=state.id, state=state) for state in history.rows),
        RunChanged(flow_run_id=run.id, run=run),
    ]
    snapshot = Snapshot(run=run)
    for event in events:
        snapshot = fold(snapshot, event) or snapshot
    rows: tuple[TaskRun, ...] = ()
    if tasks:
        rows = yield from read_task_runs(flow_run_id, limit, map_index=UNMAPPED)
    there = {row.id for row in rows}
    others = [task_run_id for task_run_id in known if task_run_id not in there]
    finished = yield from read_finished(flow_run_id, others, limit)
    return replace(snapshot, task_runs=in_order((*rows, *finished)))


# -- flows --------------------------------------------------------------------------------------


def read_flow(
    flow_id: str, deployment_id: str | None = None, version: str | None = None
) -> Poll[FlowRead]:
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


def read_flow_of_group(flow_group_id: str) -> Poll[FlowRead]:
    """Read the newest version of a flow.

    Raises:
        FlowNotFound: The server knows no such group, or no groups at all.
    """
    if (yield from who_answers()).backend is BackendName.PREFECT_3:
        raise FlowNotFound(
            f"There is no flow group {flow_group_id}, since Prefect 3 has no flow groups; a flow "
            "has one id for all its versions there, which `from_flow_id` takes"
        )
    page: Page[Flow] = yield FlowsQuery(flow_group_id=flow_group_id)
    if not page.rows:
        raise FlowNotFound(f"The server knows no flow group {flow_group_id}")
    return FlowRead(flow=_last(page.rows))


def read_flow_of_any_id(flow_or_group_id: str) -> Poll[FlowRead]:
    """Read the flow of an id, or else the newest version of the flow whose group has it.

    Raises:
        FlowNotFound: The server knows neither.
    """
    page: Page[Flow] = yield FlowQuery(flow_or_group_id)
    if page.rows:
        return FlowRead(flow=page.rows[0])
    if (yield from who_answers()).backend is BackendName.PREFECT_3:
        raise FlowNotFound(f"The server knows no flow {flow_or_group_id}")
    page = yield FlowsQuery(flow_group_id=flow_or_group_id)
    if not page.rows:
        raise FlowNotFound(f"The server knows neither a flow nor a flow group {flow_or_group_id}")
    return FlowRead(flow=_last(page.rows))


def read_flow_of_name(
    name: str, project_name: str | None = "", *, last_updated: bool
) -> Poll[FlowRead]:
    """Read the flow of a name.

    Args:
        name: The name.
        project_name: The project to look in; "" is all, None is no project.
        last_updated: Whether to take the last one where there are several.

    Raises:
        FlowNotFound: There is none, or more than one and not the last updated is wanted.
    """
    if project_name and (yield from who_answers()).backend is BackendName.PREFECT_3:
        raise FlowNotFound(
            f"There is no project {project_name!r}, since Prefect 3 has no projects; "
            "leave project_name out"
        )
    page: Page[Flow] = yield FlowsQuery(name, project_name)
    named = f"named {name!r}" + (f" in project {project_name!r}" if project_name else "")
    if not page.rows:
        raise FlowNotFound(f"The server knows no flow {named}")
    if len(page.rows) > 1 and not last_updated:
        raise FlowNotFound(
            f"The server knows several flows {named}: {listed([_shown(row) for row in page.rows])};"
            " pass last_updated=True for the one that was updated last"
        )
    return FlowRead(flow=_last(page.rows))


def _last(flows: Iterable[Flow]) -> Flow:
    """The flow that was updated last; Prefect 1 stores each version as another flow for it."""
    return max(flows, key=lambda flow: flow.created if flow.registered else flow.updated)


def _shown(flow: Flow) -> str:
    project = flow.registered.project_name if flow.registered else None
    return f"{flow.id} in project {project!r}" if project else flow.id


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
