"""Which backend a URL means."""

from typing import Any

from rxflow.errors import ConfigurationError
from rxflow.relay._broker import Broker
from rxflow.relay._memory import MemoryStore


async def open_broker(url: str, workspace: str = "default", **options: Any) -> Broker:  # noqa: ARG001
    """Connect to a broker.

    Raises:
        ConfigurationError: The URL is of no broker.
    """
    scheme, _, name = url.partition("://")
    if scheme == "memory":
        return MemoryStore.named(name).connect(workspace)
    raise ConfigurationError(f"{url!r} is not the URL of a broker")
