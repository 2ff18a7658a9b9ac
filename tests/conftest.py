"""Fixtures of every test: the Hypothesis profile and the check that no thread or process is left.

Further fixtures on request: a world in virtual time, recorders of thread errors, log lines and
thread starts, the usual handling of Ctrl-C, and the Python interpreter that has the client of
Prefect 1.
"""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic
from typing import Any

import psutil
import pytest
from hypothesis import HealthCheck, Phase, settings
from loguru import logger
from virtual_world import World

# Pytest rewrites assertions of test modules only; this one is imported by them.
pytest.register_assert_rewrite("promises")

# Whether the runner of the tests writes colours is no matter of what they test.
for _variable in ("NO_COLOR", "FORCE_COLOR", "CLICOLOR", "CLICOLOR_FORCE"):
    os.environ.pop(_variable, None)

# Draw new examples in each run; a failure prints the blob that reproduces it.
# A busy machine is slow to draw, and that is no failure.
settings.register_profile(
    "ci",
    deadline=None,
    derandomize=False,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
# The gate of the coverage must not depend on what was drawn.
settings.register_profile(
    "repeatable", settings.get_profile("ci"), derandomize=True, max_examples=50
)
# Where another environment draws all the examples for the same code.
settings.register_profile("quick", settings.get_profile("ci"), max_examples=25)
# Many mutants each fail some test, and whether one does must not depend on what was drawn; how to
# fail with the least input does not matter.
settings.register_profile(
    "mutation",
    settings.get_profile("repeatable"),
    max_examples=25,
    database=None,
    phases=[Phase.explicit, Phase.generate],
)
settings.load_profile("ci")

_TESTS = Path(__file__).parent


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """Return how many processes run tests: with ``-n auto`` two a core, as they wait half the time.

    ``-n logical`` is one a core, for tests that keep servers at work.
    """
    is_auto = config.option.numprocesses == "auto"
    return 2 * (psutil.cpu_count(logical=False) or 1) if is_auto else None


# Seconds that a thread or process may take to end after its test.
_GRACE = 10.0


@pytest.fixture(autouse=True)
def _nothing_left_running() -> Iterator[None]:
    """Fail a test that leaves a thread or a child process running.

    Pytest sets up wider fixtures first, then this one, then the test's own. So the server of a
    whole session may stay, and what the test's own fixtures start must end.
    """
    before = _running()
    yield
    deadline = monotonic() + _GRACE
    while (left := _running() - before) and monotonic() < deadline:
        threading.Event().wait(0.02)
    if left:
        pytest.fail(f"still running {_GRACE:g} s after the test: {', '.join(map(str, left))}")


@pytest.fixture
def world() -> World:
    """Create a world in virtual time."""
    return World()


@pytest.fixture
def reported() -> Iterator[list[BaseException | None]]:
    """Collect the errors passed to `threading.excepthook`, where they would fail the test."""
    errors: list[BaseException | None] = []
    usual = threading.excepthook
    threading.excepthook = lambda args: errors.append(args.exc_value)
    yield errors
    threading.excepthook = usual


@pytest.fixture
def logged() -> Iterator[list[str]]:
    """Collect rxflow's log lines as ``LEVEL message``."""
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

    def record(*_: object) -> None:
        names.append(threading.current_thread().name)
        sys.setprofile(None)

    usual = threading.getprofile()
    threading.setprofile(record)
    yield names
    threading.setprofile(usual)


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Restore SIGINT: a pytest started in the background ignores it, and so would its children."""
    usual = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, usual)


@pytest.fixture
def client_python() -> str:
    """Return the interpreter of the environment that `tox -e prefect1` creates."""
    python = os.environ.get("RXFLOW_PREFECT1_PYTHON", "")
    if not Path(python).is_file():
        pytest.skip("no prefect 1.4.1: tox -e prefect1 installs it where there is a Python 3.9")
    return python


@pytest.fixture
def prefect1(client_python: str, tmp_path: Path) -> Callable[..., Any]:
    """Return a function that runs a script with the client of Prefect 1.4.1.

    Its arguments are the script's name, the server's URL and the script's own arguments; keywords
    are variables of the environment. It returns the last line of the output, decoded from JSON.
    """

    def run(script: str, url: str, *arguments: str, **variables: str) -> Any:
        environment = {
            "HOME": str(tmp_path),
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(_TESTS / "support"),
            "PREFECT__BACKEND": "server",
            "PREFECT__CLOUD__API": url,
            "PREFECT__CLOUD__GRAPHQL": url,
            "PREFECT__SERVER__UI__ENDPOINT": "http://ui.invalid",
            **variables,
        }
        done = subprocess.run(
            [
                client_python,
                "-W",
                "ignore",
                str(_TESTS / "support" / "prefect1_scripts" / script),
                *arguments,
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


def _running() -> set[threading.Thread | psutil.Process]:
    return {*threading.enumerate(), *_children()}


def _children() -> Iterator[psutil.Process]:
    # A look at all processes takes milliseconds, twice a test; mostly there is no child at all.
    if hasattr(os, "waitid"):
        try:
            os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
    yield from filter(_is_running, psutil.Process().children())


def _is_running(child: psutil.Process) -> bool:
    try:  # a child that has ended and was not waited for yet is harmless
        return child.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
