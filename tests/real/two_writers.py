"""A script of a flow run that two processes write to: the flow, and a sidecar process.

``python two_writers.py`` creates the run, prints its id as the first line of its output, and then
executes it. Both processes log through Prefect's own handler, which uploads in batches of 2 s; the
sidecar starts half a batch later, so that rows become visible out of the order of their timestamps,
and the sidecar's last ones after the end of the run.
"""

import logging
import subprocess
import sys
from time import sleep as pause  # noqa: TID251 - the writers' interval

from prefect import flow, get_run_logger
from prefect.client.orchestration import get_client
from prefect.flow_engine import run_flow
from prefect.logging.handlers import APILogHandler
from prefect.states import Scheduled

LINES = 100
LINE_INTERVAL = 0.06
"""Seconds between two lines of a writer, about 6 s for all."""

SIDECAR_AFTER = 16
"""Number of the flow's lines before the sidecar starts, about 1 s."""


def run_sidecar(flow_run_id: str) -> None:
    """Run as the sidecar: print that it is ready, wait for a line of input, write."""
    log = logging.getLogger("sidecar")
    log.setLevel(logging.INFO)
    log.addHandler(APILogHandler())
    print("ready", flush=True)  # noqa: T201
    sys.stdin.readline()
    for number in range(LINES):
        log.info("sidecar %03d", number, extra={"flow_run_id": flow_run_id})
        pause(LINE_INTERVAL)


def write(sidecar: subprocess.Popen[str]) -> None:
    """Run as the flow: write, and start the sidecar a little later."""
    assert sidecar.stdin is not None
    log = get_run_logger()
    for number in range(LINES):
        if number == SIDECAR_AFTER:
            sidecar.stdin.write("go\n")
            sidecar.stdin.flush()
        log.info("flow %03d", number)
        pause(LINE_INTERVAL)


def main() -> None:
    """Create the run, print its id, start the sidecar and execute the run."""
    two_writers = flow(name="two-writers")(write)
    with get_client(sync_client=True) as client:
        run = client.create_flow_run(two_writers, state=Scheduled())
    print(run.id, flush=True)  # noqa: T201
    with subprocess.Popen(
        [sys.executable, __file__, str(run.id)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as sidecar:
        assert sidecar.stdout is not None
        sidecar.stdout.readline()
        run_flow(two_writers, flow_run=run, parameters={"sidecar": sidecar})
    sys.exit(sidecar.returncode)


if __name__ == "__main__":
    run_sidecar(sys.argv[1]) if len(sys.argv) > 1 else main()
