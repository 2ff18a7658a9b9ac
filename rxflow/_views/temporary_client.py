"""Check a given client, and use it or a temporary one that is closed after use."""

from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager

from rxflow._models.arguments import check_type
from rxflow.client import Client


def check_client(client: object) -> None:
    """Reject a value of an argument ``client`` that is neither a `Client` nor None.

    Raises:
        TypeError: It is another object, such as a client of Prefect or httpx, or a URL.
    """
    if client is not None:
        advice = "rxflow.Client(api_url=...), or None for the server of the active profile"
        check_type("client", client, Client, advice)


@contextmanager
def given_or_temporary(client: Client | None) -> Generator[Client]:
    """Yield the given client, or a temporary one for the configured server.

    Raises:
        TypeError: The given client is not a `Client`.
    """
    check_client(client)
    if client is not None:
        yield client
        return
    with Client() as temporary:
        yield temporary


@asynccontextmanager
async def agiven_or_temporary(client: Client | None) -> AsyncGenerator[Client]:
    """Async twin of `given_or_temporary`, for the running event loop."""
    check_client(client)
    if client is not None:
        yield client
        return
    async with Client() as temporary:
        yield temporary
