"""Watches on an event loop: many at once, cancellation, and the end of the loop.

test_watch.py checks that a watch emits the same events there as elsewhere.
"""

import asyncio
import gc
import subprocess
import sys
import threading
import weakref
from contextlib import aclosing
from signal import SIGINT

import pytest
from reactivex import Observable
from reactivex import operators as ops
from reactivex.scheduler.eventloop import AsyncIOScheduler
from virtual_world import HOUR, MISSING_RUN, TEST_TIMEOUT, Recording, World, identities
from wire_server import ServerConnection, WireServer, stall_response

import rxflow
from rxflow import Client, FlowRunEvent, watch_flow_run

pytestmark = pytest.mark.timeout(120)


async def collect(stream: Observable[FlowRunEvent]) -> list[FlowRunEvent]:
    """Return the events of an `async for` loop."""
    return [event async for event in rxflow.aiterate(stream)]


def add_past_runs(world: World, number: int, *, lines: int = 30) -> list[str]:
    """Add runs that ended an hour ago, each with one line more than the one before it."""
    run_ids = [world.add_finished_run(lines=lines + n) for n in range(number)]
    world.run(until=HOUR)
    return run_ids


def test_many_watches_share_an_event_loop(world: World, started: list[str]) -> None:
    """Watches iterated by tasks of one loop at the same time are complete and start no thread."""
    run_ids = add_past_runs(world, 10)

    async def watch_all() -> list[list[FlowRunEvent]]:
        streams = [watch_flow_run(run_id, client=world.client) for run_id in run_ids]
        found = await asyncio.gather(*(collect(stream) for stream in streams))
        assert asyncio.all_tasks() == {asyncio.current_task()}
        return list(found)

    found = asyncio.run(watch_all())
    assert started == []
    assert world.close_counts() == [1] * 10
    for run, events in zip(run_ids, found, strict=True):
        assert {event.flow_run_id for event in events} == {run}
        assert identities(events) == identities(list(watch_flow_run(run, client=world.client)))


def test_many_watches_share_a_scheduler(world: World) -> None:
    """Subscriptions on one scheduler of an event loop are complete and end independently."""
    run_ids = add_past_runs(world, 5)

    async def watch_all() -> list[Recording[FlowRunEvent]]:
        scheduler = AsyncIOScheduler(asyncio.get_running_loop())
        recordings: list[Recording[FlowRunEvent]] = []
        over = [asyncio.Event() for _ in run_ids]
        for run, end in zip(run_ids, over, strict=True):
            recordings.append(Recording())
            stream = watch_flow_run(run, client=world.client)
            recordings[-1].subscribe_to(stream.pipe(ops.finally_action(end.set)), scheduler)
        async with asyncio.timeout(TEST_TIMEOUT):
            for end in over:
                await end.wait()
        return recordings

    for number, recording in enumerate(asyncio.run(watch_all())):
        assert recording.completed, recording.error
        assert len(recording.values) == 4 + 30 + number + 2
    assert world.close_counts() == [1] * 5


def test_cancelling_aborts_the_request() -> None:
    """Cancelling a task aborts the request in flight at once, and the server sees it."""
    request_aborted = threading.Event()

    def script(connection: ServerConnection) -> None:
        stall_response(connection)
        request_aborted.set()

    async def cancel(wire: WireServer) -> None:
        task = asyncio.create_task(
            collect(
                watch_flow_run(MISSING_RUN, client=Client(api_url=wire.url, backend="prefect3"))
            )
        )
        assert await asyncio.to_thread(wire.stalling.wait, TEST_TIMEOUT)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert await asyncio.to_thread(request_aborted.wait, TEST_TIMEOUT)
        assert not wire.released.is_set()

    with WireServer(script) as wire:
        asyncio.run(cancel(wire))
        gc.collect()
        assert wire.connections == 1


def test_leaving_an_async_loop_ends_the_watch(world: World) -> None:
    """The next page is requested after the last event of a page; closing ends the requests."""
    (run_id,) = add_past_runs(world, 1, lines=450)
    stream = watch_flow_run(run_id, client=world.client)
    requests = world.server.requests

    async def leave() -> int:
        async with aclosing(aiter(stream)) as events:
            await anext(events)
            first_page = len(requests)
            for _ in range(150):
                await anext(events)
            assert len(requests) == first_page
            for _ in range(150):
                await anext(events)
        assert asyncio.all_tasks() == {asyncio.current_task()}
        return len(requests)

    assert asyncio.run(leave()) == len(requests)
    assert world.close_counts() == [1]


def test_the_observers_of_a_cancelled_watch_are_freed(world: World) -> None:
    """After a loop over a watch was cancelled nothing holds its observers."""
    stream = watch_flow_run(world.server.add_run(state="RUNNING"), client=world.client)

    async def leave() -> None:
        seen = asyncio.Event()
        recordings = [Recording[FlowRunEvent]()]
        reference = weakref.ref(recordings[0])
        recorded = stream.pipe(ops.do(recordings.pop()), ops.do_action(lambda _: seen.set()))
        task = asyncio.create_task(collect(recorded))
        del recorded
        await asyncio.wait_for(seen.wait(), TEST_TIMEOUT)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        del task
        await asyncio.sleep(0)  # the loop itself holds the ended task for one more iteration
        gc.collect()
        assert reference() is None

    asyncio.run(leave())


ENDING = """
import asyncio, gc, sys, threading
from reactivex.scheduler.eventloop import AsyncIOScheduler
import rxflow
from rxflow.testing import FakePrefect3

server = FakePrefect3()
run = server.add_run(state="RUNNING")

async def background(stream):
    seen = asyncio.Event()
    async def read():
        async for event in stream:
            seen.set()
    task = asyncio.create_task(read())
    await seen.wait()

async def held(stream):
    events = aiter(stream)
    await anext(events)

async def broken_off(stream):
    async for event in stream:
        break

async def subscribed(stream):
    seen = asyncio.Event()
    scheduler = AsyncIOScheduler(asyncio.get_running_loop())
    stream.subscribe(lambda event: seen.set(), scheduler=scheduler)
    await seen.wait()

async def timed_out(stream):
    try:
        async with asyncio.timeout(0.3):
            async for event in stream:
                pass
    except TimeoutError:
        pass

async def main(use, stream):
    # Debug mode reports slow callbacks; on a busy machine any callback may be slow.
    asyncio.get_running_loop().slow_callback_duration = 60
    await use(stream)

with server.serve() as url:
    stream = rxflow.watch_flow_run(run, client=rxflow.Client(api_url=url))
    asyncio.run(main(globals()[sys.argv[1]], stream))
    gc.collect()
    print("over", flush=True)
"""


@pytest.mark.parametrize("how", ["background", "held", "broken_off", "subscribed", "timed_out"])
def test_an_event_loop_ends_during_a_watch(how: str) -> None:
    """An event loop that ends while a watch runs on it causes no output and no warning."""
    done = subprocess.run(
        [sys.executable, "-P", "-X", "dev", "-W", "error", "-c", ENDING, how],
        capture_output=True,
        text=True,
        timeout=TEST_TIMEOUT,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "over\n", "")


INTERRUPTED = """
import asyncio, signal, threading
import rxflow
from rxflow.testing import FakePrefect3

signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job may ignore it
server = FakePrefect3()
run = server.add_run(state="RUNNING")

async def watch():
    # Debug mode reports slow callbacks; on a busy machine any callback may be slow.
    asyncio.get_running_loop().slow_callback_duration = 60
    async for event in rxflow.watch_flow_run(run, client=server.client()):
        print(type(event).__name__, flush=True)

try:
    asyncio.run(watch())
except KeyboardInterrupt:
    print("interrupted", [thread.name for thread in threading.enumerate()], flush=True)
"""


def test_ctrl_c_ends_an_async_loop_that_waits() -> None:
    """Ctrl-C while the event loop waits for an event is raised there and leaves no thread."""
    with subprocess.Popen(
        [sys.executable, "-P", "-X", "dev", "-W", "error", "-c", INTERRUPTED],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdout is not None
        first = child.stdout.readline()
        child.send_signal(SIGINT)
        out, err = child.communicate(timeout=TEST_TIMEOUT)
    assert first == "RunSeen\n"
    assert out.splitlines()[-1] == "interrupted ['MainThread']"
    assert (child.returncode, err) == (0, "")
