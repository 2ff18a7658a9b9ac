"""A recording: the file of a stream's events, with the time at which each came, and of its end.

    {"rxflow_recording":1,"started":"2026-11-22T02:00:00Z"}
    {"at":0.012345,"event":{"kind":"run-seen","flow_run_id":"9e6caafc-...",...}}
    {"at":4.500000,"event":{"kind":"log","flow_run_id":"9e6caafc-...",...}}
    {"at":9.250000,"error":{"type":"Unreachable","message":"..."}}

Times are in seconds from the subscription on, which the first line has by the clock of the
calendar. The last line is the stream's end, ``{"at":9.25,"completed":true}`` or its error; it is
missing if the stream was left before. What follows the last newline was being written when a
process was killed.

Belongs here: the format, and how it is written. Does not belong here: how it is read
(`recording_reader`) and emitted again (`replay`).
"""

import os
import stat
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from io import FileIO
from typing import Any, TypeVar

import msgspec
from reactivex import Observable, abc
from reactivex.disposable import CompositeDisposable, Disposable

from rxflow._forks import register
from rxflow._models.times import Instant, Now
from rxflow._runtime.clocks import clock_of
from rxflow._runtime.compression import Compressor, NoZstandard, compressor_for
from rxflow._runtime.locked_files import NO_ROOM, has_locked, reason_of, write_all
from rxflow._runtime.paged import Page, PagedObservable, pages_of
from rxflow._runtime.scheduling import scheduler_for
from rxflow.errors import RecordingFailed
from rxflow.events import encode_event

VERSION = 1
"""The version of the format."""

E = TypeVar("E")


class RecordedError(msgspec.Struct, frozen=True):
    """The error that a stream ended with.

    Attributes:
        type: The name of its class.
        message: Its text.
    """

    type: str
    message: str


class Line(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Each line but the first one: an event, or the end.

    Attributes:
        at: The seconds from the subscription on.
        event: The event, as `encode_event` encodes it; empty for the end.
        error: The error that the stream ended with.
        completed: Whether the stream completed.
    """

    at: float
    event: msgspec.Raw = msgspec.Raw()
    error: RecordedError | None = None
    completed: bool = False


class _Header(msgspec.Struct, frozen=True):
    rxflow_recording: int
    started: Instant


_ENCODER = msgspec.json.Encoder()


def recorded(source: Observable[E], path: str, *, overwrite: bool) -> PagedObservable[E]:
    """Return an observable that passes items on and writes them to a recording.

    Args:
        source: The items, which must be events. Of pages, each is written as a whole, and then
            passed on.
        path: The path of the file, which each subscription creates.
        overwrite: Whether to replace a file that exists.

    Raises:
        RecordingFailed: The file is to be compressed in a way that there is no package for.
    """
    try:
        compressor_for(path)
    except NoZstandard as error:
        raise RecordingFailed(f"The recording {path!r} cannot be compressed: {error}") from error

    def record(pages: Observable[Page[E]]) -> Observable[Page[E]]:
        def subscribe(
            observer: abc.ObserverBase[Page[E]], given: abc.SchedulerBase | None = None
        ) -> abc.DisposableBase:
            clock = clock_of(scheduler_for(given))
            try:
                recorder = _Recorder(observer, clock, path, overwrite=overwrite)
            except RecordingFailed as error:
                observer.on_error(error)
                return Disposable()
            try:
                subscription = pages.subscribe(recorder, scheduler=given)
            except BaseException:  # such as Ctrl-C, where the source emits while subscribing
                recorder.dispose()
                raise
            return CompositeDisposable(subscription, recorder)

        return Observable(subscribe)

    if isinstance(source, PagedObservable):
        return PagedObservable(record(source.page_source), record(source.whole_pages))
    return PagedObservable(record(pages_of(source)))


class _Recorder(abc.ObserverBase[Page[Any]], abc.DisposableBase):
    """Appends each page to a recording, then passes it to an observer; closes it at the end."""

    def __init__(
        self,
        observer: abc.ObserverBase[Page[Any]],
        clock: Callable[[], Now],
        path: str,
        *,
        overwrite: bool,
    ) -> None:
        self._observer = observer
        self._clock = clock
        self._began = clock()
        self._file = RecordingFile(path, self._began.utc, overwrite=overwrite)

    def on_next(self, value: Page[Any]) -> None:
        try:
            at = self._at()
            lines = [b'{"at":%s,"event":%s}\n' % (at, encode_event(item)) for item in value]
            is_written = self._file.append(b"".join(lines))
        except Exception as error:  # noqa: BLE001 - an item that is no event may raise any error
            self.on_error(error)
            return
        if not is_written:  # a source emits until its subscription is disposed of
            return
        try:
            self._observer.on_next(value)
        except BaseException:
            self.dispose()  # what the consumer raises is no end of the stream
            raise

    def on_error(self, error: Exception) -> None:
        with suppress(RecordingFailed):  # the first error is the one to report
            text = str(error).encode("utf-8", "replace").decode()
            end = RecordedError(type(error).__name__, text)
            self._file.append(b'{"at":%s,"error":%s}\n' % (self._at(), _ENCODER.encode(end)))
            self.dispose()
        self._observer.on_error(error)

    def on_completed(self) -> None:
        try:
            self._file.append(b'{"at":%s,"completed":true}\n' % self._at())
            self.dispose()
        except RecordingFailed as error:
            self._observer.on_error(error)
        else:
            self._observer.on_completed()

    def dispose(self) -> None:
        """Close the file. Callable from any thread."""
        self._file.close()

    def _at(self) -> bytes:
        return b"%.6f" % max(0.0, self._clock().mono - self._began.mono)


class RecordingFile:
    """A file that is written. `close` may be called by any thread.

    What was appended survives the end of this process. It is forced to the disk once, by `close`.
    """

    def __init__(self, path: str, started: datetime, *, overwrite: bool) -> None:
        """Create a file, for its owner alone, and write the first line.

        Args:
            path: Its path; the end of the name says how it is compressed.
            started: When the recording began.
            overwrite: Whether to replace a file that exists.

        Raises:
            RecordingFailed: It cannot be created, exists, or is written by another recording.
        """
        self._path = path
        self._lock = threading.RLock()
        self._compressor: Compressor | None = compressor_for(path)
        self._end = 0  # bytes that were written whole
        try:
            file = FileIO(path, "r+" if overwrite else "x", opener=_create)
        except FileExistsError as error:
            raise RecordingFailed(
                f"The recording {path!r} exists; pass the path of another file, or overwrite=True "
                "to replace it"
            ) from error
        except OSError as error:
            raise self._failed("be created", error) from error
        self._file: FileIO | None = file
        register(self)
        try:
            self._is_regular = stat.S_ISREG(os.fstat(file.fileno()).st_mode)
            self._start(file, _ENCODER.encode(_Header(VERSION, started)) + b"\n")
        except BaseException:
            self._file = None
            file.close()
            raise

    def reset_after_fork(self) -> None:
        """Leave the file to the parent."""
        self._lock = threading.RLock()
        file, self._file = self._file, None
        if file is not None:
            file.close()

    def _start(self, file: FileIO, header: bytes) -> None:
        try:
            if not _is_ours(file):
                raise RecordingFailed(
                    f"The recording {self._path!r} is being written by another one; end that one "
                    "first, or pass the path of another file"
                )
            if self._is_regular:
                file.truncate(0)
        except OSError as error:
            if isinstance(error, RecordingFailed):
                raise
            raise self._failed("be created", error) from error
        self.append(header)

    def append(self, lines: bytes) -> bool:
        """Append lines, which a reader finds once this returns.

        Returns:
            Whether the file has them: False once it is closed.

        Raises:
            RecordingFailed: It cannot be written; it has all lines that were appended before.
        """
        with self._lock:
            file = self._file
            if file is None:
                return False
            self._write(file, lines if self._compressor is None else self._compressor.add(lines))
            return True

    def close(self) -> None:
        """Force the file to the disk and close it. May be called twice.

        Raises:
            RecordingFailed: It may not be on the disk.
        """
        with self._lock:
            file = self._file
            if file is None:
                return
            try:
                if self._compressor is not None:
                    self._write(file, self._compressor.end())
                if self._is_regular:
                    os.fsync(file.fileno())
            except OSError as error:
                if isinstance(error, RecordingFailed):
                    raise
                raise self._failed("be forced to the disk", error) from error
            finally:
                self._file = None
                file.close()

    def _write(self, file: FileIO, data: bytes) -> None:
        try:
            write_all(file, data)
        except OSError as error:
            failed = self._failed("be written", error)
            # Nothing follows: what was written of the lines is no whole line.
            self._file = None
            with suppress(OSError):
                if self._is_regular:
                    file.truncate(self._end)
            with suppress(OSError):
                file.close()
            raise failed from error
        self._end += len(data)

    def _failed(self, what: str, error: OSError) -> RecordingFailed:
        reason = reason_of(error)
        text = f"The recording {self._path!r} cannot {what}: {reason}"
        return RecordingFailed(text, is_full=error.errno in NO_ROOM)


def _create(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CREAT, 0o600)


def _is_ours(file: FileIO) -> bool:
    """Lock a file; return False if another recording has locked it."""
    try:
        return has_locked(file)
    except ImportError:  # as on Windows, where nothing keeps two recordings apart
        return True
