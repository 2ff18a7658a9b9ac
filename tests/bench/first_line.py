"""Measure how soon a finished run's log is on the screen, beside Prefect's own command.

``python tests/bench/first_line.py`` (or ``tox -e bench``) starts a real Prefect server, writes a
run with its log, and runs ``rxflow watch`` and ``prefect flow-run logs`` in turns, each until it
has printed a line: the run's name, which Prefect does not print, or the first log line. Wall time
is from the start of the process to that line, CPU time that of the whole process, which is killed
at the line. Only figures of one run are compared; each is the least of several rounds. `README.md`
beside this file keeps the results.
"""

import json
import os
import platform
import subprocess
import sysconfig
import threading
import time
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

from rxflow.cli._demo import BUSY_LIMIT, BUSY_PAUSE, _create, _post
from rxflow.cli._prefect_server import PrefectServer

ROUNDS = 9
LINES = 100
GOAL = 1 / 5

SCRIPTS = Path(sysconfig.get_path("scripts"))
RXFLOW = (str(SCRIPTS / "rxflow"), "watch")
PREFECT = (str(SCRIPTS / "prefect"), "flow-run", "logs")

NAME = "amber-fox"
MESSAGE = "Loaded partition"

Command = tuple[str, ...]

# Of each way its command, and what the line contains.
WAYS: dict[str, tuple[Command, str]] = {
    "rxflow watch: the run's name": (RXFLOW, NAME),
    "rxflow watch: the first log line": (RXFLOW, MESSAGE),
    "prefect flow-run logs": (PREFECT, MESSAGE),
}


class Spent(NamedTuple):
    """Seconds until a line.

    Attributes:
        wall: Of wall time.
        cpu: Of CPU time, user and system.
    """

    wall: float
    cpu: float


def write_run(server: PrefectServer) -> str:
    """Create a run that has ended, with its log; return its id."""
    flow_id = _create(server.url, "flows", {"name": "bench"})
    run = {"flow_id": flow_id, "name": NAME, "state": {"type": "COMPLETED"}}
    flow_run_id = _create(server.url, "flow_runs", run)
    rows = [
        {
            "flow_run_id": flow_run_id,
            "name": "prefect.flow_runs",
            "level": 20,
            "message": f"{MESSAGE} {number}",
            "timestamp": f"2026-11-22T12:00:00.{number:06}Z",
        }
        for number in range(LINES)
    ]
    deadline = time.monotonic() + BUSY_LIMIT
    while (status := _post(server.url, "logs", json.dumps(rows))[0]) != HTTPStatus.CREATED:
        assert time.monotonic() < deadline, status
        threading.Event().wait(BUSY_PAUSE)
    return flow_run_id


def until_line(command: Command, text: str, environment: Mapping[str, str]) -> Spent:
    """Run a command until it has printed a line that contains a text."""
    began = time.perf_counter()
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        found = any(text in line for line in process.stdout)
        wall = time.perf_counter() - began
        process.kill()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    assert found, command
    return Spent(wall, usage.ru_utime + usage.ru_stime)


def least(spent: list[Spent]) -> Spent:
    """The least wall time and the least CPU time."""
    return Spent(min(one.wall for one in spent), min(one.cpu for one in spent))


def report() -> Iterator[str]:
    """Measure, and yield the report line by line."""
    names = ("rxflow-prefect", "httpx", "msgspec", "reactivex", "prefect")
    versions = ", ".join(f"{name} {version(name)}" for name in names)
    yield f"Python {platform.python_version()}, {versions}"
    with PrefectServer() as server:
        run = write_run(server)
        environment = dict(server.environment)
        # Modules are compiled once, as those of an installed package are.
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        rounds = [
            [until_line((*command, run), text, environment) for command, text in WAYS.values()]
            for _ in range(ROUNDS + 1)
        ]
    spent = [least(list(each)) for each in zip(*rounds[1:], strict=True)]
    beside = spent[-1]
    yield f"\nfrom the start to a line, of a finished run: best of {ROUNDS}, after one not counted"
    for name, (wall, cpu) in zip(WAYS, spent, strict=True):
        yield (
            f"  {name:34}{wall * 1e3:6.0f} ms wall{wall / beside.wall:7.3f}"
            f"{cpu * 1e3:8.0f} ms CPU{cpu / beside.cpu:7.3f}"
        )
    yield f"  goal beside prefect: {GOAL:.3f}, of wall and CPU time"


if __name__ == "__main__":
    for line in report():
        print(line, flush=True)
