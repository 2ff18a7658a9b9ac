"""Watches that are read to their end, left within an event, or killed, on each face.

For watches that go on from a file: the next one begins where the test says.
"""

import asyncio
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import aclosing, closing
from itertools import islice
from typing import Any

import pytest
from reactivex import operators as ops
from stream_faces import collect_async
from virtual_world import TEST_TIMEOUT, Recording

from rxflow import FlowRunEvent
from rxflow.stream import Stream

Events = Stream[FlowRunEvent]
Leave = Callable[[Events, int], list[FlowRunEvent]]
Read = Callable[[Events], list[FlowRunEvent]]
Key = tuple[str, ...]


def keys(events: Sequence[FlowRunEvent]) -> list[Key]:
    """Return the kinds and ids of events."""
    return [(event.kind, getattr(event, "id", "")) for event in events]


# -- left within an event -------------------------------------------------------------------------


def in_loop(stream: Events, count: int) -> list[FlowRunEvent]:
    """Leave a loop while it handles an event."""
    with closing(iter(stream)) as events:
        return list(islice(events, count))


def in_piped_loop(stream: Events, count: int) -> list[FlowRunEvent]:
    """Leave a loop over a pipeline while it handles an event."""
    with closing(iter(stream.pipe(ops.filter(lambda _: True), ops.map(lambda e: e)))) as events:
        return list(islice(events, count))


def in_async_loop(stream: Events, count: int) -> list[FlowRunEvent]:
    """Leave an ``async for`` while it handles an event."""

    async def collect() -> list[FlowRunEvent]:
        taken: list[FlowRunEvent] = []
        async with aclosing(aiter(stream)) as events:
            while len(taken) < count and (event := await anext(events, None)) is not None:
                taken.append(event)
        return taken

    return asyncio.run(collect())


def in_cancelled_task(stream: Events, count: int) -> list[FlowRunEvent]:
    """Cancel the task of an ``async for`` while it handles an event."""
    taken: list[FlowRunEvent] = []
    handling = asyncio.Event()

    async def collect() -> None:
        async for event in stream:
            taken.append(event)
            if len(taken) >= count:
                handling.set()
                await asyncio.Event().wait()
        handling.set()

    async def cancel() -> None:
        task = asyncio.create_task(collect())
        await handling.wait()
        task.cancel()
        await asyncio.wait([task])

    asyncio.run(cancel())
    return taken


def by_take(stream: Events, count: int) -> list[FlowRunEvent]:
    """Subscribe, and let `take` end the subscription within an event."""
    recording: Recording[FlowRunEvent] = Recording(lambda: 0.0)
    recording.subscribe_to(stream.pipe(ops.take(count)))
    recording.wait()
    assert recording.error is None
    return recording.values


def in_failing_observer(stream: Events, count: int) -> list[FlowRunEvent]:
    """Subscribe an observer that raises while it handles an event."""
    taken: list[FlowRunEvent] = []
    recording: Recording[Any] = Recording(lambda: 0.0)

    def handle(event: FlowRunEvent) -> None:
        taken.append(event)
        if len(taken) == count:
            raise RuntimeError("broken")

    recording.subscribe_to(stream.pipe(ops.do_action(handle)))
    recording.wait()
    return taken


# -- read to the end ------------------------------------------------------------------------------


def by_subscription(stream: Events) -> list[FlowRunEvent]:
    """Subscribe without a scheduler; return all events, or raise the error."""
    recording: Recording[FlowRunEvent] = Recording(lambda: 0.0)
    recording.subscribe_to(stream)
    recording.wait()
    if recording.error is not None:
        raise recording.error
    return recording.values


READS: dict[str, Read] = {
    "loop": list,
    "async loop": collect_async,
    "subscription": by_subscription,
}
each_read = pytest.mark.parametrize("read", READS.values(), ids=READS)


# -- killed ---------------------------------------------------------------------------------------

_LOOPS = {
    "loop": """
for event in stream:
    handle(event)
""",
    "async loop": """
async def main():
    async for event in stream:
        handle(event)
asyncio.run(main())
""",
    "subscription": """
stream.pipe(ops.do_action(handle)).run(TimeoutScheduler())
""",
}
each_loop = pytest.mark.parametrize("face", _LOOPS)

_WATCHER = """
import asyncio, os, sys
import rxflow
from reactivex import operators as ops
from reactivex.scheduler import TimeoutScheduler

url, path, *runs = sys.argv[1:]
client = rxflow.Client(api_url=url)
stream = {stream}
handled = 0

def handle(event):
    global handled
    row = getattr(event, "id", "")
    os.write(1, f"{{event.flow_run_id}} {{event.kind}} {{row}}\\n".encode())
    handled += 1
    if {acks} and handled % {acks} == 0:
        stream.ack(event)
{loop}
"""


class Victim:
    """A process that watches runs, and prints each event that it is handed.

    Attributes:
        process: The process.
    """

    def __init__(
        self, face: str, stream: str, url: str, path: object, *runs: str, acks: int = 0
    ) -> None:
        """Start the process.

        Args:
            face: How it reads the stream, as `each_loop` names it.
            stream: The stream, as an expression of ``runs``, ``path`` and ``client``.
            url: The server's.
            path: What the watch goes on from.
            runs: The ids of the runs.
            acks: Of how many events it acknowledges each last one; 0 for none.
        """
        program = _WATCHER.format(stream=stream, loop=_LOOPS[face], acks=acks)
        self.process = subprocess.Popen(
            [sys.executable, "-c", program, url, str(path), *runs], stdout=subprocess.PIPE
        )
        self._lines = self._printed()

    def _printed(self) -> Iterator[Key]:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            yield tuple(line.decode().rstrip("\n").split(" "))

    def kill_after(self, count: int) -> list[Key]:
        """Kill the process once it has printed some events; return all that it has printed."""
        printed = list(islice(self._lines, count))
        self.process.send_signal(signal.SIGKILL)
        return printed + self.end()

    def end(self) -> list[Key]:
        """Wait for the end of the process; return the runs, kinds and ids that it has printed."""
        printed = list(self._lines)
        self.process.wait(TEST_TIMEOUT)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return printed
