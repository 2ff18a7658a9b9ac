"""A channel: a backend's words over a transport. It takes questions and gives pages.

For threads, and its twin for an event loop; what is said on it is the same.
"""

import threading
import uuid
from collections.abc import Generator

import msgspec

from rxflow._backends.backend import Backend, Conversation, HttpCall, HttpReply
from rxflow._backends.detection import TentativeBackend, detect_backend
from rxflow._models.entities import BackendName
from rxflow._net.transport import AsyncTransport, Transport
from rxflow._protocol.failures import Failure, Reply
from rxflow._protocol.pages import Page
from rxflow._protocol.queries import Query


class SharedBackend:
    """What the channels of one client know of its server, and the server of them.

    Attributes:
        name: What the server is, if somebody said so.
        backend: How to speak to it, once that is known.
        client: What the server knows the client as.
        headers: What it wants to see beside the key, such as a CSRF token.
    """

    def __init__(self, name: BackendName | None) -> None:
        """Know no more than what was said."""
        self.name = name
        self.backend: Backend | None = None
        self.client = str(uuid.uuid4())
        self.headers: tuple[tuple[str, str], ...] = ()
        self._lock = threading.Lock()

    def meet(self, backend: Backend) -> Backend:
        """Take in how to speak to the server, unless another channel was quicker.

        Returns:
            The one way in which all channels do, so that what one learns is learnt for all.
        """
        with self._lock:
            self.backend = self.backend or backend
            return self.backend

    def task_names(self, task_key: str) -> tuple[str, ...]:
        """What a task goes by beside its key; nothing before the server was asked anything."""
        return self.backend.task_names(task_key) if self.backend is not None else ()


class Channel:
    """A backend's words over a transport: takes questions, gives pages."""

    def __init__(self, transport: Transport, known: SharedBackend) -> None:
        """Put one on top of the other."""
        self._transport = transport
        self._known = known

    def send(self, query: Query) -> Reply:
        """Ask, once, and wait for the answer; never raises."""
        steps = _steps(self._known, query)
        step = next(steps)
        while isinstance(step, HttpCall):
            step = steps.send(self._transport.send(step))
        return step

    def close(self) -> None:
        """Break off a question under way, from any thread, and close the connection."""
        self._transport.close()


class AsyncChannel:
    """The same on an event loop."""

    def __init__(self, transport: AsyncTransport, known: SharedBackend) -> None:
        """Put one on top of the other."""
        self._transport = transport
        self._known = known

    async def send(self, query: Query) -> Reply:
        """Ask, once; raises nothing but `asyncio.CancelledError`."""
        steps = _steps(self._known, query)
        step = next(steps)
        while isinstance(step, HttpCall):
            step = steps.send(await self._transport.send(step))
        return step

    async def aclose(self) -> None:
        """Close the connection; a question that is under way fails."""
        await self._transport.aclose()


def _steps(known: SharedBackend, query: Query) -> Generator[HttpCall | Reply, HttpReply | Failure]:
    """Yield the calls that a question takes, and its answer after them."""
    yield (yield from _introduced(known, query))


def _introduced(known: SharedBackend, query: Query) -> Conversation[Reply]:
    backend = known.backend
    if backend is None:
        found = yield from detect_backend(known.name)
        if isinstance(found, Failure):
            return found
        if isinstance(found, TentativeBackend):
            return (yield from _tried(found, known, query))
        backend = known.meet(found)
    return (yield from _asked(backend, known, query))


def _tried(guess: TentativeBackend, known: SharedBackend, query: Query) -> Conversation[Reply]:
    """Ask as if the server was known, and take it for known if it has rows to show."""
    backend = guess.backend
    answer = yield from _asked(backend, known, query)
    asked = isinstance(backend.encode(query), HttpCall)
    if asked and isinstance(answer, Page) and answer.rows:
        known.meet(backend)
    return guess.judge(answer)


def _asked(backend: Backend, known: SharedBackend, query: Query) -> Conversation[Reply]:
    call = backend.encode(query)
    if not isinstance(call, HttpCall):
        return call
    answer = yield from _exchange(backend, known, query, call)
    if isinstance(answer, Failure):
        return answer
    return (yield from backend.check(query, answer))


def _exchange(
    backend: Backend, known: SharedBackend, query: Query, call: HttpCall
) -> Conversation[Reply]:
    fetched = False
    while True:
        headers = known.headers
        reply = yield _with(call, headers)
        if isinstance(reply, Failure):
            return reply
        pass_call = backend.pass_call(reply, known.client)
        if pass_call is None:
            break
        if known.headers != headers:
            continue  # another channel was given one, and one more would make that one void
        if fetched:
            break
        given = yield pass_call
        fetched = True
        if isinstance(given, Failure):
            return given
        known.headers = backend.pass_headers(given, known.client)
        if not known.headers and given.status >= 400:
            failure = backend.decode(query, given)
            if isinstance(failure, Failure):
                return failure
    return backend.decode(query, reply)


def _with(call: HttpCall, headers: tuple[tuple[str, str], ...]) -> HttpCall:
    return msgspec.structs.replace(call, headers=(*call.headers, *headers))
