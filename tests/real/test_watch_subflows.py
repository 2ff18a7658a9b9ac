"""Watches on a real server whose runs are found: subflows, and runs that match a filter later."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from promises.shared import closed_event
from servers_under_test import emitted_rows
from virtual_world import Recording

import rxflow

if TYPE_CHECKING:
    from server_databases import DatabaseReader

    from rxflow.cli._prefect_server import PrefectServer
    from tests.real.conftest import ApiWriter, Until

THREE_DEEP = """
from prefect import flow, get_run_logger, runtime

@flow
def leaf(number: int):
    get_run_logger().info(f"leaf {number}")

@flow
def branch(number: int):
    get_run_logger().info(f"branch {number}")
    for each in range(2):
        leaf(10 * number + each)

@flow
def tree():
    print(runtime.flow_run.id, flush=True)
    get_run_logger().info("tree")
    for number in range(2):
        branch(number)
    leaf(99)

tree()
"""


def stored(database: DatabaseReader, run: str) -> list[tuple[str, str]]:
    """Return the (kind, id) of each row of a run in the server's tables, sorted."""
    states = [("state", row) for row in database.state_ids(run)]
    return sorted([*states, *(("log", row) for row in database.log_ids(run))])


def of_run(events: list[rxflow.FlowRunEvent], run: str) -> list[rxflow.FlowRunEvent]:
    """Return the events of a run."""
    return [event for event in events if event.flow_run_id == run]


def test_subflows_three_deep(
    server: PrefectServer, client: rxflow.Client, database: DatabaseReader, tmp_path: Path
) -> None:
    """Of a flow that runs: each line is under its run, each row comes once, the root is last."""
    script = tmp_path / "tree.py"
    script.write_text(THREE_DEEP, "utf-8")
    with subprocess.Popen(
        [sys.executable, "-P", str(script)],
        env=server.environment,
        cwd=server.home,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        root = process.stdout.readline().strip()
        events = list(rxflow.watch_flow_run(root, subflows=True, client=client))
        assert process.wait(60) == 0
    names = {e.flow_run_id: e.run.name for e in events if isinstance(e, rxflow.RunSeen)}
    assert len(names) == 8  # the tree, two branches, five leaves
    assert {event.root_flow_run_id for event in events} == {root}
    said = []
    for run in names:
        own = of_run(events, run)
        assert emitted_rows(own) == stored(database, run)
        assert closed_event(own).verified
        said += [
            e.message
            for e in own
            if isinstance(e, rxflow.FlowRunLog) and e.message.startswith(("tree", "branch", "leaf"))
        ]
    branches, leaves = (
        ["branch 0", "branch 1"],
        ["leaf 0", "leaf 1", "leaf 10", "leaf 11", "leaf 99"],
    )
    assert sorted(said) == [*branches, *leaves, "tree"]
    assert isinstance(events[-1], rxflow.Closed)
    assert events[-1].flow_run_id == root


def new_subflow(writer: ApiWriter, parent: str, number: int) -> str:
    """Create a subflow as a process of its parent does, with a line and in state Running."""
    task = {"flow_run_id": parent, "task_key": "child", "dynamic_key": str(number)}
    task_run = writer.post("/task_runs/", task)["id"]
    run: str = writer.post(
        "/flow_runs/",
        {
            "flow_id": writer.post("/flows/", {"name": "child"})["id"],
            "state": {"type": "RUNNING"},
            "parent_task_run_id": task_run,
        },
    )["id"]
    writer.post_logs(run, [f"line of {number}"])
    return run


@pytest.mark.parametrize("end", ["COMPLETED", "CRASHED"])
def test_a_subflow_of_the_last_moment_outlives_its_parent(
    end: str,
    client: rxflow.Client,
    writer: ApiWriter,
    database: DatabaseReader,
    until: Until,
) -> None:
    """It is created just before the parent ends, and goes on; the parent's end comes last."""
    root = writer.new_run(state={"type": "RUNNING"})
    recording: Recording[rxflow.FlowRunEvent] = Recording()
    recording.subscribe_to(rxflow.watch_flow_run(root, subflows=True, drain=0, client=client))
    until(lambda: recording.values)
    child = new_subflow(writer, root, 1)
    writer.set_state(root, end, force=True)
    until(lambda: of_run(recording.values, child))
    grandchild = new_subflow(writer, child, 2)
    for run in (grandchild, child):
        writer.set_state(run, "COMPLETED", force=True)
    recording.wait()
    for run in (root, child, grandchild):
        assert emitted_rows(of_run(recording.values, run)) == stored(database, run)
    assert {event.root_flow_run_id for event in recording.values} == {root}
    assert recording.values[-1] == closed_event(of_run(recording.values, root))


def test_runs_are_found_when_they_come(
    client: rxflow.Client, writer: ApiWriter, database: DatabaseReader, until: Until
) -> None:
    """With discover: two that match are there, one comes later with a subflow, and one does not."""
    tags = ["found-when-they-come"]
    first = [writer.new_run(state={"type": "RUNNING"}, tags=tags) for _ in range(2)]
    stream = rxflow.watch_flow_runs(
        tags=tags, discover=True, until="done", subflows=True, drain=0, client=client
    )
    recording: Recording[rxflow.FlowRunEvent] = Recording()
    recording.subscribe_to(stream)
    until(lambda: {event.flow_run_id for event in recording.values} == {*first})
    other = writer.new_run(state={"type": "RUNNING"})
    later = writer.new_run(state={"type": "RUNNING"}, tags=tags)
    child = new_subflow(writer, later, 1)
    until(lambda: of_run(recording.values, child))
    runs = [child, later, *first]
    for run in runs:
        writer.post_logs(run, ["a line"])
        writer.set_state(run, "COMPLETED", force=True)
    recording.wait()
    last = recording.values[-1]
    assert isinstance(last, rxflow.AllClosed)
    assert {run.flow_run_id for run in last.runs} == {*runs}
    assert last.verified
    assert other not in {event.flow_run_id for event in recording.values}
    for run in runs:
        assert emitted_rows(of_run(recording.values, run)) == stored(database, run)
    (outcome,) = (run for run in last.runs if run.flow_run_id == child)
    assert (outcome.root_flow_run_id, outcome.parent_flow_run_id) == (later, later)
