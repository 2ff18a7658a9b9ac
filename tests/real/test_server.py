"""The demo's server and flow, and the fixtures that the other tests here stand on."""

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

    from tests.real.conftest import Hand, Truth, TwoWriters, Until

KILLED_PARENT = """
import sys
from rxflow.cli._prefect_server import PrefectServer
with PrefectServer() as server:
    print(server.home, flush=True)
    sys.stdin.read()
"""


DEAF = """
import signal, threading
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("deaf", flush=True)
threading.Event().wait()
"""


def processes_of(home: Path) -> list[str]:
    """List what still runs for a server: its home is on every command line."""
    lines = (" ".join(p.info["cmdline"] or ()) for p in psutil.process_iter(["cmdline"]))
    return [line for line in lines if str(home) in line]


def assert_gone(home: Path) -> None:
    """Nothing is left of a server, neither a process nor a file."""
    assert not processes_of(home)
    assert not home.exists()


@pytest.fixture(scope="module")
def demo_run(server: PrefectServer) -> str:
    """A run of the demo's flow, which has ended."""
    flow_run_id, process = start_demo_flow(server)
    assert process.wait(timeout=120) == 0, server.log_path("_demo_flow").read_text()
    return flow_run_id


def test_it_answers_on_a_loopback_port_of_its_own(server: PrefectServer) -> None:
    """The server speaks Prefect's API at `url`."""
    assert urlsplit(server.url).hostname == "127.0.0.1"
    assert httpx.get(f"{server.url}/health", trust_env=False).json() is True


def test_it_leads_a_process_group_of_its_own(server: PrefectServer) -> None:
    """Ctrl-C at the terminal reaches this process, and not the server first."""
    assert server.pid is not None
    assert psutil.Process(server.pid).ppid() == os.getpid()
    assert os.getpgid(server.pid) == server.pid != os.getpgrp()


def test_its_clients_see_nothing_of_the_users_prefect(monkeypatch: pytest.MonkeyPatch) -> None:
    """A child process is told of this server alone, whatever the user's environment says."""
    for name in ("PREFECT_API_URL", "PREFECT_API_KEY", "PREFECT_PROFILE"):
        monkeypatch.setenv(name, "the user's own")
    server = PrefectServer(start_limit=0)
    with pytest.raises(ServerNotStarted):
        server.__enter__()
    assert "the user's own" not in server.environment.values()
    assert server.environment["PREFECT_API_URL"] == server.url
    assert server.environment["PREFECT_HOME"] == str(server.home)


def test_a_body_ended_by_ctrl_c_leaves_nothing() -> None:
    """The server, the flow beside it and the directory are gone after a KeyboardInterrupt."""
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
def test_a_start_ended_by_ctrl_c_leaves_nothing(line: int) -> None:
    """The same holds for one that comes while the server starts, before its process or after."""
    told = []

    def interrupt(progress: str) -> None:
        told.append(progress)
        if len(told) == line:
            raise KeyboardInterrupt

    server = PrefectServer(report=interrupt)
    with pytest.raises(KeyboardInterrupt), server:
        pytest.fail("started before the interrupt")
    assert told[0].startswith("starting a Prefect server on http://127.0.0.1:")
    assert_gone(server.home)


def test_a_parent_killed_leaves_nothing(until: Until) -> None:
    """Not even SIGKILL, which no handler sees, leaves a server or its directory behind."""
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
    until(lambda: not processes_of(home) and not home.exists(), limit=120)


def test_a_server_killed_and_started_again_keeps_its_data(
    hand_of: Callable[[PrefectServer], Hand],
) -> None:
    """After kill -9 it is unreachable, then the same server at the same place."""
    with PrefectServer() as server:
        hand = hand_of(server)
        run = hand.new_run(name="kept")
        assert server.pid is not None
        os.kill(server.pid, signal.SIGKILL)
        server.stop()
        with pytest.raises(httpx.ConnectError):
            hand.get(f"/flow_runs/{run}")
        server.start()
        assert hand.get(f"/flow_runs/{run}")["name"] == "kept"
    assert_gone(server.home)


def test_a_server_that_dies_as_it_starts_says_why() -> None:
    """The error has the last lines of the server's log."""
    nowhere = {"PREFECT_SERVER_DATABASE_CONNECTION_URL": "sqlite+aiosqlite:////nowhere/p.db"}
    server = PrefectServer(settings=nowhere)
    with pytest.raises(ServerNotStarted, match=r"(?s)ended with code.*unable to open database"):
        server.__enter__()
    assert_gone(server.home)


def test_a_server_that_takes_too_long_is_given_up() -> None:
    """The limit is kept, and nothing is left."""
    server = PrefectServer(start_limit=0.5)
    with pytest.raises(ServerNotStarted, match=r"did not respond within 0\.5 s"):
        server.__enter__()
    assert_gone(server.home)


def test_a_child_that_is_deaf_to_sigterm_is_killed() -> None:
    """SIGKILL follows after the grace."""
    with subprocess.Popen(
        [sys.executable, "-c", DEAF], stdout=subprocess.PIPE, start_new_session=True
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        _end(child, grace=0.2)
    assert child.returncode == -signal.SIGKILL


def test_a_python_without_prefect_is_told_what_to_install(tmp_path: Path) -> None:
    """The error names the extra, and comes before anything is made."""
    bare = tmp_path / "python"
    bare.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S "$@"\n')
    bare.chmod(0o755)
    server = PrefectServer(python=str(bare))
    with pytest.raises(ServerNotStarted, match=r"rxflow-prefect\[demo\]"):
        server.__enter__()
    assert not hasattr(server, "home")


def test_the_demo_flow_completes(demo_run: str, hand: Hand) -> None:
    """Its run, known before it began, has all its states."""
    states = hand.get("/flow_run_states/", flow_run_id=demo_run)
    assert [state["type"] for state in states] == ["SCHEDULED", "RUNNING", "COMPLETED"]


def test_the_demo_flow_retries_a_task(demo_run: str, hand: Hand, until: Until) -> None:
    """Of its tasks one fails once; one is the subflow."""
    query = {"task_runs": {"flow_run_id": {"any_": [demo_run]}}}

    def runs() -> Counter[int] | None:
        rows = hand.post("/task_runs/filter", query)
        ended = len(rows) == 5 and all(row["state_type"] == "COMPLETED" for row in rows)
        return Counter(row["run_count"] for row in rows) if ended else None

    assert until(runs, limit=30) == {1: 4, 2: 1}


def test_the_demo_flow_warns(demo_run: str, hand: Hand) -> None:
    """It has one line above INFO."""
    query = {"logs": {"flow_run_id": {"any_": [demo_run]}, "level": {"ge_": 30}}}
    assert [row["level"] for row in hand.post("/logs/filter", query)] == [30]


def test_the_truth_is_what_the_api_says(demo_run: str, hand: Hand, truth: Truth) -> None:
    """The ids read from the database are those of the API, in its spelling."""
    logs = hand.post("/logs/filter", {"logs": {"flow_run_id": {"any_": [demo_run]}}})
    states = hand.get("/flow_run_states/", flow_run_id=demo_run)
    assert sorted(truth.log_ids(demo_run)) == sorted(row["id"] for row in logs) != []
    assert truth.state_ids(demo_run) == [state["id"] for state in states] != []


def test_the_hand_writes_what_it_is_given(hand: Hand, truth: Truth) -> None:
    """A run made by hand has the name, tags, parameters, states and rows it was given."""
    run = hand.new_run(name="mine", tags=["a"], parameters={"x": 1}, state={"type": "SCHEDULED"})
    hand.post_logs(run, ["one", {"message": "two", "level": 40}])
    assert hand.set_state(run, "RUNNING", "Busy") == "ACCEPT"
    assert hand.set_state(run, "COMPLETED", force=True) == "ACCEPT"
    assert hand.set_state(run, "CANCELLING") == "ABORT"
    row = hand.get(f"/flow_runs/{run}")
    assert (row["name"], row["tags"], row["parameters"]) == ("mine", ["a"], {"x": 1})
    assert (len(truth.log_ids(run)), len(truth.state_ids(run))) == (2, 3)


def test_a_run_that_nobody_takes_is_marked_late(hand: Hand, until: Until) -> None:
    """The background services are on."""
    a_minute_ago = datetime.now(UTC) - timedelta(minutes=1)  # noqa: TID251
    run = hand.new_run(scheduled=a_minute_ago)
    until(lambda: hand.get(f"/flow_runs/{run}")["state_name"] == "Late", limit=60)


def test_two_writers_make_rows_late(two_writers: TwoWriters, hand: Hand, truth: Truth) -> None:
    """Rows of two processes become visible out of the order of their timestamps."""
    two_writers.wait()
    query = {"logs": {"flow_run_id": {"any_": [two_writers.flow_run_id]}}, "limit": 200}
    rows = hand.post("/logs/filter", query) + hand.post("/logs/filter", query | {"offset": 200})
    assert Counter(row["message"].split()[0] for row in rows) >= Counter(flow=100, sidecar=100)
    assert len(rows) == len(truth.log_ids(two_writers.flow_run_id))
    stamps = [row["timestamp"] for row in sorted(rows, key=lambda row: row["id"])]
    late = sum(stamp < max(stamps[:place]) for place, stamp in enumerate(stamps) if place)
    assert late >= 10


def test_the_locked_server_is_locked(
    locked_server: PrefectServer, locked_hand: Hand, locked_truth: Truth
) -> None:
    """It wants a key and a CSRF token, has pages of 50, and is open to the hand that has both."""
    run = locked_hand.new_run()
    locked_hand.post_logs(run, ["one"])
    assert len(locked_truth.log_ids(run)) == 1
    with httpx.Client(base_url=locked_server.url, trust_env=False) as http:
        assert http.get(f"/flow_runs/{run}").status_code == 401
        key = httpx.BasicAuth("admin", "open-sesame")
        assert http.post("/logs/filter", json={}, auth=key).status_code == 403
    assert locked_hand.http.post("/logs/filter", json={"limit": 51}).status_code == 422
