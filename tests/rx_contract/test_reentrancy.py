"""Rule: an observer may dispose or subscribe within any call, also while it is subscribing."""

from typing import Any

import pytest
from reactivex import abc
from reactivex import operators as ops
from reactivex.scheduler import CurrentThreadScheduler, ImmediateScheduler
from rx_subjects import (
    PARTS,
    GrammarRecording,
    add_live_run,
    add_past_run,
    each_emitting_subject,
    subject,
)
from virtual_world import HOUR, Recording, World


@pytest.mark.parametrize("given", [None, ImmediateScheduler(), CurrentThreadScheduler()])
@each_emitting_subject
def test_subscribe_returns_before_the_first_item(
    name: str, given: abc.SchedulerBase | None, world: World
) -> None:
    """With no scheduler, or one that cannot wait, `subscribe` returns before any call."""
    recording = GrammarRecording()
    with world.server.hold():  # so that `subscribe` would not return if it waited for an item
        taken = subject(name, world, add_past_run(world)).pipe(ops.take(1))
        recording.subscribe_to(taken, given)
        assert recording.calls == ""
    recording.wait()
    assert recording.calls == "NC"
    assert world.close_counts() == [1]


@each_emitting_subject
@pytest.mark.parametrize("number", [1, 2])
def test_take_ends_the_polling(name: str, number: int, world: World) -> None:
    """Once `take` has its items no request is sent any more."""
    stream = subject(name, world, add_live_run(world))
    recording = world.watch(stream.pipe(ops.take(number)))
    assert len(recording.values) <= number
    assert recording.ended is not None
    requests = len(world.server.requests)
    world.run(until=3 * HOUR)
    assert len(world.server.requests) == requests
    assert world.close_counts() == [1]


@pytest.mark.parametrize("name", PARTS)
def test_an_observer_may_subscribe_within_an_item(name: str, world: World) -> None:
    """A subscription made within an item of another one is complete."""
    stream = subject(name, world, add_live_run(world))
    inner: list[Recording[Any]] = []

    def subscribe_once(_: object) -> None:
        if not inner:
            inner.append(Recording())
            inner[0].subscribe_to(stream, world.scheduler)

    outer = world.watch(stream.pipe(ops.do_action(subscribe_once)))
    assert outer.completed
    assert inner[0].completed
    assert world.close_counts() == [1, 1]
