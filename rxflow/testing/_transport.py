"""An httpx transport that ends in a fake server, for `httpx.Client` and `httpx.AsyncClient`.

No network lies in between, so a request is broken off by a timeout, by a cancellation or, if it is
blocking, by its extension ``while_waiting``, which rxflow's own transport sets.
"""

import asyncio
import math
import time
from collections.abc import Callable

import httpx

from rxflow._runtime.clocks import pause
from rxflow.testing._exchange import Handler, arun_steps, run_steps
from rxflow.testing._hold import Hold

_LONGEST_WAIT = 0.5  # seconds between two calls of `while_waiting`


class FakeTransport(httpx.BaseTransport, httpx.AsyncBaseTransport):
    """Runs requests to a fake server in the caller's thread or task."""

    def __init__(self, handler: Handler, wait: Callable[[float], object] | None) -> None:
        """Make a transport.

        Args:
            handler: Starts the steps of a request.
            wait: Lets seconds of virtual time pass; None: the transport waits in real time.
        """
        self._handler = handler
        self._wait = wait

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Run a request in this thread, which is blocked meanwhile."""
        request.read()
        timeout = _read_timeout(request)

        def wait(step: float | Hold) -> None:
            if isinstance(step, Hold):
                in_time = _wait_blocking(request, step.wait, timeout)
            else:
                in_time = timeout is None or step <= timeout
                seconds = step if timeout is None else min(step, timeout)
                if self._wait is None:
                    _wait_blocking(request, _pass_time, seconds)
                else:
                    self._wait(seconds)
            _require_in_time(request, in_time=in_time)

        return run_steps(self._handler(request), wait)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Run a request in this task; cancelling the task breaks the request off."""
        await request.aread()
        timeout = _read_timeout(request)

        async def wait(step: float | Hold) -> None:
            if isinstance(step, Hold):
                in_time = await step.await_open(timeout)
            else:
                in_time = timeout is None or step <= timeout
                await self._await(step if timeout is None else min(step, timeout))
            _require_in_time(request, in_time=in_time)

        return await arun_steps(self._handler(request), wait)

    async def _await(self, seconds: float) -> None:
        if self._wait is None:
            await asyncio.sleep(seconds)
        else:
            self._wait(seconds)


def _read_timeout(request: httpx.Request) -> float | None:
    timeout = request.extensions.get("timeout", {}).get("read")
    return None if timeout is None else float(timeout)


def _wait_blocking(
    request: httpx.Request, wait: Callable[[float | None], bool], seconds: float | None
) -> bool:
    """Wait for up to some seconds, and do meanwhile what the client wants to be done.

    Returns:
        Whether `wait` has returned True.

    Raises:
        httpx.ReadError: The client has broken the request off.
    """
    while_waiting = request.extensions.get("while_waiting")
    if while_waiting is None:
        return wait(seconds)
    until = math.inf if seconds is None else time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        turn = while_waiting()
        if turn is None:
            raise httpx.ReadError("The request was broken off", request=request)
        if wait(min(left, turn, _LONGEST_WAIT)):
            return True
    return False


def _pass_time(seconds: float | None) -> bool:
    pause(seconds or 0.0)
    return False


def _require_in_time(request: httpx.Request, *, in_time: bool) -> None:
    if not in_time:
        raise httpx.ReadTimeout("The read operation timed out", request=request)
