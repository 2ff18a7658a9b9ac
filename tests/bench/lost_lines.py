"""Count the log lines that readers lose and repeat on a real Prefect server.

``tox exec -e prefect38pg -- python tests/bench/lost_lines.py --runs 10`` has PostgreSQL, with
``-e real`` it has SQLite. Two writers post the lines of a run in batches, as Prefect's log handler
does; one's clock is behind, some batches have one timestamp, and some are dated minutes before they
are posted. While it is written the run is read by offset and by rxflow, and once it is over by
``prefect flow-run logs``, by offset and by rxflow. What each has read is compared with the server's
database. `README.md` beside this file keeps the results.
"""

import argparse
import json
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import NamedTuple

import httpx

sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))
sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from chaos import post
from server_databases import DatabaseReader, started_server

import rxflow
from rxflow.cli._prefect_server import PrefectServer

PAGE = 200
LINES = 3_000  # of a run
BATCH = 10, 80  # lines in a request
PAUSE = 0.05, 0.25  # seconds between two requests of a writer
BEHIND = timedelta(seconds=0), timedelta(seconds=3)  # of the writers' clocks
POLL = 0.5  # seconds between two polls of the reader by offset


class Lines(NamedTuple):
    """The timestamps of a run's lines.

    Attributes:
        tied: The part of the batches whose lines have one timestamp.
        late: The part of the batches that are dated up to ten minutes before they are posted.
    """

    tied: float
    late: float


class HostileRun:
    """A run that is written to.

    Attributes:
        id: Its id.
        is_over: Set once all lines are posted and the run is completed.
    """

    def __init__(self, http: httpx.Client, random: Random, lines: Lines) -> None:
        self._http, self._random, self._lines = http, random, lines
        flow = post(http, "/flows/", {"name": "lost-lines"})["id"]
        run = {"flow_id": flow, "state": {"type": "RUNNING"}}
        self.id: str = post(http, "/flow_runs/", run)["id"]
        self.is_over = threading.Event()

    def write(self) -> None:
        """Post all lines, and complete the run."""
        writers = [
            threading.Thread(target=self._write, args=(behind, Random(self._random.random())))
            for behind in BEHIND
        ]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join()
        completed = {"state": {"type": "COMPLETED"}, "force": True}
        post(self._http, f"/flow_runs/{self.id}/set_state", completed)
        self.is_over.set()

    def _write(self, behind: timedelta, random: Random) -> None:
        fields = {"name": "lost-lines", "level": 20, "flow_run_id": self.id}
        left = LINES // len(BEHIND)
        while left:
            count = min(left, random.randint(*BATCH))
            first = datetime.now(UTC) - behind  # noqa: TID251 - a writer's clock
            if random.random() < self._lines.late:
                first -= timedelta(seconds=random.uniform(1, 600))
            step = timedelta(milliseconds=0 if random.random() < self._lines.tied else 1)
            lines = [
                fields | {"message": f"line {left - place}", "timestamp": str(first + step * place)}
                for place in range(count)
            ]
            post(self._http, "/logs/", lines)
            left -= count
            threading.Event().wait(random.uniform(*PAUSE))


# -- readers, each of which returns the ids that it has read -------------------------------------


def _pages(http: httpx.Client, run: str, offset: int) -> Iterator[list[str]]:
    """Yield pages by offset, until one is not full."""
    while True:
        query = {
            "logs": {"flow_run_id": {"any_": [run]}},
            "sort": "TIMESTAMP_ASC",
            "limit": PAGE,
            "offset": offset,
        }
        page = [row["id"] for row in post(http, "/logs/filter", query)]
        yield page
        offset += len(page)
        if len(page) < PAGE:
            return


def follow_by_offset(http: httpx.Client, run: HostileRun) -> list[str]:
    """Read what is beyond the lines that were read, until the run is over and all is read."""
    read: list[str] = []
    is_last = False
    while not is_last:
        is_last = run.is_over.wait(POLL)
        for page in _pages(http, run.id, len(read)):
            read += page
    return read


def read_by_offset(http: httpx.Client, run: str) -> list[str]:
    """Read all pages of a run that is over."""
    return [each for page in _pages(http, run, 0) for each in page]


def read_by_prefect(server: PrefectServer, run: str) -> list[str]:
    """Run ``prefect flow-run logs``."""
    command = [sys.executable, "-m", "prefect", "flow-run", "logs", run, "--output", "json"]
    shown = subprocess.run(
        command, env=server.environment, cwd=server.home, stdout=subprocess.PIPE, check=True
    )
    return [line["id"] for line in json.loads(shown.stdout)]


def read_by_rxflow(url: str, run: str) -> list[str]:
    """Watch a run to its end."""
    with rxflow.Client(api_url=url) as client:
        events = list(rxflow.watch_flow_run(run, client=client))
    end = events[-1]
    assert isinstance(end, rxflow.Closed)
    assert end.verified, end
    return [event.id for event in events if isinstance(event, rxflow.FlowRunLog)]


# -- the measurement -------------------------------------------------------------------------------


def read_run(server: PrefectServer, http: httpx.Client, run: HostileRun) -> dict[str, list[str]]:
    """Write a run, read it in each way, and return what each has read, and what is stored."""
    with ThreadPoolExecutor() as pool:
        live = {
            "by offset, while it is written": pool.submit(follow_by_offset, http, run),
            "rxflow, while it is written": pool.submit(read_by_rxflow, server.url, run.id),
        }
        run.write()
        read = {name: work.result() for name, work in live.items()}
    after: dict[str, Callable[[], list[str]]] = {
        "prefect flow-run logs, once it is over": lambda: read_by_prefect(server, run.id),
        "by offset, once it is over": lambda: read_by_offset(http, run.id),
        "rxflow, once it is over": lambda: read_by_rxflow(server.url, run.id),
    }
    read |= {name: read_again() for name, read_again in after.items()}
    return {"stored": DatabaseReader(server).log_ids(run.id), **read}


def main() -> None:
    """Write and read some runs, and print what was lost and repeated."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--runs", type=int, default=10, help="how many runs")
    options.add_argument("--tied", type=float, default=0.3, help="part of batches with one time")
    options.add_argument("--late", type=float, default=0.1, help="part of batches dated before")
    options.add_argument("--seed", type=int, default=0, help="of the lines and their times")
    arguments = options.parse_args()
    random = Random(arguments.seed)
    stored = 0
    sums: dict[str, Counter[str]] = {}
    with started_server() as server, httpx.Client(base_url=server.url, timeout=60) as http:
        for number in range(arguments.runs):
            run = HostileRun(http, random, Lines(arguments.tied, arguments.late))
            read = read_run(server, http, run)
            rows = set(read.pop("stored"))
            stored += len(rows)
            for name, ids in read.items():
                lost, repeated = len(rows - set(ids)), len(ids) - len(set(ids))
                assert set(ids) <= rows
                sums.setdefault(name, Counter()).update(
                    lost=lost, repeated=repeated, runs=int(bool(lost or repeated))
                )
                print(
                    f"run {number}: {len(rows):,} lines, {name}: {lost} lost, {repeated} repeated"
                )
    print(f"\n{arguments.runs} runs, {stored:,} lines")
    for name, found in sums.items():
        print(
            f"{name:>40}: {found['lost']:,} lost, {found['repeated']:,} repeated, "
            f"in {found['runs']} runs"
        )


if __name__ == "__main__":
    main()
