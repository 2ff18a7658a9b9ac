"""A gate at which requests wait, so that a test can act while they are under way.

A request waits as its caller does: a thread is blocked, a task is suspended, and over HTTP the
connection stays silent. The gate itself does not poll; every change notifies those that wait.
"""

import asyncio
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from datetime import timedelta
from types import TracebackType
from typing import Self

import httpx

from rxflow._forks import register
from rxflow._models.arguments import seconds_of

_TIMEOUT = 30.0  # seconds of real time, so that a test that waits in vain ends


class Hold:
    """A gate at which requests wait until it is opened or their client gives up.

    `FakePrefect3.hold` makes one. A ``with`` block opens it at its end.

    Attributes:
        came: How many requests have reached it.
        left: How many of them were broken off: cancelled, timed out, or their connection closed.
    """

    def __init__(self, which: Callable[[httpx.Request], bool] | None = None) -> None:
        """Make a closed gate.

        Args:
            which: Selects the requests that must wait; None: all.
        """
        self._which = which
        self._changed = threading.Condition()
        self._listeners: list[Callable[[], None]] = []
        self.came = 0
        self.left = 0
        self._open = False
        register(self)

    def reset_after_fork(self) -> None:
        """Replace the lock in a forked child, and forget the requests of the parent."""
        self._changed = threading.Condition()
        self._listeners = []

    def __enter__(self) -> Self:
        """Return the gate."""
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Open the gate."""
        self.release()

    # -- for tests ------------------------------------------------------------------------------

    @property
    def is_open(self) -> bool:
        """Whether requests pass."""
        return self._open

    def release(self) -> None:
        """Open the gate, for the requests that wait and for all later ones."""
        self._open = True
        self._notify()

    def until_reached(self, requests: int = 1, *, timeout: timedelta | float = _TIMEOUT) -> None:
        """Block until requests have reached the gate.

        Args:
            requests: How many, counted since the gate was made.
            timeout: Real time to wait at most, in seconds if a number.

        Raises:
            TimeoutError: Fewer requests came within that time.
        """
        self._until(lambda: self.came >= requests, seconds_of("timeout", timeout))

    async def auntil_reached(
        self,
        requests: int = 1,
        *,
        timeout: timedelta | float = _TIMEOUT,  # noqa: ASYNC109 - its blocking twin has one
    ) -> None:
        """Wait until requests have reached the gate; `until_reached` for a task."""
        await self._auntil(lambda: self.came >= requests, seconds_of("timeout", timeout))

    def until_left(self, requests: int = 1, *, timeout: timedelta | float = _TIMEOUT) -> None:
        """Block until waiting requests were broken off by their clients.

        Args:
            requests: How many, counted since the gate was made.
            timeout: Real time to wait at most, in seconds if a number.

        Raises:
            TimeoutError: Fewer requests were broken off within that time.
        """
        self._until(lambda: self.left >= requests, seconds_of("timeout", timeout))

    async def auntil_left(
        self,
        requests: int = 1,
        *,
        timeout: timedelta | float = _TIMEOUT,  # noqa: ASYNC109 - its blocking twin has one
    ) -> None:
        """Wait until waiting requests were broken off; `until_left` for a task."""
        await self._auntil(lambda: self.left >= requests, seconds_of("timeout", timeout))

    # -- for the server -------------------------------------------------------------------------

    def stops(self, request: httpx.Request) -> bool:
        """Whether a request must wait."""
        return not self._open and (self._which is None or self._which(request))

    @contextmanager
    def counted(self) -> Generator[None]:
        """Count a request that waits inside the block; an error that leaves it counts as left."""
        self._count(came=1)
        try:
            yield
        except BaseException:
            self._count(left=1)
            raise

    def wait(self, timeout: float | None) -> bool:
        """Block until the gate is open; return False after `timeout` seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: self._open, timeout)

    async def await_open(self, timeout: float | None) -> bool:  # noqa: ASYNC109 - as above
        """Wait until the gate is open; return False after `timeout` seconds."""
        try:
            await self._auntil(lambda: self._open, timeout)
        except TimeoutError:
            return False
        return True

    # -- notifications --------------------------------------------------------------------------

    def _count(self, *, came: int = 0, left: int = 0) -> None:
        with self._changed:
            self.came += came
            self.left += left
        self._notify()

    def _notify(self) -> None:
        with self._changed:
            self._changed.notify_all()
            listeners = list(self._listeners)
        for listener in listeners:
            listener()

    def _until(self, ready: Callable[[], bool], timeout: float) -> None:
        with self._changed:
            if not self._changed.wait_for(ready, timeout):
                raise TimeoutError(f"{self.came} requests came, {self.left} were broken off")

    async def _auntil(self, ready: Callable[[], bool], timeout: float | None) -> None:  # noqa: ASYNC109
        changed = asyncio.Event()
        loop = asyncio.get_running_loop()

        def listener() -> None:
            with suppress(RuntimeError):  # the loop is closed, so no task waits on it
                loop.call_soon_threadsafe(changed.set)

        with self._changed:
            self._listeners.append(listener)
        try:
            async with asyncio.timeout(timeout):
                while not ready():
                    await changed.wait()
                    changed.clear()
        finally:
            with self._changed:
                self._listeners.remove(listener)
