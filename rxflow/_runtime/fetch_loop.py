"""One event loop in a daemon thread, on which the queries of all blocking subscriptions are sent.

However many queries wait for replies there, none waits for another. Nothing of a user's runs on it,
except an httpx transport of theirs.
"""

import asyncio
import atexit
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

from rxflow._forks import register
from rxflow._runtime.worker_threads import worker_threads

_EXIT_TIMEOUT = 1.0  # seconds that the end of the interpreter waits for the loop


class FetchLoop:
    """An event loop that runs, in a daemon thread, as long as someone has acquired it."""

    def __init__(self, resolve: Callable[..., Any] = socket.getaddrinfo) -> None:
        """Create it without a thread.

        Args:
            resolve: Looks names up, blocking.
        """
        self._resolve = resolve
        self._inherited: list[object] = []
        self._start_empty()
        register(self)
        atexit.register(self.stop)

    def _start_empty(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._users = 0

    def reset_after_fork(self) -> None:
        """Leave the parent's loop alone in a forked child, where a new one can be started."""
        # Kept for ever: closing it would unregister its sockets from the parent's epoll instance.
        self._inherited.append(self._loop)
        self._start_empty()

    def acquire(self) -> asyncio.AbstractEventLoop:
        """Return the running loop; `release` must be called, on it, for each call of this.

        Raises:
            RuntimeError: The system starts no further thread.
        """
        with self._lock:
            if self._loop is None:
                self._loop, self._thread = self._start()
            self._users += 1
            return self._loop

    def release(self) -> None:
        """End the loop and its thread, unless somebody else has acquired it."""
        with self._lock:
            self._users -= 1
            if self._users or self._loop is None:
                return
            loop, self._loop = self._loop, None
        loop.stop()

    def call_later(self, seconds: float, function: Callable[[], None]) -> None:
        """Call a function on the loop. Callable from any thread.

        Raises:
            RuntimeError: The loop does not run.
        """
        loop = self._loop
        if loop is None:
            raise RuntimeError("The fetch loop does not run")
        loop.call_soon_threadsafe(loop.call_later, seconds, function)

    def join(self, timeout: float) -> bool:
        """Wait until the thread has ended; return whether it has."""
        thread = self._thread
        if thread is not None:
            thread.join(timeout)
        return thread is None or not thread.is_alive()

    def stop(self) -> None:
        """End the loop at the end of the interpreter, even if it is in use."""
        with self._lock:
            loop, self._loop = self._loop, None
        if loop is not None:
            with suppress(RuntimeError):  # it has just been closed
                loop.call_soon_threadsafe(loop.stop)
        self.join(_EXIT_TIMEOUT)

    def _start(self) -> tuple[asyncio.AbstractEventLoop, threading.Thread]:
        loop = _Loop(self._resolve)
        loop.slow_callback_duration = float("inf")  # debugging is for the loops of users
        thread = threading.Thread(target=_run, args=(loop,), name="rxflow-fetch", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            loop.close()
            raise
        return loop, thread


def _run(loop: asyncio.AbstractEventLoop) -> None:
    try:
        loop.run_forever()
    finally:
        try:
            loop.run_until_complete(_cancel_tasks())
        finally:
            loop.close()


async def _cancel_tasks() -> None:
    """Cancel all tasks, those that others start meanwhile too, and wait until they have ended.

    Each is cancelled once it has begun, as one has that was there a turn of the loop ago: before
    that, a task of anyio's drops its coroutine, of which Python says that it was never awaited, and
    one that closes an async generator leaves it open.
    """
    begun: set[asyncio.Task[Any]] = set()
    cancelled: set[asyncio.Task[Any]] = set()
    while tasks := asyncio.all_tasks() - {asyncio.current_task()}:
        for task in tasks & begun - cancelled:
            task.cancel()
            cancelled.add(task)
        begun |= tasks
        if tasks <= cancelled:
            await asyncio.gather(*tasks, return_exceptions=True)
        else:
            await asyncio.sleep(0)
    await asyncio.get_running_loop().shutdown_asyncgens()


class _Loop(asyncio.SelectorEventLoop):
    """Looks each name up in a thread of its own, once for all that need it.

    The threads of asyncio's own executor are few, and the interpreter waits for them at its end: a
    resolver that hangs would hold up other look-ups, and the exit.
    """

    def __init__(self, resolve: Callable[..., Any]) -> None:
        super().__init__()
        self._resolve = resolve
        self._look_ups: dict[object, asyncio.Future[Any]] = {}

    async def getaddrinfo(self, host: Any, port: Any, **options: Any) -> Any:
        arguments = (host, port, tuple(sorted(options.items())))
        look_up = self._look_ups.get(arguments)
        if look_up is None:
            look_up = self._look_ups[arguments] = self._look_up(host, port, **options)
            look_up.add_done_callback(partial(self._forget, arguments))
        return await asyncio.shield(look_up)

    def _look_up(self, host: Any, port: Any, **options: Any) -> asyncio.Future[Any]:
        found: asyncio.Future[Any] = self.create_future()

        def run() -> None:
            try:
                addresses = self._resolve(host, port, **options)
            except Exception as error:  # noqa: BLE001 - raised where the addresses are needed
                settle = partial(_set_exception, found, error)
            else:
                settle = partial(_set_result, found, addresses)
            with suppress(RuntimeError):  # the loop was closed meanwhile
                self.call_soon_threadsafe(settle)

        try:
            worker_threads.submit(run)
        except RuntimeError:
            found.set_exception(socket.gaierror(socket.EAI_AGAIN, "no thread can be started"))
        return found

    def _forget(self, arguments: object, found: asyncio.Future[Any]) -> None:
        del self._look_ups[arguments]
        if not found.cancelled():
            found.exception()  # those who needed it may be gone; asyncio would report it


def _set_result(future: asyncio.Future[Any], result: object) -> None:
    if not future.done():
        future.set_result(result)


def _set_exception(future: asyncio.Future[Any], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)


fetch_loop = FetchLoop()
"""The loop of this process."""
