"""Picking runs from a list, on a terminal of its own."""

import os
import pty
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest
from command_line import LIMIT, environment

from rxflow.testing import FakePrefect3


class Terminal:
    """A program whose input and standard error are a terminal."""

    def __init__(self, process: subprocess.Popen[str], controller: int) -> None:
        self._process = process
        self._controller = controller
        self.shown = ""

    def read_until(self, text: str) -> None:
        """Read what is shown, up to a text."""
        while text not in self.shown:
            self.shown += os.read(self._controller, 4096).decode()

    def type(self, keys: str) -> None:
        """Type some keys."""
        os.write(self._controller, keys.encode())

    def interrupt(self) -> None:
        """Send the signal of Ctrl-C until the program ends.

        One that comes just before the program waits for keys is seen by Python with the next one.
        """
        while self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(1)

    def end(self) -> tuple[int, str]:
        """Wait for the end; return the status and the standard output."""
        output, _ = self._process.communicate(timeout=LIMIT)
        return self._process.returncode, output


@contextmanager
def picking(*arguments: str) -> Iterator[Terminal]:
    """Start ``rxflow`` on a terminal."""
    controller, terminal = pty.openpty()
    command = [sys.executable, "-m", "rxflow", *arguments]
    try:
        with subprocess.Popen(
            command,
            env=environment(TERM="xterm"),
            stdin=terminal,
            stdout=subprocess.PIPE,
            stderr=terminal,
            text=True,
            start_new_session=True,
        ) as process:
            try:
                yield Terminal(process, controller)
            finally:
                process.kill()
    finally:
        os.close(terminal)
        os.close(controller)


@pytest.fixture
def server() -> FakePrefect3:
    """A server with three runs, one of them a subflow."""
    server = FakePrefect3()
    server.add_run(name="amber-fox", flow="etl", state="FAILED")
    parent = server.add_run(name="blue-jay", flow="report", state="COMPLETED")
    server.add_run(name="child", flow="load", state="COMPLETED", parent=parent)
    return server


def run_named(server: FakePrefect3, name: str) -> str:
    """Return the id of a run."""
    return next(run_id for run_id, row in server.runs.items() if row["name"] == name)


def test_the_latest_run_is_picked_by_return(server: FakePrefect3) -> None:
    """List and question are on standard error; no subflow is offered."""
    with server.serve() as url, picking("wait", "--api-url", url) as terminal:
        terminal.read_until("[1]: ")
        terminal.type("\r")
        status, output = terminal.end()
    assert status == 0
    assert output.startswith(run_named(server, "blue-jay"))
    first, second, question = terminal.shown.splitlines()
    assert first.startswith("1)  ")
    assert first.endswith("  report  blue-jay")
    assert second.endswith("  etl     amber-fox")
    assert question == "Which run, or several (1-2) [1]: "


def test_several_runs_are_picked_by_their_numbers(server: FakePrefect3) -> None:
    """What is no number of a run is put again."""
    with server.serve() as url, picking("wait", "--api-url", url) as terminal:
        terminal.read_until("[1]: ")
        terminal.type("3\r")
        terminal.read_until("Error: pass numbers from 1 to 2")
        terminal.type("2, 1 2\r")
        status, output = terminal.end()
    assert status == 1
    assert {line.split()[0] for line in output.splitlines()} == {
        run_named(server, "amber-fox"),
        run_named(server, "blue-jay"),
    }


@pytest.mark.parametrize(
    "leave", [Terminal.interrupt, lambda terminal: terminal.type("\x04")], ids=["Ctrl-C", "Ctrl-D"]
)
def test_nothing_need_be_picked(server: FakePrefect3, leave: Callable[[Terminal], object]) -> None:
    """The status is that of an interrupt."""
    with server.serve() as url, picking("wait", "--api-url", url) as terminal:
        terminal.read_until("[1]: ")
        leave(terminal)
        assert terminal.end() == (130, "")


def test_a_server_without_runs_has_nothing_to_pick() -> None:
    """A sentence says so."""
    with FakePrefect3().serve() as url, picking("wait", "--api-url", url) as terminal:
        status, output = terminal.end()
        terminal.read_until("The server has no run that has started or is due")
    assert (status, output) == (7, "")
