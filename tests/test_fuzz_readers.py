"""The laws of readers with some thousands of inputs, and the tool that searches for more.

``tox -e atheris`` searches for any time; where atheris is installed, a test here does so for
seconds.
"""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from random import Random

import broken_reader_laws
import fuzz_readers
import pytest
from reader_laws import LAWS, mutants_of
from reader_laws.law import Law

TOOL = Path(fuzz_readers.__file__)
INPUTS = 600
"""Inputs of each law, beside its seeds."""

SECONDS = 4
needs_atheris = pytest.mark.skipif(
    find_spec("atheris") is None,
    reason="no atheris: it has wheels for Linux on x86-64 and Python 3.11 to 3.13",
)


def broken_input(law: Law, number: int) -> bytes | None:
    """Return the first of some mutants of a law's seeds that breaks it; None if none does."""
    seeds = law.seeds()
    for place, seed in enumerate(seeds):
        for data in mutants_of(seed, Random(place), number // len(seeds) + 1):
            try:
                law.check(data)
            except Exception:  # noqa: BLE001 - what a reader raises is what is searched for
                return data
    return None


@pytest.mark.parametrize("name", LAWS)
def test_seeds_can_be_read(name: str) -> None:
    """What servers send and the library writes is read as the law demands."""
    law = LAWS[name]
    seeds = law.seeds()
    assert len(set(seeds)) > 1
    for seed in seeds:
        law.check(seed)


@pytest.mark.long
@pytest.mark.parametrize("name", LAWS)
def test_mutants_break_no_law(name: str) -> None:
    """Whatever the bytes, a reader returns a value or raises a documented error."""
    law = LAWS[name]
    data = broken_input(law, INPUTS)
    if data is not None:
        law.check(data)  # once more, for its traceback


def test_mutants_find_a_reader_that_trusts_a_length() -> None:
    """The same search catches a reader with a common defect, and no sound one."""
    laws = broken_reader_laws.LAWS
    found = broken_input(laws["length"], INPUTS)
    assert found is not None
    with pytest.raises(IndexError):
        laws["length"].check(found)
    assert broken_input(laws["sound"], INPUTS) is None


# -- the tool -------------------------------------------------------------------------------------


def run_tool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run the tool as a process."""
    return subprocess.run(
        [sys.executable, TOOL, *arguments], capture_output=True, text=True, check=False
    )


BROKEN = ("--laws", "broken_reader_laws", "--law")


@pytest.mark.long
@pytest.mark.parametrize(("law", "error"), [("length", "IndexError"), ("memory", "MemoryError")])
def test_an_input_that_breaks_a_law_is_read_again(law: str, error: str, tmp_path: Path) -> None:
    """The tool ends with the error, for memory, too."""
    path = tmp_path / "found"
    path.write_bytes(b"field\3")
    replayed = run_tool(*BROKEN, law, "--replay", path)
    assert replayed.returncode == 1
    assert error in replayed.stderr


@pytest.mark.long
@needs_atheris
def test_atheris_finds_a_broken_reader(tmp_path: Path) -> None:
    """The tool fails, and what it prints names the error and the file of the bytes."""
    folder = tmp_path / "found"
    found = run_tool(*BROKEN, "length", "--seconds", "60", "--folder", folder)
    assert found.returncode == 1
    assert "IndexError" in found.stdout
    (path,) = (folder / "length").glob("found-*")
    assert str(path) in found.stdout


@pytest.mark.long
@needs_atheris
def test_atheris_finds_no_broken_law() -> None:
    """All laws, for some seconds, in one process."""
    found = run_tool("--law", "all", "--seconds", str(SECONDS))
    assert found.returncode == 0, found.stdout
    name, executions = found.stdout.split()
    assert name == "all"
    assert int(executions.replace(",", "")) > INPUTS


@pytest.mark.skipif(find_spec("atheris") is not None, reason="atheris is installed")
def test_without_atheris_the_tool_says_so() -> None:
    """It fails nowhere because there is no wheel, and says that it did nothing."""
    skipped = run_tool("--seconds", "1")
    assert (skipped.returncode, skipped.stdout) == (0, fuzz_readers.NO_ATHERIS + "\n")
