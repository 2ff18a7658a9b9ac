"""A connection to a Redis or Valkey server: commands that end, and the reason why one is refused.

Commands are sent as they are and replies are returned as they come, in version 2 of the protocol,
so that versions of redis-py do not differ. Each blocking command has a connection of the pool to
itself while it blocks.

Belongs here: what is true of every command. Does not belong here: keys and scripts (`_redis`).
Tested with redis-py 5.1 and 8.1, Redis 6.2 and Valkey 9.1.
"""

import asyncio
import re
import ssl
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

from redis.asyncio.client import Redis
from redis.asyncio.connection import Connection, ConnectionPool, SSLConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    ClusterDownError,
    InvalidResponse,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)
from redis.exceptions import ConnectionError as ConnectionBroken
from redis.exceptions import TimeoutError as NoReply

from rxflow._escapes import one_line
from rxflow._own_log import log
from rxflow._runtime.clocks import apause
from rxflow.errors import BrokerFailed
from rxflow.relay._address import Address
from rxflow.relay._certificate_errors import certificate_error
from rxflow.relay._retries import Full, StoresNothing, Unanswered

LEAST_VERSION: Final = (6, 2)

_REPLY_SECONDS: Final = 3.0
_RETRY_SECONDS: Final = 0.25
_CLOSE_SECONDS: Final = 2.0
_PING_SECONDS: Final = 2.0  # of silence, after which it is seen whether a subscription is alive
# The server waits for its master, or for the end of a script.
_PASSING: Final = ("MASTERDOWN", "TRYAGAIN", "BUSY ")
# Its snapshots or its file fail, or it has too few replicas; what is read has a reply.
_STORES_NOTHING: Final = ("MISCONF", "NOREPLICAS")
_FORBIDDEN: Final = re.compile(r"run the '([^']+)' command")
_LONGEST_REPLY: Final = 100  # characters of one that is no reply of Redis


class RedisLink:
    """A connection to a Redis or Valkey server.

    Attributes:
        failures: How many commands have failed.
        name: The server's URL without secrets.
    """

    def __init__(self, address: Address) -> None:
        """Make a connection that is not open yet.

        Args:
            address: Where the server is, and what it is shown.
        """
        self.failures = 0
        self.name = address.name
        self._client = _client_for(address)

    async def open(self, seconds: float) -> None:
        """Connect.

        Args:
            seconds: For how long to try.

        Raises:
            BrokerFailed: It took longer, or the server refuses the credentials, or is too old.
        """
        is_usable = False
        try:
            self._check_version(await self._greeting(seconds))
            is_usable = True
        finally:
            if not is_usable:
                await self.aclose()

    async def command(self, *parts: bytes | str | float, block: float = 0.0) -> Any:
        """Send a command and return its reply: bytes, numbers, None, and lists of these.

        Args:
            parts: The command and its arguments.
            block: For how many seconds the server may keep it waiting.

        Raises:
            Unanswered: There is none.
            Full: The server has no room.
            StoresNothing: The server refuses to store anything.
            BrokerFailed: The server refuses it.
        """
        try:
            async with asyncio.timeout(_REPLY_SECONDS + block):
                return await self._client.execute_command(*parts)
        except (RedisError, OSError) as error:  # Python's time-out is an OSError
            raise self.failed(error, str(parts[0])) from error

    @asynccontextmanager
    async def subscribed(self, channel: str) -> AsyncGenerator["Subscription"]:
        """Subscribe to a channel, on a connection of its own, until the block is left.

        Raises:
            Unanswered: There is no reply.
            BrokerFailed: The server refuses it.
        """
        channels = self._client.pubsub()
        subscription = Subscription(self, channels)
        try:
            await subscription.begin(channel)
            yield subscription
        finally:
            with suppress(RedisError, OSError):
                await channels.aclose()

    def failed(self, error: Exception, command: str) -> Exception:
        """Return what the failure of a command means, and count those without a reply."""
        found = self._translated(error, command)
        if isinstance(found, Unanswered):
            self.failures += 1
            log("DEBUG", "{}: {} failed: {}", self.name, command, found)
        return found

    async def aclose(self) -> None:
        """Close all connections. May be called twice."""
        with suppress(RedisError, OSError):
            async with asyncio.timeout(_CLOSE_SECONDS):
                await self._client.aclose()
                await self._client.connection_pool.disconnect()

    async def _greeting(self, seconds: float) -> Any:
        """Connect, and return the server's greeting."""
        reason = "no reply"
        try:
            async with asyncio.timeout(seconds):
                while True:
                    try:
                        return await self.command("HELLO")
                    except Unanswered as error:
                        reason = str(error)
                        await apause(_RETRY_SECONDS)
        except TimeoutError:
            raise BrokerFailed(
                f"The Redis server {self.name} did not accept a connection for {seconds:g} s: "
                f"{reason}",
                is_away=True,
            ) from None

    def _translated(self, error: Exception, command: str) -> Exception:
        text = _text_of(error)
        certificate = certificate_error(error)
        if certificate is not None:
            return self._failed(
                f"cannot be used: {certificate.text}", is_auth_refused=certificate.is_own
            )
        match error:
            case AuthenticationError() | AuthorizationError():
                return self._failed(f"refuses the credentials: {text}", is_auth_refused=True)
            case OutOfMemoryError():
                return Full(text)
            case ReadOnlyError():
                return StoresNothing(text)
            case ClusterDownError() | ConnectionBroken() | NoReply() | OSError():
                return Unanswered(text)  # a server that is still loading is also ConnectionBroken
            case ResponseError() if "OOM " in text:
                return Full(text)
            case ResponseError() if any(word in text for word in _STORES_NOTHING):
                return StoresNothing(text.partition(". ")[0])
            case ResponseError() if text.startswith(_PASSING):
                return Unanswered(text)
            case _:
                return self._failed(_refusal(error, text, command))

    def _check_version(self, greeting: Any) -> None:
        found = dict(zip(greeting[::2], greeting[1::2], strict=False))
        version = bytes(found.get(b"version", b"")).decode("ascii", "replace")
        numbers = version.split(".")[:2]
        if all(map(str.isdecimal, numbers)) and tuple(map(int, numbers)) < LEAST_VERSION:
            raise self._failed(f"is of version {version}; a relay needs {_least()} or newer")

    def _failed(self, reason: str, *, is_auth_refused: bool = False) -> BrokerFailed:
        text = f"The Redis server {self.name} {reason}"
        return BrokerFailed(text, is_auth_refused=is_auth_refused)


class Subscription:
    """What is published on a channel; `RedisLink.subscribed` makes it."""

    def __init__(self, link: RedisLink, channels: Any) -> None:
        """Subscribe to nothing yet.

        Args:
            link: The connection's link, which counts failures.
            channels: What redis-py has for subscriptions.
        """
        self._link = link
        self._channels = channels
        self._heard_at = asyncio.get_running_loop().time()

    async def begin(self, channel: str) -> None:
        """Subscribe, and wait until the server has done so; errors as of `subscribed`."""
        try:
            async with asyncio.timeout(_REPLY_SECONDS):
                await self._channels.subscribe(channel)
                while await self._channels.get_message(timeout=_REPLY_SECONDS) is None:
                    pass
        except (RedisError, OSError) as error:
            raise self._link.failed(error, "SUBSCRIBE") from error

    async def next(self, seconds: float) -> bytes | None:
        """Return the next message; None if there is none within some seconds.

        Raises:
            Unanswered: The connection is broken.
            BrokerFailed: The server has ended the subscription.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        try:
            while True:
                pause = min(max(until - loop.time(), 0.0), _PING_SECONDS)
                message = await self._channels.get_message(timeout=pause)
                if message is None and loop.time() - self._heard_at >= _PING_SECONDS:
                    await self._channels.ping()
                    message = await self._channels.get_message(timeout=_REPLY_SECONDS)
                    if message is None:
                        raise NoReply("no reply to a PING")
                if message is not None:
                    self._heard_at = loop.time()
                    if message["type"] == "message":
                        return bytes(message["data"])
                if loop.time() >= until:
                    return None
        except (RedisError, OSError) as error:
            raise self._link.failed(error, "SUBSCRIBE") from error


class _TlsConnection(SSLConnection):
    """A connection with a TLS context of the caller's, which redis-py has no argument for."""

    def __init__(self, *, tls: ssl.SSLContext, **arguments: Any) -> None:
        parent: Any = super()  # whose types are incomplete, here and below
        parent.__init__(**arguments)
        self._tls = tls

    def _connection_arguments(self) -> Mapping[str, Any]:
        parent: Any = super()
        return {**parent._connection_arguments(), "ssl": self._tls}  # noqa: SLF001


def _client_for(address: Address) -> Any:
    """Make a client that sends each command once, and does not convert replies."""
    credentials = address.credentials
    ((host, port),) = address.servers
    options: dict[str, Any] = {
        "host": host,
        "port": port,
        "db": address.database,
        "username": credentials.user,
        "password": credentials.password and credentials.password.reveal(),
        "protocol": 2,
        "retry": Retry(NoBackoff(), 0),
        "socket_timeout": None,  # `command` has one that knows how long a command blocks
        "socket_connect_timeout": _REPLY_SECONDS,
        "socket_keepalive": True,
    }
    if address.scheme == "rediss":
        options["tls"] = credentials.tls or ssl.create_default_context()
    kind: type[Connection] = _TlsConnection if address.scheme == "rediss" else Connection
    pool: Any = ConnectionPool(connection_class=kind, **options)
    client: Any = Redis(connection_pool=pool)
    client.response_callbacks.clear()
    return client


def _least() -> str:
    return ".".join(map(str, LEAST_VERSION))


def _text_of(error: Exception) -> str:
    return str(error).strip() or type(error).__name__


def _beginning(reply: str) -> str:
    """Return a reply in one line, without its end if it is long."""
    text = one_line(reply)
    return text if len(text) <= _LONGEST_REPLY else f"{text[:_LONGEST_REPLY]}..."


def _refusal(error: Exception, text: str, command: str) -> str:
    """Return why the server does not do what a command says."""
    match error:
        case InvalidResponse():
            return f"is not a Redis server; its reply: {_beginning(text)}"
        case NoPermissionError():
            return _not_permitted(text, command)
        case _ if command == "HELLO" and "unknown command" in text.lower():
            return f"is too old; a relay needs {_least()} or newer"
        case _:
            return f"refuses {command}: {text}"


def _not_permitted(text: str, command: str) -> str:
    """Return which command is refused: it may be one that redis-py sends before the one meant."""
    found = _FORBIDDEN.search(text)
    refused = command if found is None else found[1].upper()
    advice = "; permit it by +select, or use database 0" if refused == "SELECT" else ""
    return f"refuses {refused}: {text}{advice}"
