"""Which files are read as results: regular ones below allowed directories, up to a length."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from server_scenes import Scene1, Scene3
from twin_calls import Call

import rxflow
from rxflow import TaskRunView

# A path that is refused must not be opened: a FIFO would wait for a writer.
pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def storage(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Make a directory the one in which Prefect 3 keeps results."""
    storage = tmp_path / "storage"
    storage.mkdir()
    monkeypatch.setenv("PREFECT_LOCAL_STORAGE_PATH", str(storage))
    return storage


def text_result(scene3: Scene3, location: str | Path) -> TaskRunView:
    """Read a task run whose result is the text of a file."""
    task = scene3.add_task_run("load", "RUNNING")
    data = {
        "storage_key": str(location),
        "expiration": None,
        "serializer": {"type": "text"},
        "prefect_version": "3.8.8",
        "storage_block_id": None,
    }
    scene3.set_task_state(task, "COMPLETED", data=data)
    return scene3.task_run_view(task)


def escape_by_traversal(storage: Path) -> Path:
    """Leave the storage by two dots."""
    return storage / ".." / "secret"


def escape_by_link(storage: Path) -> Path:
    """Leave the storage by a link to the file."""
    (storage / "link").symlink_to(storage.parent / "secret")
    return storage / "link"


def escape_by_linked_directory(storage: Path) -> Path:
    """Leave the storage by a link to a directory."""
    (storage / "links").symlink_to(storage.parent)
    return storage / "links" / "secret"


ELSEWHERE: dict[str, Callable[[Path], Path | str]] = {
    "another directory": lambda storage: storage.parent / "secret",
    "two dots": escape_by_traversal,
    "a link": escape_by_link,
    "a linked directory": escape_by_linked_directory,
    "a name that begins alike": lambda storage: storage.parent / "storage-of-others",
    "the directory itself": lambda storage: storage,
    "the environment": lambda _: "/proc/self/environ",
    "an endless device": lambda _: "/dev/zero",
    "a descriptor": lambda _: "/dev/fd/0",
    "no path": lambda storage: f"{storage}/a\0b",
}


@pytest.mark.parametrize("place", ELSEWHERE)
def test_a_file_elsewhere_is_refused(scene3: Scene3, call: Call, storage: Path, place: str) -> None:
    """A path that is not below Prefect's storage is not read, and the error says what to pass."""
    for name in ("secret", "storage-of-others"):
        (storage.parent / name).write_text("secret")
    view = text_result(scene3, ELSEWHERE[place](storage))
    with pytest.raises(rxflow.ResultUnavailable) as error:
        call(view, "get_result")
    assert not isinstance(error.value, FileNotFoundError)
    assert "directories=[" in str(error.value) or "not a path" in str(error.value)


def test_a_directory_can_be_allowed(scene3: Scene3, call: Call, tmp_path: Path) -> None:
    """The argument replaces the default, and its links are resolved too."""
    (tmp_path / "real" / "deep").mkdir(parents=True)
    (tmp_path / "real" / "deep" / "result").write_text("42")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    location = tmp_path / "link" / "deep" / "result"
    for directories in ([tmp_path / "real"], (str(tmp_path / "link"),), {tmp_path}):
        view = text_result(scene3, location)
        assert call(view, "get_result", directories=directories) == "42"
    with pytest.raises(rxflow.ResultUnavailable, match="no directory"):
        call(text_result(scene3, location), "get_result", directories=[])


def test_a_link_that_stays_in_the_directory_is_followed(
    scene3: Scene3, call: Call, storage: Path
) -> None:
    """Links are no reason to refuse; where they lead to is."""
    (storage / "result").write_text("42")
    (storage / "link").symlink_to("result")
    assert call(text_result(scene3, storage / "link"), "get_result") == "42"


def make_fifo(path: Path) -> None:
    """Create a FIFO, which a plain open would wait for."""
    os.mkfifo(path)


def make_directory(path: Path) -> None:
    """Create a directory."""
    path.mkdir()


@pytest.mark.parametrize("make", [make_fifo, make_directory])
def test_only_regular_files_are_read(
    scene3: Scene3, call: Call, storage: Path, make: Callable[[Path], None]
) -> None:
    """A FIFO or a directory in the storage is refused at once."""
    make(storage / "result")
    with pytest.raises(rxflow.ResultUnavailable, match="not a regular file"):
        call(text_result(scene3, storage / "result"), "get_result")


def test_a_device_in_an_allowed_directory_is_refused(scene3: Scene3, call: Call) -> None:
    """Allowing a directory does not allow its devices."""
    view = text_result(scene3, "/dev/zero")
    with pytest.raises(rxflow.ResultUnavailable, match="not a regular file"):
        call(view, "get_result", directories=["/dev"])


def test_a_long_file_is_refused(scene3: Scene3, call: Call, storage: Path) -> None:
    """A file longer than the limit is not read, and the error says how much to allow."""
    (storage / "result").write_text("0123456789")
    view = text_result(scene3, storage / "result")
    with pytest.raises(rxflow.ResultUnavailable, match="longer than 9 bytes; pass max_bytes=18"):
        call(view, "get_result", max_bytes=9)
    assert call(view, "get_result", max_bytes=10) == "0123456789"


def test_a_file_without_a_length_is_limited(scene3: Scene3, call: Call) -> None:
    """The limit counts what is read: files in /proc have no length of their own."""
    view = text_result(scene3, "/proc/self/maps")
    with pytest.raises(rxflow.ResultUnavailable, match="longer than 64 bytes"):
        call(view, "get_result", directories=["/proc"], max_bytes=64)


def test_a_file_that_cannot_be_opened_is_unavailable(
    scene3: Scene3, call: Call, storage: Path
) -> None:
    """A loop of links is no file, and the error says why."""
    (storage / "loop").symlink_to("loop")
    with pytest.raises(rxflow.ResultUnavailable, match="cannot be read on this machine"):
        call(text_result(scene3, storage / "loop"), "get_result")


def test_results_of_prefect_1_are_read_from_its_home(
    scene1: Scene1, call: Call, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Prefect 1 keeps results in its home."""
    monkeypatch.setenv("PREFECT__HOME_DIR", str(tmp_path))
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "a").write_text("42")
    task = scene1.add_task_run("load", "RUNNING")
    result = {
        "type": "LocalResult",
        "dir": str(tmp_path / "results"),
        "location": "a",
        "__version__": "1.4.1",
    }
    scene1.set_task_state(task, "COMPLETED", _result=result)
    assert call(scene1.task_run_view(task), "get_result") == 42


WRONG: dict[str, tuple[dict[str, Any], type[Exception]]] = {
    "one text": ({"directories": "/srv"}, TypeError),
    "one path": ({"directories": Path("/srv")}, TypeError),
    "bytes": ({"directories": [b"/srv"]}, TypeError),
    "a number": ({"directories": 7}, TypeError),
    "numbers": ({"directories": [7]}, TypeError),
    "an empty path": ({"directories": [""]}, ValueError),
    "a path with a null": ({"directories": ["/srv/a\0b"]}, ValueError),
    "no bytes": ({"max_bytes": 0}, ValueError),
    "a negative number": ({"max_bytes": -1}, ValueError),
    "a fraction": ({"max_bytes": 1.5}, TypeError),
    "a boolean": ({"max_bytes": True}, TypeError),
    "nothing": ({"max_bytes": None}, TypeError),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_argument_is_refused_by_the_call(scene3: Scene3, call: Call, case: str) -> None:
    """The error names the argument and shows a right value; no request is sent."""
    arguments, error_type = WRONG[case]
    view = text_result(scene3, "/srv/a")
    before = len(scene3.server.requests)
    with pytest.raises(error_type, match=r"pass (a list|one|\d)") as error:
        call(view, "get_result", **arguments)
    assert str(error.value).startswith(next(iter(arguments)))
    assert len(scene3.server.requests) == before
