"""Channels: send queries over a transport, in threads and on event loops.

A channel carries the conversations of a backend. The backend is detected once for all channels of a
client, and shared between them.
"""

import threading

from rxflow._backends.backend import Backend, Conversation
from rxflow._backends.detection import TentativeBackend, detect_backend
from rxflow._forks import register
from rxflow._models.entities import BackendName
from rxflow._net.failure_texts import FailureTexts
from rxflow._net.transport import AsyncTransport, Transport, WhileWaiting
from rxflow._protocol.failures import Failure, Reply
from rxflow._protocol.queries import Query


class SharedBackend:
    """The backend of one client's server, for all channels of the client.

    Attributes:
        name: The kind of server, if the settings name it.
        backend: The backend, once it has been detected.
    """

    def __init__(self, name: BackendName | None, texts: FailureTexts | None = None) -> None:
        """Start without a backend.

        Args:
            name: The kind of server, if the settings name it.
            texts: Completes the texts of failures; None to leave them.
        """
        self.name = name
        self._texts = texts
        self.backend: Backend | None = None
        self._lock = threading.Lock()
        register(self)

    def reset_after_fork(self) -> None:
        """Detect the backend again in a forked child: a server keeps one CSRF token a backend."""
        self._lock = threading.Lock()
        self.backend = None

    def set_first(self, backend: Backend) -> Backend:
        """Set the backend unless another channel already has.

        Returns:
            The backend for all channels, so that what it learns is known to all of them.
        """
        with self._lock:
            self.backend = self.backend or backend
            return self.backend

    def converse(self, query: Query) -> Conversation[Reply]:
        """Converse about a query; the first conversations detect the backend."""
        backend = self.backend
        reply = yield from (
            self._detect_and_converse(query) if backend is None else backend.converse(query)
        )
        return reply if self._texts is None else self._texts.complete(reply)

    def task_names(self, task_key: str) -> tuple[str, ...]:
        """List the names of a task other than its key; none before the backend was detected."""
        return self.backend.task_names(task_key) if self.backend is not None else ()

    def _detect_and_converse(self, query: Query) -> Conversation[Reply]:
        detected = yield from detect_backend(self.name)
        if isinstance(detected, Failure):
            return detected
        if not isinstance(detected, TentativeBackend):
            return (yield from self.set_first(detected).converse(query))
        reply = yield from detected.backend.converse(query)
        if detected.is_confirmed_by(query, reply):
            self.set_first(detected.backend)
        return detected.explain(reply)


class Channel:
    """Sends queries over a blocking transport, one at a time."""

    def __init__(self, transport: Transport, shared_backend: SharedBackend) -> None:
        """Take over a transport.

        Args:
            transport: Makes the HTTP calls; the channel closes it.
            shared_backend: The backend of the client's server.
        """
        self._transport = transport
        self._shared_backend = shared_backend

    def send(self, query: Query, while_waiting: WhileWaiting | None = None) -> Reply:
        """Send a query once, and wait for the reply; never raises.

        Args:
            query: The query.
            while_waiting: Called in this thread, now and then, until the reply has arrived.
        """
        conversation = self._shared_backend.converse(query)
        try:
            call = next(conversation)
            while True:
                call = conversation.send(self._transport.send(call, while_waiting))
        except StopIteration as end:
            reply: Reply = end.value
            return reply

    def close(self) -> None:
        """Abort a query in progress, from any thread, and close the connection."""
        self._transport.close()


class AsyncChannel:
    """Sends queries over an async transport, one at a time, on one event loop."""

    def __init__(self, transport: AsyncTransport, shared_backend: SharedBackend) -> None:
        """Take over a transport.

        Args:
            transport: Makes the HTTP calls; the channel closes it.
            shared_backend: The backend of the client's server.
        """
        self._transport = transport
        self._shared_backend = shared_backend

    async def send(self, query: Query) -> Reply:
        """Send a query once, and wait for the reply; raises only `asyncio.CancelledError`."""
        conversation = self._shared_backend.converse(query)
        try:
            call = next(conversation)
            while True:
                call = conversation.send(await self._transport.send(call))
        except StopIteration as end:
            reply: Reply = end.value
            return reply

    async def aclose(self) -> None:
        """Abort a query in progress, which returns a failure, and close the connection."""
        await self._transport.aclose()
