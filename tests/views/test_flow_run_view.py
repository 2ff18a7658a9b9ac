"""`FlowRunView`: the run, its task runs as they are now, its flow; and that it never changes.

On both servers, where they agree; what Prefect 1 has of its own is in `test_views_prefect1.py`.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from server_scenes import SCENES, Scene, Scene3
from twin_calls import TWINS, Call

import rxflow
from rxflow import FlowRunView, Snapshot, State, TaskRun

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
NOBODY = "00000000-0000-4000-8000-000000000000"


@pytest.fixture(params=TWINS)
def call(request: pytest.FixtureRequest) -> Call:
    """Call a method, or its twin."""
    return TWINS[request.param]


@pytest.fixture(params=SCENES)
def scene(request: pytest.FixtureRequest) -> Scene:
    """Begin, on one server or the other."""
    return SCENES[request.param]()


@pytest.fixture
def three() -> Scene3:
    """Begin on a Prefect 3."""
    return Scene3()


# -- one task run -------------------------------------------------------------------------------


def test_a_slug_is_the_task_key_with_its_hash_or_without(three: Scene3, call: Call) -> None:
    """On Prefect 3 both ways to name a task find its run."""
    task = three.task("load")
    view = three.view()
    for slug in ("load-0489fc40", "load"):
        found = call(view, "get_task_run", slug)
        assert (found.task_run_id, found.map_index) == (task, -1)
        assert found.task_slug == "load-0489fc40"


def test_a_task_is_also_found_by_id(three: Scene3, call: Call) -> None:
    """An id finds the task run, and a slug and a map index must fit it if they are given."""
    first, second = three.task("load"), three.task("load")
    view = three.view()
    assert call(view, "get_task_run", task_run_id=first).map_index == 0
    assert call(view, "get_task_run", "load", second, 1).task_run_id == second
    with pytest.raises(rxflow.TaskRunNotFound, match="is a run of 'load-0489fc40', not of 'other'"):
        call(view, "get_task_run", "other", first)
    with pytest.raises(rxflow.TaskRunNotFound, match="has the map index 0, not 1"):
        call(view, "get_task_run", "load", first, 1)


def test_a_map_index_counts_the_runs_of_a_key_by_creation(three: Scene3, call: Call) -> None:
    """Index 2 is the third that was created, over all pages, whatever other tasks did."""
    tasks = []
    for number in range(5):
        tasks.append(three.task("load", dynamic_key=f"{9 - number}"))
        three.task("other")
    view = three.view()
    found = [call(view, "get_task_run", "load", map_index=index) for index in range(5)]
    assert [each.task_run_id for each in found] == tasks
    assert [each.map_index for each in found] == list(range(5))


def test_the_only_run_of_a_task_is_minus_one_and_none_and_zero(three: Scene3, call: Call) -> None:
    """A task mapped over one item looks like one that was not mapped, so both indexes find it."""
    task = three.task("load")
    for index in (None, -1, 0):
        assert call(three.view(), "get_task_run", "load", map_index=index).task_run_id == task
    with pytest.raises(rxflow.TaskRunNotFound, match="map index 1"):
        call(three.view(), "get_task_run", "load", map_index=1)


@pytest.mark.parametrize("index", [None, -1, 2, -2])
def test_several_runs_are_listed(three: Scene3, call: Call, index: int | None) -> None:
    """Where a map index is needed, or fits none, the ValueError lists the runs by map index."""
    tasks = [three.task("load", name=f"load-{number}") for number in range(2)]
    with pytest.raises(ValueError, match="by map index") as error:
        call(three.view(), "get_task_run", "load", map_index=index)
    for number, task in enumerate(tasks):
        assert f"{number}: load-{number} ({task})" in str(error.value)


def test_a_name_without_hash_that_fits_two_tasks_is_refused(three: Scene3, call: Call) -> None:
    """Two tasks of one name are told apart by their hashes only."""
    one = three.task("load")
    three.server.add_task_run(three.run, task_key="load-11111111")
    with pytest.raises(rxflow.TaskRunNotFound, match="load-0489fc40, load-11111111"):
        call(three.view(), "get_task_run", "load")
    assert call(three.view(), "get_task_run", "load-0489fc40").task_run_id == one


def test_an_unknown_slug_is_a_value_error_that_lists_the_tasks(scene: Scene, call: Call) -> None:
    """Who mistypes a slug sees those that there are."""
    scene.task("load")
    with pytest.raises(ValueError, match=rf"'laod'.*{scene.slug('load')}"):
        call(scene.view(), "get_task_run", "laod")


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({}, ValueError),
        ({"map_index": 0}, ValueError),
        ({"task_run_id": 17}, TypeError),
        ({"task_run_id": "no uuid"}, ValueError),
        ({"task_run_id": NOBODY}, ValueError),
    ],
)
def test_a_wrong_question_is_a_value_error_or_a_type_error(
    scene: Scene, call: Call, given: dict[str, Any], error: type[Exception]
) -> None:
    """The errors are those of Prefect 1."""
    with pytest.raises(error):
        call(scene.view(), "get_task_run", **given)


def test_all_states_of_the_task_run_are_told(three: Scene3, call: Call) -> None:
    """A task run that was asked for by itself has all its states, in order."""
    task = three.task("load", "PENDING")
    for state, name in (("RUNNING", None), ("SCHEDULED", "AwaitingRetry"), ("RUNNING", "Retrying")):
        three.server.set_task_state(three.run, task, state, name)
    found = call(three.view(), "get_task_run", "load")
    assert [state.name for state in found.states] == [
        "Pending",
        "Running",
        "AwaitingRetry",
        "Retrying",
    ]
    assert found.states[-1] == found.state
    assert found.start_time is not None
    assert found.end_time is None


# -- all task runs ------------------------------------------------------------------------------


def test_all_task_runs_come_by_creation_page_by_page(scene: Scene, call: Call) -> None:
    """However many there are, all come, by creation, and so do their ids."""
    tasks = [scene.task(f"task{number}") for number in range(10)]
    view = scene.view()
    found = call(view, "get_all_task_runs")
    assert [each.task_run_id for each in found] == tasks
    assert call(view, "get_task_run_ids") == tasks


def test_all_task_runs_are_counted_by_their_tasks(three: Scene3, call: Call) -> None:
    """Each run of a task has the next map index, page after page."""
    for number in range(10):
        three.task(f"task{number % 3}")
    found = call(three.view(), "get_all_task_runs")
    assert [each.map_index for each in found] == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3]


def test_a_run_without_task_runs_has_none(scene: Scene, call: Call) -> None:
    """No task runs are an empty list, and no error."""
    assert call(scene.view(), "get_all_task_runs") == []
    assert call(scene.view(), "get_task_run_ids") == []


def test_a_row_that_cannot_be_read_is_an_error(three: Scene3, call: Call) -> None:
    """Of all task runs none is left out in silence; its id is still told."""
    task = three.task("load")
    three.server.task_runs[task]["task_key"] = None
    with pytest.raises(rxflow.BadResponse, match=task):
        call(three.view(), "get_all_task_runs")
    assert call(three.view(), "get_task_run_ids") == [task]


# -- what is kept -------------------------------------------------------------------------------


def test_a_finished_task_run_is_kept_and_handed_on(scene: Scene, call: Call) -> None:
    """The view of a finished task run is the same object until its state changes."""
    scene.task("load")
    view = scene.view()
    found = call(view, "get_task_run", scene.slug("load"))
    assert call(view, "get_task_run", scene.slug("load")) is found
    assert call(view, "get_all_task_runs") == [found]
    latest = call(view, "get_latest")
    assert call(latest, "get_task_run", scene.slug("load")) is found


def test_the_states_of_a_finished_task_run_are_asked_for_once(three: Scene3, call: Call) -> None:
    """What is kept is not asked for again, on a later view neither."""
    three.task("load")
    view = three.view()
    call(view, "get_task_run", "load")
    for asked in (view, call(view, "get_latest")):
        call(asked, "get_task_run", "load")
    assert sum("/task_run_states" in path for _, path in three.server.requests) == 1


def test_a_map_index_is_counted_anew(three: Scene3, call: Call) -> None:
    """A finished task run is no longer the only one once its task has run again."""
    task, view = three.task("load"), three.view()
    assert call(view, "get_task_run", task_run_id=task).map_index == -1
    three.task("load")
    assert call(view, "get_task_run", task_run_id=task).map_index == 0


def test_one_that_is_retried_is_not_kept(scene: Scene, call: Call) -> None:
    """A task run that failed and runs again is Running to whoever asks, on a later view too."""
    task = scene.task("load", "FAILED")
    view = scene.view(load_static_tasks=True)
    assert call(view, "get_task_run", scene.slug("load")).state.is_failed()
    scene.set_task(task, "RUNNING")
    for now in (view, call(view, "get_latest")):
        assert call(now, "get_task_run", scene.slug("load")).state.is_running()
        assert call(now, "get_task_run", task_run_id=task).state.is_running()
        assert [each.state.name for each in call(now, "get_all_task_runs")] == ["Running"]
    assert call(view, "get_latest").task_runs == ()


def test_another_runs_task_run_is_refused(scene: Scene, call: Call) -> None:
    """A task run of another flow run is not found, and not among this one's."""
    other = scene.task("load", run=scene.another_run())
    view = scene.view()
    with pytest.raises(ValueError, match="belongs to flow run"):
        call(view, "get_task_run", task_run_id=other)
    assert call(view, "get_all_task_runs") == []


def test_one_that_runs_is_not_kept(scene: Scene, call: Call) -> None:
    """A task run that goes on is a new view each time, in the state that it is in."""
    task = scene.task("load", "RUNNING")
    view = scene.view()
    before = call(view, "get_task_run", scene.slug("load"))
    scene.set_task(task, "COMPLETED")
    after = call(view, "get_task_run", scene.slug("load"))
    assert before.state.is_running()
    assert after.state.is_successful()
    assert before != after


def test_a_history_that_was_not_read_is_read_when_it_is_wanted(three: Scene3, call: Call) -> None:
    """What came with all the others and is then asked for by itself has all its states."""
    task = three.task("load", "RUNNING")
    three.set_task(task, "COMPLETED")
    view = three.view()
    (one,) = call(view, "get_all_task_runs")
    assert [state.name for state in one.states] == ["Completed"]
    assert [state.name for state in call(view, "get_task_run", "load").states] == [
        "Running",
        "Completed",
    ]


def test_static_tasks_are_loaded_at_once(scene: Scene, call: Call) -> None:
    """`load_static_tasks` reads the task runs with the run, and `get_latest` keeps those over."""
    over, open_ = scene.task("a"), scene.task("b", "RUNNING")
    view = call(FlowRunView, "from_flow_run_id", scene.run, True, client=scene.client)
    assert [row.id for row in view.task_runs] == [over, open_]
    latest = call(view, "get_latest")
    assert [row.id for row in latest.task_runs] == [over]
    assert [row.id for row in call(view, "get_latest", True).task_runs] == [over, open_]
    assert [row.id for row in view.task_runs] == [over, open_]


def test_more_finished_task_runs_than_a_page_are_handed_on(scene: Scene, call: Call) -> None:
    """`get_latest` reads those it hands on page by page."""
    tasks = [scene.task(f"task{number}") for number in range(7)]
    view = scene.view(load_static_tasks=True)
    assert [row.id for row in call(view, "get_latest").task_runs] == tasks


# -- the flow -----------------------------------------------------------------------------------


def test_the_flow_is_asked_for_once(scene: Scene, call: Call) -> None:
    """`get_flow_metadata` asks once, and again if told so."""
    view = scene.view()
    first = call(view, "get_flow_metadata")
    assert first.name == "fake-flow"
    assert call(view, "get_flow_metadata") is first
    scene.flow()["name"] = "renamed"
    assert call(view, "get_flow_metadata", no_cache=True).name == "renamed"
    assert scene.asked_for_flows() == 2


def test_a_run_whose_flow_is_gone_says_so(scene: Scene, call: Call) -> None:
    """A missing flow is a ValueError, be it gone from the server or never named."""
    scene.server.flows.clear()
    with pytest.raises(rxflow.FlowNotFound):
        call(scene.view(), "get_flow_metadata")
    scene.server.runs[scene.run]["flow_id"] = None
    with pytest.raises(ValueError, match="has no flow id"):
        call(scene.view(), "get_flow_metadata")


# -- the run and its log -------------------------------------------------------------------------


def test_a_run_without_a_state_has_none(scene: Scene, call: Call) -> None:
    """A run that has no state yet is shown without one, and no state is made up."""
    run = scene.another_run()
    view = call(FlowRunView, "from_flow_run_id", run, client=scene.client)
    assert (view.state, view.states) == (None, ())
    assert "state=None" in repr(view)
    assert "none yet" in view._repr_html_()


def test_a_view_shows_the_run(scene: Scene, call: Call) -> None:
    """Name, labels, parameters and states are the run's, more states than a page has too."""
    told = [scene.set_state(state) for state in ("SCHEDULED", "RUNNING", "FAILED", "RUNNING")]
    view = call(FlowRunView, "from_flow_run_id", scene.run, client=scene.client)
    assert (view.flow_run_id, view.name, view.labels) == (scene.run, "nightly", ("prod",))
    assert view.parameters == {"rows": [1, {"deep": 2}]}
    assert view.context == {}
    assert [state.id for state in view.states[-4:]] == told
    assert view.state == view.states[-1]
    assert view == call(view, "get_latest")


def test_all_log_lines_come(scene: Scene, call: Call) -> None:
    """Of more lines than a page has all come, also of one time; bounds are (start, end]."""
    told = [scene.line(str(number), NOON + timedelta(seconds=number // 5)) for number in range(25)]
    view = scene.view()
    assert sorted(line.id for line in call(view, "get_logs")) == sorted(told)
    bounds = (NOON, NOON + timedelta(seconds=2))
    assert {line.message for line in call(view, "get_logs", *bounds)} == {*map(str, range(5, 15))}


# -- it never changes ---------------------------------------------------------------------------

ATTRIBUTES = [name for name in dir(FlowRunView) if isinstance(getattr(FlowRunView, name), property)]


@pytest.mark.parametrize("name", [*ATTRIBUTES, "anything"])
def test_nothing_of_a_view_can_be_set(scene: Scene, name: str) -> None:
    """Neither what it shows nor anything new can be assigned."""
    with pytest.raises(AttributeError):
        setattr(scene.view(), name, None)


def test_what_is_got_from_a_view_does_not_reach_into_it(scene: Scene) -> None:
    """Changing what a view gave, or was given, changes nothing of the view."""
    view, same = scene.view(), scene.view()
    shown = repr(view)
    view.parameters["rows"][1]["deep"] = 3
    view.snapshot.run.parameters["rows"].append("more")
    view.context.update(x=1)  # type: ignore[attr-defined]  # a mapping to the checkers
    view.snapshot.run.labels.clear()  # type: ignore[attr-defined]
    given = {"x": [1]}
    by_hand = made(parameters=given)
    given["x"].append(2)
    snapshot = Snapshot(run=same.snapshot.run)
    folded = FlowRunView.from_snapshot(snapshot)
    snapshot.run.parameters["rows"].clear()
    assert view == same
    assert repr(view) == shown
    assert view.parameters == folded.parameters == {"rows": [1, {"deep": 2}]}
    assert by_hand.parameters == {"x": [1]}


def test_what_is_asked_does_not_change_what_is_shown(scene: Scene, call: Call) -> None:
    """Asking for task runs, logs, the flow and the latest leaves the view as it was."""
    scene.task("load")
    view, same = scene.view(), scene.view()
    call(view, "get_task_run", scene.slug("load"))
    call(view, "get_all_task_runs")
    call(view, "get_flow_metadata")
    call(view, "get_logs")
    scene.set_state("COMPLETED")
    assert call(view, "get_latest") != view
    assert view == same
    assert view.task_runs == ()


# -- by hand ------------------------------------------------------------------------------------


def made(**changed: Any) -> FlowRunView:
    """A view that was made by hand."""
    state = State(id="s", type="RUNNING", name="Running", timestamp=NOON)
    early = State(id="r", type="PENDING", name="Pending", timestamp=NOON - timedelta(seconds=1))
    given: dict[str, Any] = {
        "flow_run_id": NOBODY.upper(),
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


def test_a_view_made_by_hand_shows_what_it_was_given() -> None:
    """All arguments are to be seen again, the states by time."""
    view = made()
    assert (view.flow_run_id, view.name, view.flow_id) == (NOBODY, "by-hand", None)
    assert (view.labels, view.context, view.run_config) == (("a",), {"c": 1}, {"cpu": 1})
    assert [state.name for state in view.states] == ["Pending", "Running"]
    assert (view.state, view.updated_at, view.task_runs) == (view.states[-1], NOON, ())


def test_states_given_by_hand_are_put_in_order() -> None:
    """States of one time are in the order in which the server counted them."""
    states = [
        State(id=str(9 - number), type="RUNNING", name="Running", timestamp=NOON, version=number)
        for number in range(3)
    ]
    assert made(states=reversed(states)).states == tuple(states)


def test_task_runs_may_be_given_as_rows_and_as_views(scene: Scene) -> None:
    """The last argument takes rows and views, and shows rows."""
    scene.task("load")
    (view,) = scene.view().get_all_task_runs()
    for given in (view, view.task_run):
        assert made(task_runs=[given]).task_runs == (view.task_run,)
        assert isinstance(made(task_runs=[given]).task_runs[0], TaskRun)


def test_an_id_that_is_no_uuid_is_refused() -> None:
    """A malformed id is a ValueError at once."""
    with pytest.raises(ValueError, match="is not a flow run id"):
        made(flow_run_id="17")


# -- how it looks -------------------------------------------------------------------------------


def test_views_are_equal_when_they_show_the_same() -> None:
    """Equality looks at all that is shown, the run's configuration included."""
    assert made() == made()
    assert made() != made(name="other")
    assert made() != made(run_config=None)
    assert made() != "a view"


def test_a_view_has_a_short_repr_and_an_html_one() -> None:
    """The HTML is escaped, since names come from anybody."""
    view = made(name="<b>bold</b>", labels=["a&b"])
    assert repr(view) == f"<FlowRunView {NOBODY} name='<b>bold</b>' state='Running'>"
    html = view._repr_html_()
    assert "&lt;b&gt;bold&lt;/b&gt;" in html
    assert "a&amp;b" in html
    assert "<b>" not in html
