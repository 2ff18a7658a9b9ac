"""Rule: a watch is cold; each subscription is a session of its own, also after any end.

One that is shared has a new session after an error and after a dispose; see `test_shared`.
"""

from collections.abc import Iterator

import httpx
from reactivex import operators as ops
from rx_subjects import (
    SILENT,
    TIME_DEPENDENT,
    add_live_run,
    add_past_run,
    each_cold_subject,
    each_subject,
    subject,
    without_close_times,
)
from virtual_world import HOUR, World


@each_cold_subject
def test_each_subscription_has_its_own_requests(name: str, world: World) -> None:
    """No request is sent before a subscription; then each one has a channel of its own."""
    stream = subject(name, world, add_live_run(world))
    world.run(until=5)
    assert world.server.requests == []
    first, second = world.subscribe(stream), world.subscribe(stream, at=21)
    world.run(until=HOUR)
    assert first.completed
    assert second.completed
    assert world.close_counts() == [1, 1]
    assert all(channel.queries for channel in world.channels)
    if name not in SILENT:
        assert first.values
        assert second.events[0][0] >= 21


@each_subject
def test_retry_starts_a_new_session(name: str, world: World) -> None:
    """After an error a subject can be subscribed to again and emits what it would have emitted."""
    run_id = add_past_run(world)
    expected, stream = world.watch(subject(name, world, run_id)), subject(name, world, run_id)
    refusals: Iterator[httpx.Response | None] = iter([httpx.Response(401), httpx.Response(401)])
    world.server.intercept = lambda _: next(refusals, None)
    recording = world.watch(stream.pipe(ops.retry(3)))
    assert recording.completed
    assert len(recording.values) == len(expected.values)
    assert world.close_counts() == [1] * 4


@each_subject
def test_repeat_starts_a_new_session(name: str, world: World) -> None:
    """After its completion a subject can be subscribed to again and emits the same."""
    stream = subject(name, world, add_past_run(world))
    once = world.watch(stream).values
    twice = world.watch(stream.pipe(ops.repeat(2))).values
    assert len(twice) == 2 * len(once)
    if name not in TIME_DEPENDENT:
        assert without_close_times(twice) == without_close_times(once * 2)


@each_subject
def test_a_subscription_after_a_dispose_is_complete(name: str, world: World) -> None:
    """After a dispose a new subscription gets what any other one gets at that time."""
    stream = subject(name, world, add_live_run(world))
    world.watch(stream, until=25)
    again, other = world.subscribe(stream, at=70), world.subscribe(stream, at=70)
    world.run(until=HOUR)
    assert again.completed
    assert len(again.values) == len(other.values)
