"""Two scripts in examples/ run on a real server; tests/test_examples.py runs all on a fake one."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from rxflow.cli._prefect_server import PrefectServer

FOLDER = Path(__file__).parents[2] / "examples"
EXAMPLES = [FOLDER / name for name in ("alert_with_context.py", "follow_and_exit.py")]


@pytest.mark.parametrize("script", EXAMPLES, ids=lambda path: path.name)
def test_example_prints_its_expected_lines(
    script: Path, server: PrefectServer, run_id: str
) -> None:
    """The script exits with 0 and prints each `Expected:` line of its docstring."""
    docstring = ast.get_docstring(ast.parse(script.read_text("utf-8"))) or ""
    expected = re.findall(r"(?m)^Expected: (.+)$", docstring)
    assert expected, "the docstring has no line `Expected: ...`"
    done = subprocess.run(
        [sys.executable, "-W", "error", script, run_id],
        env=server.environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert [line for line in expected if line not in done.stdout] == []
