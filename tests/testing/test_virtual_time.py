"""Virtual time and what is scheduled in it: `VirtualTime`, `FakePrefect3.at` and `script`."""

from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
import reactivex as rx
from hypothesis import given
from hypothesis import strategies as st
from reactivex import abc

import rxflow
from rxflow import StateType
from rxflow.testing import FakePrefect3, VirtualTime

HOUR = 3600.0


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.time = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        """The time."""
        return self.time


# -- time ---------------------------------------------------------------------------------------


@given(st.lists(st.floats(0, 1e5), max_size=20))
def test_who_waits_for_a_moment_gets_there(waits: list[float]) -> None:
    """Time never falls short of what was waited for, and is ahead by a microsecond at the most."""
    time = VirtualTime()
    for seconds in waits:
        before = time.seconds
        time.wait(seconds)
        assert -1e-9 <= time.seconds - before - seconds <= 1.1e-6


def test_time_stands_still_until_it_is_told_to_pass() -> None:
    """It is the same at each look."""
    time = VirtualTime(datetime(2030, 5, 5, tzinfo=UTC))
    assert time() == time() == time.now == datetime(2030, 5, 5, tzinfo=UTC)
    time.advance_to(time.beginning + timedelta(hours=1))
    assert time.seconds == HOUR


def test_what_is_scheduled_runs_as_time_passes() -> None:
    """At its own time, in order; what an action waits for is time that has passed for all."""
    time = VirtualTime()
    seen: list[tuple[str, float]] = []

    def slow(_: abc.SchedulerBase, __: object = None) -> None:
        seen.append(("slow", time.seconds))
        time.wait(10)

    def quick(_: abc.SchedulerBase, __: object = None) -> None:
        seen.append(("quick", time.seconds))

    time.schedule_relative(2, quick)
    time.schedule_relative(1, slow)
    time.advance_to(time.beginning + timedelta(seconds=5))
    assert seen == [("slow", 1.0), ("quick", 11.0)]
    assert time.seconds == 11.0


def test_time_goes_on_after_an_action_that_raised() -> None:
    """The error comes out, and the next action runs in its time."""
    time = VirtualTime()
    seen: list[float] = []

    def fail(_: abc.SchedulerBase, __: object = None) -> None:
        raise ZeroDivisionError

    time.schedule_relative(1, fail)
    time.schedule_relative(2, lambda *_: seen.append(time.seconds))
    with pytest.raises(ZeroDivisionError):
        time.advance_to(time.beginning + timedelta(seconds=5))
    time.advance_to(time.beginning + timedelta(seconds=5))
    assert seen == [2.0]


def test_collect_ends_with_the_stream() -> None:
    """Its values are returned, and no more than a second passes after its end."""
    time = VirtualTime()
    assert time.collect(rx.timer(HOUR).pipe(rx.operators.map(lambda _: "ring"))) == ["ring"]
    assert HOUR <= time.seconds <= HOUR + 1


def test_collect_raises_what_the_stream_ends_with() -> None:
    """An error is the caller's."""
    time = VirtualTime()
    with pytest.raises(ZeroDivisionError):
        time.collect(rx.throw(ZeroDivisionError()))


def test_collect_leaves_a_stream_that_does_not_end() -> None:
    """After the time that was given, with what came until then."""
    time = VirtualTime()
    left: list[float] = []
    stream = rx.interval(1.0).pipe(rx.operators.finally_action(lambda: left.append(time.seconds)))
    assert time.collect(stream, seconds=3.5) == [0, 1, 2]
    assert left == [3.5]


# -- what is scheduled --------------------------------------------------------------------------


def test_a_script_is_a_life() -> None:
    """States and lines are told in their order, and stamped with the times of the script."""
    time = VirtualTime()
    server = FakePrefect3(clock=time)
    run_id = server.add_run(state=None)
    server.script(
        run_id,
        [
            (0.0, StateType.PENDING),
            (10.0, StateType.RUNNING),
            (11.0, "half"),
            (HOUR, "whole"),
            (HOUR, StateType.COMPLETED),
        ],
    )
    told = time.collect(rxflow.watch_flow_run(run_id, client=server.client()))
    assert [
        (round((event.timestamp - time.beginning).total_seconds()), text_of(event))
        for event in told
        if isinstance(event, rxflow.StateChange | rxflow.FlowRunLog)
    ] == [(0, "Pending"), (10, "Running"), (11, "half"), (3600, "whole"), (3600, "Completed")]
    assert isinstance(told[-1], rxflow.Closed)
    assert told[-1].verified


def text_of(event: rxflow.StateChange | rxflow.FlowRunLog) -> str | None:
    """A state's name or a line."""
    return event.state.name if isinstance(event, rxflow.StateChange) else event.message


@given(st.lists(st.integers(0, 50)), st.lists(st.integers(0, 20)))
def test_it_does_not_matter_when_somebody_looks(due: list[int], looks: list[int]) -> None:
    """However often one looks at the server, what was due has happened, in order, in its time."""
    clock = Clock()
    beginning = clock.time
    server = FakePrefect3(clock=clock)
    happened: list[tuple[int, datetime]] = []

    def note(number: int) -> None:
        happened.append((number, server.now()))

    for number, seconds in enumerate(due):
        server.at(seconds, partial(note, number))
    for seconds in looks:
        clock.time += timedelta(seconds=seconds)
        server.catch_up()
        now = (clock.time - beginning).total_seconds()
        assert len(happened) == sum(each <= now for each in due)
    order = sorted(range(len(due)), key=lambda number: due[number])
    assert happened == [
        (number, beginning + timedelta(seconds=due[number])) for number in order[: len(happened)]
    ]


def test_a_write_comes_after_what_was_due_before_it() -> None:
    """What is written by hand is stored behind the rows that are older."""
    clock = Clock()
    server = FakePrefect3(clock=clock)
    run_id = server.add_run(state=None)
    server.script(run_id, [(1, "first"), (3, "third")])
    clock.time += timedelta(seconds=2)
    server.log(run_id, "second")
    clock.time += timedelta(seconds=2)
    server.catch_up()
    assert [row["message"] for row in server.logs] == ["first", "second", "third"]
    created = [row["created"] for row in server.logs]
    assert created == sorted(set(created))


def test_an_action_may_schedule_another() -> None:
    """From its own time on, and at once if that is due too."""
    clock = Clock()
    server = FakePrefect3(clock=clock)
    times: list[datetime] = []

    def again() -> None:
        times.append(server.now())
        server.at(1, again)

    beginning = clock.time
    server.at(1, again)
    clock.time += timedelta(seconds=3.5)
    server.catch_up()
    assert times == [beginning + timedelta(seconds=second) for second in (1, 2, 3)]


def test_an_action_that_raises_is_over() -> None:
    """The error comes out where somebody looked, and the rest happens at the next look."""
    clock = Clock()
    server = FakePrefect3(clock=clock)
    run_id = server.add_run()
    server.at(0, lambda: server.set_state("no such run", "FAILED"))
    server.script(run_id, [(0, "a line")])
    with pytest.raises(KeyError):
        server.catch_up()
    server.catch_up()
    assert [row["message"] for row in server.logs] == ["a line"]


def test_an_action_may_be_given_its_time() -> None:
    """A time is a time, in the past too: then it happens at once."""
    clock = Clock()
    server = FakePrefect3(clock=clock)
    happened: list[datetime] = []
    past = clock.time - timedelta(days=1)
    server.at(past, lambda: happened.append(server.now()))
    server.catch_up()
    assert happened == [past]
