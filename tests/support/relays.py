"""Relays on an event loop in a thread of their own, over a broker in memory.

A relay that is stopped, as by SIGSTOP, sends nothing to the broker until it goes on; one that is
killed never does. Neither hands its lease over.
"""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

from virtual_world import TEST_TIMEOUT

from rxflow import FlowRunEvent
from rxflow._watching.watch_spec import WatchSpec
from rxflow.relay._memory import MemoryBroker, MemoryStore
from rxflow.relay._pages import Unpacker
from rxflow.relay._service import Relay, RelayOptions
from rxflow.testing import FakePrefect3

LEASE = 0.3
"""Seconds after which a relay takes over."""

SPEC = WatchSpec(flow_run_id="", drain=0)

_names = count()


class RunningRelay:
    """One relay.

    Attributes:
        relay: The relay.
        broker: Its connection.
        reports: What it has reported.
    """

    def __init__(self, relays: "Relays", options: RelayOptions) -> None:
        """Create and start it; to be called on the loop of the relays."""
        self.reports: list[str] = []
        self.broker: MemoryBroker = relays.store.connect()
        client = relays.server.client()
        self.relay = Relay(self.broker, client, options, self.reports.append)
        self._relays = relays
        self._stop = asyncio.Event()
        self.task = asyncio.create_task(self.relay.run(self._stop))

    @property
    def held(self) -> frozenset[int]:
        """The shards that it watches."""
        return self.relay._shares.held

    def pause(self) -> None:
        """Stop it, as by SIGSTOP."""
        self._relays.call(self.broker.pause)

    def resume(self) -> None:
        """Let it go on."""
        self._relays.call(self.broker.resume)

    def end(self) -> None:
        """End it as by SIGTERM, and wait until it has ended."""
        self._relays.call(self._stop.set)
        self._relays.wait_for(self._join())

    async def _join(self) -> None:
        await self.task


class Relays:
    """Some relays over one store; `relays` makes it.

    Attributes:
        server: Prefect's server.
        store: The broker.
        url: The URL for its readers.
    """

    def __init__(self, server: FakePrefect3) -> None:
        """Start a loop without relays."""
        self.server = server
        name = f"test-{next(_names)}"
        self.url = f"memory://{name}"
        self.store = MemoryStore.named(name)
        self._started: list[RunningRelay] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="relays")
        self._thread.start()

    def start(self, **options: Any) -> RunningRelay:
        """Start another relay."""
        given = RelayOptions(**{"lease_seconds": LEASE, "spec": SPEC, **options})

        async def start() -> RunningRelay:
            return RunningRelay(self, given)

        relay: RunningRelay = self.wait_for(start())
        self._started.append(relay)
        return relay

    def call(self, function: Callable[[], object]) -> None:
        """Call a function on the loop."""
        self._loop.call_soon_threadsafe(function)

    def wait_for(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run work on the loop, and return its result."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(TEST_TIMEOUT)

    def events_of(self, run_id: str) -> list[FlowRunEvent]:
        """Return the events in a run's log, which is whole."""
        unpacker = Unpacker(run_id)
        pages = self.store.read(("default", run_id), 0, 10**6)
        return [event for page in pages for event in unpacker.take(page).events]

    def close(self) -> None:
        """End all relays and the loop."""
        for relay in self._started:
            self.call(relay.broker.resume)
        self.wait_for(self._cancel_all())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _cancel_all(self) -> None:
        tasks = [relay.task for relay in self._started]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@contextmanager
def relays(server: FakePrefect3) -> Iterator[Relays]:
    """Yield relays of a server; at the end all have ended."""
    started = Relays(server)
    try:
        yield started
    finally:
        started.close()


def wait_until(condition: Callable[[], object], timeout: float = TEST_TIMEOUT) -> None:
    """Wait until a condition holds; fail after a timeout, in seconds."""
    pause = threading.Event()
    for _ in range(int(timeout / 0.02)):
        if condition():
            return
        pause.wait(0.02)
    raise AssertionError(f"after {timeout:g} s it does not hold: {condition}")
