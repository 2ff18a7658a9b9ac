"""Read a recording, or a journal, page by page: what is read at once is bounded.

A journal has no times at which its events came; there an event comes at its own time, or at that of
an earlier one which is later.

Belongs here: which files can be replayed, and what is wrong with the others. Does not belong here:
when a page is emitted (`replay`).
"""

import threading
from collections.abc import Iterator
from datetime import datetime
from io import FileIO
from typing import NoReturn

import msgspec

from rxflow import errors
from rxflow._forks import register
from rxflow._models.times import Instant
from rxflow._runtime.compression import CorruptData, NoZstandard, blocks_of
from rxflow._runtime.recording import VERSION, Line, RecordedError
from rxflow._watching.event_order import EventPage, source_of
from rxflow.errors import InvalidEvent, InvalidRecording, RecordingFailed, RxflowError
from rxflow.events import Closed, FlowRunEvent, decode_event

MOST_AT = 1e9
"""The latest time that a line may have, in seconds: some 31 years."""

MOST_IN_PAGE = 200
"""The most events of a page, as of a watch."""

MOST_LINE = 64 * 1024 * 1024
"""The most bytes of a line."""

_JOURNAL_VERSION = 1


class _Header(msgspec.Struct, frozen=True):
    rxflow_recording: int | None = None
    rxflow_journal: int | None = None
    started: Instant | None = None


class RecordedPage(msgspec.Struct, frozen=True):
    """Events that came together, of one source.

    Attributes:
        at: When they came, in seconds.
        events: The events, at least one.
    """

    at: float
    events: EventPage


class RecordedEnd(msgspec.Struct, frozen=True):
    """The end of a recording.

    Attributes:
        at: When the stream ended, in seconds.
        error: The error that it ended with; None if it completed, or was left.
        is_known: Whether the recording has the stream's end.
    """

    at: float
    error: Exception | None = None
    is_known: bool = True


class _Entry(msgspec.Struct, frozen=True):
    at: float
    event: FlowRunEvent


_HEADER = msgspec.json.Decoder(_Header)
_LINE = msgspec.json.Decoder(Line)
_UNREADABLE = (msgspec.DecodeError, UnicodeError, RecursionError)


class RecordingReader:
    """Reads one file. `close` may be called by any thread."""

    def __init__(self, path: str) -> None:
        """Name a file; it is opened by the first read.

        Args:
            path: Its path.
        """
        self._path = path
        self._file: FileIO | None = None
        self._is_closed = False
        self._is_begun = False
        self._lines: Iterator[tuple[bytes, bool]] = iter(())
        self._number = 0  # of the line that was read last
        self._is_journal = False
        self._first: datetime | None = None  # of a journal: the time of its first event
        self._at = 0.0
        self._end: RecordedEnd | None = None
        self._ahead: _Entry | RecordedEnd | RxflowError | None = None
        self._lock = threading.RLock()
        self.started: datetime | None = None
        register(self)

    def reset_after_fork(self) -> None:
        """Leave the file to the parent, whose position in it a read would move."""
        self._lock = threading.RLock()
        self._close()

    def close(self) -> None:
        """Close the file. May be called twice."""
        with self._lock:
            self._close()

    def _close(self) -> None:
        file, self._file, self._is_closed = self._file, None, True
        if file is not None:
            file.close()

    def begin(self) -> None:
        """Open the file and read its first line; `started` is then set, unless it is a journal.

        Raises:
            RecordingFailed: The file cannot be read.
            InvalidRecording: It is neither a recording nor a journal.
        """
        with self._lock:
            if self._is_begun or self._is_closed:
                return
            self._is_begun = True
            try:
                self._file = FileIO(self._path)
            except OSError as error:
                raise self._failed(error) from error
            self._lines = _lines_of(blocks_of(self._file))
            self._read_header()

    def next_page(self, *, by_time: bool = True) -> RecordedPage | RecordedEnd | None:
        """Return the next events that came together, or the end.

        Args:
            by_time: Whether events of different times are in different pages.

        Returns:
            The page or the end; None if the file was closed.

        Raises:
            RecordingFailed: The file cannot be read.
            InvalidRecording: A line is not one of a recording.
        """
        with self._lock:
            self.begin()
            if self._is_closed:
                return None
            first = self._taken()
            if isinstance(first, RecordedEnd):
                return first
            events = [first.event]
            source = source_of(first.event)
            while len(events) < MOST_IN_PAGE and not isinstance(events[-1], Closed):
                following = self._peeked()
                if (
                    not isinstance(following, _Entry)
                    or (by_time and following.at != first.at)
                    or source_of(following.event) is not source
                ):
                    break
                events.append(following.event)
                self._ahead = None
            return RecordedPage(first.at, tuple(events))

    # -- one entry ahead, whose error comes after the events before it ---------------------------

    def _peeked(self) -> _Entry | RecordedEnd | RxflowError:
        if self._ahead is None:
            try:
                self._ahead = self._read()
            except RxflowError as error:
                self._ahead = error
        return self._ahead

    def _taken(self) -> _Entry | RecordedEnd:
        entry = self._peeked()
        self._ahead = None
        if isinstance(entry, RxflowError):
            raise entry
        return entry

    # -- lines ----------------------------------------------------------------------------------

    def _next_line(self) -> tuple[bytes, bool] | None:
        try:
            line = next(self._lines, None)
        except OSError as error:
            raise self._failed(error) from error
        except NoZstandard as error:
            raise RecordingFailed(f"The recording {self._path!r} cannot be read: {error}") from None
        except CorruptData as error:
            self._number += 1
            self._refuse(f"its compressed data is damaged: {error}", error)
        except _LineTooLong as error:
            self._number += 1
            self._refuse(f"it has more than {MOST_LINE // 2**20} MiB", error)
        self._number += 1
        return line

    def _read_header(self) -> None:
        line = self._next_line()
        if line is None:
            raise self._foreign("it is empty")
        text, is_whole = line
        try:
            header = _HEADER.decode(text)
        except _UNREADABLE as error:
            why = "does not begin as a recording does" if is_whole else "ends in its first line"
            raise self._foreign(f"it {why}") from error
        self._is_journal = header.rxflow_journal is not None
        version = header.rxflow_journal if self._is_journal else header.rxflow_recording
        if version is None:
            raise self._foreign("it does not begin as a recording does")
        known = _JOURNAL_VERSION if self._is_journal else VERSION
        if version != known:
            raise self._foreign(
                f"its format is version {version}, not {known}; use the version of rxflow that "
                "wrote it"
            )
        self.started = header.started

    def _read(self) -> _Entry | RecordedEnd:
        if self._end is not None:
            return self._end
        line = self._next_line()
        if line is None:
            return RecordedEnd(self._at, is_known=False)
        text, is_whole = line
        if self._is_journal:
            return self._journaled(text, is_whole=is_whole)
        try:
            read = _LINE.decode(text)
        except _UNREADABLE as error:
            if not is_whole:  # it was being written when a process was killed
                return RecordedEnd(self._at, is_known=False)
            self._refuse(f"it is not a line of a recording: {error}", error)
        self._check(read)
        self._at = read.at
        if read.event:
            return _Entry(read.at, self._event(read.event))
        self._end = RecordedEnd(read.at, None if read.error is None else _rebuilt(read.error))
        if self._next_line() is not None:
            self._refuse("it follows the end of the stream")
        return self._end

    def _check(self, line: Line) -> None:
        parts = bool(line.event) + (line.error is not None) + line.completed
        if parts != 1:
            self._refuse("it has not one of event, error and completed")
        if not 0 <= line.at <= MOST_AT:
            self._refuse(f"its time {line.at} is not between 0 and {MOST_AT:.0f} seconds")
        if line.at < self._at:
            self._refuse(f"its time {line.at} is earlier than {self._at}, that of the line before")

    def _journaled(self, text: bytes, *, is_whole: bool) -> _Entry | RecordedEnd:
        try:
            event = self._event(text)
        except InvalidRecording:
            if is_whole:
                raise
            return RecordedEnd(self._at, is_known=False)
        if self._first is None:
            self._first = event.timestamp
        seconds = (event.timestamp - self._first).total_seconds()
        self._at = max(self._at, min(seconds, MOST_AT))
        return _Entry(self._at, event)

    def _event(self, text: bytes | msgspec.Raw) -> FlowRunEvent:
        try:
            return decode_event(bytes(text))
        except InvalidEvent as error:
            self._refuse(f"it is not an event: {error}", error)

    # -- errors ---------------------------------------------------------------------------------

    def _failed(self, error: OSError) -> RecordingFailed:
        reason = error.strerror or str(error)
        if isinstance(error, IsADirectoryError):
            reason += "; pass one of the files in it"
        return RecordingFailed(f"The recording {self._path!r} cannot be read: {reason}")

    def _foreign(self, reason: str) -> InvalidRecording:
        return InvalidRecording(
            f"The file {self._path!r} cannot be replayed: {reason}. Pass a file that rxflow.record "
            "or a watch with a journal has written"
        )

    def _refuse(self, reason: str, cause: Exception | None = None) -> NoReturn:
        raise InvalidRecording(
            f"The file {self._path!r} cannot be replayed from its line {self._number} on: {reason}."
            f" What is before that line can be replayed: copy the first {self._number - 1} lines to"
            " a file of their own"
        ) from cause


class _LineTooLong(Exception):
    """A line has more bytes than may be held."""


def _lines_of(blocks: Iterator[bytes]) -> Iterator[tuple[bytes, bool]]:
    """Yield lines, and of each whether its newline was there."""
    rest: list[bytes] = []
    size = 0
    for block in blocks:
        *lines, last = block.split(b"\n")
        for line in lines:
            rest.append(line)
            yield b"".join(rest), True
            rest, size = [], 0
        rest.append(last)
        size += len(last)
        if size > MOST_LINE:
            raise _LineTooLong
    if size:
        yield b"".join(rest), False


def _rebuilt(error: RecordedError) -> Exception:
    """Return the error that a stream ended with: of its own class if that is one of rxflow's."""
    kind = getattr(errors, error.type, None) if error.type in errors.__all__ else None
    if kind is None:
        return RxflowError(f"{error.type}: {error.message}")
    rebuilt: RxflowError = kind(error.message)
    return rebuilt
