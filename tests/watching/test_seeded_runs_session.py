"""`RunsSession.record_emitted`: a watch of many runs goes on from the events of an earlier one."""

from collections import defaultdict
from collections.abc import Sequence
from random import Random
from typing import Any

import pytest
from simulated_world import SimulatedWatch, World

from rxflow import AllClosed, Closed, FlowRunEvent, FlowRunLog, Notice, NoticeCode, RunSeen
from rxflow._watching.runs_session import RunsSession
from rxflow._watching.watch_spec import RunSelection, WatchSpec

SPEC = WatchSpec(flow_run_id="", drain=0.0)
MISSING = "00000000-0000-4000-8000-000000000000"


def watch(
    world: World, runs: Sequence[str], emitted: Sequence[FlowRunEvent] = (), **selection: Any
) -> SimulatedWatch:
    """Return a watch of runs that goes on from events, of those runs that join at once."""
    session = RunsSession(SPEC, Random(0), RunSelection(**selection), goes_on=True)
    session.add(runs)
    session.complete()
    watched = SimulatedWatch(world, SPEC, session=session)
    record(session, emitted)
    return watched


def record(session: RunsSession, emitted: Sequence[FlowRunEvent]) -> list[str]:
    """Record what was emitted of the runs that have joined; return these."""
    of_run: defaultdict[str, list[FlowRunEvent]] = defaultdict(list)
    for event in emitted:
        of_run[event.flow_run_id].append(event)
    joined: list[str] = []
    while (run := session.next_joined()) is not None:
        joined.append(run)
        if of_run[run]:
            session.record_emitted(of_run[run])
    return joined


def codes(events: Sequence[FlowRunEvent]) -> list[NoticeCode]:
    """Return what the notices are about."""
    return [event.code for event in events if isinstance(event, Notice)]


def test_each_run_joins_once() -> None:
    """What is given again, or was joined, is not to be recorded; neither is it without need."""
    session = RunsSession(SPEC, Random(0), goes_on=True)
    session.add(["a", "b", "a"])
    assert record(session, []) == ["a", "b"]
    session.add(["b", "c"])
    assert record(session, []) == ["c"]
    other = RunsSession(SPEC, Random(0))
    other.add(["a"])
    assert other.next_joined() is None


def test_a_run_that_was_closed_is_looked_at_once() -> None:
    """It has no event then, and its outcome is that of before."""
    world = World()
    runs = [world.server.add_run(state="COMPLETED") for _ in range(2)]
    first = watch(world, runs).run().events
    world.wait(100)
    again = watch(world, runs, first).run()
    assert again.events == [first[-1]]
    assert isinstance(first[-1], AllClosed)


@pytest.mark.parametrize("code", [NoticeCode.RUN_DELETED, NoticeCode.RUN_NOT_FOUND])
@pytest.mark.parametrize("closed", [False, True], ids=["killed before Closed", "closed"])
def test_a_run_that_is_gone_is_said_to_be_once(code: NoticeCode, closed: bool) -> None:
    """Wherever the earlier watch was killed, there is one notice and one `Closed`."""
    world = World()
    run = world.server.add_run(state="COMPLETED")
    emitted = watch(world, [run]).run().events[:2]
    if code is NoticeCode.RUN_NOT_FOUND:
        run, emitted = MISSING, []
    else:
        world.server.delete_run(run)
    emitted += watch(world, [run], emitted).run().events
    assert [event.kind for event in emitted[-3:]] == ["notice", "closed", "all-closed"]
    rest = watch(world, [run], emitted[: -1 if closed else -2]).run().events
    assert [event.kind for event in rest] == [*([] if closed else ["closed"]), "all-closed"]
    assert isinstance(rest[-1], AllClosed)
    assert rest[-1].runs[0].ended_by is code


def test_a_run_that_is_deleted_after_its_end_is_said_to_be() -> None:
    """It was closed as one that ended; the next watch has a notice and another `Closed`."""
    world = World()
    run = world.server.add_run(state="COMPLETED")
    first = watch(world, [run]).run().events
    world.server.delete_run(run)
    second = watch(world, [run], first).run().events
    assert codes(second) == [NoticeCode.RUN_DELETED]
    assert [event.kind for event in second] == ["notice", "closed", "all-closed"]
    third = watch(world, [run], [*first, *second]).run().events
    assert [event.kind for event in third] == ["all-closed"]


def test_a_watch_that_emits_something_of_a_run_ends_it_with_closed() -> None:
    """Whatever that is, and though the end is that of before."""
    world = World()
    run = world.server.add_run(state="RUNNING")
    rows = [world.server.log(run, f"line {number}") for number in range(4)]
    world.server.set_state(run, "COMPLETED")
    first = watch(world, [run]).run().events
    world.server.delete_logs(rows[-1:])
    second = watch(world, [run], first).run().events
    assert codes(second) == [NoticeCode.SOURCE_REWOUND]
    assert [event.kind for event in second][-2:] == ["closed", "all-closed"]


def test_a_subflow_keeps_its_root() -> None:
    """Also where it is found in another order: all events of a run have one root."""
    world = World()
    parent = world.server.add_run(state="RUNNING")
    child = world.server.add_run(state="RUNNING", parent=parent)
    first = watch(world, [child]).run(until=3).events
    world.server.set_state(child, "COMPLETED")
    world.server.set_state(parent, "COMPLETED")
    alone = watch_with_subflows(world, parent, first)
    assert {event.root_flow_run_id for event in alone if event.flow_run_id == child} == {child}
    # And the other way round.
    found = watch_with_subflows(world, parent, [])
    seen = [event for event in found if isinstance(event, RunSeen)]
    assert {event.root_flow_run_id for event in seen} == {parent}
    rest = watch(world, [child], seen).run().events
    assert {event.root_flow_run_id for event in rest if event.flow_run_id} == {parent}


def watch_with_subflows(
    world: World, parent: str, emitted: Sequence[FlowRunEvent]
) -> list[FlowRunEvent]:
    """Watch a run and its subflows to the end, and go on with each when it joins."""
    watched = watch(world, [parent], emitted, subflows=True)
    assert isinstance(watched.session, RunsSession)
    while not watched.ended:
        watched.step()
        record(watched.session, emitted)
    assert watched.error is None
    return watched.events


def test_many_runs_go_on_in_a_group() -> None:
    """Runs of which nothing is new are read together after a look at each."""
    world = World()
    runs = [world.server.add_run(state="RUNNING") for _ in range(30)]
    for run in runs:
        world.server.log(run, "line")
    first = watch(world, runs).run(until=20).events
    watched = watch(world, runs, first)
    watched.run(until=40)
    assert watched.events == []
    for run in runs:
        world.server.log(run, "more")
        world.server.set_state(run, "COMPLETED")
    watched.run()
    assert len(watched.of(FlowRunLog)) == len(watched.of(Closed)) == 30
    assert all(closed.verified and closed.log_count == 2 for closed in watched.of(Closed))
