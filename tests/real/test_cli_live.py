"""The live view in a pseudo-terminal, of a run that a real Prefect executes."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from terminals import Terminal

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("interruptible")


def test_the_demo_is_live_on_a_terminal(tmp_path: Path) -> None:
    """The state of the run, its task runs and its subflow stand below the lines while it runs."""
    elsewhere = {name: "" for name in os.environ if name.startswith(("PREFECT_", "RXFLOW_"))}
    with Terminal("demo", environment=elsewhere | {"TMPDIR": str(tmp_path)}) as terminal:
        terminal.wait("nightly-report / ")
        terminal.wait("publish-report / ")
        terminal.wait("The run is over; waiting for late lines, ")
        assert terminal.wait_for_end() == 0
        assert terminal.is_as_before
        lines = terminal.all_lines()
    assert "  task runs  5: 5 completed" in lines
    assert "  subflows   1: 1 completed" in lines
    assert [line for line in lines if line.startswith("────")] == []
    assert [*tmp_path.iterdir()] == []
