"""Mutations of the fake Prefect 1 server."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from graphql_calls import run_query, send_query

from rxflow.testing import FakePrefect1
from rxflow.testing._prefect1.rows import serialized


def test_rows_that_a_client_writes_are_read_back() -> None:
    """A run that is created by a mutation is found with the state and the line written for it."""
    server = FakePrefect1()
    flow_id = server.add_flow("etl")
    created = run_query(
        server,
        "mutation($i: create_flow_run_input!) { create_flow_run(input: $i) { id } }",
        i={"flow_id": flow_id, "parameters": {"n": 1}},
    )
    run_id = created["create_flow_run"]["id"]
    state = {"flow_run_id": run_id, "state": json.dumps(serialized("Running", "go"))}
    run_query(
        server,
        "mutation($i: set_flow_run_states_input!) { set_flow_run_states(input: $i) {states{id}} }",
        i={"states": [state]},
    )
    line = {"flow_run_id": run_id, "message": "hi", "level": "ERROR"}
    run_query(
        server,
        "mutation($i: write_run_logs_input!) { write_run_logs(input: $i) { success } }",
        i={"logs": [line]},
    )
    query = "{ flow_run { state parameters flow { name } logs { message level } } }"
    assert run_query(server, query)["flow_run"] == [
        {
            "state": "Running",
            "parameters": {"n": 1},
            "flow": {"name": "etl"},
            "logs": [{"message": "hi", "level": "ERROR"}],
        }
    ]


def _mutate(server: FakePrefect1, name: str, selection: str, /, **values: Any) -> Any:
    query = f"mutation($i: {name}_input!) {{ {name}(input: $i) {{ {selection} }} }}"
    return run_query(server, query, i=values)[name]


def _create_run(server: FakePrefect1, **values: Any) -> dict[str, Any]:
    return server.runs[_mutate(server, "create_flow_run", "id", **values)["id"]]


def test_a_run_is_created_with_everything_that_a_client_may_give() -> None:
    """Each argument is a column of the new run, and the start time is also its state's."""
    server = FakePrefect1()
    run = _create_run(
        server,
        flow_id=server.add_flow(),
        flow_run_name="given",
        labels=["l"],
        context={"a": 1},
        parameters={"n": 2},
        run_config={"type": "LocalRun"},
        scheduled_start_time="2030-01-02T03:04:05+00:00",
        idempotency_key="k",
    )
    due = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert (run["name"], run["labels"], run["context"]) == ("given", ["l"], {"a": 1})
    assert (run["parameters"], run["run_config"]) == ({"n": 2}, {"type": "LocalRun"})
    assert run["scheduled_start_time"] == run["state_start_time"] == due
    assert (run["state"], run["idempotency_key"]) == ("Scheduled", "k")


@pytest.mark.parametrize(
    ("given", "of_group", "labels"),
    [(["a"], ["b"], ["a"]), (None, ["b"], ["b"]), (None, None, ["c"]), ([], ["b"], [])],
    ids=["given", "of the group", "of the configuration", "given as none"],
)
def test_a_run_has_labels_of_its_flow_unless_given(
    given: list[str] | None, of_group: list[str] | None, labels: list[str]
) -> None:
    """The labels of the flow's group come before those of its run configuration."""
    server = FakePrefect1()
    flow_id = server.add_flow(run_config={"type": "LocalRun", "labels": ["c"]})
    server.flow_groups[server.flows[flow_id]["flow_group_id"]]["labels"] = of_group
    run = _create_run(server, flow_id=flow_id, labels=given)
    assert (run["labels"], run["run_config"]["labels"]) == (labels, ["c"])


def test_a_run_of_a_version_group_is_of_its_unarchived_flow() -> None:
    """The version group stands for the flow that is not archived; ``flow_id`` is used first."""
    server = FakePrefect1()
    old = server.add_flow(archived=True, version_group_id="g")
    new = server.add_flow(version_group_id="g")
    assert _create_run(server, version_group_id="g")["flow_id"] == new
    assert _create_run(server, version_group_id="g", flow_id=old)["flow_id"] == old


def test_each_task_has_a_pending_run_from_the_beginning() -> None:
    """A run is created with a task run of each task of its flow."""
    server = FakePrefect1()
    flow_id = server.add_flow()
    task_id = server.add_task(flow_id, "load-1", cache_key="k")
    run = _create_run(server, flow_id=flow_id)
    (task_run,) = server.task_runs.values()
    assert (task_run["flow_run_id"], task_run["task_id"]) == (run["id"], task_id)
    assert (task_run["state"], task_run["version"], task_run["cache_key"]) == ("Pending", 1, "k")


@pytest.mark.parametrize(
    ("state", "after"),
    [
        ("Scheduled", "Cancelled"),
        ("Submitted", "Cancelled"),
        ("Running", "Cancelling"),
        ("Success", "Success"),
    ],
)
def test_cancelling_depends_on_whether_a_run_has_started(state: str, after: str) -> None:
    """A running run is cancelling, another is cancelled, and a finished one remains as it is."""
    server = FakePrefect1()
    run_id = server.add_run(state=state)
    assert _mutate(server, "cancel_flow_run", "state", flow_run_id=run_id) == {"state": after}
    assert server.runs[run_id]["state"] == after


def test_runs_are_renamed_kept_alive_and_deleted() -> None:
    """The row of the run is changed, and is gone after the deletion."""
    server = FakePrefect1()
    run_id = server.add_run()
    _mutate(server, "set_flow_run_name", "success", flow_run_id=run_id, name="new")
    _mutate(server, "update_flow_run_heartbeat", "success", flow_run_id=run_id)
    assert server.runs[run_id]["name"] == "new"
    assert server.runs[run_id]["heartbeat"] is not None
    assert _mutate(server, "delete_flow_run", "success", flow_run_id=run_id) == {"success": True}
    assert (server.runs, server.states) == ({}, {})


def test_a_task_run_is_created_once_named_and_put_into_states() -> None:
    """It is looked up by its run, task and map index, and created as pending."""
    server = FakePrefect1()
    run_id = server.add_run()
    task_id = server.add_task(server.runs[run_id]["flow_id"])
    where = {"flow_run_id": run_id, "task_id": task_id}
    info = "id version serialized_state"
    first = _mutate(server, "get_or_create_task_run_info", info, **where, map_index=2)
    assert (first["version"], first["serialized_state"]["type"]) == (1, "Pending")
    again = _mutate(server, "get_or_create_task_run_info", info, **where, map_index=2)
    parent = _mutate(server, "get_or_create_task_run_info", info, **where)
    assert first == again != parent
    task_run = server.task_runs[first["id"]]
    _mutate(server, "set_task_run_name", "success", task_run_id=first["id"], name="third")
    state = serialized("Retrying", "again", start_time="2030-01-01T00:00:00+00:00")
    states = [{"task_run_id": first["id"], "state": state, "version": 1}]
    found = _mutate(server, "set_task_run_states", "states { id status }", states=states)
    assert found == {"states": [{"id": first["id"], "status": "SUCCESS"}]}
    assert (task_run["name"], task_run["state"]) == ("third", "Retrying")
    assert task_run["state_start_time"] == datetime(2030, 1, 1, tzinfo=UTC)
    query = "query($id: uuid!) { get_task_run_info(task_run_id: $id) { version serialized_state } }"
    read = run_query(server, query, id=first["id"])["get_task_run_info"]
    assert (read["version"], read["serialized_state"]["message"]) == (2, "again")


def test_projects_are_unique_and_deleted_with_their_flows() -> None:
    """The error about a second project of a name has the text that the client looks for."""
    server = FakePrefect1()
    tenant = next(iter(server.tenants))
    values = {"name": "p", "description": "text", "tenant_id": tenant}
    project_id = _mutate(server, "create_project", "id", **values)["id"]
    mutation = "mutation($i: create_project_input!) { create_project(input: $i) { id } }"
    assert send_query(server, mutation, i=values).json()["errors"][0]["message"] == (
        "Uniqueness violation."
    )
    kept = server.add_run()
    run_id = server.add_run(flow_id=server.add_flow(project="p"))
    server.add_task_run(run_id)
    query = "{ project(order_by: {name: desc}) { name description flows { name } } }"
    found = run_query(server, query)["project"]
    assert found[0] == {"name": "p", "description": "text", "flows": [{"name": "fake-flow"}]}
    _mutate(server, "delete_project", "success", project_id=project_id)
    assert (list(server.runs), len(server.flows), server.tasks) == ([kept], 1, {})


_MISSING = "0" * 32


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("create_flow_run", {}),
        ("create_flow_run", {"flow_id": _MISSING}),
        ("create_flow_run", {"version_group_id": "none"}),
        ("cancel_flow_run", {"flow_run_id": _MISSING}),
        ("delete_flow_run", {"flow_run_id": _MISSING}),
        ("delete_project", {"project_id": _MISSING}),
        ("set_flow_run_name", {"flow_run_id": _MISSING, "name": "n"}),
        ("update_flow_run_heartbeat", {"flow_run_id": _MISSING}),
        ("get_or_create_task_run_info", {"flow_run_id": _MISSING, "task_id": _MISSING}),
        ("set_task_run_name", {"task_run_id": _MISSING, "name": "n"}),
        ("set_task_run_states", {"states": [{"task_run_id": _MISSING, "state": {}}]}),
        ("set_flow_run_states", {"states": [{"flow_run_id": _MISSING, "state": {}}]}),
    ],
)
def test_a_mutation_of_a_row_that_does_not_exist_is_an_error(
    name: str, values: dict[str, Any]
) -> None:
    """It is reported with status 200, at the mutation's field, without its data."""
    query = f"mutation($i: {name}_input!) {{ {name}(input: $i) {{ __typename }} }}"
    reply = send_query(FakePrefect1(), query, i=values)
    (error,) = reply.json()["errors"]
    assert (reply.status_code, error["path"]) == (200, [name])
    assert error["extensions"]["code"] == "INTERNAL_SERVER_ERROR"
    assert reply.json()["data"] == {name: None}


@pytest.mark.parametrize(
    "state", ["{", "1", {}, {"type": "Scheduled", "start_time": "noon"}], ids=str
)
def test_what_is_no_state_is_refused(state: Any) -> None:
    """The run remains in its state."""
    server = FakePrefect1()
    run_id = server.add_run()
    query = (
        "mutation($i: set_flow_run_states_input!) { set_flow_run_states(input: $i) {states{id}}}"
    )
    reply = send_query(server, query, i={"states": [{"flow_run_id": run_id, "state": state}]})
    assert "could not be deserialized" in reply.json()["errors"][0]["message"]
    assert server.runs[run_id]["version"] == 1
