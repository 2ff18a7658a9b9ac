"""The laws of a whole watch, over runs with random lives: that is why they are in the root."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import timedelta
from functools import partial, reduce
from itertools import islice
from random import Random
from typing import Any

import msgspec
import pytest
import reactivex as rx
import virtual_world
from hypothesis import given
from hypothesis import strategies as st
from reactivex import Observable
from reactivex import operators as ops
from simulated_world import START, SimulatedWatch, World, refused

import rxflow
from rxflow import Closed, FlowRun, FlowRunLog, FlowRunStream, Snapshot, State, StateChange, fold
from rxflow import operators as rxops
from rxflow._protocol.failures import Failure
from rxflow._protocol.queries import LogsQuery, Query, RunQuery
from rxflow._watching.watch_spec import EventSource, WatchSpec
from rxflow.testing import FakePrefect3

pytestmark = pytest.mark.long

STATES = ["SCHEDULED", "PENDING", "RUNNING", "PAUSED", "CANCELLING"]
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


def schedule(
    world: World | virtual_world.World, life: list[tuple[float, Action]]
) -> tuple[str, float]:
    """Add a run that will live a life and end; return its id and the time of its end."""
    run_id = world.server.add_run()
    when = 0.0
    for pause, action in life:
        when += pause
        world.at(when, partial(action, world.server, run_id))
    world.at(when + 1, partial(world.server.set_state, run_id, "COMPLETED"))
    return run_id, when + 1


class ServerRows:
    """The rows on the server at the last query: a watch need not emit any stored later."""

    def __init__(self, world: World, fault: Fault = lambda _: None) -> None:
        """Read the rows at each query, before the fault of the world."""
        self.world = world
        self.fault = fault
        self.row: dict[str, Any] = {}
        self.states: list[str] = []
        self.logs: list[str] = []

    def __call__(self, query: Query) -> Failure | None:
        """Read the rows that a query is about."""
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
        """All rows, as (kind, id)."""
        logs = [("log", row_id) for row_id in self.logs]
        return sorted(logs + [("state", row_id) for row_id in self.states])


def watch(
    world: World, run_id: str, fault: Fault = lambda _: None, **options: Any
) -> tuple[SimulatedWatch, ServerRows]:
    """Watch a run to the end; return the watch and the rows on the server then."""
    server_rows = ServerRows(world, fault)
    world.fault = server_rows
    spec = WatchSpec(flow_run_id=run_id, sources=frozenset(EventSource), **options)
    return SimulatedWatch(world, spec).run(), server_rows


def emitted(watched: SimulatedWatch) -> list[tuple[str, str]]:
    """Return the (kind, id) of the states and log rows emitted."""
    logs = [("log", event.id) for event in watched.of(FlowRunLog)]
    return sorted(logs + [("state", event.id) for event in watched.of(StateChange)])


def as_json(value: object) -> Any:
    """Return a value as it is on the wire."""
    return msgspec.json.decode(msgspec.json.encode(value))


@given(life=lives, start=st.floats(0, 300), page_limit=st.integers(2, 9), seed=st.integers())
def test_every_row_is_emitted_once_from_any_start(
    life: list[tuple[float, Action]], start: float, page_limit: int, seed: int
) -> None:
    """A watch emits the rows on the server, each once, in any order of ties and from any start."""
    world = World(page_limit=page_limit, random=Random(seed))
    run_id, _ = schedule(world, life)
    world.wait(start)
    watched, server_rows = watch(world, run_id)
    assert watched.error is None
    assert watched.closed.verified
    assert emitted(watched) == server_rows.rows


@given(life=lives)
def test_fold_equals_server_rows(life: list[tuple[float, Action]]) -> None:
    """Folding the events gives the run's row and history, field by field."""
    world = World()
    run_id, _ = schedule(world, life)
    watched, server_rows = watch(world, run_id)
    start: Snapshot | None = None
    snapshot = reduce(fold, watched.events, start)
    assert snapshot is not None
    row = {
        "run_config": None,
        **server_rows.row,
    }  # Prefect 3 has neither this nor a version of states
    for field in FlowRun.__struct_fields__:
        ours, theirs = as_json(getattr(snapshot.run, field)), as_json(row[field])
        if field == "state":
            theirs = {name: {"version": None, **theirs}[name] for name in State.__struct_fields__}
            details = theirs["state_details"]
            theirs["state_details"] = {"transition_id": details["transition_id"]}
        assert ours == theirs, field
    assert [state.id for state in snapshot.states] == server_rows.states
    assert watched.closed.view == snapshot


@given(life=lives, seed=st.integers(), share=st.floats(0, 0.4))
def test_faults_neither_lose_nor_repeat_rows(
    life: list[tuple[float, Action]], seed: int, share: float
) -> None:
    """Whichever requests fail, each row is emitted once."""
    world = World(page_limit=5)
    run_id, end = schedule(world, life)
    dice = Random(seed)

    def fault(query: Query) -> Failure | None:
        # The watch must be able to start, and to end.
        fails = 1 < world.now < end + 60 and dice.random() < share
        return refused(query) if fails else None

    watched, server_rows = watch(world, run_id, fault, max_duration=None)
    assert watched.error is None
    assert emitted(watched) == server_rows.rows


@given(life=lives)
def test_late_events_are_those_below_emitted_ones(life: list[tuple[float, Action]]) -> None:
    """An event is late exactly if one with a later key was emitted before it."""
    world = World()
    run_id, _ = schedule(world, life)
    top = (START - timedelta(days=1), START - timedelta(days=1), "")
    watched, _ = watch(world, run_id)
    for event in watched.events:
        if isinstance(event, StateChange | FlowRunLog):
            created = event.created if isinstance(event, FlowRunLog) else event.timestamp
            key = (event.timestamp, created, event.id)
            assert event.late == (key < top)
            top = max(top, key)


# -- the faces: the same scripted replies, through any pipeline ---------------------------------
#
# Not tested are operators whose result depends on when an item arrived: `rate`, `quiet_for`,
# `conflate` by a key, `bounded` with fewer places than items, and those of reactivex that have a
# timer. Their result differs between faces as the pace of the consumer does.

Operator = Callable[[Observable[Any]], Observable[Any]]


def size(item: Any) -> int:
    """Return a number for any item of a pipeline, the same on each face."""
    match item:
        case tuple() | list():
            return sum(map(size, item)) % 997
        case int():
            return item
        case _:
            return len(str(item.message)) + int(item.level)


def add_size(total: Any, item: Any) -> Any:
    """Return a running sum."""
    return (total + size(item)) % 997


def at_level(level: Any) -> Operator:
    """Return `level_at_least` for any item."""
    operator: Operator = rxops.level_at_least(level)
    return operator


def divides(by: int) -> Callable[[Any], bool]:
    """Return a predicate for any item."""
    return lambda item: size(item) % by == 0


def as_another(_: Any) -> object:
    """Return a key that no other item has: which items of one key are dropped depends on turns."""
    return object()


def as_tuples(items: Any) -> Operator:
    """Return a buffer whose items can be buffered again."""
    return rx.compose(items, ops.map(tuple))


small = st.integers(1, 6)
on_events: st.SearchStrategy[Operator] = st.one_of(
    st.sampled_from(
        [
            rxops.only(FlowRunLog),
            rxops.only(StateChange, FlowRunLog),
            rxops.until_terminal(),
            rxops.matching("a"),
            rxops.in_order(3600),
        ]
    ),
    st.sampled_from([0, 20, 30, "ERROR"]).map(at_level),
)
on_anything: st.SearchStrategy[Operator] = st.one_of(
    small.map(rxops.tail),
    small.map(ops.take),
    small.map(ops.skip),
    small.map(ops.take_last),
    small.map(lambda by: ops.filter(divides(by))),
    small.map(lambda by: ops.take_while(lambda item: size(item) % (by + 5) > 0, inclusive=True)),
    small.map(lambda by: ops.skip_while(divides(by))),
    small.map(lambda by: ops.distinct_until_changed(lambda item: size(item) % by)),
    small.map(lambda number: as_tuples(ops.buffer_with_count(number))),
    small.map(ops.start_with),
    st.just(rxops.bounded(100_000)),
    st.just(rxops.conflate(as_another)),
    st.sampled_from(
        [ops.map(size), ops.scan(add_size, 0), ops.pairwise(), ops.reduce(add_size, 0)]
    ),
)
pipelines = st.tuples(st.lists(on_events, max_size=2), st.lists(on_anything, max_size=4))

JOINS: dict[str, Callable[[FlowRunStream, FlowRunStream], Observable[Any]]] = {
    "one": lambda one, _: one,
    "part": lambda one, _: one.logs,
    "and then another": rx.concat,
    "and then a part": lambda one, other: rx.concat(one.notices, other.states),
    "repeated": lambda one, _: one.pipe(ops.repeat(2)),
}
# Which of two watches in parallel gets its reply first depends on the server and the face.
SIDES: dict[str, Callable[[FlowRunStream, FlowRunStream], list[Observable[Any]]]] = {
    "another": lambda one, other: [one, other],
    "parts": lambda one, other: [one.states, one.logs, other.logs],
    "itself": lambda one, _: [one, one],
}


def piped(source: Observable[Any], operators: Iterable[Operator]) -> Observable[Any]:
    """Return a source through operators."""
    return reduce(lambda stream, operator: operator(stream), operators, source)


def ended_run(world: virtual_world.World, seed: int, lines: int) -> str:
    """Add a run with a random life that ended an hour ago."""
    dice, server = Random(seed), world.server
    run_id = server.add_run(state=dice.choice(STATES))
    begun = world.seconds
    for number in range(lines):
        message = dice.choice(["a", "b", "a line"]) * dice.randrange(3) + str(number % 3)
        level = dice.choice([10, 20, 30, 40])
        when = begun + dice.choice([number, number / 7])
        world.at(when, partial(server.log, run_id, message, level=level))
        if dice.random() < 0.1:
            world.at(when, partial(server.set_state, run_id, dice.choice(STATES + ENDS)))
    world.at(begun + lines + 1, partial(server.set_state, run_id, dice.choice(ENDS)))
    world.run(until=begun + lines + virtual_world.HOUR)
    return run_id


def without_end_time(item: Any) -> Any:
    """Return an item without the time at which a watch ended, which is the watcher's own."""
    match item:
        case tuple() | list():
            return tuple(map(without_end_time, item))
        case Closed():
            return msgspec.structs.replace(item, timestamp=START)
        case _:
            return item


async def collected(observable: Observable[Any]) -> list[Any]:
    """Return what an async loop receives."""
    return [item async for item in rxflow.aiterate(observable)]


def received_on_each_face(world: virtual_world.World, stream: Observable[Any]) -> list[list[Any]]:
    """Return what a subscriber in virtual time, a loop and an async loop receive."""
    recording = world.watch(stream)
    assert recording.completed, recording.error
    received = [recording.values, list(rxflow.iterate(stream)), asyncio.run(collected(stream))]
    assert all(channel.was_closed.wait(virtual_world.TEST_TIMEOUT) for channel in world.channels)
    return [[without_end_time(item) for item in items] for items in received]


def two_watches(
    seeds: tuple[int, int], lines: int, page_limit: int
) -> tuple[virtual_world.World, FlowRunStream, FlowRunStream]:
    """Return a world, and watches over two runs in it."""
    world = virtual_world.World(page_limit=page_limit)
    one, other = (
        rxflow.watch_flow_run(ended_run(world, seed, lines), client=world.client) for seed in seeds
    )
    return world, one, other


worlds = st.builds(
    two_watches,
    seeds=st.tuples(st.integers(), st.integers()),
    lines=st.integers(0, 30),
    page_limit=st.integers(3, 20),
)


@given(made=worlds, join=st.sampled_from(sorted(JOINS)), pipeline=pipelines)
def test_faces_give_equal_lists(
    made: tuple[virtual_world.World, FlowRunStream, FlowRunStream],
    join: str,
    pipeline: tuple[list[Operator], list[Operator]],
) -> None:
    """A pipeline gives one list in virtual time, in a loop and in an async loop."""
    world, *watches = made
    events, anything = pipeline
    stream = piped(JOINS[join](*watches), [*events, *anything])
    emitted, blocking, on_loop = received_on_each_face(world, stream)
    assert emitted == blocking == on_loop


@given(made=worlds, side=st.sampled_from(sorted(SIDES)), pipeline=pipelines)
def test_faces_merge_equal_lists(
    made: tuple[virtual_world.World, FlowRunStream, FlowRunStream],
    side: str,
    pipeline: tuple[list[Operator], list[Operator]],
) -> None:
    """Each of the merged pipelines gives one list, however the faces interleave them."""
    world, *watches = made
    events, anything = pipeline
    sides = SIDES[side](*watches)
    merged: Observable[tuple[int, Any]] = rx.merge(
        *(
            piped(source, [*events, *anything]).pipe(ops.map(partial(numbered, number)))
            for number, source in enumerate(sides)
        )
    )
    emitted, blocking, on_loop = received_on_each_face(world, merged)
    for number, _ in enumerate(sides):
        first, second, third = (
            [item for side, item in items if side == number]
            for items in (emitted, blocking, on_loop)
        )
        assert first == second == third


def numbered(number: int, item: Any) -> tuple[int, Any]:
    """Return an item with the number of its pipeline."""
    return number, item


def rows(events: Iterable[Any]) -> Counter[tuple[str, str]]:
    """Return the (kind, id) of state changes and log rows, counted."""
    kept = [event for event in events if isinstance(event, StateChange | FlowRunLog)]
    return Counter(virtual_world.identities(kept))


# Lives with one terminal state: a watch closes at the first that lasts, a part maybe later.
not_terminal: st.SearchStrategy[Action] = st.sampled_from(STATES).map(
    lambda state: lambda server, run: server.set_state(run, state)
)
lives_with_one_end = st.lists(
    st.tuples(st.floats(0, 20), not_terminal | changes | lines | lines), max_size=40
)


@given(life=lives_with_one_end, start=st.floats(0, 300), page_limit=st.integers(2, 9))
def test_merged_parts_equal_whole_watch(
    life: list[tuple[float, Action]], start: float, page_limit: int
) -> None:
    """The parts of a watch, merged, emit the rows of the whole watch, from any start."""
    world = virtual_world.World(page_limit=page_limit)
    run_id, _ = schedule(world, life)
    stream = rxflow.watch_flow_run(run_id, client=world.client)
    parts = rx.merge(stream.states, stream.logs)
    whole, merged = world.subscribe(stream, at=start), world.subscribe(parts, at=start)
    late = world.subscribe(stream, at=5000)
    world.run(until=9000)
    assert whole.completed
    assert merged.completed
    assert rows(merged.values) == rows(whole.values) == rows(late.values)


@given(
    seed=st.integers(),
    stops=st.lists(st.integers(1, 12), max_size=4),
    page_limit=st.integers(2, 9),
    lines=st.integers(0, 40),
)
def test_resuming_by_replay_loses_nothing(
    seed: int, stops: list[int], page_limit: int, lines: int
) -> None:
    """A consumer that stops anywhere, watches again and skips known ids has all rows, in order."""
    world = virtual_world.World(page_limit=page_limit)
    dice = Random(seed)
    run_id = world.server.add_run(state="RUNNING")
    writers: Counter[str] = Counter()
    stream = rxflow.watch_flow_run(run_id, client=world.client)
    received: dict[str, StateChange | FlowRunLog] = {}

    def write(number: int) -> None:
        for _ in range(number):
            writer = dice.choice("xyz")
            back = timedelta(seconds={"x": 0, "y": 3, "z": 20}[writer])
            stamp = world.scheduler.now - back
            message = f"{writer}:{writers[writer]}"
            world.server.log(run_id, message, name=writer, timestamp=stamp)
            writers[writer] += 1
            world.run(until=world.seconds + dice.choice([0, 1]))

    def read(events: Iterable[Any]) -> None:
        for event in events:
            if isinstance(event, StateChange | FlowRunLog):
                received.setdefault(event.id, event)

    for stop in stops:
        write(lines // (len(stops) + 1))
        read(islice(emitted_so_far(world, stream), stop))
    write(lines // (len(stops) + 1))
    world.server.set_state(run_id, "COMPLETED")
    world.run(until=world.seconds + virtual_world.HOUR)
    read(stream)
    assert rows(received.values()) == rows(world.watch(stream).values)
    for writer in writers:
        mine = [
            event.message for event in received.values() if event.message.startswith(f"{writer}:")
        ]
        assert mine == [f"{writer}:{number}" for number in range(writers[writer])]


def emitted_so_far(world: virtual_world.World, stream: FlowRunStream) -> list[Any]:
    """Return what a watch that starts now emits within two seconds."""
    return world.watch(stream, until=world.seconds + 2).values
