"""What every test gets: the Hypothesis profile, and a check that it leaves nothing running.

Beside that, what a test may ask for: a world in virtual time, ears for what threads say, and
the Python that has the client of Prefect 1.
"""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from time import monotonic
from typing import Any

import psutil
import pytest
from hypothesis import settings
from loguru import logger
from virtual_world import World

# Its tests are imported by others, and a failure of them is to show the values all the same.
pytest.register_assert_rewrite("promises")

# Examples are drawn anew in each run; a failure prints the blob that repeats it.
settings.register_profile("ci", deadline=None, derandomize=False, print_blob=True)
settings.load_profile("ci")

_TESTS = Path(__file__).parent

# Seconds that a thread or a process may take to go once its test is over.
_GRACE = 10.0


@pytest.fixture(scope="session")
def residents() -> set[int]:
    """Collect the ids of processes that may outlive the test which starts them.

    For a wider fixture whose process is replaced in the middle of a test; one that is merely
    started before the test need not be told.
    """
    return set()


@pytest.fixture(autouse=True)
def _nothing_left_running(residents: set[int]) -> Iterator[None]:
    """Fail a test that leaves a thread or a child process behind.

    Pytest sets up wider fixtures first and this one before a test's own, so that a server of the
    whole session counts as there before, and what the test's own fixtures start has to be gone.
    """
    before = _running()
    yield
    deadline = monotonic() + _GRACE
    while (left := _running(residents) - before) and monotonic() < deadline:
        threading.Event().wait(0.02)
    if left:
        pytest.fail(f"still running {_GRACE:g} s after the test: {', '.join(map(str, left))}")


@pytest.fixture
def world() -> World:
    """Begin a world in which time is virtual."""
    return World()


@pytest.fixture
def reported() -> Iterator[list[BaseException | None]]:
    """Collect what goes to `threading.excepthook`, where it would fail the test."""
    errors: list[BaseException | None] = []
    usual = threading.excepthook
    threading.excepthook = lambda args: errors.append(args.exc_value)
    yield errors
    threading.excepthook = usual


@pytest.fixture
def logged() -> Iterator[list[str]]:
    """Collect what rxflow logs, as ``LEVEL message``."""
    lines: list[str] = []
    sink = logger.add(lambda line: lines.append(str(line)), format="{level} {message}", level=0)
    logger.enable("rxflow")
    yield lines
    logger.disable("rxflow")
    logger.remove(sink)


@pytest.fixture
def started() -> Iterator[list[str]]:
    """Collect the names of the threads that start during the test."""
    names: list[str] = []

    def note(*_: object) -> None:
        names.append(threading.current_thread().name)
        sys.setprofile(None)

    usual = threading.getprofile()
    threading.setprofile(note)
    yield names
    threading.setprofile(usual)


@pytest.fixture
def client_python() -> str:
    """The interpreter of the environment that `tox -e prefect1` makes."""
    python = os.environ.get("RXFLOW_PREFECT1_PYTHON", "")
    if not Path(python).is_file():
        pytest.skip("no prefect 1.4.1: tox -e prefect1 installs it where there is a Python 3.9")
    return python


@pytest.fixture
def prefect1(client_python: str, tmp_path: Path) -> Callable[..., Any]:
    """Run a script of this folder with the client of Prefect 1.4.1; give what it prints last.

    It is called with the script's name, the server's URL and the script's arguments.
    """

    def run(script: str, url: str, *given: str) -> Any:
        environment = {
            "HOME": str(tmp_path),
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(_TESTS / "support"),
            "PREFECT__BACKEND": "server",
            "PREFECT__CLOUD__API": url,
            "PREFECT__CLOUD__GRAPHQL": url,
        }
        done = subprocess.run(
            [
                client_python,
                "-W",
                "ignore",
                str(_TESTS / "support" / "prefect1_scripts" / script),
                *given,
            ],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=100,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    return run


def _running(residents: Collection[int] = ()) -> set[threading.Thread | psutil.Process]:
    children = (child for child in psutil.Process().children() if child.pid not in residents)
    return {*threading.enumerate(), *filter(_alive, children)}


def _alive(child: psutil.Process) -> bool:
    try:  # a child that is over and not yet waited for does no harm
        return child.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
