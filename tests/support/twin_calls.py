"""A method and its twin, called alike."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any


def blocking(of: Any, method: str, *given: Any, **named: Any) -> Any:
    """Call a method; what it gives one by one is put into a list."""
    found = getattr(of, method)(*given, **named)
    return list(found) if hasattr(found, "__next__") else found


def asynchronous(of: Any, method: str, *given: Any, **named: Any) -> Any:
    """Call the method's twin on an event loop of its own."""
    client = named.get("client") or getattr(of, "_client", None)

    async def call() -> Any:
        try:
            found = getattr(of, f"a{method}")(*given, **named)
            if isinstance(found, AsyncIterator):
                return [item async for item in found]
            return await found
        finally:
            if client is not None:  # what it opened on this loop
                await client.aclose()

    return asyncio.run(call())


Call = Callable[..., Any]
"""One of the two."""

TWINS = {"blocking": blocking, "async": asynchronous}
