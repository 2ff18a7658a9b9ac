"""The laws of a watch, over random lives of a run."""

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
from simulated_world import START, Watched, World, refused

import rxflow
from rxflow import Closed, FlowRun, FlowRunLog, FlowRunStream, Snapshot, State, StateChange, fold
from rxflow import operators as rxops
from rxflow._protocol.failures import Failure
from rxflow._protocol.queries import LogsQuery, Query, RunQuery
from rxflow._watching.watch_spec import EventSource, WatchSpec
from rxflow.testing import FakePrefect3

pytestmark = pytest.mark.long

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
    spec = WatchSpec(flow_run_id=run_id, sources=frozenset(EventSource), **options)
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
    row = {"run_config": None, **look.row}  # which Prefect 3 does not have, as it counts no states
    for field in FlowRun.__struct_fields__:
        ours, theirs = as_json(getattr(snapshot.run, field)), as_json(row[field])
        if field == "state":
            theirs = {name: {"version": None, **theirs}[name] for name in State.__struct_fields__}
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


# -- the faces: the same scripted replies, through any pipeline ---------------------------------
#
# Left out are operators whose result depends on when something came: `rate`, `quiet_for`,
# `conflate` by a key, `bounded` with fewer places than there are items, and those of reactivex that
# have a timer. What they give differs from face to face as the pace of its consumer does.

Operator = Callable[[Observable[Any]], Observable[Any]]


def size(item: Any) -> int:
    """A number for whatever stands in a pipeline, the same in each face."""
    match item:
        case tuple() | list():
            return sum(map(size, item)) % 997
        case int():
            return item
        case _:
            return len(str(item.message)) + int(item.level)


def count_on(total: Any, item: Any) -> Any:
    """A running sum."""
    return (total + size(item)) % 997


def at_level(level: Any) -> Operator:
    """`level_at_least` of anything."""
    operator: Operator = rxops.level_at_least(level)
    return operator


def divides(by: int) -> Callable[[Any], bool]:
    """A predicate on anything."""
    return lambda item: size(item) % by == 0


def listed(items: Any) -> Operator:
    """A buffer as an item that can be buffered again."""
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
    small.map(lambda number: listed(ops.buffer_with_count(number))),
    small.map(ops.start_with),
    st.just(rxops.bounded(100_000)),
    st.just(rxops.conflate(id)),
    st.sampled_from(
        [ops.map(size), ops.scan(count_on, 0), ops.pairwise(), ops.reduce(count_on, 0)]
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
# Which of two watches that run side by side is answered first is up to the server and the face.
SIDES: dict[str, Callable[[FlowRunStream, FlowRunStream], list[Observable[Any]]]] = {
    "another": lambda one, other: [one, other],
    "parts": lambda one, other: [one.states, one.logs, other.logs],
    "itself": lambda one, _: [one, one],
}


def piped(source: Observable[Any], operators: Iterable[Operator]) -> Observable[Any]:
    """A source through operators."""
    return reduce(lambda stream, operator: operator(stream), operators, source)


def lived(world: virtual_world.World, seed: int, lines: int) -> str:
    """A run whose life is drawn, and has been over for an hour."""
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


def alike(item: Any) -> Any:
    """An item without the time at which a watch ended, which is the watcher's own."""
    match item:
        case tuple() | list():
            return tuple(map(alike, item))
        case Closed():
            return msgspec.structs.replace(item, timestamp=START)
        case _:
            return item


async def gathered(observable: Observable[Any]) -> list[Any]:
    """What an async loop gets."""
    return [item async for item in rxflow.aiterate(observable)]


def given_by_each_face(world: virtual_world.World, stream: Observable[Any]) -> list[list[Any]]:
    """What a subscriber in virtual time, a loop and an async loop get."""
    told = world.watch(stream)
    assert told.completed, told.error
    given = [told.values, list(rxflow.iterate(stream)), asyncio.run(gathered(stream))]
    assert all(channel.was_closed.wait(virtual_world.TEST_TIMEOUT) for channel in world.channels)
    return [[alike(item) for item in items] for items in given]


def two_watches(
    seeds: tuple[int, int], lines: int, page_limit: int
) -> tuple[virtual_world.World, FlowRunStream, FlowRunStream]:
    """A world, and watches over two runs in it."""
    world = virtual_world.World(page_limit=page_limit)
    one, other = (
        rxflow.watch_flow_run(lived(world, seed, lines), client=world.client) for seed in seeds
    )
    return world, one, other


worlds = st.builds(
    two_watches,
    seeds=st.tuples(st.integers(), st.integers()),
    lines=st.integers(0, 30),
    page_limit=st.integers(3, 20),
)


@given(made=worlds, join=st.sampled_from(sorted(JOINS)), pipeline=pipelines)
def test_the_faces_give_equal_lists(
    made: tuple[virtual_world.World, FlowRunStream, FlowRunStream],
    join: str,
    pipeline: tuple[list[Operator], list[Operator]],
) -> None:
    """Subscribed in virtual time, in a loop and in an async loop, a pipeline gives one list."""
    world, *watches = made
    events, anything = pipeline
    stream = piped(JOINS[join](*watches), [*events, *anything])
    told, blocking, on_loop = given_by_each_face(world, stream)
    assert told == blocking == on_loop


@given(made=worlds, side=st.sampled_from(sorted(SIDES)), pipeline=pipelines)
def test_the_faces_merge_equal_lists(
    made: tuple[virtual_world.World, FlowRunStream, FlowRunStream],
    side: str,
    pipeline: tuple[list[Operator], list[Operator]],
) -> None:
    """Of pipelines that are merged each gives one list, however the faces interleave them."""
    world, *watches = made
    events, anything = pipeline
    sides = SIDES[side](*watches)
    merged: Observable[tuple[int, Any]] = rx.merge(
        *(
            piped(source, [*events, *anything]).pipe(ops.map(partial(numbered, number)))
            for number, source in enumerate(sides)
        )
    )
    told, blocking, on_loop = given_by_each_face(world, merged)
    for number, _ in enumerate(sides):
        first, second, third = (
            [item for side, item in given if side == number] for given in (told, blocking, on_loop)
        )
        assert first == second == third


def numbered(number: int, item: Any) -> tuple[int, Any]:
    """An item, and which pipeline gave it."""
    return number, item


def rows(events: Iterable[Any]) -> Counter[tuple[str, str]]:
    """State changes and log lines, as (kind, id)."""
    kept = [event for event in events if isinstance(event, StateChange | FlowRunLog)]
    return Counter(virtual_world.identities(kept))


# Without an end before the last: a watch closes at the first that lasts, a part perhaps later.
going_on: st.SearchStrategy[Action] = st.sampled_from(STATES).map(
    lambda state: lambda server, run: server.set_state(run, state)
)
lives_with_one_end = st.lists(
    st.tuples(st.floats(0, 20), going_on | changes | lines | lines), max_size=40
)


@given(life=lives_with_one_end, begin=st.floats(0, 300), page_limit=st.integers(2, 9))
def test_the_parts_merged_are_the_whole(
    life: list[tuple[float, Action]], begin: float, page_limit: int
) -> None:
    """The parts of a watch, merged, tell the rows that the whole tells, whenever they begin."""
    world, run_id = scheduled(life, page_limit)
    stream = rxflow.watch_flow_run(run_id, client=world.client)
    parts = rx.merge(stream.states, stream.logs)
    whole, merged = world.subscribe(stream, at=begin), world.subscribe(parts, at=begin)
    late = world.subscribe(stream, at=5000)
    world.run(until=9000)
    assert whole.completed
    assert merged.completed
    assert rows(merged.values) == rows(whole.values) == rows(late.values)


def scheduled(life: list[tuple[float, Action]], page_limit: int) -> tuple[virtual_world.World, str]:
    """A world in virtual time in which a run will live such a life, and end."""
    world = virtual_world.World(page_limit=page_limit)
    run_id = world.server.add_run()
    when = 0.0
    for pause, action in life:
        when += pause
        world.at(when, partial(action, world.server, run_id))
    world.at(when + 1, partial(world.server.set_state, run_id, "COMPLETED"))
    return world, run_id


@given(
    seed=st.integers(),
    stops=st.lists(st.integers(1, 12), max_size=4),
    page_limit=st.integers(2, 9),
    lines=st.integers(0, 40),
)
def test_to_resume_by_replay_is_never_to_have_stopped(
    seed: int, stops: list[int], page_limit: int, lines: int
) -> None:
    """Who stops anywhere, comes again and skips the ids it has, has all rows, in writers' order."""
    world = virtual_world.World(page_limit=page_limit)
    dice = Random(seed)
    run_id = world.server.add_run(state="RUNNING")
    writers: Counter[str] = Counter()
    stream = rxflow.watch_flow_run(run_id, client=world.client)
    had: dict[str, StateChange | FlowRunLog] = {}

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
                had.setdefault(event.id, event)

    for stop in stops:
        write(lines // (len(stops) + 1))
        read(islice(told_so_far(world, stream), stop))
    write(lines // (len(stops) + 1))
    world.server.set_state(run_id, "COMPLETED")
    world.run(until=world.seconds + virtual_world.HOUR)
    read(stream)
    assert rows(had.values()) == rows(world.watch(stream).values)
    for writer in writers:
        mine = [event.message for event in had.values() if event.message.startswith(f"{writer}:")]
        assert mine == [f"{writer}:{number}" for number in range(writers[writer])]


def told_so_far(world: virtual_world.World, stream: FlowRunStream) -> list[Any]:
    """What a watch that begins now tells within some seconds."""
    return world.watch(stream, until=world.seconds + 2).values
