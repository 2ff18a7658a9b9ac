"""A client: where the server is, how it is spoken to, and reads from it, blocking and async."""

import asyncio
import threading
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import NamedTuple, Self, TypeVar
from weakref import WeakKeyDictionary

from rxflow._config.settings import Settings, load_settings
from rxflow._models.entities import BackendName
from rxflow._net.channel import AsyncChannel, Channel, SharedBackend
from rxflow._net.http import HttpTransport, tls_of
from rxflow._net.transport import AsyncTransport, Transport
from rxflow._protocol.failures import Failure
from rxflow._protocol.pages import Poll
from rxflow._protocol.poll_runner import Finished, PageLimit, Pause, TimedReply, run_poll
from rxflow._protocol.queries import Query
from rxflow._runtime.clocks import apause, pause, real_now
from rxflow.errors import Unreachable

__all__ = ["Client"]

T = TypeVar("T")


class Client:
    """Speaks to one Prefect server, a Prefect 3 or a Prefect 1.

    Without arguments it finds the server as Prefect itself does, from the environment and the
    active profile, without importing Prefect. It may be used by many threads and event loops, and
    closes what it opened: ``with`` closes what blocking reads opened, ``async with`` what reads on
    this event loop did. Watches go on after it is closed, since each has a connection of its own.

    Example:
        >>> import rxflow
        >>> with rxflow.Client(api_url="http://127.0.0.1:4200/api") as client:
        ...     stream = rxflow.watch_flow_run(
        ...         "9e6caafc-4ea1-4493-b0a9-122efba9eaaa", client=client
        ...     )
    """

    def __init__(
        self,
        *,
        api_url: str | None = None,
        api_key: str | None = None,
        auth_string: str | None = None,
        headers: Mapping[str, str] | None = None,
        profile: str | None = None,
        backend: BackendName | str | None = None,
        tenant_id: str | None = None,
        settings: Settings | None = None,
        transport: HttpTransport | None = None,
    ) -> None:
        """Find out where the server is; nothing is asked yet.

        Args:
            api_url: The API's base URL, which ends in ``/api`` on a self-hosted Prefect 3.
            api_key: A Prefect Cloud key.
            auth_string: ``user:password`` of a self-hosted server.
            headers: Further headers for every request.
            profile: The Prefect profile to use in place of the active one.
            backend: What the server is, ``prefect3`` or ``prefect1``. If None ``RXFLOW_BACKEND``
                says it, or the settings that have its URL, Prefect 3's or Prefect 1's; a server
                whose URL is passed here, or is in ``RXFLOW_API_URL``, is asked what it is.
            tenant_id: The tenant to ask for, of a Prefect 1 with a key.
            settings: Everything at once, in place of all of the above.
            transport: An httpx transport to use in place of the network, for tests; blocking,
                async, or both, as those of `rxflow.testing` are.

        Raises:
            ConfigurationError: No URL was found, or a setting cannot be read.
        """
        self._settings = settings or load_settings(
            api_url=api_url,
            api_key=api_key,
            auth_string=auth_string,
            headers=headers,
            profile=profile,
            backend=backend,
            tenant_id=tenant_id,
        )
        self._known = SharedBackend(self._settings.backend)
        self._transport = transport
        self._tls = tls_of(self._settings)
        self._turn = threading.Lock()  # held while one thread asks
        self._lock = threading.Lock()  # held while the channel changes
        self._channel: Channel | None = None
        # A connection of asyncio belongs to one loop.
        self._shared: WeakKeyDictionary[asyncio.AbstractEventLoop, _Shared] = WeakKeyDictionary()
        self._limit = PageLimit()

    @property
    def api_url(self) -> str:
        """The API's base URL, without anything secret."""
        return self._settings.api_url

    def __repr__(self) -> str:
        """Show the URL."""
        return f"Client(api_url={self.api_url!r})"

    def __enter__(self) -> Self:
        """Return the client."""
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """Close the connection that blocking reads use; a read under way fails.

        The next read opens another.
        """
        with self._lock:
            channel, self._channel = self._channel, None
        if channel is not None:
            channel.close()

    async def __aenter__(self) -> Self:
        """Return the client."""
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close what it opened on this event loop."""
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connection that reads on this event loop use; a read under way fails.

        The next read opens another.
        """
        with self._lock:
            shared = self._shared.pop(asyncio.get_running_loop(), None)
        if shared is not None:
            await shared.channel.aclose()

    def task_names(self, task_key: str) -> tuple[str, ...]:
        """What a task goes by on this server, beside its key: on Prefect 3 the key without hash."""
        return self._known.task_names(task_key)

    def open_channel(self) -> Channel:
        """Open a connection of one's own; whoever opens it closes it."""
        transport = Transport(self._settings, self._tls, self._transport)
        return Channel(transport, self._known)

    def open_async_channel(self) -> AsyncChannel:
        """The same for the running event loop; whoever opens it closes it there."""
        transport = AsyncTransport(self._settings, self._tls, self._transport)
        return AsyncChannel(transport, self._known)

    def read(self, poll: Callable[[int], Poll[T]]) -> T:
        """Carry out a poll, blocking, with patience for a server that is away for a moment.

        Args:
            poll: Makes the poll, given the most rows that the server gives at once.

        Returns:
            What the poll learnt.

        Raises:
            RunNotFound: The server has no such run.
            ServerError: The server answers, but not well, for 30 s.
            Unreachable: The server does not answer for 30 s, or the client was closed meanwhile.
        """
        channel = self._open()
        steps = run_poll(poll, self._limit)
        step = next(steps)
        while not isinstance(step, Finished):
            step = steps.send(self._do(step, channel))
        learnt: T = step.value
        return learnt

    async def aread(self, poll: Callable[[int], Poll[T]]) -> T:
        """Carry out a poll on the running event loop; otherwise as `read`.

        Cancelling the task breaks off a request that is under way.
        """
        shared = self._aopen()
        steps = run_poll(poll, self._limit)
        step = next(steps)
        while not isinstance(step, Finished):
            step = steps.send(await self._ado(step, shared))
        learnt: T = step.value
        return learnt

    def _do(self, step: Query | Pause, channel: Channel) -> TimedReply | None:
        if isinstance(step, Pause):
            pause(step.seconds)
            return None
        with self._turn:
            sent = real_now()
            reply = channel.send(step)
        if isinstance(reply, Failure) and channel is not self._channel:
            raise Unreachable(_CLOSED)
        return TimedReply(reply, sent, real_now())

    async def _ado(self, step: Query | Pause, shared: "_Shared") -> TimedReply | None:
        if isinstance(step, Pause):
            await apause(step.seconds)
            return None
        async with shared.turn:
            sent = real_now()
            reply = await shared.channel.send(step)
        if isinstance(reply, Failure) and not self._is_open(shared):
            raise Unreachable(_CLOSED)
        return TimedReply(reply, sent, real_now())

    def _open(self) -> Channel:
        with self._lock:
            if self._channel is None:
                self._channel = self.open_channel()
            return self._channel

    def _aopen(self) -> "_Shared":
        loop = asyncio.get_running_loop()
        with self._lock:
            for ended in [other for other in self._shared if other.is_closed()]:
                del self._shared[ended]  # which its own connection would keep alive
            if loop not in self._shared:
                self._shared[loop] = _Shared(self.open_async_channel(), asyncio.Lock())
            return self._shared[loop]

    def _is_open(self, shared: "_Shared") -> bool:
        with self._lock:
            return self._shared.get(asyncio.get_running_loop()) is shared


class _Shared(NamedTuple):
    """What reads on one event loop share."""

    channel: AsyncChannel
    turn: asyncio.Lock  # held while one task asks


_CLOSED = "The client was closed before an answer came"
