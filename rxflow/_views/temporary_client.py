"""Use the given client, or a temporary one that is closed again."""

from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager

from rxflow.client import Client


@contextmanager
def given_or_temporary(client: Client | None) -> Generator[Client]:
    """Yield the given client, or a temporary one."""
    if client is not None:
        yield client
        return
    with Client() as temporary:
        yield temporary


@asynccontextmanager
async def agiven_or_temporary(client: Client | None) -> AsyncGenerator[Client]:
    """Yield the given client, or a temporary one, on the running event loop."""
    if client is not None:
        yield client
        return
    async with Client() as temporary:
        yield temporary
