"""Selecting a task run of a flow run: by its id, by the slug of its task, by a map index."""

from typing import Any

import pytest
from server_scenes import Scene, Scene1, Scene3
from twin_calls import Call

import rxflow
from rxflow import TaskRunView

UNKNOWN_ID = "00000000-0000-4000-8000-000000000000"

# Budgets: the most requests that one selection may send.
BY_SLUG_BUDGET = 2
BY_ID_BUDGET = 1
CHILD_BUDGET = 2  # of 500 children; reading all of them takes three requests


# -- on both servers ----------------------------------------------------------------------------


def test_an_unknown_slug_is_a_value_error_that_lists_the_tasks(scene: Scene, call: Call) -> None:
    """The error of a mistyped slug lists the slugs that exist."""
    scene.add_task_run("load")
    with pytest.raises(ValueError, match=rf"'laod'.*{scene.slug('load')}"):
        call(scene.view(), "get_task_run", "laod")


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({}, ValueError),
        ({"map_index": 0}, ValueError),
        ({"task_run_id": 17}, TypeError),
        ({"task_run_id": "no uuid"}, ValueError),
        ({"task_run_id": UNKNOWN_ID}, ValueError),
    ],
)
def test_an_invalid_selection_is_an_error_of_prefect_1s_type(
    scene: Scene, call: Call, given: dict[str, Any], error: type[Exception]
) -> None:
    """A selection by nothing, by a malformed or by an unknown id raises the type that 1.4.1 did."""
    with pytest.raises(error):
        call(scene.view(), "get_task_run", **given)


def test_a_task_run_of_another_flow_run_is_not_found(scene: Scene, call: Call) -> None:
    """A task run of another flow run is neither found by its id nor among all task runs."""
    other = scene.add_task_run("load", run=scene.add_stateless_run())
    view = scene.view()
    with pytest.raises(ValueError, match="belongs to flow run"):
        call(view, "get_task_run", task_run_id=other)
    assert call(view, "get_all_task_runs") == []


# -- on Prefect 3 -------------------------------------------------------------------------------


def test_a_slug_is_the_task_key_with_or_without_its_hash(scene3: Scene3, call: Call) -> None:
    """Both names of a task find its run."""
    task = scene3.add_task_run("load")
    view = scene3.view()
    for slug in ("load-0489fc40", "load"):
        found = call(view, "get_task_run", slug)
        assert (found.task_run_id, found.map_index) == (task, -1)
        assert found.task_slug == "load-0489fc40"


def test_a_slug_and_a_map_index_must_match_the_id(scene3: Scene3, call: Call) -> None:
    """An id finds the task run, and a slug or map index given with it must match."""
    first, second = scene3.add_task_run("load"), scene3.add_task_run("load")
    view = scene3.view()
    assert call(view, "get_task_run", task_run_id=first).map_index == 0
    assert call(view, "get_task_run", "load", second, 1).task_run_id == second
    with pytest.raises(rxflow.TaskRunNotFound, match="is a run of 'load-0489fc40', not of 'other'"):
        call(view, "get_task_run", "other", first)
    with pytest.raises(rxflow.TaskRunNotFound, match="has the map index 0, not 1"):
        call(view, "get_task_run", "load", first, 1)


def test_a_map_index_counts_the_runs_of_a_key_by_creation(scene3: Scene3, call: Call) -> None:
    """Index 2 is the third run of the task by creation, over all pages and among other tasks."""
    tasks = []
    for number in range(5):
        tasks.append(scene3.add_task_run("load", dynamic_key=f"{9 - number}"))
        scene3.add_task_run("other")
    view = scene3.view()
    found = [call(view, "get_task_run", "load", map_index=index) for index in range(5)]
    assert [each.task_run_id for each in found] == tasks
    assert [each.map_index for each in found] == list(range(5))


def test_the_only_run_of_a_task_has_map_index_minus_one_and_zero(
    scene3: Scene3, call: Call
) -> None:
    """A task that was mapped over one item looks like an unmapped one, so 0 finds its run too."""
    task = scene3.add_task_run("load")
    for index in (None, -1, 0):
        assert call(scene3.view(), "get_task_run", "load", map_index=index).task_run_id == task
    with pytest.raises(rxflow.TaskRunNotFound, match="map index 1"):
        call(scene3.view(), "get_task_run", "load", map_index=1)


@pytest.mark.parametrize("index", [None, -1, 2, -2])
def test_the_error_lists_the_runs_of_a_task(scene3: Scene3, call: Call, index: int | None) -> None:
    """If a map index is missing or matches none, the error lists the runs by map index."""
    tasks = [scene3.add_task_run("load", name=f"load-{number}") for number in range(2)]
    with pytest.raises(ValueError, match="by map index") as error:
        call(scene3.view(), "get_task_run", "load", map_index=index)
    for number, task in enumerate(tasks):
        assert f"{number}: load-{number} ({task})" in str(error.value)


def test_a_key_without_hash_that_matches_two_tasks_is_an_error(scene3: Scene3, call: Call) -> None:
    """Two tasks of one name are only distinguished by their hashes."""
    one = scene3.add_task_run("load")
    scene3.server.add_task_run(scene3.run, task_key="load-11111111")
    with pytest.raises(rxflow.TaskRunNotFound, match="load-0489fc40, load-11111111"):
        call(scene3.view(), "get_task_run", "load")
    assert call(scene3.view(), "get_task_run", "load-0489fc40").task_run_id == one


def test_a_selected_task_run_has_all_its_states(scene3: Scene3, call: Call) -> None:
    """A task run that is read by itself has all its states, in order."""
    task = scene3.add_task_run("load", "PENDING")
    for state, name in (("RUNNING", None), ("SCHEDULED", "AwaitingRetry"), ("RUNNING", "Retrying")):
        scene3.server.set_task_state(scene3.run, task, state, name)
    found = call(scene3.view(), "get_task_run", "load")
    assert [state.name for state in found.states] == [
        "Pending",
        "Running",
        "AwaitingRetry",
        "Retrying",
    ]
    assert found.states[-1] == found.state
    assert found.start_time is not None
    assert found.end_time is None


# -- on Prefect 1 -------------------------------------------------------------------------------


def test_map_indexes_are_the_servers(scene1: Scene1, call: Call) -> None:
    """Children have the server's map indexes, and no index selects the parent."""
    parent = scene1.add_mapped_parent("load", 3)
    children = {index: scene1.add_task_run("load", map_index=index) for index in (2, 0, 1)}
    scene1.add_task_run("other")
    view = scene1.view()
    for index in (None, -1):
        found = call(view, "get_task_run", "load-1", map_index=index)
        assert (found.task_run_id, found.map_index) == (parent, -1)
    for index, child in children.items():
        found = call(view, "get_task_run", "load-1", map_index=index)
        assert (found.task_run_id, found.map_index) == (child, index)
        by_slug = call(
            TaskRunView, "from_task_slug", "load-1", scene1.run, index, client=scene1.client
        )
        assert by_slug == found
    with pytest.raises(
        rxflow.TaskRunNotFound, match=rf"map index 7.*-1: .*{parent}.* 0: .* 1: .* 2: "
    ):
        call(view, "get_task_run", "load-1", map_index=7)


def test_the_only_run_of_a_task_has_no_map_index_0(scene1: Scene1, call: Call) -> None:
    """Prefect 1 knows whether a task was mapped, so -1 is not 0."""
    task = scene1.add_task_run("load")
    assert call(scene1.view(), "get_task_run", "load-1").task_run_id == task
    with pytest.raises(ValueError, match="map index 0"):
        call(scene1.view(), "get_task_run", "load-1", map_index=0)
    with pytest.raises(ValueError, match="has the map index -1, not 0"):
        call(scene1.view(), "get_task_run", task_run_id=task, map_index=0)


def test_a_tasks_name_is_not_its_slug(scene1: Scene1, call: Call) -> None:
    """A task's name does not select its run, and the error lists the slugs."""
    scene1.add_task_run("load")
    with pytest.raises(ValueError, match=r"no task run of 'load'; it has runs of: load-1$"):
        call(scene1.view(), "get_task_run", "load")
    with pytest.raises(ValueError, match="is a run of 'load-1', not of 'load'"):
        call(scene1.view(), "get_task_run", "load", scene1.view().get_task_run_ids()[0])


def test_one_of_many_task_runs_is_read_alone(scene1: Scene1, call: Call) -> None:
    """A selection reads the runs of its task, or the one task run, and not all."""
    for number in range(20):
        scene1.add_task_run(f"task{number}")
    view, before = scene1.view(), len(scene1.server.requests)
    task = call(view, "get_task_run", "task7-1")
    assert len(scene1.server.requests) - before == BY_SLUG_BUDGET
    call(view, "get_task_run", task_run_id=task.task_run_id)
    assert len(scene1.server.requests) - before == BY_SLUG_BUDGET + BY_ID_BUDGET


@pytest.mark.parametrize("map_index", [-1, 5])
def test_one_of_many_children_is_read_by_its_map_index(scene1: Scene1, map_index: int) -> None:
    """The parent or one child of 500 is read without the others."""
    for index in range(-1, 500):
        scene1.server.add_task_run(scene1.run, slug="load-1", map_index=index, state="Success")
    view = scene1.view()
    scene1.server.requests.clear()
    assert view.get_task_run("load-1", map_index=map_index).map_index == map_index
    assert len(scene1.server.requests) <= CHILD_BUDGET
