"""Fixtures of the documentation's tests: a real Prefect server with one completed flow run."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from broker_logs import set_up
from broker_servers import NatsServer

from rxflow.cli._prefect_server import PrefectServer


@pytest.fixture(scope="session")
def server() -> Iterator[PrefectServer]:
    """Run a Prefect server, and make it the default of this process."""
    with PrefectServer() as server, pytest.MonkeyPatch.context() as patch:
        patch.setenv("PREFECT_HOME", str(server.home))
        patch.setenv("PREFECT_API_URL", server.url)
        yield server


@pytest.fixture(scope="session")
def run_id(server: PrefectServer) -> str:
    """Create a flow run that ended as Completed, with three log lines."""
    with httpx.Client(base_url=server.url, trust_env=False) as api:
        flow = _post(api, "/flows/", {"name": "nightly-report"})
        body = {"flow_id": flow["id"], "name": "amber-fox", "state": {"type": "SCHEDULED"}}
        run = str(_post(api, "/flow_runs/", body)["id"])
        _set_state(api, run, "PENDING")
        began = _set_state(api, run, "RUNNING")
        lines = {"120 orders read": 20, "2 orders have no price": 30, "the mail was not sent": 40}
        rows = [
            {"name": "prefect.flow_runs", "level": level, "message": message}
            | {"timestamp": began, "flow_run_id": run}
            for message, level in lines.items()
        ]
        _post(api, "/logs/", rows)
        _set_state(api, run, "COMPLETED")
    return run


@pytest.fixture
def broker(server: PrefectServer) -> Iterator[str]:
    """Run a NATS server and a relay of the Prefect server; return the broker's URL."""
    with NatsServer() as nats:
        set_up(nats.url(), "default")
        command = [sys.executable, "-m", "rxflow", "relay", nats.url(), "--quiet"]
        relay = subprocess.Popen(command, env=os.environ | {"PREFECT_API_URL": server.url})
        yield nats.url()
        relay.terminate()
        assert relay.wait(30) == 0


def _set_state(api: httpx.Client, run: str, state: str) -> object:
    """Return the state's timestamp by the server's clock."""
    reply = _post(api, f"/flow_runs/{run}/set_state", {"state": {"type": state}})
    assert reply["status"] == "ACCEPT", reply
    return reply["state"]["timestamp"]


def _post(api: httpx.Client, path: str, body: object) -> dict[str, Any]:
    reply = api.post(path, json=body)
    while reply.status_code == httpx.codes.SERVICE_UNAVAILABLE:  # SQLite, while the server writes
        threading.Event().wait(0.1)
        reply = api.post(path, json=body)
    return dict(reply.raise_for_status().json() or {})
