"""`FlowView`: where it comes from, and what it shows."""

from datetime import timedelta
from typing import Any

import pytest
from twin_calls import TWINS, Call

import rxflow
from rxflow import FlowRunView, FlowView
from rxflow.testing import FakePrefect1, FakePrefect3

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


SERVERS: dict[str, type[FakePrefect3 | FakePrefect1]] = {
    "prefect3": FakePrefect3,
    "prefect1": FakePrefect1,
}
WRONG = [(17, TypeError), (None, TypeError), ("x", ValueError), (NOBODY, ValueError)]


@pytest.mark.parametrize("backend", SERVERS)
@pytest.mark.parametrize("method", ["from_id", "from_flow_id", "from_flow_group_id"])
@pytest.mark.parametrize(("given", "error"), WRONG)
def test_a_wrong_id_is_an_error(
    call: Call, backend: str, method: str, given: Any, error: type[Exception]
) -> None:
    """What is no text is a TypeError, what is no id or nobody's a ValueError."""
    client = SERVERS[backend]().client()
    with pytest.raises(error):
        call(FlowView, method, given, client=client)


def test_prefect_3_has_no_flow_groups(server: FakePrefect3, call: Call) -> None:
    """A flow has one id there, and whoever asks for a group is told so."""
    flow, client = flow_of(server, "orders"), server.client()
    assert call(FlowView, "from_id", flow, client=client).flow_id == flow
    with pytest.raises(rxflow.FlowNotFound, match=r"no flow groups, .* `from_flow_id`"):
        call(FlowView, "from_flow_group_id", flow, client=client)


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
    for last in (second, first):
        server.flows[last]["updated"] += timedelta(days=1 + (last == first))
        asked = {"last_updated": True, "client": server.client()}
        assert call(FlowView, "from_flow_name", "orders", **asked).flow_id == last


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


# -- Prefect 1 ----------------------------------------------------------------------------------


@pytest.fixture
def one() -> FakePrefect1:
    """A Prefect 1 server."""
    return FakePrefect1()


def version_of(one: FakePrefect1, flow_id: str, **columns: Any) -> str:
    """Register a flow once more."""
    group = one.flows[flow_id]["flow_group_id"]
    number = sum(flow["flow_group_id"] == group for flow in one.flows.values()) + 1
    given = {"flow_group_id": group, "version": number} | columns
    return one.add_flow(one.flows[flow_id]["name"], **given)


def test_what_prefect_1_knows_of_a_flow_is_shown(one: FakePrefect1, call: Call) -> None:
    """Every field is the row's, the project's name and the group's labels among them."""
    columns: dict[str, Any] = {
        "settings": {"heartbeat_enabled": True},
        "run_config": {"type": "DockerRun", "labels": ["vm"]},
        "serialized_flow": {"name": "orders", "tasks": [{"slug": "load-1"}]},
        "storage": {"type": "S3", "bucket": "b"},
        "archived": True,
        "core_version": "0.15.13",
    }
    flow = one.add_flow("orders", project="sales", version=7, **columns)
    one.flow_groups[one.flows[flow]["flow_group_id"]]["labels"] = ["b", "a"]
    view = call(FlowView, "from_flow_id", flow, client=one.client())
    assert {name: getattr(view, name) for name in columns} == columns
    assert (view.flow_id, view.name, view.project_name) == (flow, "orders", "sales")
    assert (view.flow_group_labels, view.labels) == (("b", "a"), ("b", "a"))
    assert (view.version, view.deployment) == ("7", None)
    view.storage.clear()
    assert view.storage == columns["storage"]


def test_what_a_row_does_not_say_is_none(one: FakePrefect1, call: Call) -> None:
    """A flow without a project, and one whose columns are null."""
    flow = one.add_flow("orders")
    nothing = ("settings", "run_config", "storage", "serialized_flow", "core_version", "version")
    one.flows[flow] |= dict.fromkeys((*nothing, "project_id", "archived"))
    view = call(FlowView, "from_flow_id", flow, client=one.client())
    assert [getattr(view, name) for name in nothing] == [{}, *[None] * 5]
    assert (view.project_name, view.archived, view.labels) == (None, False, ())


def test_the_flow_of_a_run_is_its_version(one: FakePrefect1, call: Call) -> None:
    """A run keeps the version that it is a run of, whatever was registered since."""
    flow = one.add_flow("orders")
    run = one.add_run(flow_id=flow)
    version_of(one, flow)
    view = FlowRunView.from_flow_run_id(run, client=one.client())
    found = call(view, "get_flow_metadata")
    assert (found.flow_id, found.version) == (flow, "1")


def test_of_a_group_the_newest_version_is_had(one: FakePrefect1, call: Call) -> None:
    """A group's id leads to the version registered last, archived or not, by either method."""
    flow, other = one.add_flow("orders"), one.add_flow("other")
    newest = version_of(one, flow, archived=True)
    one.flows[flow]["updated"] += timedelta(days=1)
    group, client = one.flows[flow]["flow_group_id"], one.client()
    for method in ("from_flow_group_id", "from_id"):
        assert call(FlowView, method, group.upper(), client=client).flow_id == newest
    assert call(FlowView, "from_id", other, client=client).flow_id == other
    with pytest.raises(rxflow.FlowNotFound, match="no flow group"):
        call(FlowView, "from_flow_group_id", flow, client=client)
    with pytest.raises(rxflow.FlowNotFound, match="neither a flow nor a flow group"):
        call(FlowView, "from_id", NOBODY, client=client)


def test_a_name_is_looked_for_in_a_project(one: FakePrefect1, call: Call) -> None:
    """One of several flows of a name is had by its project; None is no project."""
    sales, ops = (one.add_flow("orders", project=project) for project in ("sales", "ops"))
    alone = one.add_flow("orders")
    one.flows[alone]["project_id"] = None
    client = one.client()
    for project, flow in (("sales", sales), ("ops", ops), (None, alone)):
        found = call(FlowView, "from_flow_name", "orders", project, client=client)
        assert found.flow_id == flow
    with pytest.raises(rxflow.FlowNotFound, match=rf"{sales} in project 'sales'"):
        call(FlowView, "from_flow_name", "orders", client=client)
    with pytest.raises(rxflow.FlowNotFound, match="no flow named 'orders' in project 'nobody'"):
        call(FlowView, "from_flow_name", "orders", "nobody", client=client)


def test_archived_versions_are_not_looked_at(one: FakePrefect1, call: Call) -> None:
    """Of all versions of a flow the one that is not archived is had by its name."""
    flow = one.add_flow("orders", archived=True)
    newest, client = version_of(one, flow), one.client()
    assert call(FlowView, "from_flow_name", "orders", client=client).flow_id == newest
    one.flows[newest]["archived"] = True
    with pytest.raises(rxflow.FlowNotFound):
        call(FlowView, "from_flow_name", "orders", client=client)


def test_the_one_registered_last_can_be_had(one: FakePrefect1, call: Call) -> None:
    """A write to an older version's row does not make that the last one."""
    flow = one.add_flow("orders")
    newest = version_of(one, flow)
    one.flows[flow]["updated"] += timedelta(days=1)
    found = call(FlowView, "from_flow_name", "orders", last_updated=True, client=one.client())
    assert found.flow_id == newest


# -- by hand ------------------------------------------------------------------------------------


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
