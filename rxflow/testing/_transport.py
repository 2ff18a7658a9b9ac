"""An httpx transport that ends in a fake server, for a `httpx.Client` and a `httpx.AsyncClient`.

There is no network in between, so nothing but a time-out or a cancel breaks a request off.
"""

import asyncio
from collections.abc import Callable

import httpx

from rxflow._runtime.clocks import pause
from rxflow.testing._exchange import Handler, acarry_out, carry_out
from rxflow.testing._hold import Hold


class FakeTransport(httpx.BaseTransport, httpx.AsyncBaseTransport):
    """Carries requests to a fake server, in the caller's thread or task."""

    def __init__(self, handler: Handler, wait: Callable[[float], object] | None) -> None:
        """Make a transport.

        Args:
            handler: What a request leads to.
            wait: Lets seconds pass, at once; None: they are really waited for.
        """
        self._handler = handler
        self._pass = wait

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Carry a request from a thread, which is blocked meanwhile."""
        request.read()
        left = _read_timeout(request)

        def wait(step: float | Hold) -> None:
            if isinstance(step, Hold):
                in_time = step.wait(left)
            else:
                in_time = left is None or step <= left
                (self._pass or pause)(step if left is None else min(step, left))
            _give_up(request, in_time=in_time)

        return carry_out(self._handler(request), wait)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Carry a request from a task; to cancel the task breaks the request off."""
        await request.aread()
        left = _read_timeout(request)

        async def wait(step: float | Hold) -> None:
            if isinstance(step, Hold):
                in_time = await step.await_open(left)
            else:
                in_time = left is None or step <= left
                await self._apass(step if left is None else min(step, left))
            _give_up(request, in_time=in_time)

        return await acarry_out(self._handler(request), wait)

    async def _apass(self, seconds: float) -> None:
        if self._pass is None:
            await asyncio.sleep(seconds)
        else:
            self._pass(seconds)


def _read_timeout(request: httpx.Request) -> float | None:
    timeout = request.extensions.get("timeout", {}).get("read")
    return None if timeout is None else float(timeout)


def _give_up(request: httpx.Request, *, in_time: bool) -> None:
    if not in_time:
        raise httpx.ReadTimeout("The read operation timed out", request=request)
