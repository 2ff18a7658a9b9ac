"""The program `rxflow`, run on a fake server as a process, as a shell runs it."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

LIMIT = 60.0
"""Seconds that a command may take: far more than any of them needs."""


def environment(**more: str) -> Mapping[str, str]:
    """Return this process's environment without settings of Prefect, of rxflow and of colours."""
    own = ("PREFECT_", "RXFLOW_", "CLICOLOR", "NO_COLOR", "FORCE_COLOR")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(own)}
    return inherited | more


def run_program(*arguments: str, given: str = "", **more: str) -> subprocess.CompletedProcess[str]:
    """Run ``rxflow`` to its end.

    Args:
        arguments: Its command line.
        given: Its standard input.
        more: Variables of its environment.
    """
    return subprocess.run(
        [sys.executable, "-m", "rxflow", *arguments],
        env=environment(**more),
        input=given,
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )


@contextmanager
def started_program(*arguments: str, **more: str) -> Iterator[subprocess.Popen[str]]:
    """Start ``rxflow``, and kill it at the end of the block if it still runs."""
    with subprocess.Popen(
        [sys.executable, "-m", "rxflow", *arguments],
        env=environment(**more),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()
