"""`TaskRunView.get_result` on Prefect 1: values that it keeps itself, local files, and parents."""

import base64
import json
import pickle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from server_scenes import Scene1, kept
from twin_calls import TWINS, Call

import rxflow
from rxflow import FlowRunView, TaskRunView
from rxflow._models.entities import BackendName, StoredResult
from rxflow._views.result_files import load_result
from rxflow._views.result_lookups import ResultRead
from rxflow.errors import ResultUnreadable

READER = "prefect 1.4.1's `TaskRunView.get_result`"


@pytest.fixture(params=TWINS)
def call(request: pytest.FixtureRequest) -> Call:
    """Call a method, or its twin."""
    return TWINS[request.param]


@pytest.fixture
def scene() -> Scene1:
    """Begin."""
    return Scene1()


def local(path: Path | str | None, folder: str = "/srv/example/results") -> dict[str, Any]:
    """Where Prefect 1 says that a local file is."""
    location = None if path is None else str(path)
    return {"type": "LocalResult", "dir": folder, "location": location, "__version__": "1.4.1"}


def finished(scene: Scene1, result: dict[str, Any] | None, state: str = "COMPLETED") -> TaskRunView:
    """A task run that has a result."""
    task = scene.task("load", "RUNNING")
    scene.set_task(task, state, _result=result)
    return scene.task_view(task)


# -- values -------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [None, 0, "text", [1, {"a": [None, True]}], {}, 1e300], ids=repr)
def test_a_value_that_the_server_keeps_is_read(scene: Scene1, call: Call, value: Any) -> None:
    """A PrefectResult is its own location, None among its values."""
    view = finished(scene, kept(json.dumps(value)))
    assert call(view, "get_result") == value
    asked = len(scene.server.requests)
    assert call(view, "get_result") == value
    assert len(scene.server.requests) == asked


def test_nothing_is_unwrapped(scene: Scene1, call: Call, tmp_path: Path) -> None:
    """What would be a record or an object of Prefect 3's is a plain value here."""
    value = {"metadata": {}, "result": "1"}
    assert call(finished(scene, kept(json.dumps(value))), "get_result") == value
    path = tmp_path / "result"
    path.write_text(json.dumps(value | {"__class__": "a.B"}))
    assert call(finished(Scene1(), local(path)), "get_result") == value | {"__class__": "a.B"}


@pytest.mark.parametrize("text", ["2022-11-04T12:00:00+00:00", "", "{", "[" * 100_000])
def test_a_value_that_is_no_json_is_a_type_error(scene: Scene1, call: Call, text: str) -> None:
    """What another serializer wrote is named, with what would read it."""
    with pytest.raises(rxflow.ResultUnreadable, match="no plain JSON") as error:
        call(finished(scene, kept(text)), "get_result")
    assert READER in str(error.value)


# -- files --------------------------------------------------------------------------------------


@pytest.mark.parametrize("relative", [False, True])
def test_a_local_file_of_json_is_read(
    scene: Scene1, call: Call, tmp_path: Path, *, relative: bool
) -> None:
    """Prefect 1 does not say what wrote a file; one of JSON is read, below its folder too."""
    path = tmp_path / "result"
    path.write_text(json.dumps({"r\u00f6ws": 17}))
    view = finished(scene, local("result" if relative else path, str(tmp_path)))
    assert call(view, "get_result") == {"r\u00f6ws": 17}
    path.unlink()
    assert call(view, "get_result") == {"r\u00f6ws": 17}
    assert call(call(view, "get_latest"), "get_result") == {"r\u00f6ws": 17}


@pytest.mark.parametrize(
    "content", [b"", b"2022-11-04T12:00:00+00:00", b",a\n0,1\n", "17".encode("utf-16"), b"\xff"]
)
def test_what_else_may_be_in_a_file_is_not_guessed(
    scene: Scene1, call: Call, tmp_path: Path, content: bytes
) -> None:
    """A time, a table and whatever else is no JSON is a TypeError that names the place."""
    path = tmp_path / "result"
    path.write_bytes(content)
    with pytest.raises(rxflow.ResultUnreadable, match=str(path)):
        call(finished(scene, local(path)), "get_result")


class Bomb:
    """Writes a file if it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("encoded", [False, True], ids=["raw", "base64"])
def test_nothing_is_ever_unpickled(
    scene: Scene1, tmp_path: Path, protocol: int, *, encoded: bool
) -> None:
    """A pickle is a TypeError that names the place and what would read it."""
    path, harm = tmp_path / "result", tmp_path / "harm"
    pickled = pickle.dumps(Bomb(harm), protocol)
    path.write_bytes(base64.b64encode(pickled) if encoded else pickled)
    with pytest.raises(TypeError) as error:
        finished(scene, local(path)).get_result()
    assert str(path) in str(error.value)
    assert READER in str(error.value)
    assert not harm.exists()


SIMPLE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@given(SIMPLE, st.integers(0, pickle.HIGHEST_PROTOCOL))
def test_no_pickle_is_taken_for_json(tmp_path_factory: Any, value: Any, protocol: int) -> None:
    """However simple the value and old the protocol, its pickle does not pass for its JSON."""
    path = tmp_path_factory.getbasetemp() / "pickle"
    path.write_bytes(pickle.dumps(value, protocol))
    stored = StoredResult(location=str(path))
    with pytest.raises(ResultUnreadable):
        load_result(ResultRead(task_run_id="x", backend=BackendName.PREFECT_1, stored=stored))


def test_a_file_of_another_machine_is_a_value_error(scene: Scene1, call: Call) -> None:
    """A location where there is no file is named."""
    with pytest.raises(rxflow.ResultUnavailable, match=r"/nowhere/gone.*on this machine"):
        call(finished(scene, local("gone", "/nowhere")), "get_result")


def test_a_path_of_windows_is_not_put_below_a_folder(scene: Scene1, call: Call) -> None:
    """Where a flow ran on Windows, the message has the location as it is there."""
    with pytest.raises(rxflow.RxflowError, match=r"is at 'C:\\\\results\\\\a'"):
        call(finished(scene, local("C:\\results\\a", "C:\\results")), "get_result")


# -- what is not read ---------------------------------------------------------------------------

ELSEWHERE: dict[str, tuple[dict[str, Any], str]] = {
    "s3": ({"type": "S3Result", "bucket": "b"}, "S3Result 'b'"),
    "gcs": ({"type": "GCSResult", "bucket": "b"}, "GCSResult 'b'"),
    "azure": ({"type": "AzureResult", "container": "c"}, "AzureResult 'c'"),
    "custom": ({"type": "CustomResult"}, "CustomResult"),
    "base": ({"type": "Result"}, "Result"),
    "secret": ({"type": "SecretResult", "secret_type": "PrefectSecret"}, "SecretResult"),
}


@pytest.mark.parametrize("kind", ELSEWHERE)
def test_other_storages_are_a_type_error(scene: Scene1, call: Call, kind: str) -> None:
    """What is kept elsewhere is named: its class, its bucket, its location, what would read it."""
    result, named = ELSEWHERE[kind]
    with pytest.raises(TypeError) as error:
        call(finished(scene, {**result, "location": "a/b.pkl"}), "get_result")
    for words in ("'a/b.pkl'", f"Prefect 1's {named}", READER):
        assert words in str(error.value)


@pytest.mark.parametrize(
    "result", [None, {"type": "NoResultType"}, local(None)], ids=["null", "no type", "no location"]
)
def test_a_result_that_was_not_kept(scene: Scene1, call: Call, result: Any) -> None:
    """In 1.4.1 a TypeError or a ValueError; here it is both, and says what would keep it."""
    for error in (TypeError, ValueError, rxflow.ResultNotKept):
        with pytest.raises(error, match="was not kept; Prefect 1 keeps it"):
            call(finished(scene, result), "get_result")


@pytest.mark.parametrize("state", ["RUNNING", "PENDING", "SCHEDULED"])
def test_an_unfinished_task_run_has_no_result(scene: Scene1, call: Call, state: str) -> None:
    """That is a ValueError, without a question to the server."""
    view = finished(scene, kept("1"), state)
    asked = len(scene.server.requests)
    with pytest.raises(ValueError, match="not finished"):
        call(view, "get_result")
    assert len(scene.server.requests) == asked


# -- parents ------------------------------------------------------------------------------------


def test_a_parent_has_the_results_of_its_children(scene: Scene1, call: Call) -> None:
    """They are in the order of the map indexes, over more than a page of children."""
    view = scene.task_view(scene.parent("load", 7))
    for index in (6, 2, 0, 5, 1, 4, 3):
        scene.child("load", index, str(index * 10))
    scene.child("other", 0, "1")
    assert call(view, "get_result") == [0, 10, 20, 30, 40, 50, 60]
    ids = [given["ids"] for _, given in scene.server.requests if "ids" in (given or {})]
    assert max(map(len, ids)) == scene.server.row_limit


def test_the_results_of_children_are_read_together(scene: Scene1, call: Call) -> None:
    """However many children, their results are one question a page."""
    scene.server.row_limit = None
    view = scene.task_view(scene.parent("load", 150))
    for index in range(150):
        scene.child("load", index, str(index))
    before = len(scene.server.requests)
    assert call(view, "get_result") == [*range(150)]
    assert len(scene.server.requests) - before <= 5


def test_a_parent_of_none_has_an_empty_list(scene: Scene1, call: Call) -> None:
    """A task that was mapped over nothing has no results, and no error."""
    assert call(scene.task_view(scene.parent("load", 0)), "get_result") == []


@pytest.mark.parametrize(
    ("expected", "there", "missing"),
    [
        (5, (0, 1), "2, 3, 4"),
        (2, (0,), "1"),
        (1, (), "0"),
        (None, (0, 2), "1"),
        (2, (1, 3), "0, 2"),
    ],
)
def test_a_child_that_is_not_there_is_a_value_error(
    scene: Scene1, call: Call, expected: int | None, there: tuple[int, ...], missing: str
) -> None:
    """As many children as the parent has say so must be there; what lacks is named."""
    view = scene.task_view(scene.parent("load", expected))
    for index in there:
        scene.child("load", index, "1")
    with pytest.raises(ValueError, match=rf"map index {missing} do not"):
        call(view, "get_result")


def test_more_children_than_were_said_are_all_read(scene: Scene1, call: Call) -> None:
    """A parent of an old client does not say how many there are to be."""
    view = scene.task_view(scene.parent("load", None))
    for index in range(3):
        scene.child("load", index, str(index))
    assert call(view, "get_result") == [0, 1, 2]


@pytest.mark.parametrize("state", ["Running", None])
def test_a_child_that_is_not_finished_is_a_value_error(
    scene: Scene1, call: Call, state: str | None
) -> None:
    """The child is named, with its state."""
    view = scene.task_view(scene.parent("load", 2))
    scene.child("load", 0, "1")
    child = scene.server.add_task_run(scene.run, slug="load-1", map_index=1, state=state)
    with pytest.raises(ValueError, match=rf"index 1 \({child}\) is not finished but in"):
        call(view, "get_result")


def test_a_child_whose_result_was_not_kept_is_named(scene: Scene1, call: Call) -> None:
    """A child that failed has no result, and no list is made without it."""
    view = scene.task_view(scene.parent("load", 2))
    scene.child("load", 0, "1")
    child = scene.task("load", "FAILED", map_index=1)
    with pytest.raises(TypeError, match=f"task run {child} was not kept"):
        call(view, "get_result")


def test_a_list_of_results_is_read_once_and_anew_of_the_latest(scene: Scene1, call: Call) -> None:
    """A view has its list; a child that ran again is in the list of a later one.

    The parent's own state is the same all the time, so it tells nothing about its children.
    """
    parent = scene.parent("load", 1)
    child = scene.child("load", 0, "1")
    run = FlowRunView.from_flow_run_id(scene.run, client=scene.client)
    view = call(run, "get_task_run", "load-1")
    assert call(view, "get_result") == [1]
    scene.set_task(child, "RUNNING")
    scene.set_task(child, "COMPLETED", _result=kept("2"))
    assert call(view, "get_result") == [1]
    for later in (call(view, "get_latest"), call(run, "get_task_run", task_run_id=parent)):
        assert later == view
        assert call(later, "get_result") == [2]


def test_a_result_is_not_handed_to_another_state(scene: Scene1, call: Call) -> None:
    """A task run that ran again has the result of its last time."""
    task = finished(scene, kept("1")).task_run_id
    run = FlowRunView.from_flow_run_id(scene.run, client=scene.client)
    assert call(call(run, "get_task_run", "load-1"), "get_result") == 1
    scene.set_task(task, "RUNNING")
    scene.set_task(task, "COMPLETED", _result=kept("2"))
    assert call(call(run, "get_task_run", "load-1"), "get_result") == 2
