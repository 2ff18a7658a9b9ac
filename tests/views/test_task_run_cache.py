"""The task runs that a flow run view caches: finished ones, until they change."""

import json
from pathlib import Path

from server_scenes import Scene, Scene1, Scene3, stored_value
from twin_calls import Call


def test_a_finished_task_run_is_the_same_view_each_time(scene: Scene, call: Call) -> None:
    """The view of a finished task run is the same object until it changes, on later views too."""
    scene.add_task_run("load")
    view = scene.view()
    found = call(view, "get_task_run", scene.slug("load"))
    assert call(view, "get_task_run", scene.slug("load")) is found
    assert call(view, "get_all_task_runs") == [found]
    latest = call(view, "get_latest")
    assert call(latest, "get_task_run", scene.slug("load")) is found


def test_the_states_of_a_finished_task_run_are_read_once(scene3: Scene3, call: Call) -> None:
    """Cached states are not read again, on a later view neither."""
    scene3.add_task_run("load")
    view = scene3.view()
    call(view, "get_task_run", "load")
    for each in (view, call(view, "get_latest")):
        call(each, "get_task_run", "load")
    assert sum("/task_run_states" in path for _, path in scene3.server.requests) == 1


def test_a_map_index_is_counted_anew(scene3: Scene3, call: Call) -> None:
    """A finished task run gets another map index once its task has run again."""
    task, view = scene3.add_task_run("load"), scene3.view()
    assert call(view, "get_task_run", task_run_id=task).map_index == -1
    scene3.add_task_run("load")
    assert call(view, "get_task_run", task_run_id=task).map_index == 0


def test_a_retried_task_run_is_read_anew(scene: Scene, call: Call) -> None:
    """A task run that failed and runs again is Running for the view and for later ones."""
    task = scene.add_task_run("load", "FAILED")
    view = scene.view(load_static_tasks=True)
    assert call(view, "get_task_run", scene.slug("load")).state.is_failed()
    scene.set_task_state(task, "RUNNING")
    for now in (view, call(view, "get_latest")):
        assert call(now, "get_task_run", scene.slug("load")).state.is_running()
        assert call(now, "get_task_run", task_run_id=task).state.is_running()
        assert [each.state.name for each in call(now, "get_all_task_runs")] == ["Running"]
    assert call(view, "get_latest").task_runs == ()


def test_a_running_task_run_is_not_cached(scene: Scene, call: Call) -> None:
    """A running task run is a new view each time, in its present state."""
    task = scene.add_task_run("load", "RUNNING")
    view = scene.view()
    before = call(view, "get_task_run", scene.slug("load"))
    scene.set_task_state(task, "COMPLETED")
    after = call(view, "get_task_run", scene.slug("load"))
    assert before.state.is_running()
    assert after.state.is_successful()
    assert before != after


def test_a_missing_history_is_read_on_selection(scene3: Scene3, call: Call) -> None:
    """A task run that was read with all others and is then selected has all its states."""
    task = scene3.add_task_run("load", "RUNNING")
    scene3.set_task_state(task, "COMPLETED")
    view = scene3.view()
    (read_with_others,) = call(view, "get_all_task_runs")
    assert [state.name for state in read_with_others.states] == ["Completed"]
    assert [state.name for state in call(view, "get_task_run", "load").states] == [
        "Running",
        "Completed",
    ]


def test_a_result_on_prefect_3_is_not_carried_over_to_another_state(
    scene3: Scene3, call: Call, tmp_path: Path
) -> None:
    """A task run that ran again on Prefect 3 has the result of its last time."""

    def stored(result: int) -> dict[str, object]:
        path = tmp_path / str(result)
        path.write_text(json.dumps(result))
        return {"storage_key": str(path), "serializer": {"type": "json"}, "storage_block_id": None}

    task = scene3.add_task_run("load", "RUNNING")
    scene3.set_task_state(task, "COMPLETED", data=stored(1))
    view = scene3.view()
    assert call(call(view, "get_task_run", "load"), "get_result", directories=[tmp_path]) == 1
    scene3.set_task_state(task, "COMPLETED", data=stored(2))
    assert call(call(view, "get_task_run", "load"), "get_result", directories=[tmp_path]) == 2


def test_a_result_on_prefect_1_is_not_carried_over_to_another_state(
    scene1: Scene1, call: Call
) -> None:
    """A task run that ran again on Prefect 1 has the result of its last time."""
    task = scene1.add_task_run("load", "RUNNING")
    scene1.set_task_state(task, "COMPLETED", _result=stored_value("1"))
    view = scene1.view()
    assert call(call(view, "get_task_run", "load-1"), "get_result") == 1
    scene1.set_task_state(task, "RUNNING")
    scene1.set_task_state(task, "COMPLETED", _result=stored_value("2"))
    assert call(call(view, "get_task_run", "load-1"), "get_result") == 2
