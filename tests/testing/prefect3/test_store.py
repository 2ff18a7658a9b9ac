"""Writes to the tables of the fake Prefect 3 server."""

from random import Random

import pytest

import rxflow
from rxflow.testing import FakePrefect3, VirtualTime


def test_a_watch_finds_task_runs_beside_their_run() -> None:
    """It emits the states that it finds them in, with the names that they were added with."""
    server = FakePrefect3()
    run = server.add_run(state="RUNNING")
    task = server.add_task_run(run, name="load-0", task_key="load-12345678")
    server.add_task_run(run, name="save-0", state="CRASHED")
    server.set_task_state(run, task, "COMPLETED")
    server.set_state(run, "COMPLETED")
    stream = rxflow.watch_flow_run(run, drain=0, stream_tasks=True, client=server.client())
    events = {event.task_run.name: event for event in stream.tasks}
    assert {name: event.state.name for name, event in events.items()} == {
        "load-0": "Completed",
        "save-0": "Crashed",
    }
    assert events["load-0"].id == server.task_runs[task]["state_id"]


def test_a_task_run_stands_for_a_subflow_in_its_parent() -> None:
    """Subflows of one flow are numbered, and each task run follows the states of its subflow."""
    server = FakePrefect3()
    run = server.add_run(state="RUNNING")
    children = [server.add_run(flow="load", parent=run, state="PENDING") for _ in range(2)]
    other = server.add_run(flow="save", parent=run, state=None)
    stand_ins = [server.task_runs[server.runs[each]["parent_task_run_id"]] for each in children]
    assert [row["name"] for row in stand_ins] == ["load-0", "load-1"]
    assert {row["flow_run_id"] for row in stand_ins} == {run}
    server.set_state(children[0], "RUNNING")
    server.set_state(children[0], "COMPLETED")
    assert [row["state_type"] for row in stand_ins] == ["COMPLETED", "PENDING"]
    history = server.task_run_states[stand_ins[0]["id"]]
    assert [state["type"] for state in history] == ["PENDING", "PENDING", "RUNNING", "COMPLETED"]
    assert server.task_runs[server.runs[other]["parent_task_run_id"]]["name"] == "save-0"
    with pytest.raises(ValueError, match=r"^parent=.* is no row of the fake server"):
        server.add_run(parent="9e6caafc-4ea1-4493-b0a9-122efba9eaaa")


def test_a_seed_repeats_ids() -> None:
    """With a `random` of one seed the same writes make rows of the same ids."""

    def ids(seed: int) -> list[str]:
        server = FakePrefect3(clock=VirtualTime(), random=Random(seed))
        run = server.add_run()
        return [run, server.set_state(run, "RUNNING"), server.log(run), server.add_task_run(run)]

    assert ids(1) == ids(1)
    assert not set(ids(1)) & set(ids(2))


def test_log_rows_are_deleted_and_restored() -> None:
    """Rows are deleted by their ids; a restore removes the rows that landed after the backup."""
    time = VirtualTime()
    server = FakePrefect3(clock=time)
    run = server.add_run()
    first, second = server.log(run), server.log(run)
    backup = time()
    time.wait(1)
    third = server.log(run)
    server.delete_logs([second, "no such row"])
    assert [row["id"] for row in server.logs] == [first, third]
    server.restore_logs(backup)
    assert [row["id"] for row in server.logs] == [first]
