"""The GraphQL that queries are sent as to Prefect 1."""

import json
from datetime import timedelta
from typing import Any

import graphql
import pytest
from conversations import send_to_fake
from hypothesis import given
from hypothesis import strategies as st
from prefect1_recordings import (
    FLOW,
    KINDS,
    LOGS,
    NOON,
    QUERIES,
    RUN,
    TASK_RUN,
    read_page,
    recording,
)

from rxflow._backends.backend import HttpResponse
from rxflow._backends.prefect1_queries import QUERY_TEXTS, Prefect1Query, call_of
from rxflow._backends.prefect1_replies import read_reply
from rxflow._backends.prefect1_rows import level_of
from rxflow._protocol.failures import Failure, FailureKind
from rxflow._protocol.pages import Page
from rxflow._protocol.queries import FlowsQuery, LogsQuery, RunQuery, StatesQuery, TaskRunsQuery
from rxflow.testing import FakePrefect1

SCHEMA = graphql.build_schema(FakePrefect1.schema())
DEEPEST = 7
"""The depth of a query that the gateway accepts."""


def body_of(query: Prefect1Query) -> Any:
    """Read the body of the call of a query."""
    return json.loads(call_of(query).body or b"")


def reply_of(server: FakePrefect1, query: Prefect1Query) -> HttpResponse:
    """Send a query to a fake server, and return the reply."""
    return send_to_fake(server.handle, "http://fake.invalid", call_of(query))


def depth(node: graphql.Node, selected: int = -1) -> int:
    """Compute how deep the fields of a document are; those of its root have depth 0."""
    if isinstance(node, graphql.DocumentNode):
        return max(depth(part) for part in node.definitions)
    selections = getattr(node, "selection_set", None)
    return (
        max((depth(part, selected + 1) for part in selections.selections), default=selected)
        if selections
        else selected
    )


@pytest.mark.parametrize("text", QUERY_TEXTS, ids=lambda text: text.split("(")[0].split()[1])
def test_a_query_is_valid_and_not_too_deep(text: str) -> None:
    """Each text fits the schema of a Prefect Server, and the depth that its gateway accepts."""
    document = graphql.parse(text)
    assert not graphql.validate(SCHEMA, document)
    assert 0 <= depth(document) <= DEEPEST


def test_depth_is_computed_as_the_gateway_does() -> None:
    """A query that the gateway refused as too deep is deeper than `DEEPEST` here."""
    refused = json.loads(recording("depth_limit", "errors")["request"])["query"]
    assert depth(graphql.parse(refused)) == DEEPEST + 1


@pytest.mark.parametrize("query", QUERIES, ids=KINDS)
def test_a_query_is_sent_as_a_post_with_variables(query: Prefect1Query) -> None:
    """It goes to the URL itself: one of the texts, an object of variables, the two headers."""
    call = call_of(query)
    assert (call.method, call.path, call.params) == ("POST", "", ())
    assert dict(call.headers) == {
        "Content-Type": "application/json",
        "X-PREFECT-CORE-VERSION": recording("flow")["headers"]["X-PREFECT-CORE-VERSION"],
    }
    body = body_of(query)
    assert body.keys() == {"query", "variables"}
    assert body["query"] in QUERY_TEXTS
    assert isinstance(body["variables"], dict)
    assert call_of(query) == call


@pytest.mark.parametrize("query", QUERIES, ids=KINDS)
def test_a_server_accepts_each_query(query: Prefect1Query) -> None:
    """The variables fit the text: a server without any rows sends a reply without rows."""
    reply = read_reply(query, reply_of(FakePrefect1(), query))
    if isinstance(query, RunQuery):
        assert isinstance(reply, Failure)
        assert reply.kind is FailureKind.RUN_NOT_FOUND
    else:
        assert isinstance(reply, Page)
        assert reply.rows == ()


def test_a_query_has_no_time_from_our_clock() -> None:
    """A time is sent only if the query names it, and then in the format of the server."""
    bare = body_of(LOGS)["variables"]
    assert bare["where"] == {"flow_run_id": {"_in": [RUN]}}
    query = LogsQuery(flow_run_ids=(RUN,), after=NOON, before=NOON + timedelta(minutes=1))
    assert body_of(query)["variables"]["where"]["timestamp"] == {
        "_gte": "2026-11-22T12:00:00Z",
        "_lte": "2026-11-22T12:01:00Z",
    }


@pytest.mark.parametrize(("descending", "direction"), [(False, "asc"), (True, "desc")])
def test_log_lines_have_an_order_without_ties(descending: bool, direction: str) -> None:
    """Log rows are sorted by timestamp, then by creation and id, all in one direction."""
    query = LogsQuery(flow_run_ids=(RUN, FLOW), descending=descending, offset=7, limit=3)
    assert body_of(query)["variables"] == {
        "where": {"flow_run_id": {"_in": [RUN, FLOW]}},
        "order": [{"timestamp": direction}, {"created": direction}, {"id": direction}],
        "offset": 7,
        "limit": 3,
    }


@given(lowest=st.integers(1, 60))
def test_a_level_is_filtered_as_it_is_read(lowest: int) -> None:
    """A row is in the reply exactly if the level that it is read as is high enough."""
    server = FakePrefect1()
    run = server.add_run()
    for level in (*("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"), "TRACE", "info", "", None):
        row = server.log(run, str(level))
        server.logs[row]["level"] = level
    query = LogsQuery(flow_run_ids=(run,), level=lowest)
    rows = read_page(query, reply_of(server, query)).rows
    expected = {row["message"] for row in server.logs.values() if level_of(row["level"]) >= lowest}
    assert {row.message for row in rows} == expected
    assert all(row.level >= lowest for row in rows)


def test_task_runs_are_filtered_by_id() -> None:
    """Ids are filtered within their flow run, so that rows of another run are not in the reply."""
    query = TaskRunsQuery(flow_run_ids=(RUN,), task_run_ids=(TASK_RUN,), offset=2, limit=3)
    assert body_of(query)["variables"] == {
        "where": {"flow_run_id": {"_in": [RUN]}, "id": {"_in": [TASK_RUN]}},
        "offset": 2,
        "limit": 3,
    }


def test_task_runs_are_filtered_by_id_alone() -> None:
    """Where it is not known whose they are, every run's are filtered."""
    query = TaskRunsQuery(flow_run_ids=(), task_run_ids=(TASK_RUN,))
    assert body_of(query)["variables"]["where"] == {"id": {"_in": [TASK_RUN]}}


def test_unfinished_task_runs_are_those_in_no_terminal_state() -> None:
    """The server compares the names of states; one that is not known here is not terminal."""
    where = body_of(TaskRunsQuery(flow_run_ids=(RUN,), unfinished=True))["variables"]["where"]
    names = where["state"]["_nin"]
    assert {"Success", "Mapped", "TriggerFailed", "Cancelled"} <= set(names)
    assert not {"Running", "Retrying", "Scheduled", "Cancelling"} & set(names)


def test_task_runs_are_filtered_by_task() -> None:
    """The server filters the runs of one task, and those that are no mapped children."""
    query = TaskRunsQuery(flow_run_ids=(RUN,), task_key="load-1", map_index=-1)
    assert body_of(query)["variables"]["where"] == {
        "flow_run_id": {"_in": [RUN]},
        "task": {"slug": {"_eq": "load-1"}},
        "map_index": {"_eq": -1},
    }


def test_no_more_rows_are_requested_than_needed() -> None:
    """One version of a flow group is requested, and as many states as the limit of the query."""
    assert body_of(FlowsQuery(flow_group_id=FLOW))["variables"]["limit"] == 1
    assert body_of(FlowsQuery("demo"))["variables"]["limit"] == 200
    assert body_of(StatesQuery(RUN, limit=7))["variables"]["limit"] == 7


def test_flows_are_filtered_by_name_project_group_and_id() -> None:
    """By name only flows that are not archived are found, by group and id all of them."""
    where = {
        query: body_of(query)["variables"]["where"]
        for query in (
            FlowsQuery("demo"),
            FlowsQuery("demo", project_name="p"),
            FlowsQuery(project_name=None),
            FlowsQuery(flow_group_id=FLOW),
            FlowsQuery(flow_ids=(FLOW,)),
        )
    }
    assert list(where.values()) == [
        {"name": {"_eq": "demo"}, "archived": {"_eq": False}},
        {"name": {"_eq": "demo"}, "archived": {"_eq": False}, "project": {"name": {"_eq": "p"}}},
        {"project_id": {"_is_null": True}},
        {"flow_group_id": {"_eq": FLOW}},
        {"id": {"_in": [FLOW]}},
    ]
