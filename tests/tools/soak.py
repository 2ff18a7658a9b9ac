"""Watch a run of a real Prefect server for long, and print how much the watch grows.

``tox -e soak -- --minutes 20`` starts a server, a run with ten log lines a second, and a process
that watches it. Every few seconds the process's memory, open files and threads are read; after a
quarter of the time, in which it warms up, a line is fitted to each. At the end the run is over, and
the watch must have had every line. Exits 1 if it had not, or if files or threads become more.
"""

import argparse
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import psutil

sys.path.insert(0, str(Path(__file__).parent))

from chaos import Writer

import rxflow
from rxflow.cli._prefect_server import PrefectServer

LINES = 20  # in a request
PAUSE = 2.0  # seconds between two requests, as Prefect's log handler has
INTERVAL = 5.0  # seconds between two samples
END_LIMIT = 240  # seconds until the watch must have ended


class Sample(NamedTuple):
    """What a process holds.

    Attributes:
        hours: Since the beginning.
        kilobytes: Of resident memory.
        files: Open descriptors.
        threads: Its threads.
    """

    hours: float
    kilobytes: float
    files: int
    threads: int


def watch(run: str, url: str) -> int:
    """Watch a run, as the process that is measured; print how it ended."""
    with rxflow.Client(api_url=url) as client:
        for event in rxflow.watch_flow_run(run, max_duration=None, client=client):
            if isinstance(event, rxflow.Closed):
                print(event.log_count, event.verified)
    return 0


def slope(samples: Sequence[Sample], field: str) -> float:
    """Return by how much a field grows in an hour, by the method of least squares."""
    hours = [sample.hours for sample in samples]
    values: list[float] = [getattr(sample, field) for sample in samples]
    mean_hour, mean = sum(hours) / len(hours), sum(values) / len(values)
    spread = sum((hour - mean_hour) ** 2 for hour in hours)
    pairs = zip(hours, values, strict=True)
    return sum((hour - mean_hour) * (value - mean) for hour, value in pairs) / spread


def samples_of(process: psutil.Process, minutes: float, writer: Writer, run: str) -> list[Sample]:
    """Post lines for some minutes, and read meanwhile what a process holds."""
    began = sampled = time.monotonic()
    samples: list[Sample] = []
    number = 0
    while (now := time.monotonic()) < began + 60 * minutes:
        stamp = datetime.now(UTC).isoformat()  # noqa: TID251 - a writer's clock
        fields = {"name": "soak", "level": 20, "flow_run_id": run, "timestamp": stamp}
        writer.post("/logs/", [fields | {"message": f"line {number + n}"} for n in range(LINES)])
        number += LINES
        if now >= sampled + INTERVAL:
            sampled = now
            memory = process.memory_info().rss / 1000
            sample = Sample((now - began) / 3600, memory, process.num_fds(), process.num_threads())
            samples.append(sample)
        threading.Event().wait(max(0.0, PAUSE - (time.monotonic() - now)))
    return samples


def report(samples: Sequence[Sample]) -> bool:
    """Print what grew; return whether the number of files and threads did not."""
    warm = samples[len(samples) // 4 :]
    for field in ("kilobytes", "files", "threads"):
        first, last = getattr(warm[0], field), getattr(warm[-1], field)
        print(f"{field:>9}: {first:,.0f} to {last:,.0f}, {slope(warm, field):+,.1f} an hour")
    return all(
        getattr(warm[-1], field) <= getattr(warm[0], field) for field in ("files", "threads")
    )


def main() -> int:
    """Watch for some minutes, and print the outcome."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--minutes", type=float, default=20.0, help="for how long")
    options.add_argument("--watch", nargs=2, help=argparse.SUPPRESS)
    arguments = options.parse_args()
    if arguments.watch:
        return watch(*arguments.watch)
    with PrefectServer() as server:
        writer = Writer(server.url, "", seed=0)
        flow = writer.post("/flows/", {"name": "soak"})["id"]
        run = writer.post("/flow_runs/", {"flow_id": flow, "state": {"type": "RUNNING"}})["id"]
        command = [sys.executable, __file__, "--watch", run, server.url]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as watcher:
            try:
                samples = samples_of(psutil.Process(watcher.pid), arguments.minutes, writer, run)
                writer.post(f"/flow_runs/{run}/set_state", {"state": {"type": "COMPLETED"}})
                end, _ = watcher.communicate(timeout=END_LIMIT)
            finally:
                watcher.kill()
    is_flat = report(samples)
    lines, verified = end.split()
    print(f"{arguments.minutes:g} minutes, {lines} lines, verified: {verified}")
    return 0 if is_flat and verified == "True" else 1


if __name__ == "__main__":
    sys.exit(main())
