"""The command line: ``rxflow watch`` shows a flow run, ``rxflow demo`` runs a flow and shows it.

A thin user of the library, with the extra ``cli``. ``_commands`` has the commands, ``_lines``
formats events, ``_demo`` and ``_prefect_server`` provide the demo's run and its server.
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
