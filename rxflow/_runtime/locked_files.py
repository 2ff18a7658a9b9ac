"""Files that one watch at a time has open: their lock, and what a full disk is.

A directory that one watch at a time has open is locked by a file in it. A watch of one file in such
a directory shares that lock, so it excludes a watch of the directory, and other files of it may be
watched at the same time. It creates no lock of a directory; where there is none yet, a watch of the
directory that begins later looks for the locks of the files that it uses.

Belongs here: what the system says. Does not belong here: what is in a file, and what an error says
about it (`journal`).
"""

import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from errno import EDQUOT, EFBIG, EISDIR, ENOENT, ENOSPC
from io import FileIO

NO_ROOM = frozenset({ENOSPC, EDQUOT, EFBIG})
"""The errors of a disk that is full, of a quota that is used up, and of a file at its limit."""

# Windows has neither, and no lock to look for.
_LOOK = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
_REMEDIES = {
    EISDIR: "; pass the path of a file",
    ENOENT: "; create the directory that it is to be in",
}


def reason_of(error: OSError) -> str:
    """Return why the system does not create or open a file, and what to do where that is known."""
    return (error.strerror or str(error)) + _REMEDIES.get(error.errno or 0, "")


def has_locked(file: FileIO, *, shared: bool = False) -> bool:
    """Lock a file for this watch; return False if another one has locked it.

    Args:
        file: The file.
        shared: Whether others may share the lock at the same time.

    Raises:
        ImportError: The system has no flock, as Windows.
    """
    import fcntl  # noqa: PLC0415 - Windows has none, and opens no such file

    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def unlock(file: FileIO) -> None:
    """Unlock a file that this process has locked."""
    import fcntl  # noqa: PLC0415 - as above

    # Closing does so only once no process has the file open, such as one forked without Python.
    fcntl.flock(file, fcntl.LOCK_UN)


def open_lock(
    path: str, opener: Callable[[str, int], int], holder_of_shared: Callable[[], str] | None = None
) -> FileIO | str:
    """Open a file that has nothing but a lock and the id of the process that has locked it.

    Args:
        path: Its path.
        opener: Opens it, given the path and flags, and creates it if there is none.
        holder_of_shared: Returns which watch shares the lock, if it is that of a directory.

    Returns:
        The file, locked; or which watch has locked it, for an error.

    Raises:
        OSError: The system does not open it.
        ImportError: As for `has_locked`.
    """
    file = FileIO(path, "r+", opener=opener)
    try:
        if not has_locked(file):
            with file:
                if holder_of_shared is not None and has_locked(file, shared=True):
                    return holder_of_shared()  # the id is that of an earlier watch
                return holder_text(pid_in_lock(file))
    except BaseException:
        file.close()
        raise
    with suppress(OSError):  # the disk is full: the lock holds without the id
        file.truncate(0)
        write_all(file, b"%d\n" % os.getpid())
    return file


def share_lock(path: str) -> FileIO | str | None:
    """Share the lock of a directory, for a watch of one file in it.

    Args:
        path: The path of the file by which the directory is locked.

    Returns:
        The file, locked; or which watch has locked it, for an error; None if there is no such file,
        so that no watch has the directory.

    Raises:
        OSError: The system does not open it.
        ImportError: As for `has_locked`.
    """
    try:
        file = FileIO(path, "r", opener=open_to_look)
    except FileNotFoundError:
        return None
    try:
        if not has_locked(file, shared=True):
            with file:
                return holder_text(pid_in_lock(file))
    except BaseException:
        file.close()
        raise
    return file


def holder_among(
    paths: Iterable[str], pid_of: Callable[[FileIO], bytes], opener: Callable[[str, int], int]
) -> str | None:
    """Return which watch has locked one of several files; None if none of them is locked.

    Args:
        paths: Their paths; those that the system does not open are left out.
        pid_of: Reads the number of the process from a file that is locked.
        opener: Opens a file, given the path and flags.

    Raises:
        ImportError: As for `has_locked`.
    """
    for path in paths:
        with suppress(OSError), FileIO(path, "r", opener=opener) as file:
            if not has_locked(file, shared=True):
                return holder_text(pid_of(file))
            unlock(file)
    return None


def open_to_look(path: str, _: int = 0, *, dir_fd: int | None = None) -> int:
    """Open a file for its lock; follow no link, and wait for no pipe."""
    return os.open(path, _LOOK, dir_fd=dir_fd)


def pid_in_lock(file: FileIO) -> bytes:
    """Return the number of a process that a file has which `open_lock` has opened."""
    return file.read(20).strip()


def holder_text(pid: bytes) -> str:
    """Return which watch has locked a file, by the number of its process in the file."""
    if not pid.isdigit():
        return "another watch"
    own = int(pid) == os.getpid()
    return "another watch of this process" if own else f"another watch, of process {int(pid)}"


def write_all(file: FileIO, data: bytes) -> None:
    """Write all of some bytes; a disk that is nearly full takes a part of them first."""
    left = memoryview(data)
    while left:
        left = left[file.write(left) :]
