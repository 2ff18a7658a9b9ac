"""`FlowView`: where it comes from, and what it shows."""

from typing import Any

import pytest
from twins import TWINS, Call

import rxflow
from rxflow import FlowRunView, FlowView
from rxflow.testing import FakePrefect3

NOBODY = "00000000-0000-4000-8000-000000000000"
DEPLOYMENT = "ae5bac40-c433-4c8c-80a8-897aa4cfde2a"


@pytest.fixture(params=TWINS)
def call(request: pytest.FixtureRequest) -> Call:
    """Call a method, or its twin."""
    return TWINS[request.param]


@pytest.fixture
def server() -> FakePrefect3:
    """A server."""
    return FakePrefect3()


def flow_of(server: FakePrefect3, name: str) -> str:
    """The id of a flow that has a run."""
    run = server.add_run(flow=name)
    return str(server.runs[run]["flow_id"])


def test_a_flow_is_found_by_id_and_by_name(server: FakePrefect3, call: Call) -> None:
    """Both ways lead to equal views."""
    flow = flow_of(server, "orders")
    flow_of(server, "other")
    server.flows[flow]["tags"] = ["prod"]
    by_id = call(FlowView, "from_flow_id", flow, client=server.client())
    by_name = call(FlowView, "from_flow_name", "orders", client=server.client())
    assert by_id == by_name
    assert hash(by_id) == hash(by_name)
    assert (by_id.flow_id, by_id.name, by_id.labels) == (flow, "orders", ("prod",))
    assert by_id.flow_group_labels == ("prod",)


def test_what_prefect_3_does_not_know_is_none(server: FakePrefect3, call: Call) -> None:
    """Projects, settings and the like of Prefect 1 are None or empty, and never made up."""
    view = call(FlowView, "from_flow_id", flow_of(server, "orders"), client=server.client())
    assert (view.settings, view.archived) == ({}, False)
    for name in (
        *("run_config", "serialized_flow", "project_name", "core_version", "storage"),
        *("deployment", "version"),
    ):
        assert getattr(view, name) is None


@pytest.mark.parametrize(
    ("given", "error"),
    [(17, TypeError), (None, TypeError), ("x", ValueError), (NOBODY, ValueError)],
)
def test_a_wrong_id_is_an_error(
    server: FakePrefect3, call: Call, given: Any, error: type[Exception]
) -> None:
    """What is no text is a TypeError, what is no id or nobody's a ValueError."""
    with pytest.raises(error):
        call(FlowView, "from_flow_id", given, client=server.client())


def test_an_unknown_name_is_an_error(server: FakePrefect3, call: Call) -> None:
    """So is a project, which Prefect 3 does not have."""
    flow_of(server, "orders")
    with pytest.raises(ValueError, match="no flow named 'nobody'"):
        call(FlowView, "from_flow_name", "nobody", client=server.client())
    with pytest.raises(ValueError, match="no projects"):
        call(FlowView, "from_flow_name", "orders", "sales", client=server.client())


def test_of_several_flows_of_a_name_the_last_can_be_had(server: FakePrefect3, call: Call) -> None:
    """Several are an error that lists them, unless the one updated last is wanted."""
    first, second = flow_of(server, "orders"), flow_of(server, "other")
    server.flows[second]["name"] = "orders"
    with pytest.raises(rxflow.FlowNotFound) as error:
        call(FlowView, "from_flow_name", "orders", client=server.client())
    assert first in str(error.value)
    assert second in str(error.value)
    found = call(FlowView, "from_flow_name", "orders", last_updated=True, client=server.client())
    assert found.flow_id == second


def test_of_a_run_the_deployment_is_known(server: FakePrefect3, call: Call) -> None:
    """The metadata of a run's flow has the deployment's name, storage and configuration."""
    run = server.add_run(flow="orders", deployment_id=DEPLOYMENT, flow_version="v7")
    steps = [{"prefect.deployments.steps.set_working_directory": {"directory": "/srv/example"}}]
    server.deployments[DEPLOYMENT] = {
        "id": DEPLOYMENT,
        "name": "nightly",
        "flow_id": server.runs[run]["flow_id"],
        "version": "v8",
        "path": None,
        "entrypoint": "flows.py:orders",
        "pull_steps": steps,
        "job_variables": {"cpu": 2},
        "work_pool_name": "pool1",
        "work_queue_name": "default",
    }
    view = FlowRunView.from_flow_run_id(run, client=server.client())
    flow = call(view, "get_flow_metadata")
    assert (flow.name, flow.deployment, flow.version) == ("orders", "nightly", "v7")
    assert flow.storage == {"entrypoint": "flows.py:orders", "path": None, "pull_steps": steps}
    assert flow.run_config == {
        "work_pool_name": "pool1",
        "work_queue_name": "default",
        "job_variables": {"cpu": 2},
    }
    flow.run_config["job_variables"]["cpu"] = 3
    flow.storage.clear()
    assert flow.run_config["job_variables"] == {"cpu": 2}
    assert flow.storage["path"] is None


def test_a_deployment_that_is_gone_is_left_out(server: FakePrefect3, call: Call) -> None:
    """A run outlives its deployment."""
    run = server.add_run(flow="orders", deployment_id=DEPLOYMENT)
    flow = call(FlowRunView.from_flow_run_id(run, client=server.client()), "get_flow_metadata")
    assert (flow.name, flow.deployment, flow.storage) == ("orders", None, None)


def test_a_view_is_made_by_hand() -> None:
    """The constructor takes what it took in Prefect 1, in that order."""
    view = FlowView(
        NOBODY, {"s": [1]}, {"c": 1}, {"g": 1}, True, "sales", "1.4.1", {"type": "S3"}, "x", ["a"]
    )
    assert (view.settings, view.run_config, view.serialized_flow) == (
        {"s": [1]},
        {"c": 1},
        {"g": 1},
    )
    assert (view.archived, view.project_name, view.core_version) == (True, "sales", "1.4.1")
    assert (view.storage, view.name, view.labels) == ({"type": "S3"}, "x", ("a",))
    view.settings["s"].append(2)
    assert view.settings == {"s": [1]}
    assert view != FlowView(NOBODY)
    assert view != "a view"
    assert repr(view) == f"<FlowView {NOBODY} name='x' deployment=None>"
    with pytest.raises(AttributeError):
        view.name = "y"  # type: ignore[misc]
