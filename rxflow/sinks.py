"""Sinks: where the events of a pipeline are written to.

A sink is an operator. It writes each event to its target and then passes it on, so that what has
come out of the pipeline is written, and whatever drives the pipeline drives its sinks: a loop, a
subscription, or an ``await``::

    from rxflow import sinks

    for event in rxflow.watch_flow_run(run_id).pipe(sinks.to_json_lines("run.jsonl")):
        ...
    rxflow.watch_flow_run(run_id).pipe(sinks.to_loguru()).subscribe()

What a target raises is the pipeline's ``on_error``: the event is not passed on, the watch behind
it ends, and other watches go on. A target is opened when the pipeline is subscribed to, and closed
once, when it completes, fails or is disposed of. Sinks remember nothing between subscriptions.
"""

import inspect
import logging
import os
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from functools import partial
from pathlib import Path
from types import FunctionType
from typing import IO, TYPE_CHECKING, Any, TypeVar

import loguru
from reactivex import Observable, abc
from reactivex.disposable import CompositeDisposable, Disposable

from rxflow.errors import SinkFailed
from rxflow.events import (
    FlowRunEvent,
    FlowRunLog,
    RunChanged,
    RunSeen,
    TaskRunStateChange,
    encode_event,
)

if TYPE_CHECKING:
    from loguru import Logger, Record

__all__ = ["to_callable", "to_json_lines", "to_logging", "to_loguru"]

T = TypeVar("T")
E = TypeVar("E", bound=FlowRunEvent)

_Write = Callable[[Any], object]


def to_callable(function: Callable[[T], object]) -> Callable[[Observable[T]], Observable[T]]:
    """Call a function with each item.

    Args:
        function: What to call, on the thread that the items come on; the next one waits for it.
            What it returns does not matter.

    Returns:
        An operator that passes each item on when the function has returned.

    Raises:
        TypeError: The function is a coroutine function, which nobody would wait for.

    Example:
        >>> import reactivex
        >>> seen = []
        >>> reactivex.of(1, 2).pipe(to_callable(seen.append)).run()
        2
        >>> seen
        [1, 2]
    """
    if inspect.iscoroutinefunction(function):
        raise TypeError(
            f"{function!r} is a coroutine function; iterate the stream with `async for` and await "
            "it there, or pass a function"
        )
    return _sink(lambda: nullcontext(function))


def to_json_lines(
    target: str | os.PathLike[str] | IO[str] | IO[bytes], *, append: bool = True
) -> Callable[[Observable[E]], Observable[E]]:
    """Write each event as a line of JSON, as `rxflow.encode_event` makes it.

    Each line is written and flushed before its event is passed on: what was passed on outlives
    this process, though not a power cut. If the file's last line was cut off by a crash, the next
    event starts on a line of its own.

    Args:
        target: A path, whose file is opened when the pipeline is subscribed to; or an open stream
            of text or bytes, which stays open.
        append: Whether a file keeps what is in it. If not, each subscription begins an empty one,
            so that after a ``retry`` no event stands in it twice.

    Returns:
        An operator that passes each event on when it is written. It fails with `SinkFailed` if the
        file cannot be opened or written.

    Example:
        >>> rxflow.watch_flow_run(run_id).pipe(to_json_lines("run.jsonl")).run()  # doctest: +SKIP
    """
    if isinstance(target, str | os.PathLike):
        return _sink(partial(_lines_of_file, target, append=append))
    return _sink(lambda: nullcontext(partial(_write_line, target)))


def to_loguru(logger: "Logger | None" = None) -> Callable[[Observable[E]], Observable[E]]:
    """Write each event to loguru.

    The record's time and level are the event's. Its ``name`` is that of the logger which the flow
    wrote the line with, and ``rxflow`` for other events. Its ``extra`` has ``flow_run_id``,
    ``flow_run_name``, ``task_run_id``, ``task_run_name``, ``logger`` and ``kind``; what does not
    apply, or was not told by then, is None, so put the sink before operators that leave events
    out. The message is text: braces and color tags in it mean nothing.

    The records come whether or not rxflow's own log is enabled.

    Args:
        logger: The logger, with what is bound to it; options of ``opt()`` do not count. loguru's
            own if None.

    Returns:
        An operator that passes each event on when it was handed to loguru. Errors of a loguru sink
        fail the pipeline if it was added with ``catch=False``; otherwise loguru prints them.

    Example:
        >>> import rxflow
        >>> rxflow.watch_flow_run(run_id).pipe(to_loguru()).subscribe()  # doctest: +SKIP
    """
    plain = (logger or loguru.logger).opt()
    return _sink(lambda: nullcontext(partial(_write_to_loguru, plain, _Names())))


def to_logging(
    logger: logging.Logger | None = None,
) -> Callable[[Observable[E]], Observable[E]]:
    """Write each event to the logging of the standard library.

    The record's time and level are the event's, its name is the logger's, and the logger's level,
    filters and handlers apply. It has the attributes ``flow_run_id``, ``flow_run_name``,
    ``task_run_id``, ``task_run_name``, ``logger`` (that which the flow wrote the line with) and
    ``kind``, for formats and filters; what does not apply, or was not told by then, is None, so put
    the sink before operators that leave events out. A ``%`` in the message means nothing.

    Args:
        logger: The logger; ``logging.getLogger("rxflow")`` if None.

    Returns:
        An operator that passes each event on when it was handled. What a filter or a handler
        raises fails the pipeline; but handlers of the standard library report their errors on
        stderr themselves (see `logging.Handler.handleError`), and the pipeline goes on.

    Example:
        >>> import logging, rxflow
        >>> sink = to_logging(logging.getLogger("my_flows"))
        >>> rxflow.watch_flow_run(run_id).pipe(sink).subscribe()  # doctest: +SKIP
    """
    chosen = logger or logging.getLogger("rxflow")
    return _sink(lambda: nullcontext(partial(_write_to_logging, chosen, _Names())))


def _sink(
    target: Callable[[], AbstractContextManager[_Write]],
) -> Callable[[Observable[T]], Observable[T]]:
    """An operator that opens a target for each subscription, and writes what it passes on."""

    def sink(source: Observable[T]) -> Observable[T]:
        def subscribe(
            observer: abc.ObserverBase[T], scheduler: abc.SchedulerBase | None = None
        ) -> abc.DisposableBase:
            writer = _Writer(target(), observer)
            try:
                subscription = source.subscribe(writer, scheduler=scheduler)
            except BaseException:  # such as Ctrl-C, where the source emits at once
                writer.dispose()
                raise
            return CompositeDisposable(subscription, writer)

        return Observable(subscribe)

    return sink


class _Writer(abc.ObserverBase[T], abc.DisposableBase):
    """Stands before an observer, and writes what comes before it passes it on."""

    def __init__(
        self, target: AbstractContextManager[_Write], observer: abc.ObserverBase[T]
    ) -> None:
        opened = ExitStack()
        self._write = opened.enter_context(target)
        self._closing = Disposable(opened.close)
        self._observer = observer

    def on_next(self, value: T) -> None:
        if self._closing.is_disposed:  # the source has not heard yet that it is over
            return
        try:
            self._write(value)
        except Exception as error:  # noqa: BLE001 - whatever it raises is told
            self.on_error(error)
        else:
            self._observer.on_next(value)

    def on_error(self, error: Exception) -> None:
        with suppress(Exception):  # the first error is the one to tell
            self.dispose()
        self._observer.on_error(error)

    def on_completed(self) -> None:
        try:
            self.dispose()
        except Exception as error:  # noqa: BLE001 - as above
            self._observer.on_error(error)
        else:
            self._observer.on_completed()

    def dispose(self) -> None:
        self._closing.dispose()


# -- JSON Lines ---------------------------------------------------------------------------------


@contextmanager
def _lines_of_file(path: str | os.PathLike[str], *, append: bool) -> Generator[_Write, None, None]:
    try:
        torn = append and _is_torn(Path(path))
        # Appended to in either case: two subscriptions that write to one file overwrite nothing.
        with open(path, "ab", opener=None if append else _emptied) as file:
            if torn:
                file.write(b"\n")
            yield partial(_write_line, file)
    except OSError as error:
        raise SinkFailed(f"Cannot write events to {str(path)!r}: {_reason(error)}") from error


def _emptied(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_TRUNC, 0o666)


def _is_torn(path: Path) -> bool:
    """Whether a file's last line has no end; a pipe or a device has no last line."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        if not file.seek(0, os.SEEK_END):
            return False
        file.seek(-1, os.SEEK_END)
        return file.read() != b"\n"


def _write_line(stream: IO[Any], event: FlowRunEvent) -> None:
    encoded = encode_event(event) + b"\n"
    # Only streams of text have an encoding; wrappers such as tempfile's are of no class to ask for.
    line = encoded.decode() if hasattr(stream, "encoding") else encoded
    try:
        taken = stream.write(line)
        stream.flush()
    except (OSError, ValueError) as error:  # ValueError: the stream is closed
        raise SinkFailed(_cannot_write(stream, _reason(error))) from error
    if taken != len(line):  # an unbuffered stream may say so and raise nothing
        raise SinkFailed(_cannot_write(stream, f"it took {taken} of {len(line)} characters"))


def _cannot_write(stream: IO[Any], reason: str) -> str:
    name = str(getattr(stream, "name", type(stream).__name__))
    return f"Cannot write events to {name!r}: {reason}; those that were passed on are in it"


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


# -- loggers ------------------------------------------------------------------------------------


class _Names:
    """Says which run and task run an event is of, by id and, once it was told, by name."""

    def __init__(self) -> None:
        self._flow_runs: dict[str, str] = {}
        self._task_runs: dict[str, str] = {}

    def context_of(self, event: FlowRunEvent) -> dict[str, str | None]:
        """Take note of an event, and return what is bound to its record."""
        task_run_id = logger = None
        match event:
            case RunSeen() | RunChanged():
                self._flow_runs[event.flow_run_id] = event.run.name
            case TaskRunStateChange():
                task_run_id = event.task_run.id
                self._task_runs[task_run_id] = event.task_run.name
            case FlowRunLog():
                task_run_id, logger = event.task_run_id, event.name
            case _:
                pass
        return {
            "flow_run_id": event.flow_run_id,
            "flow_run_name": self._flow_runs.get(event.flow_run_id),
            "task_run_id": task_run_id,
            "task_run_name": self._task_runs.get(task_run_id) if task_run_id else None,
            "logger": logger,
            "kind": str(event.__struct_config__.tag),
        }


_LOGURU_LEVELS = {
    5: "TRACE",
    10: "DEBUG",
    20: "INFO",
    25: "SUCCESS",
    30: "WARNING",
    40: "ERROR",
    50: "CRITICAL",
}
"""The names of loguru's own levels; it knows other numbers without one."""


def _write_to_loguru(logger: "Logger", names: _Names, event: FlowRunEvent) -> None:
    bound = logger.bind(**names.context_of(event)).patch(partial(_restamp, event))
    level = _LOGURU_LEVELS.get(event.level, max(event.level, 0))
    _log_from_nowhere(bound, level, event.message)


def _restamp(event: FlowRunEvent, record: "Record") -> None:
    """Give a record the time and the place at which the event arose."""
    local = event.timestamp.astimezone()
    # A class of loguru's own, which knows its time formats.
    record["time"] = type(record["time"]).combine(local.date(), local.timetz())
    record["name"] = event.name if isinstance(event, FlowRunLog) else "rxflow"
    record["line"] = 0


def _log(logger: "Logger", level: str | int, message: str) -> None:
    logger.log(level, message)


# loguru asks the frame that logs for its module, and drops what comes from a disabled one, as
# rxflow is. To enable rxflow.sinks would last until somebody disables rxflow again. This frame has
# no module, and neither a file nor a function that would pass for the writer's.
_log_from_nowhere: Callable[["Logger", str | int, str], None] = FunctionType(
    _log.__code__.replace(co_filename="<unknown>", co_name="<unknown>"), {}
)


def _write_to_logging(logger: logging.Logger, names: _Names, event: FlowRunEvent) -> None:
    context = names.context_of(event)
    if not logger.isEnabledFor(event.level):
        return
    record = logger.makeRecord(
        logger.name, event.level, "(unknown file)", 0, event.message, (), None
    )
    created = event.timestamp.timestamp()
    record.relativeCreated += (created - record.created) * 1000
    record.created = created
    record.msecs = float(event.timestamp.microsecond // 1000)
    # Not as makeRecord's `extra`, which refuses a name that a record factory has set before.
    vars(record).update(context)
    logger.handle(record)
