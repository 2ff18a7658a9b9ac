"""Checks of views; the table in `tests/test_seed_defects.py` runs them."""

import json
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import pytest

import rxflow
from rxflow import FlowRunView
from tests.seed_defects.scenes import NewScene, OnPrefect1

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def logs_of_a_deleted_run(new: NewScene) -> None:
    """The log of a deleted run is what the server still has of it, and no IndexError."""
    scene = new()
    rows = [scene.log(f"{number}") for number in range(3)]
    view = scene.view()
    scene.server.delete_run(scene.run)
    remaining = [] if isinstance(scene, OnPrefect1) else rows  # Prefect 3 deletes lines later
    assert [line.id for line in view.get_logs()] == remaining
    scene.server.delete_logs(rows)
    assert view.get_logs() == []
    with pytest.raises(rxflow.RunNotFound):
        view.get_latest()


def bad_response_for_ids(new: NewScene) -> None:
    """Task runs that cannot be read are a BadResponse, and no TypeError."""
    scene = new()
    view = scene.view()
    scene.server.intercept = lambda request: (
        scene.rejection() if scene.resource_of(request) == "task_run" else None
    )
    with pytest.raises(rxflow.BadResponse):
        view.get_task_run_ids()


def ids_after_an_empty_list(new: NewScene) -> None:
    """An empty list of ids is not cached: the next call reads a task run that was added since."""
    scene = new()
    scene.complete()
    view = scene.view()
    assert view.get_task_run_ids() == []
    task_run = scene.add_task_run("PENDING")
    assert view.get_task_run_ids() == [task_run]


def task_run_of_another_run(new: NewScene) -> None:
    """A task run of another flow run is refused, and then not among those of this one."""
    scene = new()
    other = scene.add_task_run("COMPLETED", scene.add_run())
    view = scene.view()
    with pytest.raises(ValueError, match="belongs to flow run"):
        view.get_task_run(task_run_id=other)
    assert view.get_all_task_runs() == []


def more_than_1000_task_runs(new: NewScene) -> None:
    """There is no limit of 1,000 task runs, and none is left out if a page holds fewer."""
    scene = new(limit=100)
    rows = {scene.add_task_run("PENDING", index=number) for number in range(1001)}
    assert {view.task_run_id for view in scene.view().get_all_task_runs()} == rows


def restarted_task_run(new: NewScene) -> None:
    """A task run that failed and runs again is Running in the view and in later ones."""
    scene = new()
    task_run = scene.add_task_run("FAILED")
    view = scene.view(load_static_tasks=True)
    assert view.get_task_run(scene.slug).state.is_failed()  # type: ignore[union-attr]
    scene.set_task_state(task_run, "RUNNING")
    for each in (view, view.get_latest(), view.get_latest().get_latest()):
        assert each.get_task_run(scene.slug).state.is_running()  # type: ignore[union-attr]
        assert each.get_task_run(task_run_id=task_run).state.is_running()  # type: ignore[union-attr]
        assert [found.state.name for found in each.get_all_task_runs() if found.state] == [
            "Running"
        ]
    assert view.get_latest().task_runs == ()


def mapped_children(new: NewScene) -> None:
    """The runs of a mapped task are read page by page, past a missing index."""
    scene = new(limit=10)
    indexes = [*range(12), *range(13, 25)]  # Prefect 3 has no map indexes
    if isinstance(scene, OnPrefect1):
        parent = scene.add_task_run("Mapped")
    rows = [scene.add_task_run("COMPLETED", index=index) for index in indexes]
    parent = parent if isinstance(scene, OnPrefect1) else rows[7]
    view = scene.view().get_task_run(task_run_id=parent)
    scene.exchanges.clear()
    children = list(view.iter_mapped())
    assert [child.task_run_id for child in children] == rows
    if isinstance(scene, OnPrefect1):
        assert [child.map_index for child in children] == indexes
    assert len(scene.exchanges) < len(rows) / 2, "one request for several children"


def results_of_missing_children(new: NewScene) -> None:
    """The result of a mapped task is the list of all children's, or an error if one is missing."""
    scene = new()
    assert isinstance(scene, OnPrefect1)  # Prefect 3 has no parent of mapped task runs
    parent = scene.add_task_run("Mapped")
    scene.server.set_task_state(parent, "Mapped", n_map_states=5)

    def add(index: int, folder: str) -> None:
        file = Path(folder, f"{index}")
        file.write_text(json.dumps(index))
        result = {"location": str(file), "serializer": {"type": "JSONSerializer"}}
        child = scene.add_task_run("RUNNING", index=index)
        scene.server.set_task_state(child, "Success", _result={"type": "LocalResult", **result})

    with tempfile.TemporaryDirectory() as folder:
        for index in (0, 1):
            add(index, folder)
        view = scene.view().get_task_run(scene.slug)
        with pytest.raises(ValueError, match="5"):
            view.get_result(directories=[folder])
        for index in (4, 3, 2):
            add(index, folder)
        view = scene.view().get_task_run(scene.slug)
        assert view.get_result(directories=[folder]) == [0, 1, 2, 3, 4]


def values_changed_by_the_caller(new: NewScene) -> None:
    """Values that a view returned can be changed, and the view does not change."""
    scene = new()
    scene.server.change_run(scene.run, parameters={"rows": [1]}, **{scene.label_column: ["a"]})
    view = scene.view()
    view.parameters["rows"].append(2)
    assert view.parameters == {"rows": [1]}
    for value in (view.labels, view.states, view.task_runs):
        assert isinstance(value, tuple)
    assert view == FlowRunView.from_snapshot(view.snapshot)


def times_of_the_run(new: NewScene) -> None:
    """A snapshot has the times of the run's row."""
    scene = new(state=None)
    scene.server.change_run(scene.run, **{scene.start_column: NOON})
    scene.set_state("SCHEDULED")
    waiting = scene.view().snapshot.run
    assert (waiting.expected_start_time, waiting.next_scheduled_start_time) == (NOON, NOON)
    scene.set_state("RUNNING")
    scene.complete()
    row = scene.view().snapshot.run
    assert row.expected_start_time == NOON
    assert row.start_time is not None
    assert row.end_time is not None
    assert row.start_time < row.end_time
