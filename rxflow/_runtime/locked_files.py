"""Files that one watch at a time has open: their lock, and what a full disk is.

Belongs here: what the system says. Does not belong here: what is in a file, and what an error says
about it (`journal`).
"""

import os
from collections.abc import Callable
from contextlib import suppress
from errno import EDQUOT, EFBIG, EISDIR, ENOENT, ENOSPC
from io import FileIO

NO_ROOM = frozenset({ENOSPC, EDQUOT, EFBIG})
"""The errors of a disk that is full, of a quota that is used up, and of a file at its limit."""

_REMEDIES = {
    EISDIR: "; pass the path of a file",
    ENOENT: "; create the directory that it is to be in",
}


def reason_of(error: OSError) -> str:
    """Return why the system does not create or open a file, and what to do where that is known."""
    return (error.strerror or str(error)) + _REMEDIES.get(error.errno or 0, "")


def has_locked(file: FileIO) -> bool:
    """Lock a file for this watch; return False if another one has locked it.

    Raises:
        ImportError: The system has no flock, as Windows.
    """
    import fcntl  # noqa: PLC0415 - Windows has none, and opens no such file

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def unlock(file: FileIO) -> None:
    """Unlock a file that this process has locked."""
    import fcntl  # noqa: PLC0415 - as above

    # Closing does so only once no process has the file open, such as one forked without Python.
    fcntl.flock(file, fcntl.LOCK_UN)


def open_lock(path: str, opener: Callable[[str, int], int]) -> FileIO | str:
    """Open a file that has nothing but a lock and the id of the process that has locked it.

    Args:
        path: Its path.
        opener: Opens it, given the path and flags, and creates it if there is none.

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
                return holder_text(file.read(20).strip())
    except BaseException:
        file.close()
        raise
    with suppress(OSError):  # the disk is full: the lock holds without the id
        file.truncate(0)
        write_all(file, b"%d\n" % os.getpid())
    return file


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
