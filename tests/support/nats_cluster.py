"""A cluster of three NATS servers on this machine, which are killed and started one by one."""

import asyncio
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self

import msgspec
from broker_servers import NatsServer, free_port

from rxflow.relay._connect import open_broker
from rxflow.relay._nats import NatsBroker

_NODES = ("one", "two", "three")
_CLUSTER = """
server_name: {name}
cluster {{ name: relays, listen: "127.0.0.1:{port}", routes: [{routes}] }}
"""


class NatsCluster:
    """Three NATS servers that keep streams together.

    Attributes:
        nodes: The servers, by their names.
    """

    def __init__(self) -> None:
        """Find ports; the servers are not started yet."""
        ports = {name: free_port() for name in _NODES}
        routes = ", ".join(f'"nats://127.0.0.1:{port}"' for port in ports.values())
        self.nodes = {
            name: NatsServer(cluster=_CLUSTER.format(name=name, port=port, routes=routes))
            for name, port in ports.items()
        }
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        """Start the servers."""
        for node in self.nodes.values():
            self._stack.enter_context(node)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End them, and delete what they have stored."""
        self._stack.close()

    def url(self, user: str = "relay") -> str:
        """Return the URLs of all servers as one."""
        return ",".join(node.url(user) for node in self.nodes.values())

    def leader(self, workspace: str) -> str:
        """Return the name of the server that leads the stream of a workspace."""
        return str(self._cluster_of(workspace)["leader"])

    def is_whole(self, workspace: str) -> bool:
        """Return whether two other servers have all that the leader of the stream has."""
        replicas = self._cluster_of(workspace).get("replicas", [])
        return [each["current"] for each in replicas] == [True, True]

    def _cluster_of(self, workspace: str) -> dict[str, Any]:
        async def look() -> dict[str, Any]:
            broker = await open_broker(self.url(), workspace, timeout=60)
            try:
                assert isinstance(broker, NatsBroker)
                subject = f"$JS.API.STREAM.INFO.{broker.stream}"
                reply = await broker.answered(lambda: broker.link.request(subject))
                found: dict[str, Any] = msgspec.json.decode(reply.data)
                return dict(found.get("cluster", {}))
            finally:
                await broker.aclose()

        return asyncio.run(look())
