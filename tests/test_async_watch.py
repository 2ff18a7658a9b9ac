"""Watching on an event loop: many watches at once, a cancellation, and the end of the loop.

That a watch tells there what it tells everywhere is in test_watch.py.
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
from virtual_world import HOUR, TEST_TIMEOUT, Recording, World, identities
from wire_server import ServerConnection, WireServer, stall_response

import rxflow
from rxflow import Client, FlowRunEvent, watch_flow_run

GONE = "00000000-0000-4000-8000-000000000000"

pytestmark = pytest.mark.timeout(120)


async def told_in(stream: Observable[FlowRunEvent]) -> list[FlowRunEvent]:
    """What an `async for` loop gets."""
    return [event async for event in rxflow.aiterate(stream)]


def runs(world: World, number: int, *, lines: int = 30) -> list[str]:
    """Some runs that lived, each of one line more than the one before it."""
    made = [world.add_finished_run(lines=lines + n) for n in range(number)]
    world.run(until=HOUR)
    return made


def test_many_watches_share_an_event_loop(world: World, started: list[str]) -> None:
    """Watches that tasks of one loop iterate at the same time are each told whole, threadless."""
    watched = runs(world, 10)

    async def together() -> list[list[FlowRunEvent]]:
        streams = [watch_flow_run(run, client=world.client) for run in watched]
        told = await asyncio.gather(*(told_in(stream) for stream in streams))
        assert asyncio.all_tasks() == {asyncio.current_task()}
        return list(told)

    told = asyncio.run(together())
    assert started == []
    assert [channel.close_count for channel in world.channels] == [1] * 10
    for run, events in zip(watched, told, strict=True):
        assert {event.flow_run_id for event in events} == {run}
        assert identities(events) == identities(list(watch_flow_run(run, client=world.client)))


def test_one_scheduler_may_run_many_watches(world: World) -> None:
    """Subscriptions on one scheduler of an event loop are each told whole, and end on their own."""
    watched = runs(world, 5)

    async def together() -> list[Recording[FlowRunEvent]]:
        scheduler = AsyncIOScheduler(asyncio.get_running_loop())
        told: list[Recording[FlowRunEvent]] = []
        over = [asyncio.Event() for _ in watched]
        for run, end in zip(watched, over, strict=True):
            told.append(Recording())
            stream = watch_flow_run(run, client=world.client)
            told[-1].subscribe_to(stream.pipe(ops.finally_action(end.set)), scheduler)
        async with asyncio.timeout(TEST_TIMEOUT):
            for end in over:
                await end.wait()
        return told

    for number, recording in enumerate(asyncio.run(together())):
        assert recording.completed, recording.error
        assert len(recording.values) == 4 + 30 + number + 2
    assert [channel.close_count for channel in world.channels] == [1] * 5


def test_cancelling_breaks_off_the_request() -> None:
    """A task that is cancelled while its watch asks ends at once, and the server sees it go."""
    gone = threading.Event()

    def script(connection: ServerConnection) -> None:
        stall_response(connection)
        gone.set()

    async def cancel(wire: WireServer) -> None:
        task = asyncio.create_task(
            told_in(watch_flow_run(GONE, client=Client(api_url=wire.url, backend="prefect3")))
        )
        assert await asyncio.to_thread(wire.stalling.wait, TEST_TIMEOUT)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert await asyncio.to_thread(gone.wait, TEST_TIMEOUT)
        assert not wire.released.is_set()

    with WireServer(script) as wire:
        asyncio.run(cancel(wire))
        gc.collect()
        assert wire.connections == 1


def test_leaving_an_async_loop_ends_the_watch(world: World) -> None:
    """A page is read to its end before more is asked for, and who leaves asks no more."""
    (run_id,) = runs(world, 1, lines=450)
    stream = watch_flow_run(run_id, client=world.client)
    asked = world.server.requests

    async def leave() -> int:
        async with aclosing(aiter(stream)) as events:
            await anext(events)
            first_page = len(asked)
            for _ in range(150):
                await anext(events)
            assert len(asked) == first_page
            for _ in range(150):
                await anext(events)
        assert asyncio.all_tasks() == {asyncio.current_task()}
        return len(asked)

    assert asyncio.run(leave()) == len(asked)
    assert [channel.close_count for channel in world.channels] == [1]


def test_nothing_holds_a_watch_that_a_task_left(world: World) -> None:
    """When a loop over a watch was cancelled, its observers are free, whatever its loop does."""
    stream = watch_flow_run(world.server.add_run(state="RUNNING"), client=world.client)

    async def leave() -> None:
        seen = asyncio.Event()
        held = [Recording[FlowRunEvent]()]
        freed = weakref.ref(held[0])
        noting = stream.pipe(ops.do(held.pop()), ops.do_action(lambda _: seen.set()))
        task = asyncio.create_task(told_in(noting))
        del noting
        await asyncio.wait_for(seen.wait(), TEST_TIMEOUT)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        del task
        await asyncio.sleep(0)  # in this turn the loop itself holds the task that has ended
        gc.collect()
        assert freed() is None

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

async def left(stream):
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

with server.serve() as url:
    stream = rxflow.watch_flow_run(run, client=rxflow.Client(api_url=url))
    asyncio.run(globals()[sys.argv[1]](stream))
    gc.collect()
    print("over", flush=True)
"""


@pytest.mark.parametrize("how", ["background", "held", "left", "subscribed", "timed_out"])
def test_an_event_loop_ends_with_a_watch_under_way(how: str) -> None:
    """An event loop that ends while a watch runs on it ends without a word, warnings included."""
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
    async for event in rxflow.watch_flow_run(run, client=server.client()):
        print(type(event).__name__, flush=True)

try:
    asyncio.run(watch())
except KeyboardInterrupt:
    print("interrupted", [thread.name for thread in threading.enumerate()], flush=True)
"""


def test_ctrl_c_ends_an_async_loop_that_waits() -> None:
    """Ctrl-C in a program whose event loop waits for an event raises there, and leaves nothing."""
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
