"""The options of a command that is broken off, as they are in the way back to its runs."""

import shlex
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from rxflow.cli._command import Command
from rxflow.cli._commands.group import commands
from rxflow.cli._given_options import given_options
from rxflow.testing import FakePrefect3


def given(name: str, *words: str, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Run a command of rxflow that does nothing but return the options that it was given."""
    found: list[list[str]] = []
    command = commands.get_command(click.Context(commands), name)
    assert isinstance(command, Command)

    def do_nothing(*_: Any, **__: Any) -> None:
        found.append(given_options())

    monkeypatch.setattr(command, "callback", do_nothing)
    done = CliRunner().invoke(commands, [name, *words])
    assert done.exit_code == 0, done.output
    return found[0]


GIVEN = {
    "none": ("watch ID", ""),
    "long names": ("watch -q -o jsonl ID", "--quiet --output jsonl"),
    "as they were written": ("watch ID --level warn --since 10m", "--level warn --since 10m"),
    "several times": ("logs -i a -f ID -e c -i 'b b'", "--include a --include 'b b' --exclude c"),
    "with =": ("watch ID --level=error --tasks", "--level error --tasks"),
    "like an option": ("watch ID -i -x", "--include -x"),
    "filters": ("watch --tag a --flow b --state failed --parent c --no-children", "--no-children"),
    "a time that finds runs": ("watch --tag a --since 1h --utc", "--utc"),
    "the time limit": ("wait ID --timeout 5s --profile prod", "--profile prod"),
    "a new run": ("run a/b -p x=1 --name n --tag t --tasks", "--tasks"),
    "a user": ("watch ID --api-url https://me:pw@x.io/api", "--api-url https://x.io/api"),
}


@pytest.mark.parametrize(("words", "options"), GIVEN.values(), ids=GIVEN)
def test_options_are_given_again(words: str, options: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """But for those that find or create the runs, whose ids are known, and the time limit."""
    assert given(*shlex.split(words), monkeypatch=monkeypatch) == shlex.split(options)


def test_the_way_back_writes_the_same_lines(tmp_path: Path) -> None:
    """What is said after a limit of `rxflow logs -f` goes on with the same selection of lines."""
    server = FakePrefect3()
    run = server.add_run(name="amber-fox", state="RUNNING")
    server.log(run, "gathering")
    server.log(run, "no price", level=40)
    options = ["--level", "error", "-o", "raw", "--journal", str(tmp_path / "nightly")]
    with server.serve() as url:
        words = ["logs", run, "-f", *options, "--api-url", url]
        first = CliRunner().invoke(commands, [*words, "--timeout", "1s"])
        assert (first.exit_code, first.stdout) == (124, "no price\n")
        server.log(run, "sifting")
        server.log(run, "2 are lost", level=40)
        server.set_state(run, "COMPLETED")
        _, back = first.stderr.split("to come back: rxflow ")
        again = CliRunner().invoke(commands, shlex.split(back))
    assert (again.exit_code, again.stdout) == (0, "2 are lost\n")


def test_outside_of_a_command_none_is_given() -> None:
    """As where a test follows runs."""
    assert given_options() == []
