"""Views of a run that Prefect itself executed: its tasks, their results, its flow."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from twin_calls import TWINS

import rxflow
from rxflow import FlowRunView, FlowView, TaskRunView

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from twin_calls import Call

    from rxflow.cli._prefect_server import PrefectServer
    from tests.real.conftest import Hand, Until

FLOW = """
from prefect import flow, task
from prefect.runtime import flow_run
from prefect.logging import get_run_logger

@task(persist_result=True, result_serializer="json")
def double(number):
    get_run_logger().info("doubling %s", number)
    return {"twice": 2 * number}

@task(persist_result=True)
def pickled():
    return 1

@task
def forgotten():
    return 1

@task(persist_result=True, result_serializer="json", retries=1)
def flaky():
    if flow_run.run_count and not attempts:
        attempts.append(1)
        raise ValueError("once")
    return "text"

attempts = []

@flow(name="views", persist_result=False)
def views():
    print(flow_run.get_id(), flush=True)
    [future.result() for future in double.map([1, 2, 3])]
    pickled()
    forgotten()
    flaky()

views()
"""


@pytest.fixture(params=TWINS)
def call(request: pytest.FixtureRequest) -> Call:
    """Call a method, or its twin."""
    return TWINS[request.param]


@pytest.fixture(scope="module")
def client(server: PrefectServer) -> Iterator[rxflow.Client]:
    """A client of the server."""
    with rxflow.Client(api_url=server.url) as opened:
        yield opened


@pytest.fixture(scope="module")
def executed(
    server: PrefectServer,
    client: rxflow.Client,
    until: Until,
    tmp_path_factory: pytest.TempPathFactory,
) -> str:
    """A run that is over, and whose task runs the server has all stored."""
    script: Path = tmp_path_factory.mktemp("flow") / "views.py"
    script.write_text(FLOW)
    done = subprocess.run(
        [sys.executable, "-P", str(script)],
        env=server.environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    run_id = done.stdout.split()[0]
    view = FlowRunView.from_flow_run_id(run_id, client=client)

    def settled() -> bool:
        found = view.get_all_task_runs()
        return len(found) == 6 and all(each.task_run.is_terminal for each in found)

    until(settled, 60)
    return run_id


def test_task_runs_are_found_as_prefect_names_them(
    executed: str, client: rxflow.Client, call: Call
) -> None:
    """A slug with hash and without, a map index and an id lead to the same task run."""
    view = call(FlowRunView, "from_flow_run_id", executed, client=client)
    every = call(view, "get_all_task_runs")
    assert len(every) == len(call(view, "get_task_run_ids")) == 6
    doubles = [each for each in every if each.task_slug.startswith("double-")]
    assert [each.map_index for each in doubles] == [0, 1, 2]
    for each in every:
        index = each.map_index
        assert call(view, "get_task_run", task_run_id=each.task_run_id) == each
        assert call(view, "get_task_run", each.task_slug, map_index=index) == each
        bare = each.task_slug.rpartition("-")[0]
        assert call(TaskRunView, "from_task_slug", bare, executed, index, client=client) == each
    with pytest.raises(ValueError, match="by map index"):
        call(view, "get_task_run", "double")
    assert [each.task_run_id for each in call(doubles[0], "iter_mapped")] == [
        each.task_run_id for each in doubles
    ]


def test_a_retried_task_run_has_all_its_states(
    executed: str, client: rxflow.Client, call: Call
) -> None:
    """The history is Prefect's own, with what a retry is there."""
    found = call(TaskRunView, "from_task_slug", "flaky", executed, client=client)
    assert [state.name for state in found.states] == ["Pending", "Running", "Retrying", "Completed"]
    assert [bool(state.is_retrying) for state in found.states] == [False, False, True, False]
    assert found.state.is_successful()


def test_results_are_read_as_prefect_wrote_them(
    executed: str, client: rxflow.Client, call: Call
) -> None:
    """JSON is read from Prefect's own storage; a pickle and nothing are the two errors."""
    view = call(FlowRunView, "from_flow_run_id", executed, client=client)
    doubles = call(call(view, "get_task_run", "double", map_index=0), "iter_mapped")
    results = [call(each, "get_result")["twice"] for each in doubles]
    assert sorted(results) == [2, 4, 6]
    assert call(call(view, "get_task_run", "flaky"), "get_result") == "text"
    with pytest.raises(TypeError, match="'pickle'"):
        call(call(view, "get_task_run", "pickled"), "get_result")
    with pytest.raises(ValueError, match="was not kept"):
        call(call(view, "get_task_run", "forgotten"), "get_result")


def test_the_log_of_a_task_run_is_its_own(
    executed: str, client: rxflow.Client, until: Until
) -> None:
    """A mapped task run's lines are those that it wrote."""
    view = FlowRunView.from_flow_run_id(executed, client=client)

    def said() -> list[list[str]] | None:
        doubles = view.get_task_run("double", map_index=0).iter_mapped()
        found = [
            [line.message for line in each.get_logs() if "doubling" in line.message]
            for each in doubles
        ]
        return found if all(found) else None

    found = until(said, 60)
    assert sorted(found or []) == [[f"doubling {number}"] for number in (1, 2, 3)]


def test_the_flow_is_found(executed: str, client: rxflow.Client, call: Call) -> None:
    """By the run, by id and by name."""
    view = call(FlowRunView, "from_flow_run_id", executed, client=client)
    flow = call(view, "get_flow_metadata")
    assert (flow.name, flow.deployment) == ("views", None)
    assert flow.version is not None
    by_id = call(FlowView, "from_flow_id", flow.flow_id, client=client)
    assert by_id == call(FlowView, "from_flow_name", "views", client=client)
    with pytest.raises(ValueError, match="no flow named"):
        call(FlowView, "from_flow_name", "no such flow", client=client)


def test_a_restarted_task_run_is_not_stale(hand: Hand, client: rxflow.Client, call: Call) -> None:
    """Failed does not stay Failed once the server has another state, and all pages come."""
    run = hand.new_run(state={"type": "RUNNING"})
    task = {"task_key": "load-0489fc40", "flow_run_id": run}
    tasks = [
        hand.post("/task_runs/", task | {"dynamic_key": str(n), "state": {"type": "FAILED"}})["id"]
        for n in range(3)
    ]
    view = call(FlowRunView, "from_flow_run_id", run, True, client=client)
    kept = call(view, "get_task_run", task_run_id=tasks[0])
    assert kept.state.is_failed()
    assert call(view, "get_task_run", task_run_id=tasks[0]) is kept
    body: dict[str, Any] = {"state": {"type": "RUNNING"}, "force": True}
    hand.post(f"/task_runs/{tasks[0]}/set_state", body)
    assert call(view, "get_task_run", task_run_id=tasks[0]).state.is_running()
    latest = call(view, "get_latest")
    assert {row.id for row in latest.task_runs} == set(tasks[1:])


def test_another_runs_task_run_is_refused(
    executed: str, hand: Hand, client: rxflow.Client, call: Call
) -> None:
    """A task run is only got from its own flow run."""
    other = FlowRunView.from_flow_run_id(hand.new_run(), client=client)
    (task, *_) = FlowRunView.from_flow_run_id(executed, client=client).get_task_run_ids()
    with pytest.raises(ValueError, match="belongs to flow run"):
        call(other, "get_task_run", task_run_id=task)


def test_a_task_run_of_no_one_is_not_found(client: rxflow.Client, call: Call) -> None:
    """The server's 404 is a ValueError."""
    with pytest.raises(rxflow.TaskRunNotFound):
        call(
            TaskRunView,
            "from_task_run_id",
            "00000000-0000-4000-8000-000000000000",
            client=client,
        )
