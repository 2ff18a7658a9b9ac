"""The command line as a program: its output, its exit status, and that it leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sysconfig
import uuid
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

import psutil
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from rxflow.cli._prefect_server import PrefectServer
    from tests.real.conftest import ApiWriter, Until

pytestmark = pytest.mark.usefixtures("interruptible")

PROGRAM = Path(sysconfig.get_path("scripts")) / "rxflow"

UNSUCCESSFUL = {"FAILED": 1, "CRASHED": 3, "CANCELLED": 5}
"""The exit status of each."""

NASTY = "\x1b]0;owned\x07 \x1b[2J \x9b31m \u202e gnp"
"""Sets the window's title, clears the screen, turns red, reverses the direction."""

LIMIT = 240.0
"""Seconds that a command may take: far more than any of them needs."""


@pytest.fixture
def elsewhere(tmp_path: Path) -> dict[str, str]:
    """Return an environment without settings of Prefect, with directories of its own."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "RXFLOW_"))}
    temporary, home = tmp_path / "temporary", tmp_path / "home"
    temporary.mkdir()
    home.mkdir()
    return inherited | {"TMPDIR": str(temporary), "HOME": str(home)}


@pytest.fixture(scope="module")
def runs(writer: ApiWriter) -> dict[str, str]:
    """Ended runs, all made before the first is watched, so that only that one drains."""
    nasty = writer.new_run(name=NASTY, state={"type": "RUNNING", "name": NASTY, "message": NASTY})
    writer.post_logs(nasty, [NASTY, "one\n\x1b[1Atwo\r", "漢字"])
    assert writer.set_state(nasty, "COMPLETED", NASTY) == "ACCEPT"
    badly = {kind: writer.new_run(state={"type": "RUNNING"}) for kind in UNSUCCESSFUL}
    assert {writer.set_state(run, kind) for kind, run in badly.items()} == {"ACCEPT"}
    return {"COMPLETED": new_completed(writer), "NASTY": nasty} | badly


@pytest.fixture(scope="module")
def completed(runs: dict[str, str]) -> str:
    """A completed run with lines of three levels, one of them of a task run."""
    return runs["COMPLETED"]


def new_completed(writer: ApiWriter) -> str:
    """Create a completed run with lines of three levels."""
    run = writer.new_run(name="amber-fox", state={"type": "RUNNING"})
    task_run = {"flow_run_id": run, "task_key": "sift", "dynamic_key": "0", "name": "sift-0"}
    over = {"type": "COMPLETED", "name": "Sifted"}
    task_run_id = writer.post("/task_runs/", task_run | {"state": over})["id"]
    writer.post_logs(run, ["gathering", {"message": "2 are odd", "level": 30}])
    writer.post_logs(run, [{"message": "sifted", "level": 10, "task_run_id": task_run_id}])
    assert writer.set_state(run, "COMPLETED") == "ACCEPT"
    return run


@contextmanager
def started(*arguments: str, env: Mapping[str, str], cwd: Path) -> Iterator[subprocess.Popen[str]]:
    """Start a command, and kill it at the end of the block if it still runs."""
    with subprocess.Popen(
        [str(PROGRAM), *arguments],
        env=env,
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def watch(
    server: PrefectServer, *arguments: str, **settings: str
) -> subprocess.CompletedProcess[str]:
    """Run ``rxflow watch`` to its end, with this server configured."""
    return command(server, "watch", *arguments, **settings)


def command(
    server: PrefectServer, *arguments: str, **settings: str
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, with this server configured."""
    return subprocess.run(
        [str(PROGRAM), *arguments],
        env={**server.environment, **settings},
        cwd=server.home,
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )


def read_until(stream: IO[str] | None, *texts: str) -> None:
    """Read lines up to the first that contains one of the texts."""
    assert stream is not None
    line = next((line for line in stream if any(text in line for text in texts)), None)
    assert line is not None, f"ended without a line that has one of {texts}"


def messages(output: str) -> list[str]:
    """Return the text behind the bar of each line."""
    return [line.partition(" | ")[2] for line in output.splitlines() if " | " in line]


def summary(output: str) -> dict[str, str]:
    """Return the fields of the summary at the end."""
    lines = output.rpartition("\n\nFlow run '")[2].splitlines()[1:]
    return {line[:13].strip(): line[13:] for line in lines}


def left_in(env: Mapping[str, str]) -> list[str]:
    """List the temporary files that are left, and the processes that use them."""
    temporary = env["TMPDIR"]
    lines = (" ".join(p.info["cmdline"] or ()) for p in psutil.process_iter(["cmdline"]))
    files = [str(path) for path in Path(temporary).iterdir()]
    return [*files, *(line for line in lines if temporary in line)]


# -- rxflow demo --------------------------------------------------------------------------------


def test_the_demo_shows_a_run_and_leaves_nothing(
    elsewhere: dict[str, str], tmp_path: Path, until: Until
) -> None:
    """It shows a retry, a warning and a subflow, exits with 0, and leaves nothing behind."""
    with started("demo", env=elsewhere, cwd=tmp_path) as demo:
        output, errors = demo.communicate(timeout=LIMIT)
    assert demo.returncode == 0, errors
    shown_messages = messages(output)
    assert any("Retry 1/1" in text for text in shown_messages)
    assert any(" WARNING " in line and "no price" in line for line in output.splitlines())
    assert any("'publish-report-0' entered state Completed" in text for text in shown_messages)
    end = summary(output)
    assert end["state"] == "Completed"
    assert end["states"] == "Scheduled > Running > Completed"
    assert end["task runs"] == "5: 5 completed"
    assert end["log lines"].endswith(", as many as the server counts")
    assert all(line.startswith("rxflow: ") for line in errors.splitlines())
    until(lambda: not left_in(elsewhere))


@pytest.mark.parametrize("moment", ["starting a Prefect server", "still starting"])
def test_ctrl_c_while_the_demos_server_starts(
    elsewhere: dict[str, str], tmp_path: Path, until: Until, moment: str
) -> None:
    """An interrupt while the server starts is reported in a sentence, and leaves nothing."""
    with started("demo", env=elsewhere, cwd=tmp_path) as demo:
        read_until(demo.stderr, moment, "watching flow run")
        demo.send_signal(signal.SIGINT)
        _, errors = demo.communicate(timeout=LIMIT)
    assert (demo.returncode, errors.splitlines()[-1]) == (130, "rxflow: interrupted")
    assert "Traceback" not in errors
    until(lambda: not left_in(elsewhere))


def test_ctrl_c_while_the_demo_watches(
    elsewhere: dict[str, str], tmp_path: Path, until: Until
) -> None:
    """An interrupt in the middle of the run ends the server, the flow and the watch."""
    with started("demo", env=elsewhere, cwd=tmp_path) as demo:
        read_until(demo.stdout, "Entered state Running")
        demo.send_signal(signal.SIGINT)
        _, errors = demo.communicate(timeout=LIMIT)
    assert (demo.returncode, errors.splitlines()[-1]) == (130, "rxflow: interrupted")
    assert "Traceback" not in errors
    until(lambda: not left_in(elsewhere))


# -- rxflow watch -------------------------------------------------------------------------------


def test_watch_shows_a_run(server: PrefectServer, completed: str) -> None:
    """It prints states and lines in order and the run's outcome; the status is 0."""
    shown = watch(server, completed)
    assert (shown.returncode, shown.stderr) == (0, "")
    first, *_ = shown.stdout.splitlines()
    assert first.startswith(f"Flow run 'amber-fox' ({completed}), created 20")
    lines = ["gathering", "2 are odd", "sift-0: sifted"]
    states = ["Entered state Running", "Entered state Completed"]
    assert messages(shown.stdout) == [states[0], *lines, states[1]]
    end = summary(shown.stdout)
    assert (end["state"], end["states"]) == ("Completed", "Running > Completed")
    assert end["log lines"] == "3, as many as the server counts"


def test_a_killed_watch_goes_on_from_its_journal(
    server: PrefectServer, writer: ApiWriter, tmp_path: Path
) -> None:
    """The next one shows what is new, and the summary of all; the one after that has nothing."""
    run = writer.new_run(name="amber-fox", state={"type": "RUNNING"})
    writer.post_logs(run, ["gathering", "sifting"])
    words = ["watch", run, "--journal", str(tmp_path / "nightly")]
    with started(*words, env=server.environment, cwd=server.home) as process:
        read_until(process.stdout, "sifting")
        process.kill()
    writer.post_logs(run, ["baking"])
    assert writer.set_state(run, "COMPLETED") == "ACCEPT"
    rest = command(server, *words)
    assert (rest.returncode, rest.stderr) == (0, "")
    assert messages(rest.stdout) == ["baking", "Entered state Completed"]
    end = summary(rest.stdout)
    assert end["states"] == "Running > Completed"
    assert end["log lines"] == "3, as many as the server counts"
    again = command(server, *words)
    assert (again.returncode, again.stdout, again.stderr) == (0, "", "rxflow: nothing is new\n")


def test_watch_shows_task_runs_with_the_option(server: PrefectServer, completed: str) -> None:
    """With --tasks it prints the states of task runs."""
    shown = watch(server, completed, "--tasks")
    assert shown.returncode == 0
    shown_messages = messages(shown.stdout)
    assert "Task run 'sift-0' entered state Sifted" in shown_messages
    assert summary(shown.stdout)["task runs"] == "1: 1 completed"


def test_watch_omits_lines_below_a_level(server: PrefectServer, completed: str) -> None:
    """With --level all states are still printed."""
    shown = watch(server, completed, "--level", "warning")
    shown_messages = ["Entered state Running", "2 are odd", "Entered state Completed"]
    assert messages(shown.stdout) == shown_messages
    counted = "  log lines  1 of level WARNING and above, as many as the server counts"
    assert counted in shown.stdout.splitlines()


def test_watch_finds_the_server_by_its_url(
    server: PrefectServer, completed: str, elsewhere: dict[str, str], tmp_path: Path
) -> None:
    """With --api-url no other setting is needed."""
    url = ["--api-url", server.url]
    with started("watch", completed, *url, env=elsewhere, cwd=tmp_path) as process:
        output, errors = process.communicate(timeout=LIMIT)
    assert (process.returncode, errors) == (0, "")
    assert "gathering" in messages(output)


@pytest.mark.parametrize("ends", UNSUCCESSFUL)
def test_the_status_of_an_unsuccessful_run_says_how_it_ended(
    server: PrefectServer, runs: dict[str, str], ends: str
) -> None:
    """Each way of not completing has a status of its own."""
    shown = watch(server, runs[ends])
    assert (shown.returncode, shown.stderr) == (UNSUCCESSFUL[ends], "")
    assert f"  state      {ends.capitalize()}" in shown.stdout.splitlines()


@pytest.mark.parametrize(
    ("run", "sentence", "status"),
    [(str(uuid.UUID(int=4)), "has no flow run", 7), ("no-such-fox", "has no flow run named", 7)],
    ids=["id", "name"],
)
def test_watch_explains_an_error(
    server: PrefectServer, run: str, sentence: str, status: int
) -> None:
    """An error is one line that says what is wrong, with a status of its kind."""
    shown = watch(server, run)
    assert (shown.returncode, shown.stdout) == (status, "")
    (line,) = shown.stderr.splitlines()
    assert line.startswith("rxflow: ")
    assert sentence in line


def test_watch_names_the_missing_setting(elsewhere: dict[str, str], tmp_path: Path) -> None:
    """Without any configuration it names the setting to set."""
    run = str(uuid.UUID(int=4))
    with started("watch", run, env=elsewhere, cwd=tmp_path) as process:
        output, errors = process.communicate(timeout=LIMIT)
    assert (process.returncode, output) == (2, "")
    assert "PREFECT_API_URL" in errors
    assert "Traceback" not in errors


def test_watch_prints_no_control_characters(server: PrefectServer, runs: dict[str, str]) -> None:
    """Escape sequences in a run's name, states and lines are written as escapes."""
    shown = watch(server, runs["NASTY"])
    assert shown.returncode == 0
    assert r"\x1b]0;owned\x07 \x1b[2J \x9b31m \u202e gnp" in messages(shown.stdout)
    assert [char for char in shown.stdout if char != "\n" and not char.isprintable()] == []


def test_watch_escapes_what_the_encoding_lacks(server: PrefectServer, runs: dict[str, str]) -> None:
    """A character outside the terminal's encoding is written as an escape."""
    shown = watch(server, runs["NASTY"], PYTHONIOENCODING="latin-1")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert r"\u6f22\u5b57" in messages(shown.stdout)


def test_watch_ends_quietly_when_its_output_is_closed(
    server: PrefectServer, writer: ApiWriter
) -> None:
    """A closed output pipe, as by ``head -1``, ends the command without an error message."""
    run = writer.new_run(state={"type": "RUNNING"})
    with started("watch", run, env=server.environment, cwd=server.home) as process:
        read_until(process.stdout, "Entered state Running")
        assert process.stdout is not None
        process.stdout.close()
        writer.post_logs(run, ["unread"])
        assert process.stderr is not None
        assert process.stderr.read() == ""
        assert process.wait(LIMIT) != 0


def test_ctrl_c_ends_watch(server: PrefectServer, writer: ApiWriter) -> None:
    """A sentence says that the run goes on and how to come back; the status is 130."""
    run = writer.new_run(name="owl", state={"type": "RUNNING"})
    with started("watch", run, env=server.environment, cwd=server.home) as process:
        read_until(process.stdout, "Entered state Running")
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=LIMIT)
    goes_on = f"flow run 'owl' ({run}) goes on; to come back: rxflow watch {run}"
    assert (process.returncode, errors) == (130, f"rxflow: interrupted; {goes_on}\n")


# -- rxflow logs --------------------------------------------------------------------------------


def test_logs_shows_the_lines_of_a_run_and_its_subflow(
    server: PrefectServer, writer: ApiWriter
) -> None:
    """In order, each with the name of its task run or subflow; the last of them with --tail."""
    run = writer.new_run(name="amber-fox", state={"type": "RUNNING"})
    caller = {"flow_run_id": run, "task_key": "call", "dynamic_key": "0", "name": "call-0"}
    parent_task_run_id = writer.post("/task_runs/", caller)["id"]
    subflow = writer.new_run(
        name="lucky-bee", state={"type": "RUNNING"}, parent_task_run_id=parent_task_run_id
    )
    writer.post_logs(run, ["one"])
    writer.post_logs(subflow, ["two"])
    writer.post_logs(run, [{"message": "three", "task_run_id": parent_task_run_id}])
    every_line = ["one", "lucky-bee: two", "call-0: three"]
    assert messages(command(server, "logs", run).stdout) == every_line
    last = command(server, "logs", run, "--tail", "2", "-o", "raw")
    assert (last.returncode, last.stdout) == (0, "two\nthree\n")
    assert writer.set_state(subflow, "COMPLETED") == writer.set_state(run, "FAILED") == "ACCEPT"
    followed = command(server, "logs", run, "-f")
    assert (followed.returncode, followed.stderr) == (1, "")
    assert messages(followed.stdout) == every_line
