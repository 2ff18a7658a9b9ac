"""`rxflow watch` and `rxflow logs -f` as programs that are ended before their runs are."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

import pytest
from virtual_world import TEST_TIMEOUT

from rxflow.testing import FakePrefect3

BACK = "to come back: rxflow watch"


@pytest.fixture
def server() -> FakePrefect3:
    """A server."""
    return FakePrefect3()


@contextmanager
def started(server: FakePrefect3, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Start a command on the server, and kill it at the end of the block if it still runs."""
    with (
        server.serve() as url,
        subprocess.Popen(
            [sys.executable, "-m", "rxflow", *arguments, "--api-url", url],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as program,
    ):
        try:
            yield program
        finally:
            program.kill()


def read_until(stream: IO[str] | None, text: str) -> str:
    """Read lines up to the first that contains a text, and return that."""
    assert stream is not None
    found = next((line for line in stream if text in line), None)
    assert found is not None, f"ended without a line that has {text!r}"
    return found


def end(program: subprocess.Popen[str]) -> tuple[int, str]:
    """Wait for the end of a program; return its status and what is left of its errors."""
    _, errors = program.communicate(timeout=TEST_TIMEOUT)
    return program.returncode, errors


@pytest.mark.parametrize(
    ("number", "status", "word"),
    [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")],
    ids=["ctrl-c", "term"],
)
@pytest.mark.parametrize("command", [["watch"], ["logs", "-f"]], ids=" ".join)
def test_a_signal_ends_the_command_and_not_the_run(
    server: FakePrefect3, command: list[str], number: signal.Signals, status: int, word: str
) -> None:
    """A sentence says that the run goes on, and how to come back to it."""
    run = server.add_run(name="amber-fox", state="RUNNING")
    server.log(run, "gathering")
    with started(server, *command, run) as program:
        read_until(program.stdout, "gathering")
        program.send_signal(number)
        ended, errors = end(program)
    goes_on = f"flow run 'amber-fox' ({run}) goes on"
    back = f"to come back: rxflow {' '.join(command)} {run} --api-url http"
    assert ended == status
    assert errors.startswith(f"rxflow: {word}; {goes_on}; {back}")


def test_two_runs_are_named(server: FakePrefect3) -> None:
    """The one that is over is not: it does not go on."""
    runs = [server.add_run(name=name, state="RUNNING") for name in ("one", "two")]
    over = server.add_run(name="three", state="COMPLETED")
    for run in (*runs, over):
        server.log(run, "gathering")
    with started(server, "watch", *runs, over) as program:
        read_until(program.stdout, "two: gathering")
        program.send_signal(signal.SIGINT)
        status, errors = end(program)
    assert status == 130
    first, second = (f"'{name}' ({run})" for name, run in zip(("one", "two"), runs, strict=True))
    assert f"flow runs {first} and {second} go on; {BACK} {runs[0]}" in errors


def test_the_time_limit_is_a_sentence_and_status_124(server: FakePrefect3) -> None:
    """The run goes on after --timeout."""
    run = server.add_run(name="amber-fox", state="RUNNING")
    with started(server, "watch", run, "--timeout", "0.5") as program:
        status, errors = end(program)
    assert status == 124
    assert errors.startswith("rxflow: Flow run 'amber-fox' was watched for 500 ms and is still in")
    assert f"; it goes on; {BACK} {run} --api-url http" in errors


def test_ctrl_c_cancels_the_run_if_wanted(server: FakePrefect3) -> None:
    """It is followed to its end, whose status is that of a run that was cancelled."""
    run = server.add_run(state="RUNNING")
    server.log(run, "gathering")
    with started(server, "watch", run, "--cancel-on-interrupt", "-q") as program:
        read_until(program.stdout, "gathering")
        program.send_signal(signal.SIGINT)
        cancelling = f"cancelling flow run {run}; another Ctrl-C leaves at once"
        read_until(program.stderr, cancelling)
        read_until(program.stdout, "Entered state Cancelling")
        server.set_state(run, "CANCELLED")
        read_until(program.stdout, "Entered state Cancelled")
        assert end(program) == (5, "")


def test_a_second_ctrl_c_ends_the_command_at_once(server: FakePrefect3) -> None:
    """Also while the first is carried out."""
    run = server.add_run(state="RUNNING")
    server.log(run, "gathering")
    with started(server, "watch", run, "--cancel-on-interrupt") as program:
        read_until(program.stdout, "gathering")
        program.send_signal(signal.SIGINT)
        read_until(program.stderr, "cancelling")
        program.send_signal(signal.SIGINT)
        assert end(program) == (130, "")


def test_what_cannot_be_cancelled_is_said(server: FakePrefect3) -> None:
    """A run that was deleted meanwhile: the reason is shown, and the watch ends as it would."""
    run = server.add_run(state="RUNNING")
    server.log(run, "gathering")
    with started(server, "logs", "-f", run, "--cancel-on-interrupt") as program:
        read_until(program.stdout, "gathering")
        server.delete_run(run)
        program.send_signal(signal.SIGINT)
        read_until(program.stderr, f"flow run {run} cannot be cancelled: ")
        assert end(program)[0] == 7
