"""Sockets that a forked child inherits, and how the child lets go of them.

Belongs here: file descriptors. Does not belong here: shutting a connection down in the process that
opened it (`transport`).
"""

import os
from contextlib import suppress
from typing import Any

_FORKS = hasattr(os, "fork")


class SocketDescriptor:
    """The file descriptor of a connected socket, known by number and inode."""

    def __init__(self, connection: Any) -> None:
        """Identify the descriptor.

        Args:
            connection: A socket, or what an event loop has in its place; None for none.
        """
        self._number: int = connection.fileno() if _FORKS and connection is not None else -1
        self._inode = _inode(self._number)

    def release(self) -> None:
        """Make the descriptor refer to /dev/null, in this process alone.

        Nothing is sent: no TLS alert, no FIN. Closing the descriptor would not do: an object that
        still has its number would later close, or unregister from an epoll instance which parent
        and child share, whatever has that number then.
        """
        # The socket may have been closed, and its number may be another file's.
        if self._inode is None or _inode(self._number) != self._inode:
            return
        with suppress(OSError):  # no descriptor is left
            null = os.open(os.devnull, os.O_RDWR)
            os.dup2(null, self._number, inheritable=False)
            os.close(null)


def _inode(number: int) -> tuple[int, int] | None:
    try:
        status = os.fstat(number)
    except OSError:
        return None
    return status.st_dev, status.st_ino
