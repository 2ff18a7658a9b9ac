"""Rule: items, then at most one end, an error or a completion, then nothing."""

import re

import pytest
from reactivex import operators as ops
from rx_subjects import (
    SILENT,
    GrammarRecording,
    add_live_run,
    each_emitting_subject,
    each_subject,
    subject,
)
from virtual_world import HOUR, MISSING_RUN, World


@each_subject
@pytest.mark.parametrize("missing", [False, True], ids=["completes", "fails"])
def test_one_end_and_nothing_after_it(name: str, missing: bool, world: World) -> None:
    """A subject emits items, then one completion or error, then nothing, even if the run goes on.

    The observer is subscribed without the guard that `subscribe` puts before every observer.
    """
    run_id = add_live_run(world)
    world.at(300, lambda: world.server.set_state(run_id, "RUNNING"))
    world.at(301, lambda: world.server.log(run_id, "too late"))
    recording = GrammarRecording()
    observable = subject(name, world, MISSING_RUN if missing else run_id)
    world.at(0, lambda: observable._subscribe_core(recording, world.scheduler))
    world.run(until=290)
    requests = len(world.server.requests)
    assert re.fullmatch("E" if missing else "N*C" if name in SILENT else "N+C", recording.calls)
    calls = recording.calls
    world.run(until=2 * HOUR)
    assert (recording.calls, len(world.server.requests)) == (calls, requests)


@each_emitting_subject
def test_take_one_gets_one_item_and_the_completion(name: str, world: World) -> None:
    """An observer behind `take(1)` gets one item and one completion."""
    recording = GrammarRecording()
    taken = subject(name, world, add_live_run(world)).pipe(ops.take(1))
    recording.subscribe_to(taken, world.scheduler)
    world.run(until=HOUR)
    assert recording.calls == "NC"
