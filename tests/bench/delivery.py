"""Measure how soon a change is delivered, and how many lines of a burst, by a real Prefect server.

``python tests/bench/delivery.py`` (or ``tox -e bench``) starts a Prefect server with log streaming
on, and three readers of each run, in processes of their own: a watch of rxflow's that lets the
server announce changes, one that polls alone, and Prefect's own ``FlowRunSubscriber``, which reads
events and lines from websockets. A writer sets states and posts
log lines by REST. The time of a change is from its request to its delivery, by the clock that all
processes of a machine share. It takes six minutes; ``--quick`` takes two, with fewer changes.
`README.md` beside this file keeps the results.
"""

import argparse
import asyncio
import platform
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from importlib.metadata import version
from pathlib import Path
from statistics import median, quantiles
from time import monotonic
from time import sleep as pause  # noqa: TID251 - the writer's pace
from typing import Literal, NamedTuple, Self
from uuid import UUID

import httpx

import rxflow
from rxflow.cli._prefect_server import PrefectServer

STREAMING = {
    "PREFECT_SERVER_LOGS_STREAM_OUT_ENABLED": "true",
    "PREFECT_SERVER_LOGS_STREAM_PUBLISHING_ENABLED": "true",
}

CHANGES = {1.0: 100, 7.0: 20}
"""How many changes to time, by the seconds between two of them."""
QUICK_CHANGES = {1.0: 10, 7.0: 3}

LINES = 2_000
BURST = 2.0
"""Seconds in which the lines are written."""
BATCHES = (100, 500, 1_000)
"""Lines a request. Prefect's handler uploads every two seconds what was logged in them."""

READY_LIMIT = 60.0
"""Seconds until both readers are connected; importing prefect takes most of them."""
END_LIMIT = 45.0
"""Seconds after its end in which a run's readers must end, too."""
REQUEST_LIMIT = 60.0
BUSY_PAUSE = 0.1
POLL = 0.05


# -- readers, each in a process of its own ------------------------------------------------------


async def watched(flow_run_id: str, push: Literal["auto", False] = "auto") -> AsyncIterator[str]:
    """Yield what rxflow delivers: that it is ready, ids of states, messages of log lines."""
    async for event in rxflow.watch_flow_run(flow_run_id, push=push):
        match event:
            case rxflow.RunSeen():
                yield "ready"
            case rxflow.StateChange():
                yield event.id
            case rxflow.FlowRunLog():
                yield event.message


async def subscribed(flow_run_id: str) -> AsyncIterator[str]:
    """Yield the same of what Prefect's subscriber delivers; its events have the ids of states."""
    from prefect.events.schemas.events import Event  # noqa: PLC0415 - not in rxflow's process
    from prefect.events.subscribers import FlowRunSubscriber  # noqa: PLC0415

    async with FlowRunSubscriber(flow_run_id=UUID(flow_run_id)) as subscriber:
        yield "ready"
        async for item in subscriber:
            yield str(item.id) if isinstance(item, Event) else item.message


READERS: dict[str, Callable[[str], AsyncIterator[str]]] = {
    "rxflow": watched,
    "rxflow-polls": partial(watched, push=False),
    "prefect": subscribed,
}


async def read(reader: str, flow_run_id: str) -> None:
    """Print each item that a reader delivers, with its time, as it comes."""
    async for item in READERS[reader](flow_run_id):
        # In one write: the output of all readers goes to one file.
        sys.stdout.write(f"item {reader} {flow_run_id} {monotonic()} {item}\n")
        sys.stdout.flush()


# -- the writer ---------------------------------------------------------------------------------


class Writer:
    """Sets states and writes log lines, as flows do, by REST."""

    def __init__(self, server: PrefectServer) -> None:
        self._http = httpx.Client(base_url=server.url, timeout=REQUEST_LIMIT, trust_env=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def new_run(self) -> str:
        """Create a run that nothing executes."""
        flow = self._post("/flows/", {"name": "bench"})
        run = {"flow_id": flow["id"], "state": {"type": "PENDING"}}
        return str(self._post("/flow_runs/", run)["id"])

    def set_state(self, flow_run_id: str, kind: str) -> tuple[str, float]:
        """Set a state; return its id, and when the request was sent that the server accepted."""
        body = {"state": {"type": kind}, "force": True}
        while True:
            sent = monotonic()
            response = self._http.post(f"/flow_runs/{flow_run_id}/set_state", json=body)
            if response.status_code == httpx.codes.CREATED:
                return response.json()["state"]["id"], sent
            _check_busy(response)

    def log(self, flow_run_id: str, messages: list[str]) -> None:
        """Write log lines in one request."""
        now = datetime.now(UTC)  # noqa: TID251 - a writer's clock
        row = {"name": "bench", "level": 20, "flow_run_id": flow_run_id}
        step = timedelta(microseconds=1)
        rows = [
            row | {"message": message, "timestamp": (now + step * number).isoformat()}
            for number, message in enumerate(messages)
        ]
        self._post("/logs/", rows)

    def _post(self, path: str, body: object) -> dict[str, str]:
        while True:
            response = self._http.post(path, json=body)
            if response.is_success:
                posted: dict[str, str] = response.json() if response.content else {}
                return posted
            _check_busy(response)


def _check_busy(response: httpx.Response) -> None:
    """Raise unless the server is busy: SQLite refuses a write where another one is under way."""
    if response.status_code != httpx.codes.SERVICE_UNAVAILABLE:
        response.raise_for_status()
        raise AssertionError(f"the server did not accept it: {response.text}")
    pause(BUSY_PAUSE)


# -- one run and its readers --------------------------------------------------------------------


class ReadRun:
    """A run that both readers read from its beginning to its end.

    Attributes:
        id: The flow run id.
        running: The readers that did not end in time.
    """

    def __init__(self, server: PrefectServer, writer: Writer) -> None:
        self._log = server.log_path(Path(__file__).stem)
        self._writer = writer
        self.id = writer.new_run()
        self._processes: dict[str, subprocess.Popen[bytes]] = {
            reader: server.spawn_script(Path(__file__), "--read", reader, self.id)
            for reader in READERS
        }
        self.running: list[str] = []
        deadline = monotonic() + READY_LIMIT
        while any("ready" not in self.delivered(reader) for reader in READERS):
            if monotonic() > deadline or self._ended():
                raise RuntimeError(f"a reader is not ready: {self._log.read_text()[-2000:]}")
            pause(POLL)

    def delivered(self, reader: str) -> dict[str, float]:
        """Return when a reader delivered each item first."""
        items: dict[str, float] = {}
        for line in self._log.read_text().splitlines():
            match line.split(" ", 4):
                case ["item", name, run, time, item] if (name, run) == (reader, self.id):
                    items.setdefault(item, float(time))
        return items

    def end(self) -> None:
        """End the run, and wait until its readers end; one that does not is killed."""
        self._writer.set_state(self.id, "COMPLETED")
        deadline = monotonic() + END_LIMIT
        for reader, process in self._processes.items():
            try:
                process.wait(max(0.0, deadline - monotonic()))
            except subprocess.TimeoutExpired:
                self.running.append(reader)
                process.kill()
                process.wait()

    def _ended(self) -> bool:
        return any(process.poll() is not None for process in self._processes.values())


# -- what is measured ---------------------------------------------------------------------------


class Delays(NamedTuple):
    """The delays of a reader.

    Attributes:
        delays: Seconds, of the changes that it delivered.
        changes: How many changes there were.
    """

    delays: list[float]
    changes: int

    def __str__(self) -> str:
        count = f"{len(self.delays)} of {self.changes}"
        if len(self.delays) < 2:
            return f"{count:>12}"
        last = quantiles(self.delays, n=100, method="inclusive")[-1]
        return f"{median(self.delays):9.3f} s{last:9.3f} s{count:>12}"


def timed_changes(run: ReadRun, writer: Writer, gap: float, count: int) -> dict[str, Delays]:
    """Change the state of a run in even steps, and time the delivery of each change."""
    sent: dict[str, float] = {}
    writer.log(run.id, ["a line"])  # as every flow does; that it is announced shows that others are
    for _ in range(count):
        pause(gap)
        state_id, at = writer.set_state(run.id, "RUNNING")
        sent[state_id] = at
    pause(gap)
    run.end()
    found: dict[str, Delays] = {}
    for reader in READERS:
        items = run.delivered(reader)
        found[reader] = Delays([items[key] - at for key, at in sent.items() if key in items], count)
    return found


def burst(run: ReadRun, writer: Writer, batch: int) -> dict[str, int]:
    """Write the lines of a burst, and count those that each reader delivers."""
    writer.set_state(run.id, "RUNNING")
    messages = [f"line-{number}" for number in range(LINES)]
    began = monotonic()
    for first in range(0, LINES, batch):
        pause(max(0.0, began + first / LINES * BURST - monotonic()))
        writer.log(run.id, messages[first : first + batch])
    run.end()
    return {reader: len(run.delivered(reader).keys() & {*messages}) for reader in READERS}


def report(changes: dict[float, int]) -> Iterator[str]:
    """Measure, and yield the report line by line."""
    names = ("rxflow-prefect", "httpx", "websockets", "prefect")
    versions = ", ".join(f"{name} {version(name)}" for name in names)
    yield f"Python {platform.python_version()}, {versions}"
    with PrefectServer(settings=STREAMING) as server, Writer(server) as writer:
        yield "\nfrom the request that sets a state to its delivery"
        yield f"  {'':35}{'median':>11}{'p99':>11}{'delivered':>12}"
        for gap, count in changes.items():
            run = ReadRun(server, writer)
            for reader, delays in timed_changes(run, writer, gap, count).items():
                note = _still_running(run, reader)
                yield f"  {reader:15}{gap:3g} s between changes {delays}{note}"
        yield f"\nlines delivered of {LINES:,} written in {BURST:g} s"
        for batch in BATCHES:
            run = ReadRun(server, writer)
            for reader, count in burst(run, writer, batch).items():
                note = _still_running(run, reader)
                yield f"  {reader:15}{batch:5,} in a request{count:12,}{note}"


def _still_running(run: ReadRun, reader: str) -> str:
    return f"  did not end within {END_LIMIT:g} s" if reader in run.running else ""


def main() -> None:
    """Measure, or read one run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="time fewer changes")
    parser.add_argument("--read", nargs=2, metavar=("READER", "FLOW_RUN_ID"), help="read a run")
    arguments = parser.parse_args()
    if arguments.read:
        asyncio.run(read(*arguments.read))
        return
    for line in report(QUICK_CHANGES if arguments.quick else CHANGES):
        print(line, flush=True)


if __name__ == "__main__":
    main()
