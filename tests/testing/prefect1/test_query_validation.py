"""Validation of GraphQL queries to the fake: their depth, and what it leaves out."""

import graphql
import pytest
from graphql_calls import send_query

from rxflow.testing import FakePrefect1
from rxflow.testing._prefect1.query_validation import LEFT_OUT

# All that the source of the 1.4.1 client has, its command line included.
SENT_BY_THE_CLIENT = {
    *("agent", "agent_config", "auth_api_key", "auth_info", "cancel_flow_run", "create_api_key"),
    *("create_flow", "create_flow_from_compressed_string", "create_flow_run", "create_project"),
    *("create_task_run_artifact", "create_tenant", "delete_api_key", "delete_key_value"),
    *("delete_project", "delete_task_run_artifact", "delete_task_tag_limit", "flow", "flow_by_pk"),
    *("flow_run", "flow_run_by_pk", "get_or_create_task_run_info", "get_runs_in_queue"),
    *("get_task_run_info", "hello", "key_value", "project", "register_agent", "register_edges"),
    *("register_tasks", "secret_names", "secret_value", "set_flow_run_name", "set_flow_run_states"),
    *("set_key_value", "set_schedule_active", "set_secret", "set_task_run_name"),
    *("set_task_run_states", "task", "task_run", "task_tag_limit", "tenant"),
    *("update_flow_run_heartbeat", "update_task_run_artifact", "update_task_tag_limit"),
    "write_run_logs",
}


@pytest.mark.parametrize(
    ("query", "rejected"),
    [
        ("{ flow { tasks { flow { tasks { flow { tasks { flow { id } } } } } } } }", False),
        ("{ flow { tasks { ...deep } } } fragment deep on task { flow { tasks { id } } }", False),
        (
            """{ flow { tasks { flow { ...deep } } } }
            fragment deep on flow { tasks { flow { tasks { flow { tasks { id } } } } } }""",
            True,
        ),
    ],
    ids=["seven levels", "four levels with a fragment", "eight levels with a fragment"],
)
def test_depth_is_bounded(query: str, rejected: bool) -> None:
    """A field may be at most seven levels below the root, counted through fragments."""
    assert (send_query(FakePrefect1(), query).status_code == 400) is rejected


@pytest.mark.parametrize(
    ("name", "kind"), [(name, kind) for kind, names in LEFT_OUT.items() for name in names]
)
def test_the_error_about_what_is_left_out_says_so(name: str, kind: str) -> None:
    """A query or mutation that a real server has is not reported as unknown."""
    text = f"mutation($i: {name}_input!) {{ {name}(input: $i) {{ id }} }}"
    reply = send_query(FakePrefect1(), text)
    assert reply.status_code == 400
    (error,) = reply.json()["errors"]
    assert error["message"] == f'FakePrefect1 has no "{name}": it leaves out {kind}.'
    assert error["extensions"] == {"code": "GRAPHQL_VALIDATION_FAILED"}


def test_what_the_client_sends_is_replied_to_or_named_as_left_out() -> None:
    """No query and no mutation of the client is unknown to the fake."""
    schema = graphql.build_schema(FakePrefect1.schema())
    assert schema.query_type is not None
    assert schema.mutation_type is not None
    known = {*schema.query_type.fields, *schema.mutation_type.fields}
    left_out = {name for names in LEFT_OUT.values() for name in names}
    assert known | left_out >= SENT_BY_THE_CLIENT
    assert not known & left_out
    assert left_out <= SENT_BY_THE_CLIENT
