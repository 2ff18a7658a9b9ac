"""Call a method or its async twin by one name, so that a test runs once for each of the two."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

Call = Callable[..., Any]
"""Calls ``method`` of an object, or its async twin ``amethod``: ``call(view, "get_logs")``."""


def blocking(of: Any, method: str, *args: Any, **kwargs: Any) -> Any:
    """Call a method; what it iterates over is returned as a list."""
    found = getattr(of, method)(*args, **kwargs)
    return list(found) if hasattr(found, "__next__") else found


def asynchronous(of: Any, method: str, *args: Any, **kwargs: Any) -> Any:
    """Call the method's async twin on an event loop of its own."""
    client = kwargs.get("client")
    if client is None and not isinstance(of, type):
        client = getattr(of, "_client", None)

    async def call() -> Any:
        try:
            found = getattr(of, f"a{method}")(*args, **kwargs)
            if isinstance(found, AsyncIterator):
                return [item async for item in found]
            return await found
        finally:
            if client is not None:  # closes what the client opened on this loop
                await client.aclose()

    return asyncio.run(call())


TWINS: dict[str, Call] = {"blocking": blocking, "async": asynchronous}
