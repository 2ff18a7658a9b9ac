"""A journal: the file of the events that a watch has handed on, from which a later watch goes on.

    {"rxflow_journal":1,"pid":4711      ,"flow_run_id":"9e6caafc-...","stream_states":true,...}
    {"kind":"run-seen","flow_run_id":"9e6caafc-...",...}
    {"kind":"log","flow_run_id":"9e6caafc-...",...}

The first line says what is watched, and which process does so; each other one is an event as
`encode_event` encodes it. Lines are only appended. What follows the last newline was being written
when a process was killed, and is dropped.

Belongs here: the format, and what the errors say. Does not belong here: which events are appended
and when (`journaled_session`), and how a file is locked (`locked_files`).
"""

import os
import stat
import threading
from collections.abc import Iterable, Sequence
from contextlib import suppress
from io import FileIO

import msgspec

from rxflow._forks import register
from rxflow._models.times import encode_time
from rxflow._runtime.locked_files import NO_ROOM, has_locked, unlock, write_all
from rxflow._runtime.watched_arguments import WatchedArguments, arguments_of, difference_text
from rxflow._watching.event_order import source_of
from rxflow._watching.watch_spec import WatchSpec
from rxflow.errors import InvalidEvent, InvalidJournal, JournalFailed
from rxflow.events import FlowRunEvent, decode_event, encode_event

_VERSION = 1
_PREFIX = b'{"rxflow_journal":%d,"pid":' % _VERSION
_PID = b"%-10d"  # of one width, so that the next process overwrites it in place
_MOST_HEADER_BYTES = 4096
_BLOCK = 256 * 1024  # bytes that are read at once, some 700 lines


class _Header(WatchedArguments, frozen=True, kw_only=True):
    rxflow_journal: int
    pid: int


_ENCODER = msgspec.json.Encoder(enc_hook=encode_time)
_DECODER = msgspec.json.Decoder(_Header)


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
        self._path = path
        self._watched = arguments_of(spec)
        self._sources = spec.sources
        self._file: FileIO | None = None
        self._is_locked = self._is_closed = False
        self._end = 0  # bytes of the header and of all lines that were read or appended
        self._line_number = 1
        self._rest = b""  # of the last block read, what follows its last newline
        self._has_news = False
        self._lock = threading.RLock()
        register(self)

    def reset_after_fork(self) -> None:
        """Leave the file and its lock to the parent."""
        self._lock = threading.RLock()
        file, self._file, self._is_closed = self._file, None, True
        if file is not None:
            file.close()  # without unlocking it, which would do so in the parent, too

    # -- reading --------------------------------------------------------------------------------

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
            try:
                self._file = file = FileIO(self._path, "r+", opener=_open_or_create)
                if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                    raise self._invalid("it is not a regular file")
                self._is_locked = has_locked(file)
                if not self._is_locked:
                    self._file = None
                    with file:
                        return self._in_use(file)
                self._open(file)
            except OSError as error:
                raise self._failed("be opened", error) from error
            except ImportError as error:
                text = f"The journal {self._path!r} cannot be locked: this system has no flock"
                raise JournalFailed(text) from error
        return None

    def read(self) -> list[FlowRunEvent] | None:
        """Return the next part of the events, in their order; None after the last one.

        After that the journal can be appended to, and what a killed process left of a line is gone.

        Raises:
            JournalFailed: The file cannot be read.
            InvalidJournal: A line is not an event of this watch.
        """
        with self._lock:
            if self._file is None:
                return None
            try:
                block = self._file.read(_BLOCK)
                if not block:
                    self._take_over(self._file)
                    return None
            except OSError as error:
                raise self._failed("be read", error) from error
        *lines, self._rest = (self._rest + block).split(b"\n")
        self._end += sum(len(line) + 1 for line in lines)
        return [self._decode(line) for line in lines]

    def _open(self, file: FileIO) -> None:
        """Check a file that is locked, or create the journal."""
        head = file.read(_MOST_HEADER_BYTES)
        line, newline, _ = head.partition(b"\n")
        if newline:
            self._check(line)
            self._end = len(line) + 1
        elif len(head) < _MOST_HEADER_BYTES and _PREFIX.startswith(head[: len(_PREFIX)]):
            # Empty, or the process that created it was killed then.
            self._create(file)
        else:
            raise self._invalid("it does not begin as a journal does")
        file.seek(self._end)

    def _create(self, file: FileIO) -> None:
        header = _PREFIX + _PID % os.getpid() + b"," + _ENCODER.encode(self._watched)[1:] + b"\n"
        file.seek(0)
        file.truncate()
        try:
            write_all(file, header)
        except OSError:
            file.truncate(0)
            raise
        self._end, self._has_news = len(header), True

    def _check(self, line: bytes) -> None:
        """Check that a header is that of a journal of this watch."""
        try:
            header = _DECODER.decode(line)
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            raise self._invalid("it does not begin as a journal does") from error
        if header.rxflow_journal != _VERSION or not line.startswith(_PREFIX):
            raise self._invalid(f"its format is version {header.rxflow_journal}, not {_VERSION}")
        differing = difference_text(header, self._watched)
        if differing:
            raise InvalidJournal(
                f"The journal {self._path!r} is that of a watch with {differing}; pass "
                "the same arguments as before, or the path of another journal"
            )

    def _take_over(self, file: FileIO) -> None:
        """Note in a file that was read to its end that this process appends to it."""
        if self._rest:
            file.truncate(self._end)
            self._rest = b""
        file.seek(len(_PREFIX))
        write_all(file, _PID % os.getpid())
        file.seek(self._end)

    def _decode(self, line: bytes) -> FlowRunEvent:
        self._line_number += 1
        try:
            event = decode_event(line)
        except InvalidEvent as error:
            raise self._invalid(f"its line {self._line_number} is not an event: {error}") from error
        if event.flow_run_id != self._watched.flow_run_id or source_of(event) not in self._sources:
            raise self._invalid(f"its line {self._line_number} is an event of another watch")
        return event

    # -- writing --------------------------------------------------------------------------------

    def append(self, events: Sequence[FlowRunEvent]) -> bool:
        """Append events, all of them or none.

        Returns:
            Whether the journal has them: False once it is closed.

        Raises:
            JournalFailed: The file cannot be written; it has all events that were appended before.
        """
        lines = b"".join(_lines_of(events))
        with self._lock:
            file = self._file
            if file is None:
                return False
            try:
                write_all(file, lines)
            except OSError as error:
                with suppress(OSError):  # then what was written of them is dropped when it is read
                    file.truncate(self._end)
                    file.seek(self._end)
                raise self._failed("be written", error) from error
            self._end += len(lines)
            self._has_news = True
            return True

    def close(self) -> None:
        """Force the file to the disk, and unlock and close it. May be called twice.

        Raises:
            JournalFailed: It may not be on the disk.
        """
        with self._lock:
            file, self._file, self._is_closed = self._file, None, True
            if file is None:
                return
            try:
                if self._has_news:
                    os.fsync(file.fileno())
            except OSError as error:
                raise self._failed("be forced to the disk", error) from error
            finally:
                if self._is_locked:
                    unlock(file)
                file.close()

    # -- errors ---------------------------------------------------------------------------------

    def _in_use(self, file: FileIO) -> JournalFailed:
        head = file.read(len(_PREFIX) + len(_PID % 0))
        pid = head.removeprefix(_PREFIX).strip()
        holder = "another watch"
        if head.startswith(_PREFIX) and pid.isdigit():
            own = int(pid) == os.getpid()
            holder += " of this process" if own else f", of process {int(pid)}"
        return JournalFailed(
            f"The journal {self._path!r} is in use by {holder}; end that one first, or pass the "
            "path of another journal"
        )

    def _failed(self, what: str, error: OSError) -> JournalFailed:
        reason = error.strerror or str(error)
        is_full = error.errno in NO_ROOM
        text = f"The journal {self._path!r} cannot {what}: {reason}"
        return JournalFailed(text, is_full=is_full)

    def _invalid(self, reason: str) -> InvalidJournal:
        return InvalidJournal(
            f"The file {self._path!r} is not a journal of this watch: {reason}. It was left as it "
            "is; pass the path of another file, or move this one away to watch from the beginning"
        )


def _open_or_create(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CREAT, 0o600)


def _lines_of(events: Iterable[FlowRunEvent]) -> Iterable[bytes]:
    for event in events:
        yield encode_event(event)
        yield b"\n"
