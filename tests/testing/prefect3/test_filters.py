"""Filters of flow runs that scripts send to the fake Prefect 3 server, and rxflow does not."""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from rxflow.testing import FakePrefect3, VirtualTime

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.fixture
def server() -> FakePrefect3:
    """A server with three runs, of which "bare" has neither deployment, work pool nor times."""
    server = FakePrefect3(clock=VirtualTime())
    nightly = server.add_deployment(name="nightly", flow="etl")
    pool = "4edbba39-67c2-4746-b176-eb7641704653"
    server.add_run(
        name="deployed",
        flow="etl",
        deployment_id=nightly,
        tags=["eu"],
        work_pool_name="k8s",
        work_pool_id=pool,
        expected_start_time=NOON,
    )
    server.add_run(name="tagged", tags=["us"], expected_start_time=NOON - timedelta(hours=1))
    server.add_run(name="bare", state=None, expected_start_time=None)
    return server


def found(server: FakePrefect3, **body: Any) -> list[str]:
    """Return the names of the runs that a body selects, in the order of the reply."""
    with httpx.Client(transport=server.transport(), base_url="http://fake.invalid/api") as http:
        reply = http.post("/flow_runs/filter", json=body)
        assert reply.status_code == 200, reply.text
        return [row["name"] for row in reply.json()]


@pytest.mark.parametrize(
    ("body", "names"),
    [
        ({"deployments": {"name": {"any_": ["nightly"]}}}, {"deployed"}),
        ({"deployments": {}}, {"deployed"}),
        (
            {"work_pools": {"id": {"any_": ["4edbba39-67c2-4746-b176-eb7641704653"]}}},
            {"deployed"},
        ),
        ({"flow_runs": {"tags": {"any_": ["eu", "us"]}}}, {"deployed", "tagged"}),
        ({"flow_runs": {"tags": {"all_": ["eu", "us"]}}}, set()),
        ({"flow_runs": {"state": {}}}, {"deployed", "tagged", "bare"}),
        ({"flow_runs": {"operator": "or_"}}, {"deployed", "tagged", "bare"}),
        (
            {
                "flow_runs": {
                    "operator": "or_",
                    "name": {"any_": ["bare"]},
                    "tags": {"any_": ["us"]},
                }
            },
            {"tagged", "bare"},
        ),
        ({"flow_runs": {"start_time": {"before_": NOON.isoformat()}}}, {"deployed", "tagged"}),
        ({"flow_runs": {"start_time": {}}}, {"deployed", "tagged", "bare"}),
    ],
)
def test_a_filter_selects_runs(server: FakePrefect3, body: dict[str, Any], names: set[str]) -> None:
    """As on a real server: by and, or, and related rows; a null is in no bounds."""
    assert set(found(server, **body)) == names


def test_runs_without_a_time_sort_before_any_time(server: FakePrefect3) -> None:
    """As in SQLite, in all orders by a time."""
    for column in ("START_TIME", "EXPECTED_START_TIME"):
        ascending = found(server, sort=f"{column}_ASC")
        assert ascending == ["bare", "tagged", "deployed"]
        assert found(server, sort=f"{column}_DESC") == ascending[::-1]
