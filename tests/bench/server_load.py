"""Measure what polls of many runs cost a real Prefect server: one watch of all, or one of each.

``python tests/bench/server_load.py`` starts a Prefect server, adds idle runs with log lines, and
watches each by a `RunSession` of its own, and then all by one `RunsSession`. The CPU of the server
is counted from when all runs were read, beyond what it takes without requests. ``--runs`` and
``--lines`` set how many there are. `README.md` beside this file keeps the results.
"""

import argparse
import sqlite3
from contextlib import closing
from datetime import datetime, timedelta
from random import Random
from time import monotonic
from time import sleep as pause  # noqa: TID251 - a watch in real time
from typing import Any
from uuid import uuid4

import httpx
import psutil

import rxflow
from rxflow._runtime.clocks import real_now
from rxflow._watching.run_session import RunSession
from rxflow._watching.runs_session import RunsSession
from rxflow._watching.session import Fetch, Session, Wait
from rxflow._watching.watch_spec import EventSource, WatchSpec
from rxflow.cli._prefect_server import PrefectServer

MEASURED = 60.0
"""Seconds of the watch of all runs that are measured."""

UNUSED = 20.0
"""Seconds for which the CPU of a server without requests is measured."""

_SOURCES = frozenset({EventSource.STATES, EventSource.LOGS, EventSource.NOTICES})
_LINES_A_TRANSACTION = 20_000  # while one is under way the server can write nothing
_BUSY_PAUSE = 0.2


def write(server: PrefectServer, runs: int, lines: int) -> list[str]:
    """Add running runs with log lines; return the ids of the runs.

    The lines go straight into the server's database: by the API two million take hours.
    """
    with httpx.Client(base_url=server.url, timeout=60, trust_env=False) as http:
        flow = _posted(http, "/flows/", {"name": "bench"}).json()
        body = {"flow_id": flow["id"], "state": {"type": "RUNNING"}}
        ids = [_posted(http, "/flow_runs/", body).json()["id"] for _ in range(runs)]
    start = real_now().utc.replace(tzinfo=None) - timedelta(hours=1)
    with closing(sqlite3.connect(server.database, timeout=60)) as database:
        for first in range(0, runs * lines, _LINES_A_TRANSACTION):
            numbers = range(first, min(first + _LINES_A_TRANSACTION, runs * lines))
            database.executemany(
                "INSERT INTO log (id, created, updated, name, level, flow_run_id, message,"
                " timestamp) VALUES (?, ?, ?, 'prefect.flow_runs', 20, ?, ?, ?)",
                (_log_row(ids[number % runs], number, start) for number in numbers),
            )
            database.commit()
    return ids


def _log_row(flow_run_id: str, number: int, start: datetime) -> tuple[str, ...]:
    """Return the values of a row, as the server itself writes them."""
    time = f"{start + timedelta(milliseconds=number)}"
    message = f"Loaded partition {number} into the warehouse, 1284 rows"
    return (str(uuid4()), time, time, flow_run_id, message, time)


def _posted(http: httpx.Client, path: str, body: Any) -> httpx.Response:
    """Post until the server accepts it: SQLite refuses a write while another one is under way."""
    while True:
        response = http.post(path, json=body)
        if response.is_success:
            return response
        if response.status_code not in {500, 503}:
            response.raise_for_status()
        pause(_BUSY_PAUSE)


class Watcher:
    """Carries out the commands of sessions, one request at a time.

    Attributes:
        requests: How many were sent.
    """

    def __init__(self, client: rxflow.Client) -> None:
        """Open a connection."""
        self._channel = client.open_channel()
        self.requests = 0

    def step(self, session: Session) -> float:
        """Send the query that is due, if there is one; return the seconds until the next."""
        match session.next_command(real_now()):
            case Fetch(query):
                self.requests += 1
                session.receive(self._channel.send(query), real_now())
                return 0.0
            case Wait(seconds):
                return seconds
            case done:
                raise AssertionError(done)

    def until_idle(self, session: Session) -> None:
        """Send queries until none is due."""
        while not self.step(session):
            pass


def measure_together(watcher: Watcher, ids: list[str], server: "Server") -> None:
    """Watch all runs by one session, and print what a tick costs the server."""
    session = RunsSession(WatchSpec(flow_run_id="", sources=_SOURCES), Random(0))
    session.add(ids)
    session.complete()
    began = monotonic()
    while sum(len(polling.group.runs) for polling in session._groups) < len(ids):
        pause(watcher.step(session))
    print(
        f"one watch: all runs read after {monotonic() - began:.0f} s, {watcher.requests} requests"
    )
    settled = monotonic() + 30  # until the pause between two ticks has grown
    while monotonic() < settled:
        pause(watcher.step(session))
    began, cpu, requests = monotonic(), server.cpu(), watcher.requests
    ticks = 0
    while monotonic() < began + MEASURED:
        watcher.until_idle(session)
        ticks += 1
        pause(watcher.step(session))
    seconds, cpu = monotonic() - began, server.cpu() - cpu
    print(
        f"one watch: {(watcher.requests - requests) / seconds:.2f} requests/s, {ticks} ticks, "
        f"{cpu / ticks * 1e3:.0f} ms of the server's CPU a tick, {cpu / seconds:.2%} of a core",
        flush=True,
    )


def measure_apart(watcher: Watcher, ids: list[str], server: "Server") -> None:
    """Watch each run by a session of its own, and print what a poll of each costs the server."""
    sessions = [
        RunSession(WatchSpec(flow_run_id=run_id, sources=_SOURCES), Random(0)) for run_id in ids
    ]
    for session in sessions:
        watcher.until_idle(session)
    cpu, requests = server.cpu(), watcher.requests
    for session in sessions:
        pause(watcher.step(session))
        watcher.until_idle(session)
    cpu = server.cpu() - cpu
    print(
        f"{len(ids)} watches: a poll of each is {watcher.requests - requests} requests, "
        f"{cpu * 1e3:.0f} ms of the server's CPU",
        flush=True,
    )


class Server:
    """The CPU of a server beyond what it takes without requests."""

    def __init__(self, pid: int) -> None:
        """Measure a server without requests for some seconds."""
        self._process = psutil.Process(pid)
        self._rate = 0.0
        self._began = monotonic()
        began = self.cpu()
        pause(UNUSED)
        self._rate = (self.cpu() - began) / UNUSED
        print(f"without requests: {self._rate:.2%} of a core", flush=True)

    def cpu(self) -> float:
        """Return the CPU seconds since an unnamed moment."""
        times = self._process.cpu_times()
        return times.user + times.system - self._rate * (monotonic() - self._began)


def main() -> None:
    """Write the runs, and measure both ways to watch them."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--runs", type=int, default=200)
    options.add_argument("--lines", type=int, default=10_000, help="of each run")
    arguments = options.parse_args()
    with PrefectServer() as server:
        began = monotonic()
        ids = write(server, arguments.runs, arguments.lines)
        print(
            f"{arguments.runs} runs of {arguments.lines:,} lines each, written in "
            f"{monotonic() - began:.0f} s",
            flush=True,
        )
        assert server.pid is not None
        measured = Server(server.pid)
        with rxflow.Client(api_url=server.url) as client:
            measure_apart(Watcher(client), ids, measured)
            measure_together(Watcher(client), ids, measured)


if __name__ == "__main__":
    main()
