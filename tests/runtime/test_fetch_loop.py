"""The fetch loop: its thread, its end, and name look-ups that hang."""

import asyncio
import threading
from collections.abc import AsyncGenerator, Coroutine
from concurrent.futures import Future
from typing import Any

import pytest
from runtime_threads import join_worker_threads
from thread_limits import no_more_threads
from virtual_world import TEST_TIMEOUT

from rxflow._runtime.fetch_loop import FetchLoop

pytestmark = pytest.mark.timeout(60)


def run_on(loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine on the loop, and wait for its result."""
    return asyncio.run_coroutine_threadsafe(work, loop).result(TEST_TIMEOUT)


def test_the_thread_ends_with_the_last_user() -> None:
    """All users share a loop, whose daemon thread ends when the last one has released it."""
    fetch_loop = FetchLoop()
    first, second = fetch_loop.acquire(), fetch_loop.acquire()
    assert first is second

    async def thread() -> threading.Thread:
        return threading.current_thread()

    assert run_on(first, thread()).daemon
    first.call_soon_threadsafe(fetch_loop.release)
    assert run_on(first, thread()).is_alive()
    first.call_soon_threadsafe(fetch_loop.release)
    assert fetch_loop.join(TEST_TIMEOUT)
    assert first.is_closed()
    third = fetch_loop.acquire()
    assert third is not first
    third.call_soon_threadsafe(fetch_loop.release)
    assert fetch_loop.join(TEST_TIMEOUT)


def test_a_task_that_is_started_as_the_loop_ends_begins_before_it_is_cancelled() -> None:
    """A library may have made what the task is to run, and would never await it."""
    fetch_loop = FetchLoop()
    loop = fetch_loop.acquire()
    steps: list[str] = []
    started: list[asyncio.Task[None]] = []

    async def connect() -> None:
        steps.append("begun")
        try:
            await asyncio.Event().wait()
        finally:
            steps.append("cancelled")

    async def start_late() -> None:
        loop.stop()
        await asyncio.sleep(0)  # the next step comes before that which cancels the tasks
        steps.append("started")
        started.append(asyncio.create_task(connect()))
        await asyncio.Event().wait()

    loop.call_soon_threadsafe(loop.create_task, start_late())
    assert fetch_loop.join(TEST_TIMEOUT)
    assert steps == ["started", "begun", "cancelled"]
    assert loop.is_closed()


def test_a_generator_that_is_closed_as_the_loop_ends_is_closed() -> None:
    """The task that does so, which is none of a coroutine, is not cancelled before that."""
    fetch_loop = FetchLoop()
    loop = fetch_loop.acquire()
    steps: list[str] = []

    async def generate() -> AsyncGenerator[int]:
        try:
            yield 1
        finally:
            steps.append("closed")

    async def abandon() -> None:
        loop.stop()
        generator = generate()
        await anext(generator)
        del generator  # the loop closes it, by a task

    loop.call_soon_threadsafe(loop.create_task, abandon())
    assert fetch_loop.join(TEST_TIMEOUT)
    assert steps == ["closed"]
    assert loop.is_closed()


def test_stopping_cancels_what_is_left() -> None:
    """At the end of the interpreter tasks are cancelled, and the loop is closed."""
    fetch_loop = FetchLoop()
    loop = fetch_loop.acquire()
    cancelled: list[str] = []

    async def wait_for_ever() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.append("once")

    async def start() -> asyncio.Task[None]:
        task = asyncio.create_task(wait_for_ever())
        await asyncio.sleep(0)
        return task

    task = run_on(loop, start())
    fetch_loop.stop()
    assert (cancelled, task.cancelled(), loop.is_closed()) == (["once"], True, True)
    with pytest.raises(RuntimeError):
        fetch_loop.call_later(0.0, lambda: None)
    fetch_loop.stop()


def test_a_refused_thread_is_an_error() -> None:
    """If the system starts no thread, acquiring raises, leaves nothing open, and works later."""
    fetch_loop = FetchLoop()
    with no_more_threads(), pytest.raises(RuntimeError):
        fetch_loop.acquire()
    loop = fetch_loop.acquire()
    loop.call_soon_threadsafe(fetch_loop.release)
    assert fetch_loop.join(TEST_TIMEOUT)


def test_a_look_up_that_hangs_delays_no_other() -> None:
    """Names are looked up at the same time, however many hang, and each once at a time."""
    release = threading.Event()
    looked_up: list[str] = []

    def resolve(host: str, *_: object, **__: object) -> list[str]:
        looked_up.append(host)
        if host.startswith("hangs"):
            release.wait(TEST_TIMEOUT)
        if host == "missing":
            raise OSError("no such host")
        return [host]

    fetch_loop = FetchLoop(resolve)
    loop = fetch_loop.acquire()
    hanging: list[Future[Any]] = [
        asyncio.run_coroutine_threadsafe(loop.getaddrinfo(f"hangs{number % 40}", 80), loop)
        for number in range(80)
    ]
    assert run_on(loop, loop.getaddrinfo("good", 80)) == ["good"]
    with pytest.raises(OSError, match="no such host"):
        run_on(loop, loop.getaddrinfo("missing", 80))
    hanging[0].cancel()
    release.set()
    assert hanging[79].result(TEST_TIMEOUT) == ["hangs39"]
    assert sorted(looked_up) == sorted({*looked_up})
    join_worker_threads()  # an idle one would look the name up
    with no_more_threads(), pytest.raises(OSError, match="no thread"):
        run_on(loop, loop.getaddrinfo("good", 80))
    loop.call_soon_threadsafe(fetch_loop.release)
    assert fetch_loop.join(TEST_TIMEOUT)
