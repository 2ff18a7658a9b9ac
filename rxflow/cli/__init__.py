"""The command line: ``rxflow watch`` for a run of one's own, ``rxflow demo`` for one of ours.

It is a thin user of the library and needs the extra ``cli``; what each command does is in
``_commands``, and how an event becomes a line in ``_lines``.
"""

import io
import sys
from importlib.util import find_spec

__all__ = ["main"]


def main() -> None:
    """Run the command line; the entry point ``rxflow``."""
    if find_spec("click") is None:
        sys.exit(
            "rxflow: the command line needs the extra 'cli' (from a checkout: pip install '.[cli]')"
        )
    for stream in (sys.stdout, sys.stderr):
        # A character that the terminal's encoding lacks must not end a watch.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    from rxflow.cli._commands import commands  # noqa: PLC0415 - needs click

    commands(prog_name="rxflow")
