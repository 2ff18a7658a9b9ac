"""The fake's GraphQL gateway: recorded exchanges with a real Prefect Server, lists and outages."""

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import graphql
import httpx
import pytest
from graphql_calls import URL, run_query, send_query
from prefect1_recordings import ERRORS, EXCHANGES, recorded_rows, recording

from rxflow.testing import FakePrefect1, Faults, VirtualTime

Send = Callable[[FakePrefect1, bytes], httpx.Response]

RECORDED_AT = datetime(2026, 11, 22, 14, 34, tzinfo=UTC)

# These replies were recorded while the run was going on, after so many states; the others after
# its end.
STATES_BEFORE_THE_END = {"flow_run_Scheduled": 1, "flow_run_Submitted": 2, "flow_run_Running": 3}

OUTAGES: dict[str, Any] = {
    "hasura_down": "hasura_down",
    "prefect_server_hasura_down": "hasura_down",
    "prefect_graphql_down": "graphql_down",
}


def recorded_fields(state: dict[str, Any]) -> dict[str, Any]:
    """Select the fields of a serialized state that the server cannot derive."""
    return {key: state[key] for key in ("_result", "context", "n_map_states") if key in state}


def server_as_recorded(name: str) -> FakePrefect1:
    """Make a server with the rows that the real one had when an exchange was recorded."""
    server = FakePrefect1(clock=VirtualTime(RECORDED_AT))
    (tenant,), (flow,), (agent,) = map(recorded_rows, ("tenants", "flow", "agent"))
    server.tenants = {tenant["id"]: tenant}
    columns = {
        key: value for key, value in flow.items() if key not in {"name", "project", "flow_group"}
    }
    server.add_flow(flow["name"], project=flow["project"]["name"], **columns)
    project = recording("get_flow_run_info")["response"]["data"]["flow_run_by_pk"]["flow"][
        "project"
    ]
    server.projects = {project["id"]: project}
    server.flows[flow["id"]]["project_id"] = project["id"]
    last_queried = datetime.fromisoformat(agent["last_queried"])
    agent_id = server.add_agent(agent["name"], labels=agent["labels"], last_queried=last_queried)
    server.agents[agent_id]["id"] = agent["id"]
    add_recorded_run(server, name)
    if name not in STATES_BEFORE_THE_END:
        add_recorded_task_runs(server)
    if name != "flow_run_logs_incremental_empty":  # recorded before the writer uploaded its lines
        add_recorded_logs(server)
    return server


def add_recorded_run(server: FakePrefect1, name: str) -> None:
    """Add the recorded run, with the states that it had when an exchange was recorded."""
    (run,) = recorded_rows(name if name in STATES_BEFORE_THE_END else "flow_run_Success")
    creation = json.loads(recording("create_flow_run")["body"]["variables"])["input"]
    states = run["states"]
    scheduled = datetime.fromisoformat(states[0]["serialized_state"]["start_time"])
    run_id = server.add_run(
        state=None,
        scheduled_start_time=scheduled,
        idempotency_key=creation["idempotency_key"],
        **{
            key: run[key] for key in ("id", "name", "flow_id", "labels", "parameters", "run_config")
        },
    )
    for row in states:
        state = row["serialized_state"]
        start = {"start_time": state["start_time"]} if "start_time" in state else {}
        server.set_state(
            run_id,
            state["type"],
            state["message"],
            timestamp=datetime.fromisoformat(row["timestamp"]),
            **recorded_fields(state),
            **start,
        )
    server.runs[run_id]["updated"] = datetime.fromisoformat(run["updated"])


def add_recorded_task_runs(server: FakePrefect1) -> None:
    """Add the recorded run's task runs, each of which was pending and then running before."""
    (run_id,) = server.runs
    for row in recorded_rows("task_run_all"):
        task, state = row["task"], row["serialized_state"]
        task_run_id = server.add_task_run(
            run_id, slug=task["slug"], map_index=row["map_index"], id=row["id"]
        )
        added = server.tasks.pop(server.task_runs[task_run_id]["task_id"])
        server.tasks[task["id"]] = added | {"id": task["id"]}
        server.task_runs[task_run_id]["task_id"] = task["id"]
        if state["type"] != "Mapped":
            server.set_task_state(task_run_id, "Running")
        fields = recorded_fields(state)
        server.set_task_state(task_run_id, state["type"], state["message"], **fields)


def add_recorded_logs(server: FakePrefect1) -> None:
    """Add the recorded run's log rows."""
    (run_id,) = server.runs
    for row in recorded_rows("flow_run_logs_initial")[0]["logs"]:
        timestamp = datetime.fromisoformat(row["timestamp"])
        server.log(run_id, row["message"], level=row["level"], timestamp=timestamp)


@pytest.fixture(params=["transport", "async transport", "http"])
def send(request: pytest.FixtureRequest) -> Send:
    """Send a body to a server, over one of its connections."""

    def transport(server: FakePrefect1, body: bytes) -> httpx.Response:
        with httpx.Client(transport=server.transport()) as http:
            return http.post(URL, content=body)

    async def async_transport(server: FakePrefect1, body: bytes) -> httpx.Response:
        async with httpx.AsyncClient(transport=server.transport()) as http:
            return await http.post(URL, content=body)

    def http(server: FakePrefect1, body: bytes) -> httpx.Response:
        with server.serve() as url, httpx.Client(trust_env=False) as client:
            return client.post(url, content=body)

    connections: dict[str, Send] = {
        "transport": transport,
        "async transport": lambda server, body: asyncio.run(async_transport(server, body)),
        "http": http,
    }
    return connections[request.param]


# -- recorded exchanges -------------------------------------------------------------------------


@pytest.mark.parametrize("name", EXCHANGES)
def test_recorded_requests_get_the_recorded_responses(name: str, send: Send) -> None:
    """With the rows of that day, status and body of each response equal the recorded ones."""
    recorded = recording(name)
    response = send(server_as_recorded(name), json.dumps(recorded["body"]).encode())
    assert response.status_code == recorded["status"]
    assert response.json() == recorded["response"]


@pytest.mark.parametrize("name", ERRORS)
def test_recorded_errors_are_reproduced(name: str, send: Send) -> None:
    """An invalid query, or one to a part that is down, gets the recorded error, word for word."""
    recorded = recording(name, "errors")
    server = server_as_recorded("flow")
    server.outage = OUTAGES.get(name)
    response = send(server, recorded["request"].encode())
    body = response.text if isinstance(recorded["response"], str) else response.json()
    assert (response.status_code, body) == (recorded["status"], recorded["response"])


def test_recorded_queries_are_valid_by_the_schema() -> None:
    """The shipped schema accepts each query that the client was recorded to send."""
    schema = graphql.build_schema(FakePrefect1.schema())
    assert not graphql.validate_schema(schema)
    for name in EXCHANGES:
        query = graphql.parse(recording(name)["body"]["query"])
        assert not graphql.validate(schema, query), name


# -- lists --------------------------------------------------------------------------------------


def test_a_row_limit_cuts_each_list_silently() -> None:
    """Lists of rows, and lists of related rows, end at the limit without an error."""
    server = FakePrefect1(row_limit=2)
    runs = [server.add_run(state="Running") for _ in range(3)]
    for run_id in runs:
        for _ in range(3):
            server.log(run_id)
            server.set_state(run_id, "Running")
    found = run_query(server, "{ flow_run(limit: 5) { id logs { id } states { id } } log { id } }")
    assert [run["id"] for run in found["flow_run"]] == runs[:2]
    assert len(found["log"]) == 2
    assert {len(run[name]) for run in found["flow_run"] for name in ("logs", "states")} == {2}


def test_ties_come_in_another_order_each_time() -> None:
    """With `ties`, rows with equal keys are shuffled; rows with different keys stay sorted."""
    server = FakePrefect1(faults=Faults(ties=True))
    run_id = server.add_run()
    for second in range(2):
        for _ in range(10):
            timestamp = RECORDED_AT + timedelta(seconds=second)
            server.log(run_id, str(second), timestamp=timestamp)
    query = "{ log(order_by: {timestamp: desc}) { id message } }"
    replies = [run_query(server, query)["log"] for _ in range(20)]
    assert len({tuple(row["id"] for row in rows) for rows in replies}) > 1
    assert {"".join(row["message"] for row in rows) for rows in replies} == {"1" * 10 + "0" * 10}


# -- outages ------------------------------------------------------------------------------------


def test_a_query_may_time_out() -> None:
    """Prefect Cloud's timeout comes with status 200, its own code, and no data."""
    server = FakePrefect1()
    server.outage = "timed_out"
    response = send_query(server, "{ log { id } }")
    (error,) = response.json()["errors"]
    assert response.status_code == 200
    assert response.json()["data"] is None
    assert error["message"] == "Operation timed out"
    assert error["extensions"] == {"code": "API_ERROR"}
    assert error["path"] == ["log"]


def test_prefect_server_has_no_auth_info() -> None:
    """Without a key the server is Prefect Server, whose schema lacks Prefect Cloud's field."""
    assert send_query(FakePrefect1(), "{ auth_info { tenant_id } }").status_code == 400


def test_distinct_rows_are_the_first_of_each_value_in_order() -> None:
    """`distinct_on` comes after the order and before the limit, as in `prefect get flows`."""
    server = FakePrefect1()
    for name, version in [("a", 1), ("b", 1), ("a", 3), ("a", 2)]:
        server.add_flow(name, version=version)
    query = """query($limit: Int) { flow(
        distinct_on: name, order_by: {name: asc, version: desc}, limit: $limit
    ) { name version } }"""
    first, second = {"name": "a", "version": 3}, {"name": "b", "version": 1}
    assert run_query(server, query)["flow"] == [first, second]
    assert run_query(server, query, limit=1)["flow"] == [first]
    assert len(run_query(server, "{ flow(distinct_on: []) { id } }")["flow"]) == 4


def test_rows_must_be_ordered_by_what_they_differ_in() -> None:
    """PostgreSQL allows no other order for distinct rows."""
    query = "{ flow(distinct_on: name, order_by: {version: asc}) { name } }"
    (error,) = send_query(FakePrefect1(), query).json()["errors"]
    assert "distinct_on" in error["message"]


def test_aggregates_count_all_selected_rows() -> None:
    """They count at the root and of related rows, whatever the server's row limit."""
    server = FakePrefect1(row_limit=1)
    for name in ("a", "a", "b"):
        server.add_flow(name, project="p")
    query = """{
        flow_aggregate(where: {name: {_eq: "a"}}) { aggregate { count } }
        project { flows_aggregate(distinct_on: name) { aggregate { count } } }
    }"""
    assert run_query(server, query) == {
        "flow_aggregate": {"aggregate": {"count": 2}},
        "project": [{"flows_aggregate": {"aggregate": {"count": 2}}}],
    }
