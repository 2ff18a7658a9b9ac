"""Responses of the fake's GraphQL gateway to queries with errors."""

import pytest
from graphql_calls import send_query

from rxflow.testing import FakePrefect1


@pytest.mark.parametrize(
    ("query", "path"),
    [
        ("{ flow_run { logs(limit: -1) { id } } }", "flow_run.selectionSet.logs.args.limit"),
        ("{ log(offset: -1) { id } }", "log.args.offset"),
    ],
)
def test_an_error_below_a_root_field_is_reported_as_that_fields(query: str, path: str) -> None:
    """The error has the path and location of the root's field, and the response has no data."""
    server = FakePrefect1()
    server.add_run()
    server.add_run()
    body = send_query(server, query).json()
    (error,) = body["errors"]
    assert body["data"] is None
    assert error["path"] == [path.partition(".")[0]]
    assert error["locations"] == [{"line": 1, "column": 3}]
    assert error["extensions"]["path"] == f"$.selectionSet.{path}"


def test_variables_of_a_wrong_type_are_rejected() -> None:
    """The response has status 400 and no data."""
    response = send_query(FakePrefect1(), "query($n: Int) { log(limit: $n) { id } }", n="many")
    assert response.status_code == 400
    assert "data" not in response.json()
