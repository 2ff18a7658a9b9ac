"""``rxflow wait`` as a program: a line of each run when it is over, and the worst status."""

import re
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from command_line import environment, run_program, started_program

from rxflow.testing import FakePrefect1, FakePrefect3

UNKNOWN = "9e6caafc-4ea1-4493-b0a9-122efba9eaaa"
MEMORY = Path("/proc/self/mem")  # no memory is mapped at its beginning
STARTED = datetime(2026, 11, 22, 12, tzinfo=UTC)


def add_ended(server: FakePrefect3, name: str, state: str) -> str:
    """Add a run that ended after 75 seconds."""
    run_id = server.add_run(name=name, start_time=STARTED, state="RUNNING", tags=["a"])
    server.set_state(run_id, state, timestamp=STARTED + timedelta(seconds=75))
    return run_id


@pytest.mark.parametrize(
    ("state", "status"), [("COMPLETED", 0), ("FAILED", 1), ("CRASHED", 3), ("CANCELLED", 5)]
)
def test_the_status_says_how_a_run_ended(state: str, status: int) -> None:
    """The line has the run's id, state, duration and name, and nothing else is written."""
    server = FakePrefect3()
    run_id = add_ended(server, "amber-fox", state)
    with server.serve() as url:
        done = run_program("wait", "amber-fox", "--api-url", url)
    assert (done.returncode, done.stderr) == (status, "")
    assert done.stdout == f"{run_id}  {state.capitalize()}  1 min 15 s  amber-fox\n"


def test_the_worst_of_several_runs_wins() -> None:
    """Each run has a line, and a sentence on standard error counts them."""
    server = FakePrefect3()
    runs = {
        add_ended(server, name, state): state
        for name, state in (("one", "COMPLETED"), ("two", "FAILED"), ("three", "CANCELLED"))
    }
    with server.serve() as url:
        done = run_program("wait", "--tag", "a", "--api-url", url)
        quiet = run_program("wait", "-q", *runs, "--api-url", url)
        lost = run_program("wait", UNKNOWN, *runs, "--api-url", url)
    assert done.returncode == 1
    lines = [line.split("  ") for line in done.stdout.splitlines()]
    assert {run_id: state.upper() for run_id, state, *_ in lines} == runs
    head, _, states = done.stderr.strip().rpartition(": ")
    assert head == "rxflow: 3 flow runs"
    assert sorted(states.split(", ")) == ["1 Cancelled", "1 Completed", "1 Failed"]
    assert (quiet.returncode, quiet.stdout, quiet.stderr) == (1, "", "")
    assert lost.returncode == 7
    assert f"{UNKNOWN}  not found" in lost.stdout.splitlines()


def test_a_run_is_waited_for() -> None:
    """The line is written when the run is over, and Ctrl-C before that is status 130."""
    server = FakePrefect3()
    first, second = (server.add_run(name=name, state="RUNNING") for name in ("one", "two"))
    with server.serve() as url, started_program("wait", first, second, "--api-url", url) as waiting:
        server.set_state(first, "COMPLETED")
        assert waiting.stdout is not None
        assert waiting.stdout.readline().startswith(f"{first}  Completed")
        waiting.send_signal(signal.SIGINT)
        _, errors = waiting.communicate()
    assert waiting.returncode == 130
    assert errors == (
        f"rxflow: interrupted; flow run 'two' ({second}, Running) goes on; "
        f"to come back: rxflow wait {second} --api-url {url}\n"
    )


def test_a_time_limit_is_status_124() -> None:
    """The sentence names the run that is not over, or that was not read in time."""
    server = FakePrefect3()
    running = server.add_run(state="RUNNING")
    with server.serve() as url:
        done = run_program("wait", running, "--timeout", "1s", "--api-url", url)
    assert (done.returncode, done.stdout) == (124, "")
    assert done.stderr.startswith("rxflow: Flow runs were watched for 1.0 s; 1 not ")
    back = rf"; it (goes|may go) on; to come back: rxflow wait {running} --api-url {url}\n"
    assert re.search(f"{back}$", done.stderr)


WRONG = {
    "no run": ([], 2, "No run is given"),
    "a time with a run": ([UNKNOWN, "--since", "1h"], 2, "--since is a filter"),
    "a time limit": ([UNKNOWN, "--timeout", "soon"], 2, "'soon' is not a duration"),
    "no match": (["--tag", "b"], 7, "no flow run matches the filters"),
    "no name": (["amber-fox"], 7, "no flow run named 'amber-fox'"),
}


@pytest.mark.parametrize(("arguments", "status", "sentence"), WRONG.values(), ids=WRONG)
def test_what_cannot_be_waited_for_has_a_status(
    arguments: list[str], status: int, sentence: str
) -> None:
    """And a sentence."""
    with FakePrefect3().serve() as url:
        done = run_program("wait", *arguments, "--api-url", url)
    assert done.returncode == status
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", ["wait", "watch", "logs"])
def test_an_empty_standard_input_leaves_nothing_to_wait_for(command: str) -> None:
    """Status 0, as a list without a run has, and a sentence that -q leaves out of a wait."""
    with FakePrefect3().serve() as url:
        done = run_program(command, "-", "--api-url", url)
        quiet = run_program("wait", "-q", "-", "--api-url", url)
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == "rxflow: no run was named on standard input\n"
    assert (quiet.returncode, quiet.stdout, quiet.stderr) == (0, "", "")


@pytest.mark.skipif(not MEMORY.exists(), reason="no file is there whose reading fails")
def test_a_standard_input_that_cannot_be_read_is_a_usage_error() -> None:
    """Not an empty one: no script is to go on as if its runs were over."""
    command = [sys.executable, "-m", "rxflow", "wait", "-", "--api-url"]
    with FakePrefect3().serve() as url, MEMORY.open("rb") as unreadable:
        done = subprocess.run(
            [*command, url],
            env=environment(),
            stdin=unreadable,
            capture_output=True,
            text=True,
            check=False,
        )
    assert (done.returncode, done.stdout) == (2, "")
    assert "Standard input cannot be read: " in done.stderr


def test_a_closed_standard_input_is_a_usage_error() -> None:
    """It is a sentence, with a run to be read from it and without."""
    with FakePrefect3().serve() as url:
        for word, status, sentence in (("-", 2, "Standard input is closed"), ("", 2, "No run is")):
            command = [sys.executable, "-m", "rxflow", "wait", *word, "--api-url", url]
            shell = ["sh", "-c", '"$@" <&-', "sh", *command]
            done = subprocess.run(
                shell, env=environment(), capture_output=True, text=True, check=False
            )
            assert (done.returncode, sentence in done.stderr) == (status, True), done.stderr


def test_runs_of_prefect_1_are_waited_for() -> None:
    """By a name and by a filter."""
    server = FakePrefect1()
    run_id = server.add_run(name="amber-fox", state="Running")
    server.set_state(run_id, "Failed")
    with server.serve() as url:
        for arguments in (["amber-fox"], ["--state", "failed"]):
            done = run_program("wait", *arguments, "--api-url", url)
            assert (done.returncode, done.stderr) == (1, "")
            assert done.stdout.startswith(f"{run_id}  Failed  ")
