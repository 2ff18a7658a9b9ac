"""Replies about something else than was queried: refused, or listed as malformed rows."""

from typing import Any

import pytest
from http_replies import json_reply
from prefect1_recordings import flow_run_row as prefect1_run_row
from simulated_world import START

from rxflow import FlowRunLog, TaskRun
from rxflow._backends import prefect1_replies, prefect3_replies
from rxflow._backends.reply_identity import check_identity
from rxflow._models.entities import Deployment, Flow, FlowRun, WorkPool
from rxflow._protocol.failures import Failure, FailureKind, Reply
from rxflow._protocol.pages import Page
from rxflow._protocol.queries import (
    DeploymentQuery,
    FlowQuery,
    FlowsQuery,
    LogsQuery,
    Query,
    RunFilter,
    RunQuery,
    RunsQuery,
    StatesQuery,
    TaskRunQuery,
    TaskRunsQuery,
    WorkPoolQuery,
)

WANTED, OTHER = "wanted", "other"
TIMES: dict[str, Any] = {"created": START, "updated": START}


def line(run: str) -> FlowRunLog:
    """A log line of a run."""
    return FlowRunLog(
        id=f"line of {run}",
        flow_run_id=run,
        timestamp=START,
        created=START,
        level=20,
        name="a",
        message="b",
    )


def task_run(run: str | None, task_run_id: str = "a") -> TaskRun:
    """A task run of a run."""
    return TaskRun(
        id=task_run_id, name="a", flow_run_id=run, task_key="a", dynamic_key="0", **TIMES
    )


def flow_run(run: str) -> FlowRun:
    """A flow run."""
    return FlowRun(id=run, name="a", **TIMES)


ABOUT_ANOTHER: dict[str, tuple[Query, tuple[Any, ...]]] = {
    "run": (RunQuery(WANTED), (flow_run(OTHER),)),
    "runs": (RunsQuery(where=RunFilter(flow_run_ids=(WANTED,))), (flow_run(OTHER),)),
    "task run": (TaskRunQuery(WANTED), (task_run("a", OTHER),)),
    "flow": (FlowQuery(WANTED), (Flow(id=OTHER, name="a", **TIMES),)),
    "deployment": (DeploymentQuery(WANTED), (Deployment(id=OTHER, name="a", flow_id="a"),)),
    "work pool": (WorkPoolQuery(WANTED), (WorkPool(name=OTHER),)),
    "log rows": (LogsQuery(flow_run_ids=(WANTED,)), (line(OTHER), line(OTHER))),
    "task runs": (TaskRunsQuery(flow_run_ids=(WANTED,)), (task_run(OTHER),)),
    "task runs of any run": (
        TaskRunsQuery(flow_run_ids=(), task_run_ids=(WANTED,)),
        (task_run(None, WANTED), task_run(None, OTHER)),
    ),
}

ABOUT_WANTED: dict[str, tuple[Query, tuple[Any, ...]]] = {
    "run": (RunQuery(WANTED), (flow_run(WANTED),)),
    "runs": (RunsQuery(where=RunFilter(flow_run_ids=(WANTED,))), (flow_run(WANTED),)),
    "runs of any id": (RunsQuery(where=RunFilter()), (flow_run(OTHER),)),
    "no task run": (TaskRunQuery(WANTED), ()),
    "work pool": (WorkPoolQuery(WANTED), (WorkPool(name=WANTED),)),
    "no log rows": (LogsQuery(flow_run_ids=(WANTED,)), ()),
    "some log rows": (LogsQuery(flow_run_ids=(WANTED,)), (line(OTHER), line(WANTED))),
    "task runs": (TaskRunsQuery(flow_run_ids=(WANTED,)), (task_run(WANTED), task_run(None))),
    "task runs of any run": (
        TaskRunsQuery(flow_run_ids=(), task_run_ids=(WANTED,)),
        (task_run(OTHER, WANTED),),
    ),
    "flows": (FlowsQuery(name=WANTED), (Flow(id=OTHER, name="a", **TIMES),)),
}


def check_refused(reply: Reply) -> None:
    """Check that a reply is refused, with the ids of both runs."""
    assert isinstance(reply, Failure)
    assert reply.kind is FailureKind.UNREADABLE
    assert WANTED in reply.text
    assert OTHER in reply.text


@pytest.mark.parametrize(("query", "rows"), ABOUT_ANOTHER.values(), ids=ABOUT_ANOTHER)
def test_a_reply_about_another_thing_is_refused(query: Query, rows: tuple[Any, ...]) -> None:
    """No row of a reply to another query is taken in."""
    check_refused(check_identity(query, Page(rows)))


@pytest.mark.parametrize(("query", "rows"), ABOUT_WANTED.values(), ids=ABOUT_WANTED)
def test_a_reply_about_what_was_queried_is_kept(query: Query, rows: tuple[Any, ...]) -> None:
    """A page with a row of what was queried, or without rows, is kept as it is."""
    page = Page(rows)
    assert check_identity(query, page) is page


def test_a_task_run_of_another_run_is_malformed() -> None:
    """One foreign task run among others is a malformed row, and the others are kept."""
    own = task_run(WANTED, "own")
    page = check_identity(
        TaskRunsQuery(flow_run_ids=(WANTED,)), Page((task_run(OTHER, "foreign"), own))
    )
    assert isinstance(page, Page)
    assert page.rows == (own,)
    (malformed,) = page.malformed
    assert malformed.id == "foreign"
    assert OTHER in malformed.reason


def state_row(run: Any) -> dict[str, Any]:
    """A state of Prefect 3, of a run."""
    row = {"id": "a", "type": "RUNNING", "name": "Running", "timestamp": "2026-01-01T00:00:00Z"}
    return {**row, "state_details": {"flow_run_id": run}}


@pytest.mark.parametrize(
    ("rows", "is_refused"),
    [
        ([state_row(OTHER)], True),
        ([state_row(WANTED)], False),
        ([state_row(None)], False),
        ([state_row(OTHER), state_row(WANTED)], False),
        ([state_row(OTHER), state_row(7)], False),
        ([], False),
    ],
)
def test_states_of_another_run_are_refused(rows: list[Any], is_refused: bool) -> None:
    """Prefect 3's states name their run, so that those of another one are refused."""
    reply = prefect3_replies.read_reply(StatesQuery(WANTED), json_reply(rows))
    if is_refused:
        check_refused(reply)
    else:
        assert isinstance(reply, Page)


def test_another_run_of_prefect_1_is_refused() -> None:
    """Prefect 1's replies are compared with the query as well."""
    row = prefect1_run_row(id=OTHER)
    reply = prefect1_replies.read_reply(RunQuery(WANTED), json_reply({"data": {"rows": [row]}}))
    check_refused(reply)
