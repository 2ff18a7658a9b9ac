"""Scripts and commands of Prefect 1.4.1 against `FakePrefect1`, by its own client.

They run where that client is installed; what the fake replies to each query is in the tests beside
this file, which run everywhere.
"""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

import rxflow
from rxflow.testing import FakePrefect1

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def served() -> Iterator[tuple[FakePrefect1, str]]:
    """Serve a fake over HTTP; return it and its URL."""
    server = FakePrefect1()
    with server.serve() as url:
        yield server, url


def test_a_script_registers_flows_and_creates_and_changes_runs(
    prefect1: Callable[..., Any], served: tuple[FakePrefect1, str]
) -> None:
    """Everything that the client offers for flows, flow runs and task runs works."""
    server, url = served
    report = prefect1("flow_runs.py", url)
    runs, flows = server.runs, server.flows
    registered, created, changed = (report[key] for key in ("registered", "created", "changed"))
    assert (registered["same project"], registered["unchanged"]) == (True, True)
    versions = [flows[flow_id] for flow_id in registered["flow_ids"]]
    assert [(flow["version"], flow["archived"]) for flow in versions] == [(1, True), (2, False)]
    assert len({flow["flow_group_id"] for flow in versions}) == 1
    tasks = [
        (task["slug"], task["mapped"], task["max_retries"])
        for task in server.tasks.values()
        if task["flow_id"] == registered["other_id"]
    ]
    assert sorted(tasks) == [
        ("[1, 2]-1", False, 0),
        ("double-1", True, 2),
        ("double-2", False, 2),
        ("n", False, 0),
    ]
    given = runs[created["given"]]
    assert given["context"] == {"a": 1}
    assert given["parameters"] == {"n": 2}
    assert given["labels"] == ["given"]
    assert given["run_config"]["env"] == {"A": "1"}
    assert given["scheduled_start_time"] == datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert created["once"] is True
    by_group = runs[created["by_group"]]
    assert (by_group["flow_id"], by_group["labels"]) == (registered["flow_ids"][1], ["vm"])
    assert by_group["run_config"]["labels"] == ["vm"]
    assert runs[created["by_task"]]["name"] == "kid"
    assert runs[created["started"]]["name"] == "started"
    assert changed["cancelled"] == ["Cancelled", "Cancelling"]
    assert changed["child"] == ["Cancelled", "Cancelled"]
    assert changed["state"] == "Cancelling"
    assert changed["named"] is changed["task named"] is changed["child renamed"] is True
    assert changed["same task run"] is True
    assert changed["task state"] == '<Success: "ok">'
    assert changed["both"] == ["SUCCESS", "SUCCESS"]
    assert {text for _, text in changed["task_runs"]} == {"<Pending>"}
    refused = report["refused"]
    assert all("not found" in refused[name] for name in ("no such flow", "no such run"))
    assert "has no unarchived flows" in refused["no such group"]
    assert "not found" in refused["no such task run"]
    for name, kind in [("secret", "secrets"), ("agent", "agents"), ("artifact", "artifacts")]:
        assert f"it leaves out {kind}." in refused[name]
    assert 'has no "task_tag_limit"' in refused["limit"]


_COMMANDS = {
    "get flows": "etl",
    "get flows --all-versions --name etl --project q": "etl",
    "get projects": "q",
    "get flow-runs": "nightly",
    "get flow-runs --started --flow etl --project q": "nightly",
    "get tasks": "load",
    "get tasks -n load -fn etl -fv 2 -p q": "load",
    "get logs -n nightly": "hello",
    "get logs -n nightly --info": "{}",
    "describe flows -n etl": '"version": 2',
    "describe flows -n etl -v 1 -p q -o yaml": "version: 1",
    "describe tasks -n etl": '"slug": "load-1"',
    "describe flow-runs -n nightly -fn etl": '"type": "Running"',
    "create project z -d text": "z created",
    "create project z --skip-if-exists": "z already exists",
    "delete project z": "z deleted",
    "run --name etl --project q --run-name new --label a --context k=1": "Labels: ['a']",
    "delete project q": "q deleted",
}


def test_the_commands_of_its_cli_work(
    prefect1: Callable[..., Any], served: tuple[FakePrefect1, str]
) -> None:
    """`prefect get`, `describe`, `create`, `delete` and `run` succeed and show the rows."""
    server, url = served
    old = server.add_flow("etl", project="q", archived=True)
    group = server.flows[old]["flow_group_id"]
    flow_id = server.add_flow("etl", project="q", flow_group_id=group, version=2)
    run_id = server.add_run(name="nightly", flow_id=flow_id, state="Running")
    server.add_task_run(run_id, slug="load-1")
    server.log(run_id, "hello")
    found = prefect1("commands.py", url, *(json.dumps(words.split()) for words in _COMMANDS))
    for (command, expected), (code, output) in zip(_COMMANDS.items(), found, strict=True):
        assert (code, expected in output) == (0, True), (command, output)
    assert [output.count("etl") for _, output in found[:2]] == [1, 2]
    tables = (server.projects, server.flows, server.tasks, server.runs, server.logs)
    assert tables == ({}, {}, {}, {}, {})


def test_with_a_key_it_logs_in_to_the_server_as_to_prefect_cloud(
    prefect1: Callable[..., Any],
) -> None:
    """`prefect auth login` saves the key and the tenant, which the next command uses."""
    server = FakePrefect1(api_key="secret")
    server.add_flow("etl", project="q")
    commands = ["login --key wrong", "login --key secret", "list-tenants"]
    with server.serve() as url:
        words = [json.dumps(["auth", *command.split()]) for command in commands]
        wrong, right, tenants = prefect1("commands.py", url, *words, PREFECT__BACKEND="cloud")
        flows = json.dumps(["get", "flows"])
        (found,) = prefect1("commands.py", url, flows, PREFECT__BACKEND="cloud")
    assert (wrong[0], "Unauthorized" in wrong[1]) == (1, True)
    assert (right[0], "Logged in" in right[1]) == (0, True)
    assert next(iter(server.tenants)) in tenants[1]
    assert (found[0], "etl" in found[1]) == (0, True)


def test_its_flow_runner_executes_a_run_that_can_be_watched(
    prefect1: Callable[..., Any], served: tuple[FakePrefect1, str]
) -> None:
    """A flow is registered and executed by Prefect itself; a watch has each state and line."""
    server, url = served
    run_id = prefect1("execute.py", url)
    with rxflow.Client(api_url=url, backend="prefect1") as client:
        events = list(rxflow.watch_flow_run(run_id, drain=0, client=client))
        view = rxflow.FlowRunView.from_flow_run_id(run_id, client=client)
        task_runs = view.get_all_task_runs()
    states = [event.state.name for event in events if isinstance(event, rxflow.StateChange)]
    assert states == ["Scheduled", "Running", "Success"]
    lines = [event.message for event in events if isinstance(event, rxflow.FlowRunLog)]
    assert len(lines) == len(server.logs)
    assert {f"doubling {number}" for number in (1, 2, 3)} <= set(lines)
    closed = events[-1]
    assert isinstance(closed, rxflow.Closed)
    assert closed.verified
    indexes = [run.map_index for run in task_runs if run.state and run.state.name == "Success"]
    assert sorted(indexes) == [-1, -1, -1, 0, 1]
