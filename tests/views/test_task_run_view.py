"""`TaskRunView`: where it comes from, what it shows, its log lines and its result, on Prefect 3.

What Prefect 1 has of its own is in `test_views_prefect1.py` and `test_results_prefect1.py`.
"""

import json
import pickle
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from twin_calls import TWINS, Call

import rxflow
from rxflow import FlowRunView, State, TaskRunView
from rxflow.testing import FakePrefect3

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
NOBODY = "00000000-0000-4000-8000-000000000000"
KEY = "load-0489fc40"


@pytest.fixture(params=TWINS)
def call(request: pytest.FixtureRequest) -> Call:
    """Call a method, or its twin."""
    return TWINS[request.param]


class Scene:
    """A server with a run that is running."""

    def __init__(self) -> None:
        self.server = FakePrefect3(page_limit=3)
        self.client = self.server.client()
        self.run = self.server.add_run(state="RUNNING")

    def task(self, state: str = "COMPLETED", *, key: str = KEY, data: Any = None) -> str:
        """Add a task run."""
        task = self.server.add_task_run(self.run, state="RUNNING", task_key=key)
        self.server.set_task_state(self.run, task, state, data=data)
        return task

    def view(self, task: str) -> TaskRunView:
        """Ask for a task run."""
        return TaskRunView.from_task_run_id(task, client=self.client)


@pytest.fixture
def scene() -> Scene:
    """Begin."""
    return Scene()


# -- where it comes from ------------------------------------------------------------------------


def test_a_task_run_is_found_by_id_and_by_slug(scene: Scene, call: Call) -> None:
    """Both ways lead to equal views."""
    task = scene.task()
    by_id = call(TaskRunView, "from_task_run_id", task.upper(), client=scene.client)
    by_slug = call(TaskRunView, "from_task_slug", "load", scene.run, client=scene.client)
    assert by_id == by_slug
    assert hash(by_id) == hash(by_slug)
    assert (by_id.task_run_id, by_id.flow_run_id, by_id.task_id) == (task, scene.run, None)
    assert (by_id.name, by_id.task_slug, by_id.map_index) == (f"task-{task[-3:]}", KEY, -1)
    assert [state.name for state in by_id.states] == ["Running", "Completed"]
    assert by_id.end_time == by_id.state.timestamp


@pytest.mark.parametrize(
    ("given", "error"),
    [(17, TypeError), (None, TypeError), ("x", ValueError), (NOBODY, ValueError)],
)
def test_a_wrong_id_is_an_error(
    scene: Scene, call: Call, given: Any, error: type[Exception]
) -> None:
    """What is no text is a TypeError, what is no id or nobody's a ValueError."""
    with pytest.raises(error):
        call(TaskRunView, "from_task_run_id", given, client=scene.client)


def test_a_wrong_flow_run_is_an_error(scene: Scene, call: Call) -> None:
    """A slug is looked for in a flow run, whose id must be one."""
    with pytest.raises(rxflow.InvalidRunId):
        call(TaskRunView, "from_task_slug", "load", "x", client=scene.client)


def test_a_task_run_without_a_flow_run_is_found(scene: Scene, call: Call) -> None:
    """A task that was called outside of flows has a view, but no flow run's log."""
    task = scene.task()
    scene.server.task_runs[task]["flow_run_id"] = None
    view = call(TaskRunView, "from_task_run_id", task, client=scene.client)
    assert view.flow_run_id is None
    with pytest.raises(ValueError, match="belongs to no flow run"):
        call(view, "get_logs")
    with pytest.raises(TypeError):
        call(view, "iter_mapped")


def test_a_row_may_come_before_its_state(scene: Scene, call: Call) -> None:
    """A row whose state is not written yet is shown without one."""
    task = scene.task()
    scene.server.task_runs[task]["state"] = None
    view = call(TaskRunView, "from_task_run_id", task, client=scene.client)
    assert view.state is None
    with pytest.raises(rxflow.ResultUnavailable, match="no state"):
        call(view, "get_result")


def test_the_latest_is_a_new_view(scene: Scene, call: Call) -> None:
    """`get_latest` leaves the view as it was."""
    task = scene.task("RUNNING")
    view = scene.view(task)
    scene.server.set_task_state(scene.run, task, "COMPLETED")
    latest = call(view, "get_latest")
    assert (view.state and view.state.name, latest.state.name) == ("Running", "Completed")
    assert view != latest


def test_a_view_is_made_by_hand() -> None:
    """The constructor takes what it took in Prefect 1, in that order."""
    state = State(id="s", type="Success", name="Success", timestamp=NOON)
    view = TaskRunView(NOBODY, "task", "load", "load-0", state, 3, None)
    assert (view.task_run_id, view.task_id, view.task_slug) == (NOBODY, "task", "load")
    assert (view.name, view.state, view.map_index) == ("load-0", state, 3)
    assert view.states == (state,)
    assert TaskRunView(NOBODY, None, "load", "load-0", None, -1, None).states == ()
    assert view != "a view"
    assert repr(view) == f"<TaskRunView {NOBODY} name='load-0' state='Success'>"


ATTRIBUTES = [name for name in dir(TaskRunView) if isinstance(getattr(TaskRunView, name), property)]


@pytest.mark.parametrize("name", [*ATTRIBUTES, "anything"])
def test_nothing_of_a_view_can_be_set(scene: Scene, name: str) -> None:
    """Neither what it shows nor anything new can be assigned."""
    with pytest.raises(AttributeError):
        setattr(scene.view(scene.task()), name, None)


# -- log lines and mapped runs ------------------------------------------------------------------


def test_the_log_is_that_of_the_task_run(scene: Scene, call: Call) -> None:
    """Lines of the flow and of other task runs are left out, and times are bounds as usual."""
    task, other = scene.task(), scene.task()
    for number in range(12):
        of = (task, other, None)[number % 3]
        at = NOON + timedelta(seconds=number)
        scene.server.log(scene.run, str(number), timestamp=at, task_run_id=of)
    view = scene.view(task)
    assert [line.message for line in call(view, "get_logs")] == ["0", "3", "6", "9"]
    bounds = (NOON, NOON + timedelta(seconds=6))
    assert [line.message for line in call(view, "get_logs", *bounds)] == ["3", "6"]
    with pytest.raises(ValueError, match="no time zone"):
        call(view, "get_logs", NOON.replace(tzinfo=None))


def test_mapped_runs_come_by_map_index(scene: Scene, call: Call) -> None:
    """Any of a task's runs leads to all of them, page after page."""
    tasks = [scene.task() for _ in range(5)]
    scene.task(key="other-0489fc40")
    found = call(scene.view(tasks[3]), "iter_mapped")
    assert [view.task_run_id for view in found] == tasks
    assert [view.map_index for view in found] == list(range(5))


def test_the_only_run_of_a_task_has_no_mapped_runs(scene: Scene, call: Call) -> None:
    """`iter_mapped` of an unmapped task run is a TypeError."""
    with pytest.raises(TypeError, match="the only run"):
        call(scene.view(scene.task()), "iter_mapped")


# -- results ------------------------------------------------------------------------------------


def data(location: str | Path | None, form: str = "json", block: str | None = None) -> Any:
    """What Prefect 3.8.8 has in a state whose result was persisted."""
    return {
        "storage_key": None if location is None else str(location),
        "expiration": None,
        "serializer": {"type": form},
        "prefect_version": "3.8.8",
        "storage_block_id": block,
    }


def record(path: Path, result: Any) -> Path:
    """Write a result as Prefect 3.8.8 does: a record with the result as JSON in a string."""
    metadata = data(path) | {"serializer": {"type": "json", "jsonlib": "json"}}
    path.write_text(json.dumps({"metadata": metadata, "result": json.dumps(result)}))
    return path


RESULTS = [None, 0, "text", [1, {"a": [None, True]}], {}, {"metadata": {}, "result": "1"}, 1e300]


@pytest.mark.parametrize("result", RESULTS, ids=repr)
def test_a_result_is_read_from_its_record(
    scene: Scene, call: Call, tmp_path: Path, result: Any
) -> None:
    """What the task returned comes back, None among it, and once it was read the file may go."""
    path = record(tmp_path / "result", result)
    view = scene.view(scene.task(data=data(path)))
    assert call(view, "get_result") == result
    path.unlink()
    assert call(view, "get_result") == result
    assert call(call(view, "get_latest"), "get_result") == result


@pytest.mark.parametrize(
    ("form", "result"), [("json", {"r\u00f6ws": 17}), ("text", "17 r\u00f6ws")]
)
def test_bare_json_and_text_are_read(
    scene: Scene, call: Call, tmp_path: Path, form: str, result: Any
) -> None:
    """A file that holds the result itself, as where the record's metadata is kept apart."""
    path = tmp_path / "result"
    path.write_text(result if form == "text" else json.dumps(result), "utf-8")
    assert call(scene.view(scene.task(data=data(path, form))), "get_result") == result


@pytest.mark.parametrize("state", ["RUNNING", "PENDING", "SCHEDULED"])
def test_an_unfinished_task_run_has_no_result(scene: Scene, call: Call, state: str) -> None:
    """That is a ValueError, without a question to the server."""
    view = scene.view(scene.task(state))
    asked = len(scene.server.requests)
    with pytest.raises(ValueError, match="not finished"):
        call(view, "get_result")
    assert len(scene.server.requests) == asked


UNAVAILABLE = [None, data(None)]


@pytest.mark.parametrize("stored", UNAVAILABLE)
def test_a_result_that_was_not_kept_is_a_value_error(scene: Scene, call: Call, stored: Any) -> None:
    """Without a location there is nothing to read."""
    with pytest.raises(ValueError, match="was not kept"):
        call(scene.view(scene.task(data=stored)), "get_result")


def test_a_file_of_another_machine_is_a_value_error(
    scene: Scene, call: Call, tmp_path: Path
) -> None:
    """A location where there is no file is named."""
    path = tmp_path / "gone"
    with pytest.raises(rxflow.ResultUnavailable, match=r"gone.*on this machine"):
        call(scene.view(scene.task(data=data(path))), "get_result")


class Bomb:
    """Writes a file if it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("form", ["pickle", "compressed/json", "compressed/pickle", "custom"])
def test_other_forms_are_a_type_error_that_names_the_place(
    scene: Scene, call: Call, tmp_path: Path, form: str
) -> None:
    """The message has the location, the serializer, and what would read it."""
    path = tmp_path / "result"
    with pytest.raises(TypeError) as error:
        call(scene.view(scene.task(data=data(path, form))), "get_result")
    for words in (str(path), repr(form), "state.result()"):
        assert words in str(error.value)


def test_nothing_is_ever_unpickled(scene: Scene, call: Call, tmp_path: Path) -> None:
    """A pickle is not even opened, also where it says that it is JSON."""
    path, harm = tmp_path / "result", tmp_path / "harm"
    path.write_bytes(pickle.dumps(Bomb(harm)))
    for form in ("pickle", "json", "text"):
        with pytest.raises(rxflow.ResultUnreadable):
            call(scene.view(scene.task(data=data(path, form))), "get_result")
    assert not harm.exists()


@pytest.mark.parametrize(
    ("location", "block"),
    [("bucket/key", NOBODY), ("/somewhere", NOBODY), ("relative", None), ("s3://bucket/key", None)],
)
def test_other_storages_are_a_type_error(
    scene: Scene, call: Call, location: str, block: str | None
) -> None:
    """What is not a path of a file system is named, with its storage block if it has one."""
    with pytest.raises(TypeError) as error:
        call(scene.view(scene.task(data=data(location, block=block))), "get_result")
    assert location in str(error.value)
    assert (block or "an unknown storage") in str(error.value)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "\xff",
        "[" * 100_000,
        '{"metadata": {}, "result": "{"}',
        '{"metadata": {}, "result": "{\\"__class__\\": \\"a.B\\", \\"data\\": 1}"}',
        '[{"deep": {"__class__": "a.B"}}]',
    ],
    ids=["empty", "cut", "latin", "deep", "cut inside", "an object", "an object inside"],
)
def test_what_is_no_plain_json_is_a_type_error(
    scene: Scene, call: Call, tmp_path: Path, content: str
) -> None:
    """Files that are cut, and objects that only Prefect can make again, are not guessed at."""
    path = tmp_path / "result"
    path.write_text(content, "latin-1")
    with pytest.raises(rxflow.ResultUnreadable, match="no plain JSON"):
        call(scene.view(scene.task(data=data(path))), "get_result")


def test_a_task_run_that_went_has_no_result(scene: Scene, call: Call, tmp_path: Path) -> None:
    """A view of a task run that was deleted since says so."""
    view = scene.view(scene.task(data=data(record(tmp_path / "result", 1))))
    scene.server.task_runs.clear()
    with pytest.raises(rxflow.TaskRunNotFound):
        call(view, "get_result")


def test_a_result_is_not_handed_to_another_state(scene: Scene, call: Call, tmp_path: Path) -> None:
    """A task run that ran again has the result of its last time."""
    task = scene.task(data=data(record(tmp_path / "one", 1)))
    flow_run = FlowRunView.from_flow_run_id(scene.run, client=scene.client)
    assert call(call(flow_run, "get_task_run", "load"), "get_result") == 1
    later = data(record(tmp_path / "two", 2))
    scene.server.set_task_state(scene.run, task, "COMPLETED", data=later)
    assert call(call(flow_run, "get_task_run", "load"), "get_result") == 2
