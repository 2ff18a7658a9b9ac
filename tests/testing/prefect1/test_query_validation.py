"""Validation of GraphQL queries to the fake: the bound on their depth."""

import pytest
from graphql_calls import send_query

from rxflow.testing import FakePrefect1


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
