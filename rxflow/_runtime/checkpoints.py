"""The checkpoints of a watch: a file for one run, or a directory with one for each run; one lock.

    run.ckpt          the checkpoint of a run
    run.ckpt.prev     the one before it
    run.ckpt.lock     which process has it

    nightly/
      checkpoint.lock                                  which process has the directory
      9e6caafc-4ea1-4493-b0a9-122efba9eaaa.ckpt        the checkpoint of that run
      9e6caafc-4ea1-4493-b0a9-122efba9eaaa.ckpt.prev   the one before it
      ...

Of all files only that of the lock is open between two calls, and of one run, that of the directory
if it has one, which is then shared. A watch of the directory looks once for the lock of each run,
since a watch of that run may have begun before the directory had a lock. Of few runs, the
checkpoint of each is forced to the disk by a call of its own; of many, as at the end of a watch,
all together by one for all that the system has to write.

Belongs here: which files there are, threads, and forks. Does not belong here: what is in the files
of one run (`checkpoint_file`), and when they are written (`acknowledged_events`).
"""

import os
import re
import threading
from collections.abc import Mapping
from io import FileIO
from pathlib import Path

from msgspec.structs import replace

from rxflow._forks import register
from rxflow._runtime.checkpoint_file import CheckpointFile, LoadedCheckpoint, checkpoint_failure
from rxflow._runtime.checkpoint_use import CheckpointUse
from rxflow._runtime.locked_files import (
    holder_among,
    open_lock,
    open_to_look,
    pid_in_lock,
    share_lock,
    unlock,
)
from rxflow._watching.emitted_state import EmittedState
from rxflow._watching.watch_spec import WatchSpec
from rxflow.errors import CheckpointFailed, InvalidCheckpoint

LOCK_NAME = "checkpoint.lock"
"""The file in a directory of checkpoints that a watch locks."""

MOST_FORCED = 64
"""The most files that are forced to the disk one by one, some 4 ms each."""

_LOCK = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)  # Windows has no links
_NAME = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\.ckpt")


class Checkpoints:
    """The checkpoints of one watch. `close` may be called by any thread."""

    def __init__(self, use: CheckpointUse, spec: WatchSpec, api_url: str) -> None:
        """Name the files; none is opened or created.

        Args:
            use: Where they are.
            spec: What is watched; of each run, if they are in a directory.
            api_url: The URL of the API.
        """
        self._shown = use.path
        self._path = Path(use.path).absolute()  # the program may change its directory
        self._is_directory = use.is_directory
        self._spec = spec
        self._api_url = api_url
        self._lock_file: FileIO | None = None
        self._directory_lock: FileIO | None = None  # shared with watches of other files in it
        self._files: dict[str, CheckpointFile] = {}
        self._is_closed = False
        self._lock = threading.RLock()
        register(self)

    def reset_after_fork(self) -> None:
        """Leave the files and their lock to the parent."""
        self._lock = threading.RLock()
        self._is_closed = True
        for file in self._taken_locks():
            file.close()  # without unlocking it, which would do so in the parent, too

    # -- the lock -------------------------------------------------------------------------------

    def open(self) -> CheckpointFailed | None:
        """Lock the checkpoints; create the directory if there is to be one.

        Returns:
            None once they are locked; while another watch has them, an error that says so.

        Raises:
            CheckpointFailed: The file of the lock cannot be opened.
            InvalidCheckpoint: The path is that of something else.
        """
        with self._lock:
            if self._is_closed:  # disposed of before the watch could begin
                return None
            return self._open()

    def _open(self) -> CheckpointFailed | None:
        try:
            in_use = self._locked_by_other()
        except OSError as error:
            raise self._failed("be locked", error) from error
        except ImportError as error:
            text = f"The checkpoint {self._shown!r} cannot be locked: this system has no flock"
            raise CheckpointFailed(text) from error
        if in_use is not None:
            self._unlock()
        return in_use

    def _locked_by_other(self) -> CheckpointFailed | None:
        """Lock the checkpoints; return the error if another watch has them, or their directory."""
        path = self._prepared_lock_path()
        holder = self._share_directory()
        if holder is None:
            holder_of_shared = self._holder_of_file if self._is_directory else None
            lock_file = open_lock(str(path), _open_or_create, holder_of_shared)
            if isinstance(lock_file, str):
                return self._in_use(self._shown, lock_file)
            self._lock_file = lock_file
            # A watch of the directory may have begun before the file was locked. One that begins
            # from now on finds it locked.
            holder = self._share_directory()
        return None if holder is None else self._in_use(self._shown, holder)

    def _share_directory(self) -> str | None:
        """Share the lock of the directory, if it has one; return which watch has locked it."""
        if self._is_directory or self._directory_lock is not None:
            return None
        if not _NAME.fullmatch(self._path.name):  # no watch of a directory has such a file
            return None
        lock = share_lock(str(self._path.with_name(LOCK_NAME)))
        if isinstance(lock, str):
            return lock
        self._directory_lock = lock
        return None

    def _holder_of_file(self) -> str:
        """Return which watch has the checkpoint of one run in the directory, for an error."""
        paths = [str(self._path / f"{name}.lock") for name in self._names(".lock")]
        return holder_among(paths, pid_in_lock, open_to_look) or "another watch"

    def _in_use(self, shown: str, holder: str) -> CheckpointFailed:
        other = "directory" if self._is_directory else "checkpoint"
        return CheckpointFailed(
            f"The checkpoint {shown!r} is in use by {holder}; end that one first, or pass the path "
            f"of another {other}"
        )

    def _prepared_lock_path(self) -> Path:
        """Return the path of the lock, once nothing is in the way of the files beside it."""
        if not self._is_directory:
            self._file_of(self._spec.flow_run_id).check_kind()
            return self._path.with_name(self._path.name + ".lock")
        try:
            self._path.mkdir(0o700, exist_ok=True)
        except FileExistsError as error:
            raise InvalidCheckpoint(
                f"The checkpoint {self._shown!r} is not a directory; the checkpoints of several "
                "runs are files in one, so pass the path of a directory"
            ) from error
        return self._path / LOCK_NAME

    def close(self) -> None:
        """Unlock the checkpoints. May be called twice."""
        with self._lock:
            self._is_closed = True
            self._unlock()

    def _unlock(self) -> None:
        for file in self._taken_locks():
            with file:
                unlock(file)

    def _taken_locks(self) -> list[FileIO]:
        """Return the locks, which are not those of this watch any more."""
        files = [self._lock_file, self._directory_lock]
        self._lock_file = self._directory_lock = None
        return [file for file in files if file is not None]

    # -- reading --------------------------------------------------------------------------------

    def load(self, flow_run_id: str) -> LoadedCheckpoint:
        """Read the checkpoint of a run.

        Args:
            flow_run_id: The run.

        Raises:
            CheckpointFailed: A file cannot be read, or is in use by a watch of that run alone.
            InvalidCheckpoint: It is damaged, as is the one before it, or that of another watch.
        """
        if self._is_directory:
            path = self._path / f"{flow_run_id}.ckpt"
            holder = holder_among([f"{path}.lock"], pid_in_lock, open_to_look)
            if holder is not None:
                raise self._in_use(str(Path(self._shown, path.name)), holder)
        return self._file_of(flow_run_id).load()

    def unclosed(self) -> list[str]:
        """Return the runs that have a checkpoint in the directory which does not know `Closed`.

        Raises:
            CheckpointFailed: The directory or a file cannot be read.
        """
        if not self._is_directory:
            return []
        try:
            names = self._names()
        except OSError as error:
            raise self._failed("be read", error) from error
        runs = (name.removesuffix(".ckpt") for name in names)
        return [run_id for run_id in runs if not self._new_file(run_id).knows_closed()]

    def _names(self, ending: str = "") -> list[str]:
        """Return the names of the checkpoints that have a file with an ending, in order."""
        with os.scandir(self._path) as entries:
            found = [each.name for each in entries if each.name.endswith(ending)]
        return sorted(filter(_NAME.fullmatch, (name.removesuffix(ending) for name in found)))

    def _file_of(self, run_id: str) -> CheckpointFile:
        file = self._files.get(run_id)
        if file is None:
            file = self._files[run_id] = self._new_file(run_id)
        return file

    def _new_file(self, run_id: str) -> CheckpointFile:
        if not self._is_directory:
            return CheckpointFile(self._path, self._shown, self._spec, self._api_url)
        name = f"{run_id}.ckpt"
        spec = replace(self._spec, flow_run_id=run_id)
        return CheckpointFile(self._path / name, str(Path(self._shown, name)), spec, self._api_url)

    # -- writing --------------------------------------------------------------------------------

    def save(self, states: Mapping[str, EmittedState]) -> None:
        """Write the next checkpoints of runs, which are then the newest; once closed, do nothing.

        Args:
            states: What they say, by runs.

        Raises:
            CheckpointFailed: One cannot be written; its newest is as it was, and others may be.
        """
        with self._lock:
            if self._lock_file is not None:
                self._save(states)

    def save_late(self, states: Mapping[str, EmittedState]) -> None:
        """Write the next checkpoints once they are closed, unless another watch has gone on.

        Args:
            states: What they say, by runs.

        Raises:
            CheckpointFailed: As for `save` and `open`; or another watch has them, or has written
                one since.
        """
        with self._lock:
            in_use = self._open()
            if in_use is not None:
                raise in_use
            try:
                if not all(self._file_of(run_id).is_as_left() for run_id in states):
                    raise CheckpointFailed(
                        f"The checkpoint {self._shown!r} was written by another watch since this "
                        "one ended; acknowledge the events that the other one has emitted"
                    )
                self._save(states)
            finally:
                self.close()

    def _save(self, states: Mapping[str, EmittedState]) -> None:
        files = {run_id: self._file_of(run_id) for run_id in states}
        forces_each = len(files) <= MOST_FORCED
        try:
            for run_id, file in files.items():
                file.write_next(states[run_id], forced=forces_each)
            if not forces_each:
                os.sync()  # where 9,000 calls of fsync took 30 s
            for file in files.values():
                file.replace_newest()
        except BaseException:
            for file in files.values():
                file.drop_next()
            raise
        self._force_directory()

    def _force_directory(self) -> None:
        if os.name == "nt":
            return
        try:
            directory = os.open(
                self._path if self._is_directory else self._path.parent, os.O_RDONLY
            )
            try:
                os.fsync(directory)
            finally:
                os.close(directory)
        except OSError as error:
            raise self._failed("be written", error) from error

    def forget(self, flow_run_id: str) -> None:
        """Drop what is known of the files of a run, which are not used any more."""
        self._files.pop(flow_run_id, None)

    def _failed(self, what: str, error: OSError) -> CheckpointFailed:
        return checkpoint_failure(self._shown, what, error)


def _open_or_create(path: str, _: int) -> int:
    return os.open(path, _LOCK, 0o600)
