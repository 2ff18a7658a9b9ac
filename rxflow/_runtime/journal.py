"""The journal of a watch over one run: a file that the watch has locked, and keeps open.

Belongs here: the lock, threads, and forks. Does not belong here: the format (`journal_file`), the
journals of many runs (`journal_directory`), and which events are appended and when
(`journaled_session`).
"""

import os
import threading
from collections.abc import Sequence
from io import FileIO

from rxflow._forks import register
from rxflow._runtime.journal_directory import lock_beside
from rxflow._runtime.journal_file import JournalFile, lines_of
from rxflow._runtime.locked_files import share_lock, unlock
from rxflow._watching.watch_spec import WatchSpec
from rxflow.errors import JournalFailed
from rxflow.events import FlowRunEvent


class Journal:
    """The journal of one watch. `close` may be called by any thread.

    Each page is one `write` to the file, so that what was appended survives the end of this
    process. It is forced to the disk once, by `close`: a power failure before that may take the end
    of the file with it.
    """

    def __init__(self, path: str, spec: WatchSpec) -> None:
        """Name a journal; it is neither opened nor created.

        Args:
            path: The path of its file.
            spec: What is watched.
        """
        self._file = JournalFile(path, spec, _open_or_create)
        self._directory_lock: FileIO | None = None  # shared with watches of other files in it
        self._is_closed = False
        self._lock = threading.RLock()
        register(self)

    def reset_after_fork(self) -> None:
        """Leave the file and its lock to the parent."""
        self._lock = threading.RLock()
        self._is_closed = True
        self._file.close(unlocks=False)
        directory_lock, self._directory_lock = self._directory_lock, None
        if directory_lock is not None:
            directory_lock.close()

    def open(self) -> JournalFailed | None:
        """Open the file, lock it, and check that it is a journal of this watch; else create it.

        Returns:
            None once it is open; while another watch has it open, an error that says so.

        Raises:
            JournalFailed: The file cannot be opened.
            InvalidJournal: The file is not a journal, or that of another watch.
        """
        with self._lock:
            if self._is_closed:  # disposed of before the watch could begin
                return None
            file = self._file
            try:
                in_use = self._locked_by_other()
                if in_use is not None:
                    self._unlock()
                    return in_use
                file.check()
                if not file.end:
                    file.append(b"")
            except OSError as error:
                raise file.failed("be opened", error) from error
            except ImportError as error:
                text = f"The journal {file.path!r} cannot be locked: this system has no flock"
                raise JournalFailed(text) from error
        return None

    def _locked_by_other(self) -> JournalFailed | None:
        """Open and lock the file; return the error if another watch has it or its directory."""
        file = self._file
        holder = self._share_directory()
        if holder is not None:
            return file.in_use(holder)
        file.open()
        if not file.lock():
            return file.in_use()
        # A watch of the directory may have begun before the file was locked. One that begins from
        # now on finds it locked.
        holder = self._share_directory()
        return None if holder is None else file.in_use(holder)

    def _share_directory(self) -> str | None:
        """Share the lock of the directory, if it has one; return which watch has locked it."""
        path = lock_beside(self._file.path)
        if path is None or self._directory_lock is not None:
            return None
        lock = share_lock(path)
        if isinstance(lock, str):
            return lock
        self._directory_lock = lock
        return None

    def _unlock(self) -> None:
        self._file.close()
        directory_lock, self._directory_lock = self._directory_lock, None
        if directory_lock is not None:
            with directory_lock:
                unlock(directory_lock)

    def read(self, _: str = "", /) -> list[FlowRunEvent] | None:
        """Return the next part of the events, in their order; None after the last one.

        After that the journal can be appended to, and what a killed process left of a line is gone.

        Raises:
            JournalFailed: The file cannot be read.
            InvalidJournal: A line is not an event of this watch.
        """
        with self._lock:
            if not self._file.is_open:
                return None
            try:
                part = self._file.read()
                if part is None:
                    self._file.write_pid()
            except OSError as error:
                raise self._file.failed("be read", error) from error
            return part

    def unclosed(self) -> list[str]:
        """Return the runs to watch beside the one that is given: none."""
        return []

    def append(self, events: Sequence[FlowRunEvent]) -> bool:
        """Append events, all of them or none.

        Returns:
            Whether the journal has them: False once it is closed.

        Raises:
            JournalFailed: The file cannot be written; it has all events that were appended before.
        """
        lines = lines_of(events)
        with self._lock:
            if not self._file.is_open:
                return False
            try:
                self._file.append(lines)
            except OSError as error:
                raise self._file.failed("be written", error) from error
            return True

    def close(self) -> None:
        """Force the file to the disk, and unlock and close it. May be called twice.

        Raises:
            JournalFailed: It may not be on the disk.
        """
        with self._lock:
            self._is_closed = True
            file = self._file
            try:
                if file.is_open:
                    file.sync()
            except OSError as error:
                raise file.failed("be forced to the disk", error) from error
            finally:
                self._unlock()


def _open_or_create(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CREAT, 0o600)
