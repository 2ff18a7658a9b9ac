"""``rxflow report``: what it writes, and how it ends where it cannot."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from html_reader import HtmlReader
from picture_runs import NightlyRun
from virtual_world import TEST_TIMEOUT

from rxflow.cli._commands.group import commands
from rxflow.testing import FakePrefect1, VirtualTime


@pytest.fixture
def story() -> NightlyRun:
    """A run that has ended."""
    return NightlyRun().to_end()


def report(story: NightlyRun, *arguments: str) -> Result:
    """Run the command on the server of a run."""
    with story.server.serve() as url:
        return CliRunner().invoke(commands, ["report", *arguments, "--api-url", url])


def test_a_file_is_written(story: NightlyRun, tmp_path: Path) -> None:
    """It has the run and its log; what was written is said on standard error."""
    path = tmp_path / "run.html"
    path.write_text("an old report")
    done = report(story, "amber-fox", "-o", str(path))
    assert (done.exit_code, done.stdout) == (0, "")
    assert done.stderr == f"rxflow: wrote {path}: 4 log lines, 21 kB\n"
    page = HtmlReader(path.read_text("utf-8"))
    assert page.find("h1")[0].text == "nightly-report / amber-fox"
    assert len(page.find("div", "line")) == 4
    assert [each.name for each in tmp_path.iterdir()] == ["run.html"]


def test_subflows_can_be_left_out(story: NightlyRun) -> None:
    """The page is written to standard output, without their lines."""
    done = report(story, "amber-fox", "-o", "-", "--no-children")
    assert (done.exit_code, done.stderr) == (0, "")
    assert len(HtmlReader(done.stdout).find("div", "line")) == 2


def test_a_live_run_is_written_as_far_as_it_has_got(tmp_path: Path) -> None:
    """The command does not wait for the end, and one line is counted as one."""
    done = report(NightlyRun(), "amber-fox", "-o", str(tmp_path / "run.html"))
    assert done.exit_code == 0
    assert ": 1 log line, " in done.stderr
    assert "The run goes on" in (tmp_path / "run.html").read_text("utf-8")


def test_a_run_of_prefect_1_is_written() -> None:
    """With all but subflows."""
    server = FakePrefect1(clock=VirtualTime())
    run_id = server.add_run(name="amber-fox", state="Running")
    with server.serve() as url:
        done = CliRunner().invoke(commands, ["report", run_id, "-o", "-", "--api-url", url])
    assert done.exit_code == 0
    assert "amber-fox" in done.stdout


def test_a_file_that_cannot_be_written_is_status_74(story: NightlyRun, tmp_path: Path) -> None:
    """A folder that does not exist, and a full disk; nothing is left behind."""
    for path in (tmp_path / "missing" / "run.html", Path("/dev/full")):
        done = report(story, "amber-fox", "-o", str(path))
        assert (done.exit_code, done.stdout) == (74, "")
        assert done.stderr.startswith(f"rxflow: {path} cannot be written: ")
        assert "Traceback" not in done.stderr
    assert [*tmp_path.iterdir()] == []


def test_an_old_file_stays_where_a_new_one_cannot_be_written(
    story: NightlyRun, tmp_path: Path
) -> None:
    """A run that is unknown changes no file."""
    path = tmp_path / "run.html"
    path.write_text("an old report")
    assert report(story, "nothing-like-it", "-o", str(path)).exit_code == 7
    assert path.read_text() == "an old report"


@pytest.mark.parametrize("arguments", [["amber-fox"], ["-o", "-"]], ids=["no file", "no run"])
def test_missing_arguments_are_status_2(story: NightlyRun, arguments: list[str]) -> None:
    """Neither the file nor the run has a default."""
    done = report(story, *arguments)
    assert (done.exit_code, done.stdout) == (2, "")


def test_the_program_ends_quietly_where_its_reader_has_enough(story: NightlyRun) -> None:
    """With a closed pipe it ends with 141 and no sentence."""
    for _ in range(4000):
        story.server.log(story.run_id, "more than a pipe holds")
    with story.server.serve() as url:
        command = [sys.executable, "-m", "rxflow", "report", "amber-fox", "-o", "-", "--api-url"]
        with subprocess.Popen(
            [*command, url], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"<!doctype html>\n"
            process.stdout.close()
            assert process.stderr is not None
            assert process.stderr.read() == b""
            assert process.wait(TEST_TIMEOUT) == 141
