"""Send queries off the scheduler's thread and post the replies back.

An engine whose scheduler may block sends its queries itself. Every other engine has a fetcher: a
task where the scheduler runs on an event loop, elsewhere a task on the loop that all subscriptions
share or, over an httpx transport that only blocks, a worker thread. The reply comes back as an
action on the engine's scheduler.
"""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple, Protocol

from reactivex import abc

from rxflow._protocol.failures import Failure, FailureKind, Reply
from rxflow._protocol.queries import Query
from rxflow._runtime.fetch_loop import fetch_loop
from rxflow._runtime.iteration import AsyncPullScheduler, PullScheduler
from rxflow._runtime.poll_scheduler import default_scheduler
from rxflow._runtime.query_channels import AsyncQueryChannel, ChannelOpener, QueryChannel
from rxflow._runtime.scheduling import running_loop
from rxflow._runtime.turn_scheduler import TurnScheduler
from rxflow._runtime.worker_threads import worker_threads
from rxflow.errors import ConfigurationError

OnReply = Callable[[Reply], None]
OnError = Callable[[Exception], None]
Post = Callable[[Callable[[], None]], None]
"""Runs an action on the engine's scheduler; callable from any thread."""

_NO_THREAD = Failure(
    kind=FailureKind.NETWORK, text="The system started no thread to send the request on"
)


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
    post = post_from_loop(scheduler, post)
    try:
        channel = opener.open_async_channel()
    except ConfigurationError:  # an httpx transport that only blocks, or one that no channel takes
        return _ThreadFetcher(opener.open_channel(), post)
    return _SharedLoopFetcher(channel, post)


def post_from_loop(scheduler: abc.SchedulerBase, post: Post) -> Post:
    """Return what posts from the loop that all subscriptions share.

    A scheduler of a user may run actions in the thread that schedules them, so that is a worker's.
    """
    if isinstance(scheduler, TurnScheduler | PullScheduler):
        return post
    turns = TurnScheduler()

    def post_in_turn(action: Callable[[], None]) -> None:
        turns.schedule(_posting(post, action))

    return post_in_turn


class _FetchJob(NamedTuple):
    query: Query
    on_reply: OnReply
    on_error: OnError


class _SharedLoopFetcher:
    """Sends queries on the loop that all subscriptions share."""

    def __init__(self, channel: AsyncQueryChannel, post: Post) -> None:
        self._channel = channel
        self._post = post
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None  # acquired with the first query
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    def fetch(self, query: Query, on_reply: OnReply, on_error: OnError) -> None:
        try:
            with self._lock:
                if self._closed:
                    return
                self._loop = self._loop or fetch_loop.acquire()
            self._loop.call_soon_threadsafe(self._start, _FetchJob(query, on_reply, on_error))
        except RuntimeError:
            self._post(partial(on_reply, _NO_THREAD))

    def call_later(self, seconds: float, action: Callable[[], None]) -> abc.DisposableBase:
        return _call_later(seconds, self._post, action)

    def close(self) -> None:
        with self._lock:
            if self._closed:
                return
            self._closed = True
            if self._loop is None:  # nothing was sent, so that there is nothing to close
                return
        with suppress(RuntimeError):  # the interpreter is ending, and has closed the loop
            self._loop.call_soon_threadsafe(self._begin_close)

    # -- on the loop --------------------------------------------------------------------------

    def _start(self, job: _FetchJob) -> None:
        if not self._closed:
            self._task = asyncio.get_running_loop().create_task(self._send(job))

    async def _send(self, job: _FetchJob) -> None:
        try:
            reply = await self._channel.send(job.query)
        except Exception as error:  # noqa: BLE001 - a defect: channels do not raise
            self._post(partial(job.on_error, error))
        else:
            self._post(partial(job.on_reply, reply))

    def _begin_close(self) -> None:
        sending = self._task
        self._task = asyncio.get_running_loop().create_task(self._close(sending))

    async def _close(self, sending: asyncio.Task[None] | None) -> None:
        try:
            if sending is not None:
                sending.cancel()
                await asyncio.wait([sending])
            await self._channel.aclose()
        finally:
            fetch_loop.release()


class _ThreadFetcher:
    """Sends each query on a worker thread, over a transport that only blocks."""

    def __init__(self, channel: QueryChannel, post: Post) -> None:
        self._channel = channel
        self._post = post

    def fetch(self, query: Query, on_reply: OnReply, on_error: OnError) -> None:
        def job() -> None:
            try:
                reply = self._channel.send(query)
            except Exception as error:  # noqa: BLE001 - a defect: channels do not raise
                self._post(partial(on_error, error))
            else:
                self._post(partial(on_reply, reply))

        try:
            worker_threads.submit(job)
        except RuntimeError:
            self._post(partial(on_reply, _NO_THREAD))

    def call_later(self, seconds: float, action: Callable[[], None]) -> abc.DisposableBase:
        return _call_later(seconds, self._post, action)

    def close(self) -> None:
        self._channel.close()


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
        self._next_job: asyncio.Future[_FetchJob] = self._loop.create_future()
        self._task = spawn(scheduler, self._work())

    def fetch(self, query: Query, on_reply: OnReply, on_error: OnError) -> None:
        if not self._next_job.cancelled():  # as the task was, which awaits it
            self._next_job.set_result(_FetchJob(query, on_reply, on_error))

    def call_later(self, seconds: float, action: Callable[[], None]) -> abc.DisposableBase:
        return self._scheduler.schedule_relative(seconds, _posting(self._post, action))

    def close(self) -> None:
        with suppress(RuntimeError):  # the loop is closed and has cancelled the task
            self._loop.call_soon_threadsafe(self._task.cancel)

    async def _work(self) -> None:
        try:
            while True:
                job = await self._next_job
                self._next_job = self._loop.create_future()
                try:
                    reply = await self._channel.send(job.query)
                except Exception as error:  # noqa: BLE001 - a defect: channels do not raise
                    self._post(partial(job.on_error, error))
                else:
                    self._post(partial(job.on_reply, reply))
        finally:
            await self._channel.aclose()


def _call_later(seconds: float, post: Post, action: Callable[[], None]) -> abc.DisposableBase:
    # Not on the engine's scheduler: a pool may have few threads, and each timer occupies one.
    return default_scheduler.schedule_relative(seconds, _posting(post, action))


def _posting(post: Post, action: Callable[[], None]) -> abc.ScheduledAction[Any]:
    def run(_: abc.SchedulerBase, __: Any = None) -> None:
        post(action)

    return run


_tasks: set[asyncio.Task[None]] = set()  # an event loop holds only weak references to its tasks


def spawn(scheduler: abc.SchedulerBase, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """Start a task on the running event loop, on which the scheduler runs its actions."""
    if isinstance(scheduler, AsyncPullScheduler):
        return scheduler.spawn(work)
    task = asyncio.get_running_loop().create_task(work)
    _tasks.add(task)
    task.add_done_callback(_tasks.discard)
    return task
