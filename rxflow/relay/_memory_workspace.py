"""Reads all logs of a workspace in memory."""

from typing import TYPE_CHECKING

from rxflow.relay._broker import RunPage

if TYPE_CHECKING:
    from rxflow.relay._memory import MemoryBroker


class MemoryWorkspaceFollower:
    """Reads all logs, and waits for more; a `WorkspaceFollower`."""

    def __init__(self, broker: "MemoryBroker", after: int) -> None:
        """Begin after a position.

        Args:
            broker: The connection.
            after: The position; 0 for the beginning.
        """
        self._broker = broker
        self._position = after

    async def pages(
        self,
        timeout: float,  # noqa: ASYNC109 - that nothing came is no error
    ) -> list[RunPage]:
        return await self._broker.read_or_wait(self._read, timeout)

    async def aclose(self) -> None:
        pass

    async def _read(self) -> list[RunPage]:
        found = await self._broker.read_all(after=self._position)
        if found:
            self._position = found[-1].stored.position
        return found
