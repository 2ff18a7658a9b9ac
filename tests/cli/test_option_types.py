"""Values of the command line that are of another type: the error says what to pass."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from rxflow.cli._commands.group import commands


@pytest.mark.parametrize(
    "words", [["replay"], ["audit", "amber-fox"], ["report", "-o", "-", "--from"]], ids=" ".join
)
def test_a_directory_of_journals_is_no_recording(words: list[str], tmp_path: Path) -> None:
    """One of its files is."""
    done = CliRunner().invoke(commands, [*words, str(tmp_path)])
    assert (done.exit_code, done.stdout) == (2, "")
    assert f"'{tmp_path}' is a directory; pass one of the files in it." in done.stderr


@pytest.mark.parametrize("number", ["x", "0", "1.5"])
def test_a_number_of_runs_is_whole(number: str) -> None:
    """The error has the least one, and an example."""
    done = CliRunner().invoke(commands, ["runs", "-n", number])
    assert done.exit_code == 2
    assert f"'{number}' is not a whole number from 1 on, such as 20." in done.stderr
