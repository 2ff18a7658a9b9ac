"""Break a real Prefect server and a watch of it, and compare the watch's journal with the database.

``tox -e chaos -- --minutes 10`` starts a server, a run whose log lines are posted as Prefect's log
handler does, some of them late, and a process that watches the run with a journal. Until the time
is over, the server and the watcher are killed or stopped for some seconds, and connections between
them are cut, one after the other in an order that the seed determines. Then the run ends. Exits 1
if the journal lacks a row of the database, has one twice or one that is not there, or if a watch
ended in anything but `Closed` or a server that it could not reach. With the variable
RXFLOW_TEST_ON_POSTGRES the server has PostgreSQL, which is not broken.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from connection_relay import ConnectionRelay
from journal_files import events_in
from server_databases import DatabaseReader, started_server

import rxflow
from rxflow.cli._prefect_server import PrefectServer

UNREACHABLE = 6  # the status of a watcher that could not begin: it is started again
END_LIMIT = 240  # seconds until a watch must have ended, once nothing breaks any more
PAUSES = 0.2, 3.0  # seconds between two faults
STOPS = 0.5, 6.0  # seconds for which a process is stopped
BATCH = 1, 40  # lines in a request
LATE = 0.1  # the part of requests whose lines are dated up to ten minutes ago


def watch(run: str, url: str, journal: str) -> int:
    """Watch a run with a journal, as the process that is killed."""
    with rxflow.Client(api_url=url) as client:
        try:
            for _ in rxflow.watch_flow_run(run, max_duration=None, journal=journal, client=client):
                pass
        except rxflow.Unreachable:
            return UNREACHABLE
    return 0


class Watcher:
    """The process that watches, which is started again whenever it was killed.

    Attributes:
        started: How many processes there were.
        failed: Whether one ended in an error that is none of the server's.
    """

    def __init__(self, run: str, url: str, journal: Path) -> None:
        self._command = [sys.executable, __file__, "--watch", run, url, str(journal)]
        self.started = 0
        self.failed = False
        self.start()

    def start(self) -> None:
        """Start the process."""
        self.process = subprocess.Popen(self._command)
        self.started += 1

    def kill(self) -> None:
        """Kill the process, and start another one."""
        self.process.kill()
        self.process.wait()
        self.start()

    def has_ended(self) -> bool:
        """Whether the watch is over; one that could not begin is started again."""
        status = self.process.poll()
        if status == UNREACHABLE:
            self.start()
            return False
        self.failed = bool(status)
        return status is not None

    def wait(self) -> None:
        """Wait until the watch is over."""
        deadline = time.monotonic() + END_LIMIT
        while not self.has_ended():
            if time.monotonic() > deadline:
                self.process.kill()
                self.process.wait()
            threading.Event().wait(0.1)


class Writer(threading.Thread):
    """Posts the log lines of a run; what gets no reply is posted again, and may be stored twice.

    Attributes:
        late: How many lines were dated minutes before they were posted.
    """

    def __init__(self, url: str, run: str, seed: int) -> None:
        super().__init__(daemon=True)
        self._http = httpx.Client(base_url=url, trust_env=False, timeout=5)
        self._run = run
        self._random = random.Random(seed)
        self._is_over = threading.Event()
        self.late = 0

    def run(self) -> None:
        """Post lines until `finish`."""
        number = 0
        while not self._is_over.wait(self._random.uniform(0.05, 0.5)):
            count = self._random.randint(*BATCH)
            now = datetime.now(UTC)  # noqa: TID251 - a writer's clock
            if self._random.random() < LATE:
                now -= timedelta(seconds=self._random.uniform(1, 600))
                self.late += count
            fields = {"name": "chaos", "level": 20, "flow_run_id": self._run}
            rows = [
                fields | {"message": f"line {number + each}", "timestamp": now.isoformat()}
                for each in range(count)
            ]
            self.post("/logs/", rows)
            number += count

    def finish(self) -> None:
        """Post what is under way to its end."""
        self._is_over.set()
        self.join()

    def post(self, path: str, body: object) -> Any:
        """Post until the server says that it has it."""
        return post(self._http, path, body)


def post(http: httpx.Client, path: str, body: object) -> Any:
    """Post until the server says that it has it; return its reply."""
    while True:
        with suppress(httpx.HTTPError):
            response = http.post(path, json=body)
            if response.is_success:
                return response.json() if response.content else None
        threading.Event().wait(0.2)


class Chaos:
    """What is broken, and how often each was.

    Attributes:
        done: The number of times by fault.
    """

    def __init__(
        self, server: PrefectServer, watcher: Watcher, relay: ConnectionRelay, seed: int
    ) -> None:
        self._server, self._watcher, self._relay = server, watcher, relay
        self._random = random.Random(seed)
        self._faults: dict[str, Callable[[], object]] = {
            "server killed": self._kill_server,
            "server stopped": lambda: self._stop(server.pid),
            "watcher killed": watcher.kill,
            "watcher stopped": lambda: self._stop(watcher.process.pid),
            "connections cut": relay.cut,
        }
        self.done: Counter[str] = Counter()

    def go_on(self, minutes: float) -> None:
        """Break one after the other until the time is over."""
        deadline = time.monotonic() + 60 * minutes
        while time.monotonic() < deadline and not self._watcher.has_ended():
            threading.Event().wait(self._random.uniform(*PAUSES))
            fault = self._random.choice(list(self._faults))
            self._faults[fault]()
            self.done[fault] += 1

    def _kill_server(self) -> None:
        self._server.stop(kill=True)
        self._server.start()

    def _stop(self, pid: int | None) -> None:
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        threading.Event().wait(self._random.uniform(*STOPS))
        os.kill(pid, signal.SIGCONT)


EVENTS: dict[str, type[rxflow.FlowRunLog] | type[rxflow.StateChange]] = {
    "log lines": rxflow.FlowRunLog,
    "states": rxflow.StateChange,
}


def stored_rows(database: DatabaseReader, run: str) -> dict[str, set[str]]:
    """Return the ids of a run's log lines and states in the server's database."""
    return {"log lines": set(database.log_ids(run)), "states": set(database.state_ids(run))}


def report(journal: Path, stored: dict[str, set[str]]) -> bool:
    """Print how the events compare with the rows; return whether they are the same."""
    events = events_in(journal)
    end = events[-1]
    is_good = isinstance(end, rxflow.Closed) and end.verified
    print(f"the last event: {end.message}")
    for kind, rows in stored.items():
        found = Counter(event.id for event in events if isinstance(event, EVENTS[kind]))
        lost, invented = rows - found.keys(), found.keys() - rows
        repeated = found.total() - len(found)
        print(
            f"{kind:>9}: {len(rows):,} rows, {len(lost)} lost, {repeated} repeated, "
            f"{len(invented)} invented"
        )
        is_good = is_good and not (lost or repeated or invented)
    return is_good


def main() -> int:
    """Break what there is for some minutes, and print the outcome."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--minutes", type=float, default=1.0, help="for how long")
    options.add_argument("--seed", type=int, default=None, help="of the faults and the lines")
    options.add_argument("--watch", nargs=3, help=argparse.SUPPRESS)
    arguments = options.parse_args()
    if arguments.watch:
        return watch(*arguments.watch)
    seed = arguments.seed if arguments.seed is not None else random.randrange(1_000_000)
    with started_server() as server:
        relay = ConnectionRelay(httpx.URL(server.url).port or 0)
        writer = Writer(server.url, "", seed)
        flow = writer.post("/flows/", {"name": "chaos"})["id"]
        run = writer.post("/flow_runs/", {"flow_id": flow, "state": {"type": "RUNNING"}})["id"]
        writer = Writer(server.url, run, seed)
        journal = server.home / "run.jsonl"
        watcher = Watcher(run, f"http://127.0.0.1:{relay.port}/api", journal)
        chaos = Chaos(server, watcher, relay, seed)
        try:
            writer.start()
            chaos.go_on(arguments.minutes)
            writer.finish()
            writer.post(f"/flow_runs/{run}/set_state", {"state": {"type": "COMPLETED"}})
            watcher.wait()
            is_good = (
                report(journal, stored_rows(DatabaseReader(server), run)) and not watcher.failed
            )
        finally:
            watcher.process.kill()
            watcher.process.wait()
            relay.close()
    faults = ", ".join(f"{fault} {times} times" for fault, times in chaos.done.items())
    print(f"seed {seed}, {arguments.minutes:g} minutes, {watcher.started} watchers: {faults}")
    print(f"{writer.late:,} lines were dated before they were posted")
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
