"""Views of what a Prefect 1 server has of its own: slugs, map indexes, parents, configurations."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from server_scenes import Scene1
from twin_calls import TWINS, Call

import rxflow
from rxflow import FlowRunView, State, TaskRunView

NOON = datetime(2022, 11, 4, 12, tzinfo=UTC)
NOBODY = "00000000-0000-4000-8000-000000000000"


@pytest.fixture(params=TWINS)
def call(request: pytest.FixtureRequest) -> Call:
    """Call a method, or its twin."""
    return TWINS[request.param]


@pytest.fixture
def scene() -> Scene1:
    """Begin."""
    return Scene1()


# -- flow runs ----------------------------------------------------------------------------------


def test_what_the_run_was_told_is_shown(scene: Scene1, call: Call) -> None:
    """Labels, context and configuration are the row's; what is missing is None or empty."""
    config = {"type": "DockerRun", "env": {"A": "1"}, "labels": ["vm"]}
    scene.server.change_run(scene.run, labels=["b", "a"], context={"x": 1}, run_config=config)
    view = call(FlowRunView, "from_flow_run_id", scene.run, client=scene.client)
    assert (view.labels, view.context, view.run_config) == (("b", "a"), {"x": 1}, config)
    assert view.flow_id == scene.flow()["id"]
    nothing = dict.fromkeys(("name", "labels", "parameters", "context", "run_config"))
    scene.server.change_run(scene.run, **nothing)
    view = call(view, "get_latest")
    assert (view.name, view.labels, view.parameters, view.context) == ("", (), {}, {})
    assert view.run_config is None


def test_the_configuration_does_not_reach_into_the_view(scene: Scene1) -> None:
    """Whoever changes what a view gave changes nothing of the view."""
    view = scene.view()
    view.run_config["type"] = "other"
    view.snapshot.run.run_config.clear()  # type: ignore[union-attr]
    assert view == scene.view()
    assert view.run_config["type"] == "LocalRun"


def test_states_of_one_time_are_in_the_servers_order(scene: Scene1, call: Call) -> None:
    """States that were set in one instant come as the server counted them."""
    kinds = ["Submitted", "Queued", "Running", "Cancelling", "Cancelled"]
    for kind in kinds:
        scene.server.set_state(scene.run, kind, timestamp=NOON)
    view = call(FlowRunView, "from_flow_run_id", scene.run, client=scene.client)
    assert [state.name for state in view.states if state.timestamp == NOON] == kinds
    assert [state.version for state in view.states] == [*range(2, 7), 1]


def test_a_state_keeps_its_class(scene: Scene1) -> None:
    """What was a state's class is its name, and the predicates answer as in Prefect 1."""
    scene.server.set_state(scene.run, "TimedOut", "Flow timed out.")
    state = scene.view().state
    assert state is not None
    assert (state.name, state.message) == ("TimedOut", "Flow timed out.")
    assert (state.is_failed(), state.is_finished(), state.is_successful()) == (True, True, False)


def test_more_than_a_thousand_task_runs_are_read() -> None:
    """Nothing is refused, and where the server gives fewer rows than it has, none is left out."""
    scene = Scene1()
    scene.server.row_limit = 400
    scene.parent("load", 1100)
    tasks = [scene.task("load", map_index=index) for index in range(1100)]
    view = scene.view()
    assert view.get_task_run_ids()[1:] == tasks
    assert [each.map_index for each in view.get_all_task_runs()] == [*range(-1, 1100)]


# -- one task run -------------------------------------------------------------------------------


def test_a_task_run_is_found_by_slug_and_map_index(scene: Scene1, call: Call) -> None:
    """Indexes are the server's, whenever a child was created; without one the parent is meant."""
    parent = scene.parent("load", 3)
    children = {index: scene.task("load", map_index=index) for index in (2, 0, 1)}
    scene.task("other")
    view = scene.view()
    for index in (None, -1):
        found = call(view, "get_task_run", "load-1", map_index=index)
        assert (found.task_run_id, found.map_index) == (parent, -1)
    for index, child in children.items():
        found = call(view, "get_task_run", "load-1", map_index=index)
        assert (found.task_run_id, found.map_index) == (child, index)
        by_slug = call(
            TaskRunView, "from_task_slug", "load-1", scene.run, index, client=scene.client
        )
        assert by_slug == found
    with pytest.raises(
        rxflow.TaskRunNotFound, match=rf"map index 7.*-1: .*{parent}.* 0: .* 1: .* 2: "
    ):
        call(view, "get_task_run", "load-1", map_index=7)


def test_the_only_run_of_a_task_has_no_map_index_0(scene: Scene1, call: Call) -> None:
    """Prefect 1 knows whether a task was mapped, so -1 is not 0."""
    task = scene.task("load")
    assert call(scene.view(), "get_task_run", "load-1").task_run_id == task
    with pytest.raises(ValueError, match="map index 0"):
        call(scene.view(), "get_task_run", "load-1", map_index=0)
    with pytest.raises(ValueError, match="has the map index -1, not 0"):
        call(scene.view(), "get_task_run", task_run_id=task, map_index=0)


def test_a_slug_is_taken_whole(scene: Scene1, call: Call) -> None:
    """A task's name is no slug, and the message lists the slugs of the run."""
    scene.task("load")
    with pytest.raises(ValueError, match=r"no task run of 'load'; it has runs of: load-1$"):
        call(scene.view(), "get_task_run", "load")
    with pytest.raises(ValueError, match="is a run of 'load-1', not of 'load'"):
        call(scene.view(), "get_task_run", "load", scene.view().get_task_run_ids()[0])


def test_one_of_many_is_found_without_reading_all(scene: Scene1, call: Call) -> None:
    """The server is asked for the task alone, and for the one task run."""
    for number in range(20):
        scene.task(f"task{number}")
    view, before = scene.view(), len(scene.server.requests)
    task = call(view, "get_task_run", "task7-1")
    assert len(scene.server.requests) - before == 2
    call(view, "get_task_run", task_run_id=task.task_run_id)
    assert len(scene.server.requests) - before == 3


@pytest.mark.parametrize("map_index", [-1, 5])
def test_one_of_many_children_is_asked_for_by_its_number(scene: Scene1, map_index: int) -> None:
    """A mapped task may have a thousand children: the parent, or one of them, is one row."""
    for index in range(-1, 500):
        scene.server.add_task_run(scene.run, slug="load-1", map_index=index, state="Success")
    view = scene.view()
    scene.server.requests.clear()
    assert view.get_task_run("load-1", map_index=map_index).map_index == map_index
    assert len(scene.server.requests) < 500 / 200


def test_a_task_run_shows_its_task_and_its_last_state(scene: Scene1, call: Call) -> None:
    """The task's id and slug are the server's; of the states it tells the last one."""
    task = scene.task("load", "RUNNING", name="load-17")
    scene.set_task(task, "FAILED")
    view = call(TaskRunView, "from_task_run_id", task, client=scene.client)
    row = scene.server.task_runs[task]
    assert (view.task_id, view.task_slug, view.name) == (row["task_id"], "load-1", "load-17")
    assert [state.name for state in view.states] == ["Failed"]
    assert view.states == (view.state,)
    assert (view.start_time, view.end_time) == (row["start_time"], row["end_time"])
    assert call(view, "get_latest") == view


def test_a_task_run_without_a_state_has_none(scene: Scene1, call: Call) -> None:
    """A child that was created and not begun has no state, and none is made up."""
    task = scene.server.add_task_run(scene.run, state=None)
    view = call(TaskRunView, "from_task_run_id", task, client=scene.client)
    assert (view.state, view.states) == (None, ())


def test_the_log_is_that_of_the_task_run(scene: Scene1, call: Call) -> None:
    """Lines of the flow and of other task runs are left out, page after page."""
    task, other = scene.task("load"), scene.task("other")
    for number in range(12):
        scene.line(str(number), NOON + timedelta(seconds=number), (task, other, None)[number % 3])
    view = scene.task_view(task)
    assert [line.message for line in call(view, "get_logs")] == ["0", "3", "6", "9"]
    bounds = (NOON, NOON + timedelta(seconds=6))
    assert [line.message for line in call(view, "get_logs", *bounds)] == ["3", "6"]


# -- parents and children -----------------------------------------------------------------------


def test_the_parent_leads_to_its_children(scene: Scene1, call: Call) -> None:
    """All children come by map index, over more than a page, and a gap is no end."""
    parent = scene.parent("load", 6)
    tasks = {index: scene.task("load", map_index=index) for index in (5, 0, 3)}
    scene.task("other", map_index=1)
    found = call(scene.task_view(parent), "iter_mapped")
    assert [(each.map_index, each.task_run_id) for each in found] == sorted(tasks.items())


def test_children_are_asked_for_together(scene: Scene1, call: Call) -> None:
    """However many fit on a page, they are one question, and one more whether that is all."""
    scene.server.row_limit = None
    scene.task("other")  # while a list has all rows of its table, nobody can know
    parent = scene.parent("load", 150)
    for index in range(150):
        scene.task("load", map_index=index)
    view = scene.task_view(parent)
    assert len(call(view, "iter_mapped")) == 150
    before = len(scene.server.requests)
    assert len(call(view, "iter_mapped")) == 150
    assert len(scene.server.requests) - before <= 2


@pytest.mark.parametrize("mapped", [False, True])
def test_only_a_parent_has_children(scene: Scene1, call: Call, *, mapped: bool) -> None:
    """A task run that is not mapped, or is a child, gives a TypeError."""
    scene.parent("load", 2)
    task = scene.task("load", map_index=1) if mapped else scene.task("other")
    with pytest.raises(TypeError):
        call(scene.task_view(task), "iter_mapped")


def test_a_parent_may_have_no_children_yet(scene: Scene1, call: Call) -> None:
    """A mapped task run whose children were not created leads to none."""
    assert call(scene.task_view(scene.parent("load", 2)), "iter_mapped") == []


def test_static_task_runs_are_those_that_the_flow_has(scene: Scene1, call: Call) -> None:
    """`load_static_tasks` leaves out children; finished ones that were known are handed on."""
    parent, other = scene.parent("load", 1), scene.task("other")
    child = scene.task("load", map_index=0)
    view = call(FlowRunView, "from_flow_run_id", scene.run, True, client=scene.client)
    assert [row.id for row in view.task_runs] == [parent, other]
    known = view.get_task_run("load-1", map_index=0)
    by_hand = FlowRunView(
        scene.run, "", None, [], {}, {}, None, [], NOON, None, [known], client=scene.client
    )
    for static in (False, True):
        rows = call(by_hand, "get_latest", static).task_runs
        assert [row.id for row in rows] == ([parent, other, child] if static else [child])


# -- by hand ------------------------------------------------------------------------------------


def test_a_view_made_by_hand_asks_the_server(scene: Scene1, call: Call) -> None:
    """A view that knows its parent's state and slug finds the children."""
    parent = scene.parent("load", 2)
    children = [scene.child("load", index, str(index)) for index in range(2)]
    state = State(id="s", type="COMPLETED", name="Mapped", timestamp=NOON, version=1)
    given: tuple[Any, ...] = (parent, "task", "load-1", "load", state, -1, scene.run)
    view = TaskRunView(*given, client=scene.client)
    assert view.task_id == "task"
    assert [each.task_run_id for each in call(view, "iter_mapped")] == children
    assert call(view, "get_result") == [0, 1]
    with pytest.raises(rxflow.TaskRunNotFound):
        call(TaskRunView(NOBODY, *given[1:], client=scene.client), "get_result")
