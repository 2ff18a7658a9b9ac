"""Measure a log line: the CPU and the memory of a watch, beside the barest loop possible.

``python tests/bench/lines.py`` (or ``tox -e bench``) watches an ended run of 100,000 lines.
An httpx transport in this process responds with pages that were encoded before, so the server costs
next to nothing, and the same in each loop. Only figures of one run are compared: CPU seconds of one
machine say little about another. `README.md` beside this file keeps the results.
``--profile FILE`` writes a cProfile of the watch in place of measuring; ``--growth`` measures only
what a line costs in shorter and longer runs.
"""

import argparse
import cProfile
import gc
import gzip
import multiprocessing
import platform
import tracemalloc
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.metadata import version
from multiprocessing.connection import Connection
from random import Random
from time import process_time
from typing import Any, NamedTuple

import httpx
import msgspec
import psutil

from rxflow import Client, watch_flow_run
from rxflow.events import Closed, FlowRunLog
from rxflow.testing._rows import uuid7

try:
    from prefect.client.schemas.objects import Log as PrefectLog
except ImportError:
    PrefectLog = None  # type: ignore[assignment,misc,unused-ignore]

LINES = 100_000
PAGE = 200
ROUNDS = 5
GROWTH = (1_000, 10_000, 100_000, 1_000_000)
MIB = 1024 * 1024
GOAL_RATIO = 1.15  # watch beside bare
LEAN_GOAL_RATIO = 1.6  # watch beside lean
GOAL_MIB = 5.0

URL = "http://lines.invalid/api"
RUN_ID = "9e6caafc-4ea1-4493-b0a9-122efba9eaaa"
START = datetime(2026, 11, 22, 12, tzinfo=UTC)
STEP = timedelta(milliseconds=10)

_JSON = {"content-type": "application/json"}
_encode = msgspec.json.Encoder().encode


class Row(msgspec.Struct):
    """A log row as Prefect 3 sends it, for a loop that does nothing with it."""

    id: str
    created: datetime
    updated: datetime
    name: str
    level: int
    message: str
    timestamp: datetime
    flow_run_id: str
    task_run_id: str | None


class _Time(msgspec.Struct):
    after_: datetime | None = None
    before_: datetime | None = None


class _Where(msgspec.Struct):
    timestamp: _Time = msgspec.field(default_factory=_Time)


class _LogsBody(msgspec.Struct):
    logs: _Where
    offset: int
    limit: int
    sort: str


_rows = msgspec.json.Decoder(list[Row]).decode
_logs_body = msgspec.json.Decoder(_LogsBody).decode


class Lines(httpx.BaseTransport):
    """A server of one run, whose pages were encoded before.

    Args:
        zipped: Whether to compress responses, as Prefect does if the client accepts it.
        count: The run's lines. Pages of more than 100,000 lines are encoded when they are
            requested, and are not kept.
    """

    def __init__(self, *, zipped: bool, count: int = LINES) -> None:
        end = START + STEP * count
        self._headers = _JSON | {"date": format_datetime(end + timedelta(hours=1), usegmt=True)}
        self._headers |= {"content-encoding": "gzip"} if zipped else {}
        self._zip = (lambda body: gzip.compress(body, 5)) if zipped else bytes
        self._count = count
        self._pages: dict[tuple[int, ...], bytes] = {}
        states = [_state("RUNNING", START), _state("COMPLETED", end)]
        self._fixed = {
            "/api/admin/version": self._zip(_encode("3.8.8")),
            f"/api/flow_runs/{RUN_ID}": self._zip(_encode(_run(states[-1]))),
            "/api/flow_run_states/": self._zip(_encode(states)),
        }
        # The pages of a reader by offset, and of one whose next page begins with the last row of
        # the one before. Others are encoded when they are requested.
        if count <= LINES:
            for step in (PAGE, PAGE - 1):
                for first in range(0, count, step):
                    rows = (first, min(count, first + PAGE))
                    self._pages[rows] = self._encoded(*rows)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Respond to one request."""
        body = self._fixed.get(request.url.path) or self._page(_logs_body(request.read()))
        return httpx.Response(200, headers=self._headers, stream=httpx.ByteStream(body))

    def _page(self, wanted: _LogsBody) -> bytes:
        after, before = wanted.logs.timestamp.after_, wanted.logs.timestamp.before_
        first = 0 if after is None else -((START - after) // STEP)
        end = self._count if before is None else (before - START) // STEP + 1
        if wanted.sort == "TIMESTAMP_DESC":  # as the audit of a short run reads
            end -= wanted.offset
            return self._encoded(end - 1, max(first, end - wanted.limit) - 1, -1)
        first += wanted.offset
        rows = (first, min(end, first + wanted.limit))
        return self._pages.get(rows) or self._encoded(*rows)

    def _encoded(self, *numbers: int) -> bytes:
        return self._zip(_encode([_row(number) for number in range(*numbers)]))


def _row(number: int) -> dict[str, Any]:
    time = START + STEP * number
    stored = time + timedelta(seconds=1)
    return {
        "id": uuid7(stored, Random(number)),
        "created": stored,
        "updated": stored,
        "name": "prefect.flow_runs",
        "level": 20,
        "message": f"Loaded partition {number} of {LINES} into the warehouse, 1284 rows",
        "timestamp": time,
        "flow_run_id": RUN_ID,
        "task_run_id": None,
    }


def _state(kind: str, time: datetime) -> dict[str, Any]:
    name = kind.capitalize()
    return {"id": str(uuid.uuid5(uuid.NAMESPACE_OID, kind)), "type": kind, "name": name} | {
        "timestamp": time
    }


def _run(state: dict[str, Any]) -> dict[str, Any]:
    row = {"id": RUN_ID, "name": "brisk-otter", "created": START, "updated": state["timestamp"]}
    return row | {"state": state, "state_id": state["id"]}


# -- servers ------------------------------------------------------------------------------------


class Server(NamedTuple):
    """A server: by its URL, and in this process or not."""

    url: str
    transport: Lines | None


@contextmanager
def in_another_process(count: int = LINES) -> Iterator[Server]:
    """The server in a process of its own, over loopback HTTP, with gzip as Prefect sends it."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_serve, args=(theirs, count))
    process.start()
    try:
        yield Server(f"http://127.0.0.1:{ours.recv()}/api", None)
    finally:
        process.terminate()
        process.join()


def _serve(port: Connection, count: int) -> None:
    lines = Lines(zipped=True, count=count)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # one packet a response

        def do_GET(self) -> None:
            content = self.rfile.read(int(self.headers.get("content-length", 0)))
            request = httpx.Request(self.command, f"http://x{self.path}", content=content)
            response = lines.handle_request(request)
            body = b"".join(response.iter_raw())
            self.send_response_only(200)
            for name, value in response.headers.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET  # noqa: N815 - the base class's name

    server = HTTPServer(("127.0.0.1", 0), Handler)
    port.send(server.server_port)
    server.serve_forever()


# -- what is measured ---------------------------------------------------------------------------


def watch(server: Server) -> Iterator[int]:
    """Follow the run with rxflow."""
    with Client(api_url=server.url, transport=server.transport) as client:
        for event in watch_flow_run(RUN_ID, client=client):
            if isinstance(event, FlowRunLog):
                yield event.level
            elif isinstance(event, Closed) and not event.verified:
                raise AssertionError("the watch could not prove that it emitted all lines")


def bare(server: Server) -> Iterator[int]:
    """Read the pages with httpx and msgspec, by offset, and trust the server's order."""
    for content in _contents(server):
        for row in _rows(content):
            yield row.level


def lean(server: Server) -> Iterator[int]:
    """Do the same without a client: an httpx transport, and each part of a request by hand."""
    with server.transport or httpx.HTTPTransport() as http:
        url = httpx.URL(f"{server.url}/logs/filter")
        headers = {**_JSON, "accept-encoding": "gzip"}
        for body in _bodies():
            request = httpx.Request("POST", url, content=body, headers=headers)
            for row in _rows(http.handle_request(request).read()):
                yield row.level


def prefects_models(server: Server) -> Iterator[int]:
    """Do the same as `bare` with the models of Prefect's own client."""
    for content in _contents(server):
        for row in PrefectLog.model_validate_list(msgspec.json.decode(content)):
            yield row.level


def _contents(server: Server) -> Iterator[bytes]:
    with httpx.Client(base_url=server.url, transport=server.transport, trust_env=False) as http:
        for body in _bodies():
            yield http.post("/logs/filter", content=body, headers=_JSON).content


def _bodies() -> Iterator[bytes]:
    for offset in range(0, LINES + 1, PAGE):
        where = {"flow_run_id": {"any_": [RUN_ID]}}
        body = {"logs": where, "sort": "TIMESTAMP_ASC", "offset": offset, "limit": PAGE}
        yield _encode(body)


Loop = Callable[[Server], Iterator[int]]


def cpu(loop: Loop, server: Server, count: int = LINES) -> float:
    """CPU seconds of one pass."""
    gc.collect()
    began = process_time()
    emitted = sum(1 for _ in loop(server))
    spent = process_time() - began
    assert emitted == count, emitted
    return spent


def cpu_of(loops: list[Loop], server: Server) -> dict[Loop, float]:
    """The least CPU seconds of each loop; they take turns, so that a slow moment hits all."""
    for loop in loops:
        cpu(loop, server)  # warm up
    rounds = [[cpu(loop, server) for loop in loops] for _ in range(ROUNDS)]
    return {loop: min(spent) for loop, spent in zip(loops, zip(*rounds, strict=True), strict=True)}


def memory(server: Server) -> tuple[float, float]:
    """The MiB of a watch at its peak above its start: by tracemalloc, and resident."""
    process = psutil.Process()
    gc.collect()
    start = most = process.memory_info().rss
    for number, _ in enumerate(watch(server)):
        if number % PAGE == 0:
            most = max(most, process.memory_info().rss)
    return traced_peak(server), (most - start) / MIB


def traced_peak(server: Server) -> float:
    """The MiB of a watch at its peak above its start, by tracemalloc."""
    gc.collect()
    tracemalloc.start()
    for _ in watch(server):
        pass
    _, traced = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return traced / MIB


def growth() -> Iterator[str]:
    """Watch runs of different lengths, and yield a table of what a line and a watch cost."""
    yield "\nlonger runs over loopback HTTP, gzip: CPU of the reader, peak by tracemalloc"
    for count in GROWTH:
        with in_another_process(count) as server:
            rounds = ROUNDS if count <= LINES else 1
            spent = min(cpu(watch, server, count) for _ in range(rounds))
            peak = traced_peak(server)
        yield f"{count:11,} lines{spent / count * 1e6:9.2f} us a line{peak:9.2f} MiB"


def report() -> Iterator[str]:
    """Measure, and yield the report line by line."""
    loops: list[Loop] = [bare, lean, watch]
    if PrefectLog is not None:
        loops.append(prefects_models)
    names = ("rxflow-prefect", "httpx", "msgspec", "reactivex")
    versions = ", ".join(f"{name} {version(name)}" for name in names)
    yield f"{LINES:,} lines in pages of {PAGE}; Python {platform.python_version()}, {versions}"
    # Memory first: a process that was larger before has free room.
    server = Server(URL, Lines(zipped=False))
    traced, resident = memory(server)
    yield f"\nmemory of a watch above its start (goal: under {GOAL_MIB:g} MiB)"
    yield f"  {'tracemalloc':16}{traced:7.2f} MiB\n  {'resident':16}{resident:7.2f} MiB"
    yield from _compared("responses from this process, plain", loops, server)
    with in_another_process() as server:
        yield from _compared("responses over loopback HTTP, gzip", loops, server)
    yield from growth()
    yield f"\nGoals of watch over loopback HTTP: at most {GOAL_RATIO:g} x beside bare, and"
    yield f"{LEAN_GOAL_RATIO:g} x beside lean"
    if PrefectLog is None:
        yield "Prefect's own models were not measured: prefect is not installed."


def _compared(title: str, loops: list[Loop], server: Server) -> Iterator[str]:
    spent = cpu_of(loops, server)
    yield f"\n{title}: CPU of the reader, best of {ROUNDS}; beside bare, beside lean"
    for loop in loops:
        ratios = "".join(f"{spent[loop] / spent[beside]:7.2f} x" for beside in (bare, lean))
        yield f"  {loop.__name__:16}{spent[loop] / LINES * 1e6:7.2f} us a line{ratios}"


def main() -> None:
    """Measure, or profile."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", metavar="FILE")
    parser.add_argument("--growth", action="store_true", help="measure longer runs alone")
    options = parser.parse_args()
    path = options.profile
    if path is not None:
        server = Server(URL, Lines(zipped=False))
        cpu(watch, server)
        profile = cProfile.Profile()
        profile.runcall(cpu, watch, server)
        profile.dump_stats(path)
        return
    for line in growth() if options.growth else report():
        print(line, flush=True)


if __name__ == "__main__":
    main()
