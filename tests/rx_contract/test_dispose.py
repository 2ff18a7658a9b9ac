"""Rule: after a dispose nothing is emitted or sent, and the request in flight is aborted."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from reactivex import Observable, abc
from reactivex.scheduler import NewThreadScheduler
from reactivex.scheduler.eventloop import AsyncIOScheduler
from rx_subjects import (
    GrammarRecording,
    add_live_run,
    add_past_run,
    await_last,
    collect,
    each_emitting_subject,
    each_subject,
    subject,
)
from virtual_world import HOUR, World

import rxflow
from rxflow import watch_flow_run
from rxflow.testing import FakePrefect3


@each_subject
def test_nothing_is_emitted_or_sent_after_a_dispose(name: str, world: World) -> None:
    """After a dispose the observer is not called and the server receives no request."""
    recording = GrammarRecording()
    recording.subscribe_to(subject(name, world, add_live_run(world)), world.scheduler)
    world.run(until=25)
    recording.dispose()
    calls, requests = recording.calls, len(world.server.requests)
    world.run(until=HOUR)
    assert (recording.calls, len(world.server.requests)) == (calls, requests)
    assert world.close_counts() == [1]


@each_emitting_subject
def test_nothing_is_emitted_after_a_dispose_within_an_item(name: str, world: World) -> None:
    """A dispose within the first item is the end, although its page holds more events."""

    class DisposesAtOnce(GrammarRecording):
        def on_next(self, value: Any) -> None:
            """Record the item and dispose."""
            super().on_next(value)
            self.dispose()

    recording = DisposesAtOnce()
    stream = subject(name, world, add_past_run(world))
    world.at(HOUR, lambda: recording.subscribe_to(stream, world.scheduler))
    world.run(until=2 * HOUR)
    assert recording.calls == "N"
    assert world.close_counts() == [1]


def held_and_aborted(use: Callable[[Observable[Any]], Awaitable[object]]) -> tuple[int, int]:
    """Cancel a use of a watch while the server holds its request.

    Returns:
        The number of requests held, and how many of them were aborted.
    """
    server = FakePrefect3()
    run_id = server.add_run(state="RUNNING")
    with (
        server.serve() as url,
        rxflow.Client(api_url=url) as client,
        server.hold() as hold,
    ):
        stream = watch_flow_run(run_id, client=client)

        async def cancel() -> None:
            task = asyncio.ensure_future(use(stream))
            await hold.auntil_reached()
            task.cancel()
            await hold.auntil_left()
            await asyncio.wait([task])

        asyncio.run(cancel())
        return hold.came, hold.left


async def subscribe_until_cancelled(
    observable: Observable[Any], scheduler: abc.SchedulerBase | None
) -> None:
    """Subscribe, and dispose when cancelled."""
    subscription = observable.subscribe(scheduler=scheduler)
    try:
        await asyncio.Event().wait()
    finally:
        subscription.dispose()


USES: dict[str, Callable[[Observable[Any]], Awaitable[object]]] = {
    "subscribe": lambda stream: subscribe_until_cancelled(stream, None),
    "event loop": lambda stream: subscribe_until_cancelled(stream, NewThreadScheduler()),
    "asyncio": lambda stream: subscribe_until_cancelled(
        stream, AsyncIOScheduler(asyncio.get_running_loop())
    ),
    "async for": collect,
    "await": await_last,
}


@pytest.mark.parametrize("face", USES)
@pytest.mark.timeout(60)
def test_a_request_in_flight_is_aborted(face: str) -> None:
    """A dispose closes the connection at once while the server withholds its response."""
    assert held_and_aborted(USES[face]) == (1, 1)
