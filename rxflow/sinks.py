"""Sinks: operators that write the events of a pipeline to a target.

A sink writes each event to its target and then passes it on, so that every event which leaves the
pipeline has been written. Like any operator it works in a loop, a subscription or an ``await``::

    from rxflow import sinks

    for event in rxflow.watch_flow_run(run_id).pipe(sinks.to_json_lines("run.jsonl")):
        ...
    rxflow.watch_flow_run(run_id).pipe(sinks.to_loguru()).subscribe()

An error of a target is the pipeline's ``on_error``: the event is not passed on, the watch behind it
ends, and other watches continue. A target is opened when the pipeline is subscribed to, and closed
once, when the pipeline completes, fails or is disposed of. Each subscription has a state of its
own.
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

from rxflow._models.arguments import check_callable, check_type
from rxflow._models.times import in_any_zone
from rxflow._runtime.sink_output import SinkOutput
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
        function: The function, called on the thread on which the items arrive; the next item waits
            for it. Its result is ignored.

    Returns:
        An operator that passes each item on when the function has returned.

    Raises:
        Exception: From the pipeline: the function has raised it.
        TypeError: The function cannot be called, or is a coroutine function, which no code would
            await.

    Example:
        >>> import reactivex
        >>> seen = []
        >>> reactivex.of(1, 2).pipe(to_callable(seen.append)).run()
        2
        >>> seen
        [1, 2]
    """
    check_callable("function", function, "a function that takes an item, such as print")
    # Of an object with __call__, that method is the function.
    if any(map(inspect.iscoroutinefunction, (function, type(function).__call__))):
        raise TypeError(
            f"{function!r} is a coroutine function; iterate the stream with `async for` and await "
            "it there, or pass a function"
        )
    return _sink(lambda: nullcontext(function))


def to_json_lines(
    target: str | os.PathLike[str] | IO[str] | IO[bytes], *, append: bool = True
) -> Callable[[Observable[E]], Observable[E]]:
    """Write each event as a line of JSON, as encoded by `rxflow.encode_event`.

    Each line is written and flushed before its event is passed on, so an event that was passed on
    survives the end of this process, but not a power failure. If a crash has truncated the last
    line of a file, the next event starts on a new line.

    Args:
        target: A path, whose file is opened when the pipeline is subscribed to; or an open stream
            of text or bytes, which is left open.
        append: Whether to keep the contents of an existing file. If not, each subscription begins
            with an empty file, so that after a ``retry`` no event is in it twice.

    Returns:
        An operator that passes each event on when it is written.

    Raises:
        SinkFailed: From the pipeline: the file cannot be opened or written.
        TypeError: ``target`` is neither a path nor a stream.

    Example:
        >>> rxflow.watch_flow_run(run_id).pipe(to_json_lines("run.jsonl")).run()  # doctest: +SKIP
    """
    if isinstance(target, str | os.PathLike):
        return _sink(partial(_lines_of_file, target, append=append))
    for method in ("write", "flush"):
        advice = "a path such as 'run.jsonl', or an open file"
        check_callable(f"target.{method}", getattr(target, method, None), advice)
    return _sink(lambda: nullcontext(partial(_write_line, target)))


def to_loguru(logger: "Logger | None" = None) -> Callable[[Observable[E]], Observable[E]]:
    """Write each event to loguru.

    The record has the time and the level of the event. Its ``name`` is the name of the flow's
    logger for log lines, and ``rxflow`` for other events. Its ``extra`` has ``flow_run_id``,
    ``flow_run_name``, ``task_run_id``, ``task_run_name``, ``logger`` and ``kind``. A field is None
    if it does not apply, or if the event with the name has not passed this sink before; so put the
    sink before operators that drop events. Braces and color tags in the message have no effect.

    The records are written whether or not rxflow's own log is enabled.

    Args:
        logger: The logger, with the values bound to it; options set by ``opt()`` are ignored. If
            None, loguru's own.

    Returns:
        An operator that passes each event on when it was passed to loguru.

    Raises:
        Exception: From the pipeline: a loguru handler that was added with ``catch=False`` has
            raised it. Errors of other handlers are printed by loguru.
        TypeError: ``logger`` is not a logger of loguru.

    Example:
        >>> import rxflow
        >>> rxflow.watch_flow_run(run_id).pipe(to_loguru()).subscribe()  # doctest: +SKIP
    """
    if logger is not None:
        check_type("logger", logger, type(loguru.logger), "loguru.logger, with bind() for values")
    plain = (logger or loguru.logger).opt()
    return _sink(lambda: nullcontext(partial(_write_to_loguru, plain, _RunNames())))


def to_logging(
    logger: logging.Logger | None = None,
) -> Callable[[Observable[E]], Observable[E]]:
    """Write each event to the logging of the standard library.

    The record has the time and the level of the event and the name of the logger, whose level,
    filters and handlers apply. For formats and filters it has the attributes ``flow_run_id``,
    ``flow_run_name``, ``task_run_id``, ``task_run_name``, ``logger`` (the name of the flow's
    logger) and ``kind``. An attribute is None if it does not apply, or if the event with the name
    has not passed this sink before; so put the sink before operators that drop events. A ``%`` in
    the message has no effect.

    Args:
        logger: The logger; ``logging.getLogger("rxflow")`` if None.

    Returns:
        An operator that passes each event on when it was handled.

    Raises:
        Exception: From the pipeline: a filter or a handler has raised it. Handlers of the standard
            library print their errors on stderr instead (see `logging.Handler.handleError`).
        TypeError: ``logger`` is not a `logging.Logger`.

    Example:
        >>> import logging, rxflow
        >>> sink = to_logging(logging.getLogger("my_flows"))
        >>> rxflow.watch_flow_run(run_id).pipe(sink).subscribe()  # doctest: +SKIP
    """
    if logger is not None:
        check_type("logger", logger, logging.Logger, "logging.getLogger('my_flows')")
    chosen = logger or logging.getLogger("rxflow")
    return _sink(lambda: nullcontext(partial(_write_to_logging, chosen, _RunNames())))


def _sink(
    target: Callable[[], AbstractContextManager[_Write]],
) -> Callable[[Observable[T]], Observable[T]]:
    """Return an operator that opens a target for each subscription and writes each item to it."""

    def sink(source: Observable[T]) -> Observable[T]:
        def subscribe(
            observer: abc.ObserverBase[T], scheduler: abc.SchedulerBase | None = None
        ) -> abc.DisposableBase:
            writer = _Writer(target(), observer)
            try:
                subscription = source.subscribe(writer, scheduler=scheduler)
            except BaseException:  # such as Ctrl-C, where the source emits while subscribing
                writer.dispose()
                raise
            return CompositeDisposable(subscription, writer)

        return SinkOutput(subscribe)

    return sink


class _Writer(abc.ObserverBase[T], abc.DisposableBase):
    """Writes each item to a target, then passes it to an observer."""

    def __init__(
        self, target: AbstractContextManager[_Write], observer: abc.ObserverBase[T]
    ) -> None:
        opened = ExitStack()
        self._write = opened.enter_context(target)
        self._closing = Disposable(opened.close)
        self._observer = observer

    def on_next(self, value: T) -> None:
        if self._closing.is_disposed:  # a source may emit until its subscription is disposed of
            return
        try:
            self._write(value)
        except Exception as error:  # noqa: BLE001 - a target may raise any error
            self.on_error(error)
        else:
            self._observer.on_next(value)

    def on_error(self, error: Exception) -> None:
        with suppress(Exception):  # the first error is the one to report
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
        truncated = append and _ends_in_truncated_line(Path(path))
        # Append mode in either case: two subscriptions that write to one file overwrite nothing.
        with open(path, "ab", opener=None if append else _open_empty) as file:
            if truncated:
                file.write(b"\n")
            yield partial(_write_line, file)
    except OSError as error:
        raise SinkFailed(f"Cannot write events to {str(path)!r}: {_reason(error)}") from error


def _open_empty(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_TRUNC, 0o666)


def _ends_in_truncated_line(path: Path) -> bool:
    """Whether the last line of a file has no newline; a pipe or a device has no last line."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        if not file.seek(0, os.SEEK_END):
            return False
        file.seek(-1, os.SEEK_END)
        return file.read() != b"\n"


def _write_line(stream: IO[Any], event: FlowRunEvent) -> None:
    encoded = encode_event(event) + b"\n"
    # Only text streams have an encoding; wrappers such as tempfile's have no class to check.
    line = encoded.decode() if hasattr(stream, "encoding") else encoded
    try:
        written = stream.write(line)
        stream.flush()
    except (OSError, ValueError) as error:  # ValueError: the stream is closed
        raise SinkFailed(_cannot_write(stream, _reason(error))) from error
    if written != len(line):  # an unbuffered stream may write less and raise nothing
        reason = f"it accepted {written} of {len(line)} characters"
        raise SinkFailed(_cannot_write(stream, reason))


def _cannot_write(stream: IO[Any], reason: str) -> str:
    name = str(getattr(stream, "name", type(stream).__name__))
    return f"Cannot write events to {name!r}: {reason}; all events passed on are in it"


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


# -- loggers ------------------------------------------------------------------------------------


class _RunNames:
    """The names of flow runs and task runs, as far as the events of a stream have them."""

    def __init__(self) -> None:
        self._flow_runs: dict[str, str] = {}
        self._task_runs: dict[str, str] = {}

    def context_of(self, event: FlowRunEvent) -> dict[str, str | None]:
        """Record the name in an event, and return the fields to bind to its log record."""
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
"""The names of loguru's own levels; other numbers have no name."""


def _write_to_loguru(logger: "Logger", names: _RunNames, event: FlowRunEvent) -> None:
    bound = logger.bind(**names.context_of(event)).patch(partial(_restamp, event))
    level = _LOGURU_LEVELS.get(event.level, max(event.level, 0))
    _log_without_module(bound, level, event.message)


def _restamp(event: FlowRunEvent, record: "Record") -> None:
    """Set the time of a record to that of its event, and its name to that of the flow's logger."""
    local = in_any_zone(event.timestamp).astimezone()
    # The class is loguru's own; it supports loguru's time formats.
    record["time"] = type(record["time"]).combine(local.date(), local.timetz())
    record["name"] = event.name if isinstance(event, FlowRunLog) else "rxflow"
    record["line"] = 0


def _log(logger: "Logger", level: str | int, message: str) -> None:
    logger.log(level, message)


# loguru looks up the module of the calling frame and drops the records of a disabled module, as
# rxflow is. Enabling rxflow.sinks would last only until rxflow is disabled again. The frame of this
# function has no module, and its file and function name are not those of the writer of the line.
_log_without_module: Callable[["Logger", str | int, str], None] = FunctionType(
    _log.__code__.replace(co_filename="<unknown>", co_name="<unknown>"), {}
)


def _write_to_logging(logger: logging.Logger, names: _RunNames, event: FlowRunEvent) -> None:
    context = names.context_of(event)
    if not logger.isEnabledFor(event.level):
        return
    record = logger.makeRecord(
        logger.name, event.level, "(unknown file)", 0, event.message, (), None
    )
    created = in_any_zone(event.timestamp).timestamp()
    record.relativeCreated += (created - record.created) * 1000
    record.created = created
    record.msecs = float(event.timestamp.microsecond // 1000)
    # Not by makeRecord's `extra`, which rejects a name that a record factory has set already.
    vars(record).update(context)
    logger.handle(record)
