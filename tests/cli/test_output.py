"""Commands as programs whose output cannot be written."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from command_line import environment
from terminals import Terminal

from rxflow.testing import FakePrefect3

LINES = 2_000


WAYS = [["watch"], ["watch", "-o", "jsonl"], ["logs"], ["logs", "-f", "-o", "raw"]]
"""Commands that write lines."""


def command(url: str, run_id: str, *options: str, way: Sequence[str] = ("watch",)) -> list[str]:
    """Return the command that shows a run of a server."""
    return [sys.executable, "-m", "rxflow", *way, run_id, "--api-url", url, *options]


def server_with_long_run() -> tuple[FakePrefect3, str]:
    """Make a server with a run of many lines."""
    server = FakePrefect3()
    run_id = server.add_run(state="RUNNING")
    for number in range(LINES):
        server.log(run_id, f"line {number} " + "." * 80)
    return server, run_id


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no device that is full")
@pytest.mark.parametrize("way", WAYS, ids=" ".join)
def test_a_full_disk_is_a_sentence_and_status_74(way: list[str]) -> None:
    """No traceback, and not the status of a run that failed."""
    server, run_id = server_with_long_run()
    with server.serve() as url, Path("/dev/full").open("w", encoding="utf-8") as full:
        done = subprocess.run(
            command(url, run_id, way=way),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 74
    assert done.stderr == ("rxflow: the output cannot be written: No space left on device\n")


@pytest.mark.parametrize("way", WAYS, ids=" ".join)
def test_closed_output_is_a_sentence_and_status_74(way: list[str]) -> None:
    """As a shell closes it by ``>&-``."""
    server, run_id = server_with_long_run()
    with server.serve() as url:
        words = command(url, run_id, way=way)
        done = subprocess.run(
            ["/bin/sh", "-c", 'exec "$@" >&-', "sh", *words],
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 74
    assert done.stderr == "rxflow: the output cannot be written: Bad file descriptor\n"


@pytest.mark.parametrize("way", WAYS, ids=" ".join)
def test_a_closed_pipe_ends_the_command_quietly(way: list[str]) -> None:
    """As `head` closes it; the status is that of a program which the signal of that ends."""
    server, run_id = server_with_long_run()
    with server.serve() as url:
        program = subprocess.Popen(
            command(url, run_id, way=way), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert program.stdout is not None
        assert program.stderr is not None
        assert program.stdout.readline() != ""
        program.stdout.close()
        assert program.wait() == 141
        assert program.stderr.read() == ""
        program.stderr.close()


HELP: dict[str, tuple[list[str], dict[str, str]]] = {
    "help": (["--help"], {}),
    "help of a command": (["watch", "--help"], {}),
    "version": (["--version"], {}),
    "completion": ([], {"_RXFLOW_COMPLETE": "bash_source"}),
}
"""Command lines that are answered before a command is carried out, and variables."""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no device that is full")
@pytest.mark.parametrize(("words", "variables"), HELP.values(), ids=HELP)
def test_help_on_a_full_disk_is_a_sentence_and_status_74(
    words: list[str], variables: dict[str, str]
) -> None:
    """As what a command writes."""
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        done = subprocess.run(
            [sys.executable, "-m", "rxflow", *words],
            env=environment(**variables),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 74
    assert done.stderr == ("rxflow: the output cannot be written: No space left on device\n")


@pytest.mark.parametrize(("words", "variables"), HELP.values(), ids=HELP)
def test_help_into_a_closed_pipe_ends_quietly(words: list[str], variables: dict[str, str]) -> None:
    """With the status of a program that the signal of that ends."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "rxflow", *words],
            env=environment(**variables),
            stdout=writer,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")


def test_the_level_of_the_counted_lines_is_named() -> None:
    """A count of no line does not read as if the run had none."""
    server = FakePrefect3()
    run_id = server.add_run(state="RUNNING")
    server.log(run_id, "an info")
    server.set_state(run_id, "COMPLETED")
    with server.serve() as url:
        done = subprocess.run(
            command(url, run_id, "--level", "warning"), capture_output=True, text=True, check=False
        )
    assert done.returncode == 0, done.stderr
    assert "log lines  0 of level WARNING and above, as many as the server counts" in done.stdout


def test_a_sentence_is_broken_between_words_on_a_terminal() -> None:
    """At its width."""
    with (
        FakePrefect3().serve() as url,
        Terminal("watch", "amber-fox", "--api-url", url, columns=30) as terminal,
    ):
        assert terminal.wait_for_end() == 7
        lines = terminal.all_lines()
    assert lines[0] == "rxflow: The server has no flow"
    assert " ".join(lines) == "rxflow: The server has no flow run named 'amber-fox'"
