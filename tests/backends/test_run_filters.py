"""Filters of flow runs: what each of them finds on both kinds of server, over their transports."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from rxflow._backends.prefect3_queries import call_of
from rxflow._models.entities import Deployment, FlowRun
from rxflow._protocol.failures import Failure, FailureKind
from rxflow._protocol.pages import Page
from rxflow._protocol.queries import NamedDeploymentQuery, RunFilter, RunsQuery
from rxflow.testing import FakePrefect1, FakePrefect3, VirtualTime

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)

Fake = FakePrefect1 | FakePrefect3


def names_of(server: Fake, **query: Any) -> list[str]:
    """Read the names of the runs that a query selects, in its order."""
    page = server.client().open_channel().send(RunsQuery(**query))
    assert isinstance(page, Page), page
    rows: tuple[FlowRun, ...] = page.rows
    return [row.name for row in rows]


# -- Prefect 3 ------------------------------------------------------------------------------------


class Prefect3Scene:
    """A server with four runs, each of another kind."""

    def __init__(self) -> None:
        self.server = server = FakePrefect3(clock=VirtualTime())
        self.nightly = server.add_deployment(name="nightly", flow="etl")
        self.weekly = server.add_deployment(name="weekly", flow="etl")
        self.other_nightly = server.add_deployment(name="nightly", flow="report")
        self.ids = {
            "deployed": server.add_run(
                name="deployed",
                flow="etl",
                deployment_id=self.nightly,
                tags=["prod", "eu"],
                work_pool_name="k8s",
                expected_start_time=NOON,
                state="RUNNING",
            ),
            "late": server.add_run(
                name="late",
                flow="report",
                deployment_id=self.other_nightly,
                tags=["prod"],
                work_pool_name="docker",
                expected_start_time=NOON - HOUR,
            ),
            "failed": server.add_run(
                name="failed",
                flow="etl",
                deployment_id=self.weekly,
                expected_start_time=NOON - 2 * HOUR,
                start_time=NOON + HOUR,
                state="FAILED",
            ),
        }
        server.set_state(self.ids["late"], "SCHEDULED", "Late")
        self.ids["child"] = server.add_run(
            name="child",
            flow="load",
            parent=self.ids["deployed"],
            expected_start_time=NOON - 3 * HOUR,
            state="COMPLETED",
        )
        server.change_run(self.ids["deployed"], start_time=NOON)

    def flow_id(self, name: str) -> str:
        """Return the id of a flow."""
        return next(str(row["id"]) for row in self.server.flows.values() if row["name"] == name)


PREFECT3_CASES: dict[str, tuple[Any, set[str]]] = {
    "nothing set": (lambda _: {}, {"deployed", "late", "failed", "child"}),
    "ids": (lambda scene: {"flow_run_ids": (scene.ids["late"],)}, {"late"}),
    "deployment id": (lambda scene: {"deployment_ids": (scene.weekly,)}, {"failed"}),
    "deployment name": (lambda _: {"deployment_names": (("etl", "nightly"),)}, {"deployed"}),
    "names of two deployments": (
        lambda _: {"deployment_names": (("etl", "weekly"), ("report", "nightly"))},
        {"failed", "late"},
    ),
    "a deployment's name or another's id": (
        lambda scene: {
            "deployment_names": (("etl", "nightly"),),
            "deployment_ids": (scene.weekly,),
        },
        {"deployed", "failed"},
    ),
    "a deployment that does not exist": (lambda _: {"deployment_names": (("etl", "x"),)}, set()),
    "one of two deployments exists": (
        lambda _: {"deployment_names": (("etl", "x"), ("etl", "weekly"))},
        {"failed"},
    ),
    "flow name": (lambda _: {"flow_names": ("etl",)}, {"deployed", "failed"}),
    "flow id": (lambda scene: {"flow_ids": (scene.flow_id("load"),)}, {"child"}),
    "a flow's name or another's id": (
        lambda scene: {"flow_names": ("report",), "flow_ids": (scene.flow_id("load"),)},
        {"late", "child"},
    ),
    "flow and deployment": (
        lambda _: {"flow_names": ("report",), "deployment_names": (("etl", "nightly"),)},
        set(),
    ),
    "one tag": (lambda _: {"tags": ("prod",)}, {"deployed", "late"}),
    "all of two tags": (lambda _: {"tags": ("prod", "eu")}, {"deployed"}),
    "one of two names": (lambda _: {"names": ("late", "child", "x")}, {"late", "child"}),
    "part of a name": (lambda _: {"names": ("lat",)}, set()),
    "state types": (lambda _: {"state_types": ("RUNNING", "FAILED")}, {"deployed", "failed"}),
    "state name": (lambda _: {"state_names": ("Late",)}, {"late"}),
    "a state's type or another's name": (
        lambda _: {"state_types": ("FAILED",), "state_names": ("Late",)},
        {"failed", "late"},
    ),
    "not in a state": (lambda _: {"not_in_states": ("Late", "Failed")}, {"deployed", "child"}),
    "work pool": (lambda _: {"work_pools": ("k8s", "process")}, {"deployed"}),
    "started": (lambda _: {"started_after": NOON}, {"deployed", "failed"}),
    "started, or due": (lambda _: {"started_after": NOON - HOUR}, {"deployed", "failed", "late"}),
    "parent": (lambda scene: {"parent_ids": (scene.ids["deployed"],)}, {"child"}),
    "top level": (lambda _: {"top_level": True}, {"deployed", "late", "failed"}),
    "two fields": (lambda _: {"flow_names": ("etl",), "state_types": ("FAILED",)}, {"failed"}),
}


@pytest.mark.parametrize(("fields", "found"), PREFECT3_CASES.values(), ids=PREFECT3_CASES)
def test_prefect_3_finds_the_runs_that_match(fields: Any, found: set[str]) -> None:
    """A run is found if it matches all fields, and any value of a field; it has all tags."""
    scene = Prefect3Scene()
    names = names_of(scene.server, where=RunFilter(**fields(scene)))
    assert len(names) == len(set(names))
    assert set(names) == found


def test_a_filter_of_prefect_3_is_one_request_but_for_names_of_deployments() -> None:
    """The name of a deployment is read first; if none exists, no runs are queried."""
    scene = Prefect3Scene()
    sent = scene.server.requests
    names_of(scene.server, where=RunFilter(flow_names=("etl",), tags=("prod",)))
    assert [path for _, path, *_ in sent] == ["/flow_runs/filter"]
    names_of(scene.server, where=RunFilter(deployment_names=(("etl", "nightly"),)))
    assert [path for _, path, *_ in sent][1:] == [
        "/deployments/name/etl/nightly",
        "/flow_runs/filter",
    ]
    names_of(scene.server, where=RunFilter(deployment_names=(("etl", "x"),)))
    assert [path for _, path, *_ in sent][3:] == ["/deployments/name/etl/x"]


def test_a_failure_to_read_a_deployment_is_the_reply() -> None:
    """Runs are not queried without a filter that was meant."""
    scene = Prefect3Scene()
    scene.server.intercept = lambda request: (
        httpx.Response(500) if "deployments" in request.url.path else None
    )
    query = RunsQuery(where=RunFilter(deployment_names=(("etl", "nightly"),)))
    reply = scene.server.client().open_channel().send(query)
    assert isinstance(reply, Failure)
    assert reply.kind is FailureKind.SERVER
    assert len(scene.server.requests) == 1


def test_a_deployment_is_read_by_its_name() -> None:
    """Of deployments of one name that of the flow is read; on Prefect 1 there is none."""
    scene = Prefect3Scene()
    channel = scene.server.client().open_channel()
    page = channel.send(NamedDeploymentQuery("report", "nightly"))
    assert isinstance(page, Page)
    (deployment,) = page.rows
    assert isinstance(deployment, Deployment)
    assert deployment.id == scene.other_nightly
    missing = channel.send(NamedDeploymentQuery("report", "weekly"))
    assert isinstance(missing, Page)
    assert missing.rows == ()
    prefect1 = FakePrefect1().client().open_channel()
    assert prefect1.send(NamedDeploymentQuery("report", "nightly")) == Page(())


# -- Prefect 1 ------------------------------------------------------------------------------------


class Prefect1Scene:
    """A server with three runs, each of another kind."""

    def __init__(self) -> None:
        self.server = server = FakePrefect1(clock=VirtualTime())
        self.etl, self.report = server.add_flow("etl"), server.add_flow("report")
        self.ids = {
            "running": server.add_run(
                name="running",
                flow_id=self.etl,
                labels=["prod", "eu"],
                scheduled_start_time=NOON,
                state="Running",
            ),
            "queued": server.add_run(
                name="queued",
                flow_id=self.report,
                labels=["prod"],
                scheduled_start_time=NOON - HOUR,
                state="Queued",
            ),
            "timed out": server.add_run(
                name="timed out",
                flow_id=self.etl,
                scheduled_start_time=NOON - 2 * HOUR,
                start_time=NOON + HOUR,
                state="TimedOut",
            ),
        }
        server.change_run(self.ids["running"], start_time=NOON)


PREFECT1_CASES: dict[str, tuple[Any, set[str]]] = {
    "nothing set": (lambda _: {}, {"running", "queued", "timed out"}),
    "ids": (lambda scene: {"flow_run_ids": (scene.ids["queued"],)}, {"queued"}),
    "flow name": (lambda _: {"flow_names": ("etl",)}, {"running", "timed out"}),
    "flow id": (lambda scene: {"flow_ids": (scene.report,)}, {"queued"}),
    "a flow's name or another's id": (
        lambda scene: {"flow_names": ("report",), "flow_ids": (scene.etl,)},
        {"running", "queued", "timed out"},
    ),
    "one label": (lambda _: {"tags": ("prod",)}, {"running", "queued"}),
    "all of two labels": (lambda _: {"tags": ("prod", "eu")}, {"running"}),
    "name": (lambda _: {"names": ("queued", "x")}, {"queued"}),
    "state types": (lambda _: {"state_types": ("SCHEDULED", "FAILED")}, {"queued", "timed out"}),
    "state name": (lambda _: {"state_names": ("TimedOut",)}, {"timed out"}),
    "a state's type or another's name": (
        lambda _: {"state_types": ("RUNNING",), "state_names": ("Queued",)},
        {"running", "queued"},
    ),
    "not in a state": (lambda _: {"not_in_states": ("Running", "TimedOut")}, {"queued"}),
    "a type that its states do not have": (lambda _: {"state_types": ("CRASHED",)}, set()),
    "started": (lambda _: {"started_after": NOON}, {"running", "timed out"}),
    "started, or due": (
        lambda _: {"started_after": NOON - HOUR},
        {"running", "queued", "timed out"},
    ),
    "two fields": (lambda _: {"flow_names": ("etl",), "tags": ("eu",)}, {"running"}),
}


@pytest.mark.parametrize(("fields", "found"), PREFECT1_CASES.values(), ids=PREFECT1_CASES)
def test_prefect_1_finds_the_runs_that_match(fields: Any, found: set[str]) -> None:
    """A run is found if it matches all fields, and any value of a field; it has all labels."""
    scene = Prefect1Scene()
    names = names_of(scene.server, where=RunFilter(**fields(scene)))
    assert len(names) == len(set(names))
    assert set(names) == found


@pytest.mark.parametrize(
    ("fields", "argument"),
    [
        ({"deployment_ids": ("9e6caafc-4ea1-4493-b0a9-122efba9eaaa",)}, "deployment"),
        ({"deployment_names": (("etl", "nightly"),)}, "deployment"),
        ({"work_pools": ("k8s",)}, "work_pool"),
        ({"parent_ids": ("9e6caafc-4ea1-4493-b0a9-122efba9eaaa",)}, "parent"),
    ],
)
def test_prefect_1_refuses_a_filter_that_it_does_not_have(fields: Any, argument: str) -> None:
    """The failure names the argument, and no runs are read without the filter."""
    scene = Prefect1Scene()
    reply = scene.server.client().open_channel().send(RunsQuery(where=RunFilter(**fields)))
    assert isinstance(reply, Failure)
    assert reply.kind is FailureKind.UNSUPPORTED
    assert f"{argument}= cannot be used with this server" in reply.text
    assert scene.server.requests == []


# -- order ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("scene", [Prefect1Scene, Prefect3Scene])
def test_the_newest_runs_come_first(scene: Any) -> None:
    """Runs are in descending order of their expected start, and so are pages of them."""
    server, names = scene().server, list(scene().ids)
    assert names_of(server, where=RunFilter(), newest_first=True) == names
    assert names_of(server, where=RunFilter(), newest_first=True, offset=1, limit=2) == names[1:3]


@pytest.mark.parametrize("scene", [Prefect1Scene, Prefect3Scene])
def test_both_bounds_of_the_expected_start_are_inclusive(scene: Any) -> None:
    """A run of just that time is found by either bound, and by both."""
    server, names = scene().server, list(scene().ids)
    middle = NOON - HOUR

    def found(**bounds: datetime) -> list[str]:
        return names_of(server, where=RunFilter(), newest_first=True, **bounds)

    assert found(after=middle) == names[:2]
    assert found(before=middle) == names[1:]
    assert found(after=middle, before=middle) == [names[1]]


def test_a_filter_has_the_names_of_the_recorded_requests() -> None:
    """States, tags, parents and the order are sent under the keys that a server has accepted."""
    where = RunFilter(
        state_types=("RUNNING", "PENDING", "SCHEDULED"), tags=("rx",), parent_ids=("p",)
    )
    body = json.loads(call_of(RunsQuery(where=where, limit=3, newest_first=True)).body or b"")
    assert body == {
        "flow_runs": {
            "tags": {"all_": ["rx"]},
            "state": {"type": {"any_": ["RUNNING", "PENDING", "SCHEDULED"]}},
            "parent_flow_run_id": {"any_": ["p"]},
        },
        "sort": "EXPECTED_START_TIME_DESC",
        "offset": 0,
        "limit": 3,
    }
