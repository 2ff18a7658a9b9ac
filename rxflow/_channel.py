"""A channel: a backend's words over a transport. It takes questions and gives pages.

For threads, and its twin for an event loop; what is said on it is the same.
"""

import uuid
from collections.abc import Generator
from typing import Any

import msgspec

from rxflow._backends import Backend, HttpCall, HttpReply
from rxflow._polling import Failure, Page, Query
from rxflow._transport import AsyncTransport, Transport


class Pass:
    """What a server wants to see beside the key: a CSRF token, for a client that it knows."""

    def __init__(self) -> None:
        self.client = str(uuid.uuid4())
        self.headers: tuple[tuple[str, str], ...] = ()


class Channel:
    """A backend's words over a transport: takes questions, gives pages."""

    def __init__(self, backend: Backend, transport: Transport, shown: Pass) -> None:
        """Put one on top of the other."""
        self._backend = backend
        self._transport = transport
        self._pass = shown

    def ask(self, query: Query) -> Page[Any] | Failure:
        """Ask, once, and wait for the answer; never raises."""
        steps = _steps(self._backend, self._pass, query)
        step = next(steps)
        while isinstance(step, HttpCall):
            step = steps.send(self._transport.send(step))
        return step

    def close(self) -> None:
        """Break off a question under way, from any thread, and close the connection."""
        self._transport.close()


class AsyncChannel:
    """The same on an event loop."""

    def __init__(self, backend: Backend, transport: AsyncTransport, shown: Pass) -> None:
        """Put one on top of the other."""
        self._backend = backend
        self._transport = transport
        self._pass = shown

    async def ask(self, query: Query) -> Page[Any] | Failure:
        """Ask, once; raises nothing but `asyncio.CancelledError`."""
        steps = _steps(self._backend, self._pass, query)
        step = next(steps)
        while isinstance(step, HttpCall):
            step = steps.send(await self._transport.send(step))
        return step

    async def aclose(self) -> None:
        """Close the connection; a question that is under way fails."""
        await self._transport.aclose()


def _steps(
    backend: Backend, shown: Pass, query: Query
) -> Generator[HttpCall | Page[Any] | Failure, HttpReply | Failure]:
    """Yield the calls that a question takes, and its answer after them."""
    yield (yield from _exchange(backend, shown, query))


def _exchange(
    backend: Backend, shown: Pass, query: Query
) -> Generator[HttpCall, HttpReply | Failure, Page[Any] | Failure]:
    call = backend.encode(query)
    fetched = False
    while True:
        headers = shown.headers
        reply = yield _with(call, headers)
        if isinstance(reply, Failure):
            return reply
        pass_call = backend.pass_call(reply, shown.client)
        if pass_call is None:
            break
        if shown.headers != headers:
            continue  # another channel was given one, and one more would make that one void
        if fetched:
            break
        given = yield pass_call
        fetched = True
        if isinstance(given, Failure):
            return given
        shown.headers = backend.pass_headers(given, shown.client)
        if not shown.headers and given.status >= 400:
            failure = backend.decode(query, given)
            if isinstance(failure, Failure):
                return failure
    return backend.decode(query, reply)


def _with(call: HttpCall, headers: tuple[tuple[str, str], ...]) -> HttpCall:
    return msgspec.structs.replace(call, headers=(*call.headers, *headers))
