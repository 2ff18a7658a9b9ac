"""`Checkpoints`: the newest checkpoint of a run, the one before it, and the lock."""

import fcntl
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from journal_files import largest_file
from virtual_world import TEST_TIMEOUT

from rxflow import CheckpointFailed, FlowRunLog, InvalidCheckpoint
from rxflow._runtime.checkpoint_file import LoadedCheckpoint
from rxflow._runtime.checkpoint_use import CheckpointUse
from rxflow._runtime.checkpoints import Checkpoints
from rxflow._watching.emitted_state import EmittedState
from rxflow._watching.log_reader import RowLimit
from rxflow._watching.run_watch import RunWatch
from rxflow._watching.watch_spec import EventSource, WatchSpec

RUN = "9e6caafc-4ea1-4493-b0a9-122efba9eaaa"
OTHER_RUN = "00000000-0000-4000-8000-000000000000"
API = "http://fake.invalid/api"
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
SPEC = WatchSpec(flow_run_id=RUN)


def state_of(lines: int) -> EmittedState:
    """Return what is known of some log lines."""
    record = RunWatch(SPEC, RowLimit())
    record.record_emitted(
        [
            FlowRunLog(
                flow_run_id=RUN,
                id=f"00000000-0000-4000-8000-{number:012}",
                timestamp=NOW + timedelta(seconds=number),
                created=NOW,
                level=20,
                name="prefect.flow_runs",
                message=f"line {number}",
            )
            for number in range(lines)
        ]
    )
    return record.save_emitted()


STATES = [state_of(lines) for lines in range(4)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The path of a checkpoint that does not exist yet."""
    return tmp_path / "run.ckpt"


def opened(path: Path, spec: WatchSpec = SPEC, api: str = API) -> Checkpoints:
    """Lock a checkpoint."""
    file = Checkpoints(CheckpointUse(path=str(path)), spec, api)
    in_use = file.open()
    if in_use is not None:
        raise in_use
    return file


def load(path: Path, spec: WatchSpec = SPEC, api: str = API) -> LoadedCheckpoint:
    """Return what a watch that goes on would find."""
    file = opened(path, spec, api)
    try:
        return file.load(RUN)
    finally:
        file.close()


def save(path: Path, *states: EmittedState) -> None:
    """Write checkpoints of one watch."""
    file = opened(path)
    file.load(RUN)
    for state in states:
        file.save({RUN: state})
    file.close()


def files_of(path: Path) -> dict[str, bytes]:
    """Return all files but that of the lock."""
    return {
        each.name: each.read_bytes() for each in path.parent.iterdir() if each.suffix != ".lock"
    }


# -- writing and reading --------------------------------------------------------------------------


def test_the_newest_checkpoint_is_read(path: Path) -> None:
    """The one before it is kept beside it, and nothing else."""
    assert load(path) == LoadedCheckpoint()
    for number, state in enumerate(STATES):
        save(path, state)
        assert load(path) == LoadedCheckpoint(state)
        assert len(files_of(path)) == min(number + 1, 2)
    path.unlink()
    (path.parent / "run.ckpt.prev").replace(path)
    assert load(path) == LoadedCheckpoint(STATES[-2])


def test_checkpoints_are_for_their_owner_alone(path: Path) -> None:
    """All files are created with mode 0600."""
    save(path, *STATES)
    modes = {each.name: each.stat().st_mode & 0o777 for each in path.parent.iterdir()}
    assert modes == dict.fromkeys(["run.ckpt", "run.ckpt.prev", "run.ckpt.lock"], 0o600)


def test_a_checkpoint_stays_where_it_was_opened(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program that changes its directory meanwhile does not move it."""
    monkeypatch.chdir(path.parent)
    file = opened(Path("run.ckpt"))
    monkeypatch.chdir("/")
    file.save({RUN: STATES[1]})
    file.close()
    assert load(path) == LoadedCheckpoint(STATES[1])


def test_what_a_killed_process_left_is_written_anew(path: Path) -> None:
    """A part of the next checkpoint is neither read nor in the way."""
    save(path, STATES[1])
    path.with_name("run.ckpt.tmp").write_bytes(path.read_bytes()[:20])
    assert load(path) == LoadedCheckpoint(STATES[1])
    save(path, STATES[2])
    assert load(path) == LoadedCheckpoint(STATES[2])
    assert files_of(path).keys() == {"run.ckpt", "run.ckpt.prev"}


def test_a_closed_checkpoint_is_not_written(path: Path) -> None:
    """Closing it again, or opening it, does nothing."""
    file = opened(path)
    file.close()
    file.close()
    file.save({RUN: STATES[1]})
    assert file.open() is None
    file.save({RUN: STATES[1]})
    assert files_of(path) == {}


# -- damaged, foreign -----------------------------------------------------------------------------


def test_of_a_damaged_checkpoint_the_one_before_it_is_used(path: Path) -> None:
    """Cut at any byte, or with any byte changed, the newest is not believed, and a text says so."""
    save(path, STATES[1], STATES[2])
    whole = path.read_bytes()
    damaged = [whole[:end] for end in range(len(whole))]
    damaged += [
        whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :] for at in range(len(whole))
    ]
    for data in damaged:
        path.write_bytes(data)
        loaded = load(path)
        assert loaded.state == STATES[1]
        assert "run.ckpt.prev" in (loaded.stale or "")


def test_a_damaged_checkpoint_does_not_replace_the_one_before_it(path: Path) -> None:
    """Until the next one is whole, that is the only good one."""
    save(path, STATES[1], STATES[2])
    path.write_bytes(b"")
    save(path, STATES[3])
    assert load(path) == LoadedCheckpoint(STATES[3])
    path.write_bytes(b"")
    assert load(path).state == STATES[1]


def refusal(path: Path, spec: WatchSpec = SPEC, api: str = API) -> str:
    """Return the error of what is no checkpoint of the watch, and is left as it is."""
    before = files_of(path)
    with pytest.raises(InvalidCheckpoint) as caught:
        load(path, spec, api)
    assert files_of(path) == before
    return str(caught.value)


@pytest.mark.parametrize("data", [b"", b"notes\n", b'{"rxflow_journal":1,"pid":1}\n'])
def test_a_foreign_file_is_refused(data: bytes, path: Path) -> None:
    """Without a checkpoint before it there is nothing to go on from."""
    path.write_bytes(data)
    text = refusal(path)
    assert "does not begin as a checkpoint does, and there is no" in text
    assert "pass the path of another file, or move this one away to watch from the beg" in text


def test_two_damaged_checkpoints_are_refused(path: Path) -> None:
    """The error names both, and what to do."""
    save(path, STATES[1], STATES[2])
    for each in (path, path.with_name("run.ckpt.prev")):
        each.write_bytes(each.read_bytes()[:-1])
    text = refusal(path)
    assert "run.ckpt' is not a checkpoint of this watch: it was cut off or changed. Neither" in text
    assert "restore one of them, or move both away" in text


def test_a_checkpoint_of_another_version_is_refused(path: Path) -> None:
    """It is whole, so that the one before it is not used."""
    save(path, STATES[1])
    import zlib  # noqa: PLC0415

    magic, content = b"rxflow-checkpoint 2\n", path.read_bytes()[24:]
    path.write_bytes(magic + zlib.crc32(content, zlib.crc32(magic)).to_bytes(4) + content)
    assert "version 2, not 1. Use the version of rxflow that wrote it" in refusal(path)


OTHERS: dict[str, tuple[dict[str, Any], str]] = {
    "run": ({"flow_run_id": OTHER_RUN}, f"flow_run_id='{RUN}' and not '{OTHER_RUN}'"),
    "level": ({"level": 30}, "level=0 and not 30"),
    "since": ({"since": NOW}, "since=None and not 2026-11-22T12:00:00+00:00"),
    "streams": (
        {"sources": frozenset({EventSource.STATES, EventSource.NOTICES})},
        "stream_logs=True and not False; stream_tasks=True and not False",
    ),
    "task states": ({"all_task_states": True}, "task_states='latest' and not 'all'"),
}


@pytest.mark.parametrize("what", OTHERS)
def test_a_checkpoint_of_another_watch_is_refused(what: str, path: Path) -> None:
    """The error names each argument that differs."""
    save(path, STATES[1])
    changed, text = OTHERS[what]
    assert text in refusal(path, WatchSpec(**{"flow_run_id": RUN, **changed}))


def test_a_checkpoint_of_another_server_is_refused(path: Path) -> None:
    """The same id is another run there."""
    save(path, STATES[1])
    text = refusal(path, api="http://other.invalid/api")
    assert "another API URL than 'http://other.invalid/api'" in text


def test_arguments_that_decide_on_no_event_may_differ(path: Path) -> None:
    """Limits and pauses are those of each watch."""
    save(path, STATES[1])
    spec = WatchSpec(flow_run_id=RUN, drain=1.0, max_duration=3.0, push=False)
    assert load(path, spec) == LoadedCheckpoint(STATES[1])


def _link(path: Path) -> None:
    path.with_name("target").write_text("kept")
    path.symlink_to("target")


IRREGULAR: dict[str, Callable[[Path], object]] = {
    "a link": _link,
    "a link to nothing": lambda path: path.symlink_to("nothing"),
    "a pipe": os.mkfifo,
    "a folder": Path.mkdir,
}


@pytest.mark.parametrize("what", IRREGULAR)
def test_only_a_regular_file_is_taken(what: str, path: Path) -> None:
    """A link is not followed, a pipe not waited for, and no lock is left beside it."""
    IRREGULAR[what](path)
    before = sorted(path.parent.iterdir())
    with pytest.raises(InvalidCheckpoint, match="is not a regular file; pass the path"):
        load(path)
    assert sorted(path.parent.iterdir()) == before


def test_a_lock_that_is_a_link_is_refused(path: Path) -> None:
    """Else the id of the process would be written to what it points to."""
    path.with_name("run.ckpt.lock").symlink_to("victim")
    path.with_name("victim").write_text("kept")
    with pytest.raises(CheckpointFailed, match="cannot be locked: Too many levels"):
        load(path)
    assert path.with_name("victim").read_text() == "kept"


def test_a_folder_that_does_not_exist_is_an_error(tmp_path: Path) -> None:
    """It is not created."""
    with pytest.raises(CheckpointFailed, match="cannot be locked: No such file or directory"):
        load(tmp_path / "none" / "run.ckpt")
    assert list(tmp_path.iterdir()) == []


# -- the lock -------------------------------------------------------------------------------------


def test_a_checkpoint_has_one_watch(path: Path) -> None:
    """Two watches of one process exclude each other, and the first goes on."""
    file = opened(path)
    with pytest.raises(CheckpointFailed, match="in use by another watch of this process; end that"):
        opened(path)
    file.save({RUN: STATES[1]})
    file.close()
    assert load(path) == LoadedCheckpoint(STATES[1])


HOLDER = """
import sys
sys.path[:0] = {folders!r}
from test_checkpoints import RUN, STATES, opened
from pathlib import Path
file = opened(Path({path!r}))
file.save({{RUN: STATES[2]}})
print(flush=True)
sys.stdin.readline()
"""
FOLDERS = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "support")]


def test_the_error_of_a_locked_checkpoint_has_the_process(path: Path) -> None:
    """A process that is killed leaves its checkpoint, and not its lock."""
    save(path, STATES[1])
    script = HOLDER.format(folders=FOLDERS, path=str(path))
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        with pytest.raises(CheckpointFailed, match=f"another watch, of process {holder.pid}; end"):
            opened(path)
        holder.kill()
    assert load(path) == LoadedCheckpoint(STATES[2])


def test_a_lock_without_a_process_is_respected(path: Path) -> None:
    """Someone else's lock holds, too."""
    with path.with_name("run.ckpt.lock").open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(CheckpointFailed, match="in use by another watch; end that one first"):
            opened(path)


# -- a directory, and the checkpoint of one run in it ---------------------------------------------


def opened_directory(path: Path) -> Checkpoints:
    """Lock a directory of checkpoints, and read that of the run."""
    files = Checkpoints(CheckpointUse(path=str(path), is_directory=True), SPEC, API)
    in_use = files.open()
    if in_use is not None:
        raise in_use
    try:
        files.load(RUN)
    except Exception:
        files.close()
        raise
    return files


IN_USE = "in use by another watch of this process; end that one first, or pass the path of another"


def test_a_checkpoint_of_a_directory_that_is_watched_is_refused(tmp_path: Path) -> None:
    """Whether it has one or not; the watch of the directory goes on."""
    nightly = opened_directory(tmp_path / "nightly")
    own = tmp_path / "nightly" / f"{RUN}.ckpt"
    for state in STATES[1:]:
        with pytest.raises(CheckpointFailed, match=IN_USE + " checkpoint"):
            opened(own)
        nightly.save({RUN: state})
    assert not own.with_name(own.name + ".lock").exists()
    nightly.close()
    assert load(own) == LoadedCheckpoint(STATES[-1])


def test_a_directory_refuses_a_checkpoint_that_is_in_use(tmp_path: Path) -> None:
    """A watch of one run that began before the directory was one keeps its checkpoint."""
    file = opened(tmp_path / f"{RUN}.ckpt")
    for _ in range(2):  # for the second time the directory has a lock
        with pytest.raises(CheckpointFailed, match=IN_USE + " directory"):
            opened_directory(tmp_path)
    file.save({RUN: STATES[1]})
    file.close()
    nightly = opened_directory(tmp_path)
    assert nightly.load(RUN) == LoadedCheckpoint(STATES[1])
    nightly.close()


def test_a_directory_is_refused_while_a_checkpoint_in_it_is_in_use(tmp_path: Path) -> None:
    """Once it has a lock; checkpoints in it do not exclude each other."""
    opened_directory(tmp_path).close()
    files = [opened(tmp_path / f"{run}.ckpt") for run in (RUN, OTHER_RUN)]
    for file in files:
        with pytest.raises(CheckpointFailed, match=IN_USE + " directory"):
            opened_directory(tmp_path)
        file.close()
    opened_directory(tmp_path).close()


def test_a_checkpoint_of_another_name_is_not_of_the_directory(tmp_path: Path) -> None:
    """A watch of the directory uses checkpoints that are named by a run's id."""
    nightly = opened_directory(tmp_path)
    save(tmp_path / "mine.ckpt", STATES[1])
    nightly.save({RUN: STATES[2]})
    nightly.close()
    assert load(tmp_path / "mine.ckpt") == LoadedCheckpoint(STATES[1])


HOLDER_OF_ONE = """
import sys
sys.path[:0] = {folders!r}
from test_checkpoints import {function}
from pathlib import Path
files = {function}(Path({path!r}))
print(flush=True)
sys.stdin.readline()
"""


@pytest.mark.parametrize("has_lock", [False, True], ids=["without a lock", "with a lock"])
@pytest.mark.parametrize("holder", ["opened_directory", "opened"])
def test_the_error_has_the_process_of_the_other_one(
    tmp_path: Path, holder: str, *, has_lock: bool
) -> None:
    """That of the watch that goes on, and not one that an earlier watch has left in a file."""
    directory, file = tmp_path, tmp_path / f"{RUN}.ckpt"
    if has_lock:
        opened_directory(directory).close()
    path = directory if holder == "opened_directory" else file
    script = HOLDER_OF_ONE.format(folders=FOLDERS, function=holder, path=str(path))
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        begin = (
            partial(opened, file) if path is directory else partial(opened_directory, path.parent)
        )
        with pytest.raises(CheckpointFailed, match=f"another watch, of process {process.pid}; end"):
            begin()
        process.kill()


# -- forks ----------------------------------------------------------------------------------------


def test_a_forked_child_leaves_the_checkpoint_to_the_parent(path: Path) -> None:
    """The child neither writes nor unlocks it, and does not keep it locked after the parent."""
    script = f"""
import os, sys
sys.path[:0] = {FOLDERS!r}
from pathlib import Path
from rxflow import CheckpointFailed
from test_checkpoints import RUN, STATES, load, opened
path = Path({str(path)!r})
file = opened(path)
ready, go = os.pipe(), os.pipe()
child = os.fork()
if child == 0:
    file.save({{RUN: STATES[3]}})
    file.close()
    os.write(ready[1], b"-" if path.exists() else b"+")
    os.read(go[0], 1)
    os._exit(0)
assert os.read(ready[0], 1) == b"+"
try:
    opened(path)
    sys.exit("the child unlocked it")
except CheckpointFailed:
    pass
file.save({{RUN: STATES[1]}})
file.close()
assert load(path).state == STATES[1]
os.write(go[1], b"x")
os.waitpid(child, 0)
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script], check=False, timeout=TEST_TIMEOUT
    )
    assert done.returncode == 0


# -- a full disk ----------------------------------------------------------------------------------


def test_a_full_disk_leaves_the_newest_as_it_is(path: Path) -> None:
    """However little room there is, the checkpoint is whole, and the next attempt may succeed."""
    save(path, STATES[1], STATES[2])
    before = files_of(path)
    for room in (0, 1, 100, len(before["run.ckpt"]) - 1):
        file = opened(path)
        assert file.load(RUN) == LoadedCheckpoint(STATES[2])
        with (
            largest_file(room),
            pytest.raises(CheckpointFailed, match="cannot be written: File too large"),
        ):
            file.save({RUN: STATES[3]})
        assert files_of(path) == before
        file.close()
    save(path, STATES[3])
    assert load(path) == LoadedCheckpoint(STATES[3])


def test_a_folder_that_is_gone_is_an_error(path: Path) -> None:
    """It is that of the attempt to write."""
    file = opened(path)
    path.with_name("run.ckpt.lock").unlink()
    path.parent.rmdir()
    with pytest.raises(CheckpointFailed, match="cannot be written: No such file or directory"):
        file.save({RUN: STATES[1]})
    file.close()
