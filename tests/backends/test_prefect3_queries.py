"""The HTTP calls that queries are sent as to Prefect 3, compared with recorded requests."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from http_replies import json_reply
from prefect3_recordings import FLOW, GOOD, MISSING_RUN, RUN, TASK_RUN, read_page, recording

from rxflow._backends.backend import HttpCall
from rxflow._backends.prefect3_queries import call_of, csrf_token_call
from rxflow._protocol.queries import (
    DeploymentQuery,
    FlowQuery,
    FlowsQuery,
    LogsQuery,
    RunFilter,
    RunQuery,
    RunsQuery,
    TaskRunsQuery,
    WorkersQuery,
    WorkPoolQuery,
)


def request_of(call: HttpCall) -> tuple[str, str, dict[str, str] | None, Any]:
    """Convert a call to the form of a recorded request."""
    body = json.loads(call.body) if call.body is not None else None
    return call.method, f"/api{call.path}", dict(call.params) or None, body


@pytest.mark.parametrize(
    "name",
    sorted(
        GOOD.keys()
        - {
            "logs_filter_multi_run_ts_level",
            "logs_filter_task_null",
            "task_runs_filter",
            "task_runs_filter_by_flow_run_id",
        }
    ),
)
def test_a_query_is_sent_as_recorded(name: str) -> None:
    """The call of a query is the request that the recorded reply was sent for."""
    request = recording(name)["request"]
    query, _ = GOOD[name]
    call = call_of(query)
    assert request_of(call) == tuple(request[part] for part in ("method", "path", "params", "body"))


def test_a_missing_run_is_queried_as_recorded() -> None:
    """The path is that of the recorded request for a run that does not exist."""
    assert (
        request_of(call_of(RunQuery(MISSING_RUN)))[1]
        == recording("flow_run_read_404")["request"]["path"]
    )


def test_log_rows_are_filtered_as_recorded() -> None:
    """Runs, level and time go into the filter under the keys of the server."""
    request = recording("logs_filter_multi_run_ts_level")["request"]
    runs = tuple(request["body"]["logs"]["flow_run_id"]["any_"])
    query = LogsQuery(flow_run_ids=runs, level=30, after=datetime(2026, 11, 22, tzinfo=UTC))
    method, path, params, body = request_of(call_of(query))
    assert (method, path, params) == (request["method"], request["path"], request["params"])
    assert body["logs"] == {k: v for k, v in request["body"]["logs"].items() if k != "operator"}


def test_log_rows_are_bounded_and_paged() -> None:
    """The upper bound of time, the order, the offset and the limit of a query are sent."""
    query = LogsQuery(
        flow_run_ids=(RUN,),
        before=datetime(2026, 1, 1, tzinfo=UTC),
        descending=True,
        offset=7,
        limit=3,
    )
    body = request_of(call_of(query))[3]
    assert body["sort"] == "TIMESTAMP_DESC"
    assert body["logs"]["timestamp"] == {"before_": "2026-01-01T00:00:00Z"}
    assert (body["offset"], body["limit"]) == (7, 3)


def test_runs_are_filtered_as_recorded() -> None:
    """Runs are filtered by their ids, in the order without ties."""
    request = recording("flow_runs_filter")["request"]
    ids = tuple(request["body"]["flow_runs"]["id"]["any_"])
    sent = request_of(call_of(RunsQuery(where=RunFilter(flow_run_ids=ids))))
    assert sent == (request["method"], request["path"], request["params"], request["body"])


def test_runs_are_not_filtered_by_what_is_not_set() -> None:
    """Without a filter all runs are queried, in pages."""
    body = request_of(call_of(RunsQuery(where=RunFilter(), offset=200, limit=50)))[3]
    assert body == {"sort": "ID_DESC", "offset": 200, "limit": 50}


def test_task_runs_are_filtered_as_recorded() -> None:
    """Task runs are filtered by the cheap recorded filter, and sorted in the order without ties."""
    request = recording("task_runs_filter_by_flow_run_id")["request"]
    query = TaskRunsQuery(flow_run_ids=(RUN,), offset=200, limit=100)
    method, path, params, body = request_of(call_of(query))
    assert (method, path, params) == (request["method"], request["path"], request["params"])
    assert body["task_runs"].keys() == request["body"]["task_runs"].keys()
    assert body["task_runs"]["flow_run_id"] == {"any_": [RUN]}
    assert (body["sort"], body["offset"], body["limit"]) == ("ID_DESC", 200, 100)


def test_task_runs_are_filtered_by_id() -> None:
    """Ids are filtered within their flow run, so that rows of another run are not in the reply."""
    query = TaskRunsQuery(flow_run_ids=(RUN,), task_run_ids=(TASK_RUN,), limit=3)
    body = json.loads(call_of(query).body or b"")
    assert body["task_runs"] == {"flow_run_id": {"any_": [RUN]}, "id": {"any_": [TASK_RUN]}}


def test_task_runs_are_filtered_by_id_alone() -> None:
    """Where it is not known whose they are, every run's are filtered."""
    body = json.loads(call_of(TaskRunsQuery(flow_run_ids=(), task_run_ids=(TASK_RUN,))).body or b"")
    assert body["task_runs"] == {"id": {"any_": [TASK_RUN]}}


def test_unfinished_task_runs_are_filtered_by_type() -> None:
    """The types that are not terminal are listed, since the server cannot exclude the others."""
    query = TaskRunsQuery(flow_run_ids=(RUN,), unfinished=True)
    body = json.loads(call_of(query).body or b"")
    assert set(body["task_runs"]["state"]["type"]["any_"]) == {
        *("SCHEDULED", "PENDING", "RUNNING", "PAUSED", "CANCELLING")
    }


def test_flows_are_filtered_by_name_and_id() -> None:
    """A name is compared whole, and the reply is a list."""
    call = call_of(FlowsQuery("par*ent"))
    assert (call.method, call.path) == ("POST", "/flows/filter")
    assert json.loads(call.body or b"") == {"flows": {"name": {"any_": ["par*ent"]}}}
    call = call_of(FlowsQuery(flow_ids=(FLOW,)))
    assert json.loads(call.body or b"") == {"flows": {"id": {"any_": [FLOW]}}}
    row = recording("flow_read")["response"]
    (flow,) = read_page(FlowsQuery("parent"), json_reply([row])).rows
    assert flow == read_page(FlowQuery(FLOW), json_reply(row)).rows[0]


@pytest.mark.parametrize(
    "query", [RunQuery, FlowQuery, DeploymentQuery, WorkPoolQuery, WorkersQuery]
)
def test_ids_and_names_are_one_segment_of_the_path(query: Any) -> None:
    """Characters that delimit parts of a URL are escaped."""
    path = call_of(query("a/b?c#d\n%2e é")).path
    assert "a%2Fb%3Fc%23d%0A%252e%20%C3%A9" in path.split("/")


def test_a_csrf_token_is_fetched_as_recorded() -> None:
    """The call is the recorded request for a token, with the id of the client."""
    recorded = recording("auth_csrf_token")["request"]
    call = request_of(csrf_token_call("me"))
    assert call == (recorded["method"], recorded["path"], {"client": "me"}, None)
