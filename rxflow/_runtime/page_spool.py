"""Pages of events that are kept for later readers: packed, in memory or in a temporary file.

Beyond a budget of memory packed pages go to a file without a name, which the system deletes with
its last handle.
"""

import os
import threading
import zlib
from errno import ENOSPC
from os import strerror
from typing import NamedTuple
from weakref import finalize

import msgspec

from rxflow._forks import no_fork
from rxflow._models.times import encode_time
from rxflow._watching.event_order import EventPage
from rxflow.errors import Overflow

MEMORY_BUDGET = 16 * 1024 * 1024
"""Bytes of packed pages that a spool holds in memory."""

_ENCODER = msgspec.msgpack.Encoder(enc_hook=encode_time)
_DECODER = msgspec.msgpack.Decoder(EventPage)


class _Place(NamedTuple):
    file: "_SpoolFile"
    offset: int
    length: int


Slot = bytes | _Place
"""Where a page is: the packed page itself, or its place in the file."""


class PageSpool:
    """Packs pages and holds them until they are released. All methods may be called by any thread.

    A spool has no more memory than its budget, and beyond it one file.
    """

    def __init__(self, memory_budget: int = MEMORY_BUDGET) -> None:
        """Create an empty spool.

        Args:
            memory_budget: Bytes of packed pages to hold in memory; the others are in the file.
        """
        self._memory_left = memory_budget
        self._lock = threading.RLock()  # since a finalizer may call `release` in any thread
        self._file: _SpoolFile | None = None
        self._process = os.getpid()

    def put(self, page: EventPage) -> Slot:
        """Hold a page; return its slot.

        Raises:
            Overflow: The file cannot be written.
        """
        packed = zlib.compress(_ENCODER.encode(page), 1)
        with self._lock:
            if len(packed) <= self._memory_left:
                self._memory_left -= len(packed)
                return packed
            try:
                self._file = self._file or _SpoolFile()
                return self._file.write(packed)
            except OSError as error:
                raise Overflow(_UNUSABLE.format(error)) from error

    def get(self, slot: Slot) -> EventPage:
        """Return the page of a slot.

        Raises:
            Overflow: The file cannot be read.
        """
        return _DECODER.decode(zlib.decompress(self._read(slot)))

    def release(self, slot: Slot) -> None:
        """Hold the page of a slot no longer; in a forked child, leave it to the parent."""
        # Not by `reset_after_fork`: what is dropped by that of another object may come here first.
        # A thread of the parent may hold the lock, and the file is the parent's, which reads it.
        if os.getpid() != self._process:
            return
        with self._lock:
            if isinstance(slot, bytes):
                self._memory_left += len(slot)
            else:
                slot.file.release(slot.length)

    def _read(self, slot: Slot) -> bytes:
        if isinstance(slot, bytes):
            return slot
        try:
            with self._lock:
                return slot.file.read(slot.offset, slot.length)
        except OSError as error:
            raise Overflow(_UNUSABLE.format(error)) from error


class _SpoolFile:
    """A temporary file without a buffer, which a forked child would write at its end."""

    def __init__(self) -> None:
        with no_fork:
            import tempfile  # noqa: PLC0415 - takes 2 ms to import

        self._file = tempfile.TemporaryFile(buffering=0, prefix="rxflow-")  # noqa: SIM115
        finalize(self, self._file.close)
        self._end = 0
        self._used = 0  # bytes that are not released

    def write(self, packed: bytes) -> _Place:
        """Write at the end; return the place."""
        offset, length = self._end, len(packed)
        # First, so that the file is not made empty if a finalizer releases the rest meanwhile.
        self._end += length
        self._used += length
        self._file.seek(offset)
        if self._file.write(packed) < length:
            raise OSError(ENOSPC, strerror(ENOSPC))
        return _Place(self, offset, length)

    def read(self, offset: int, length: int) -> bytes:
        """Read what was written."""
        self._file.seek(offset)
        return self._file.read(length)

    def release(self, length: int) -> None:
        """Make the file empty once all of it is released."""
        self._used -= length
        if not self._used:
            self._file.truncate(0)
            self._end = 0


_UNUSABLE = (
    "Events are kept for later subscribers in a temporary file, which cannot be used: {}; free "
    "space in the directory for temporary files, or set TMPDIR to another one"
)
