"""`TaskRunView`: where it is read from, what it shows, and the mapped runs of its task.

Results are in `test_result_files.py` and `test_result_lookups.py`, log lines in
`test_log_selection.py`.
"""

from datetime import UTC, datetime
from typing import Any

import pytest
from server_scenes import Scene1, Scene3
from twin_calls import Call

import rxflow
from rxflow import State, TaskRunView

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
UNKNOWN_ID = "00000000-0000-4000-8000-000000000000"

# Budget: the most requests that reading 150 mapped runs may send once the row limit is known.
MAPPED_BUDGET = 2


# -- reading ------------------------------------------------------------------------------------


def test_a_task_run_is_found_by_id_and_by_slug(scene3: Scene3, call: Call) -> None:
    """Views by id and by slug are equal, and show the task run with all its states."""
    task = scene3.add_task_run("load", "RUNNING")
    scene3.set_task_state(task, "COMPLETED")
    by_id = call(TaskRunView, "from_task_run_id", task.upper(), client=scene3.client)
    by_slug = call(TaskRunView, "from_task_slug", "load", scene3.run, client=scene3.client)
    assert by_id == by_slug
    assert hash(by_id) == hash(by_slug)
    assert (by_id.task_run_id, by_id.flow_run_id, by_id.task_id) == (task, scene3.run, None)
    assert (by_id.task_slug, by_id.map_index) == (scene3.slug("load"), -1)
    assert by_id.name == f"task-{task[-3:]}"
    assert [state.name for state in by_id.states] == ["Running", "Completed"]
    assert by_id.end_time == by_id.state.timestamp
    assert (by_id.id, by_id.tags) == (task, by_id.task_run.tags)
    assert by_id.duration == by_id.end_time - by_id.start_time


@pytest.mark.parametrize(
    ("given", "error"),
    [(17, TypeError), (None, TypeError), ("x", ValueError), (UNKNOWN_ID, ValueError)],
)
def test_an_invalid_id_is_an_error(
    scene3: Scene3, call: Call, given: Any, error: type[Exception]
) -> None:
    """An id that is not a string is a TypeError, a malformed or unknown one a ValueError."""
    with pytest.raises(error):
        call(TaskRunView, "from_task_run_id", given, client=scene3.client)


def test_a_malformed_flow_run_id_is_an_error(scene3: Scene3, call: Call) -> None:
    """A slug needs the id of a flow run, which must be a UUID."""
    with pytest.raises(rxflow.InvalidRunId):
        call(TaskRunView, "from_task_slug", "load", "x", client=scene3.client)


def test_a_task_run_without_a_flow_run_is_found(scene3: Scene3, call: Call) -> None:
    """A task that was called outside of flows has a view, but no log and no mapped runs."""
    task = scene3.add_task_run("load")
    scene3.server.task_runs[task]["flow_run_id"] = None
    view = call(TaskRunView, "from_task_run_id", task, client=scene3.client)
    assert view.flow_run_id is None
    with pytest.raises(ValueError, match="belongs to no flow run"):
        call(view, "get_logs")
    with pytest.raises(TypeError):
        call(view, "iter_mapped")


def test_a_row_may_be_stored_before_its_state(scene3: Scene3, call: Call) -> None:
    """A row whose state is not stored yet is shown without one."""
    task = scene3.add_task_run("load")
    scene3.server.task_runs[task]["state"] = None
    view = call(TaskRunView, "from_task_run_id", task, client=scene3.client)
    assert view.state is None
    with pytest.raises(rxflow.ResultUnavailable, match="no state"):
        call(view, "get_result")


def test_the_latest_is_a_new_view(scene3: Scene3, call: Call) -> None:
    """`get_latest` leaves the view as it was."""
    task = scene3.add_task_run("load", "RUNNING")
    view = scene3.task_run_view(task)
    scene3.set_task_state(task, "COMPLETED")
    latest = call(view, "get_latest")
    assert (view.state and view.state.name, latest.state.name) == ("Running", "Completed")
    assert view != latest


def test_a_task_run_shows_its_task_and_its_last_state(scene1: Scene1, call: Call) -> None:
    """On Prefect 1 the task's id and slug are the server's, and all states are read."""
    task = scene1.add_task_run("load", "RUNNING", name="load-17")
    scene1.set_task_state(task, "FAILED")
    view = call(TaskRunView, "from_task_run_id", task, client=scene1.client)
    row = scene1.server.task_runs[task]
    assert (view.task_id, view.task_slug, view.name) == (row["task_id"], "load-1", "load-17")
    assert [state.name for state in view.states] == ["Running", "Failed"]
    assert view.states[-1] == view.state
    assert (view.start_time, view.end_time) == (row["start_time"], row["end_time"])
    assert call(view, "get_latest") == view


def test_a_task_run_without_a_state_has_none(scene1: Scene1, call: Call) -> None:
    """A child that was created and has not started has no state."""
    task = scene1.server.add_task_run(scene1.run, state=None)
    view = call(TaskRunView, "from_task_run_id", task, client=scene1.client)
    assert (view.state, view.states) == (None, ())


# -- views made by hand -------------------------------------------------------------------------


def test_a_view_can_be_made_by_hand() -> None:
    """The constructor has the arguments of 1.4.1, in the same order."""
    state = State(id="s", type="Success", name="Success", timestamp=NOON)
    view = TaskRunView(UNKNOWN_ID, "task", "load", "load-0", state, 3, None)
    assert (view.task_run_id, view.task_id, view.task_slug) == (UNKNOWN_ID, "task", "load")
    assert (view.name, view.state, view.map_index) == ("load-0", state, 3)
    assert view.states == (state,)
    assert TaskRunView(UNKNOWN_ID, None, "load", "load-0", None, -1, None).states == ()
    assert view != "a view"
    assert repr(view) == f"<TaskRunView {UNKNOWN_ID} name='load-0' state='Success'>"


def test_a_view_made_by_hand_reads_from_the_server(scene1: Scene1, call: Call) -> None:
    """A view with its parent's state and slug finds the children."""
    parent = scene1.add_mapped_parent("load", 2)
    children = [scene1.add_mapped_child("load", index, str(index)) for index in range(2)]
    state = State(id="s", type="COMPLETED", name="Mapped", timestamp=NOON, version=1)
    arguments: tuple[Any, ...] = (parent, "task", "load-1", "load", state, -1, scene1.run)
    view = TaskRunView(*arguments, client=scene1.client)
    assert view.task_id == "task"
    assert [each.task_run_id for each in call(view, "iter_mapped")] == children
    assert call(view, "get_result") == [0, 1]
    with pytest.raises(rxflow.TaskRunNotFound):
        call(TaskRunView(UNKNOWN_ID, *arguments[1:], client=scene1.client), "get_result")


ATTRIBUTES = [name for name in dir(TaskRunView) if isinstance(getattr(TaskRunView, name), property)]


@pytest.mark.parametrize("name", [*ATTRIBUTES, "anything"])
def test_no_attribute_of_a_view_can_be_set(scene3: Scene3, name: str) -> None:
    """Neither an existing attribute nor a new one can be assigned."""
    with pytest.raises(AttributeError):
        setattr(scene3.task_run_view(scene3.add_task_run("load")), name, None)


# -- mapped runs --------------------------------------------------------------------------------


def test_any_run_of_a_task_has_its_mapped_runs(scene3: Scene3, call: Call) -> None:
    """On Prefect 3 any run of a task gives all of them by map index, over many pages."""
    tasks = [scene3.add_task_run("load") for _ in range(5)]
    scene3.add_task_run("other")
    found = call(scene3.task_run_view(tasks[3]), "iter_mapped")
    assert [view.task_run_id for view in found] == tasks
    assert [view.map_index for view in found] == list(range(5))


def test_the_only_run_of_a_task_has_no_mapped_runs(scene3: Scene3, call: Call) -> None:
    """`iter_mapped` of an unmapped task run is a TypeError."""
    with pytest.raises(TypeError, match="the only run"):
        call(scene3.task_run_view(scene3.add_task_run("load")), "iter_mapped")


def test_a_parent_has_its_children_by_map_index(scene1: Scene1, call: Call) -> None:
    """On Prefect 1 a parent gives all its children, over many pages and past a missing index."""
    parent = scene1.add_mapped_parent("load", 6)
    tasks = {index: scene1.add_task_run("load", map_index=index) for index in (5, 0, 3)}
    scene1.add_task_run("other", map_index=1)
    found = call(scene1.task_run_view(parent), "iter_mapped")
    assert [(each.map_index, each.task_run_id) for each in found] == sorted(tasks.items())


def test_children_are_read_together(scene1: Scene1, call: Call) -> None:
    """Children that fit on a page are one request, and one more to verify that those are all."""
    scene1.server.row_limit = None
    # A list with all rows of its table does not show whether the server has a row limit.
    scene1.add_task_run("other")
    parent = scene1.add_mapped_parent("load", 150)
    for index in range(150):
        scene1.add_task_run("load", map_index=index)
    view = scene1.task_run_view(parent)
    assert len(call(view, "iter_mapped")) == 150
    before = len(scene1.server.requests)
    assert len(call(view, "iter_mapped")) == 150
    assert len(scene1.server.requests) - before <= MAPPED_BUDGET


@pytest.mark.parametrize("mapped", [False, True])
def test_only_a_parent_has_children(scene1: Scene1, call: Call, *, mapped: bool) -> None:
    """On Prefect 1 `iter_mapped` of an unmapped task run, or of a child, is a TypeError."""
    scene1.add_mapped_parent("load", 2)
    task = scene1.add_task_run("load", map_index=1) if mapped else scene1.add_task_run("other")
    with pytest.raises(TypeError):
        call(scene1.task_run_view(task), "iter_mapped")


def test_a_parent_may_have_no_children_yet(scene1: Scene1, call: Call) -> None:
    """A mapped task run whose children do not exist yet gives none."""
    assert call(scene1.task_run_view(scene1.add_mapped_parent("load", 2)), "iter_mapped") == []
