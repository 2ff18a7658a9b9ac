"""Writers, histories and worlds: what lands is what was written, and a seed repeats it."""

from datetime import timedelta
from random import Random
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import rxflow
from rxflow import StateType
from rxflow.testing import FakePrefect3, Faults, History, VirtualTime, World, Writer
from rxflow.testing._world import Kind

KINDS: tuple[Kind, ...] = get_args(Kind)
VANISHING = {"deleted", "restored"}

seconds = st.floats(0, 100)
chances = st.floats(0, 1)
writers = st.builds(
    Writer,
    name=st.sampled_from("abc"),
    lines=st.lists(seconds, max_size=20).map(lambda lines: tuple(sorted(lines))),
    skew=st.floats(-4000, 4000),
    resolution=st.sampled_from([1e-6, 0.015, 1.0, 10.0]),
    batch=st.sampled_from([0.0, 0.5, 2.0]),
    lag=st.floats(0, 5),
    late=chances,
    commit=st.floats(0, 1),
    stalled=chances,
)


# -- writers ------------------------------------------------------------------------------------


@given(writers, st.integers())
def test_lines_land_in_the_order_they_were_written(writer: Writer, seed: int) -> None:
    """Each once; the next is sent when the one before has landed."""
    landings = list(writer.landings(Random(seed)))
    assert [line.text for line in landings] == [
        f"{writer.name}:{number}" for number in range(len(writer.lines))
    ]
    free = 0.0
    for line in landings:
        assert free < line.inserted <= line.landed
        free = line.landed


@given(writers, st.integers())
def test_a_line_does_not_land_before_it_was_written(writer: Writer, seed: int) -> None:
    """It waits for its batch, and its timestamp is the writer's clock's."""
    for written, line in zip(writer.lines, writer.landings(Random(seed)), strict=True):
        assert line.inserted >= written
        own = written + writer.skew
        assert own - writer.resolution - 1e-6 <= line.timestamp <= own + 1e-6
        if writer.batch:
            assert line.inserted >= writer.batch * (written // writer.batch + 1)


def test_a_writer_without_delays_writes_straight_into_the_table() -> None:
    """All its numbers are zero unless given."""
    lines = Writer(name="a", lines=(1.0, 2.0)).landings(Random(0))
    assert [(line.timestamp, line.inserted, line.landed) for line in lines] == [
        (1.0, 1.0, 1.0),
        (2.0, 2.0, 2.0),
    ]


# -- histories ----------------------------------------------------------------------------------


@given(st.lists(writers, max_size=3), st.integers(0, 99))
def test_every_row_that_landed_is_in_the_table(some: list[Writer], seed: int) -> None:
    """Whoever wrote it, with its line, and stored before it landed."""
    time = VirtualTime()
    server = FakePrefect3(clock=time, random=Random(seed))
    history = History(states=((1.0, StateType.COMPLETED),), writers=tuple(some))
    played = history.play(server, Random(seed))
    time.wait(1e5)
    server.catch_up()
    assert server.logs == played.landed
    written = sorted(f"{each.name}:{line}" for each in some for line in range(len(each.lines)))
    assert sorted(row["message"] for row in played.landed) == written


@given(st.lists(writers, max_size=3), st.integers(0, 99))
def test_the_end_is_put_off_for_the_last_lines(some: list[Writer], seed: int) -> None:
    """The last line lands no later than its tail after the last state."""
    time = VirtualTime()
    server = FakePrefect3(clock=time)
    history = History(states=((1.0, StateType.COMPLETED),), writers=tuple(some), tail=3.0)
    played = history.play(server, Random(seed))
    time.wait(played.end + 3.0)
    server.catch_up()
    assert len(played.landed) == sum(len(each.lines) for each in some)
    assert server.runs[played.run_id]["state_type"] == "COMPLETED"


def test_a_history_may_be_played_in_real_time() -> None:
    """It needs a server, and no more."""
    server = FakePrefect3()
    history = History(
        states=((0.0, StateType.COMPLETED),), writers=(Writer(name="a", lines=(0.0, 0.001)),)
    )
    played = history.play(server, Random(0))
    with server.serve() as url, rxflow.Client(api_url=url) as client:
        told = [log.id for log in rxflow.watch_flow_run(played.run_id, drain=1, client=client).logs]
    assert told == [row["id"] for row in played.landed]
    assert len(told) == 2


def test_rows_are_deleted_and_a_table_restored() -> None:
    """What was deleted is gone, what landed since a backup is gone with its restore."""
    time = VirtualTime()
    server = FakePrefect3(clock=time)
    history = History(
        states=((30.0, StateType.COMPLETED),),
        writers=(Writer(name="a", lines=tuple(float(second) for second in range(20))),),
        deletions=((9.5, 3),),
        restores=((15.5, 4.0),),
    )
    played = history.play(server, Random(1))
    lengths = []
    for second in (9.0, 9.6, 15.4, 15.6, 30.0):
        time.wait(second - time.seconds)
        server.catch_up()
        lengths.append(len(server.logs))
    assert lengths == [10, 7, 13, 9, 13]
    assert len(played.landed) == 20


def test_another_runs_rows_are_left_alone() -> None:
    """Deletions concern the run of the history."""
    time = VirtualTime()
    server = FakePrefect3(clock=time)
    other = server.log(server.add_run())
    History(states=((1.0, StateType.FAILED),), deletions=((1.0, 9),)).play(server, Random(0))
    time.wait(2)
    server.catch_up()
    assert [row["id"] for row in server.logs] == [other]


# -- worlds -------------------------------------------------------------------------------------


def told_in(world: World) -> list[rxflow.FlowRunEvent]:
    """What a watch tells of a world."""
    return world.time.collect(rxflow.watch_flow_run(world.run_id, client=world.server.client()))


def tables(world: World) -> bytes:
    """All that a world's server holds."""
    server = world.server
    rows: list[Any] = [server.runs, server.states, server.logs]
    return msgspec.json.encode(rows)


@pytest.mark.parametrize("kind", [*KINDS, None])
def test_a_seed_is_a_world(kind: Kind | None) -> None:
    """With one seed, the same happens at the same instants, row ids included."""
    once, again, other = (World(seed, kind=kind) for seed in (5, 5, 6))
    for world in (once, again, other):
        world.time.wait(600)
        world.server.catch_up()
    assert (once.kind, once.history) == (again.kind, again.history)
    assert tables(once) == tables(again) != tables(other)


@pytest.mark.parametrize("kind", sorted(set(KINDS) - VANISHING - {"faulty"}))
def test_a_watch_tells_what_landed(kind: Kind) -> None:
    """Through Rx and an httpx client as well: every row that landed, once."""
    world = World(3, kind=kind)
    told = [event.id for event in told_in(world) if isinstance(event, rxflow.FlowRunLog)]
    assert sorted(told) == sorted(row["id"] for row in world.played.landed)


def test_all_kinds_are_drawn() -> None:
    """Without one that is asked for, seeds give them all."""
    assert {World(seed).kind for seed in range(100)} == set(KINDS)


def test_what_is_given_is_not_drawn() -> None:
    """And what is not given is drawn as it would be otherwise."""
    history = History(states=((1.0, StateType.COMPLETED),))
    drawn, given = World(9, kind="calm"), World(9, kind="calm", history=history, page_limit=5)
    assert given.history == history
    assert World(9, kind="calm", page_limit=5).history == drawn.history
    assert World(9, kind="calm", faults=Faults(errors=0.5)).server.faults == Faults(errors=0.5)


def test_a_world_heals() -> None:
    """Some time after the run's end nothing goes wrong with requests any more."""
    world = World(2, kind="faulty")
    world.time.wait(world.healed - 0.001)
    world.server.catch_up()
    assert world.server.faults.lost > 0
    world.time.wait(0.001)
    world.server.catch_up()
    assert world.server.faults == Faults(latency=0.01, ties=True)
    assert timedelta(seconds=world.healed) > timedelta(seconds=world.played.end)
