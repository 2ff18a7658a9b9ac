"""Registering flows at the fake Prefect 1 server, by the mutations that its client sends."""

import gzip
import json
from base64 import b64encode
from typing import Any

import pytest
from graphql_calls import run_query, send_query

from rxflow.testing import FakePrefect1

_FLOW: dict[str, Any] = {
    "name": "etl",
    "__version__": "1.4.1",
    "parameters": [{"name": "n"}],
    "run_config": {"type": "LocalRun", "labels": ["vm"]},
    "storage": {"type": "Local"},
    "tasks": [{"name": "load", "slug": "load-1", "max_retries": 2}, {"name": "n", "slug": "n"}],
    "edges": [{"downstream_task": {"slug": "load-1"}, "mapped": True}],
}


def _create(server: FakePrefect1, **columns: Any) -> Any:
    mutation = "mutation($i: create_flow_input!) { create_flow(input: $i) { id } }"
    (project_id,) = server.projects or [server.add_project("p")]
    values = {"project_id": project_id, "serialized_flow": _FLOW, **columns}
    return run_query(server, mutation, i=values)["create_flow"]["id"]


def test_a_flow_is_registered_with_its_tasks() -> None:
    """Its columns come from the serialized flow; an edge says which task is mapped."""
    server = FakePrefect1()
    flow = server.flows[_create(server)]
    assert (flow["name"], flow["version"], flow["core_version"]) == ("etl", 1, "1.4.1")
    assert flow["parameters"] == [{"name": "n"}]
    tasks = [(row["slug"], row["mapped"], row["max_retries"]) for row in server.tasks.values()]
    assert tasks == [("load-1", True, 2), ("n", False, 0)]


def test_another_registration_archives_the_earlier_version() -> None:
    """A flow of the same name in the project is its next version, in the same group."""
    server = FakePrefect1()
    ids = [_create(server), _create(server), _create(server, version_group_id="other")]
    flows = [server.flows[flow_id] for flow_id in ids]
    assert [(flow["version"], flow["archived"]) for flow in flows] == [
        (1, True),
        (2, False),
        (1, False),
    ]
    groups = [flow["flow_group_id"] for flow in flows]
    assert groups[0] == groups[1] != groups[2]
    assert flows[2]["version_group_id"] == "other"


def test_with_the_idempotency_key_of_the_latest_version_none_is_added() -> None:
    """The flow that is there is returned; with another key it is a new version."""
    server = FakePrefect1()
    ids = [_create(server, idempotency_key=key) for key in ("a", "a", "b")]
    assert ids[0] == ids[1] != ids[2]


def test_a_compressed_flow_is_registered() -> None:
    """It is JSON, compressed by gzip, in base64."""
    server = FakePrefect1()
    project_id = server.add_project("p")
    text = b64encode(gzip.compress(json.dumps(_FLOW).encode())).decode()
    mutation = """mutation($i: create_flow_from_compressed_string_input!) {
        create_flow_from_compressed_string(input: $i) { id } }"""
    run_query(server, mutation, i={"project_id": project_id, "serialized_flow": text})
    assert [flow["serialized_flow"] for flow in server.flows.values()] == [_FLOW]


@pytest.mark.parametrize(
    ("mutation", "values", "text"),
    [
        ("create_flow", {"serialized_flow": {}}, "Flow could not be deserialized"),
        ("create_flow", {"serialized_flow": 1}, "Flow could not be deserialized"),
        ("create_flow", {"serialized_flow": {"name": "f", "tasks": [1]}}, "Task could not be"),
        ("create_flow", {"serialized_flow": {"name": "f", "edges": [1]}}, "Edge could not be"),
        (
            "create_flow_from_compressed_string",
            {"serialized_flow": "?"},
            "Flow could not be decompressed",
        ),
        (
            "create_flow_from_compressed_string",
            {"serialized_flow": b64encode(b"text").decode()},
            "Flow could not be decompressed",
        ),
    ],
    ids=["nameless", "number", "no task", "no edge", "not base64", "not gzip"],
)
def test_what_is_no_flow_is_refused(mutation: str, values: dict[str, Any], text: str) -> None:
    """The error names the mutation and the part that is wrong."""
    server = FakePrefect1()
    query = f"mutation($i: {mutation}_input!) {{ {mutation}(input: $i) {{ id }} }}"
    reply = send_query(server, query, i={"project_id": server.add_project(), **values}).json()
    (error,) = reply["errors"]
    assert error["message"].startswith(text)
    assert error["path"] == [mutation]


@pytest.mark.parametrize(
    ("mutation", "values"),
    [
        ("create_flow", {"project_id": "0" * 32, "serialized_flow": _FLOW}),
        ("register_tasks", {"flow_id": "0" * 32, "serialized_tasks": []}),
        ("register_edges", {"flow_id": "0" * 32, "serialized_edges": []}),
        ("set_schedule_active", {"flow_id": "0" * 32}),
    ],
    ids=["project", "tasks", "edges", "schedule"],
)
def test_a_row_that_does_not_exist_is_named(mutation: str, values: dict[str, Any]) -> None:
    """The project or the flow of a registration must exist."""
    query = f"mutation($i: {mutation}_input!) {{ {mutation}(input: $i) {{ __typename }} }}"
    reply = send_query(FakePrefect1(), query, i=values).json()
    assert reply["errors"][0]["message"].endswith("00000000-0000-0000-0000-000000000000 not found")
