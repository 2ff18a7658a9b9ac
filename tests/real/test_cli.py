"""The command line as a program: what it prints, its exit status, and that it leaves nothing."""

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
    from tests.real.conftest import Hand, Until

PROGRAM = Path(sysconfig.get_path("scripts")) / "rxflow"

BADLY = ["FAILED", "CRASHED", "CANCELLED"]

NASTY = "\x1b]0;owned\x07 \x1b[2J \x9b31m \u202e gnp"
"""Sets the window's title, clears the screen, turns red, turns around."""

LIMIT = 240.0
"""Seconds that a command may take: far more than any of them does."""


@pytest.fixture(autouse=True)
def _interruptible() -> Iterator[None]:
    """A pytest that was started in the background ignores SIGINT, and its children would too."""
    usual = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, usual)


@pytest.fixture
def elsewhere(tmp_path: Path) -> dict[str, str]:
    """An environment without a word of Prefect's, and its own place for temporary files."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "RXFLOW_"))}
    temporary, home = tmp_path / "temporary", tmp_path / "home"
    temporary.mkdir()
    home.mkdir()
    return inherited | {"TMPDIR": str(temporary), "HOME": str(home)}


@pytest.fixture(scope="module")
def runs(hand: Hand) -> dict[str, str]:
    """Runs that are over, all made before one is watched, so that only the first need drain."""
    nasty = hand.new_run(name=NASTY, state={"type": "RUNNING", "name": NASTY, "message": NASTY})
    hand.post_logs(nasty, [NASTY, "one\n\x1b[1Atwo\r", "漢字"])
    assert hand.set_state(nasty, "COMPLETED", NASTY) == "ACCEPT"
    badly = {kind: hand.new_run(state={"type": "RUNNING"}) for kind in BADLY}
    assert {hand.set_state(run, kind) for kind, run in badly.items()} == {"ACCEPT"}
    return {"COMPLETED": new_completed(hand), "NASTY": nasty} | badly


@pytest.fixture(scope="module")
def completed(runs: dict[str, str]) -> str:
    """The one that completed, with lines of three levels, one of them of a task run."""
    return runs["COMPLETED"]


def new_completed(hand: Hand) -> str:
    """Make that one."""
    run = hand.new_run(name="amber-fox", state={"type": "RUNNING"})
    task_run = {"flow_run_id": run, "task_key": "sift", "dynamic_key": "0", "name": "sift-0"}
    over = {"type": "COMPLETED", "name": "Sifted"}
    task_run_id = hand.post("/task_runs/", task_run | {"state": over})["id"]
    hand.post_logs(run, ["gathering", {"message": "2 are odd", "level": 30}])
    hand.post_logs(run, [{"message": "sifted", "level": 10, "task_run_id": task_run_id}])
    assert hand.set_state(run, "COMPLETED") == "ACCEPT"
    return run


@contextmanager
def started(*arguments: str, env: Mapping[str, str], cwd: Path) -> Iterator[subprocess.Popen[str]]:
    """Start a command, and end it with the block if it has not ended itself."""
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
    """Run ``rxflow watch`` as a user of this server does, to its end."""
    return subprocess.run(
        [str(PROGRAM), "watch", *arguments],
        env={**server.environment, **settings},
        cwd=server.home,
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )


def read_until(stream: IO[str] | None, *texts: str) -> None:
    """Read lines up to one that has one of the texts."""
    assert stream is not None
    line = next((line for line in stream if any(text in line for text in texts)), None)
    assert line is not None, f"ended without a line that has one of {texts}"


def messages(output: str) -> list[str]:
    """What stands behind the bar on each line."""
    return [line.partition(" | ")[2] for line in output.splitlines() if " | " in line]


def left_in(env: Mapping[str, str]) -> list[str]:
    """List the temporary files that are left, and the processes that work on them."""
    temporary = env["TMPDIR"]
    lines = (" ".join(p.info["cmdline"] or ()) for p in psutil.process_iter(["cmdline"]))
    files = [str(path) for path in Path(temporary).iterdir()]
    return [*files, *(line for line in lines if temporary in line)]


# -- rxflow demo --------------------------------------------------------------------------------


def test_the_demo_shows_a_run_and_leaves_nothing(
    elsewhere: dict[str, str], tmp_path: Path, until: Until
) -> None:
    """It shows a retry, a warning and a subflow, ends well, and is gone."""
    with started("demo", env=elsewhere, cwd=tmp_path) as demo:
        output, errors = demo.communicate(timeout=LIMIT)
    assert demo.returncode == 0, errors
    told = messages(output)
    assert any("Retry 1/1" in text for text in told)
    assert any(" WARNING " in line and "no price" in line for line in output.splitlines())
    assert any("'publish-report-0' entered state Completed" in text for text in told)
    title, *end = output.splitlines()[-5:]
    assert title.startswith("Flow run '")
    assert end[:3] == [
        "  state      Completed",
        "  states     Scheduled > Running > Completed",
        "  task runs  5 of 5 over",
    ]
    assert end[3].endswith(", as many as the server counts")
    assert all(line.startswith("rxflow: ") for line in errors.splitlines())
    until(lambda: not left_in(elsewhere), limit=60)


@pytest.mark.parametrize("moment", ["starting a Prefect server", "still starting"])
def test_ctrl_c_while_the_demos_server_starts(
    elsewhere: dict[str, str], tmp_path: Path, until: Until, moment: str
) -> None:
    """An interrupt before there is anything to watch is a sentence, and leaves nothing."""
    with started("demo", env=elsewhere, cwd=tmp_path) as demo:
        read_until(demo.stderr, moment, "watching flow run")
        demo.send_signal(signal.SIGINT)
        _, errors = demo.communicate(timeout=LIMIT)
    assert (demo.returncode, errors.splitlines()[-1]) == (130, "rxflow: interrupted")
    assert "Traceback" not in errors
    until(lambda: not left_in(elsewhere), limit=60)


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
    until(lambda: not left_in(elsewhere), limit=60)


# -- rxflow watch -------------------------------------------------------------------------------


def test_watch_shows_a_run(server: PrefectServer, completed: str) -> None:
    """It prints states and lines in order and what became of the run; the status is 0."""
    shown = watch(server, completed)
    assert (shown.returncode, shown.stderr) == (0, "")
    first, *_ = shown.stdout.splitlines()
    assert first.startswith(f"Flow run 'amber-fox' ({completed}), created 20")
    lines = ["gathering", "2 are odd", "sifted"]
    states = ["Entered state Running", "Entered state Completed"]
    assert messages(shown.stdout) == [states[0], *lines, states[1]]
    assert shown.stdout.splitlines()[-4:] == [
        f"Flow run 'amber-fox' ({completed})",
        "  state      Completed",
        "  states     Running > Completed",
        "  log lines  3, as many as the server counts",
    ]


def test_watch_shows_task_runs_when_asked(server: PrefectServer, completed: str) -> None:
    """With --tasks the states of task runs are there, and their lines have their names."""
    shown = watch(server, completed, "--tasks")
    assert shown.returncode == 0
    told = messages(shown.stdout)
    assert "Task run 'sift-0' entered state Sifted" in told
    assert "sift-0: sifted" in told
    assert "  task runs  1 of 1 over" in shown.stdout.splitlines()


def test_watch_leaves_out_lines_below_a_level(server: PrefectServer, completed: str) -> None:
    """With --level states are told all the same."""
    shown = watch(server, completed, "--level", "warning")
    told = ["Entered state Running", "2 are odd", "Entered state Completed"]
    assert messages(shown.stdout) == told
    assert "  log lines  1, as many as the server counts" in shown.stdout.splitlines()


def test_watch_finds_the_server_by_its_url(
    server: PrefectServer, completed: str, elsewhere: dict[str, str], tmp_path: Path
) -> None:
    """With --api-url nothing else need be configured."""
    url = ["--api-url", server.url]
    with started("watch", completed, *url, env=elsewhere, cwd=tmp_path) as process:
        output, errors = process.communicate(timeout=LIMIT)
    assert (process.returncode, errors) == (0, "")
    assert "gathering" in messages(output)


@pytest.mark.parametrize("ends", BADLY)
def test_watch_tells_by_its_status_that_a_run_ended_badly(
    server: PrefectServer, runs: dict[str, str], ends: str
) -> None:
    """The status of a run that did not complete is 1."""
    shown = watch(server, runs[ends])
    assert (shown.returncode, shown.stderr) == (1, "")
    assert f"  state      {ends.capitalize()}" in shown.stdout.splitlines()


@pytest.mark.parametrize(
    ("run", "sentence"),
    [(str(uuid.UUID(int=4)), "knows no flow run"), ("amber-fox", "is not a flow run id")],
    ids=["unknown", "malformed"],
)
def test_watch_explains_what_is_wrong(server: PrefectServer, run: str, sentence: str) -> None:
    """Trouble is one line that says what it is, and the status is 2."""
    shown = watch(server, run)
    assert (shown.returncode, shown.stdout) == (2, "")
    (line,) = shown.stderr.splitlines()
    assert line.startswith("rxflow: ")
    assert sentence in line


def test_watch_says_where_to_name_a_server(elsewhere: dict[str, str], tmp_path: Path) -> None:
    """Without any configuration it names the setting to make."""
    run = str(uuid.UUID(int=4))
    with started("watch", run, env=elsewhere, cwd=tmp_path) as process:
        output, errors = process.communicate(timeout=LIMIT)
    assert (process.returncode, output) == (2, "")
    assert "PREFECT_API_URL" in errors
    assert "Traceback" not in errors


def test_watch_prints_nothing_that_a_terminal_obeys(
    server: PrefectServer, runs: dict[str, str]
) -> None:
    """Escape sequences in a run's name, states and lines are spelled out."""
    shown = watch(server, runs["NASTY"])
    assert shown.returncode == 0
    assert r"\x1b]0;owned\x07 \x1b[2J \x9b31m \u202e gnp" in messages(shown.stdout)
    assert [char for char in shown.stdout if char != "\n" and not char.isprintable()] == []


def test_watch_prints_what_the_encoding_lacks(server: PrefectServer, runs: dict[str, str]) -> None:
    """A character that the terminal's encoding does not have is shown as an escape."""
    shown = watch(server, runs["NASTY"], PYTHONIOENCODING="latin-1")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert r"\u6f22\u5b57" in messages(shown.stdout)


def test_watch_ends_quietly_when_nobody_reads_on(server: PrefectServer, hand: Hand) -> None:
    """Output into a pipe that is closed, as by ``head -1``, ends the command without a word."""
    run = hand.new_run(state={"type": "RUNNING"})
    with started("watch", run, env=server.environment, cwd=server.home) as process:
        read_until(process.stdout, "Entered state Running")
        assert process.stdout is not None
        process.stdout.close()
        hand.post_logs(run, ["unread"])
        assert process.stderr is not None
        assert process.stderr.read() == ""
        assert process.wait(LIMIT) != 0


def test_ctrl_c_ends_watch(server: PrefectServer, hand: Hand) -> None:
    """An interrupt of a live watch is a sentence, and the status is 130."""
    run = hand.new_run(state={"type": "RUNNING"})
    with started("watch", run, env=server.environment, cwd=server.home) as process:
        read_until(process.stdout, "Entered state Running")
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=LIMIT)
    assert (process.returncode, errors) == (130, "rxflow: interrupted\n")
