"""Histories that are played on a fake server."""

from random import Random

from hypothesis import given
from hypothesis import strategies as st
from writer_strategies import writers

import rxflow
from rxflow import StateType
from rxflow.testing import FakePrefect3, History, VirtualTime, Writer


@given(st.lists(writers, max_size=3), st.integers(0, 99))
def test_the_table_has_every_row_that_landed(some: list[Writer], seed: int) -> None:
    """Each line of each writer lands as one row."""
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
def test_the_last_state_is_delayed_for_the_last_lines(some: list[Writer], seed: int) -> None:
    """The last line lands at most `tail` seconds after the last state."""
    time = VirtualTime()
    server = FakePrefect3(clock=time)
    history = History(states=((1.0, StateType.COMPLETED),), writers=tuple(some), tail=3.0)
    played = history.play(server, Random(seed))
    time.wait(played.end + 3.0)
    server.catch_up()
    assert len(played.landed) == sum(len(each.lines) for each in some)
    assert server.runs[played.run_id]["state_type"] == "COMPLETED"


def test_a_history_may_be_played_in_real_time() -> None:
    """A server with a real clock, served over HTTP, plays it as well."""
    server = FakePrefect3()
    history = History(
        states=((0.0, StateType.COMPLETED),), writers=(Writer(name="a", lines=(0.0, 0.001)),)
    )
    played = history.play(server, Random(0))
    with server.serve() as url, rxflow.Client(api_url=url) as client:
        logs = rxflow.watch_flow_run(played.run_id, drain=1, client=client).logs
        delivered = [log.id for log in logs]
    assert delivered == [row["id"] for row in played.landed]
    assert len(delivered) == 2


def test_rows_are_deleted_and_the_table_is_restored() -> None:
    """Deleted rows are gone, and a restore removes the rows that landed after the backup."""
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


def test_deletions_leave_the_rows_of_other_runs() -> None:
    """Only rows of the history's own run are deleted."""
    time = VirtualTime()
    server = FakePrefect3(clock=time)
    other = server.log(server.add_run())
    History(states=((1.0, StateType.FAILED),), deletions=((1.0, 9),)).play(server, Random(0))
    time.wait(2)
    server.catch_up()
    assert [row["id"] for row in server.logs] == [other]
