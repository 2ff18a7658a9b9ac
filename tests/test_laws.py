"""The laws of a watch, over random lives of a run."""

from collections.abc import Callable
from datetime import timedelta
from functools import partial, reduce
from random import Random
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from simulation import START, Watched, World, refused

from rxflow import FlowRun, FlowRunLog, Snapshot, State, StateChange, fold
from rxflow._polling import Failure, Query
from rxflow._reader import WatchSpec
from rxflow._telling import Source
from rxflow.testing import FakePrefect3

STATES = ["SCHEDULED", "PENDING", "RUNNING", "PAUSED", "CANCELLING", "NEW_IN_PREFECT_4"]
ENDS = ["COMPLETED", "FAILED", "CRASHED", "CANCELLED"]

Action = Callable[[FakePrefect3, str], object]

states: st.SearchStrategy[Action] = st.sampled_from(STATES + ENDS).map(
    lambda state: lambda server, run: server.set_state(run, state)
)
rows_after: list[dict[str, Any]] = [
    {"name": "renamed"},
    {"tags": ["a", "b"]},
    {"labels": {"team": "data"}},
    {"parameters": {"n": 1, "deep": {"x": [1, None]}}},
    {"work_pool_name": "gpu"},
    {"infrastructure_pid": "42"},
]
changes: st.SearchStrategy[Action] = st.sampled_from(rows_after).map(
    lambda fields: lambda server, run: server.change_run(run, **fields)
)
lines: st.SearchStrategy[Action] = st.tuples(
    st.floats(-30, 5), st.sampled_from([10, 20, 30, 40])
).map(
    lambda line: (
        lambda server, run: server.log(
            run,
            level=line[1],
            timestamp=(server.clock() + timedelta(seconds=line[0])).replace(microsecond=0),
        )
    )
)
lives = st.lists(st.tuples(st.floats(0, 20), states | changes | lines | lines), max_size=40)


def live(life: list[tuple[float, Action]], **options: Any) -> tuple[World, str, float]:
    """A world in which a run lives such a life, and ends; with the time of its end."""
    world = World(**options)
    run_id = world.server.add_run()
    when = 0.0
    for pause, action in life:
        when += pause
        world.at(when, partial(action, world.server, run_id))
    world.at(when + 1, lambda: world.server.set_state(run_id, "COMPLETED"))
    return world, run_id, when + 1


def watch(world: World, run_id: str, **options: Any) -> Watched:
    """A watch to the end."""
    spec = WatchSpec(flow_run_id=run_id, sources=frozenset(Source), **options)
    return Watched(world, spec).run()


def rows(world: World) -> list[tuple[str, str]]:
    """What the server holds, as (kind, id)."""
    states = [("state", row["id"]) for history in world.server.states.values() for row in history]
    return sorted(states + [("log", row["id"]) for row in world.server.logs])


def told(watched: Watched) -> list[tuple[str, str]]:
    """What was told, as (kind, id)."""
    logs = [("log", event.id) for event in watched.of(FlowRunLog)]
    return sorted(logs + [("state", event.id) for event in watched.of(StateChange)])


def as_json(value: object) -> Any:
    """A value as it is on the wire."""
    return msgspec.json.decode(msgspec.json.encode(value))


@given(life=lives, begin=st.floats(0, 300), page_limit=st.integers(2, 9), seed=st.integers())
def test_every_row_once_whenever_the_watch_begins(
    life: list[tuple[float, Action]], begin: float, page_limit: int, seed: int
) -> None:
    """What is told is what the server holds, each once, in any order of ties, from any time on."""
    world, run_id, _ = live(life, page_limit=page_limit, random=Random(seed))
    world.wait(begin)
    watched = watch(world, run_id)
    assert watched.error is None
    assert watched.closed.verified
    assert told(watched) == rows(world)


@given(life=lives)
def test_the_fold_is_what_the_server_says(life: list[tuple[float, Action]]) -> None:
    """Folding the events gives the run's row and history, field by field."""
    world, run_id, _ = live(life)
    watched = watch(world, run_id)
    start: Snapshot | None = None
    snapshot = reduce(fold, watched.events, start)
    assert snapshot is not None
    row = world.server.runs[run_id]
    for field in FlowRun.__struct_fields__:
        ours, theirs = as_json(getattr(snapshot.run, field)), as_json(row[field])
        if field == "state":
            theirs = {name: theirs[name] for name in State.__struct_fields__}
        assert ours == theirs, field
    history = sorted(world.server.states[run_id], key=lambda state: state["timestamp"])
    assert [state.id for state in snapshot.states] == [state["id"] for state in history]
    assert watched.closed.view == snapshot


@given(life=lives, seed=st.integers(), share=st.floats(0, 0.4))
def test_faults_lose_and_repeat_nothing(
    life: list[tuple[float, Action]], seed: int, share: float
) -> None:
    """Whichever requests fail, each row is told once."""
    world, run_id, end = live(life, page_limit=5)
    dice = Random(seed)

    def fault(query: Query) -> Failure | None:
        # The watch must be able to begin, and to end.
        trouble = 1 < world.now < end + 60 and dice.random() < share
        return refused(query) if trouble else None

    world.fault = fault
    watched = watch(world, run_id, max_duration=None)
    assert watched.error is None
    assert told(watched) == rows(world)


@given(life=lives)
def test_late_is_what_comes_below_what_was_told(life: list[tuple[float, Action]]) -> None:
    """An event is flagged late exactly if one with a later key was told before it."""
    world, run_id, _ = live(life)
    top = (START - timedelta(days=1), START - timedelta(days=1), "")
    for event in watch(world, run_id).events:
        if isinstance(event, StateChange | FlowRunLog):
            created = event.created if isinstance(event, FlowRunLog) else event.timestamp
            key = (event.timestamp, created, event.id)
            assert event.late == (key < top)
            top = max(top, key)
