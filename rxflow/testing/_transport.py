"""An httpx transport that ends in a fake server, for `httpx.Client` and `httpx.AsyncClient`.

No network lies in between, so only a timeout or a cancellation breaks a request off.
"""

import asyncio
from collections.abc import Callable

import httpx

from rxflow._runtime.clocks import pause
from rxflow.testing._exchange import Handler, arun_steps, run_steps
from rxflow.testing._hold import Hold


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
                in_time = step.wait(timeout)
            else:
                in_time = timeout is None or step <= timeout
                (self._wait or pause)(step if timeout is None else min(step, timeout))
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


def _require_in_time(request: httpx.Request, *, in_time: bool) -> None:
    if not in_time:
        raise httpx.ReadTimeout("The read operation timed out", request=request)
