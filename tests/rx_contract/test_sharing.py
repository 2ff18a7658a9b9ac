"""Rule: a watch is shared by its observers only where the user shares it explicitly."""

from contextlib import nullcontext
from functools import partial
from typing import Any

import pytest
import reactivex as rx
from reactivex import operators as ops
from rx_subjects import (
    Operator,
    add_live_run,
    add_past_run,
    each_emitting_subject,
    subject,
    watch,
    without_close_times,
)
from virtual_world import HOUR, Recording, World

SHARES: dict[str, Operator] = {
    "share": ops.share(),
    "publish": rx.compose(ops.publish(), ops.ref_count()),
}


@pytest.mark.parametrize("share", SHARES)
@each_emitting_subject
def test_a_shared_watch_is_one_session(name: str, share: str, world: World) -> None:
    """Several observers share one session, which ends when the last of them disposes."""
    shared = subject(name, world, add_live_run(world)).pipe(SHARES[share])
    recordings: list[Recording[Any]] = [Recording() for _ in range(3)]
    for recording in recordings:
        world.at(0, partial(recording.subscribe_to, shared, world.scheduler))
    world.run(until=20)
    recordings[0].dispose()
    recordings[1].dispose()
    world.run(until=25)
    assert [channel.close_count for channel in world.channels] == [0]
    recordings[2].dispose()
    assert world.close_counts() == [1]
    requests = len(world.server.requests)
    world.run(until=40)
    assert len(world.server.requests) == requests
    again = world.watch(shared)
    assert again.completed
    assert world.close_counts() == [1, 1]


@pytest.mark.parametrize("share", SHARES)
def test_each_observer_of_a_shared_watch_gets_all_events(share: str, world: World) -> None:
    """Observers that share a watch from its start get all of it, on any scheduler."""
    run_id = add_past_run(world)
    expected = without_close_times(world.watch(watch(world, run_id)).values)
    for scheduler in (world.scheduler, None):
        shared = watch(world, run_id).pipe(SHARES[share])
        recordings: list[Recording[Any]] = [Recording() for _ in range(3)]
        # Nothing may be emitted before all have subscribed; in virtual time that is so anyway.
        with world.server.hold() if scheduler is None else nullcontext():
            for recording in recordings:
                recording.subscribe_to(shared, scheduler)
        world.run(until=world.seconds + HOUR)
        for recording in recordings:
            recording.wait()
            assert without_close_times(recording.values) == expected
    assert world.close_counts() == [1, 1, 1]
