"""The files of the checkpoint of one run: the newest, and the one before it.

    run.ckpt        the newest checkpoint
    run.ckpt.prev   the one before it, which is used if the newest is damaged
    run.ckpt.tmp    the next one while it is written

A checkpoint is written beside the newest, forced to the disk, and then takes its place, so that at
each moment one of them is whole. Links are not followed, and all files are for their owner alone.

Belongs here: the files, and what the errors say. Does not belong here: the format of one
(`checkpoint_format`), their lock (`checkpoints`), and when one is written (`acknowledged_events`).
"""

import os
import stat
import zlib
from contextlib import suppress
from io import FileIO
from pathlib import Path

import msgspec

from rxflow._runtime.checkpoint_format import (
    DamagedCheckpoint,
    OtherFormat,
    decode_checkpoint,
    encode_checkpoint,
    knows_closed,
    new_checkpoint,
)
from rxflow._runtime.locked_files import reason_of, write_all
from rxflow._runtime.watched_arguments import difference_text
from rxflow._watching.emitted_state import EmittedState
from rxflow._watching.watch_spec import WatchSpec
from rxflow.errors import CheckpointFailed, InvalidCheckpoint

# A link is refused, and a pipe is not waited for; Windows has neither.
_READ = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
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
    """The checkpoint of one run. Its owner sees to it that no two threads use it at once."""

    def __init__(self, path: Path, shown: str, spec: WatchSpec, api_url: str) -> None:
        """Name a checkpoint; no file is opened or created.

        Args:
            path: The absolute path of the newest one.
            shown: The path for errors.
            spec: What is watched.
            api_url: The URL of the API.
        """
        self._path = path
        self._shown = shown
        self._spec = spec
        self._api_url = api_url
        self._is_newest_whole = False
        self._newest_crc: int | None = None  # of the bytes that were read or written last
        self._next_crc: int | None = None

    def check_kind(self) -> None:
        """Refuse what no checkpoint can take the place of.

        Raises:
            InvalidCheckpoint: The path is that of a directory, a link or a device.
        """
        with suppress(FileNotFoundError):
            if not stat.S_ISREG(self._path.lstat().st_mode):
                raise InvalidCheckpoint(
                    f"{self._shown!r} is not a regular file; pass the path of another checkpoint, "
                    "and that of the file itself in place of a link"
                )

    def _beside(self, ending: str) -> Path:
        return self._path.with_name(self._path.name + ending)

    # -- reading --------------------------------------------------------------------------------

    def load(self) -> LoadedCheckpoint:
        """Read the newest checkpoint, or the one before it if the newest is damaged.

        Raises:
            CheckpointFailed: A file cannot be read.
            InvalidCheckpoint: Both are damaged, or it is that of another watch, or no file.
        """
        self.check_kind()
        data = self._read(self._path)
        if data is None:
            return LoadedCheckpoint()
        self._newest_crc = zlib.crc32(data)
        try:
            state = self._state_of(data)
        except DamagedCheckpoint as damage:
            return self._load_previous(damage)
        self._is_newest_whole = True
        return LoadedCheckpoint(state)

    def knows_closed(self) -> bool:
        """Whether the newest checkpoint is whole, and knows a `Closed` as the last event.

        Raises:
            CheckpointFailed: The file cannot be read.
        """
        data = self._read(self._path)
        return data is not None and knows_closed(data)

    def is_as_left(self) -> bool:
        """Whether the newest checkpoint is the one that was read or written last.

        Raises:
            CheckpointFailed: The file cannot be read.
        """
        data = self._read(self._path)
        return (None if data is None else zlib.crc32(data)) == self._newest_crc

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
            raise checkpoint_failure(self._shown, "be read", error) from error

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

    def write_next(self, state: EmittedState, *, forced: bool) -> None:
        """Write the next checkpoint beside the newest.

        Args:
            state: What it says.
            forced: Whether to force it to the disk.

        Raises:
            CheckpointFailed: It cannot be written; the newest is as it was.
        """
        data = encode_checkpoint(new_checkpoint(self._spec, self._api_url, state))
        path = self._beside(".tmp")
        try:
            path.unlink(missing_ok=True)  # it is of a process that was killed
            with FileIO(
                str(path), "w", opener=lambda name, _: os.open(name, _CREATE, 0o600)
            ) as file:
                write_all(file, data)
                if forced:
                    os.fsync(file.fileno())
        except OSError as error:
            raise checkpoint_failure(self._shown, "be written", error) from error
        self._next_crc = zlib.crc32(data)

    def replace_newest(self) -> None:
        """Let the next checkpoint, which is on the disk, take the place of the newest.

        Raises:
            CheckpointFailed: It cannot; the newest is as it was.
        """
        try:
            self._keep_newest()
            self._beside(".tmp").replace(self._path)
        except OSError as error:
            raise checkpoint_failure(self._shown, "be written", error) from error
        self._is_newest_whole = True
        self._newest_crc = self._next_crc

    def drop_next(self) -> None:
        """Remove the next checkpoint, if there is one."""
        with suppress(OSError):
            self._beside(".tmp").unlink()

    def _keep_newest(self) -> None:
        """Let the newest be the one before it as well; a damaged one must not take its place."""
        if not self._is_newest_whole:
            return
        previous = self._beside(".prev")
        previous.unlink(missing_ok=True)
        with suppress(OSError):  # a file system without links keeps one checkpoint
            os.link(self._path, previous, follow_symlinks=False)


def checkpoint_failure(shown: str, what: str, error: OSError) -> CheckpointFailed:
    """Return the error that the system refused something with a checkpoint."""
    reason = reason_of(error)
    return CheckpointFailed(f"The checkpoint {shown!r} cannot {what}: {reason}")
