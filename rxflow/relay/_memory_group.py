"""Groups in memory."""

from secrets import token_hex
from time import monotonic
from typing import TYPE_CHECKING

from rxflow.relay._group import GroupOptions, GroupPage

if TYPE_CHECKING:
    from rxflow.relay._memory import MemoryBroker


class MemoryGroup:
    """What a store knows of a group.

    Attributes:
        position: The position of the last page that some member got.
        held: Which pages members have, by their positions, each with the member and until when, in
            monotonic seconds.
    """

    def __init__(self) -> None:
        """Begin with no page."""
        self.position = 0
        self.held: dict[int, tuple[GroupPage, str, float]] = {}


class MemoryGroupMember:
    """Takes pages of a group in a store; a `GroupMember`."""

    def __init__(self, broker: "MemoryBroker", options: GroupOptions) -> None:
        """Join a group.

        Args:
            broker: The connection.
            options: The group.
        """
        self._broker = broker
        self._options = options
        self._name = token_hex(8)

    async def next_page(
        self,
        timeout: float,  # noqa: ASYNC109 - that nothing came is no error
    ) -> GroupPage | None:
        return await self._broker.read_or_wait(self._take, timeout)

    async def ack(self, page: GroupPage) -> None:
        await self._broker.in_group(
            self._options.group, lambda group: group.held.pop(page.stored.position, None)
        )

    async def keep(self, page: GroupPage) -> None:
        await self._hold(page, self._options.redeliver_seconds)

    async def give_back(self, page: GroupPage) -> None:
        await self._hold(page, 0.0)

    async def aclose(self) -> None:
        pass

    async def _hold(self, page: GroupPage, seconds: float) -> None:
        def hold(group: MemoryGroup) -> None:
            position = page.stored.position
            if position in group.held and group.held[position][1] == self._name:
                group.held[position] = (page, self._name, monotonic() + seconds)

        await self._broker.in_group(self._options.group, hold)

    async def _take(self) -> GroupPage | None:
        broker, options = self._broker, self._options

        def take(group: MemoryGroup) -> GroupPage | None:
            now = monotonic()
            page = next((page for page, _, until in group.held.values() if until <= now), None)
            while page is None:
                found = broker.stored_pages(group.position)
                if not found:
                    return None
                run_id, stored, _ = found[0]
                group.position = stored.position
                if options.run_id in {None, run_id}:
                    page = GroupPage(run_id, stored, "")
            until = monotonic() + options.redeliver_seconds
            group.held[page.stored.position] = (page, self._name, until)
            return page

        return await broker.in_group(options.group, take)
