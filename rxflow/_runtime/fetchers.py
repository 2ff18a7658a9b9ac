"""Carriers: how a question that nobody waits for gets to the server, and its answer back.

An engine whose scheduler may be blocked asks by itself. Elsewhere a carrier asks: on an event loop
in a task, in all other cases on a worker thread. The answer comes back as an action on the
engine's scheduler.
"""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from functools import partial
from typing import Any, Protocol

from reactivex import abc

from rxflow._protocol.failures import Reply
from rxflow._protocol.queries import Query
from rxflow._runtime.fetch_workers import fetch_workers
from rxflow._runtime.iteration import AsyncPullScheduler
from rxflow._runtime.poll_scheduler import default_scheduler
from rxflow._runtime.scheduling import running_loop

OnReply = Callable[[Reply], None]
OnError = Callable[[Exception], None]
Post = Callable[[Callable[[], None]], None]
"""Has an action carried out as a turn of the engine, from whichever thread it is called."""


class Channel(Protocol):
    """A way to ask one server, used by one thread at a time."""

    def send(self, query: Query) -> Reply:
        """Ask, once, and wait for the answer; never raises."""
        ...

    def close(self) -> None:
        """Break off a question under way, from any thread, and let go of the connection."""
        ...


class AsyncChannel(Protocol):
    """A way to ask one server, used by one task."""

    async def send(self, query: Query) -> Reply:
        """Ask, once; raises nothing but `asyncio.CancelledError`, which breaks it off."""
        ...

    async def aclose(self) -> None:
        """Let go of the connection."""
        ...


class ChannelOpener(Protocol):
    """Who opens channels."""

    def open_channel(self) -> Channel:
        """Open a channel for threads."""
        ...

    def open_async_channel(self) -> AsyncChannel:
        """Open a channel for the running event loop."""
        ...


class Fetcher(Protocol):
    """Carries one question at a time."""

    def carry(self, query: Query, take: OnReply, fail: OnError) -> None:
        """Ask, and have the answer taken; or the error, if the channel has a defect."""
        ...

    def remind(self, seconds: float, ring: Callable[[], None]) -> abc.DisposableBase:
        """Have an action carried out after so many seconds, whether or not an answer came."""
        ...

    def close(self) -> None:
        """Break off a question under way, from any thread, and let go of the connection."""
        ...


def open_fetcher(opener: ChannelOpener, scheduler: abc.SchedulerBase, post: Post) -> Fetcher:
    """Open a channel with a carrier that suits who is asking.

    Args:
        opener: Opens the channel.
        scheduler: Of the engine. An action of it is running: where that is on an event loop, the
            carrier lives there.
        post: Takes actions back to the engine.
    """
    if running_loop() is not None:
        return _LoopFetcher(opener.open_async_channel(), scheduler, post)
    return _ThreadFetcher(opener.open_channel(), post)


class _ThreadFetcher:
    def __init__(self, channel: Channel, post: Post) -> None:
        self._channel = channel
        self._post = post
        self._closed = False

    def carry(self, query: Query, take: OnReply, fail: OnError) -> None:
        def job() -> None:
            if self._closed:  # while no worker was free
                return
            try:
                answer = self._channel.send(query)
            except Exception as error:  # noqa: BLE001 - a defect of the channel, which never raises
                self._post(partial(fail, error))
            else:
                self._post(partial(take, answer))

        fetch_workers.submit(job)

    def remind(self, seconds: float, ring: Callable[[], None]) -> abc.DisposableBase:
        # Timed by a thread of ours: a scheduler may have a few, each taken up by what it times.
        return default_scheduler.schedule_relative(seconds, _turn(self._post, ring))

    def close(self) -> None:
        self._closed = True
        self._channel.close()


def _turn(post: Post, action: Callable[[], None]) -> abc.ScheduledAction[Any]:
    def run(_: abc.SchedulerBase, __: Any = None) -> None:
        post(action)

    return run


_FetchJob = tuple[Query, OnReply, OnError]


class _LoopFetcher:
    # One task for the carrier's whole life, which ends by closing the connection: so does a loop
    # that cancels what is left on it.
    def __init__(self, channel: AsyncChannel, scheduler: abc.SchedulerBase, post: Post) -> None:
        self._channel = channel
        self._scheduler = scheduler
        self._post = post
        self._loop = asyncio.get_running_loop()
        self._errands: asyncio.Queue[_FetchJob] = asyncio.Queue()
        self._task = _spawn(scheduler, self._work())

    def carry(self, query: Query, take: OnReply, fail: OnError) -> None:
        self._errands.put_nowait((query, take, fail))

    def remind(self, seconds: float, ring: Callable[[], None]) -> abc.DisposableBase:
        return self._scheduler.schedule_relative(seconds, _turn(self._post, ring))

    def close(self) -> None:
        with suppress(RuntimeError):  # the loop was closed, and has cancelled it
            self._loop.call_soon_threadsafe(self._task.cancel)

    async def _work(self) -> None:
        try:
            while True:
                query, take, fail = await self._errands.get()
                try:
                    answer = await self._channel.send(query)
                except Exception as error:  # noqa: BLE001 - a defect of the channel
                    self._post(partial(fail, error))
                else:
                    self._post(partial(take, answer))
        finally:
            await self._channel.aclose()


_tasks: set[asyncio.Task[None]] = set()  # a loop by itself does not keep its tasks alive


def _spawn(scheduler: abc.SchedulerBase, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    if isinstance(scheduler, AsyncPullScheduler):
        return scheduler.spawn(work)
    task = asyncio.get_running_loop().create_task(work)
    _tasks.add(task)
    task.add_done_callback(_tasks.discard)
    return task
