"""Use the given client, or a temporary one that is closed after use."""

from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager

from rxflow.client import Client


@contextmanager
def given_or_temporary(client: Client | None) -> Generator[Client]:
    """Yield the given client, or a temporary one for the configured server."""
    if client is not None:
        yield client
        return
    with Client() as temporary:
        yield temporary


@asynccontextmanager
async def agiven_or_temporary(client: Client | None) -> AsyncGenerator[Client]:
    """Async twin of `given_or_temporary`, for the running event loop."""
    if client is not None:
        yield client
        return
    async with Client() as temporary:
        yield temporary
