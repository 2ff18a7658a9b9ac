"""Writes to the tables of the fake Prefect 1 server, read back by queries."""

from random import Random
from uuid import UUID

from graphql_calls import run_query

from rxflow.testing import FakePrefect1, VirtualTime


def test_a_late_line_is_found_by_its_created() -> None:
    """A line that is inserted after another has a later `created`, even if written before it."""
    time = VirtualTime()
    server = FakePrefect1(clock=time)
    run_id = server.add_run()
    written = time()
    time.wait(5)
    server.log(run_id, "first")
    first = time()
    server.at(5, lambda: server.log(run_id, "late", timestamp=written))
    time.wait(9)
    query = """query($since: timestamptz) {
        log(where: {created: {_gt: $since}}) { message timestamp created }
    }"""
    (late,) = run_query(server, query, since=first.isoformat())["log"]
    assert late == {
        "message": "late",
        "timestamp": "2026-01-01T00:00:00+00:00",
        "created": "2026-01-01T00:00:10+00:00",
    }
    by_timestamp = query.replace("created: {_gt", "timestamp: {_gt")
    assert run_query(server, by_timestamp, since=first.isoformat())["log"] == []


def test_a_slow_commit_lands_behind_earlier_rows() -> None:
    """A row may become readable with a `created` before that of rows that were read already."""
    time = VirtualTime()
    server = FakePrefect1(clock=time)
    run_id = server.add_run()
    inserted = time()
    time.wait(3)
    server.log(run_id, "first")
    time.wait(1)
    server.log(run_id, "slow commit", created=inserted)
    rows = run_query(server, "{ log(order_by: {created: asc}) { message } }")["log"]
    assert [row["message"] for row in rows] == ["slow commit", "first"]


def test_each_state_of_a_run_is_a_row() -> None:
    """The run's own row has the last state, its times and its version."""
    time = VirtualTime()
    server = FakePrefect1(clock=time)
    run_id = server.add_run(name="nightly")
    for state in ("Submitted", "Running", "Success"):
        time.wait(1)
        server.set_state(run_id, state, f"{state}!")
    query = """{ flow_run { state version start_time end_time scheduled_start_time
        states(order_by: {version: asc}) { state version message timestamp start_time } } }"""
    (run,) = run_query(server, query)["flow_run"]
    assert [state["state"] for state in run["states"]] == [
        "Scheduled",
        "Submitted",
        "Running",
        "Success",
    ]
    assert [state["version"] for state in run["states"]] == [1, 2, 3, 4]
    assert run["states"][0]["start_time"] == run["scheduled_start_time"]
    assert run["start_time"] == run["states"][2]["timestamp"] == "2026-01-01T00:00:02+00:00"
    assert run["end_time"] == run["states"][3]["timestamp"] == "2026-01-01T00:00:03+00:00"
    assert (run["state"], run["version"]) == ("Success", 4)


def test_deleting_a_run_deletes_its_rows() -> None:
    """Neither the run nor its states, task runs and lines are found; those of another run are."""
    server = FakePrefect1()
    runs = [server.add_run() for _ in range(2)]
    for run_id in runs:
        server.log(run_id)
        server.add_task_run(run_id)
    server.delete_run(runs[0])
    query = "{ flow_run { id } flow_run_state { id } task_run { id } log { id } }"
    found = run_query(server, query)
    assert {name: len(rows) for name, rows in found.items()} == dict.fromkeys(found, 1)


def test_a_seed_repeats_ids() -> None:
    """With a `random` of one seed the same writes make rows of the same ids."""

    def ids(seed: int) -> list[str]:
        server = FakePrefect1(clock=VirtualTime(), random=Random(seed))
        run = server.add_run()
        return [run, server.set_state(run, "Running"), server.log(run), server.add_task_run(run)]

    assert ids(1) == ids(1)
    assert not set(ids(1)) & set(ids(2))


def test_log_rows_are_deleted_and_restored() -> None:
    """Rows are deleted by their ids; a restore removes the rows that landed after the backup."""
    time = VirtualTime()
    server = FakePrefect1(clock=time)
    run = server.add_run()
    first, second = server.log(run), server.log(run)
    backup = time()
    time.wait(1)
    third = server.log(run)
    server.delete_logs([second, "no such row"])
    assert list(server.logs) == [first, third]
    server.restore_logs(backup)
    assert list(server.logs) == [first]


def test_a_task_is_added_to_a_flow_by_an_id_of_either_type() -> None:
    """Its name follows from its slug; other columns may be given."""
    server = FakePrefect1()
    flow_id = server.add_flow()
    task_id = server.add_task(UUID(flow_id), "load-2", mapped=True)
    task = server.tasks[task_id]
    assert (task["flow_id"], task["name"], task["slug"]) == (flow_id, "load", "load-2")
    assert task["mapped"] is True
    server.add_task_run(server.add_run(flow_id=flow_id), slug="load-2")
    assert list(server.tasks) == [task_id]


def test_a_flow_of_a_group_is_another_version_of_its_flow() -> None:
    """No other group is added; without one the flow has a group of its own."""
    server = FakePrefect1()
    first = server.flows[server.add_flow("etl")]
    group = UUID(first["flow_group_id"])
    second = server.flows[server.add_flow("etl", flow_group_id=group, version=2)]
    assert second["flow_group_id"] == first["flow_group_id"]
    assert len(server.flow_groups) == 1
