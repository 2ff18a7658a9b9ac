"""Compare the views with those of Prefect 1.4.1 itself: both read the same from one server."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
from seed_calls import SeedCalls
from server_scenes import stored_value

import rxflow
from rxflow.testing import FakePrefect1, VirtualTime

BEGINNING = datetime(2022, 11, 4, 12, tzinfo=UTC)


class BoundView:
    """One of our view classes, whose classmethods read with a client."""

    def __init__(self, view: type, client: rxflow.Client) -> None:
        self._view = view
        self._client = client

    def __getattr__(self, name: str) -> Any:
        return partial(getattr(self._view, name), client=self._client)


def kind(thing: Any) -> str:
    """The name of a state, or the type in the JSON of a storage or run configuration."""
    return str(thing.name if isinstance(thing, rxflow.State) else thing["type"])


def our_results(url: str, *ids: str) -> Any:
    """The results of our views, as JSON."""
    with rxflow.Client(api_url=url, backend="prefect1") as client:
        names = ("FlowRunView", "TaskRunView", "FlowView")
        views = {name: BoundView(getattr(rxflow, name), client) for name in names}
        return json.loads(json.dumps(SeedCalls(SimpleNamespace(**views), kind).results(*ids)))


def add_task_runs(server: FakePrefect1, run: str) -> None:
    """Add task runs: mapped and not, finished and not, with results and without."""
    mapped = partial(server.add_task_run, run, slug="load-1")
    parent = mapped()
    server.set_task_state(parent, "Mapped", "Ready to proceed with mapping.", n_map_states=3)
    for index in (1, 2, 0):
        child = mapped(map_index=index, state="Running")
        server.set_task_state(
            child, "Success", "Done.", _result=stored_value(f'{{"index": {index}}}')
        )
    for slug, state in (("open-1", "Running"), ("failed-1", "Failed")):
        parent = server.add_task_run(run, slug=slug)
        server.set_task_state(parent, "Mapped", n_map_states=1)
        server.add_task_run(run, slug=slug, map_index=0, state=state)
    server.set_task_state(
        server.add_task_run(run, slug="other-1"), "Success", _result=stored_value("null")
    )
    for state in ("Pending", "Scheduled", "Skipped", "TriggerFailed", "Cached", "Finished"):
        server.add_task_run(run, slug=f"{state}-1", state=state)


@pytest.fixture
def served() -> Iterator[tuple[str, str, str]]:
    """A server whose run is over: its URL, the run, and the flow group of the run."""
    time = VirtualTime(BEGINNING)
    server = FakePrefect1(clock=time)
    storage = {"type": "S3", "bucket": "b", "__version__": "1.4.1"}
    flow = server.add_flow("etl", project="sales", settings={"a": 1}, storage=storage)
    group = server.flows[flow]["flow_group_id"]
    server.flow_groups[group]["labels"] = ["vm"]
    server.flows[flow]["archived"] = True
    columns: dict[str, Any] = {"flow_group_id": group, "version": 2, "storage": storage}
    time.wait(1)
    server.add_flow("etl", project="sales", **columns)
    server.add_flow("etl", project="ops")
    run = server.add_run(
        name="nightly", flow_id=flow, labels=["b", "a"], parameters={"x": [1]}, context={"c": {}}
    )
    add_task_runs(server, run)
    for state in ("Submitted", "Running", "Success"):
        time.wait(1)
        server.log(run, f"before {state}", level="WARNING")
        server.set_state(run, state, f"{state}, as stored")
    with server.serve() as url:
        yield url, run, group


@pytest.mark.timeout(120)
def test_both_read_the_same(prefect1: Callable[..., Any], served: tuple[str, str, str]) -> None:
    """Runs, states, log lines, task runs, results, flows and errors are equal, call by call."""
    theirs, found = prefect1("views.py", *served), our_results(*served)
    for call, result in theirs.items():
        assert found[call] == result, call
    assert found.keys() == theirs.keys()


def test_the_compared_results_are_not_all_errors(served: tuple[str, str, str]) -> None:
    """The comparison covers task runs, results and flows, and errors of both types."""
    found = our_results(*served)
    assert [len(found[name]) for name in ("ids", "by id", "all")] == [15, 15, 15]
    results = [task["result"] for task in found["by id"]]
    assert [{"index": 0}, {"index": 1}, {"index": 2}] in results
    assert {"TypeError", "ValueError"} <= {each for each in results if isinstance(each, str)}
    assert sum(isinstance(flow, dict) for flow in found["flows"]) >= 8
