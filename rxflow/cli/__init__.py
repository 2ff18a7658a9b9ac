"""The command line, ``rxflow``: a user of the library like any other, with the extra ``cli``.

``_commands`` has a module for each command. Beside it stands what they share: ``_connection`` for
the server, ``_selection`` for the runs that are meant and ``_run_words`` for how they are written,
``_follow``, ``_display``, ``_live`` and ``_lines`` for what is watched, ``_output`` and
``_exit_status`` for how a command writes and ends, ``_demo`` and ``_prefect_server`` for the demo's
run and its server.
"""

import gc
import io
import os
import sys
from contextlib import nullcontext
from importlib.util import find_spec

__all__ = ["main"]

_NEW_OBJECTS = 50_000
"""After how many the garbage collector looks at them. Python's 700 are reached a hundred times by
imports, whose objects are no garbage: a twelfth of the time to the first line of a run."""


def main() -> None:
    """Run the command line; the entry point ``rxflow``."""
    if find_spec("click") is None:
        sys.exit(
            "rxflow: the command line needs the extra 'cli' (from a checkout: pip install '.[cli]')"
        )
    gc.set_threshold(_NEW_OBJECTS)
    _import_without("httpx._main", "h2")
    _open_closed_streams()
    for stream in (sys.stdout, sys.stderr):
        # A character that the terminal's encoding lacks must not end a watch.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    from rxflow.cli._commands.group import commands  # noqa: PLC0415 - needs click
    from rxflow.cli._output import OutputError, output_errors, output_failed  # noqa: PLC0415

    # A completion is written outside all that a command does.
    is_completing = "_RXFLOW_COMPLETE" in os.environ
    try:
        with output_errors() if is_completing else nullcontext():
            commands(prog_name="rxflow")
    except OutputError as error:
        sys.exit(output_failed(error.cause))


def _open_closed_streams() -> None:
    """Let output that is closed fail when it is written to, as any that cannot be written.

    Python has no standard stream where its descriptor is closed. Errors are then not written.
    """
    if sys.stdout is None:  # pyright: ignore[reportUnnecessaryComparison]
        sys.stdout = os.fdopen(os.open(os.devnull, os.O_RDONLY), "w")
    if sys.stderr is None:  # pyright: ignore[reportUnnecessaryComparison]
        sys.stderr = os.fdopen(os.open(os.devnull, os.O_WRONLY), "w")


def _import_without(*modules: str) -> None:
    """Let imports of modules fail in this process, which is the command's alone.

    Where rich is installed httpx (0.28) imports its own command line with it, a fifth of the time
    to the first line, and where h2 is, httpcore imports HTTP/2, a twentieth. rxflow uses neither,
    and both packages do without them.
    """
    for module in modules:
        sys.modules.setdefault(module, None)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
