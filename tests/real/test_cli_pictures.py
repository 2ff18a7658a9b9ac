"""``rxflow tree``, ``timeline`` and ``report`` of a run that a real Prefect executed.

The run is the demo's: of its task runs one is retried after a second, and it has a subflow.
"""

from __future__ import annotations

import re
import subprocess
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from html_reader import HtmlReader

from rxflow.cli._demo import start_demo_flow

if TYPE_CHECKING:
    from rxflow.cli._prefect_server import PrefectServer

PROGRAM = Path(sysconfig.get_path("scripts")) / "rxflow"

LIMIT = 240.0
"""Seconds that a command, or the flow, may take: far more than any of them needs."""


@pytest.fixture(scope="module")
def demo_run(server: PrefectServer) -> str:
    """Execute the demo's flow to its end, and return the id of its run."""
    run_id, flow = start_demo_flow(server)
    assert flow.wait(LIMIT) == 0
    return run_id


def output_of(server: PrefectServer, *arguments: str) -> str:
    """Run a command to its good end, 120 cells wide, with this server configured."""
    done = subprocess.run(
        [str(PROGRAM), *arguments],
        env={**server.environment, "COLUMNS": "120"},
        cwd=server.home,
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_the_tree_has_the_subflow_and_its_task_runs(server: PrefectServer, demo_run: str) -> None:
    """The task runs of both are below their flow runs, and the retried one ran twice."""
    root, *below = output_of(server, "tree", demo_run).splitlines()
    assert re.fullmatch(r"nightly-report / \S+ +Completed +\d+\.\d s", root)
    tasks = [found[0] for line in below if (found := re.search(r"[a-z]+[_-][a-z]+", line))]
    assert sorted(tasks) == [
        *["check_prices"],
        *["fetch_orders"] * 3,
        *["publish-report"],
        *["render_page"] * 3,
    ]
    pages = [line for line in below if "render_page" in line]
    assert all(line.startswith(("   ", "│  ")) for line in pages)
    (retried,) = [line for line in below if line.endswith("2 runs")]
    assert "fetch_orders" in retried


def test_the_timeline_has_a_bar_for_each_attempt(server: PrefectServer, demo_run: str) -> None:
    """The retried task run failed, waited and completed; the pages follow each other."""
    lines = output_of(server, "timeline", demo_run).splitlines()
    (retried,) = [line for line in lines if line.endswith("2 runs")]
    assert re.search(r"x+·+█+", retried)
    starts = [line.index("█") for line in lines if "render_page" in line]
    assert starts == sorted(starts)


def test_the_report_has_all_lines(server: PrefectServer, demo_run: str) -> None:
    """Those of the run, of its task runs and of its subflow, as many as the server counts."""
    page = HtmlReader(output_of(server, "report", demo_run, "-o", "-"))
    lines = [each.text for each in page.find("div", "line")]
    for text in ("fetching the orders", "Retry 1/1", "no price", "page 3 is done", "report is out"):
        assert any(text in line for line in lines), text
    assert "as many as the server counts" in page.text
    assert len(page.find("g", "row")) == 9
