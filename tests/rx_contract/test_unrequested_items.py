"""Rule: a source that emits from its own thread is never blocked by iteration, only bounded."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import aclosing
from typing import Any

import pytest
import reactivex as rx
from reactivex import Observable
from reactivex import operators as ops
from reactivex.subject import Subject
from rx_subjects import LINES, Operator, add_past_run, watch
from virtual_world import HOUR, TEST_TIMEOUT, World

import rxflow
from rxflow import operators
from rxflow._runtime.iteration import MAX_UNREQUESTED_ITEMS


def merge_with_flood(
    stream: Observable[Any], number: int, operator: Operator | None = None
) -> tuple[Observable[Any], threading.Thread]:
    """Merge a stream with a source of numbers.

    Returns:
        The merge, and the thread that emits the numbers at once when it is started.
    """
    source: Subject[int] = Subject()

    def flood() -> None:
        for item in range(number):
            source.on_next(item)
        source.on_completed()

    numbers = source if operator is None else source.pipe(operator)
    return rx.merge(numbers, stream), threading.Thread(target=flood, daemon=True)


def read_in_loop(merged: Observable[Any], thread: threading.Thread) -> list[Any]:
    """Read one item, wait for the end of the flood, read the rest; an overflow is the last item."""
    items = rxflow.iterate(merged)
    found = [next(items)]
    thread.start()
    thread.join(TEST_TIMEOUT)
    assert not thread.is_alive(), "the emitting thread was blocked"
    try:
        found.extend(items)
    except rxflow.Overflow as overflow:
        found.append(overflow)
    return found


def read_in_async_loop(merged: Observable[Any], thread: threading.Thread) -> list[Any]:
    """Read as `read_in_loop` does, on an event loop."""

    async def read() -> list[Any]:
        async with aclosing(rxflow.aiterate(merged)) as items:
            found: list[Any] = [await anext(items)]
            thread.start()
            await asyncio.to_thread(thread.join, TEST_TIMEOUT)
            assert not thread.is_alive(), "the emitting thread was blocked"
            try:
                async for item in items:
                    found.append(item)  # noqa: PERF401 - items before an error must be kept
            except rxflow.Overflow as overflow:
                found.append(overflow)
            return found

    return asyncio.run(read())


READERS: dict[str, Callable[[Observable[Any], threading.Thread], list[Any]]] = {
    "for": read_in_loop,
    "async for": read_in_async_loop,
}
each_reader = pytest.mark.parametrize("face", READERS)


@each_reader
@pytest.mark.timeout(60)
def test_a_flood_ends_with_an_overflow(face: str, world: World) -> None:
    """The emitting thread is not blocked; the loop gets the buffered items, then `Overflow`."""
    merged, thread = merge_with_flood(
        watch(world, add_past_run(world)), MAX_UNREQUESTED_ITEMS + 100
    )
    found = READERS[face](merged, thread)
    assert isinstance(found[-1], rxflow.Overflow)
    numbers = [item for item in found if isinstance(item, int)]
    assert numbers == list(range(len(numbers)))
    # The events of the first page are in the buffer, too.
    assert MAX_UNREQUESTED_ITEMS - 2 * LINES < len(numbers) <= MAX_UNREQUESTED_ITEMS
    assert world.close_counts() == [1]


@each_reader
@pytest.mark.parametrize(
    ("operator", "left"),
    [
        (operators.conflate(), [MAX_UNREQUESTED_ITEMS + 99]),
        (
            operators.bounded(3, "drop_oldest"),
            [MAX_UNREQUESTED_ITEMS + 97 + number for number in range(3)],
        ),
        (operators.bounded(3, "drop_newest"), [0, 1, 2]),
    ],
    ids=["conflate", "drop_oldest", "drop_newest"],
)
@pytest.mark.timeout(60)
def test_an_operator_upstream_prevents_the_overflow(
    face: str, operator: Operator, left: list[int], world: World
) -> None:
    """With `conflate` or `bounded` before the merge the flood and the watch both complete."""
    run_id = add_past_run(world)
    merged, thread = merge_with_flood(watch(world, run_id), MAX_UNREQUESTED_ITEMS + 100, operator)
    found = READERS[face](merged, thread)
    numbers = [item for item in found if isinstance(item, int)]
    assert numbers == left
    assert len(found) - len(numbers) == len(world.watch(watch(world, run_id)).values)


@each_reader
@pytest.mark.timeout(60)
def test_a_full_buffer_does_not_deadlock_with_merge(face: str, world: World) -> None:
    """A full buffer blocks no thread that holds the lock of `merge`.

    If it did, the emitting thread would wait for room while it holds that lock, and the consumer,
    which alone makes room, would wait for the lock to emit an item of the watch.
    """
    run_id = world.server.add_run(state="RUNNING")
    merged, thread = merge_with_flood(watch(world, run_id), MAX_UNREQUESTED_ITEMS + 1)

    def finish_run(item: Any) -> None:
        if isinstance(item, rxflow.RunSeen):
            for _ in range(LINES):
                world.server.log(run_id)
            world.server.set_state(run_id, "COMPLETED")
            world.run(until=HOUR)

    found = READERS[face](merged.pipe(ops.do_action(finish_run)), thread)
    assert isinstance(found[-1], rxflow.Overflow)
    assert world.close_counts() == [1]
