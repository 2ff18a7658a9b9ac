"""Which files may be read as results, since the server names them: where they are, and how long.

Belongs here: checks of paths and of opened files. Does not belong here: what a file holds
(`result_files`).
"""

import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from rxflow._config.result_directories import result_directories
from rxflow._models.arguments import positive_count

MAX_RESULT_BYTES = 32 * 1024 * 1024
"""Bytes of the longest result that is read unless the caller allows more."""

# A FIFO must not block the open, nor a terminal become this process's own. Windows has neither.
_FLAGS = (
    os.O_RDONLY
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_NOCTTY", 0)
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_BINARY", 0)
)

_ADVICE = "pass a list of paths, such as ['/srv/results']"


class RefusedFile(Exception):
    """A file that may not be read; the message continues a sentence about it."""


class ResultAccess(NamedTuple):
    """What a caller allows to be read.

    Attributes:
        directories: Files are read below these only.
        max_bytes: Bytes of the longest file.
    """

    directories: tuple[Path, ...]
    max_bytes: int


def result_access(directories: object, max_bytes: object) -> ResultAccess:
    """Validate the arguments of `get_result`.

    Args:
        directories: Paths of directories; None for those in which Prefect keeps results.
        max_bytes: Bytes of the longest file.

    Raises:
        TypeError: An argument is of another type.
        ValueError: A path is empty, or the count is less than 1.
    """
    longest = positive_count("max_bytes", max_bytes)
    if directories is None:
        return ResultAccess(result_directories(), longest)
    if isinstance(directories, str | bytes | os.PathLike) or not isinstance(directories, Iterable):
        raise TypeError(f"directories={directories!r} is not a list; {_ADVICE}")
    paths = tuple(map(_directory, directories))  # pyright: ignore[reportUnknownArgumentType]
    return ResultAccess(paths, longest)


def read_result_file(location: str, access: ResultAccess) -> bytes:
    """Read a file whose path comes from a server.

    Symbolic links are resolved first, and the place that they lead to is checked.

    Args:
        location: An absolute path.
        access: What may be read.

    Raises:
        RefusedFile: The path is in none of the directories, or is no regular file, or too long.
        OSError: The file cannot be opened or read, such as because there is none.
    """
    path = _checked_path(location, access.directories)
    descriptor = os.open(path, _FLAGS)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise RefusedFile("which is not a regular file, and is not read")
        # The length of the status may be wrong: some files in /proc have none, others grow.
        content = bytearray()
        while chunk := os.read(descriptor, min(access.max_bytes + 1 - len(content), 2**20)):
            content += chunk
            if len(content) > access.max_bytes or status.st_size > access.max_bytes:
                raise RefusedFile(
                    f"which is longer than {access.max_bytes} bytes; pass max_bytes="
                    f"{max(status.st_size, 2 * access.max_bytes)} to read it"
                )
    finally:
        os.close(descriptor)
    return bytes(content)


def _directory(given: Any) -> Path:
    path: object = given.__fspath__() if hasattr(given, "__fspath__") else given
    if not isinstance(path, str):
        raise TypeError(f"directories has {given!r}, which is not a path; {_ADVICE}")
    if not path or "\0" in path:
        raise ValueError(f"directories has {given!r}, which is not a path; {_ADVICE}")
    # Unlike Path.expanduser this raises nothing where there is no such user.
    return Path(os.path.expanduser(path))  # noqa: PTH111


def _checked_path(location: str, directories: Iterable[Path]) -> Path:
    """Resolve a path, and check that it is below one of the directories.

    Raises:
        RefusedFile: It is not, or it is not a path.
        OSError: It cannot be resolved.
    """
    if "\0" in location:
        raise RefusedFile("which is not a path")
    path = Path(os.path.realpath(location))
    roots = [Path(os.path.realpath(directory)) for directory in directories]
    if any(root in path.parents for root in roots):
        return path
    # The path that is checked is the one that the links lead to, so that is the one to show.
    elsewhere = f" (it is {str(path)!r})" if str(path) != location else ""
    allowed = ", ".join(repr(str(directory)) for directory in directories) or "no directory"
    raise RefusedFile(
        f"which is not below {allowed}{elsewhere}; if you trust the server, pass "
        f"directories=[{str(path.parent)!r}]"
    )
