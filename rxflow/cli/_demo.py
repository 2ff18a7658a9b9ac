"""Start the demo's flow in a process of its own, with a run id that is known before it runs.

The run is created over the REST API first and executed by id, as a worker would, so that a watcher
can be there from the run's very first state on.
"""

import http.client
import json
import subprocess
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from time import monotonic
from time import sleep as pause  # noqa: TID251 - before anything is watched
from urllib.parse import urlsplit

from rxflow.cli._prefect_server import PrefectServer, ServerNotStarted

__all__ = ["start_demo_flow"]

FLOW_NAME = "nightly-report"

FLOW_SCRIPT = Path(__file__).with_name("_demo_flow.py")

# A Prefect server over SQLite refuses a write with 503 and undoes it whenever one of its own
# services writes at the same instant: 1 to 4 in 100 (measured, 3.8.8), most of all at its start.
BUSY_PAUSE = 0.25
"""Seconds between two attempts."""

BUSY_LIMIT = 15.0
"""Seconds after which no further attempt is made."""


def start_demo_flow(server: PrefectServer) -> tuple[str, subprocess.Popen[bytes]]:
    """Create a run of the demo flow and start the process that executes it.

    The flow takes 11 s on an idle machine: four tasks, of which one fails once and is retried and
    one warns, and a subflow with three more.

    Args:
        server: A server that is up and asks for no key.

    Returns:
        The flow run id, and the process, which leads a process group of its own. Its output is in
        ``server.log_of("_demo_flow")``; it ends with the server at the latest.
    """
    flow_id = _create(server.url, "flows", {"name": FLOW_NAME})
    run = {"flow_id": flow_id, "state": {"type": "SCHEDULED"}, "tags": ["demo"]}
    flow_run_id = _create(server.url, "flow_runs", run)
    return flow_run_id, server.spawn_beside(FLOW_SCRIPT, flow_run_id)


def _create(url: str, what: str, body: Mapping[str, object]) -> str:
    """Create a flow or a run and return its id; the library itself only reads, and so cannot."""
    give_up = monotonic() + BUSY_LIMIT
    while True:
        status, answer = _post(url, what, json.dumps(body))
        if status != HTTPStatus.SERVICE_UNAVAILABLE or monotonic() > give_up:
            break
        pause(BUSY_PAUSE)
    if status not in {HTTPStatus.OK, HTTPStatus.CREATED}:
        raise ServerNotStarted(f"the demo's server answered {status} to POST /{what}/")
    created: str = json.loads(answer)["id"]
    return created


def _post(url: str, what: str, body: str) -> tuple[int, bytes]:
    # A connection a request: after a 503 the server drops the connection without having said so.
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
    try:
        connection.request("POST", f"/api/{what}/", body, {"Content-Type": "application/json"})
        reply = connection.getresponse()
        return reply.status, reply.read()
    finally:
        connection.close()
