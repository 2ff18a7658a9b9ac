"""Start the demo's flow in another process, with a run whose id is known before it starts.

The run is created through the REST API and then executed by its id, as a worker does it, so that a
watch can begin before the run's first state change.
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

import reactivex
from reactivex import Observable
from reactivex import operators as ops

from rxflow import FlowRunEvent, RxflowError
from rxflow.cli._prefect_server import PrefectServer, ServerNotStarted

__all__ = ["error_of", "start_demo_flow"]

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
    one logs a warning, and a subflow with three more tasks.

    Args:
        server: A running server without authentication.

    Returns:
        The flow run id, and the process, which leads a process group of its own. Its output is in
        ``server.log_path("_demo_flow")``; it ends with the server at the latest.
    """
    flow_id = _create(server.url, "flows", {"name": FLOW_NAME})
    run = {"flow_id": flow_id, "state": {"type": "SCHEDULED"}, "tags": ["demo"]}
    flow_run_id = _create(server.url, "flow_runs", run)
    return flow_run_id, server.spawn_script(FLOW_SCRIPT, flow_run_id)


def error_of(flow: subprocess.Popen[bytes]) -> Observable[FlowRunEvent]:
    """Emit an error if the flow's process fails, and nothing otherwise."""

    def check(_: int) -> Observable[FlowRunEvent]:
        code = flow.poll()
        if not code:
            return reactivex.empty()
        return reactivex.throw(RxflowError(f"the flow's process failed with code {code}"))

    return reactivex.interval(1.0).pipe(ops.flat_map(check))


def _create(url: str, table: str, row: Mapping[str, object]) -> str:
    """Create a flow or a run and return its id; the library itself only reads."""
    deadline = monotonic() + BUSY_LIMIT
    while True:
        status, body = _post(url, table, json.dumps(row))
        if status != HTTPStatus.SERVICE_UNAVAILABLE or monotonic() > deadline:
            break
        pause(BUSY_PAUSE)
    if status not in {HTTPStatus.OK, HTTPStatus.CREATED}:
        raise ServerNotStarted(f"the demo's server responded with {status} to POST /{table}/")
    created: str = json.loads(body)["id"]
    return created


def _post(url: str, table: str, row: str) -> tuple[int, bytes]:
    # One connection per request: after a 503 the server closes it without announcing that.
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
    try:
        connection.request("POST", f"/api/{table}/", row, {"Content-Type": "application/json"})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()
