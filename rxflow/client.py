"""`Client`: the settings and the backend of one server, and reads from it, blocking and async.

What a read sends is decided by its poll, and when a failed query is retried by
`rxflow._protocol.poll_runner`; here the steps are carried out. A watch opens a channel of its own.
"""

import asyncio
import threading
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Final, NamedTuple, NoReturn, Self, TypeVar
from uuid import UUID
from weakref import WeakKeyDictionary

from rxflow._config.settings import Settings, load_settings
from rxflow._forks import no_fork, register
from rxflow._models.arguments import check_type
from rxflow._models.entities import BackendName
from rxflow._protocol.failures import Failure
from rxflow._protocol.pages import Poll
from rxflow._protocol.poll_runner import Finished, PageLimit, Pause, TimedReply, run_poll
from rxflow._protocol.queries import Query
from rxflow._runtime.clocks import apause, pause, real_now
from rxflow.errors import Unreachable

if TYPE_CHECKING:
    from rxflow._net.channel import AsyncChannel, Channel
    from rxflow._net.connector import Connector
    from rxflow._net.endpoint import HttpTransport
    from rxflow._net.push_channel import PushChannel
    from rxflow._net.transport import WhileWaiting

__all__ = ["Client"]

T = TypeVar("T")


_CLOSED: Final = "The client was closed before a reply was received"


class Client:
    """A client of one Prefect server, Prefect 3 or Prefect 1.

    Without arguments it finds the server as Prefect itself does, from the environment and the
    active profile, without importing Prefect. Many threads and event loops may use one client at
    the same time, and so may forked processes: each connects by itself. ``with`` closes the
    connection of blocking reads, ``async with`` the connection of reads on the running event loop.
    Watches continue after the client is closed, since each has a connection of its own.

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
        tenant_id: str | UUID | None = None,
        settings: Settings | None = None,
        transport: "HttpTransport | None" = None,
    ) -> None:
        """Load the settings of the server; no request is sent yet.

        Args:
            api_url: The API's base URL, which ends in ``/api`` on a self-hosted Prefect 3.
            api_key: A Prefect Cloud key.
            auth_string: ``user:password`` of a self-hosted server.
            headers: Further headers for every request.
            profile: The Prefect profile to use in place of the active one.
            backend: The kind of server, ``prefect3`` or ``prefect1``. If None it is the value of
                ``RXFLOW_BACKEND``, or else the kind whose settings have the URL. If the URL is
                passed here or found in ``RXFLOW_API_URL``, the client detects the kind with its
                first requests.
            tenant_id: The id of the tenant, a UUID, for Prefect Cloud 1 with a key.
            settings: Complete settings, used instead of all arguments above.
            transport: An httpx transport to use instead of the network, for tests: blocking, async,
                or both, as those of `rxflow.testing` are.

        Raises:
            ConfigurationError: No URL was found, or a setting cannot be used.
            TypeError: ``settings`` or ``transport`` is of another class.
        """
        if settings is not None:
            check_type("settings", settings, Settings, "api_url=... in its place")
        self._settings = settings or load_settings(
            api_url=api_url,
            api_key=api_key,
            auth_string=auth_string,
            headers=headers,
            profile=profile,
            backend=backend,
            tenant_id=tenant_id,
        )
        self._transport = transport
        self._lazy_connector: Connector | None = None
        self._page_limit = PageLimit()
        self._start_unconnected()
        if transport is not None or self._settings.api_url.startswith("https:"):
            _ = self._connector  # which finds an unusable transport or file of certificates
        register(self)

    def _start_unconnected(self) -> None:
        self._send_lock = threading.Lock()  # held while a blocking read waits for a reply
        self._lock = threading.Lock()  # guards the channels below
        self._channel: Channel | None = None
        # A connection of asyncio belongs to one event loop.
        self._loop_channels: WeakKeyDictionary[asyncio.AbstractEventLoop, _LoopChannel] = (
            WeakKeyDictionary()
        )

    def reset_after_fork(self) -> None:
        """Drop the parent's connections in a forked child; called by rxflow itself."""
        self._start_unconnected()

    @property
    def api_url(self) -> str:
        """The API's base URL, without credentials."""
        return self._settings.api_url

    def __repr__(self) -> str:
        """Show the URL."""
        settings: Settings | None = getattr(self, "_settings", None)
        if settings is None:  # __init__ raised, and a traceback or a debugger shows the client
            return "<Client that was not initialised>"
        return f"Client(api_url={settings.api_url!r})"

    def __reduce__(self) -> NoReturn:
        """Refuse to be copied or pickled."""
        raise TypeError(
            "A Client cannot be copied or pickled, since it holds connections and may hold a key; "
            "make one with rxflow.Client(...) where it is used"
        )

    def __enter__(self) -> Self:
        """Return the client."""
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the connection of blocking reads."""
        self.close()

    def close(self) -> None:
        """Close the connection of blocking reads; a read in progress fails.

        The next read opens another connection.
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
        """Close the connection of reads on the running event loop."""
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connection of reads on the running event loop; a read in progress fails.

        The next read opens another connection.
        """
        with self._lock:
            own = self._loop_channels.pop(asyncio.get_running_loop(), None)
        if own is not None:
            await own.channel.aclose()

    def task_names(self, task_key: str) -> tuple[str, ...]:
        """Return other names of a task on this server: on Prefect 3 its key without the hash."""
        return self._connector.shared_backend.task_names(task_key)

    def open_channel(self) -> "Channel":
        """Return a channel with a connection of its own, which the caller must close."""
        return self._connector.open_channel()

    def open_async_channel(self) -> "AsyncChannel":
        """Return a channel for the running event loop, which the caller must close there."""
        return self._connector.open_async_channel()

    def open_push_channel(self) -> "PushChannel | None":
        """Return a channel for announcements, for an event loop; None if there can be none."""
        return self._connector.open_push_channel()

    def read(self, poll: Callable[[int], Poll[T]]) -> T:
        """Run a poll, blocking; failed queries are retried for up to 30 s.

        Args:
            poll: Makes the poll, given the largest number of rows to query at once.

        Returns:
            The return value of the poll.

        Raises:
            RunNotFound: The server has no such run.
            ServerError: The server's responses were errors for 30 s, or one that no retry mends.
            Unreachable: The server did not respond for 30 s, or the client was closed meanwhile.
        """
        channel = self._open_shared_channel()
        steps = run_poll(poll, self._page_limit)
        step = next(steps)
        while not isinstance(step, Finished):
            step = steps.send(self._carry_out(step, channel))
        value: T = step.value
        return value

    async def aread(self, poll: Callable[[int], Poll[T]]) -> T:
        """Run a poll on the running event loop; otherwise as `read`.

        Cancelling the task aborts a request in progress.
        """
        own = self._open_loop_channel()
        steps = run_poll(poll, self._page_limit)
        step = next(steps)
        while not isinstance(step, Finished):
            step = steps.send(await self._acarry_out(step, own))
        value: T = step.value
        return value

    def _carry_out(
        self,
        step: Query | Pause,
        channel: "Channel",
        while_waiting: "WhileWaiting | None" = None,
    ) -> TimedReply | None:
        if isinstance(step, Pause):
            pause(step.seconds)
            return None
        with self._send_lock:
            sent = real_now()
            reply = channel.send(step, while_waiting)
        if isinstance(reply, Failure) and channel is not self._channel:
            raise Unreachable(_CLOSED)
        return TimedReply(reply, sent, real_now())

    async def _acarry_out(self, step: Query | Pause, own: "_LoopChannel") -> TimedReply | None:
        if isinstance(step, Pause):
            await apause(step.seconds)
            return None
        async with own.send_lock:
            sent = real_now()
            reply = await own.channel.send(step)
        if isinstance(reply, Failure) and not self._is_open(own):
            raise Unreachable(_CLOSED)
        return TimedReply(reply, sent, real_now())

    @property
    def _connector(self) -> "Connector":
        if self._lazy_connector is None:
            with no_fork:
                # Not before it is needed: httpx takes longer to import than all of rxflow.
                from rxflow._net.connector import Connector  # noqa: PLC0415

                if self._lazy_connector is None:
                    self._lazy_connector = Connector(self._settings, self._transport)
        return self._lazy_connector

    def _open_shared_channel(self) -> "Channel":
        with self._lock:
            if self._channel is None:
                self._channel = self.open_channel()
            return self._channel

    def _open_loop_channel(self) -> "_LoopChannel":
        loop = asyncio.get_running_loop()
        with self._lock:
            # The connection of a closed loop refers to it, so that the weak key alone never dies.
            for closed in [other for other in self._loop_channels if other.is_closed()]:
                del self._loop_channels[closed]
            if loop not in self._loop_channels:
                self._loop_channels[loop] = _LoopChannel(self.open_async_channel(), asyncio.Lock())
            return self._loop_channels[loop]

    def _is_open(self, own: "_LoopChannel") -> bool:
        with self._lock:
            return self._loop_channels.get(asyncio.get_running_loop()) is own


class _LoopChannel(NamedTuple):
    """The channel that all reads on one event loop share.

    Attributes:
        channel: The channel.
        send_lock: Held while a read waits for a reply.
    """

    channel: "AsyncChannel"
    send_lock: asyncio.Lock
