"""`FlowView`: reading a flow by its id, its group or its name, and what the view shows."""

from datetime import timedelta
from typing import Any

import pytest
from twin_calls import Call

import rxflow
from rxflow import FlowRunView, FlowView
from rxflow.testing import FakePrefect1, FakePrefect3

UNKNOWN_ID = "00000000-0000-4000-8000-000000000000"
DEPLOYMENT = "ae5bac40-c433-4c8c-80a8-897aa4cfde2a"


@pytest.fixture
def server3() -> FakePrefect3:
    """A Prefect 3 server."""
    return FakePrefect3()


@pytest.fixture
def server1() -> FakePrefect1:
    """A Prefect 1 server."""
    return FakePrefect1()


# -- Prefect 3 ----------------------------------------------------------------------------------


def add_flow(server3: FakePrefect3, name: str) -> str:
    """Add a flow with a run, and return its id."""
    run = server3.add_run(flow=name)
    return str(server3.runs[run]["flow_id"])


def test_a_flow_is_found_by_id_and_by_name(server3: FakePrefect3, call: Call) -> None:
    """Views by id and by name are equal."""
    flow = add_flow(server3, "orders")
    add_flow(server3, "other")
    server3.flows[flow]["tags"] = ["prod"]
    by_id = call(FlowView, "from_flow_id", flow, client=server3.client())
    by_name = call(FlowView, "from_flow_name", "orders", client=server3.client())
    assert by_id == by_name
    assert hash(by_id) == hash(by_name)
    assert (by_id.flow_id, by_id.name, by_id.labels) == (flow, "orders", ("prod",))
    assert by_id.flow_group_labels == by_id.tags == ("prod",)
    assert by_id.id == flow


def test_what_prefect_3_does_not_have_is_none(server3: FakePrefect3, call: Call) -> None:
    """Attributes that only Prefect 1 has, such as projects and settings, are None or empty."""
    view = call(FlowView, "from_flow_id", add_flow(server3, "orders"), client=server3.client())
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


WRONG = [(17, TypeError), (None, TypeError), ("x", ValueError), (UNKNOWN_ID, ValueError)]


@pytest.mark.parametrize("backend", SERVERS)
@pytest.mark.parametrize("method", ["from_id", "from_flow_id", "from_flow_group_id"])
@pytest.mark.parametrize(("given", "error"), WRONG)
def test_an_invalid_id_is_an_error(
    call: Call, backend: str, method: str, given: Any, error: type[Exception]
) -> None:
    """An id that is not a string is a TypeError, a malformed or unknown one a ValueError."""
    client = SERVERS[backend]().client()
    with pytest.raises(error):
        call(FlowView, method, given, client=client)


def test_prefect_3_has_no_flow_groups(server3: FakePrefect3, call: Call) -> None:
    """A flow has one id on Prefect 3, and the error of a flow group says so."""
    flow, client = add_flow(server3, "orders"), server3.client()
    assert call(FlowView, "from_id", flow, client=client).flow_id == flow
    with pytest.raises(rxflow.FlowNotFound, match=r"no flow groups, .* `from_flow_id`"):
        call(FlowView, "from_flow_group_id", flow, client=client)


def test_an_unknown_name_is_an_error(server3: FakePrefect3, call: Call) -> None:
    """An unknown name is a ValueError, and so is a project, which Prefect 3 does not have."""
    add_flow(server3, "orders")
    with pytest.raises(ValueError, match="no flow named 'unknown'"):
        call(FlowView, "from_flow_name", "unknown", client=server3.client())
    with pytest.raises(ValueError, match="no projects"):
        call(FlowView, "from_flow_name", "orders", "sales", client=server3.client())


def test_several_flows_of_a_name_are_listed(server3: FakePrefect3, call: Call) -> None:
    """Several flows are an error that lists them, unless the one updated last is requested."""
    first, second = add_flow(server3, "orders"), add_flow(server3, "other")
    server3.flows[second]["name"] = "orders"
    with pytest.raises(rxflow.FlowNotFound) as error:
        call(FlowView, "from_flow_name", "orders", client=server3.client())
    assert first in str(error.value)
    assert second in str(error.value)
    for last in (second, first):
        server3.flows[last]["updated"] += timedelta(days=1 + (last == first))
        options = {"last_updated": True, "client": server3.client()}
        assert call(FlowView, "from_flow_name", "orders", **options).flow_id == last


def test_the_flow_of_a_run_has_its_deployment(server3: FakePrefect3, call: Call) -> None:
    """The flow of a run has the deployment's name, storage and configuration."""
    run = server3.add_run(flow="orders", deployment_id=DEPLOYMENT, flow_version="v7")
    steps = [{"prefect.deployments.steps.set_working_directory": {"directory": "/srv/example"}}]
    server3.deployments[DEPLOYMENT] = {
        "id": DEPLOYMENT,
        "name": "nightly",
        "flow_id": server3.runs[run]["flow_id"],
        "version": "v8",
        "path": None,
        "entrypoint": "flows.py:orders",
        "pull_steps": steps,
        "job_variables": {"cpu": 2},
        "work_pool_name": "pool1",
        "work_queue_name": "default",
    }
    view = FlowRunView.from_flow_run_id(run, client=server3.client())
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


def test_a_deleted_deployment_is_left_out(server3: FakePrefect3, call: Call) -> None:
    """A run outlives its deployment."""
    run = server3.add_run(flow="orders", deployment_id=DEPLOYMENT)
    flow = call(FlowRunView.from_flow_run_id(run, client=server3.client()), "get_flow_metadata")
    assert (flow.name, flow.deployment, flow.storage) == ("orders", None, None)


# -- Prefect 1 ----------------------------------------------------------------------------------


def add_version(server1: FakePrefect1, flow_id: str, **columns: Any) -> str:
    """Register a flow once more."""
    group = server1.flows[flow_id]["flow_group_id"]
    number = sum(flow["flow_group_id"] == group for flow in server1.flows.values()) + 1
    given = {"flow_group_id": group, "version": number} | columns
    return server1.add_flow(server1.flows[flow_id]["name"], **given)


def test_a_view_shows_the_row_of_prefect_1(server1: FakePrefect1, call: Call) -> None:
    """Each attribute is the row's, the project's name and the group's labels included."""
    columns: dict[str, Any] = {
        "settings": {"heartbeat_enabled": True},
        "run_config": {"type": "DockerRun", "labels": ["vm"]},
        "serialized_flow": {"name": "orders", "tasks": [{"slug": "load-1"}]},
        "storage": {"type": "S3", "bucket": "b"},
        "archived": True,
        "core_version": "0.15.13",
    }
    flow = server1.add_flow("orders", project="sales", version=7, **columns)
    server1.flow_groups[server1.flows[flow]["flow_group_id"]]["labels"] = ["b", "a"]
    view = call(FlowView, "from_flow_id", flow, client=server1.client())
    assert {name: getattr(view, name) for name in columns} == columns
    assert (view.flow_id, view.name, view.project_name) == (flow, "orders", "sales")
    assert (view.flow_group_labels, view.labels) == (("b", "a"), ("b", "a"))
    assert (view.version, view.deployment) == ("7", None)
    view.storage.clear()
    assert view.storage == columns["storage"]


def test_a_null_column_is_none_or_empty(server1: FakePrefect1, call: Call) -> None:
    """A flow without a project, or with null columns, has attributes that are None or empty."""
    flow = server1.add_flow("orders")
    nullable = ("settings", "run_config", "storage", "serialized_flow", "core_version", "version")
    server1.flows[flow] |= dict.fromkeys((*nullable, "project_id", "archived"))
    view = call(FlowView, "from_flow_id", flow, client=server1.client())
    assert [getattr(view, name) for name in nullable] == [{}, *[None] * 5]
    assert (view.project_name, view.archived, view.labels) == (None, False, ())


def test_the_flow_of_a_run_is_its_version(server1: FakePrefect1, call: Call) -> None:
    """A run keeps its version of the flow, whatever was registered since."""
    flow = server1.add_flow("orders")
    run = server1.add_run(flow_id=flow)
    add_version(server1, flow)
    view = FlowRunView.from_flow_run_id(run, client=server1.client())
    found = call(view, "get_flow_metadata")
    assert (found.flow_id, found.version) == (flow, "1")


def test_a_group_gives_its_newest_version(server1: FakePrefect1, call: Call) -> None:
    """The id of a group gives the version registered last, archived or not, by either method."""
    flow, other = server1.add_flow("orders"), server1.add_flow("other")
    newest = add_version(server1, flow, archived=True)
    server1.flows[flow]["updated"] += timedelta(days=1)
    group, client = server1.flows[flow]["flow_group_id"], server1.client()
    for method in ("from_flow_group_id", "from_id"):
        assert call(FlowView, method, group.upper(), client=client).flow_id == newest
    assert call(FlowView, "from_id", other, client=client).flow_id == other
    with pytest.raises(rxflow.FlowNotFound, match="no flow group"):
        call(FlowView, "from_flow_group_id", flow, client=client)
    with pytest.raises(rxflow.FlowNotFound, match="neither a flow nor a flow group"):
        call(FlowView, "from_id", UNKNOWN_ID, client=client)


def test_a_project_narrows_the_search_by_name(server1: FakePrefect1, call: Call) -> None:
    """A project selects one of several flows of a name; None selects the one without a project."""
    sales, ops = (server1.add_flow("orders", project=project) for project in ("sales", "ops"))
    alone = server1.add_flow("orders")
    server1.flows[alone]["project_id"] = None
    client = server1.client()
    for project, flow in (("sales", sales), ("ops", ops), (None, alone)):
        found = call(FlowView, "from_flow_name", "orders", project, client=client)
        assert found.flow_id == flow
    with pytest.raises(rxflow.FlowNotFound, match=rf"{sales} in project 'sales'"):
        call(FlowView, "from_flow_name", "orders", client=client)
    with pytest.raises(rxflow.FlowNotFound, match="no flow named 'orders' in project 'unknown'"):
        call(FlowView, "from_flow_name", "orders", "unknown", client=client)


def test_archived_versions_are_not_found_by_name(server1: FakePrefect1, call: Call) -> None:
    """Of all versions of a flow the name finds the one that is not archived."""
    flow = server1.add_flow("orders", archived=True)
    newest, client = add_version(server1, flow), server1.client()
    assert call(FlowView, "from_flow_name", "orders", client=client).flow_id == newest
    server1.flows[newest]["archived"] = True
    with pytest.raises(rxflow.FlowNotFound):
        call(FlowView, "from_flow_name", "orders", client=client)


def test_the_version_registered_last_is_the_latest(server1: FakePrefect1, call: Call) -> None:
    """A later write to an older version's row does not make that the latest."""
    flow = server1.add_flow("orders")
    newest = add_version(server1, flow)
    server1.flows[flow]["updated"] += timedelta(days=1)
    found = call(FlowView, "from_flow_name", "orders", last_updated=True, client=server1.client())
    assert found.flow_id == newest


# -- views made by hand -------------------------------------------------------------------------


def test_a_view_can_be_made_by_hand() -> None:
    """The constructor has the arguments of 1.4.1, in the same order."""
    view = FlowView(
        UNKNOWN_ID,
        {"s": [1]},
        {"c": 1},
        {"g": 1},
        True,
        "sales",
        "1.4.1",
        {"type": "S3"},
        "x",
        ["a"],
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
    assert view != FlowView(UNKNOWN_ID)
    assert view != "a view"
    assert repr(view) == f"<FlowView {UNKNOWN_ID} name='x' deployment=None>"
    with pytest.raises(AttributeError):
        view.name = "y"  # type: ignore[misc]
