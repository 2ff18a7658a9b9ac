"""Views: what 1.4.1 left out, let in, and kept for too long."""

import json
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import pytest

import rxflow
from rxflow import FlowRunView
from tests.seed_defects.scenes import New, OnPrefect1

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def deleted_run(new: New) -> None:
    """The log of a run that was deleted is what is left of it, and no IndexError."""
    scene = new()
    rows = [scene.line(f"{number}") for number in range(3)]
    view = scene.view()
    scene.server.delete_run(scene.run)
    left = [] if isinstance(scene, OnPrefect1) else rows  # Prefect 3 deletes lines later
    assert [line.id for line in view.get_logs()] == left
    scene.server.delete_logs(rows)
    assert view.get_logs() == []
    with pytest.raises(rxflow.RunNotFound):
        view.get_latest()


def bad_answer_to_ids(new: New) -> None:
    """What cannot be read as task runs is an error that says so, and no TypeError."""
    scene = new()
    view = scene.view()
    scene.server.intercept = lambda request: (
        scene.refusal() if scene.noun(request) == "task_run" else None
    )
    with pytest.raises(rxflow.BadResponse):
        view.get_task_run_ids()


def empty_ids(new: New) -> None:
    """No ids now is no promise for later: the next question finds what has come since."""
    scene = new()
    scene.end()
    view = scene.view()
    assert view.get_task_run_ids() == []
    task_run = scene.add_task_run("PENDING")
    assert view.get_task_run_ids() == [task_run]


def anothers_task_run(new: New) -> None:
    """A task run of another flow run is refused, and then not among this one's."""
    scene = new()
    other = scene.add_task_run("COMPLETED", scene.add_run())
    view = scene.view()
    with pytest.raises(ValueError, match="belongs to flow run"):
        view.get_task_run(task_run_id=other)
    assert view.get_all_task_runs() == []


def many_task_runs(new: New) -> None:
    """There is no limit of 1,000 task runs, and none is left out where fewer come at once."""
    scene = new(limit=100)
    rows = {scene.add_task_run("PENDING", index=number) for number in range(1001)}
    assert {view.task_run_id for view in scene.view().get_all_task_runs()} == rows


def restarted_task_run(new: New) -> None:
    """A task run that failed and runs again is not Failed any more, whoever is asked."""
    scene = new()
    task_run = scene.add_task_run("FAILED")
    view = scene.view(load_static_tasks=True)
    assert view.get_task_run(scene.slug).state.is_failed()  # type: ignore[union-attr]
    scene.set_task_state(task_run, "RUNNING")
    for now in (view, view.get_latest(), view.get_latest().get_latest()):
        assert now.get_task_run(scene.slug).state.is_running()  # type: ignore[union-attr]
        assert now.get_task_run(task_run_id=task_run).state.is_running()  # type: ignore[union-attr]
        assert [found.state.name for found in now.get_all_task_runs() if found.state] == ["Running"]
    assert view.get_latest().task_runs == ()


def mapped_children(new: New) -> None:
    """The runs of a mapped task are read with pages of rows, and a gap does not end them."""
    scene = new(limit=10)
    indexes = [*range(12), *range(13, 25)]  # on Prefect 1; on Prefect 3 they count themselves
    if isinstance(scene, OnPrefect1):
        parent = scene.add_task_run("Mapped")
    rows = [scene.add_task_run("COMPLETED", index=index) for index in indexes]
    parent = parent if isinstance(scene, OnPrefect1) else rows[7]
    view = scene.view().get_task_run(task_run_id=parent)
    scene.asked.clear()
    children = list(view.iter_mapped())
    assert [child.task_run_id for child in children] == rows
    if isinstance(scene, OnPrefect1):
        assert [child.map_index for child in children] == indexes
    assert len(scene.asked) < len(rows) / 2


def results_of_some_children(new: New) -> None:
    """The results of a mapped task are those of all its children, or an error that says why not."""
    scene = new()
    assert isinstance(scene, OnPrefect1)  # Prefect 3 has no task run for all children
    parent = scene.add_task_run("Mapped")
    scene.server.set_task_state(parent, "Mapped", n_map_states=5)

    def add(index: int, folder: str) -> None:
        file = Path(folder, f"{index}")
        file.write_text(json.dumps(index))
        how = {"location": str(file), "serializer": {"type": "JSONSerializer"}}
        child = scene.add_task_run("RUNNING", index=index)
        scene.server.set_task_state(child, "Success", _result={"type": "LocalResult", **how})

    with tempfile.TemporaryDirectory() as folder:
        for index in (0, 1):
            add(index, folder)
        view = scene.view().get_task_run(scene.slug)
        with pytest.raises(ValueError, match="5"):
            view.get_result()
        for index in (4, 3, 2):
            add(index, folder)
        assert scene.view().get_task_run(scene.slug).get_result() == [0, 1, 2, 3, 4]


def changed_from_outside(new: New) -> None:
    """What a view gives can be changed, and the view stays as it is."""
    scene = new()
    scene.server.change_run(scene.run, parameters={"rows": [1]}, **{scene.tags: ["a"]})
    view = scene.view()
    view.parameters["rows"].append(2)
    assert view.parameters == {"rows": [1]}
    for shown in (view.labels, view.states, view.task_runs):
        assert isinstance(shown, tuple)
    assert view == FlowRunView.from_snapshot(view.snapshot)


def times_of_the_run(new: New) -> None:
    """The row's times are to be had."""
    scene = new(state=None)
    scene.server.change_run(scene.run, **{scene.due: NOON})
    scene.enter("SCHEDULED")
    waiting = scene.view().snapshot.run
    assert (waiting.expected_start_time, waiting.next_scheduled_start_time) == (NOON, NOON)
    scene.enter("RUNNING")
    scene.end()
    row = scene.view().snapshot.run
    assert row.expected_start_time == NOON
    assert row.start_time is not None
    assert row.end_time is not None
    assert row.start_time < row.end_time
