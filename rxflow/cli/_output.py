"""Where commands write: data to standard output, everything else to standard error.

A command runs inside `exit_on_error`, so that what can go wrong ends it with a sentence and a
status of `ExitStatus`, and never with a traceback.
"""

import os
import shutil
import sys
from collections.abc import Generator
from contextlib import contextmanager

import click

from rxflow import RxflowError
from rxflow._escapes import safe_text
from rxflow.cli._exit_status import ExitStatus, status_of_error

__all__ = ["exit_on_error", "output_width", "report", "write"]


class _OutputError(Exception):
    """Standard output cannot be written."""

    def __init__(self, cause: OSError) -> None:
        super().__init__(cause)
        self.cause = cause


def write(text: str) -> None:
    """Write a line of data to standard output.

    Args:
        text: The line, already safe to print and without its line feed. Its colours, as ANSI
            sequences, are left out where standard output is no terminal.

    Raises:
        _OutputError: It cannot be written; `exit_on_error` ends the command.
    """
    try:
        click.echo(text)
    except OSError as error:
        raise _OutputError(error) from error


def output_width() -> int | None:
    """Return the width of the terminal that standard output is, in cells; None if it is none."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def report(text: str) -> None:
    """Write a sentence for people to standard error; control characters in it are written out."""
    click.echo(f"rxflow: {safe_text(text)}", err=True)


@contextmanager
def exit_on_error() -> Generator[None]:
    """Exit with a sentence and a status instead of a traceback."""
    try:
        yield
    except RxflowError as error:
        report(str(error))
        sys.exit(status_of_error(error))
    except _OutputError as error:
        sys.exit(_output_failed(error.cause))
    except KeyboardInterrupt:
        report("interrupted")
        sys.exit(ExitStatus.INTERRUPTED)


def _output_failed(error: OSError) -> ExitStatus:
    # What is still buffered would fail once more when the interpreter ends.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if isinstance(error, BrokenPipeError):  # its reader, such as head, has read enough
        return ExitStatus.PIPE_CLOSED
    report(f"the output cannot be written: {error.strerror}; the run goes on")
    return ExitStatus.OUTPUT_ERROR
