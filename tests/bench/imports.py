"""Measure what importing rxflow costs, beside Prefect's own client for events.

``python tests/bench/imports.py`` (or ``tox -e bench``) runs each statement in fresh interpreters.
Only figures of one run are compared; each is the least CPU time of several rounds, in which the
statements take turns. `README.md` beside this file keeps the results.
"""

import os
import platform
import resource
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version

ROUNDS = 11
GOAL_IMPORT = 1 / 12
GOAL_READY = 1 / 7

PREFECT = "import prefect.events.subscribers"
PACKAGES = "import httpx, loguru, msgspec, reactivex, reactivex.operators"
IMPORT = "import rxflow"
READY = """\
import rxflow
client = rxflow.Client(api_url="http://127.0.0.1:4200/api")
rxflow.watch_flow_run("9e6caafc-4ea1-4493-b0a9-122efba9eaaa", client=client)"""

STATEMENTS = {
    "an interpreter that does nothing": "pass",
    "the four packages that rxflow needs": PACKAGES,
    "import rxflow": IMPORT,
    "ready to watch: a client and a stream, nothing sent": READY,
    PREFECT: PREFECT,
}

# Modules are compiled once, as those of an installed package are.
ENVIRONMENT = {
    name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"
}


def cpu_of(statement: str) -> float:
    """CPU seconds of a fresh interpreter that runs a statement."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", statement], check=True, env=ENVIRONMENT)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def report() -> Iterator[str]:
    """Measure, and yield the report line by line."""
    names = ("rxflow-prefect", "httpx", "loguru", "msgspec", "reactivex", "prefect")
    versions = ", ".join(f"{name} {version(name)}" for name in names)
    yield f"Python {platform.python_version()}, {versions}"
    yield f"\nCPU of a fresh interpreter: best of {ROUNDS}, after one that is not counted"
    rounds = [[cpu_of(code) for code in STATEMENTS.values()] for _ in range(ROUNDS + 1)]
    spent = dict(zip(STATEMENTS, map(min, zip(*rounds[1:], strict=True)), strict=True))
    for name, seconds in spent.items():
        yield f"  {name:54}{seconds * 1e3:7.0f} ms{seconds / spent[PREFECT]:8.3f}"
    yield f"  goals beside prefect: {GOAL_IMPORT:.3f} to import, {GOAL_READY:.3f} to be ready"


if __name__ == "__main__":
    for line in report():
        print(line, flush=True)
