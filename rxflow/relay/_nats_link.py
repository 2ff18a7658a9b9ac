"""A connection to a NATS server: requests that end, and the reason why one is refused.

The client of nats-py connects again for ever. While it is not connected, or no reply comes, a
request raises `Unanswered`, and whether it was carried out is not known. What waiting does not
change is a `BrokerFailed`: a refused permission, which the server reports beside the request; a
connection that the server ended for good.

Belongs here: what is true of every request to NATS. Does not belong here: streams and subjects.
Tested with nats-py 2.13 to 2.16 and nats-server 2.11 to 2.15.
"""

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any, Final, TypeVar

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import (
    ConnectionClosedError,
    Error,
    MaxPayloadError,
    NoRespondersError,
    OutboundBufferLimitError,
    SecureConnWantedError,
)

from rxflow._own_log import log
from rxflow.errors import BrokerFailed
from rxflow.relay._address import Address
from rxflow.relay._certificate_errors import certificate_error
from rxflow.relay._retries import Unanswered

T = TypeVar("T")

LEAST_VERSION: Final = (2, 11)  # the first that reads a batch of messages without a consumer

_REQUEST_SECONDS: Final = 3.0
_RECONNECT_SECONDS: Final = 0.25
_PING_SECONDS: Final = 10
_CLOSE_SECONDS: Final = 2.0


class NoResponder(Unanswered):
    """Nothing on the server listens to the subject: no such stream, or not at the moment."""


class NatsLink:
    """A connection to a NATS server or cluster.

    Attributes:
        failures: How many requests have failed.
        name: The server's URL without secrets.
    """

    def __init__(self, address: Address) -> None:
        """Make a connection that is not open yet.

        Args:
            address: Where the server is, and what it is shown.
        """
        self.failures = 0
        self.name = address.name
        self._address = address
        is_secure = address.scheme == "tls" or address.credentials.tls is not None
        self._client = _Client(is_secure=is_secure)
        self._last_error = "no reply"
        self._refusal: asyncio.Future[BrokerFailed] | None = None
        self._violations: list[tuple[str, str]] = []  # a word, and the subject, in lower case
        self._waiting: set[asyncio.Future[None]] = set()
        self._listeners: list[Callable[[], None]] = []

    async def open(self, seconds: float) -> None:
        """Connect.

        Args:
            seconds: For how long to try.

        Raises:
            BrokerFailed: It took longer, or the server refuses the credentials, or is too old.
        """
        self._refusal = asyncio.get_running_loop().create_future()
        connecting = asyncio.ensure_future(self._connect())
        is_usable = False
        try:
            await asyncio.wait(
                (connecting, self._refusal), timeout=seconds, return_when=asyncio.FIRST_COMPLETED
            )
            refused = self._refused_opening(connecting, seconds)
            if refused is not None:
                raise refused
            is_usable = True
        finally:
            if not is_usable:
                await _end(connecting)
                await self.aclose()

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection at the moment, as far as is known."""
        return self._client.is_connected

    @property
    def largest_message(self) -> int:
        """The most bytes of a message, its headers included, that the server takes."""
        return self._client.max_payload

    def on_reconnect(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Call a function after each time that the connection was made anew.

        Returns:
            What ends that; it may be called twice.
        """
        self._listeners.append(listener)

        def end() -> None:
            with suppress(ValueError):
                self._listeners.remove(listener)

        return end

    async def request(
        self, subject: str, body: bytes = b"", *, headers: dict[str, str] | None = None
    ) -> Msg:
        """Send a message and return the reply.

        Raises:
            Unanswered: There is none.
            BrokerFailed: The server does not permit it.
        """
        sent = self._client.request(subject, body, timeout=_REQUEST_SECONDS, headers=headers)
        return await self._permitted(sent, subject)

    async def request_many(self, subject: str, body: bytes) -> list[Msg]:
        """Send a message to which there are several replies, the last of which has a status.

        Returns:
            The replies; the last one is missing if it did not come in time, and some others came.

        Raises:
            Unanswered: There is none.
            BrokerFailed: The server does not permit it.
        """
        inbox = self._client.new_inbox()
        replies: list[Msg] = []
        is_whole = asyncio.Event()

        async def receive(reply: Msg) -> None:
            replies.append(reply)
            if "Status" in (reply.headers or {}):
                is_whole.set()

        async def send() -> None:
            subscription = await _subscribe(self._client, inbox, receive)
            try:
                await self._client.publish(subject, body, reply=inbox)
                seen = -1
                while not is_whole.is_set() and len(replies) > seen:
                    seen = len(replies)
                    with suppress(TimeoutError):
                        async with asyncio.timeout(_REQUEST_SECONDS):
                            await is_whole.wait()
            finally:
                await _unsubscribe(subscription)

        await self._permitted(send(), subject)
        if not replies:
            raise self._unanswered(f"no reply to {subject}")
        if (replies[0].headers or {}).get("Status") == "503":
            self.failures += 1
            raise NoResponder(subject)
        return replies

    async def request_message(self, subject: str, body: bytes, *, seconds: float) -> Msg:
        """Send a message to which the reply is a stored message, or has a status.

        Args:
            subject: The subject.
            body: The body.
            seconds: For how long the server may keep it waiting.

        Raises:
            Unanswered: There is none.
            BrokerFailed: The server does not permit it.
        """
        inbox = self._client.new_inbox()
        received: asyncio.Future[Msg] = asyncio.get_running_loop().create_future()

        async def receive(reply: Msg) -> None:
            if not received.done():
                received.set_result(reply)

        async def send() -> Msg:
            subscription = await _subscribe(self._client, inbox, receive)
            try:
                await self._client.publish(subject, body, reply=inbox)
                async with asyncio.timeout(seconds + _REQUEST_SECONDS):
                    return await received
            finally:
                await _unsubscribe(subscription)

        reply = await self._permitted(send(), subject)
        if (reply.headers or {}).get("Status") == "503":
            self.failures += 1
            raise NoResponder(subject)
        return reply

    async def subscribe(
        self, subject: str, receive: Callable[[Msg], Awaitable[None]]
    ) -> Subscription:
        """Subscribe to a subject, for as long as the link is open, outages included.

        Args:
            subject: The subject.
            receive: Called with each message, a coroutine function.

        Raises:
            Unanswered: It is not known whether the server has the subscription.
            BrokerFailed: The server does not permit it.
        """
        subscription: Subscription | None = None

        async def send() -> Subscription:
            nonlocal subscription
            if not self._client.is_connected:
                raise ConnectionResetError("not connected")
            subscription = await _subscribe(self._client, subject, receive)
            await self._client.flush()  # the reply comes after a refusal
            return subscription

        try:
            return await self._permitted(send(), subject)
        except BaseException:
            if subscription is not None:
                await _unsubscribe(subscription)
            raise

    async def unsubscribe(self, subscription: Subscription) -> None:
        """End a subscription."""
        await _unsubscribe(subscription)

    async def publish(self, subject: str, headers: dict[str, str]) -> None:
        """Send a message without a body, to which there is no reply; it may be lost."""
        with suppress(Error, OSError):
            await self._client.publish(subject, headers=headers)

    async def aclose(self) -> None:
        """Close the connection. May be called twice."""
        # It waits for the server to take what is written, which one that is stopped never does.
        closing = asyncio.ensure_future(self._client.close())
        await asyncio.wait((closing,), timeout=_CLOSE_SECONDS)
        await _end(closing)

    # -- how a request ends -------------------------------------------------------------------

    async def _permitted(self, sent: Coroutine[Any, Any, T], subject: str) -> T:
        """Return what a request returns, or raise at once if it is not permitted."""
        task = asyncio.create_task(sent)
        changed = asyncio.get_running_loop().create_future()
        self._waiting.add(changed)
        # A refusal is about this request only if it came after it was sent.
        lower = subject.lower()  # as nats-py has the server's texts
        self._violations[:] = [each for each in self._violations if each[1] != lower]
        try:
            while True:
                await asyncio.wait((task, changed), return_when=asyncio.FIRST_COMPLETED)
                if refused := self._refused(subject):
                    raise refused
                if task.done():
                    return task.result()
                self._waiting.discard(changed)
                changed = asyncio.get_running_loop().create_future()
                self._waiting.add(changed)
        except (NoRespondersError, ConnectionClosedError, MaxPayloadError) as error:
            raise self._translated(error) from error
        except (OutboundBufferLimitError, TimeoutError, OSError, Error) as error:
            if isinstance(error, BrokerFailed):
                raise
            raise self._unanswered(_text_of(error)) from error
        finally:
            self._waiting.discard(changed)
            await _end(task)

    def _refused(self, subject: str) -> BrokerFailed | None:
        for verb, of in self._violations:
            if of == subject.lower():
                return self._not_permitted(verb, subject)
            if verb == "subscribe" and of.startswith("_inbox."):  # to which replies are sent
                return self._not_permitted(verb, "_INBOX.>")
        return None

    def _not_permitted(self, verb: str, subject: str) -> BrokerFailed:
        return self._failed(
            f"does not permit this user to {verb} to {subject!r}; extend the user's permissions"
        )

    def _translated(self, error: Error) -> Exception:
        if isinstance(error, NoRespondersError):
            self.failures += 1
            return NoResponder(_text_of(error))
        if isinstance(error, MaxPayloadError):
            return self._failed(f"takes messages of {self.largest_message:,} bytes at most")
        return self._ended_connection()

    def _ended_connection(self) -> BrokerFailed:
        # nats-py closes for good where a server reports an error of the whole connection.
        error = self._client.last_error or ConnectionClosedError()
        text = self._sentence(f"ended the connection: {_text_of(error)}")
        return BrokerFailed(text, is_auth_refused=_is_final(error), is_ended=True)

    def _unanswered(self, reason: str) -> Unanswered:
        self.failures += 1
        return Unanswered(f"{self.name}: {reason}")

    def _failed(self, reason: str) -> BrokerFailed:
        return BrokerFailed(self._sentence(reason))

    def _sentence(self, reason: str) -> str:
        return f"The NATS server {self.name} {reason}"

    # -- the connection -----------------------------------------------------------------------

    async def _connect(self) -> None:
        await self._client.connect(
            servers=self._address.urls,
            name="rxflow",
            error_cb=self._receive_error,
            reconnected_cb=self._receive_reconnect,
            max_reconnect_attempts=-1,
            ping_interval=_PING_SECONDS,
            # Nothing is kept to be sent after an outage: by then its sender has sent it again.
            pending_size=0,
            **_options(self._address),
        )

    def _refused_opening(
        self, connecting: "asyncio.Future[None]", seconds: float
    ) -> BrokerFailed | None:
        """Return why the server cannot be used; None if it can be."""
        if self._refusal is not None and self._refusal.done():
            return self._refusal.result()
        if not connecting.done():
            text = f"did not accept a connection for {seconds:g} s: {self._last_error}"
            return BrokerFailed(self._sentence(text), is_away=True)
        error = connecting.exception()
        if error is not None:
            return self._failed(f"cannot be used: {_text_of(error)}")
        version = self._client.connected_server_version
        try:
            is_old = (version.major, version.minor) < LEAST_VERSION
        except ValueError:  # of a build of one's own
            return None
        least = ".".join(map(str, LEAST_VERSION))
        number = f"{version.major}.{version.minor}.{version.patch}"
        if not is_old:
            return None
        return self._failed(f"is of version {number}; a relay needs {least} or newer")

    async def _receive_error(self, error: Exception) -> None:
        text = _text_of(error)
        self._last_error = text
        log("DEBUG", "{}: {}", self.name, text)
        lower = text.lower()
        if "permissions violation" in lower:
            verb = "publish" if " publish " in lower else "subscribe"
            self._violations.append((verb, lower.partition('"')[2].rpartition('"')[0]))
            self._wake()
        elif self._refusal is not None and not self._refusal.done() and _is_final(error):
            self._refusal.set_result(self._refused_connection(error, text))

    def _refused_connection(self, error: Exception, text: str) -> BrokerFailed:
        if isinstance(error, SecureConnWantedError | ssl.SSLError):
            certificate = certificate_error(error)
            return BrokerFailed(
                self._sentence(f"cannot be used: {text}"),
                is_auth_refused=certificate is not None and certificate.is_own,
            )
        text = self._sentence(f"refuses the credentials: {text}")
        return BrokerFailed(text, is_auth_refused=True)

    async def _receive_reconnect(self) -> None:
        log("DEBUG", "{}: connected again", self.name)
        self._violations.clear()  # the user's permissions may be others now
        for listener in [*self._listeners]:
            listener()

    def _wake(self) -> None:
        for changed in self._waiting:
            if not changed.done():
                changed.set_result(None)


class _Client(Client):
    """The client of nats-py, in three details that it has no options for."""

    def __init__(self, *, is_secure: bool) -> None:
        """Make a client that is not connected.

        Args:
            is_secure: Whether to send nothing to a server that does not offer TLS. Others would
                read the password.
        """
        super().__init__()
        self._is_secure = is_secure

    async def _process_info(self, info: dict[str, Any], initial_connection: bool = False) -> None:
        if self._is_secure and initial_connection and not info.get("tls_required"):
            raise SecureConnWantedError
        await super()._process_info(info, initial_connection)

    async def _process_connect_init(self) -> None:
        try:
            await super()._process_connect_init()
        except BaseException:
            # It opens another socket for the next attempt, and forgets this one.
            transport: Any = self._transport
            if transport is not None:
                transport.close()
            raise

    def _connect_command(self) -> bytes:
        # By now the connection is encrypted, if it will be. nats-py does not say so to its
        # protocol, as asyncio's own `start_tls` does: each end would be a warning of asyncio's.
        transport: Any = self._transport
        writer: Any = getattr(transport, "_io_writer", None)  # none of a websocket
        if writer is not None and writer.get_extra_info("sslcontext") is not None:
            writer._protocol._over_ssl = True  # noqa: SLF001 - the transport may be closed already
        return super()._connect_command()


def _options(address: Address) -> dict[str, Any]:
    """Return the credentials as arguments of nats-py, and one whose type there is too narrow."""
    credentials = address.credentials
    options: dict[str, Any] = {
        "reconnect_time_wait": _RECONNECT_SECONDS,
        "user": credentials.user,
        "password": credentials.password and credentials.password.reveal(),
        "token": credentials.token and credentials.token.reveal(),
        "user_credentials": credentials.creds,
        "tls": credentials.tls,
    }
    return {name: value for name, value in options.items() if value is not None}


async def _end(task: "asyncio.Future[Any]") -> None:
    """Cancel a task, and leave no error behind that would be logged as never retrieved."""
    if not task.done():
        task.cancel()
        await asyncio.wait((task,))
    if not task.cancelled():
        task.exception()


async def _subscribe(
    client: Any,  # nats-py gives an argument an incomplete type
    subject: str,
    receive: Callable[[Msg], Awaitable[None]],
) -> Subscription:
    """Subscribe without a limit: `receive` does not wait, and limits what it keeps itself."""
    subscription: Subscription = await client.subscribe(
        subject, cb=receive, pending_msgs_limit=0, pending_bytes_limit=0
    )
    return subscription


async def _unsubscribe(subscription: Subscription) -> None:
    with suppress(Error, OSError):
        await subscription.unsubscribe()


def _is_final(error: Exception) -> bool:
    """Whether connecting again leads to the same error."""
    if isinstance(error, SecureConnWantedError) or certificate_error(error) is not None:
        return True
    text = str(error).lower()
    if "timeout" in text:  # of a server that has waited too long for the credentials
        return False
    return "authorization" in text or "authentication" in text


def _text_of(error: BaseException) -> str:
    certificate = certificate_error(error)
    if certificate is not None:
        return certificate.text
    return str(error).removeprefix("nats: ").strip() or type(error).__name__
