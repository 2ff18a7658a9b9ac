"""The file of the events of one run that a watch has handed on.

    {"rxflow_journal":1,"pid":4711      ,"flow_run_id":"9e6caafc-...","stream_states":true,...}
    {"kind":"run-seen","flow_run_id":"9e6caafc-...",...}
    {"kind":"log","flow_run_id":"9e6caafc-...",...}

The first line says what is watched, and which process does so; each other one is an event as
`encode_event` encodes it. Lines are only appended. What follows the last newline was being written
when a process was killed, and is dropped.

Belongs here: the format, and what the system says to it. Does not belong here: who may write
(`journal` and `journal_directory`), and which events are appended and when (`journaled_session`).
"""

import os
import stat
from collections.abc import Callable, Iterable
from contextlib import suppress
from io import FileIO

import msgspec

from rxflow._models.times import encode_time
from rxflow._runtime.locked_files import (
    NO_ROOM,
    has_locked,
    holder_text,
    reason_of,
    unlock,
    write_all,
)
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
_TAIL = 32 * 1024  # bytes, of which the last line is mostly the end
_MOST_LINE = 64 * 1024 * 1024  # bytes, far more than an event has
_CLOSED = b'{"kind":"closed",'


class _Header(WatchedArguments, frozen=True, kw_only=True):
    rxflow_journal: int
    pid: int


_ENCODER = msgspec.json.Encoder(enc_hook=encode_time)
_DECODER = msgspec.json.Decoder(_Header)


class JournalFile:
    """The file of one run. Its owner sees to it that no two threads use it at once.

    It is opened as often as its owner likes: for the first time to be checked and read, and later
    to be appended to.

    Attributes:
        path: Its path, for errors.
        end: The bytes of the header and of all lines that were read or appended; 0 without a
            header.
        has_news: Whether something was appended that may not be on the disk.
    """

    def __init__(
        self,
        path: str,
        spec: WatchSpec,
        opener: Callable[[str, int], int],
        *,
        other: str = "the path of another journal",
    ) -> None:
        """Name a file; it is neither opened nor created.

        Args:
            path: Its path, for errors and for ``opener``.
            spec: What is watched.
            opener: Opens it, given the path and flags.
            other: What to pass in its place, for errors.
        """
        self.path = path
        self._watched = arguments_of(spec)
        self._sources = spec.sources
        self._opener = opener
        self._other = other
        self._file: FileIO | None = None
        self._is_locked = False
        self.end = 0
        self.has_news = False
        self._line_number = 1
        self._rest = b""  # of the last block read, what follows its last newline

    @property
    def is_open(self) -> bool:
        """Whether a file descriptor is in use."""
        return self._file is not None

    # -- opening --------------------------------------------------------------------------------

    def open(self) -> FileIO:
        """Open the file.

        Raises:
            OSError: The system does not open it.
            InvalidJournal: It is not a regular file.
        """
        self._file = file = FileIO(self.path, "r+", opener=self._opener)
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise self._invalid("it is not a regular file")
        return file

    def lock(self) -> bool:
        """Lock the file, which is open, until it is closed; return False if another watch has it.

        Raises:
            OSError: The system refuses it.
            ImportError: The system has no flock, as Windows.
        """
        self._is_locked = has_locked(self._opened)
        return self._is_locked

    def lock_or_raise(self) -> None:
        """Lock the file, as `lock` does.

        Raises:
            OSError: The system refuses it.
            JournalFailed: Another watch has it.
            ImportError: As for `lock`.
        """
        if not self.lock():
            raise self.in_use()

    def check(self) -> None:
        """Check that it is a journal of this watch; empty it if a killed process began its header.

        Raises:
            OSError: It cannot be read.
            InvalidJournal: It is not a journal, or that of another watch.
        """
        file = self._opened
        head = file.read(_MOST_HEADER_BYTES)
        line, newline, _ = head.partition(b"\n")
        if newline:
            self._check_header(line)
            self.end = len(line) + 1
        elif len(head) < _MOST_HEADER_BYTES and _PREFIX.startswith(head[: len(_PREFIX)]):
            file.truncate(0)
        else:
            raise self._invalid("it does not begin as a journal does")
        file.seek(self.end)

    def go_to_end(self) -> None:
        """Go on after what was appended, which must be all that the file has.

        Raises:
            OSError: The system refuses it.
            JournalFailed: Someone else has written the file.
        """
        if self._opened.seek(0, os.SEEK_END) != self.end:
            raise JournalFailed(
                f"The journal {self.path!r} was changed by someone else while this watch used it; "
                f"pass {self._other}, and leave its files alone meanwhile"
            )

    def close(self, *, unlocks: bool = True) -> None:
        """Close the file, if it is open.

        Args:
            unlocks: Whether to unlock it before; a forked child would do so in the parent, too.
        """
        file, self._file = self._file, None
        if file is not None:
            with file:
                if self._is_locked and unlocks:
                    unlock(file)
            self._is_locked = False

    # -- reading --------------------------------------------------------------------------------

    def read(self) -> list[FlowRunEvent] | None:
        """Return the next part of the events, in their order; None after the last one.

        After that it can be appended to, and what a killed process left of a line is gone.

        Raises:
            OSError: The file cannot be read.
            InvalidJournal: A line is not an event of this watch.
        """
        file = self._opened
        block = file.read(_BLOCK)
        if not block:
            if self._rest:
                file.truncate(self.end)
                self._rest = b""
            file.seek(self.end)
            return None
        *lines, self._rest = (self._rest + block).split(b"\n")
        if len(self._rest) > _MOST_LINE:  # never written by a watch, and not to be held in memory
            number = self._line_number + len(lines) + 1
            raise self._invalid(f"its line {number} has more than {_MOST_LINE >> 20} MiB")
        self.end += sum(len(line) + 1 for line in lines)
        return [self._decode(line) for line in lines]

    def _check_header(self, line: bytes) -> None:
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
                f"The journal {self.path!r} is that of a watch with {differing}; pass "
                f"the same arguments as before, or {self._other}"
            )

    def _decode(self, line: bytes) -> FlowRunEvent:
        self._line_number += 1
        try:
            event = decode_event(line)
        except InvalidEvent as error:
            raise self._damaged(error.__cause__ or error) from error
        if event.flow_run_id != self._watched.flow_run_id or source_of(event) not in self._sources:
            raise self._invalid(f"its line {self._line_number} is an event of another watch")
        return event

    # -- writing --------------------------------------------------------------------------------

    def append(self, lines: bytes) -> None:
        """Append lines, all of them or none; after the header, if there is none yet.

        Raises:
            OSError: They cannot be written; the file has all that was appended before.
        """
        data = lines if self.end else self._header() + lines
        try:
            write_all(self._opened, data)
        except OSError:
            self.cut(self.end)
            raise
        self.end += len(data)
        self.has_news = True

    def cut(self, end: int) -> None:
        """Take back what was appended after some bytes.

        If the system refuses it, what was written of a page is dropped when it is read.
        """
        self.end = end
        with suppress(OSError):
            self._opened.truncate(end)
            self._opened.seek(end)

    def write_pid(self) -> None:
        """Note that this process appends to the file."""
        file = self._opened
        file.seek(len(_PREFIX))
        write_all(file, _PID % os.getpid())
        file.seek(self.end)

    def sync(self) -> None:
        """Force what was appended to the disk.

        Raises:
            OSError: It may not be there.
        """
        if self.has_news:
            os.fsync(self._opened.fileno())
            self.has_news = False

    def _header(self) -> bytes:
        return _PREFIX + _PID % os.getpid() + b"," + _ENCODER.encode(self._watched)[1:] + b"\n"

    @property
    def _opened(self) -> FileIO:
        if self._file is None:
            raise AssertionError("the owner opens the file before it uses it")
        return self._file

    # -- errors ---------------------------------------------------------------------------------

    def in_use(self, holder: str | None = None) -> JournalFailed:
        """Return the error that another watch has the file.

        Args:
            holder: Which watch; None for the one that the file names, which is open.
        """
        if holder is None:
            holder = holder_text(pid_in_header(self._opened))
        return JournalFailed(
            f"The journal {self.path!r} is in use by {holder}; end that one first, or pass "
            f"{self._other}"
        )

    def failed(self, what: str, error: OSError) -> JournalFailed:
        """Return the error that the system refused something."""
        return journal_failure(self.path, what, error)

    def _damaged(self, cause: BaseException) -> InvalidJournal:
        """Return the error that a line, the last that was read, is not an event."""
        what = f"line {self._line_number} is not an event"
        if _is_of_other_version(str(cause)):
            return InvalidJournal(
                f"The journal {self.path!r} cannot be read: its {what} that is known here: {cause}"
                ". The file was left as it is; use the version of rxflow that wrote it, or pass "
                f"{self._other}"
            )
        return InvalidJournal(
            f"The journal {self.path!r} is damaged: its {what}: {cause}. The file was left as it "
            "is; remove that line, whose event then comes again if the server still has it, or "
            f"pass {self._other}"
        )

    def _invalid(self, reason: str) -> InvalidJournal:
        return InvalidJournal(
            f"The file {self.path!r} is not a journal of this watch: {reason}. It was left as it "
            f"is; pass {self._other}, or move this file away to watch from the beginning"
        )


def _is_of_other_version(reason: str) -> bool:
    """Whether a line is no event since its kind or its code is not known, and not damaged."""
    return reason.startswith("Invalid ") and reason.endswith(("`$.kind`", "`$.code`"))


def pid_in_header(file: FileIO) -> bytes:
    """Return the number of the process that the first line of a file names; empty without one.

    Raises:
        OSError: It cannot be read.
    """
    head = file.read(len(_PREFIX) + len(_PID % 0))
    return head.removeprefix(_PREFIX).strip() if head.startswith(_PREFIX) else b""


def ends_closed(file: FileIO) -> bool | None:
    """Whether the last whole line of a file is a `Closed`; None if it has no line but a header.

    Raises:
        OSError: It cannot be read.
    """
    size = os.fstat(file.fileno()).st_size
    block = _TAIL
    while True:
        start = max(0, size - block)
        file.seek(start)
        lines = file.read(size - start).split(b"\n")[:-1]  # the first may be a part of one
        if len(lines) > 1 or start == 0:
            return lines[-1].startswith(_CLOSED) if len(lines) > 1 else None
        block *= 8


def journal_failure(path: str, what: str, error: OSError) -> JournalFailed:
    """Return the error that the system refused something with a journal."""
    text = f"The journal {path!r} cannot {what}: {reason_of(error)}"
    return JournalFailed(text, is_full=error.errno in NO_ROOM)


def lines_of(events: Iterable[FlowRunEvent]) -> bytes:
    """Return events as the lines of a file."""
    return b"".join(encode_event(event) + b"\n" for event in events)
