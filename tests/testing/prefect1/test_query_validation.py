"""Validation of GraphQL queries to the fake: their depth, and what it leaves out."""

import pytest
from graphql_calls import send_query

from rxflow.testing import FakePrefect1
from rxflow.testing._prefect1.query_validation import LEFT_OUT


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
