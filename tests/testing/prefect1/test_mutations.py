"""Mutations of the fake Prefect 1 server."""

import json

from graphql_calls import run_query

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
