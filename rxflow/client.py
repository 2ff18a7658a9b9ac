"""A client: where the server is, how it is spoken to, and blocking reads from it."""

import threading
from collections.abc import Callable, Mapping
from random import Random
from types import TracebackType
from typing import Any, Self, TypeVar

from rxflow._backends import Backend
from rxflow._backends.prefect3 import Prefect3
from rxflow._channel import Channel, Pass
from rxflow._polling import PAGE_LIMIT, Failure, Page, Patience, Poll, Query, Trouble
from rxflow._schedulers import pause, real_now
from rxflow._settings import Settings, load_settings
from rxflow._transport import HttpTransport, Transport, tls_of
from rxflow.errors import BadResponse, RxflowError, Unreachable

__all__ = ["Client"]

T = TypeVar("T")


class Client:
    """Speaks to one Prefect server.

    Without arguments it finds the server as Prefect itself does, from the environment and the
    active profile, without importing Prefect. It may be used by many threads, and closes what it
    opened; watches go on after it is closed, since each has a connection of its own.

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
        settings: Settings | None = None,
        transport: HttpTransport | None = None,
    ) -> None:
        """Find out where the server is; nothing is asked yet.

        Args:
            api_url: The API's base URL, which ends in ``/api`` on a self-hosted server.
            api_key: A Prefect Cloud key.
            auth_string: ``user:password`` of a self-hosted server.
            headers: Further headers for every request.
            profile: The Prefect profile to use in place of the active one.
            settings: Everything at once, in place of all of the above.
            transport: An httpx transport to use in place of the network, for tests.

        Raises:
            ConfigurationError: No URL was found, or a setting cannot be read.
        """
        self._settings = settings or load_settings(
            api_url=api_url,
            api_key=api_key,
            auth_string=auth_string,
            headers=headers,
            profile=profile,
        )
        self._backend: Backend = Prefect3()
        self._transport = transport
        self._tls = tls_of(self._settings)
        self._pass = Pass()
        self._turn = threading.Lock()  # held while one thread asks
        self._lock = threading.Lock()  # held while the channel changes
        self._channel: Channel | None = None
        self._limit = PAGE_LIMIT

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
        """Close the connection that blocking reads use, and end a read that is under way.

        The next read opens another.
        """
        with self._lock:
            channel, self._channel = self._channel, None
        if channel is not None:
            channel.close()

    def open_channel(self) -> Channel:
        """Open a connection of one's own; whoever opens it closes it."""
        return Channel(
            self._backend, Transport(self._settings, self._tls, self._transport), self._pass
        )

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
        channel, limit = self._open(), self._limit
        while True:
            asking = poll(limit)
            try:
                query = next(asking)
                while True:
                    answer = self._ask(channel, query)
                    if isinstance(answer, Failure):
                        limit = self._lower(limit, answer)
                        break
                    query = asking.send(answer)
            except StopIteration as end:
                found: T = end.value
                return found

    def _ask(self, channel: Channel, query: Query) -> Page[Any] | Failure:
        """Ask until there is an answer; of failures only `Trouble.PAGE_LIMIT` is returned."""
        patience = Patience(Random())  # noqa: S311 - jitter, not a secret
        while True:
            with self._turn:
                patience.asked(real_now())
                answer = channel.ask(query)
            if isinstance(answer, Page) or answer.trouble is Trouble.PAGE_LIMIT:
                return answer
            if channel is not self._channel:
                raise Unreachable("The client was closed before an answer came")
            wait = patience.failed(answer, real_now())
            if isinstance(wait, RxflowError):
                raise wait
            pause(wait)

    def _open(self) -> Channel:
        with self._lock:
            if self._channel is None:
                self._channel = self.open_channel()
            return self._channel

    def _lower(self, limit: int, failure: Failure) -> int:
        lower = failure.limit or limit // 2
        if not 0 < lower < limit:
            raise BadResponse(failure.text)
        if failure.limit is not None:  # which holds for whatever is asked for
            self._limit = lower
        return lower
