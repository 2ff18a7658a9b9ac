"""The server that the recipes for the command line run against, and the recipes of a page.

A recipe is a block of a page between ```` ```console ```` and ```` ``` ````: commands behind ``$``,
and below each what it prints, to standard output and standard error alike.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import NamedTuple

from rxflow.testing import FakePrefect3, VirtualTime

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "command-line-recipes.md"

_NIGHT = datetime(2026, 11, 22, 2, tzinfo=UTC)
_WIDTH = 100
_BLOCK = re.compile(r"(?<=^```console\n).*?(?=^```$)", re.MULTILINE | re.DOTALL)


class Step(NamedTuple):
    """A command, and what it prints."""

    command: str
    output: str


def recipe_server() -> FakePrefect3:
    """Return a server with a nightly report that failed an hour ago, and two other runs."""
    time = VirtualTime(_NIGHT)
    server = FakePrefect3(clock=time, random=Random(3))
    _run_briefly(server, time, "brisk-owl", flow="load-orders", ends="COMPLETED")
    report = server.add_run(
        name="amber-fox", flow="nightly-report", state="SCHEDULED", tags=["prod"]
    )
    time.wait(4)
    server.set_state(report, "RUNNING")
    server.log(report, "fetching the orders of 3 regions")
    fetches = {
        region: server.add_task_run(report, name=f"fetch_orders-{number}", state="RUNNING")
        for number, region in enumerate(["north", "south", "west"])
    }
    time.wait(1)
    server.log(
        report, "the north warehouse did not respond", level=30, task_run_id=fetches["north"]
    )
    server.set_task_state(report, fetches["north"], "SCHEDULED", "AwaitingRetry")
    for region, orders in {"south": 170, "west": 160}.items():
        server.log(report, f"{region}: {orders} orders", task_run_id=fetches[region])
        server.set_task_state(report, fetches[region], "COMPLETED")
    time.wait(2)
    server.set_task_state(report, fetches["north"], "RUNNING", "Retrying")
    time.wait(3)
    server.log(report, "north: 170 orders", task_run_id=fetches["north"])
    server.set_task_state(report, fetches["north"], "COMPLETED")
    pages = server.add_run(
        name="lucky-bee", flow="publish-report", parent=report, state="RUNNING", tags=["prod"]
    )
    for number, (state, level, message) in enumerate(
        [("COMPLETED", 20, "page 1 is done"), ("FAILED", 40, "page 2 has no template")]
    ):
        page = server.add_task_run(pages, name=f"render_page-{number}", state="RUNNING")
        time.wait(1)
        server.log(pages, message, level=level, task_run_id=page)
        server.set_task_state(pages, page, state)
    server.set_state(pages, "FAILED", message="1/2 states failed.")
    server.set_state(report, "FAILED", message="1/4 states failed.")
    time.wait(60)
    _run_briefly(server, time, "calm-elk", flow="load-orders", ends="COMPLETED")
    time.wait(3600)
    return server


def _run_briefly(
    server: FakePrefect3, time: VirtualTime, name: str, *, flow: str, ends: str
) -> None:
    run_id = server.add_run(name=name, flow=flow, state="RUNNING")
    time.wait(2)
    server.log(run_id, "500 orders read")
    server.set_state(run_id, ends)


def recipes_in(text: str) -> list[list[Step]]:
    """Return the recipes of a page, each with its steps."""
    return [[*_steps(block)] for block in _BLOCK.findall(text)]


def _steps(block: str) -> Iterator[Step]:
    for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        command, _, output = part.partition("\n")
        yield Step(command, output)


def with_outputs(text: str, run: "Shell") -> str:
    """Return a page with what its commands print now."""

    def rewritten(block: re.Match[str]) -> str:
        return "".join(
            f"$ {step.command}\n{run.output_of(step.command)}" for step in _steps(block[0])
        )

    return _BLOCK.sub(rewritten, text)


class Shell:
    """Runs commands of recipes, with `rxflow` on the path."""

    def __init__(self, directory: Path, url: str) -> None:
        """Prepare a directory to run them in.

        Args:
            directory: An empty directory.
            url: The API's URL.
        """
        self._directory = directory / "work"
        self._directory.mkdir()
        program = directory / "bin" / "rxflow"
        program.parent.mkdir()
        program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m rxflow "$@"\n')
        program.chmod(0o755)
        bash = shutil.which("bash")
        assert bash is not None
        self._bash = bash
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")}
        self._environment = inherited | {
            "PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}",
            "PREFECT_API_URL": url,
            "PREFECT_HOME": str(directory),
            "TZ": "UTC",
            "COLUMNS": str(_WIDTH),
            "NO_COLOR": "1",
        }

    def output_of(self, command: str) -> str:
        """Run a command, and return what it prints."""
        done = subprocess.run(
            [self._bash, "-o", "pipefail", "-c", command],
            cwd=self._directory,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        return done.stdout
