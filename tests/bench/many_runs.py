"""Measure a watch of many runs: requests, CPU and memory, from 100 runs to 10,000.

``python tests/bench/many_runs.py`` watches runs by one `RunsSession` in virtual time. The server
is a model in the same process: its replies are JSON as from Prefect 3.8.8, encoded before, so that
it costs little beside the watch, and take `LATENCY` seconds. What the transport costs is not
counted; `page_requests.py` measures that. Runs are idle, or each logs a line a minute, at random.
Each case is measured in a process of its own. `README.md` beside this file keeps the results.
"""

import argparse
import gc
import math
import multiprocessing
import platform
import sys
import tracemalloc
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from importlib.metadata import version
from random import Random
from time import process_time
from typing import NamedTuple

import msgspec
import psutil

from rxflow._backends.backend import HttpResponse
from rxflow._backends.prefect3 import Prefect3
from rxflow._models.times import Now
from rxflow._protocol.failures import Reply
from rxflow._protocol.queries import LogsQuery, Query, RunQuery, RunsQuery, StatesQuery
from rxflow._watching.runs_session import RunsSession
from rxflow._watching.session import Fetch, Wait
from rxflow._watching.watch_spec import EventSource, WatchSpec
from rxflow.testing import FakePrefect3

START = datetime(2026, 11, 28, 12, tzinfo=UTC)
LATENCY = 0.02
"""Seconds of a request: 50 groups of two requests each take 2 s, one after the other."""

SETTLED = 60.0
"""Virtual seconds after the last run has joined its group, before anything is measured."""

MEASURED = 120.0
"""Virtual seconds that are measured."""

HISTORY = 5
"""Log lines of each run when the watch begins, a minute old."""

LINE_EVERY = 60.0
"""Seconds between two lines of a run that logs, on average."""

_SOURCES = frozenset({EventSource.STATES, EventSource.LOGS, EventSource.NOTICES})
_KIB = 1024


class Model:
    """A server with some running runs, whose replies are encoded before."""

    def __init__(self, count: int, *, logs: bool) -> None:
        """Make the runs.

        Args:
            count: How many.
            logs: Whether they log while they are watched.
        """
        self.now = 0.0
        server = FakePrefect3(clock=lambda: START - timedelta(seconds=60), random=Random(0))
        self.ids = [server.add_run(state="RUNNING") for _ in range(count)]
        self._rows = {run_id: msgspec.json.encode(row) for run_id, row in server.runs.items()}
        self._states = {run_id: msgspec.json.encode(each) for run_id, each in server.states.items()}
        self._bodies: dict[tuple[str, ...], bytes] = {}  # with the rows of these runs
        self._tables: dict[tuple[str, ...], _LogTable] = {}  # of these runs
        self._tables_of: defaultdict[str, list[_LogTable]] = defaultdict(list)
        self._random = Random(1)
        self._history = {
            run_id: [self._line(run_id, START - timedelta(seconds=60)) for _ in range(HISTORY)]
            for run_id in self.ids
        }
        self._next_line = 0.0 if logs else math.inf
        self._line_bytes = 0

    @property
    def kept_bytes(self) -> int:
        """The size of what was added since the beginning."""
        return sum(map(len, self._bodies.values())) + self._line_bytes

    def reply(self, query: Query) -> HttpResponse:
        """Reply to a query."""
        while self._next_line <= self.now:
            run_id = self._random.choice(self.ids)
            line = self._line(run_id, START + timedelta(seconds=self._next_line))
            self._history[run_id].append(line)
            self._line_bytes += sum(map(sys.getsizeof, (line, *line))) + _PLACES
            for table in self._tables_of[run_id]:
                table.append(line)
            self._next_line += LINE_EVERY / len(self.ids)
        match query:
            case RunsQuery(where=where):
                body = b"[]" if where.not_in_states else self._body_of(where.flow_run_ids)
            case RunQuery(flow_run_id=run_id):
                body = self._rows[run_id]
            case StatesQuery(flow_run_id=run_id):
                body = self._states[run_id]
            case LogsQuery():
                body = _listed(self._table_of(query.flow_run_ids).page(query))
            case _:
                body = b'"3.8.8"'
        date = format_datetime(START + timedelta(seconds=self.now), usegmt=True)
        headers = {"content-type": "application/json", "date": date}
        return HttpResponse(status=200, headers=headers, body=body)

    def _body_of(self, runs: tuple[str, ...]) -> bytes:
        if runs not in self._bodies:
            self._bodies[runs] = _listed(self._rows[run_id] for run_id in runs)
        return self._bodies[runs]

    def _table_of(self, runs: tuple[str, ...]) -> "_LogTable":
        if len(runs) == 1:  # only at its beginning
            return _LogTable(self._history[runs[0]])
        if runs not in self._tables:
            self._tables[runs] = table = _LogTable(
                line for run_id in runs for line in self._history[run_id]
            )
            for run_id in runs:
                self._tables_of[run_id].append(table)
        return self._tables[runs]

    def _line(self, run_id: str, time: datetime) -> "_Line":
        number = self._random.getrandbits(128)
        row_id = f"{number:032x}"
        row = {
            "id": f"{row_id[:8]}-{row_id[8:12]}-4{row_id[13:16]}-8{row_id[17:20]}-{row_id[20:]}",
            "created": time,
            "updated": time,
            "name": "prefect.flow_runs",
            "level": 20,
            "message": f"Loaded partition {number % 1000} into the warehouse, 1284 rows",
            "timestamp": time,
            "flow_run_id": run_id,
            "task_run_id": None,
            "worker_id": None,
        }
        return time, msgspec.json.encode(row)


_Line = tuple[datetime, bytes]

_PLACES = 3 * 8  # bytes: a line is in three lists


class _LogTable:
    """The log rows of some runs, by time."""

    def __init__(self, lines: Iterable[_Line]) -> None:
        ordered = sorted(lines)
        self._times = [time for time, _ in ordered]
        self._rows = [row for _, row in ordered]

    def append(self, line: _Line) -> None:
        self._times.append(line[0])
        self._rows.append(line[1])

    def page(self, query: LogsQuery) -> list[bytes]:
        low = 0 if query.after is None else bisect_left(self._times, query.after)
        high = len(self._times)
        if query.before is not None:
            high = bisect_right(self._times, query.before)
        if query.descending:
            high -= query.offset
            return self._rows[max(low, high - query.limit) : max(low, high)][::-1]
        low += query.offset
        return self._rows[low : min(high, low + query.limit)]


def _listed(rows: Iterable[bytes]) -> bytes:
    return b"[" + b",".join(rows) + b"]"


class Measured(NamedTuple):
    """What a watch cost.

    Attributes:
        requests: A virtual second.
        cpu: Seconds a virtual second.
        interval: Seconds between two ticks of a group.
        start_cpu: Seconds of CPU until all runs were read.
        start_requests: As many.
        python_bytes: Memory above the start, as Python counts; 0 if it was not measured.
        resident_bytes: The same, resident.
        events: How many events were emitted.
    """

    requests: float
    cpu: float
    interval: float
    start_cpu: float
    start_requests: int
    python_bytes: int
    resident_bytes: int
    events: int


class Watch:
    """A watch of all runs of a model."""

    def __init__(self, model: Model) -> None:
        """Begin to watch."""
        self.model = model
        self.session = RunsSession(WatchSpec(flow_run_id="", sources=_SOURCES), Random(0))
        self.session.add(model.ids)
        self.session.complete()
        self.requests = self.ticks = self.events = 0
        self._backend = Prefect3()

    @property
    def has_caught_up(self) -> bool:
        """Whether each run has joined a group."""
        grouped = sum(len(polling.group.runs) for polling in self.session._groups)
        return grouped == len(self.model.ids)

    def step(self) -> None:
        """Carry out one command."""
        match self.session.next_command(self._now()):
            case Fetch(query):
                self.requests += 1
                self.ticks += isinstance(query, LogsQuery)
                self.model.now += LATENCY
                reply = self._send(query)
                pages = self.session.receive(reply, self._now())
                self.events += sum(len(page) for _, page in pages)
            case Wait(seconds):
                self.model.now += seconds
            case done:
                raise AssertionError(done)
        self.session.wake(self._now())

    def run_for(self, seconds: float) -> None:
        """Watch for some virtual seconds."""
        until = self.model.now + seconds
        while self.model.now < until:
            self.step()

    def _send(self, query: Query) -> Reply:
        conversation = self._backend.converse(query)
        try:
            next(conversation)
            while True:
                conversation.send(self.model.reply(query))
        except StopIteration as end:
            reply: Reply = end.value
            return reply

    def _now(self) -> Now:
        return Now(self.model.now, START + timedelta(seconds=self.model.now))


def measure(count: int, *, logs: bool, memory: bool) -> Measured:
    """Watch some runs.

    Args:
        count: How many.
        logs: Whether they log.
        memory: Whether to count what Python allocates, which takes several times the CPU.
    """
    model = Model(count, logs=logs)
    gc.collect()
    resident = psutil.Process().memory_info().rss
    if memory:
        tracemalloc.start()
    began = process_time()
    watch = Watch(model)
    while not watch.has_caught_up:
        watch.step()
    start_cpu, start_requests = process_time() - began, watch.requests
    watch.run_for(SETTLED)
    gc.collect()
    python_bytes = tracemalloc.get_traced_memory()[0] - model.kept_bytes if memory else 0
    tracemalloc.stop()
    resident = psutil.Process().memory_info().rss - resident - model.kept_bytes
    cpu, requests, ticks, time = process_time(), watch.requests, watch.ticks, model.now
    watch.run_for(MEASURED)
    seconds = model.now - time
    groups = len(watch.session._groups)
    return Measured(
        requests=(watch.requests - requests) / seconds,
        cpu=(process_time() - cpu) / seconds,
        interval=seconds * groups / max(1, watch.ticks - ticks),
        start_cpu=start_cpu,
        start_requests=start_requests,
        python_bytes=python_bytes,
        resident_bytes=resident,
        events=watch.events,
    )


def _in_process(count: int, *, logs: bool, memory: bool) -> Measured:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        measured: Measured = pool.apply(measure, (count,), {"logs": logs, "memory": memory})
        return measured


def main() -> None:
    """Measure each case, and print a row of the table for it."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--runs", default="100,1000,10000", help="how many, with commas")
    counts = [int(count) for count in options.parse_args().runs.split(",")]
    print(
        f"Python {platform.python_version()}, msgspec {version('msgspec')}; {LATENCY:g} s a request"
    )
    for logs in (False, True):
        print("a line a minute each:" if logs else "idle:")
        for count in counts:
            cost = _in_process(count, logs=logs, memory=False)
            parts = [
                f"{count:>7,} runs: a tick each {cost.interval:5.2f} s",
                f"{cost.requests:6.2f} requests/s",
                f"{cost.cpu:7.2%} of a core",
                f"{cost.cpu * cost.interval / count * 1e6:6.1f} us a run and tick",
                f"start {cost.start_requests:,} requests, {cost.start_cpu:.2f} s of CPU",
                f"resident {cost.resident_bytes / _KIB**2:.1f} MiB",
            ]
            if not logs:
                memory = _in_process(count, logs=logs, memory=True).python_bytes
                parts.append(f"{memory / count / _KIB:.2f} KiB a run")
            print(", ".join(parts), flush=True)


if __name__ == "__main__":
    main()
