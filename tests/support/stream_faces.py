"""The async faces for tests that are not coroutines: collect all items, step, wait for a run."""

import asyncio
from collections.abc import Iterator
from typing import Any, Generic, TypeVar

from reactivex import Observable
from virtual_world import TEST_TIMEOUT

from rxflow import FlowRunView, aiterate, await_for_flow_run

T = TypeVar("T")


def collect_async(observable: Observable[T], timeout: float = TEST_TIMEOUT) -> list[T]:
    """Return the items of an `async for` loop, which must leave no task behind.

    Args:
        observable: What to iterate.
        timeout: Seconds of real time after which the loop fails.
    """

    async def collect() -> list[T]:
        async with asyncio.timeout(timeout):
            items = [item async for item in aiterate(observable)]
        assert asyncio.all_tasks() == {asyncio.current_task()}
        return items

    return asyncio.run(collect())


def wait_on_loop(*arguments: Any, **options: Any) -> FlowRunView:
    """Call `await_for_flow_run` on a new event loop."""
    return asyncio.run(await_for_flow_run(*arguments, **options))


class LoopIterator(Iterator[T], Generic[T]):
    """A blocking iterator over `aiterate`; its event loop runs only while an item is awaited."""

    def __init__(self, observable: Observable[T]) -> None:
        """Create an iterator; the first item subscribes."""
        self._runner = asyncio.Runner()
        self._items = aiterate(observable)

    def __next__(self) -> T:
        """Run the event loop until there is an item."""

        async def next_item() -> T:
            return await anext(self._items)

        try:
            return self._runner.run(next_item())
        except StopAsyncIteration:
            raise StopIteration from None

    def close(self) -> None:
        """Close the async iterator, which must leave no task behind. May be called twice."""

        async def close() -> None:
            await self._items.aclose()
            assert asyncio.all_tasks() == {asyncio.current_task()}

        self._runner.run(close())

    def end(self) -> None:
        """Close the async iterator and the event loop."""
        self.close()
        self._runner.close()
