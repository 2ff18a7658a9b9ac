"""GraphQL queries to a fake Prefect 1 server, in process."""

from typing import Any

import httpx

from rxflow.testing import FakePrefect1

URL = "http://fake.invalid"


def run_query(server: FakePrefect1, query: str, **variables: Any) -> Any:
    """Send a query, and return the data of its reply, which must have no errors."""
    reply = send_query(server, query, **variables).json()
    assert "errors" not in reply, reply
    return reply["data"]


def send_query(server: FakePrefect1, query: str, **variables: Any) -> httpx.Response:
    """Send a query, and return the response."""
    body = {"query": query, "variables": variables}
    return server.handle(httpx.Request("POST", URL, json=body))
