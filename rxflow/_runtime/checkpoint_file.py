"""The files of a checkpoint: the newest one, the one before it, and the lock of the watch.

    run.ckpt        the newest checkpoint
    run.ckpt.prev   the one before it, which is used if the newest is damaged
    run.ckpt.tmp    the next one while it is written
    run.ckpt.lock   locked by the watch, and has the id of its process

A checkpoint is written beside the newest, forced to the disk, and then takes its place, so that at
each moment one of them is whole. Links are not followed, and all files are for their owner alone.

Belongs here: the files, and what the errors say. Does not belong here: the format of one
(`checkpoint_format`), and when one is written (`acknowledged_events`).
"""

import os
import stat
import threading
from contextlib import suppress
from io import FileIO
from pathlib import Path

import msgspec

from rxflow._forks import register
from rxflow._runtime.checkpoint_format import (
    DamagedCheckpoint,
    OtherFormat,
    decode_checkpoint,
    encode_checkpoint,
    new_checkpoint,
)
from rxflow._runtime.locked_files import has_locked, unlock, write_all
from rxflow._runtime.watched_arguments import difference_text
from rxflow._watching.emitted_state import EmittedState
from rxflow._watching.watch_spec import WatchSpec
from rxflow.errors import CheckpointFailed, InvalidCheckpoint

# A link is refused, and a pipe is not waited for; Windows has neither.
_READ = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
_LOCK = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL


class LoadedCheckpoint(msgspec.Struct, frozen=True):
    """What a checkpoint says.

    Attributes:
        state: What is known of the events that were acknowledged; None if there is no checkpoint.
        stale: Why it is not of the newest checkpoint; None if it is.
    """

    state: EmittedState | None = None
    stale: str | None = None


class CheckpointFile:
    """The checkpoint of one watch. `close` may be called by any thread."""

    def __init__(self, path: str, spec: WatchSpec, api_url: str) -> None:
        """Name a checkpoint; no file is opened or created.

        Args:
            path: The path of the newest one.
            spec: What is watched.
            api_url: The URL of the API.
        """
        self._shown = path
        self._path = Path(path).absolute()  # the program may change its directory
        self._spec = spec
        self._api_url = api_url
        self._lock_file: FileIO | None = None
        self._is_newest_whole = False
        self._is_closed = False
        self._lock = threading.RLock()
        register(self)

    def reset_after_fork(self) -> None:
        """Leave the files and their lock to the parent."""
        self._lock = threading.RLock()
        file, self._lock_file, self._is_closed = self._lock_file, None, True
        if file is not None:
            file.close()  # without unlocking it, which would do so in the parent, too

    # -- reading --------------------------------------------------------------------------------

    def open(self) -> CheckpointFailed | None:
        """Lock the checkpoint.

        Returns:
            None once it is locked; while another watch has it, an error that says so.

        Raises:
            CheckpointFailed: The file of the lock cannot be opened.
            InvalidCheckpoint: The path is that of a directory, a link or a device.
        """
        with self._lock:
            if self._is_closed:  # disposed of before the watch could begin
                return None
            try:
                self._check_kind()
                path = str(self._beside(".lock"))
                file = FileIO(path, "r+", opener=lambda name, _: os.open(name, _LOCK, 0o600))
                if not has_locked(file):
                    with file:
                        return self._in_use(file)
            except OSError as error:
                raise self._failed("be locked", error) from error
            except ImportError as error:
                text = f"The checkpoint {self._shown!r} cannot be locked: this system has no flock"
                raise CheckpointFailed(text) from error
            self._lock_file = file
            with suppress(OSError):  # the disk is full: the lock holds without the id
                file.truncate(0)
                write_all(file, b"%d\n" % os.getpid())
        return None

    def _check_kind(self) -> None:
        """Refuse what no checkpoint can take the place of, before a file is created beside it."""
        with suppress(FileNotFoundError):
            if not stat.S_ISREG(self._path.lstat().st_mode):
                raise InvalidCheckpoint(
                    f"{self._shown!r} is not a regular file; pass the path of another checkpoint, "
                    "and that of the file itself in place of a link"
                )

    def _beside(self, ending: str) -> Path:
        return self._path.with_name(self._path.name + ending)

    def load(self) -> LoadedCheckpoint:
        """Read the newest checkpoint, or the one before it if the newest is damaged.

        Raises:
            CheckpointFailed: A file cannot be read.
            InvalidCheckpoint: Both are damaged, or it is that of another watch.
        """
        data = self._read(self._path)
        if data is None:
            return LoadedCheckpoint()
        try:
            state = self._state_of(data)
        except DamagedCheckpoint as damage:
            return self._load_previous(damage)
        self._is_newest_whole = True
        return LoadedCheckpoint(state)

    def _load_previous(self, damage: DamagedCheckpoint) -> LoadedCheckpoint:
        shown = self._shown + ".prev"
        data = self._read(self._beside(".prev"))
        what = f"The file {self._shown!r} is not a checkpoint of this watch: {damage}"
        if data is None:
            raise InvalidCheckpoint(
                f"{what}, and there is no {shown!r} to go on from. It was left as it is; pass the "
                "path of another file, or move this one away to watch from the beginning"
            ) from damage
        try:
            state = self._state_of(data)
        except DamagedCheckpoint as error:
            raise InvalidCheckpoint(
                f"{what}. Neither is {shown!r}: {error}. Both were left as they are; restore one "
                "of them, or move both away to watch from the beginning"
            ) from error
        return LoadedCheckpoint(state, f"{what}. The one before it is used, {shown!r}")

    def _read(self, path: Path) -> bytes | None:
        """Return what a file has; None if there is none."""
        try:
            with FileIO(str(path), "r", opener=lambda name, _: os.open(name, _READ)) as file:
                return file.readall()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._failed("be read", error) from error

    def _state_of(self, data: bytes) -> EmittedState:
        try:
            found = decode_checkpoint(data)
        except OtherFormat as error:
            raise InvalidCheckpoint(
                f"The checkpoint {self._shown!r} cannot be read: {error}. Use the version of "
                "rxflow that wrote it, or pass the path of another checkpoint"
            ) from error
        own = new_checkpoint(self._spec, self._api_url, found.state)
        differing = difference_text(found.watched, own.watched)
        if not differing and found.api != own.api:
            differing = f"another API URL than {self._api_url!r}"
        if differing:
            raise InvalidCheckpoint(
                f"The checkpoint {self._shown!r} is that of a watch with {differing}; pass the "
                "same arguments as before, or the path of another checkpoint"
            )
        return found.state

    # -- writing --------------------------------------------------------------------------------

    def save(self, state: EmittedState) -> None:
        """Write the next checkpoint, which is then the newest; once closed, do nothing.

        Raises:
            CheckpointFailed: It cannot be written; the newest is as it was.
        """
        data = encode_checkpoint(new_checkpoint(self._spec, self._api_url, state))
        next_file = self._beside(".tmp")
        with self._lock:
            if self._lock_file is None:
                return
            try:
                _write(next_file, data)
                self._keep_newest()
                next_file.replace(self._path)
                self._is_newest_whole = True
                self._force_directory()
            except OSError as error:
                with suppress(OSError):
                    next_file.unlink()
                raise self._failed("be written", error) from error

    def _keep_newest(self) -> None:
        """Let the newest be the one before it as well; a damaged one must not take its place."""
        if not self._is_newest_whole:
            return
        previous = self._beside(".prev")
        previous.unlink(missing_ok=True)
        with suppress(OSError):  # a file system without links keeps one checkpoint
            os.link(self._path, previous, follow_symlinks=False)

    def _force_directory(self) -> None:
        if os.name == "nt":
            return
        directory = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    def close(self) -> None:
        """Unlock the checkpoint. May be called twice."""
        with self._lock:
            file, self._lock_file, self._is_closed = self._lock_file, None, True
            if file is not None:
                unlock(file)
                file.close()

    # -- errors ---------------------------------------------------------------------------------

    def _in_use(self, file: FileIO) -> CheckpointFailed:
        pid = file.read(20).strip()
        holder = "another watch"
        if pid.isdigit():
            own = int(pid) == os.getpid()
            holder += " of this process" if own else f", of process {int(pid)}"
        return CheckpointFailed(
            f"The checkpoint {self._shown!r} is in use by {holder}; end that one first, or pass "
            "the path of another checkpoint"
        )

    def _failed(self, what: str, error: OSError) -> CheckpointFailed:
        reason = error.strerror or str(error)
        return CheckpointFailed(f"The checkpoint {self._shown!r} cannot {what}: {reason}")


def _write(path: Path, data: bytes) -> None:
    path.unlink(missing_ok=True)  # it is of a process that was killed
    with FileIO(str(path), "w", opener=lambda name, _: os.open(name, _CREATE, 0o600)) as file:
        write_all(file, data)
        os.fsync(file.fileno())
