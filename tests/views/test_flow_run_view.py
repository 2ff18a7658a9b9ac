"""`FlowRunView`: the run that it shows, its task runs, its flow, and that it never changes.

Where the servers agree the tests run on both. The selection of a task run is in
`test_task_run_selector.py`, log lines are in `test_log_selection.py`.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from server_scenes import Scene, Scene1, Scene3
from twin_calls import Call
from virtual_world import World

import rxflow
from rxflow import FlowRunView, Snapshot, State, TaskRun

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
UNKNOWN_ID = "00000000-0000-4000-8000-000000000000"


# -- the run ------------------------------------------------------------------------------------


def test_a_view_shows_the_run(scene: Scene, call: Call) -> None:
    """Name, labels, parameters and states are the run's, with more states than a page holds."""
    entered = [scene.set_state(state) for state in ("SCHEDULED", "RUNNING", "FAILED", "RUNNING")]
    view = call(FlowRunView, "from_flow_run_id", scene.run, client=scene.client)
    assert (view.flow_run_id, view.name, view.labels) == (scene.run, "nightly", ("prod",))
    assert view.parameters == {"rows": [1, {"deep": 2}]}
    assert view.context == {}
    assert [state.id for state in view.states[-4:]] == entered
    assert view.state == view.states[-1]
    assert view == call(view, "get_latest")


def test_a_view_has_the_names_and_times_that_prefect_has(scene: Scene, call: Call) -> None:
    """`id` and `tags` are there beside Prefect 1's names; times are None until they are known."""
    for state in ("SCHEDULED", "RUNNING"):
        scene.set_state(state)
    view = call(FlowRunView, "from_flow_run_id", scene.run, client=scene.client)
    assert (view.id, view.tags) == (view.flow_run_id, view.labels)
    assert view.start_time == view.snapshot.run.start_time
    assert view.start_time is not None
    assert (view.end_time, view.duration) == (None, None)
    scene.set_state("COMPLETED")
    view = call(view, "get_latest")
    assert view.end_time == view.snapshot.run.end_time
    assert view.end_time is not None
    assert view.duration == view.end_time - view.start_time


def test_a_run_without_a_state_has_none(scene: Scene, call: Call) -> None:
    """A run that has no state yet is shown without one."""
    run = scene.add_stateless_run()
    view = call(FlowRunView, "from_flow_run_id", run, client=scene.client)
    assert (view.state, view.states) == (None, ())
    assert "state=None" in repr(view)
    assert "none yet" in view._repr_html_()


def test_a_missing_value_is_none_or_empty(scene1: Scene1, call: Call) -> None:
    """Labels, context and configuration are the row's; a null is shown as None or empty."""
    config = {"type": "DockerRun", "env": {"A": "1"}, "labels": ["vm"]}
    scene1.server.change_run(scene1.run, labels=["b", "a"], context={"x": 1}, run_config=config)
    view = call(FlowRunView, "from_flow_run_id", scene1.run, client=scene1.client)
    assert (view.labels, view.context, view.run_config) == (("b", "a"), {"x": 1}, config)
    assert view.flow_id == scene1.flow_row()["id"]
    nulls = dict.fromkeys(("name", "labels", "parameters", "context", "run_config"))
    scene1.server.change_run(scene1.run, **nulls)
    view = call(view, "get_latest")
    assert (view.name, view.labels, view.parameters, view.context) == ("", (), {}, {})
    assert view.run_config is None


def test_states_of_one_time_are_in_the_servers_order(scene1: Scene1, call: Call) -> None:
    """States that were set in one instant are in the order in which the server counted them."""
    kinds = ["Submitted", "Queued", "Running", "Cancelling", "Cancelled"]
    for kind in kinds:
        scene1.server.set_state(scene1.run, kind, timestamp=NOON)
    view = call(FlowRunView, "from_flow_run_id", scene1.run, client=scene1.client)
    assert [state.name for state in view.states if state.timestamp == NOON] == kinds
    assert [state.version for state in view.states] == [*range(2, 7), 1]


def test_a_state_has_the_name_of_its_class(scene1: Scene1) -> None:
    """The class of a Prefect 1 state is its name, and its predicates are those of Prefect 1."""
    scene1.server.set_state(scene1.run, "TimedOut", "Flow timed out.")
    state = scene1.view().state
    assert state is not None
    assert (state.name, state.message) == ("TimedOut", "Flow timed out.")
    assert (state.is_failed(), state.is_finished(), state.is_successful()) == (True, True, False)


def test_an_unknown_run_is_not_found(call: Call, world: World) -> None:
    """A run that the server does not have is a RunNotFound, which is a ValueError."""
    with pytest.raises(rxflow.RunNotFound) as caught:
        call(FlowRunView, "from_flow_run_id", UNKNOWN_ID, client=world.client)
    assert isinstance(caught.value, ValueError)


def test_a_deleted_run_has_no_latest_view(call: Call, world: World, finished_run: str) -> None:
    """The latest view of a run that was deleted is a RunNotFound."""
    view = call(FlowRunView, "from_flow_run_id", finished_run, client=world.client)
    world.server.delete_run(finished_run)
    with pytest.raises(rxflow.RunNotFound):
        call(view, "get_latest")


def test_a_malformed_id_is_refused_before_any_request(call: Call, world: World) -> None:
    """An id that is not a UUID is an InvalidRunId, and no request is sent."""
    with pytest.raises(rxflow.InvalidRunId):
        call(FlowRunView, "from_flow_run_id", "no-id", client=world.client)
    assert world.server.requests == []


# -- task runs ----------------------------------------------------------------------------------


def test_all_task_runs_are_read_by_creation(scene: Scene, call: Call) -> None:
    """All task runs and their ids are read over many pages, by creation."""
    tasks = [scene.add_task_run(f"task{number}") for number in range(10)]
    view = scene.view()
    found = call(view, "get_all_task_runs")
    assert [each.task_run_id for each in found] == tasks
    assert call(view, "get_task_run_ids") == tasks


def test_each_run_of_a_task_has_the_next_map_index(scene3: Scene3, call: Call) -> None:
    """The map index counts the runs of each task over all pages."""
    for number in range(10):
        scene3.add_task_run(f"task{number % 3}")
    found = call(scene3.view(), "get_all_task_runs")
    assert [each.map_index for each in found] == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3]


def test_more_than_a_thousand_task_runs_are_read(scene1: Scene1) -> None:
    """A thousand task runs are read completely, although the server returns fewer rows at once."""
    scene1.server.row_limit = 400
    scene1.add_mapped_parent("load", 1100)
    tasks = [scene1.add_task_run("load", map_index=index) for index in range(1100)]
    view = scene1.view()
    assert view.get_task_run_ids()[1:] == tasks
    assert [each.map_index for each in view.get_all_task_runs()] == [*range(-1, 1100)]


def test_a_run_without_task_runs_has_none(scene: Scene, call: Call) -> None:
    """Without task runs the lists are empty."""
    assert call(scene.view(), "get_all_task_runs") == []
    assert call(scene.view(), "get_task_run_ids") == []


def test_a_malformed_row_is_an_error(scene3: Scene3, call: Call) -> None:
    """All task runs are an error if one row is malformed; its id is still among the ids."""
    task = scene3.add_task_run("load")
    scene3.server.task_runs[task]["task_key"] = None
    with pytest.raises(rxflow.BadResponse, match=task):
        call(scene3.view(), "get_all_task_runs")
    assert call(scene3.view(), "get_task_run_ids") == [task]


def test_static_task_runs_are_read_with_the_run(scene: Scene, call: Call) -> None:
    """`load_static_tasks` reads all task runs, and `get_latest` carries over the finished ones."""
    finished, running = scene.add_task_run("a"), scene.add_task_run("b", "RUNNING")
    view = call(FlowRunView, "from_flow_run_id", scene.run, True, client=scene.client)
    assert [row.id for row in view.task_runs] == [finished, running]
    latest = call(view, "get_latest")
    assert [row.id for row in latest.task_runs] == [finished]
    assert [row.id for row in call(view, "get_latest", True).task_runs] == [finished, running]
    assert [row.id for row in view.task_runs] == [finished, running]


def test_a_view_counts_its_task_runs(scene: Scene, call: Call) -> None:
    """A view has the progress of the task runs that are known, and their states by type."""
    for task, state in zip("abcd", ("COMPLETED", "COMPLETED", "FAILED", "RUNNING"), strict=True):
        scene.add_task_run(task, state)
    view = call(FlowRunView, "from_flow_run_id", scene.run, True, client=scene.client)
    assert view.task_run_counts == {"COMPLETED": 2, "FAILED": 1, "RUNNING": 1}
    assert view.progress == 0.75
    without = call(FlowRunView, "from_flow_run_id", scene.run, client=scene.client)
    assert (without.task_run_counts, without.progress) == ({}, None)


def test_the_latest_view_reads_task_runs_on_request(
    call: Call, world: World, finished_run: str
) -> None:
    """Task runs are read with the latest view if they are requested, and not otherwise."""
    world.server.set_task_state(finished_run, None, "RUNNING")
    view = call(FlowRunView, "from_flow_run_id", finished_run, client=world.client)
    assert len(call(view, "get_latest", True).task_runs) == 1
    assert call(view, "get_latest").task_runs == ()


def test_static_task_runs_are_without_mapped_children(scene1: Scene1, call: Call) -> None:
    """`load_static_tasks` leaves children out; known finished ones are carried over."""
    parent, other = scene1.add_mapped_parent("load", 1), scene1.add_task_run("other")
    child = scene1.add_task_run("load", map_index=0)
    view = call(FlowRunView, "from_flow_run_id", scene1.run, True, client=scene1.client)
    assert [row.id for row in view.task_runs] == [parent, other]
    known = view.get_task_run("load-1", map_index=0)
    by_hand = FlowRunView(
        scene1.run, "", None, [], {}, {}, None, [], NOON, None, [known], client=scene1.client
    )
    for static in (False, True):
        rows = call(by_hand, "get_latest", static).task_runs
        assert [row.id for row in rows] == ([parent, other, child] if static else [child])


def test_more_finished_task_runs_than_a_page_are_carried_over(scene: Scene, call: Call) -> None:
    """`get_latest` reads the finished task runs page by page."""
    tasks = [scene.add_task_run(f"task{number}") for number in range(7)]
    view = scene.view(load_static_tasks=True)
    assert [row.id for row in call(view, "get_latest").task_runs] == tasks


# -- the flow -----------------------------------------------------------------------------------


def test_the_flow_is_read_once(scene: Scene, call: Call) -> None:
    """`get_flow_metadata` reads the flow once, and again with `no_cache`."""
    view = scene.view()
    first = call(view, "get_flow_metadata")
    assert first.name == "fake-flow"
    assert call(view, "get_flow_metadata") is first
    scene.flow_row()["name"] = "renamed"
    assert call(view, "get_flow_metadata", no_cache=True).name == "renamed"
    assert scene.flow_request_count() == 2


def test_a_missing_flow_is_not_found(scene: Scene, call: Call) -> None:
    """A flow that was deleted, or that the run never had, is a FlowNotFound."""
    scene.server.flows.clear()
    with pytest.raises(rxflow.FlowNotFound):
        call(scene.view(), "get_flow_metadata")
    scene.server.runs[scene.run]["flow_id"] = None
    with pytest.raises(ValueError, match="has no flow id"):
        call(scene.view(), "get_flow_metadata")


# -- a view never changes -----------------------------------------------------------------------


ATTRIBUTES = [name for name in dir(FlowRunView) if isinstance(getattr(FlowRunView, name), property)]


@pytest.mark.parametrize("name", [*ATTRIBUTES, "anything"])
def test_no_attribute_of_a_view_can_be_set(scene: Scene, name: str) -> None:
    """Neither an existing attribute nor a new one can be assigned."""
    with pytest.raises(AttributeError):
        setattr(scene.view(), name, None)


def test_a_view_shares_no_mutable_value(scene: Scene) -> None:
    """Changing a value that a view returned or was given does not change the view."""
    view, same = scene.view(), scene.view()
    text = repr(view)
    view.parameters["rows"][1]["deep"] = 3
    view.snapshot.run.parameters["rows"].append("more")
    view.context.update(x=1)  # type: ignore[attr-defined]  # typed as a Mapping
    view.snapshot.run.labels.clear()  # type: ignore[attr-defined]
    given = {"x": [1]}
    by_hand = made(parameters=given)
    given["x"].append(2)
    snapshot = Snapshot(run=same.snapshot.run)
    folded = FlowRunView.from_snapshot(snapshot)
    snapshot.run.parameters["rows"].clear()
    assert view == same
    assert repr(view) == text
    assert view.parameters == folded.parameters == {"rows": [1, {"deep": 2}]}
    assert by_hand.parameters == {"x": [1]}


def test_a_view_does_not_share_its_run_configuration(scene1: Scene1) -> None:
    """Changing the run configuration that a view returned does not change the view."""
    view = scene1.view()
    view.run_config["type"] = "other"
    view.snapshot.run.run_config.clear()  # type: ignore[union-attr]
    assert view == scene1.view()
    assert view.run_config["type"] == "LocalRun"


def test_reading_does_not_change_a_view(scene: Scene, call: Call) -> None:
    """Reading task runs, logs, the flow and the latest view leaves the view as it was."""
    scene.add_task_run("load")
    view, same = scene.view(), scene.view()
    call(view, "get_task_run", scene.slug("load"))
    call(view, "get_all_task_runs")
    call(view, "get_flow_metadata")
    call(view, "get_logs")
    scene.set_state("COMPLETED")
    assert call(view, "get_latest") != view
    assert view == same
    assert view.task_runs == ()


def test_the_latest_view_is_a_new_one(call: Call, world: World, finished_run: str) -> None:
    """The latest view shows a change of the run, and the earlier view does not."""
    view = call(FlowRunView, "from_flow_run_id", finished_run, client=world.client)
    world.server.change_run(finished_run, name="renamed")
    latest = call(view, "get_latest")
    assert (view.name, latest.name) == ("life", "renamed")
    assert latest != view
    assert latest == call(latest, "get_latest")


def test_a_view_has_only_the_task_runs_that_it_read(
    call: Call, world: World, finished_run: str
) -> None:
    """A view has no task runs unless they were read with it."""
    world.server.set_task_state(finished_run, None, "COMPLETED")
    view = call(FlowRunView, "from_flow_run_id", finished_run, client=world.client)
    assert (view.flow_run_id, view.name, view.labels) == (finished_run, "life", ("a",))
    assert view.state is not None
    assert view.state.type == "COMPLETED"
    assert [state.type for state in view.states] == ["SCHEDULED", "COMPLETED"]
    assert view.task_runs == ()
    view = call(FlowRunView, "from_flow_run_id", finished_run, True, client=world.client)
    (task_run,) = view.task_runs
    assert task_run.state is not None
    assert task_run.state.type == "COMPLETED"


# -- views made by hand -------------------------------------------------------------------------


def made(**changed: Any) -> FlowRunView:
    """Make a view by hand."""
    state = State(id="s", type="RUNNING", name="Running", timestamp=NOON)
    early = State(id="r", type="PENDING", name="Pending", timestamp=NOON - timedelta(seconds=1))
    given: dict[str, Any] = {
        "flow_run_id": UNKNOWN_ID.upper(),
        "name": "by-hand",
        "flow_id": None,
        "labels": ["a"],
        "parameters": {},
        "context": {"c": 1},
        "state": state,
        "states": [state, early],
        "updated_at": NOON,
        "run_config": {"cpu": 1},
    }
    return FlowRunView(**(given | changed))


def test_a_view_made_by_hand_shows_its_arguments() -> None:
    """Each argument is an attribute, the states by time."""
    view = made()
    assert (view.flow_run_id, view.name, view.flow_id) == (UNKNOWN_ID, "by-hand", None)
    assert (view.labels, view.context, view.run_config) == (("a",), {"c": 1}, {"cpu": 1})
    assert [state.name for state in view.states] == ["Pending", "Running"]
    assert (view.state, view.updated_at, view.task_runs) == (view.states[-1], NOON, ())


def test_a_view_made_by_hand_sorts_its_states() -> None:
    """States of one time are in the order in which the server counted them."""
    states = [
        State(id=str(9 - number), type="RUNNING", name="Running", timestamp=NOON, version=number)
        for number in range(3)
    ]
    assert made(states=reversed(states)).states == tuple(states)


def test_task_runs_may_be_given_as_rows_and_as_views(scene: Scene) -> None:
    """The argument ``task_runs`` takes rows and views, and the attribute has rows."""
    scene.add_task_run("load")
    (view,) = scene.view().get_all_task_runs()
    for given in (view, view.task_run):
        assert made(task_runs=[given]).task_runs == (view.task_run,)
        assert isinstance(made(task_runs=[given]).task_runs[0], TaskRun)


def test_a_view_made_by_hand_refuses_a_malformed_id() -> None:
    """An id that is not a UUID is a ValueError."""
    with pytest.raises(ValueError, match="is not a flow run id"):
        made(flow_run_id="17")


# -- equality and display -----------------------------------------------------------------------


def test_views_are_equal_if_they_show_the_same() -> None:
    """Equality compares all that is shown, the run configuration included."""
    assert made() == made()
    assert made() != made(name="other")
    assert made() != made(run_config=None)
    assert made() != "a view"


def test_a_view_has_a_repr_and_an_html_table() -> None:
    """The HTML is escaped, since names are user input."""
    view = made(name="<b>bold</b>", labels=["a&b"])
    assert repr(view) == f"<FlowRunView {UNKNOWN_ID} name='<b>bold</b>' state='Running'>"
    html = view._repr_html_()
    assert "&lt;b&gt;bold&lt;/b&gt;" in html
    assert "a&amp;b" in html
    assert "<b>" not in html
