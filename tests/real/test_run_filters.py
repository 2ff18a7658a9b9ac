"""Filters of runs on a real server: each finds what it should, and not what it should not."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from servers_under_test import emitted_rows

import rxflow

if TYPE_CHECKING:
    from server_databases import DatabaseReader

    from tests.real.conftest import ApiWriter

BRIEF = 1.0
"""Seconds of drain where all rows are stored before the run ends."""

HOUR = timedelta(hours=1)

MANY = 205
"""More runs than the server sends at once."""


class Scene:
    """Runs of two deployments and of none, each another one, all with one tag of the test's own.

    Attributes:
        ids: The runs by their names.
        deployments: The deployments by their names, with those of their flows.
        flows: The flows by their names.
        beginning: The time at which "ended" was created, by the server's clock.
    """

    def __init__(self, writer: ApiWriter) -> None:
        self.flows: dict[str, str] = {
            name: writer.post("/flows/", {"name": name})["id"]
            for name in ("filters-a", "filters-b", "filters-c")
        }
        for pool in ("pool-a", "pool-b"):
            writer.post("/work_pools/", {"name": pool, "type": "process"})
        self.deployments = {
            names: self._new_deployment(writer, *names, pool)
            for names, pool in {
                ("filters-a", "nightly"): "pool-a",
                ("filters-a", "weekly"): "pool-b",
                ("filters-b", "nightly"): "pool-b",
            }.items()
        }
        self.ids: dict[str, str] = {}
        ended = self._new_run(writer, "ended", "filters-a", "nightly", tags=["eu"])
        self.beginning = datetime.fromisoformat(writer.get(f"/flow_runs/{ended}")["created"])
        for state in ("RUNNING", "COMPLETED"):
            writer.set_state(ended, state, force=True)
        self._new_run(writer, "weekly", "filters-a", "weekly", tags=["eu", "slow"])
        late = self._new_run(writer, "late", "filters-b", "nightly")
        writer.set_state(late, "SCHEDULED", "Late", force=True)
        parent = writer.new_run(flow="filters-c", name="parent", state={"type": "RUNNING"})
        stand_in = {"flow_run_id": parent, "task_key": "child-1", "dynamic_key": "0"}
        child = {
            "flow_id": self.flows["filters-c"],
            "name": "child",
            "parent_task_run_id": writer.post("/task_runs/", stand_in)["id"],
            "state": {"type": "CRASHED"},
        }
        self.ids |= {"parent": parent, "child": writer.post("/flow_runs/", child)["id"]}

    def _new_deployment(self, writer: ApiWriter, flow: str, name: str, pool: str) -> str:
        body = {"name": name, "flow_id": self.flows[flow], "work_pool_name": pool}
        created: str = writer.post("/deployments/", body)["id"]
        return created

    def _new_run(
        self, writer: ApiWriter, name: str, flow: str, deployment: str, *, tags: Any = ()
    ) -> str:
        path = f"/deployments/{self.deployments[flow, deployment]}/create_flow_run"
        run: str = writer.post(path, {"name": name, "tags": list(tags)})["id"]
        self.ids[name] = run
        return run


@pytest.fixture(scope="module")
def scene(writer: ApiWriter) -> Scene:
    """The runs, once for all filters."""
    return Scene(writer)


def named(**arguments: Any) -> Callable[[Scene], dict[str, Any]]:
    """Filters that are the same for every scene."""
    return lambda _: arguments


CASES: Mapping[str, tuple[Callable[[Scene], dict[str, Any]], set[str]]] = {
    "a flow's name": (named(flow="filters-a"), {"ended", "weekly"}),
    "a flow's id": (lambda scene: {"flow": scene.flows["filters-b"]}, {"late"}),
    "a flow's name or another's id": (
        lambda scene: {"flow": ["filters-a", scene.flows["filters-b"]]},
        {"ended", "weekly", "late"},
    ),
    "a deployment's name": (named(deployment="filters-a/nightly"), {"ended"}),
    "a deployment's id": (
        lambda scene: {"deployment": scene.deployments["filters-a", "weekly"]},
        {"weekly"},
    ),
    "two deployments' names": (
        named(deployment=["filters-a/weekly", "filters-b/nightly"]),
        {"weekly", "late"},
    ),
    "a deployment's name or another's id": (
        lambda scene: {
            "deployment": ["filters-b/nightly", scene.deployments["filters-a", "weekly"]]
        },
        {"weekly", "late"},
    ),
    "a deployment that does not exist": (named(deployment="filters-b/weekly"), set()),
    "a tag": (named(tags=["eu"]), {"ended", "weekly"}),
    "two tags": (named(tags=["slow", "eu"]), {"weekly"}),
    "names": (named(name=["late", "child"]), {"late", "child"}),
    "part of a name": (named(name="lat"), set()),
    "a type of states": (named(states="completed"), {"ended"}),
    "a type with states of several names": (named(states="SCHEDULED"), {"weekly", "late"}),
    "a state's name": (named(states="Late"), {"late"}),
    "a type of states or a name": (named(states=["CRASHED", "Late"]), {"child", "late"}),
    "a work pool": (named(work_pool="pool-a"), {"ended"}),
    "one of two work pools": (named(work_pool=["pool-b", "none"]), {"weekly", "late"}),
    "a parent": (lambda scene: {"parent": scene.ids["parent"]}, {"child"}),
    "started": (
        lambda scene: {"started_after": scene.beginning},
        {"ended", "weekly", "late", "parent", "child"},
    ),
    "started later": (lambda scene: {"started_after": scene.beginning + HOUR}, set()),
    "all at once": (
        lambda scene: {
            "flow": "filters-a",
            "deployment": "filters-a/nightly",
            "tags": ["eu"],
            "name": "ended",
            "states": "Completed",
            "work_pool": "pool-a",
            "started_after": scene.beginning,
        },
        {"ended"},
    ),
}


@pytest.mark.parametrize(("filters", "found"), CASES.values(), ids=CASES)
def test_a_filter_finds_the_runs_that_match(
    filters: Callable[[Scene], dict[str, Any]], found: set[str], scene: Scene, client: rxflow.Client
) -> None:
    """Of the runs of the scene exactly those are found, among all that tests gave the server."""
    views = rxflow.list_flow_runs(client=client, **filters(scene))
    of_scene = set(scene.ids.values())
    assert {view.name for view in views if view.flow_run_id in of_scene} == found


def test_more_runs_than_a_page_are_listed_newest_first(
    writer: ApiWriter, client: rxflow.Client
) -> None:
    """All are listed once, by descending expected start, and so many of one start as well."""
    flow = writer.post("/flows/", {"name": "filters-many"})["id"]
    noon = datetime.fromisoformat("2026-11-22T12:00:00+00:00")
    due = [noon + (number % 10) * timedelta(microseconds=1) for number in range(30)]
    due += [noon + HOUR] * MANY
    ids: dict[str, datetime] = {}
    for time in due:
        details = {"scheduled_time": time.isoformat()}
        state = {"type": "SCHEDULED", "state_details": details}
        run = writer.post("/flow_runs/", {"flow_id": flow, "state": state})["id"]
        ids[run] = time
    views = rxflow.list_flow_runs(flow="filters-many", client=client)
    starts = [view.snapshot.run.expected_start_time for view in views]
    assert starts == sorted(due, reverse=True)
    assert {view.flow_run_id: start for view, start in zip(views, starts, strict=True)} == ids
    newest = rxflow.list_flow_runs(flow="filters-many", limit=MANY + 7, client=client)
    assert [view.snapshot.run.expected_start_time for view in newest] == starts[: MANY + 7]

    async def list_them() -> list[rxflow.FlowRunView]:
        async with rxflow.Client(api_url=client.api_url) as own:
            return await rxflow.alist_flow_runs(flow="filters-many", client=own)

    assert {view.flow_run_id for view in asyncio.run(list_them())} == set(ids)


def test_the_runs_that_match_are_watched_and_waited_for(
    writer: ApiWriter, client: rxflow.Client, database: DatabaseReader
) -> None:
    """Runs that are at work when they are found are watched to their end, and no other run is."""
    ids = [writer.new_run(tags=["matching"], state={"type": "RUNNING"}) for _ in range(3)]
    writer.new_run(tags=["other"], state={"type": "RUNNING"})
    waited: list[rxflow.FlowRunView] = []

    def wait() -> None:
        waited.extend(rxflow.wait_for_flow_runs(timeout=300, tags=["matching"], client=client))

    waiting = threading.Thread(target=wait)
    waiting.start()
    events: list[rxflow.FlowRunEvent] = []
    left = set(ids)
    stream = rxflow.watch_flow_runs(
        tags=["matching"], states="RUNNING", max_duration=300, drain=BRIEF, client=client
    )
    for event in stream:
        events.append(event)
        if isinstance(event, rxflow.RunSeen):
            left.discard(event.flow_run_id)
            for run in ids if not left else ():
                writer.post_logs(run, ["one", "two"])
                writer.set_state(run, "COMPLETED")
    waiting.join()
    last = events[-1]
    assert isinstance(last, rxflow.AllClosed)
    assert last.verified
    assert {run.flow_run_id for run in last.runs} == set(ids)
    for run in ids:
        own = [event for event in events if event.flow_run_id == run]
        states = [("state", row) for row in database.state_ids(run)]
        assert emitted_rows(own) == sorted(
            [*states, *(("log", row) for row in database.log_ids(run))]
        )
    assert [view.flow_run_id for view in waited] == ids[::-1]
    assert rxflow.wait_for_flow_runs(tags=["matching"], states="RUNNING", client=client) == []
