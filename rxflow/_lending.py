"""The client that a view asks: the one it was given, or one for the moment."""

from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager

from rxflow.client import Client


@contextmanager
def lent(client: Client | None) -> Generator[Client]:
    """The client that was given, or one of our own, closed again."""
    if client is not None:
        yield client
        return
    with Client() as own:
        yield own


@asynccontextmanager
async def alent(client: Client | None) -> AsyncGenerator[Client]:
    """The same on the running event loop."""
    if client is not None:
        yield client
        return
    async with Client() as own:
        yield own
