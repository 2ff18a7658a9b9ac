"""`to_future` in a stream's pipe: a future of the running loop, whichever thread emits."""

import asyncio
from typing import Any

import pytest
import reactivex as rx
from reactivex import operators as ops
from reactivex.internal import SequenceContainsNoElementsError
from reactivex.scheduler import NewThreadScheduler
from reactivex.subject import Subject

from rxflow import Closed, Stream, watch_flow_run
from rxflow.testing import FakePrefect3


def awaited(stream: Stream[Any], *before: Any) -> Any:
    """Await the future that a pipe ends with."""

    async def main() -> Any:
        return await stream.pipe(*before, ops.to_future())

    return asyncio.run(main())


def test_a_watch_is_awaited() -> None:
    """The future of a watch has its last event, and no thread was needed."""
    server = FakePrefect3()
    run_id = server.add_run(state="COMPLETED")
    stream = watch_flow_run(run_id, drain=0, client=server.client())
    assert isinstance(awaited(stream), Closed)
    assert awaited(stream, ops.map(lambda event: event.kind)) == "closed"


def test_a_fluent_call_gives_a_future_too() -> None:
    """`stream.to_future()` is the same as the operator."""

    async def main() -> Any:
        return await Stream.of(rx.of(1, 2)).to_future()

    assert asyncio.run(main()) == 2


def test_items_of_another_thread_wake_the_loop() -> None:
    """What a thread emits arrives, though nothing else happens on the loop."""
    assert awaited(Stream.of(rx.range(5, scheduler=NewThreadScheduler()))) == 4


def test_the_pipe_subscribes_at_once() -> None:
    """A hot source is not missed between the pipe and the await."""

    async def main() -> Any:
        source: Subject[int] = Subject()
        future = Stream.of(source).pipe(ops.to_future())
        source.on_next(7)
        source.on_completed()
        return await future

    assert asyncio.run(main()) == 7


def test_an_error_and_an_empty_stream_fail_the_future() -> None:
    """The future has the error that the stream ends with, or that there was no item."""
    error = ValueError("the end")
    with pytest.raises(ValueError, match="the end") as caught:
        awaited(Stream.of(rx.throw(error)))
    assert caught.value is error
    with pytest.raises(SequenceContainsNoElementsError):
        awaited(Stream.of(rx.empty()))


def test_a_cancelled_future_disposes() -> None:
    """Cancelling the future ends the subscription; later items are ignored."""
    disposed: list[str] = []

    async def main() -> None:
        stream: Stream[Any] = Stream.of(rx.never()).finally_action(lambda: disposed.append("once"))
        future = stream.pipe(ops.to_future())
        future.cancel()
        with pytest.raises(asyncio.CancelledError):
            await future

    asyncio.run(main())
    assert disposed == ["once"]


def test_without_a_loop_reactivexs_operator_is_used() -> None:
    """Where no event loop runs, `to_future` is left to reactivex."""
    loop = asyncio.new_event_loop()
    try:
        future = Stream.of(rx.of(1, 2)).pipe(ops.to_future(loop.create_future))
        assert future.result() == 2
    finally:
        loop.close()
