"""The demo's server and flow, and the fixtures that the other tests of this folder use."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import httpx
import psutil
import pytest

from rxflow.cli._demo import start_demo_flow
from rxflow.cli._prefect_server import PrefectServer, ServerNotStarted, _end

if TYPE_CHECKING:
    from collections.abc import Callable

    from server_databases import DatabaseReader

    from tests.real.conftest import ApiWriter, TwoWriters, Until

KILLED_PARENT = """
import sys
from rxflow.cli._prefect_server import PrefectServer
with PrefectServer() as server:
    print(server.home, flush=True)
    sys.stdin.read()
"""


IGNORES_SIGTERM = """
import signal, threading
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready", flush=True)
threading.Event().wait()
"""


def processes_of(home: Path) -> list[str]:
    """List the running processes of a server: each has the server's home on its command line."""
    lines = (" ".join(p.info["cmdline"] or ()) for p in psutil.process_iter(["cmdline"]))
    return [line for line in lines if str(home) in line]


def assert_gone(home: Path) -> None:
    """Check that neither a process nor a file of a server is left."""
    assert not processes_of(home)
    assert not home.exists()


@pytest.fixture(scope="module")
def demo_run(server: PrefectServer) -> str:
    """A finished run of the demo's flow."""
    flow_run_id, process = start_demo_flow(server)
    assert process.wait(timeout=120) == 0, server.log_path("_demo_flow").read_text()
    return flow_run_id


def test_it_listens_on_a_loopback_port(server: PrefectServer) -> None:
    """The server responds with Prefect's API at `url`."""
    assert urlsplit(server.url).hostname == "127.0.0.1"
    assert httpx.get(f"{server.url}/health", trust_env=False).json() is True


def test_it_leads_its_own_process_group(server: PrefectServer) -> None:
    """Ctrl-C at the terminal interrupts this process, not the server."""
    assert server.pid is not None
    assert psutil.Process(server.pid).ppid() == os.getpid()
    assert os.getpgid(server.pid) == server.pid != os.getpgrp()


def test_its_environment_is_independent_of_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    """A child process gets this server's settings, whatever the user's environment has."""
    for name in ("PREFECT_API_URL", "PREFECT_API_KEY", "PREFECT_PROFILE"):
        monkeypatch.setenv(name, "the user's own")
    server = PrefectServer(start_limit=0)
    with pytest.raises(ServerNotStarted):
        server.__enter__()
    assert "the user's own" not in server.environment.values()
    assert server.environment["PREFECT_API_URL"] == server.url
    assert server.environment["PREFECT_HOME"] == str(server.home)


def test_ctrl_c_in_the_body_leaves_nothing() -> None:
    """The server, the flow and the directory are gone after a KeyboardInterrupt."""
    home = Path()

    def body(server: PrefectServer) -> None:
        nonlocal home
        home = server.home
        start_demo_flow(server)
        assert len(processes_of(home)) == 2
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), PrefectServer() as server:
        body(server)
    assert_gone(home)


@pytest.mark.parametrize("line", [1, 2])
def test_ctrl_c_during_the_start_leaves_nothing(line: int) -> None:
    """A KeyboardInterrupt while the server starts, before or after its process, leaves nothing."""
    reported = []

    def interrupt(progress: str) -> None:
        reported.append(progress)
        if len(reported) == line:
            raise KeyboardInterrupt

    server = PrefectServer(report=interrupt)
    with pytest.raises(KeyboardInterrupt), server:
        pytest.fail("started before the interrupt")
    assert reported[0].startswith("starting a Prefect server on http://127.0.0.1:")
    assert_gone(server.home)


def test_a_killed_parent_leaves_nothing(until: Until) -> None:
    """A SIGKILL of the parent, which no handler catches, leaves neither server nor directory."""
    with subprocess.Popen(
        [sys.executable, "-c", KILLED_PARENT],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as parent:
        assert parent.stdout is not None
        home = Path(parent.stdout.readline().strip())
        assert processes_of(home)
        parent.kill()
    until(lambda: not processes_of(home) and not home.exists())


def test_a_restarted_server_keeps_its_data(
    writer_of: Callable[[PrefectServer], ApiWriter],
) -> None:
    """After kill -9 the server is unreachable; restarted, it has the same URL and data."""
    with PrefectServer() as server:
        writer = writer_of(server)
        run = writer.new_run(name="kept")
        assert server.pid is not None
        os.kill(server.pid, signal.SIGKILL)
        server.stop()
        with pytest.raises(httpx.ConnectError):
            writer.get(f"/flow_runs/{run}")
        server.start()
        assert writer.get(f"/flow_runs/{run}")["name"] == "kept"
    assert_gone(server.home)


def test_a_failed_start_shows_the_servers_log() -> None:
    """The error has the last lines of the server's log."""
    missing = {"PREFECT_SERVER_DATABASE_CONNECTION_URL": "sqlite+aiosqlite:////nowhere/p.db"}
    server = PrefectServer(settings=missing)
    with pytest.raises(ServerNotStarted, match=r"(?s)ended with code.*unable to open database"):
        server.__enter__()
    assert_gone(server.home)


def test_a_slow_start_ends_at_the_limit() -> None:
    """The start fails at its limit, and leaves nothing."""
    server = PrefectServer(start_limit=0.5)
    with pytest.raises(ServerNotStarted, match=r"did not respond within 0\.5 s"):
        server.__enter__()
    assert_gone(server.home)


def test_a_child_that_ignores_sigterm_is_killed() -> None:
    """SIGKILL follows SIGTERM after the grace period."""
    with subprocess.Popen(
        [sys.executable, "-c", IGNORES_SIGTERM], stdout=subprocess.PIPE, start_new_session=True
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        _end(child, grace=0.2)
    assert child.returncode == -signal.SIGKILL


def test_a_python_without_prefect_is_an_error(tmp_path: Path) -> None:
    """The error names the extra to install, before anything is created."""
    bare = tmp_path / "python"
    bare.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S "$@"\n')
    bare.chmod(0o755)
    server = PrefectServer(python=str(bare))
    with pytest.raises(ServerNotStarted, match=r"rxflow-prefect\[demo\]"):
        server.__enter__()
    assert not hasattr(server, "home")


def test_the_demo_flow_completes(demo_run: str, writer: ApiWriter) -> None:
    """The run, whose id is known before it starts, has all its states."""
    states = writer.get("/flow_run_states/", flow_run_id=demo_run)
    assert [state["type"] for state in states] == ["SCHEDULED", "RUNNING", "COMPLETED"]


def test_the_demo_flow_retries_a_task(demo_run: str, writer: ApiWriter, until: Until) -> None:
    """One of its tasks fails once, and one is the subflow."""
    query = {"task_runs": {"flow_run_id": {"any_": [demo_run]}}}

    def runs() -> Counter[int] | None:
        rows = writer.post("/task_runs/filter", query)
        ended = len(rows) == 5 and all(row["state_type"] == "COMPLETED" for row in rows)
        return Counter(row["run_count"] for row in rows) if ended else None

    assert until(runs) == {1: 4, 2: 1}


def test_the_demo_flow_logs_a_warning(demo_run: str, writer: ApiWriter) -> None:
    """It has one line above INFO."""
    query = {"logs": {"flow_run_id": {"any_": [demo_run]}, "level": {"ge_": 30}}}
    assert [row["level"] for row in writer.post("/logs/filter", query)] == [30]


def test_the_database_has_the_ids_of_the_api(
    demo_run: str, writer: ApiWriter, database: DatabaseReader
) -> None:
    """Ids from the database equal those of the API, in the same form."""
    logs = writer.post("/logs/filter", {"logs": {"flow_run_id": {"any_": [demo_run]}}})
    states = writer.get("/flow_run_states/", flow_run_id=demo_run)
    assert sorted(database.log_ids(demo_run)) == sorted(row["id"] for row in logs) != []
    assert database.state_ids(demo_run) == [state["id"] for state in states] != []


def test_the_writer_writes_its_arguments(writer: ApiWriter, database: DatabaseReader) -> None:
    """A created run has the given name, tags, parameters, states and rows."""
    run = writer.new_run(name="mine", tags=["a"], parameters={"x": 1}, state={"type": "SCHEDULED"})
    writer.post_logs(run, ["one", {"message": "two", "level": 40}])
    assert writer.set_state(run, "RUNNING", "Busy") == "ACCEPT"
    assert writer.set_state(run, "COMPLETED", force=True) == "ACCEPT"
    assert writer.set_state(run, "CANCELLING") == "ABORT"
    row = writer.get(f"/flow_runs/{run}")
    assert (row["name"], row["tags"], row["parameters"]) == ("mine", ["a"], {"x": 1})
    assert (len(database.log_ids(run)), len(database.state_ids(run))) == (2, 3)


def test_an_overdue_run_is_marked_late(writer: ApiWriter, until: Until) -> None:
    """The server's background services are on."""
    a_minute_ago = datetime.now(UTC) - timedelta(minutes=1)  # noqa: TID251
    run = writer.new_run(scheduled=a_minute_ago)
    until(lambda: writer.get(f"/flow_runs/{run}")["state_name"] == "Late")
    assert writer.get(f"/flow_runs/{run}")["state_type"] == "SCHEDULED"


def test_two_writers_make_rows_late(
    two_writers: TwoWriters, writer: ApiWriter, database: DatabaseReader
) -> None:
    """Rows of two processes become visible out of the order of their timestamps."""
    two_writers.wait()
    query = {"logs": {"flow_run_id": {"any_": [two_writers.flow_run_id]}}, "limit": 200}
    rows = writer.post("/logs/filter", query) + writer.post("/logs/filter", query | {"offset": 200})
    assert Counter(row["message"].split()[0] for row in rows) >= Counter(flow=100, sidecar=100)
    assert len(rows) == len(database.log_ids(two_writers.flow_run_id))
    stamps = [row["timestamp"] for row in sorted(rows, key=lambda row: row["id"])]
    late = sum(stamp < max(stamps[:place]) for place, stamp in enumerate(stamps) if place)
    assert late >= 10


def test_the_locked_server_is_locked(
    locked_server: PrefectServer, locked_writer: ApiWriter, locked_database: DatabaseReader
) -> None:
    """It requires a key and a CSRF token, has pages of 50, and accepts the locked writer."""
    run = locked_writer.new_run()
    locked_writer.post_logs(run, ["one"])
    assert len(locked_database.log_ids(run)) == 1
    with httpx.Client(base_url=locked_server.url, trust_env=False) as http:
        assert http.get(f"/flow_runs/{run}").status_code == 401
        key = httpx.BasicAuth("admin", "open-sesame")
        assert http.post("/logs/filter", json={}, auth=key).status_code == 403
    assert locked_writer.http.post("/logs/filter", json={"limit": 51}).status_code == 422
