"""Recorded exchanges with Prefect 3.8.8: request, status, headers and response.

Long lists are cut short.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rxflow._backends.backend import HttpResponse
from rxflow._backends.prefect3_queries import Prefect3Query
from rxflow._backends.prefect3_replies import read_reply
from rxflow._models.entities import (
    Deployment,
    Flow,
    FlowRun,
    Server,
    TaskRun,
    TaskRunState,
    Worker,
    WorkPool,
)
from rxflow._models.states import State
from rxflow._protocol.failures import Failure
from rxflow._protocol.pages import Page
from rxflow._protocol.queries import (
    DeploymentQuery,
    FlowQuery,
    FlowsQuery,
    LogsQuery,
    NamedDeploymentQuery,
    ResultQuery,
    RunFilter,
    RunQuery,
    RunsQuery,
    ServerQuery,
    StatesQuery,
    TaskRunQuery,
    TaskRunsQuery,
    TaskRunStatesQuery,
    WorkersQuery,
    WorkPoolQuery,
)
from rxflow.events import FlowRunLog

_FOLDER = Path(__file__).parents[1] / "recorded" / "prefect3"

RUN = "68f97243-4f66-4f85-ae38-f6beb86b2c99"
STUCK_RUN = "9e6caafc-4ea1-4493-b0a9-122efba9eaaa"
OTHER_RUN = "762a8518-4a4d-4251-ae44-37ea40ffe5ee"
FAILED_RUN = "0d778d4d-b960-4984-a611-450b39158f5f"
MISSING_RUN = "ca449f3a-c029-47d8-acb6-1db88b00c1f2"
TASK_RUN = "01a203a7-deda-718a-8478-3c4353ec038c"
FLOW = "c6169a03-4bfe-4baa-853d-32391366c608"
DEPLOYMENT = "ae5bac40-c433-4c8c-80a8-897aa4cfde2a"

LOGS = LogsQuery(flow_run_ids=(RUN,))
TASK_RUNS = TaskRunsQuery(flow_run_ids=(RUN,))
RUNS = RunsQuery(
    where=RunFilter(flow_run_ids=(RUN, "762a8518-4a4d-4251-ae44-37ea40ffe5ee", FAILED_RUN))
)

GOOD: Mapping[str, tuple[Prefect3Query, type]] = {
    "admin_version": (ServerQuery(), Server),
    "flow_run_read": (RunQuery(RUN), FlowRun),
    "flow_run_stuck_no_worker": (RunQuery(STUCK_RUN), FlowRun),
    "flow_run_states": (StatesQuery(RUN), State),
    "flow_run_states_failed": (StatesQuery(FAILED_RUN), State),
    "flow_run_states_stuck": (StatesQuery(STUCK_RUN), State),
    "flow_run_states_unknown_id": (StatesQuery("4b74cac9-5d9f-4ed8-9805-6bd1233f6803"), State),
    "logs_filter": (LOGS, FlowRunLog),
    "logs_filter_multi_run_ts_level": (LOGS, FlowRunLog),
    "logs_filter_task_null": (LOGS, FlowRunLog),
    "task_runs_filter": (TASK_RUNS, TaskRun),
    "task_runs_filter_by_flow_run_id": (TaskRunsQuery(flow_run_ids=(OTHER_RUN,)), TaskRun),
    "task_run_read": (TaskRunQuery(TASK_RUN), TaskRun),
    "flow_runs_filter": (RUNS, FlowRun),
    "task_run_states": (TaskRunStatesQuery((TASK_RUN,)), TaskRunState),
    "flow_read": (FlowQuery(FLOW), Flow),
    "deployment_read": (DeploymentQuery(DEPLOYMENT), Deployment),
    "deployment_by_name": (NamedDeploymentQuery("parent", "dep1"), Deployment),
    "work_pool_ready": (WorkPoolQuery("pool1"), WorkPool),
    "work_pool_not_ready": (WorkPoolQuery("pool-empty"), WorkPool),
    "workers_filter": (WorkersQuery("pool1"), Worker),
    "workers_filter_empty": (WorkersQuery("pool-empty"), Worker),
}
"""The recordings of good replies: the query of each, and the type of its rows."""

QUERIES: tuple[Prefect3Query, ...] = (
    ServerQuery(),
    RunQuery(RUN),
    RUNS,
    StatesQuery(RUN),
    LOGS,
    TASK_RUNS,
    TaskRunQuery(TASK_RUN),
    TaskRunStatesQuery((TASK_RUN,)),
    ResultQuery(TASK_RUN),
    FlowsQuery("parent"),
    FlowQuery(FLOW),
    DeploymentQuery(DEPLOYMENT),
    NamedDeploymentQuery("parent", "dep1"),
    WorkPoolQuery("pool1"),
    WorkersQuery("pool1"),
)
"""One query of each kind."""


def recording(name: str) -> Any:
    """Load a recorded exchange."""
    return json.loads((_FOLDER / f"{name}.json").read_text("utf-8"))


def recorded_reply(name: str) -> HttpResponse:
    """Build the reply of a recorded exchange, as the transport returns it."""
    recorded = recording(name)
    response = recorded["response"]
    body = response if "response_headers" not in recorded else json.dumps(response)
    headers = recorded.get("response_headers", {"content-type": "application/json"})
    return HttpResponse(status=recorded["status"], headers=headers, body=body.encode())


def read_page(query: Prefect3Query, reply: HttpResponse) -> Page[Any]:
    """Read a reply that must be a page."""
    page = read_reply(query, reply)
    assert isinstance(page, Page), page
    return page


def read_failure(query: Prefect3Query, reply: HttpResponse) -> Failure:
    """Read a reply that must be a failure."""
    failure = read_reply(query, reply)
    assert isinstance(failure, Failure), failure
    return failure


def log_row(**fields: Any) -> dict[str, Any]:
    """Build a log row from a recorded one."""
    row: dict[str, Any] = recording("logs_filter")["response"][0]
    return {**row, **fields}
