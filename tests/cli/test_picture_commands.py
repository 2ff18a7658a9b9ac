"""``rxflow tree`` and ``rxflow timeline``, as commands and as a program."""

import os
import subprocess
import sys

import pytest
from click.testing import CliRunner
from picture_runs import NightlyRun
from virtual_world import TEST_TIMEOUT

from rxflow.cli._commands.group import commands
from rxflow.testing import FakePrefect1, FakePrefect3, VirtualTime

COMMANDS = ["tree", "timeline"]

NAMES = ["nightly-report", "fetch_orders-0", "fetch_orders-1", "publish-report", "render_page"]


@pytest.fixture
def story() -> NightlyRun:
    """A run that has ended."""
    return NightlyRun().to_end()


def run_program(*arguments: str, **variables: str) -> subprocess.CompletedProcess[bytes]:
    """Run ``rxflow`` as a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "rxflow", *arguments],
        env=os.environ | variables,
        capture_output=True,
        timeout=TEST_TIMEOUT,
        check=False,
    )


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("word", ["name", "id", "prefix"])
def test_a_run_is_shown(story: NightlyRun, command: str, word: str) -> None:
    """Each run and task run has a line; the status is 0, however the run ended."""
    run = {"name": "amber-fox", "id": story.run_id, "prefix": story.run_id[:13]}[word]
    with story.server.serve() as url:
        done = CliRunner().invoke(commands, [command, run, "--api-url", url])
    assert (done.exit_code, done.stderr) == (0, "")
    assert [name for name in NAMES if name not in done.stdout] == []


@pytest.mark.parametrize("command", COMMANDS)
def test_subflows_can_be_left_out(story: NightlyRun, command: str) -> None:
    """The task run that stands for one is shown in its place."""
    arguments = [command, "amber-fox", "--no-children", "--api-url"]
    with story.server.serve() as url:
        done = CliRunner().invoke(commands, [*arguments, url])
    assert "publish-report-0" in done.stdout
    assert "render_page" not in done.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_a_terminal_gets_colours_and_its_own_width(story: NightlyRun, command: str) -> None:
    """Failures are red and successes green, and lines are as wide as the terminal."""
    runner = CliRunner(env={"COLUMNS": "100"})
    with story.server.serve() as url:
        done = runner.invoke(commands, [command, "amber-fox", "--api-url", url], color=True)
        plain = runner.invoke(commands, [command, "amber-fox", "--api-url", url])
    assert "\x1b[31m" in done.stdout
    assert "\x1b[32m" in done.stdout
    assert "\x1b" not in plain.stdout
    if command == "timeline":
        assert 98 <= max(map(len, plain.stdout.splitlines())) <= 100


@pytest.mark.parametrize("command", COMMANDS)
def test_an_old_encoding_gets_ascii(story: NightlyRun, command: str) -> None:
    """The program writes guides and bars in ASCII where the encoding lacks them."""
    with story.server.serve() as url:
        done = run_program(command, "amber-fox", "--api-url", url, PYTHONIOENCODING="latin-1")
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"|- fetch_orders-0" in done.stdout
    assert done.stdout.isascii()


def test_prefect_1_has_a_tree_without_subflows() -> None:
    """A sentence says why there are none."""
    server = FakePrefect1(clock=VirtualTime())
    run_id = server.add_run(name="amber-fox", state="Running")
    server.add_task_run(run_id, slug="load-1", state="Running")
    with server.serve() as url:
        done = CliRunner().invoke(commands, ["tree", run_id, "--api-url", url])
    assert done.exit_code == 0
    assert "load-1" in done.stdout
    assert "Prefect 1 does not know which runs are subflows" in done.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_errors_are_sentences(command: str) -> None:
    """An unknown run has status 7, no run at all 2, and an unreachable server 6."""
    with FakePrefect3().serve() as url:
        unknown = CliRunner().invoke(commands, [command, "nothing-like-it", "--api-url", url])
        missing = CliRunner().invoke(commands, [command, "--api-url", url])
    assert (unknown.exit_code, unknown.stdout) == (7, "")
    assert (missing.exit_code, missing.stdout) == (2, "")
    assert "nothing-like-it" in unknown.stderr
