"""Send queries off the scheduler's thread and post the replies back.

An engine whose scheduler may block sends its queries itself. Every other engine has a fetcher: a
task where the scheduler runs on an event loop, a job for the worker threads elsewhere. The reply
comes back as an action on the engine's scheduler.
"""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple, Protocol

from reactivex import abc

from rxflow._protocol.failures import Reply
from rxflow._protocol.queries import Query
from rxflow._runtime.fetch_workers import fetch_workers
from rxflow._runtime.iteration import AsyncPullScheduler
from rxflow._runtime.poll_scheduler import default_scheduler
from rxflow._runtime.query_channels import AsyncQueryChannel, ChannelOpener, QueryChannel
from rxflow._runtime.scheduling import running_loop

OnReply = Callable[[Reply], None]
OnError = Callable[[Exception], None]
Post = Callable[[Callable[[], None]], None]
"""Runs an action on the engine's scheduler; callable from any thread."""


class Fetcher(Protocol):
    """Sends one query at a time and posts what follows to the engine."""

    def fetch(self, query: Query, on_reply: OnReply, on_error: OnError) -> None:
        """Send a query, then post `on_reply`, or `on_error` if the channel raised."""
        ...

    def call_later(self, seconds: float, action: Callable[[], None]) -> abc.DisposableBase:
        """Post an action after a delay, whether or not a reply has arrived."""
        ...

    def close(self) -> None:
        """Abort the query in flight and close the connection. Callable from any thread."""
        ...


def open_fetcher(opener: ChannelOpener, scheduler: abc.SchedulerBase, post: Post) -> Fetcher:
    """Open a channel and the fetcher for it.

    Args:
        opener: Opens the channel.
        scheduler: The engine's scheduler. The caller is one of its actions: if that runs on an
            event loop, so does the fetcher.
        post: Runs actions on that scheduler.
    """
    if running_loop() is not None:
        return _LoopFetcher(opener.open_async_channel(), scheduler, post)
    return _ThreadFetcher(opener.open_channel(), post)


class _ThreadFetcher:
    """Sends queries on the worker threads."""

    def __init__(self, channel: QueryChannel, post: Post) -> None:
        self._channel = channel
        self._post = post
        self._closed = False

    def fetch(self, query: Query, on_reply: OnReply, on_error: OnError) -> None:
        def job() -> None:
            if self._closed:  # while the job was queued
                return
            try:
                reply = self._channel.send(query)
            except Exception as error:  # noqa: BLE001 - a defect: channels do not raise
                self._post(partial(on_error, error))
            else:
                self._post(partial(on_reply, reply))

        fetch_workers.submit(job)

    def call_later(self, seconds: float, action: Callable[[], None]) -> abc.DisposableBase:
        # Not on the engine's scheduler: a pool may have few threads, and each timer occupies one.
        return default_scheduler.schedule_relative(seconds, _posting(self._post, action))

    def close(self) -> None:
        self._closed = True
        self._channel.close()


class _FetchJob(NamedTuple):
    query: Query
    on_reply: OnReply
    on_error: OnError


class _LoopFetcher:
    """Sends queries in one task, which lives as long as the fetcher and closes the channel.

    A loop that cancels the tasks left on it therefore closes the channel as well.
    """

    def __init__(
        self, channel: AsyncQueryChannel, scheduler: abc.SchedulerBase, post: Post
    ) -> None:
        self._channel = channel
        self._scheduler = scheduler
        self._post = post
        self._loop = asyncio.get_running_loop()
        self._jobs: asyncio.Queue[_FetchJob] = asyncio.Queue()
        self._task = _spawn(scheduler, self._work())

    def fetch(self, query: Query, on_reply: OnReply, on_error: OnError) -> None:
        self._jobs.put_nowait(_FetchJob(query, on_reply, on_error))

    def call_later(self, seconds: float, action: Callable[[], None]) -> abc.DisposableBase:
        return self._scheduler.schedule_relative(seconds, _posting(self._post, action))

    def close(self) -> None:
        with suppress(RuntimeError):  # the loop is closed and has cancelled the task
            self._loop.call_soon_threadsafe(self._task.cancel)

    async def _work(self) -> None:
        try:
            while True:
                job = await self._jobs.get()
                try:
                    reply = await self._channel.send(job.query)
                except Exception as error:  # noqa: BLE001 - a defect: channels do not raise
                    self._post(partial(job.on_error, error))
                else:
                    self._post(partial(job.on_reply, reply))
        finally:
            await self._channel.aclose()


def _posting(post: Post, action: Callable[[], None]) -> abc.ScheduledAction[Any]:
    def run(_: abc.SchedulerBase, __: Any = None) -> None:
        post(action)

    return run


_tasks: set[asyncio.Task[None]] = set()  # an event loop holds only weak references to its tasks


def _spawn(scheduler: abc.SchedulerBase, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    if isinstance(scheduler, AsyncPullScheduler):
        return scheduler.spawn(work)
    task = asyncio.get_running_loop().create_task(work)
    _tasks.add(task)
    task.add_done_callback(_tasks.discard)
    return task
