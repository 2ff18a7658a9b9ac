"""The loops of a stream: `for`, and `async for` on an event loop that the test need not see."""

import asyncio
from collections.abc import Iterator
from typing import Generic, TypeVar

from reactivex import Observable
from virtual_world import PATIENCE

from rxflow import aiterate

T = TypeVar("T")


def gathered(observable: Observable[T], patience: float = PATIENCE) -> list[T]:
    """What an `async for` loop gets in so many seconds; it must leave no task behind."""

    async def loop() -> list[T]:
        async with asyncio.timeout(patience):
            items = [item async for item in aiterate(observable)]
        assert asyncio.all_tasks() == {asyncio.current_task()}
        return items

    return asyncio.run(loop())


class OnLoop(Iterator[T], Generic[T]):
    """An `async for` loop, asked item by item; in between its event loop stands still."""

    def __init__(self, observable: Observable[T]) -> None:
        """Make an iterator that has subscribed to nothing yet."""
        self._runner = asyncio.Runner()
        self._items = aiterate(observable)

    def __next__(self) -> T:
        """Run the event loop until there is an item."""

        async def ask() -> T:
            return await anext(self._items)

        try:
            return self._runner.run(ask())
        except StopAsyncIteration:
            raise StopIteration from None

    def close(self) -> None:
        """Leave the loop, which must leave no task behind; it may be left twice."""

        async def leave() -> None:
            await self._items.aclose()
            assert asyncio.all_tasks() == {asyncio.current_task()}

        self._runner.run(leave())

    def end(self) -> None:
        """Leave it, and close the event loop."""
        self.close()
        self._runner.close()
