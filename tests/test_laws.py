"""The laws of a watch, over random lives of a run."""

from collections.abc import Callable
from datetime import timedelta
from functools import partial, reduce
from random import Random
from typing import Any

import msgspec
from faces import gathered
from hypothesis import given
from hypothesis import strategies as st
from simulation import START, Watched, World, refused
from virtual import HOUR
from virtual import World as VirtualWorld

from rxflow import FlowRun, FlowRunLog, Snapshot, State, StateChange, fold, watch_flow_run
from rxflow._polling import Failure, LogsQuery, Query, RunQuery
from rxflow._reader import WatchSpec
from rxflow._telling import Source
from rxflow.testing import FakePrefect3

STATES = ["SCHEDULED", "PENDING", "RUNNING", "PAUSED", "CANCELLING", "NEW_IN_PREFECT_4"]
ENDS = ["COMPLETED", "FAILED", "CRASHED", "CANCELLED"]

Action = Callable[[FakePrefect3, str], object]
Fault = Callable[[Query], Failure | None]

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


class LastLook:
    """What the server held when it was last asked: what comes after that is not to be told."""

    def __init__(self, world: World, fault: Fault = lambda _: None) -> None:
        """Look whenever the world is asked, before a fault of its own."""
        self.world = world
        self.fault = fault
        self.row: dict[str, Any] = {}
        self.states: list[str] = []
        self.logs: list[str] = []

    def __call__(self, query: Query) -> Failure | None:
        """Look."""
        server = self.world.server
        if isinstance(query, RunQuery):
            self.row = dict(server.runs[query.flow_run_id])
            history = sorted(server.states[query.flow_run_id], key=lambda row: row["timestamp"])
            self.states = [row["id"] for row in history]
        if isinstance(query, LogsQuery):
            self.logs = [row["id"] for row in server.logs]
        return self.fault(query)

    @property
    def rows(self) -> list[tuple[str, str]]:
        """All of it, as (kind, id)."""
        logs = [("log", row_id) for row_id in self.logs]
        return sorted(logs + [("state", row_id) for row_id in self.states])


def watch(
    world: World, run_id: str, fault: Fault = lambda _: None, **options: Any
) -> tuple[Watched, LastLook]:
    """A watch to the end, and what the server held then."""
    look = LastLook(world, fault)
    world.fault = look
    spec = WatchSpec(flow_run_id=run_id, sources=frozenset(Source), **options)
    return Watched(world, spec).run(), look


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
    watched, look = watch(world, run_id)
    assert watched.error is None
    assert watched.closed.verified
    assert told(watched) == look.rows


@given(life=lives)
def test_the_fold_is_what_the_server_says(life: list[tuple[float, Action]]) -> None:
    """Folding the events gives the run's row and history, field by field."""
    world, run_id, _ = live(life)
    watched, look = watch(world, run_id)
    start: Snapshot | None = None
    snapshot = reduce(fold, watched.events, start)
    assert snapshot is not None
    for field in FlowRun.__struct_fields__:
        ours, theirs = as_json(getattr(snapshot.run, field)), as_json(look.row[field])
        if field == "state":
            theirs = {name: theirs[name] for name in State.__struct_fields__}
        assert ours == theirs, field
    assert [state.id for state in snapshot.states] == look.states
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

    watched, look = watch(world, run_id, fault, max_duration=None)
    assert watched.error is None
    assert told(watched) == look.rows


@given(life=lives)
def test_late_is_what_comes_below_what_was_told(life: list[tuple[float, Action]]) -> None:
    """An event is flagged late exactly if one with a later key was told before it."""
    world, run_id, _ = live(life)
    top = (START - timedelta(days=1), START - timedelta(days=1), "")
    watched, _ = watch(world, run_id)
    for event in watched.events:
        if isinstance(event, StateChange | FlowRunLog):
            created = event.created if isinstance(event, FlowRunLog) else event.timestamp
            key = (event.timestamp, created, event.id)
            assert event.late == (key < top)
            top = max(top, key)


@given(life=lives, page_limit=st.integers(2, 9), seed=st.integers())
def test_every_face_tells_the_same(
    life: list[tuple[float, Action]], page_limit: int, seed: int
) -> None:
    """A subscriber, a loop and an `async for` loop are told the same events, field by field."""
    world = VirtualWorld(page_limit=page_limit, random=Random(seed))
    run_id = world.server.add_run()
    when = 0.0
    for pause, action in life:
        when += pause
        world.at(when, partial(action, world.server, run_id))
    world.at(when + 1, lambda: world.server.set_state(run_id, "COMPLETED"))
    world.run(until=when + HOUR)
    stream = watch_flow_run(run_id, stream_tasks=True, client=world.client)
    looped, awaited, last = list(stream), gathered(stream), stream.run()
    subscriber = world.watch(stream)  # last, since time passes meanwhile
    assert subscriber.completed, subscriber.error
    assert looped == awaited == subscriber.values
    assert last == subscriber.values[-1]
