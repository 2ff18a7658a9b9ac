"""The connections of readers to brokers: one for each event loop, URL and workspace."""

import asyncio
import math
import ssl
from typing import Any
from weakref import WeakKeyDictionary

import msgspec

from rxflow._forks import register
from rxflow._models.arguments import check_type
from rxflow._runtime.clocks import real_now
from rxflow.errors import RxflowError
from rxflow.relay._broker import Broker
from rxflow.relay._connect import open_broker

_HOLDERS_TIMEOUT = 5.0  # seconds until a broker that does not reply is away
_HOLDERS_INTERVAL = 5.0  # seconds between two looks, for all readers of a connection


class _Connection:
    """A connection, how many use it, and what is known of the relays."""

    def __init__(self, opening: "asyncio.Task[Broker]") -> None:
        self.opening = opening
        self.users = 0
        self.looking: asyncio.Task[bool | None] | None = None
        self.looked_at = -math.inf

    async def is_relayed(self) -> bool | None:
        now = real_now().mono
        if self.looking is None or now - self.looked_at >= _HOLDERS_INTERVAL:
            self.looked_at = now
            self.looking = asyncio.create_task(_has_holders(self.opening.result()))
        return await asyncio.shield(self.looking)

    async def aclose(self) -> None:
        if self.looking is not None:
            self.looking.cancel()
            await asyncio.wait([self.looking])
        if not self.opening.done():
            self.opening.cancel()
        elif not self.opening.cancelled() and self.opening.exception() is None:
            await self.opening.result().aclose()


async def _has_holders(broker: Broker) -> bool | None:
    try:
        async with asyncio.timeout(_HOLDERS_TIMEOUT):
            return bool(await broker.holders())
    except TimeoutError:
        return False
    except RxflowError:  # the reader may not read it
        return None


class BrokerAccess(msgspec.Struct, frozen=True):
    """How a broker is reached.

    Attributes:
        url: Its URL.
        workspace: The workspace.
        options: Other arguments of `open_broker`, with their names.
    """

    url: str
    workspace: str
    options: tuple[tuple[str, Any], ...] = ()

    def __repr__(self) -> str:
        """Leave out what may be secret: reports of errors may show it."""
        return f"<BrokerAccess to workspace {self.workspace!r}>"


def broker_access(url: str, workspace: str, **options: Any) -> BrokerAccess:
    """Check the arguments by which users say how a broker is reached.

    Args:
        url: Its URL.
        workspace: The workspace.
        options: What it is shown, as in `open_broker`; None for what is not given.

    Raises:
        TypeError: An argument is of another type.
    """
    check_type("url", url, str, "the URL of a broker, such as 'nats://localhost:4222'")
    check_type("workspace", workspace, str, "the name that the relay was given")
    tls_advice = "a context, such as ssl.create_default_context()"
    check_type("tls", options.get("tls"), ssl.SSLContext | None, tls_advice)
    given = tuple((name, value) for name, value in options.items() if value is not None)
    return BrokerAccess(url, workspace, given)


class Connections:
    """Shares connections among the readers of an event loop; closes those that none uses."""

    def __init__(self) -> None:
        """Start without connections."""
        self._start_empty()
        register(self)

    def _start_empty(self) -> None:
        self._of_loops: WeakKeyDictionary[
            asyncio.AbstractEventLoop, dict[BrokerAccess, _Connection]
        ] = WeakKeyDictionary()

    def reset_after_fork(self) -> None:
        """Leave the connections to the parent."""
        self._start_empty()

    async def acquire(self, access: BrokerAccess) -> Broker:
        """Return a connection on the running loop; `release` must be called for each call of this.

        Raises:
            BrokerFailed: The broker cannot be reached, or refuses the connection.
            ConfigurationError: The URL is of no broker, or a package is missing.
        """
        of_loop = self._of_loops.setdefault(asyncio.get_running_loop(), {})
        connection = of_loop.get(access)
        if connection is None:
            opening = open_broker(access.url, access.workspace, **dict(access.options))
            connection = of_loop[access] = _Connection(asyncio.create_task(opening))
        connection.users += 1
        try:
            return await asyncio.shield(connection.opening)
        except BaseException:
            await self.release(access)
            raise

    async def release(self, access: BrokerAccess) -> None:
        """Close a connection of the running loop, unless somebody else uses it."""
        of_loop = self._of_loops.get(asyncio.get_running_loop(), {})
        connection = of_loop.get(access)
        if connection is None:
            return
        connection.users -= 1
        if connection.users:
            return
        del of_loop[access]
        await connection.aclose()

    async def is_relayed(self, access: BrokerAccess) -> bool | None:
        """Return whether some relay is at work; None if that is not known.

        A broker that does not reply for some seconds has no relay at work.
        """
        connection = self._of_loops[asyncio.get_running_loop()][access]
        return await connection.is_relayed()


connections = Connections()
"""Those of this process."""
