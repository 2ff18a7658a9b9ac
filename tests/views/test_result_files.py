"""Loading results of task runs from local files and stored values; nothing is ever unpickled."""

import base64
import json
import pickle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from server_scenes import Scene1, Scene3, stored_value
from twin_calls import Call

import rxflow
from rxflow import TaskRunView
from rxflow._models.entities import BackendName, StoredResult
from rxflow._views.result_access import ResultAccess
from rxflow._views.result_files import load_result
from rxflow._views.result_lookups import ResultRead
from rxflow.errors import ResultUnreadable

UNKNOWN_ID = "00000000-0000-4000-8000-000000000000"
READER = "prefect 1.4.1's `TaskRunView.get_result`"


@pytest.fixture(autouse=True)
def _prefect_storage(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Make the directory of a test the one in which Prefect 3 keeps results."""
    monkeypatch.setenv("PREFECT_LOCAL_STORAGE_PATH", str(tmp_path))


class TouchOnUnpickling:
    """Creates a file if it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


# -- Prefect 3 ----------------------------------------------------------------------------------


def task_run3(scene3: Scene3, data: Any, state: str = "COMPLETED") -> TaskRunView:
    """Read a task run on Prefect 3 whose state has the given data."""
    task = scene3.add_task_run("load", "RUNNING")
    scene3.set_task_state(task, state, data=data)
    return scene3.task_run_view(task)


def state_data(location: str | Path | None, form: str = "json", block: str | None = None) -> Any:
    """The data of a state whose result Prefect 3.8.8 persisted."""
    return {
        "storage_key": None if location is None else str(location),
        "expiration": None,
        "serializer": {"type": form},
        "prefect_version": "3.8.8",
        "storage_block_id": block,
    }


def write_record(path: Path, result: Any) -> Path:
    """Write a result as Prefect 3.8.8 does: a record with the result as JSON in a string."""
    metadata = state_data(path) | {"serializer": {"type": "json", "jsonlib": "json"}}
    path.write_text(json.dumps({"metadata": metadata, "result": json.dumps(result)}))
    return path


RESULTS = [None, 0, "text", [1, {"a": [None, True]}], {}, {"metadata": {}, "result": "1"}, 1e300]


@pytest.mark.parametrize("result", RESULTS, ids=repr)
def test_a_result_is_read_from_its_record(
    scene3: Scene3, call: Call, tmp_path: Path, result: Any
) -> None:
    """The returned value is read, None included, and once it was read the file may be deleted."""
    path = write_record(tmp_path / "result", result)
    view = task_run3(scene3, state_data(path))
    assert call(view, "get_result") == result
    path.unlink()
    assert call(view, "get_result") == result
    assert call(call(view, "get_latest"), "get_result") == result


@pytest.mark.parametrize(
    ("form", "result"), [("json", {"r\u00f6ws": 17}), ("text", "17 r\u00f6ws")]
)
def test_bare_json_and_text_are_read(
    scene3: Scene3, call: Call, tmp_path: Path, form: str, result: Any
) -> None:
    """A file may hold the result itself, as where the metadata of a record is stored apart."""
    path = tmp_path / "result"
    path.write_text(result if form == "text" else json.dumps(result), "utf-8")
    assert call(task_run3(scene3, state_data(path, form)), "get_result") == result


@pytest.mark.parametrize("state", ["RUNNING", "PENDING", "SCHEDULED"])
def test_an_unfinished_task_run_has_no_result(scene3: Scene3, call: Call, state: str) -> None:
    """The result of an unfinished task run is a ValueError, without a request."""
    view = task_run3(scene3, None, state)
    before = len(scene3.server.requests)
    with pytest.raises(ValueError, match="not finished"):
        call(view, "get_result")
    assert len(scene3.server.requests) == before


@pytest.mark.parametrize("data", [None, state_data(None)], ids=["no data", "no location"])
def test_a_result_that_was_not_kept_is_a_value_error(scene3: Scene3, call: Call, data: Any) -> None:
    """Without a location there is no result to read."""
    with pytest.raises(ValueError, match="was not kept"):
        call(task_run3(scene3, data), "get_result")


def test_a_file_of_another_machine_is_not_found(scene3: Scene3, call: Call, tmp_path: Path) -> None:
    """The error of a missing file names its location, and is a ValueError too."""
    path = tmp_path / "gone"
    with pytest.raises(rxflow.ResultFileNotFound, match=r"gone.*on this machine") as error:
        call(task_run3(scene3, state_data(path)), "get_result")
    assert isinstance(error.value, ValueError)
    assert isinstance(error.value, FileNotFoundError)


@pytest.mark.parametrize("form", ["pickle", "compressed/json", "compressed/pickle", "custom"])
def test_another_serializer_is_a_type_error(
    scene3: Scene3, call: Call, tmp_path: Path, form: str
) -> None:
    """The error names the location, the serializer and a way to read the result."""
    path = tmp_path / "result"
    with pytest.raises(TypeError) as error:
        call(task_run3(scene3, state_data(path, form)), "get_result")
    for words in (str(path), repr(form), "state.result()"):
        assert words in str(error.value)


def test_nothing_is_ever_unpickled(scene3: Scene3, call: Call, tmp_path: Path) -> None:
    """A pickle is not opened, even if its state says that it is JSON or text."""
    path, touched = tmp_path / "result", tmp_path / "touched"
    path.write_bytes(pickle.dumps(TouchOnUnpickling(touched)))
    for form in ("pickle", "json", "text"):
        with pytest.raises(rxflow.ResultUnreadable):
            call(task_run3(scene3, state_data(path, form)), "get_result")
    assert not touched.exists()


@pytest.mark.parametrize(
    ("location", "block"),
    [
        ("bucket/key", UNKNOWN_ID),
        ("/somewhere", UNKNOWN_ID),
        ("relative", None),
        ("s3://bucket/key", None),
    ],
)
def test_other_storages_are_a_type_error(
    scene3: Scene3, call: Call, location: str, block: str | None
) -> None:
    """A location that is not a local path is named, with its storage block if it has one."""
    with pytest.raises(TypeError) as error:
        call(task_run3(scene3, state_data(location, block=block)), "get_result")
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
    ids=["empty", "truncated", "latin-1", "deep", "truncated record", "object", "nested object"],
)
def test_a_file_that_is_not_plain_json_is_a_type_error(
    scene3: Scene3, call: Call, tmp_path: Path, content: str
) -> None:
    """Truncated files, and objects that only Prefect can rebuild, are not guessed."""
    path = tmp_path / "result"
    path.write_text(content, "latin-1")
    with pytest.raises(rxflow.ResultUnreadable, match="no plain JSON"):
        call(task_run3(scene3, state_data(path)), "get_result")


def test_a_deleted_task_run_has_no_result(scene3: Scene3, call: Call, tmp_path: Path) -> None:
    """The result of a task run that was deleted is a TaskRunNotFound."""
    view = task_run3(scene3, state_data(write_record(tmp_path / "result", 1)))
    scene3.server.task_runs.clear()
    with pytest.raises(rxflow.TaskRunNotFound):
        call(view, "get_result")


# -- Prefect 1 ----------------------------------------------------------------------------------


def local_result(path: Path | str | None, folder: str = "/srv/example/results") -> dict[str, Any]:
    """A local file as Prefect 1 describes it."""
    location = None if path is None else str(path)
    return {"type": "LocalResult", "dir": folder, "location": location, "__version__": "1.4.1"}


def task_run1(
    scene1: Scene1, result: dict[str, Any] | None, state: str = "COMPLETED"
) -> TaskRunView:
    """Read a task run with a result on Prefect 1."""
    task = scene1.add_task_run("load", "RUNNING")
    scene1.set_task_state(task, state, _result=result)
    return scene1.task_run_view(task)


@pytest.mark.parametrize("value", [None, 0, "text", [1, {"a": [None, True]}], {}, 1e300], ids=repr)
def test_a_value_that_the_server_stores_is_read_once(
    scene1: Scene1, call: Call, value: Any
) -> None:
    """The location of a PrefectResult is its value, None included."""
    view = task_run1(scene1, stored_value(json.dumps(value)))
    assert call(view, "get_result") == value
    before = len(scene1.server.requests)
    assert call(view, "get_result") == value
    assert len(scene1.server.requests) == before


def test_records_of_prefect_3_are_plain_values(scene1: Scene1, call: Call, tmp_path: Path) -> None:
    """What would be a record or an object of Prefect 3 is a plain value on Prefect 1."""
    value = {"metadata": {}, "result": "1"}
    assert call(task_run1(scene1, stored_value(json.dumps(value))), "get_result") == value
    path = tmp_path / "result"
    path.write_text(json.dumps(value | {"__class__": "a.B"}))
    assert call(task_run1(Scene1(), local_result(path)), "get_result") == value | {
        "__class__": "a.B"
    }


@pytest.mark.parametrize("text", ["2022-11-04T12:00:00+00:00", "", "{", "[" * 100_000])
def test_a_value_that_is_no_json_is_a_type_error(scene1: Scene1, call: Call, text: str) -> None:
    """The error names the location of a value that is not JSON, and a way to read it."""
    with pytest.raises(rxflow.ResultUnreadable, match="no plain JSON") as error:
        call(task_run1(scene1, stored_value(text)), "get_result")
    assert READER in str(error.value)


@pytest.mark.parametrize("relative", [False, True])
def test_a_local_file_of_json_is_read(
    scene1: Scene1, call: Call, tmp_path: Path, *, relative: bool
) -> None:
    """A local file of JSON is read, absolute or below its folder, and once."""
    path = tmp_path / "result"
    path.write_text(json.dumps({"r\u00f6ws": 17}))
    view = task_run1(scene1, local_result("result" if relative else path, str(tmp_path)))
    assert call(view, "get_result") == {"r\u00f6ws": 17}
    path.unlink()
    assert call(view, "get_result") == {"r\u00f6ws": 17}
    assert call(call(view, "get_latest"), "get_result") == {"r\u00f6ws": 17}


@pytest.mark.parametrize(
    "content", [b"", b"2022-11-04T12:00:00+00:00", b",a\n0,1\n", "17".encode("utf-16"), b"\xff"]
)
def test_a_file_that_is_not_json_is_a_type_error(
    scene1: Scene1, call: Call, tmp_path: Path, content: bytes
) -> None:
    """A time, a table and other content is not guessed; the error names the location."""
    path = tmp_path / "result"
    path.write_bytes(content)
    with pytest.raises(rxflow.ResultUnreadable, match=str(path)):
        call(task_run1(scene1, local_result(path)), "get_result")


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("encoded", [False, True], ids=["raw", "base64"])
def test_a_pickle_is_not_unpickled(
    scene1: Scene1, tmp_path: Path, protocol: int, *, encoded: bool
) -> None:
    """The error of a pickle names the location and a way to read it."""
    path, touched = tmp_path / "result", tmp_path / "touched"
    pickled = pickle.dumps(TouchOnUnpickling(touched), protocol)
    path.write_bytes(base64.b64encode(pickled) if encoded else pickled)
    with pytest.raises(TypeError) as error:
        task_run1(scene1, local_result(path)).get_result()
    assert str(path) in str(error.value)
    assert READER in str(error.value)
    assert not touched.exists()


PLAIN_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@given(PLAIN_VALUES, st.integers(0, pickle.HIGHEST_PROTOCOL))
def test_no_pickle_is_read_as_json(tmp_path_factory: Any, value: Any, protocol: int) -> None:
    """The pickle of a plain value is never JSON, whatever the protocol."""
    path = tmp_path_factory.getbasetemp() / "pickle"
    path.write_bytes(pickle.dumps(value, protocol))
    stored = StoredResult(location=str(path))
    read = ResultRead(task_run_id="x", backend=BackendName.PREFECT_1, stored=stored)
    with pytest.raises(ResultUnreadable):
        load_result(read, ResultAccess((path.parent,), 2**20))


def test_a_missing_file_is_a_value_error(scene1: Scene1, call: Call) -> None:
    """The error of a missing file on Prefect 1 names its location, and is a FileNotFoundError."""
    view = task_run1(scene1, local_result("gone", "/nowhere"))
    with pytest.raises(FileNotFoundError, match=r"/nowhere/gone.*on this machine") as error:
        call(view, "get_result", directories=["/nowhere"])
    assert isinstance(error.value, ValueError)


def test_a_windows_path_is_not_joined_with_its_folder(scene1: Scene1, call: Call) -> None:
    """The error of a result on Windows has the location as it is there."""
    with pytest.raises(rxflow.RxflowError, match=r"is at 'C:\\\\results\\\\a'"):
        call(task_run1(scene1, local_result("C:\\results\\a", "C:\\results")), "get_result")


REMOTE_RESULTS: dict[str, tuple[dict[str, Any], str]] = {
    "s3": ({"type": "S3Result", "bucket": "b"}, "S3Result 'b'"),
    "gcs": ({"type": "GCSResult", "bucket": "b"}, "GCSResult 'b'"),
    "azure": ({"type": "AzureResult", "container": "c"}, "AzureResult 'c'"),
    "custom": ({"type": "CustomResult"}, "CustomResult"),
    "base": ({"type": "Result"}, "Result"),
    "secret": ({"type": "SecretResult", "secret_type": "PrefectSecret"}, "SecretResult"),
}


@pytest.mark.parametrize("kind", REMOTE_RESULTS)
def test_a_remote_storage_is_a_type_error(scene1: Scene1, call: Call, kind: str) -> None:
    """The error names the class, the bucket, the location and a way to read the result."""
    result, named = REMOTE_RESULTS[kind]
    with pytest.raises(TypeError) as error:
        call(task_run1(scene1, {**result, "location": "a/b.pkl"}), "get_result")
    for words in ("'a/b.pkl'", f"Prefect 1's {named}", READER):
        assert words in str(error.value)


@pytest.mark.parametrize(
    "result",
    [None, {"type": "NoResultType"}, local_result(None)],
    ids=["null", "no type", "no location"],
)
def test_a_result_that_was_not_kept_is_both_errors_of_prefect_1(
    scene1: Scene1, call: Call, result: Any
) -> None:
    """In 1.4.1 it is a TypeError or a ValueError; here it is both, and says how to keep results."""
    for error in (TypeError, ValueError, rxflow.ResultNotKept):
        with pytest.raises(error, match="was not kept; Prefect 1 keeps it"):
            call(task_run1(scene1, result), "get_result")


@pytest.mark.parametrize("state", ["RUNNING", "PENDING", "SCHEDULED"])
def test_an_unfinished_task_run_has_no_result_on_prefect_1(
    scene1: Scene1, call: Call, state: str
) -> None:
    """The result of an unfinished task run is a ValueError, without a request."""
    view = task_run1(scene1, stored_value("1"), state)
    before = len(scene1.server.requests)
    with pytest.raises(ValueError, match="not finished"):
        call(view, "get_result")
    assert len(scene1.server.requests) == before
