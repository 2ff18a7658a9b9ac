"""The commands on servers of both kinds; tests/real runs them as a program."""

import os
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest
from click.testing import CliRunner

from rxflow.cli._commands.group import commands
from rxflow.testing import FakePrefect1, FakePrefect3

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


class Clock:
    """A clock that stands still."""

    def __init__(self) -> None:
        self.time = NOON

    def __call__(self) -> datetime:
        """Return the time."""
        return self.time


def server_with_ended_run(backend: str) -> tuple[FakePrefect1 | FakePrefect3, str]:
    """A server with a run that ended an hour ago."""
    clock = Clock()
    server: FakePrefect1 | FakePrefect3
    if backend == "prefect1":
        server = FakePrefect1(clock=clock)
        run_id = server.add_run(name="amber-fox", state="Running")
        server.log(run_id, "120 orders read")
        server.set_state(run_id, "Success")
    else:
        server = FakePrefect3(clock=clock)
        run_id = server.add_run(name="amber-fox", state="RUNNING")
        server.log(run_id, "120 orders read")
        server.set_state(run_id, "COMPLETED")
    clock.time += timedelta(hours=1)
    return server, run_id


@pytest.mark.parametrize("named", [True, False], ids=["named", "detected"])
@pytest.mark.parametrize("backend", ["prefect1", "prefect3"])
def test_watch_shows_a_run_of_either_server(backend: str, named: bool) -> None:
    """The run and its outcome are shown, with ``--backend`` and without."""
    server, run_id = server_with_ended_run(backend)
    option = ["--backend", backend] if named else []
    with server.serve() as url:
        done = CliRunner().invoke(commands, ["watch", run_id, "--api-url", url, *option])
    assert done.exit_code == 0, done.output
    assert "120 orders read" in done.output
    assert "amber-fox" in done.output


def test_an_unknown_backend_is_rejected() -> None:
    """The error lists the backends."""
    done = CliRunner().invoke(commands, ["watch", "x", "--backend", "prefect2"])
    assert done.exit_code == 2
    assert "'prefect3', 'prefect1'" in done.output


@pytest.mark.parametrize(
    ("words", "meant"),
    [(["wach"], "watch"), (["runs", "--limt", "3"], "--limit")],
    ids=["command", "option"],
)
def test_a_misspelt_word_is_answered_with_the_one_that_is_meant(
    words: list[str], meant: str
) -> None:
    """Of a command as of an option."""
    done = CliRunner().invoke(commands, words)
    assert done.exit_code == 2
    assert re.search(f"Did you mean .*'{meant}'", done.stderr)


@pytest.mark.parametrize(
    ("line", "completed"),
    [("rxflow lo", {"logs"}), ("rxflow logs --ti", {"--timestamps", "--timezone", "--timeout"})],
    ids=["command", "option"],
)
def test_the_shell_completes(line: str, completed: set[str]) -> None:
    """As the page on the command line says, by the protocol of click for bash."""
    words = {"COMP_WORDS": line, "COMP_CWORD": str(len(line.split()) - 1)}
    done = subprocess.run(
        [sys.executable, "-c", "from rxflow.cli import main; main()"],
        env=os.environ | words | {"_RXFLOW_COMPLETE": "bash_complete"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    assert {each.partition(",")[2] for each in done.stdout.split()} == completed
