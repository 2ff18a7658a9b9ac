"""Where commands write: data to standard output, everything else to standard error.

A command runs inside `exit_on_error`, so that what can go wrong ends it with a sentence and a
status of `ExitStatus`, and never with a traceback.
"""

import os
import shutil
import signal
import sys
import threading
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

import click

from rxflow import RxflowError
from rxflow._escapes import safe_text
from rxflow.cli._exit_status import ExitStatus, status_of_error
from rxflow.cli._option_names import as_options

__all__ = [
    "OutputError",
    "Terminated",
    "exit_at_once",
    "exit_on_error",
    "output_errors",
    "output_failed",
    "output_width",
    "report",
    "report_lines",
    "sentence",
    "write",
]

_USUAL_WIDTH = 80  # of a terminal that does not know its own


class OutputError(Exception):
    """Standard output cannot be written.

    Attributes:
        cause: The error of the system.
    """

    def __init__(self, cause: OSError) -> None:
        """Make an error of its cause."""
        super().__init__(cause)
        self.cause = cause


def write(text: str, *, unchanged: bool = False) -> None:
    """Write a line of data to standard output.

    Args:
        text: The line, already safe to print and without its line feed. Its colours, as ANSI
            sequences, are left out where standard output is no terminal, unless a colour option
            or the environment decides otherwise.
        unchanged: Whether to leave it as it is, since it has no colours of ours.

    Raises:
        OutputError: It cannot be written; `exit_on_error` ends the command.
    """
    with output_errors():
        click.echo(text, color=unchanged or None)


@contextmanager
def output_errors() -> Generator[None]:
    """Raise `OutputError` if standard output cannot be written in the block."""
    try:
        yield
    except OSError as error:
        raise OutputError(error) from error


def output_width() -> int | None:
    """Return the width of the terminal that standard output is, in cells; None if it is none."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def report(text: str) -> None:
    """Write a sentence for people to standard error; control characters in it are written out.

    On a terminal it is broken between words.
    """
    for line in _terminal_lines(sentence(text)):
        click.echo(line, err=True)


def sentence(text: str) -> str:
    """Return a sentence of the command, which is thereby distinguished from lines of runs."""
    return f"rxflow: {safe_text(text)}"


def _terminal_lines(text: str) -> list[str]:
    """Break a text at the width of the terminal that standard error is, if it is one."""
    if not sys.stderr.isatty():
        return [text]
    from rxflow.cli._wrapping import wrap  # noqa: PLC0415 - needs msgspec

    width = os.get_terminal_size(sys.stderr.fileno()).columns or _USUAL_WIDTH
    return [part for line in text.split("\n") for part in wrap(line, max(width, 2))]


def report_lines(lines: Iterable[str]) -> None:
    """Write a sentence and the lines of a table below it to standard error."""
    for number, line in enumerate(lines):
        click.echo(safe_text(line) if number else sentence(line), err=True)


class Terminated(BaseException):
    """The process is to end, by SIGTERM: raised in the main thread, as `KeyboardInterrupt` is."""


@contextmanager
def exit_on_error() -> Generator[None]:
    """Exit with a sentence and a status instead of a traceback.

    The first Ctrl-C raises `KeyboardInterrupt`, and SIGTERM raises `Terminated`; another Ctrl-C
    ends the process at once.
    """
    try:
        with _raised_signals():
            yield
    except RxflowError as error:
        report(as_options(str(error)))
        sys.exit(status_of_error(error))
    except OutputError as error:
        sys.exit(output_failed(error.cause))
    except KeyboardInterrupt:
        report("interrupted")
        sys.exit(ExitStatus.INTERRUPTED)
    except Terminated:
        report("terminated")
        sys.exit(ExitStatus.TERMINATED)


@contextmanager
def _raised_signals() -> Generator[None]:
    """Raise in the main thread what signals mean, unless the process was started to ignore them."""
    handlers = {signal.SIGINT: _raise_interrupt, signal.SIGTERM: _raise_terminated}
    usual = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    replaced = {each: signal.getsignal(each) for each in handlers}
    replaced = {each: handler for each, handler in replaced.items() if handler is usual[each]}
    for each in replaced:
        signal.signal(each, handlers[each])
    try:
        yield
    finally:
        for each, handler in replaced.items():
            signal.signal(each, handler)


def _raise_interrupt(_: int, __: FrameType | None) -> NoReturn:
    signal.signal(signal.SIGINT, exit_at_once)
    raise KeyboardInterrupt


def _raise_terminated(_: int, __: FrameType | None) -> NoReturn:
    raise Terminated


def exit_at_once(_: int, __: FrameType | None) -> NoReturn:
    """End the process without waiting for anything; a signal's handler."""
    os._exit(ExitStatus.INTERRUPTED)


def output_failed(error: OSError) -> ExitStatus:
    """Say that standard output cannot be written, unless its reader has closed it.

    Args:
        error: The error of the system.

    Returns:
        The status to exit with.
    """
    # What is still buffered would fail once more when the interpreter ends.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if isinstance(error, BrokenPipeError):  # its reader, such as head, has read enough
        return ExitStatus.PIPE_CLOSED
    report(f"the output cannot be written: {error.strerror}")
    return ExitStatus.OUTPUT_ERROR
