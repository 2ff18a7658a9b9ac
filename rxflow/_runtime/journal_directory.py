"""The journals of a watch over many runs: a directory with a file for each run, and one lock.

    nightly/
      journal.lock                                  which process has it
      9e6caafc-4ea1-4493-b0a9-122efba9eaaa.jsonl    the events of that run
      ...

The lock of the directory is what other watches of it, or of a file in it, find locked, and only
the files that were used last are open: a watch of ten thousand runs needs some dozens of file
descriptors. A file is locked as well while it is open, since a watch of it may have begun before
the directory had a lock. Files are opened relative to the directory, so that they stay the same if
the process goes to another one.

Belongs here: which files are open, threads, and forks. Does not belong here: the format of a file
(`journal_file`), and which events are appended and when (`journaled_session`).
"""

import os
import re
import threading
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from errno import EEXIST, ENOTDIR
from io import FileIO
from pathlib import Path

from msgspec.structs import replace

from rxflow._forks import register
from rxflow._runtime.journal_file import (
    JournalFile,
    ends_closed,
    journal_failure,
    lines_of,
    pid_in_header,
)
from rxflow._runtime.locked_files import holder_among, open_lock, open_to_look, unlock
from rxflow._watching.watch_spec import WatchSpec
from rxflow.errors import JournalFailed
from rxflow.events import Closed, FlowRunEvent

LOCK_NAME = "journal.lock"
"""The file in a directory of journals that a watch locks."""

MOST_OPEN = 64
"""The most files of runs that are open at once."""

_NAME = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\.jsonl")


class JournalDirectory:
    """The journals of one watch over many runs. `close` may be called by any thread.

    Events that name no run are in no file. What is appended to a file is one `write`, so that it
    survives the end of this process. A file is forced to the disk when its run is closed, and by
    `close`.
    """

    def __init__(self, path: str, spec: WatchSpec) -> None:
        """Name a directory; it is neither opened nor created.

        Args:
            path: Its path.
            spec: What is watched of each run; its run is not used.
        """
        self._path = path
        self._spec = spec
        self._directory: int | None = None
        self._lock_file: FileIO | None = None
        self._is_closed = False
        self._files: dict[str, JournalFile] = {}  # of the runs that were read or appended to
        self._open_files: OrderedDict[str, JournalFile] = OrderedDict()  # the last used is last
        self._lock = threading.RLock()
        register(self)

    def reset_after_fork(self) -> None:
        """Leave the files and the lock to the parent."""
        self._lock = threading.RLock()
        self._close_all(unlocks=False)

    # -- opening --------------------------------------------------------------------------------

    def open(self) -> JournalFailed | None:
        """Open the directory and lock it; create it if there is none.

        Returns:
            None once it is open; while another watch has it open, an error that says so.

        Raises:
            JournalFailed: The directory cannot be opened.
        """
        with self._lock:
            if self._is_closed:  # disposed of before the watch could begin
                return None
            try:
                return self._open()
            except OSError as error:
                self._close_directory()
                if error.errno in {ENOTDIR, EEXIST}:
                    raise JournalFailed(
                        f"The journal {self._path!r} is not a directory; the journals of several "
                        "runs are files in one, so pass the path of a directory"
                    ) from error
                raise journal_failure(self._path, "be opened", error) from error
            except ImportError as error:
                self._close_directory()
                text = f"The journal {self._path!r} cannot be locked: this system has no flock"
                raise JournalFailed(text) from error

    def _open(self) -> JournalFailed | None:
        Path(self._path).mkdir(0o700, exist_ok=True)
        self._directory = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        lock_file = open_lock(LOCK_NAME, self._open_or_create, self._holder_of_file)
        if isinstance(lock_file, str):
            self._close_directory()
            return JournalFailed(
                f"The journal {self._path!r} is in use by {lock_file}; end that one first, or pass "
                "the path of another directory"
            )
        self._lock_file = lock_file
        return None

    def _holder_of_file(self) -> str:
        """Return which watch has one of the files, for an error."""
        return holder_among(self._names(), pid_in_header, self._open_to_look) or "another watch"

    def _names(self) -> list[str]:
        """Return the names of the files of runs, in order."""
        with os.scandir(self._directory) as entries:
            return sorted(each.name for each in entries if _NAME.fullmatch(each.name))

    def _open_or_create(self, path: str, flags: int) -> int:
        return self._open_file(path, flags | os.O_CREAT)

    def _open_file(self, path: str, flags: int) -> int:
        return os.open(Path(path).name, flags | os.O_NOFOLLOW, 0o600, dir_fd=self._directory)

    def _open_to_look(self, name: str, _: int) -> int:
        return open_to_look(name, dir_fd=self._directory)

    def _path_of(self, run_id: str) -> str:
        return str(Path(self._path, f"{run_id}.jsonl"))

    def _opened(self, run_id: str, *, create: bool) -> JournalFile | None:
        """Return the file of a run, open; None if there is none and it is not to be created."""
        file = self._open_files.get(run_id)
        if file is not None:
            self._open_files.move_to_end(run_id)
            return file
        file = self._files.get(run_id)
        is_known = file is not None
        if file is None:
            file = JournalFile(
                self._path_of(run_id),
                replace(self._spec, flow_run_id=run_id),
                self._open_or_create if create else self._open_file,
                other="the path of another directory",
            )
        while len(self._open_files) >= MOST_OPEN:
            self._open_files.popitem(last=False)[1].close()
        try:
            file.open()
            file.lock_or_raise()
            if is_known or create:
                file.go_to_end()
            else:
                file.check()
        except FileNotFoundError:
            if is_known or create:
                raise
            return None
        except BaseException:
            file.close()
            raise
        self._files[run_id] = self._open_files[run_id] = file
        return file

    # -- reading --------------------------------------------------------------------------------

    def read(self, flow_run_id: str) -> list[FlowRunEvent] | None:
        """Return the next part of a run's events, in their order; None after the last one.

        The file of one run is read to its end before that of another, or anything is appended.

        Args:
            flow_run_id: The run.

        Raises:
            JournalFailed: The file cannot be read.
            InvalidJournal: The file is not a journal, or that of another watch, or a line of it is
                not an event.
        """
        with self._lock:
            if self._lock_file is None:
                return None
            try:
                file = self._opened(flow_run_id, create=False)
                return None if file is None else file.read()
            except JournalFailed:
                raise
            except OSError as error:
                raise journal_failure(self._path_of(flow_run_id), "be read", error) from error

    def unclosed(self) -> list[str]:
        """Return the runs that have events, the last of which is not their `Closed`.

        Raises:
            JournalFailed: The directory or a file cannot be read.
        """
        with self._lock:
            if self._directory is None:
                return []
            path = self._path
            try:
                found: list[str] = []
                for run_id in (name.removesuffix(".jsonl") for name in self._names()):
                    path = self._path_of(run_id)
                    with FileIO(path, "r", opener=self._open_file) as file:
                        if ends_closed(file) is False:
                            found.append(run_id)
            except OSError as error:
                raise journal_failure(path, "be read", error) from error
            return found

    # -- writing --------------------------------------------------------------------------------

    def append(self, events: Sequence[FlowRunEvent]) -> bool:
        """Append events to the files of their runs, all of them or none.

        Returns:
            Whether the journals have them: False once they are closed.

        Raises:
            JournalFailed: A file cannot be written; each has all events that were appended before.
        """
        of_runs: dict[str, list[FlowRunEvent]] = {}
        for event in events:
            if event.flow_run_id:
                of_runs.setdefault(event.flow_run_id, []).append(event)
        with self._lock:
            if self._lock_file is None:
                return False
            ends: dict[str, int] = {}  # of the files before this page
            try:
                for run_id, own in of_runs.items():
                    self._append(run_id, own, ends)
            except BaseException:
                for run_id, end in ends.items():
                    self._take_back(run_id, end)
                raise
            for run_id, own in of_runs.items():
                if isinstance(own[-1], Closed):  # nothing follows it in this watch
                    self._forget(run_id)
            return True

    def _append(self, run_id: str, events: list[FlowRunEvent], ends: dict[str, int]) -> None:
        what = "be written"
        try:
            file = self._opened(run_id, create=True)
            if file is None:
                raise AssertionError("it was created")
            ends[run_id] = file.end
            file.append(lines_of(events))
            if isinstance(events[-1], Closed):
                what = "be forced to the disk"
                file.sync()
        except JournalFailed:
            raise
        except OSError as error:
            raise journal_failure(self._path_of(run_id), what, error) from error

    def _take_back(self, run_id: str, end: int) -> None:
        with suppress(OSError):
            file = self._opened(run_id, create=True)
            if file is not None:
                file.cut(end)

    def _forget(self, run_id: str) -> None:
        self._open_files.pop(run_id, None)
        self._files.pop(run_id).close()

    # -- the end --------------------------------------------------------------------------------

    def close(self) -> None:
        """Force all files to the disk, unlock the directory and close all. May be called twice.

        Raises:
            JournalFailed: A file may not be on the disk.
        """
        with self._lock:
            if self._lock_file is None:
                self._is_closed = True
                return
            try:
                error = self._sync_all()
            finally:
                self._close_all()
            if error is not None:
                raise error

    def _sync_all(self) -> JournalFailed | None:
        """Force all files to the disk; return the first error."""
        news = {run_id: file for run_id, file in self._files.items() if file.has_news}
        if len(news) > MOST_OPEN:
            os.sync()  # where 9,000 calls of fsync took 30 s
            return None
        errors = [self._sync(run_id, file) for run_id, file in news.items()]
        return next((error for error in errors if error is not None), None)

    def _sync(self, run_id: str, file: JournalFile) -> JournalFailed | None:
        try:
            self._opened(run_id, create=True)
            file.sync()
        except JournalFailed as error:
            return error
        except OSError as error:
            return file.failed("be forced to the disk", error)
        return None

    def _close_all(self, *, unlocks: bool = True) -> None:
        self._is_closed = True
        for file in self._open_files.values():
            file.close(unlocks=unlocks)
        self._files.clear()
        self._open_files.clear()
        lock_file, self._lock_file = self._lock_file, None
        if lock_file is not None:
            with lock_file:
                if unlocks:  # after the files: the next watch of the directory locks them at once
                    unlock(lock_file)
        self._close_directory()

    def _close_directory(self) -> None:
        directory, self._directory = self._directory, None
        if directory is not None:
            os.close(directory)


def lock_beside(path: str) -> str | None:
    """Return the path of the lock of the directory that a file is in; None if the file is its own.

    Args:
        path: The path of a file, which may be a link. A watch of a directory uses files with the
            id of a run as their name, and no others.
    """
    real = Path(os.path.realpath(path))
    return str(real.with_name(LOCK_NAME)) if _NAME.fullmatch(real.name) else None
