"""Read what a server announces on an event loop, and post it to an engine.

The loop is the one that the engine's scheduler runs on, if it runs on one; otherwise it is the loop
that all subscriptions share. However many announcements come, one turn of the engine at a time
waits to receive them, so a busy or absent consumer holds up nothing and nothing piles up.
"""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterable, Mapping
from contextlib import suppress
from functools import partial
from random import Random
from typing import Any, Protocol

from reactivex import abc

from rxflow._own_log import log
from rxflow._protocol.push import Announcement, PushEnd, PushRetry, PushSubscription, PushTopic
from rxflow._runtime.clocks import apause, real_now
from rxflow._runtime.fetch_loop import fetch_loop
from rxflow._runtime.fetchers import Post, post_from_loop, spawn
from rxflow._runtime.iteration import PullScheduler
from rxflow._runtime.query_channels import AnnouncingChannel, ChannelOpener
from rxflow._runtime.scheduling import running_loop


class PushListener(Protocol):
    """Receives announcements; an engine does."""

    def has_run(self, flow_run_id: str) -> bool:
        """Whether announcements of a run are of use. Called on the event loop."""
        ...

    def receive_announcements(self, announcements: Iterable[Announcement]) -> None:
        """Receive what was announced since the last call, in a turn."""
        ...

    def receive_push_end(self, topic: PushTopic, end: PushEnd) -> None:
        """Receive that a connection ended, or could not be opened, in a turn."""
        ...


def open_push_reader(
    opener: ChannelOpener, scheduler: abc.SchedulerBase, post: Post, listener: PushListener
) -> "PushReader | None":
    """Make a reader that is subscribed to nothing yet.

    Args:
        opener: Opens the channels.
        scheduler: The engine's scheduler. The caller is one of its actions: if that runs on an
            event loop, so does the reader.
        post: Runs actions on that scheduler.
        listener: Receives what is announced.

    Returns:
        None if nothing can be announced.
    """
    channels: dict[PushTopic, AnnouncingChannel] = {}
    for topic in PushTopic:
        channel = opener.open_push_channel()
        if channel is None:
            return None
        channels[topic] = channel
    # A blocking loop in a coroutine has the thread of the event loop for itself.
    loop = None if isinstance(scheduler, PullScheduler) else running_loop()
    if loop is None:
        post = post_from_loop(scheduler, post)
    return PushReader(channels, _TopicTasks(loop, scheduler), post, listener)


class PushReader:
    """Reads announcements for one engine, over a connection for each topic."""

    def __init__(
        self,
        channels: Mapping[PushTopic, AnnouncingChannel],
        tasks: "_TopicTasks",
        post: Post,
        listener: PushListener,
    ) -> None:
        """Start without a subscription.

        Args:
            channels: Where to read.
            tasks: Runs the reading.
            post: Runs actions on the engine's scheduler; callable from the event loop.
            listener: Receives what is announced.
        """
        self._channels = channels
        self._tasks = tasks
        self._post = post
        self._listener = listener
        self._followed: tuple[PushSubscription, ...] = ()
        self._retries = {topic: PushRetry(Random()) for topic in PushTopic}  # noqa: S311 - jitter
        self._lock = threading.Lock()
        self._announced: dict[Announcement, None] = {}  # and not received yet

    def follow(self, subscriptions: tuple[PushSubscription, ...]) -> None:
        """Read what these subscriptions announce, and no others any more."""
        if subscriptions is self._followed:
            return
        wanted = {subscription.topic: subscription for subscription in subscriptions}
        known = {subscription.topic: subscription for subscription in self._followed}
        works = {
            topic: None if topic not in wanted else partial(self._read, wanted[topic])
            for topic in PushTopic
            if wanted.get(topic) != known.get(topic)
        }
        try:
            self._tasks.replace(works)
        except RuntimeError as error:  # there is no thread for the loop: the next poll tries again
            log("DEBUG", "Changes are not announced yet", error=error)
        else:
            self._followed = subscriptions

    def close(self) -> None:
        """Close the connections. Callable from any thread."""
        self._tasks.close()

    # -- on the event loop ------------------------------------------------------------------------

    async def _read(self, subscription: PushSubscription) -> None:
        topic = subscription.topic
        while True:
            end = await self._channels[topic].read(subscription, real_now().utc, self._receive)
            self._post(partial(self._listener.receive_push_end, topic, end))
            await apause(self._retries[topic].next_delay(end.lived))

    def _receive(self, announcement: Announcement) -> None:
        if not self._listener.has_run(announcement.flow_run_id):
            return
        with self._lock:
            is_first = not self._announced
            self._announced[announcement] = None
        if is_first:
            self._post(self._hand_over)

    # -- in a turn of the engine ------------------------------------------------------------------

    def _hand_over(self) -> None:
        with self._lock:
            announced, self._announced = self._announced, {}
        self._listener.receive_announcements(announced)


_Work = Callable[[], Coroutine[Any, Any, None]]


class _TopicTasks:
    """One task for each topic, on an event loop."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop | None, scheduler: abc.SchedulerBase
    ) -> None:
        """Start without tasks.

        Args:
            loop: The loop; None for the one that all subscriptions share.
            scheduler: Runs its actions on the loop, unless that is shared.
        """
        self._loop = loop
        self._scheduler = scheduler
        self._is_shared = loop is None
        self._lock = threading.Lock()
        self._tasks: dict[PushTopic, asyncio.Task[None]] = {}
        self._closed = False

    def replace(self, works: Mapping[PushTopic, _Work | None]) -> None:
        """Cancel the tasks of topics, and start others unless None.

        Raises:
            RuntimeError: The system starts no thread for the shared loop.
        """
        with self._lock:
            if self._closed:
                return
            loop = self._loop = self._loop or fetch_loop.acquire()
        loop.call_soon_threadsafe(self._replace, works)

    def close(self) -> None:
        """Cancel all tasks. Callable from any thread."""
        with self._lock:
            loop = None if self._closed else self._loop
            self._closed = True
        if loop is not None:
            with suppress(RuntimeError):  # the loop is closed, and has cancelled the tasks
                loop.call_soon_threadsafe(self._cancel)

    # -- on the loop ------------------------------------------------------------------------------

    def _replace(self, works: Mapping[PushTopic, _Work | None]) -> None:
        if self._closed:
            return
        for topic, work in works.items():
            earlier = self._tasks.pop(topic, None)
            if earlier is not None:
                earlier.cancel()
            if work is not None:
                self._tasks[topic] = self._start(_work_after(earlier, work))

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        if self._is_shared:
            return asyncio.get_running_loop().create_task(work)
        return spawn(self._scheduler, work)

    def _cancel(self) -> None:
        for task in self._tasks.values():
            task.cancel()
        if self._is_shared:
            self._release = asyncio.get_running_loop().create_task(self._release_loop())

    async def _release_loop(self) -> None:
        try:
            if self._tasks:
                await asyncio.wait(self._tasks.values())
        finally:
            fetch_loop.release()


async def _work_after(earlier: asyncio.Task[None] | None, work: _Work) -> None:
    if earlier is not None:
        await asyncio.wait([earlier])
    await work()
