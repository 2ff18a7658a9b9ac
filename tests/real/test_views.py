"""Views of a run that Prefect executed: its task runs, their results, its flow."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from twin_calls import TWINS

import rxflow
from rxflow import FlowRunView, FlowView, TaskRunView

if TYPE_CHECKING:
    from pathlib import Path

    from twin_calls import Call

    from rxflow.cli._prefect_server import PrefectServer
    from tests.real.conftest import ApiWriter, Until

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
    """Call a method, or its async twin."""
    return TWINS[request.param]


@pytest.fixture(scope="module")
def executed(
    server: PrefectServer,
    client: rxflow.Client,
    until: Until,
    tmp_path_factory: pytest.TempPathFactory,
) -> str:
    """A finished run whose task runs are all stored."""
    script: Path = tmp_path_factory.mktemp("flow") / "views.py"
    script.write_text(FLOW)
    finished = subprocess.run(
        [sys.executable, "-P", str(script)],
        env=server.environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    run_id = finished.stdout.split()[0]
    view = FlowRunView.from_flow_run_id(run_id, client=client)

    def all_stored() -> bool:
        found = view.get_all_task_runs()
        return len(found) == 6 and all(each.task_run.is_terminal for each in found)

    until(all_stored)
    return run_id


def test_task_runs_are_found_by_prefects_names(
    executed: str, client: rxflow.Client, call: Call
) -> None:
    """A slug with or without hash, a map index and an id find the same task run."""
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
    """The states are those of Prefect, a retry included."""
    found = call(TaskRunView, "from_task_slug", "flaky", executed, client=client)
    assert [state.name for state in found.states] == ["Pending", "Running", "Retrying", "Completed"]
    assert [bool(state.is_retrying) for state in found.states] == [False, False, True, False]
    assert found.state.is_successful()


def test_results_are_read_from_prefects_storage(
    executed: str,
    server: PrefectServer,
    client: rxflow.Client,
    call: Call,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """JSON is read from Prefect's storage; a pickle and a missing result are the two errors."""
    monkeypatch.setenv("PREFECT_HOME", str(server.home))
    view = call(FlowRunView, "from_flow_run_id", executed, client=client)
    doubles = call(call(view, "get_task_run", "double", map_index=0), "iter_mapped")
    results = [call(each, "get_result")["twice"] for each in doubles]
    assert sorted(results) == [2, 4, 6]
    assert call(call(view, "get_task_run", "flaky"), "get_result") == "text"
    with pytest.raises(TypeError, match="'pickle'"):
        call(call(view, "get_task_run", "pickled"), "get_result")
    with pytest.raises(ValueError, match="was not kept"):
        call(call(view, "get_task_run", "forgotten"), "get_result")


def test_a_task_run_has_its_own_lines(executed: str, client: rxflow.Client, until: Until) -> None:
    """The lines of a mapped task run are those that it wrote."""
    view = FlowRunView.from_flow_run_id(executed, client=client)

    def lines() -> list[list[str]] | None:
        doubles = view.get_task_run("double", map_index=0).iter_mapped()
        found = [
            [line.message for line in each.get_logs() if "doubling" in line.message]
            for each in doubles
        ]
        return found if all(found) else None

    found = until(lines)
    assert sorted(found or []) == [[f"doubling {number}"] for number in (1, 2, 3)]


def test_the_flow_is_found_by_run_id_and_name(
    executed: str, client: rxflow.Client, call: Call
) -> None:
    """Views of the flow by the run, by id and by name show the same flow."""
    view = call(FlowRunView, "from_flow_run_id", executed, client=client)
    flow = call(view, "get_flow_metadata")
    assert (flow.name, flow.deployment) == ("views", None)
    assert flow.version is not None
    by_id = call(FlowView, "from_flow_id", flow.flow_id, client=client)
    assert by_id == call(FlowView, "from_flow_name", "views", client=client)
    with pytest.raises(ValueError, match="no flow named"):
        call(FlowView, "from_flow_name", "no such flow", client=client)


def test_a_restarted_task_run_is_read_anew(
    writer: ApiWriter, client: rxflow.Client, call: Call
) -> None:
    """A failed task run is not read from the cache once the server has another state."""
    run = writer.new_run(state={"type": "RUNNING"})
    task = {"task_key": "load-0489fc40", "flow_run_id": run}
    tasks = [
        writer.post("/task_runs/", task | {"dynamic_key": str(n), "state": {"type": "FAILED"}})[
            "id"
        ]
        for n in range(3)
    ]
    view = call(FlowRunView, "from_flow_run_id", run, True, client=client)
    cached = call(view, "get_task_run", task_run_id=tasks[0])
    assert cached.state.is_failed()
    assert call(view, "get_task_run", task_run_id=tasks[0]) is cached
    body: dict[str, Any] = {"state": {"type": "RUNNING"}, "force": True}
    writer.post(f"/task_runs/{tasks[0]}/set_state", body)
    assert call(view, "get_task_run", task_run_id=tasks[0]).state.is_running()
    latest = call(view, "get_latest")
    assert {row.id for row in latest.task_runs} == set(tasks[1:])


def test_a_task_run_of_another_run_is_not_found(
    executed: str, writer: ApiWriter, client: rxflow.Client, call: Call
) -> None:
    """A task run is only found in its own flow run."""
    other = FlowRunView.from_flow_run_id(writer.new_run(), client=client)
    (task, *_) = FlowRunView.from_flow_run_id(executed, client=client).get_task_run_ids()
    with pytest.raises(ValueError, match="belongs to flow run"):
        call(other, "get_task_run", task_run_id=task)


def test_an_unknown_task_run_is_not_found(client: rxflow.Client, call: Call) -> None:
    """The server's 404 is a TaskRunNotFound."""
    with pytest.raises(rxflow.TaskRunNotFound):
        call(
            TaskRunView,
            "from_task_run_id",
            "00000000-0000-4000-8000-000000000000",
            client=client,
        )
