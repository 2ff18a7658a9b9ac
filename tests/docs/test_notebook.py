"""The notebook in examples/ runs from its first cell to its last, against a fake server over HTTP.

It is tested here, and not beside the other examples, since a kernel needs 30 packages.
"""

import asyncio
import os
from pathlib import Path
from typing import Any

import httpx
import nbformat
import pytest
from nbclient import NotebookClient

from rxflow.testing import FakePrefect3, VirtualTime

NOTEBOOK = Path(__file__).parents[2] / "examples" / "notebook.ipynb"


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Return an environment without settings of Prefect, rxflow and Jupyter."""
    for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR"):
        monkeypatch.setenv(name, str(tmp_path))
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "RXFLOW_"))}
    return inherited | {"PREFECT_HOME": str(tmp_path)}


class Scenario:
    """A run that goes on after the notebook has polled it for a while.

    Args:
        time: The server's time, which only this scenario moves.
    """

    def __init__(self, time: VirtualTime) -> None:
        self.server = FakePrefect3(clock=time)
        self._time = time
        self.run_id = self.server.add_run(state="PENDING")
        time.wait(3)
        self.server.set_state(self.run_id, "RUNNING")
        self.server.add_task_run(self.run_id, name="load-0", state="RUNNING")
        self.server.log(self.run_id, "120 orders read")
        self.server.intercept = self._go_on
        self._polls = 0

    def _go_on(self, request: httpx.Request) -> None:
        self._polls += request.url.path.endswith(f"/flow_runs/{self.run_id}")
        if self._polls == 5 and not self.server.runs[self.run_id]["end_time"]:
            self._time.wait(90)
            self.server.log(self.run_id, "the mail was sent")
            self.server.set_state(self.run_id, "COMPLETED")
            self._time.wait(60)


def notebook_of(run_id: str) -> Any:
    """Read the notebook, with a run's id in place of its example id."""
    notebook: Any = nbformat.read(NOTEBOOK, as_version=4)
    (cell,) = (cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", ()))
    cell.source = f"run_id = {run_id!r}"
    return notebook


def printed(cell: Any) -> list[str]:
    """List the lines that a cell printed, and those of its value."""
    texts = [out.get("text") or out["data"]["text/markdown"] for out in cell.outputs]
    return "".join(texts).splitlines()


def test_the_notebook_shows_a_run(environment: dict[str, str], tmp_path: Path) -> None:
    """Its loops show the run live, its table each state's duration, its picture the task run."""
    story = Scenario(VirtualTime())
    notebook = notebook_of(story.run_id)
    client = NotebookClient(notebook, timeout=60, resources={"metadata": {"path": str(tmp_path)}})
    with story.server.serve() as api_url:
        asyncio.run(client.async_execute(env=environment | {"PREFECT_API_URL": api_url}))
    _, first, whole, table, timeline = (cell for cell in notebook.cells if cell.cell_type == "code")
    assert [line[9:] for line in printed(first)] == [
        "Watching flow run 'fake-run'",
        "Entered state Pending",
        "Entered state Running",
        "120 orders read",
    ]
    shown = [line[9:] for line in printed(whole)]
    assert shown[-1] == "Flow run ended in state Completed; 2 log lines, verified"
    assert "the mail was sent" in shown
    assert printed(table) == [
        "| state | began | lasted |",
        "| --- | --- | ---: |",
        "| Pending | 00:00:00 | 3.0 s |",
        "| Running | 00:00:03 | 90.0 s |",
        "| Completed | 00:01:33 | |",
    ]
    (shown_timeline,) = timeline.outputs
    assert "<svg " in shown_timeline["data"]["text/html"]
    assert ">load-0</text>" in shown_timeline["data"]["text/html"]


def test_the_notebook_is_kept_without_output() -> None:
    """The notebook in the repository has no outputs."""
    cells = [cell for cell in notebook_of("any").cells if cell.cell_type == "code"]
    assert [cell.outputs for cell in cells] == [[]] * len(cells)
    assert {cell.execution_count for cell in cells} == {None}
